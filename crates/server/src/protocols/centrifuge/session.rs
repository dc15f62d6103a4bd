//! One session: takes frames apart into commands, some at a time, and gathers their replies.
//!
//! *Bounded:* a step carries out at most [`COMMANDS_AT_ONCE`] commands; what is left of a frame is kept, at
//! most one message, and nothing else is read before it is done. At most [`AWAITED_MAX`] questions to rooms are
//! open at a time.

use std::{mem, sync::Arc};

use centrifuge::{
    Command, Commands, Disconnect, Encoding, ErrorCode, Method, Push, Reply, Unsubscribed,
};
use codec::{CloseCode, Message};
use runtime::{Bucket, EndReason, Lag, LeftReason, Outlet, Pings, Session, SessionEvent, Ticket};
use tracing::info;

use super::{
    answers::Awaited,
    bodies::frame_kind,
    connect::{Connecting, Identity},
    subscriptions::{Subscription, Subscriptions},
};
use crate::{
    oneshot::{OneShots, Replaced},
    world::{Live, RulesChanged, Superseded, World},
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
    pub(super) encoding: Encoding,
    pub(super) pings: Pings,
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
    pub fn new(live: Arc<Live>, encoding: Encoding, pings: Pings) -> Self {
        let one_shots = Arc::clone(&live.one_shots);
        Self {
            live,
            state: State {
                encoding,
                pings,
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
    }

    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        let frame = message.payload;
        let commands = Commands::new(self.state.encoding, frame);
        let left = self.take(commands, outlet);
        self.rest = Rest {
            frame: frame[frame.len() - left..].to_vec(),
            at: 0,
        };
    }

    fn go_on(&mut self, outlet: &mut Outlet<'_>) {
        let Rest { frame, at } = mem::take(&mut self.rest);
        let commands = Commands::resume(self.state.encoding, &frame[at..]);
        let left = self.take(commands, outlet);
        if left > 0 {
            let at = frame.len() - left;
            self.rest = Rest { frame, at };
        }
    }

    fn counts_messages(&self) -> bool {
        true
    }

    fn held_bytes(&self) -> usize {
        self.rest.frame.capacity()
    }

    fn lag(&self, room: Ticket) -> Option<Lag> {
        let subscription = self.state.rooms.of(room)?;
        subscription.skips.then_some(Lag::Skip)
    }

    fn ping(&mut self, outlet: &mut Outlet<'_>) {
        let State {
            encoding, frame, ..
        } = &mut self.state;
        encoding.append_ping(frame);
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

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
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

    fn handle(&mut self, world: &World, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Joined {
                room,
                position,
                recovered,
            } => self.joined(world.settled.ping_s, room, (position, recovered), outlet),
            SessionEvent::JoinRefused { room, .. } => self.join_refused(room, outlet),
            SessionEvent::Left { room, reason } => self.left(room, reason, outlet),
            SessionEvent::Published { publication, .. } => self.published(publication),
            SessionEvent::Unpublished {
                publication,
                reason,
            } => self.unpublished(publication, reason),
            SessionEvent::Answered { question, answer } => self.answered(question, answer),
            SessionEvent::Alarm => self.alarm(outlet),
            // Messages were passed over where the namespace permits it; nothing in the protocol tells.
            SessionEvent::Skipped { .. } | SessionEvent::Joining { .. } => {}
            SessionEvent::Command(command) => {
                if let Some(changed) = command.downcast_ref::<RulesChanged>() {
                    self.follow(changed, outlet);
                } else if let Some(Replaced { seat }) = command.downcast_ref() {
                    self.give_up_seat(*seat, outlet);
                } else if let Some(Superseded { by }) = command.downcast_ref()
                    && *by != outlet.id()
                {
                    self.disconnect(Disconnect::ConnectionLimit, outlet);
                }
            }
        }
    }

    /// The client has lost a room.
    fn left(&mut self, room: Ticket, reason: LeftReason, outlet: &mut Outlet<'_>) {
        let is_server_side = self.rooms.of(room).is_some_and(Subscription::is_server_side);
        match reason {
            LeftReason::Commanded => self.end(room, Unsubscribed::Server, outlet),
            LeftReason::Lagging if self.has_lagged_again(outlet.now_ms()) => {
                self.disconnect(Disconnect::Slow, outlet);
            }
            // The client cannot ask for such a room by itself.
            _ if is_server_side => self.disconnect(Disconnect::InsufficientState, outlet),
            LeftReason::Lagging | LeftReason::Lost(_) => {
                self.end(room, Unsubscribed::InsufficientState, outlet);
            }
        }
    }

    /// The rules of some rooms are others now: the client subscribes to them again under these.
    fn follow(&mut self, changed: &RulesChanged, outlet: &mut Outlet<'_>) {
        for (ticket, is_server_side) in self.rooms.those(|name| changed.concerns(name)) {
            if is_server_side {
                return self.disconnect(Disconnect::StateInvalidated, outlet);
            }
            self.end(ticket, Unsubscribed::StateInvalidated, outlet);
        }
    }

    /// Whether the client has lost another room for its slowness a short time ago.
    fn has_lagged_again(&mut self, now_ms: u64) -> bool {
        const AGAIN_MS: u64 = 30_000;
        let before = self.lagged_ms.replace(now_ms);
        before.is_some_and(|before| now_ms.saturating_sub(before) < AGAIN_MS)
    }

    /// Whether this command may verify a signature now; otherwise it is to be tried in one that may.
    pub(super) fn may_be_costly(&self) -> bool {
        self.again == Some(Until::Costly)
    }

    /// Closes the connection behind the replies of this step.
    pub(super) fn disconnect(&mut self, code: Disconnect, outlet: &mut Outlet<'_>) {
        if let Some((code, text)) = close_of(code) {
            outlet.close(code, text);
        }
    }

    /// Adds a reply to this step's frame.
    pub(super) fn reply(&mut self, id: u32, reply: &Reply<'_>) {
        self.encoding.separate(&mut self.frame);
        self.encoding.append_reply(id, reply, &mut self.frame);
    }

    /// Adds a push to this step's frame.
    pub(super) fn push(&mut self, room: &str, push: &Push<'_>) {
        self.encoding.separate(&mut self.frame);
        self.encoding.append_push(room, push, &mut self.frame);
    }

    /// Sends this step's frame, if there is anything in it.
    fn flush(&mut self, outlet: &mut Outlet<'_>) {
        if !self.frame.is_empty() {
            let frame = mem::take(&mut self.frame);
            outlet.send(frame_kind(self.encoding), &frame);
        }
    }
}
