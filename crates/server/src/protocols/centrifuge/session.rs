//! One session: takes frames apart into commands, some at a time, and gathers their replies.
//!
//! *Bounded:* a step carries out at most [`COMMANDS_AT_ONCE`] commands; what is left of a frame is kept, at
//! most one message, and nothing else is read before it is done. At most [`AWAITED_MAX`] questions to rooms are
//! open at a time.

use std::{mem, sync::Arc};

use bytes::Bytes;
use centrifuge::{Commands, Disconnect, Push};
use codec::{CloseCode, Message};
use runtime::{EndReason, Lag, Outlet, Pings, Session, SessionEvent, Ticket};
use tracing::info;

use super::{
    emulation::{Emulated, TooMuchWaits},
    hooks::Asking,
    state::{Next, Stage, State, Until, close_of},
    transports,
    wire::Wire,
};
use crate::world::Live;

/// Most commands of one step.
const COMMANDS_AT_ONCE: usize = 16;

/// Most questions to rooms that are not answered yet; with more the session waits.
const AWAITED_MAX: usize = 64;

/// A session of one connection.
pub struct CentrifugeSession {
    live: Arc<Live>,
    state: State,
    rest: Rest,
}

/// What is left of a frame: its bytes from `at` on. They stay where they are until the last of them is used up,
/// or a frame of many commands would be copied with each step.
#[derive(Default)]
struct Rest {
    frame: Vec<u8>,
    at: usize,
}

impl CentrifugeSession {
    /// A session whose peer has said nothing.
    pub fn new(live: Arc<Live>, wire: Wire, pings: Pings) -> Self {
        let one_shots = Arc::clone(&live.one_shots);
        Self {
            live,
            state: State::new(one_shots, wire, pings),
            rest: Rest::default(),
        }
    }

    /// This session, whose peer sends its commands by requests of their own.
    pub fn emulated(mut self) -> Self {
        let node = self.live.node().clone();
        self.state.emulated = Some(Box::new(Emulated::new(node)));
        self
    }

    /// This session, with what it keeps for back ends.
    pub fn asking(mut self, asking: Option<Box<Asking>>) -> Self {
        self.state.asking = asking;
        self
    }

    /// This session, which begins with this frame, if there is one. The frame is not empty.
    pub fn beginning_with(mut self, first: Option<Vec<u8>>) -> Self {
        self.rest = Rest {
            frame: first.unwrap_or_default(),
            at: 0,
        };
        self
    }

    /// Keeps the commands that have come for it by a request of their own, for when it may go on.
    fn keep(&mut self, command: &(dyn std::any::Any + Send + Sync), outlet: &mut Outlet<'_>) {
        let Self { live, state, rest } = self;
        let Some(emulated) = &mut state.emulated else {
            return;
        };
        let is_busy = !rest.frame.is_empty() || emulated.waiting_bytes() > 0;
        let bytes_max = live.now().settled.emulation_waiting_bytes_max;
        match emulated.keep(command, bytes_max) {
            Ok(true) if !is_busy => outlet.go_on_later(),
            Ok(_) => {}
            Err(TooMuchWaits) => {
                if outlet.may_tell("emulation_too_much_waits") {
                    info!(
                        bytes_max,
                        "a client's commands arrive faster than they are answered: more than \
                         `emulation_waiting_bytes_max` of them wait, and its session ends",
                    );
                }
                state.end_behind_answers(Disconnect::TooManyRequests, outlet);
                state.flush(outlet);
            }
        }
    }

    /// Takes the only message that counts of a client that never asks.
    fn receive_once(&mut self, message: &[u8], outlet: &mut Outlet<'_>) {
        if !matches!(self.state.stage, Stage::Fresh) || !self.rest.frame.is_empty() {
            return;
        }
        match transports::one_way(message.to_vec()) {
            Some(frame) => {
                self.rest = Rest { frame, at: 0 };
                outlet.go_on_later();
            }
            None => {
                if outlet.may_tell("centrifuge_first_message") {
                    info!("the first message of a one-way client is not one JSON object");
                }
                self.state
                    .end_behind_answers(Disconnect::BadRequest, outlet);
            }
        }
    }

    /// Whether further commands have come for it.
    fn has_waiting(&self) -> bool {
        let emulated = self.state.emulated.as_ref();
        emulated.is_some_and(|it| it.waiting_bytes() > 0)
    }

    /// Carries out some commands, and returns how many bytes are left of them for a later step.
    fn take(&mut self, mut commands: Commands<'_>, outlet: &mut Outlet<'_>) -> usize {
        let Self { live, state, .. } = self;
        let world = &**live.now();
        let (mut done, mut until) = (0, None);
        let left = loop {
            let left = commands.rest();
            if done == COMMANDS_AT_ONCE {
                break left;
            }
            if state.awaited.len() >= AWAITED_MAX {
                // The next command may have waited for something else, and stays one that was counted.
                state.again = state.again.map(|_| Until::Answered);
                until = Some(Until::Answered);
                break left;
            }
            let next = match commands.next() {
                None => break &[],
                Some(Ok(command)) => state.carry_out(live, world, &command, outlet),
                Some(Err(malformed)) => {
                    if outlet.may_tell("centrifuge_malformed") {
                        info!(%malformed, "a client's frame cannot be read");
                    }
                    state.end_behind_answers(Disconnect::BadRequest, outlet);
                    Next::End
                }
            };
            state.again = None;
            match next {
                Next::Go => done += 1,
                Next::Again(wait) => {
                    state.again = Some(wait);
                    until = Some(wait);
                    break left;
                }
                Next::End => break &[],
            }
        };
        outlet.did_commands(done);
        state.flush(outlet);
        if !left.is_empty() {
            State::go_on_after(until, outlet);
        }
        left.len()
    }
}

impl Session for CentrifugeSession {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        outlet.set_alarm(Some(self.live.now().settled.connect));
        if !self.rest.frame.is_empty() {
            outlet.go_on_later();
        }
    }

    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        if self.state.wire.is_one_way() {
            return self.receive_once(message.payload, outlet);
        }
        let frame = message.payload;
        let commands = Commands::new(self.state.wire.encoding(), frame);
        let left = self.take(commands, outlet);
        self.rest = Rest {
            frame: frame[frame.len() - left..].to_vec(),
            at: 0,
        };
    }

    fn go_on(&mut self, outlet: &mut Outlet<'_>) {
        let Rest { mut frame, at } = mem::take(&mut self.rest);
        if frame.is_empty() {
            let waiting = self.state.emulated.as_mut();
            frame = waiting.and_then(|it| it.next()).unwrap_or_default();
        }
        let commands = Commands::resume(self.state.wire.encoding(), &frame[at..]);
        let left = self.take(commands, outlet);
        if left > 0 {
            let at = frame.len() - left;
            self.rest = Rest { frame, at };
        } else if self.has_waiting() {
            outlet.go_on_later();
        }
    }

    fn counts_messages(&self) -> bool {
        !self.state.wire.is_one_way()
    }

    fn held_bytes(&self) -> usize {
        let emulated = self.state.emulated.as_ref();
        self.rest.frame.capacity() + emulated.map_or(0, |it| it.waiting_bytes())
    }

    fn lag(&self, room: Ticket) -> Option<Lag> {
        let subscription = self.state.rooms.of(room)?;
        subscription.skips.then_some(Lag::Skip)
    }

    fn ping(&mut self, outlet: &mut Outlet<'_>) {
        let State { wire, frame, .. } = &mut self.state;
        wire.encoding().append_ping(frame);
        self.state.is_pinged = true;
        self.state.flush(outlet);
    }

    fn close_code(&self, reason: &EndReason) -> Option<(CloseCode, &'static str)> {
        let disconnect = match reason {
            EndReason::Drained | EndReason::Aged => Disconnect::Shutdown,
            EndReason::SendQueueFull | EndReason::WriteStalled => Disconnect::Slow,
            EndReason::PongTimeout => Disconnect::NoPong,
            EndReason::MessageRate | EndReason::ControlRate => Disconnect::TooManyRequests,
            EndReason::RoomGone | EndReason::RoomLost => Disconnect::InsufficientState,
            EndReason::RoomBusy | EndReason::UnfinishedFull | EndReason::Panicked => {
                Disconnect::ServerError
            }
            _ => return None,
        };
        close_of(disconnect)
    }

    fn last_words(&mut self, reason: &EndReason) -> Option<Bytes> {
        let (code, reason) = match reason {
            EndReason::SessionClosed(code, text) => (*code, *text),
            reason => self.close_code(reason)?,
        };
        let mut words = Vec::new();
        let code = u32::from(code.get());
        let wire = self.state.wire;
        wire.append_push("", &Push::Disconnect { code, reason }, &mut words);
        wire.frame(&mut words);
        Some(words.into())
    }

    fn closed(&mut self, reason: &EndReason) {
        let mut explained = reason.explained();
        if let Some((code, text)) = self.close_code(reason) {
            (explained.code, explained.text) = (Some(code), text);
        }
        self.state.rooms.tell_over(explained);
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        if let SessionEvent::Command(command) = &event {
            self.keep(&**command, outlet);
        }
        let Self { live, state, .. } = self;
        state.handle(live, &live.now(), event, outlet);
        state.end_if_answered(outlet);
        state.flush(outlet);
    }
}
