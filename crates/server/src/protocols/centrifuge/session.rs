//! One session: takes frames apart into commands, some at a time, and gathers their replies.
//!
//! *Bounded:* a step carries out at most [`COMMANDS_AT_ONCE`] commands; what is left of a frame is kept, at
//! most one message, and nothing else is read before it is done. At most [`AWAITED_MAX`] questions to rooms are
//! open at a time.

use std::{mem, sync::Arc};

use bytes::Bytes;
use centrifuge::{Command, Commands, Disconnect, ErrorCode, Method, Push, Reply};
use codec::{CloseCode, Message};
use runtime::{Bucket, EndReason, Lag, Outlet, Pings, Session, SessionEvent, Ticket};
use tracing::info;

use super::{
    answers::Awaited,
    connect::{Connecting, Identity},
    emulation::{Emulated, TooMuchWaits},
    subscriptions::Subscriptions,
    transports,
    wire::Wire,
};
use crate::{
    oneshot::OneShots,
    world::{Live, World},
};

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

/// What a session knows.
pub struct State {
    pub(super) wire: Wire,
    pub(super) pings: Pings,
    /// What it has if its transport goes only one way.
    pub(super) emulated: Option<Box<Emulated>>,
    /// The connection's id, a UUID.
    pub(super) client: Box<str>,
    pub(super) stage: Stage,
    pub(super) rooms: Subscriptions,
    /// What rooms were asked for, by ticket.
    pub(super) awaited: Vec<(Ticket, Awaited)>,
    /// Replies and pushes of this step, as one frame.
    frame: Vec<u8>,
    /// Whether the peer owes the answer to a ping.
    is_pinged: bool,
    /// What the next command has waited for, if it is tried again.
    again: Option<Until>,
    /// How often the client may command something, and how often it may do so more often.
    commands: Bucket,
    refusals: Bucket,
    /// When the client last lost a room because it was too slow.
    pub(super) lagged_ms: Option<u64>,
    /// All one-shot rooms.
    pub(super) one_shots: Arc<OneShots>,
}

/// How far a session is.
pub enum Stage {
    /// The first command has not come.
    Fresh,
    /// The rooms that the server subscribes it to have been asked.
    Connecting(Box<Connecting>),
    /// It is somebody.
    Open(Box<Identity>),
    /// It was refused with an error, and its peer is expected to close.
    Refused,
    /// It is closed as soon as rooms have answered what it asked for before: an acknowledgement must not be
    /// lost to a mistake that came behind it.
    Ending(Disconnect),
}

/// What follows a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next one.
    Go,
    /// The same again, when what it waits for has come.
    Again(Until),
    /// Nothing: the connection is to end.
    End,
}

/// What a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The part of a turn for costly work.
    Costly,
    /// The answers of rooms.
    Answered,
    /// The answers of rooms, and that everything has left.
    Sent,
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is answered with an error.
    Error(ErrorCode),
    /// The connection is closed.
    Disconnect(Disconnect),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<Disconnect> for Refusal {
    fn from(code: Disconnect) -> Self {
        Self::Disconnect(code)
    }
}

impl CentrifugeSession {
    /// A session whose peer has said nothing.
    pub fn new(live: Arc<Live>, wire: Wire, pings: Pings) -> Self {
        let one_shots = Arc::clone(&live.one_shots);
        Self {
            live,
            state: State {
                wire,
                pings,
                emulated: None,
                client: uuid::Uuid::new_v4().to_string().into(),
                stage: Stage::Fresh,
                rooms: Subscriptions::default(),
                awaited: Vec::new(),
                frame: Vec::new(),
                is_pinged: false,
                again: None,
                commands: Bucket::default(),
                refusals: Bucket::default(),
                lagged_ms: None,
                one_shots,
            },
            rest: Rest::default(),
        }
    }

    /// The same, whose peer sends its commands by requests of their own.
    pub fn emulated(mut self) -> Self {
        let node = self.live.node().clone();
        self.state.emulated = Some(Box::new(Emulated::new(node)));
        self
    }

    /// The same, that begins with this frame, if there is one; it is not empty.
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
        match transports::first_message(message) {
            Some(frame) => {
                self.rest = Rest { frame, at: 0 };
                outlet.go_on_later();
            }
            None => self
                .state
                .end_behind_answers(Disconnect::BadRequest, outlet),
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

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        if let SessionEvent::Command(command) = &event {
            self.keep(&**command, outlet);
        }
        let Self { live, state, .. } = self;
        state.handle(&live.now(), event, outlet);
        state.end_if_answered(outlet);
        state.flush(outlet);
    }
}

/// A disconnect as the code and the text of a close frame.
pub fn close_of(disconnect: Disconnect) -> Option<(CloseCode, &'static str)> {
    Some((
        CloseCode::from_wire(disconnect.code())?,
        disconnect.reason(),
    ))
}

/// How a client that never asks is told that it cannot be connected.
fn of_one_way(code: ErrorCode) -> Disconnect {
    match code {
        ErrorCode::TokenExpired | ErrorCode::Expired => Disconnect::Expired,
        ErrorCode::TooManyRequests => Disconnect::TooManyRequests,
        ErrorCode::PermissionDenied => Disconnect::PermissionDenied,
        _ => Disconnect::ServerError,
    }
}

/// The room that a command other than `subscribe` is about.
fn named<'a>(method: &'a Method<'_>) -> Option<&'a str> {
    match method {
        Method::Unsubscribe(request) => Some(&request.channel),
        Method::Publish(request) => Some(&request.channel),
        Method::Presence(request) => Some(&request.channel),
        Method::PresenceStats(request) => Some(&request.channel),
        Method::History(request) => Some(&request.channel),
        Method::SubRefresh(request) => Some(&request.channel),
        _ => None,
    }
}

impl State {
    /// Asks to go on with the rest of a frame, as soon as what it waits for has come.
    fn go_on_after(until: Option<Until>, outlet: &mut Outlet<'_>) {
        match until {
            Some(Until::Costly) => return outlet.go_on_at_cost(),
            Some(Until::Answered) => outlet.wait(),
            Some(Until::Sent) => {
                outlet.wait();
                outlet.wait_until_sent();
            }
            None => {}
        }
        outlet.go_on_later();
    }

    fn carry_out(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        command: &Command<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Next {
        let id = command.id;
        let carried_out = match (&self.stage, &command.method) {
            (Stage::Refused | Stage::Ending(_), _) => Ok(Next::Go),
            (_, Method::Pong) => self.pong(outlet),
            (Stage::Fresh, Method::Connect(request)) if id > 0 => {
                self.connect(live, world, id, request, outlet)
            }
            (Stage::Connecting(_), _) => Ok(Next::Again(Until::Answered)),
            (Stage::Fresh, _) | (_, Method::Connect(_) | Method::Unknown) => {
                Err(Disconnect::BadRequest.into())
            }
            // There is nobody who could take what has no answer.
            (Stage::Open(_), Method::Send(_)) => Err(Disconnect::NotAvailable.into()),
            (Stage::Open(_), _) if id == 0 => Err(Disconnect::BadRequest.into()),
            (Stage::Open(_), method) => self
                .check_rate(world, outlet)
                .and_then(|()| self.carry_out_open(world, id, method, outlet)),
        };
        match carried_out {
            Ok(next) => next,
            Err(Refusal::Error(code)) if self.wire.is_one_way() => {
                self.end_behind_answers(of_one_way(code), outlet);
                Next::End
            }
            Err(Refusal::Error(code)) => {
                self.reply(id, &Reply::Error(code.into()));
                Next::Go
            }
            Err(Refusal::Disconnect(code)) => {
                self.end_behind_answers(code, outlet);
                Next::End
            }
        }
    }

    /// Ends the connection for what its peer has sent, behind the answers to what it sent before.
    fn end_behind_answers(&mut self, code: Disconnect, outlet: &mut Outlet<'_>) {
        self.stage = Stage::Ending(code);
        outlet.wait();
        self.end_if_answered(outlet);
    }

    fn end_if_answered(&mut self, outlet: &mut Outlet<'_>) {
        if let Stage::Ending(code) = self.stage
            && self.awaited.is_empty()
        {
            self.flush(outlet);
            self.disconnect(code, outlet);
        }
    }

    /// What somebody asks for whose identity is known.
    fn carry_out_open(
        &mut self,
        world: &World,
        id: u32,
        method: &Method<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        if named(method).is_some_and(|room| self.rooms.is_joining(room)) {
            // Whoever sends several commands at once means them in their order.
            return Ok(Next::Again(Until::Answered));
        }
        match method {
            Method::History(_) | Method::Presence(_) if self.must_wait_for_much(outlet) => {
                return Ok(Next::Again(Until::Sent));
            }
            Method::Subscribe(request) => return self.subscribe(world, id, request, outlet),
            Method::Unsubscribe(request) => self.unsubscribe(id, request, outlet)?,
            Method::Publish(request) => self.publish(world, id, request, outlet)?,
            Method::Presence(request) => self.presence(world, id, &request.channel, outlet)?,
            Method::PresenceStats(request) => {
                self.presence_stats(world, id, &request.channel, outlet)?;
            }
            Method::History(request) => self.history(world, id, request, outlet)?,
            Method::Refresh(request) => return self.refresh(world, id, request, outlet),
            Method::SubRefresh(request) => return self.sub_refresh(world, id, request, outlet),
            Method::Rpc(_) => return Err(ErrorCode::NotAvailable.into()),
            Method::Connect(_) | Method::Send(_) | Method::Pong | Method::Unknown => {}
        }
        Ok(Next::Go)
    }

    /// Whether the client may command something now. If not it is told so, and if that happens too often, too,
    /// it has to go.
    fn check_rate(&mut self, world: &World, outlet: &Outlet<'_>) -> Result<(), Refusal> {
        let (rate, now_ns) = (world.settled.command_rate, outlet.now_ns());
        // A command that is tried again was counted before.
        let is_free = self.again.is_some() || self.identity().is_some_and(|it| it.is_unlimited);
        if is_free || self.commands.allows(rate, now_ns) {
            Ok(())
        } else if self.refusals.allows(rate, now_ns) {
            Err(ErrorCode::TooManyRequests.into())
        } else {
            Err(Disconnect::TooManyRequests.into())
        }
    }

    fn pong(&mut self, outlet: &mut Outlet<'_>) -> Result<Next, Refusal> {
        if !mem::take(&mut self.is_pinged) {
            return Err(Disconnect::BadRequest.into());
        }
        outlet.ponged();
        Ok(Next::Go)
    }

    /// Whether this command may verify a signature now; otherwise it is to be tried in one that may.
    pub(super) fn may_be_costly(&self) -> bool {
        self.again == Some(Until::Costly)
    }

    /// Closes the connection behind the replies of this step.
    pub(super) fn disconnect(&mut self, code: Disconnect, outlet: &mut Outlet<'_>) {
        if let Some((close, text)) = close_of(code) {
            if self.wire == Wire::OneWay {
                // Such a client looks at messages, whatever carries them.
                let (code, reason) = (code.code().into(), text);
                self.push("", &Push::Disconnect { code, reason });
                self.flush(outlet);
            }
            outlet.close(close, text);
        }
    }

    /// Adds a reply to this step's frame.
    pub(super) fn reply(&mut self, id: u32, reply: &Reply<'_>) {
        self.wire.append_reply(id, reply, &mut self.frame);
    }

    /// Adds a push to this step's frame.
    pub(super) fn push(&mut self, room: &str, push: &Push<'_>) {
        self.wire.append_push(room, push, &mut self.frame);
    }

    /// Sends this step's frame, if there is anything in it.
    fn flush(&mut self, outlet: &mut Outlet<'_>) {
        if self.frame.is_empty() {
            return;
        }
        let mut frame = mem::take(&mut self.frame);
        if self.wire == Wire::OneWay {
            let messages = frame.split(|byte| *byte == b'\n');
            messages.for_each(|message| outlet.send(self.wire.kind(), message));
            return;
        }
        self.wire.frame(&mut frame);
        outlet.send(self.wire.kind(), &frame);
    }
}
