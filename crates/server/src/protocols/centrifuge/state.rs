//! What a session knows, and how it carries out one command: who may command what in which stage, and how often.

use std::{mem, sync::Arc};

use centrifuge::{Command, Disconnect, ErrorCode, Failure, Method, Push, Reply};
use codec::CloseCode;
use runtime::{Bucket, Outlet, Pings, Ticket};

use super::{
    answers::Awaited, connect::Connecting, emulation::Emulated, events::kept_out, hooks::Asking,
    identity::Identity, subscriptions::Subscriptions, wire::Wire,
};
use crate::{
    hooks::{Answered, Said},
    oneshot::OneShots,
    world::{Live, World},
};

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
    pub(super) frame: Vec<u8>,
    /// Whether the peer owes the answer to a ping.
    pub(super) is_pinged: bool,
    /// What the next command has waited for, if it is tried again.
    pub(super) again: Option<Until>,
    /// How often the client may command something, and how often it may do so more often.
    commands: Bucket,
    refusals: Bucket,
    /// When the client last lost a room because it was too slow.
    pub(super) lagged_ms: Option<u64>,
    /// All one-shot rooms.
    pub(super) one_shots: Arc<OneShots>,
    /// What it has to do with back ends.
    pub(super) asking: Option<Box<Asking>>,
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
    Ending(Close),
}

/// The code and the text of a close frame.
pub type Close = (CloseCode, &'static str);

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
#[derive(Clone, Debug)]
pub enum Refusal {
    /// It is answered with an error.
    Error(ErrorCode),
    /// The connection is closed.
    Disconnect(Disconnect),
    /// It is answered with an error of the application.
    BackEnd(Arc<Answered>),
    /// The connection is closed by the application.
    Close(Close),
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

/// A disconnect as the code and the text of a close frame.
pub fn close_of(disconnect: Disconnect) -> Option<Close> {
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
    /// What is known of a session whose peer has said nothing.
    pub(super) fn new(one_shots: Arc<OneShots>, wire: Wire, pings: Pings) -> Self {
        Self {
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
            asking: None,
        }
    }

    /// The entry in the table of protocols.
    pub(super) fn protocol(&self) -> &'static str {
        let protocol = match self.wire {
            Wire::Protobuf if self.emulated.is_some() => super::HTTP_STREAM,
            Wire::Json | Wire::Protobuf => super::WEBSOCKET,
            Wire::Lines => super::HTTP_STREAM,
            Wire::Events => super::SSE,
            Wire::OneWay => super::UNI_WEBSOCKET,
            Wire::OneWayLines => super::UNI_HTTP_STREAM,
            Wire::OneWayEvents => super::UNI_SSE,
        };
        protocol.name
    }

    /// Asks to go on with the rest of a frame, as soon as what it waits for has come.
    pub(super) fn go_on_after(until: Option<Until>, outlet: &mut Outlet<'_>) {
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

    pub(super) fn carry_out(
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
            // Who is kept out was told so, unless its core had no space for that.
            (Stage::Open(identity), method) => kept_out(world, identity)
                .map_or(Ok(()), |code| Err(code.into()))
                .and_then(|()| self.check_rate(world, outlet))
                .and_then(|()| self.carry_out_open(live, world, id, method, outlet)),
        };
        let next = match carried_out {
            Ok(next) => next,
            Err(Refusal::Error(code)) if self.wire.is_one_way() => {
                self.end_behind_answers(of_one_way(code), outlet);
                Next::End
            }
            Err(Refusal::BackEnd(_)) if self.wire.is_one_way() => {
                self.end_behind_answers(of_one_way(ErrorCode::Internal), outlet);
                Next::End
            }
            Err(Refusal::BackEnd(answered)) => {
                self.reply_error_of(id, &answered);
                Next::Go
            }
            Err(Refusal::Error(code)) => {
                self.reply(id, &Reply::Error(code.into()));
                Next::Go
            }
            Err(Refusal::Disconnect(code)) => {
                self.end_behind_answers(code, outlet);
                Next::End
            }
            Err(Refusal::Close(close)) => {
                self.close_behind_answers(close, outlet);
                Next::End
            }
        };
        if !matches!(next, Next::Again(_)) {
            self.forget_question();
        }
        next
    }

    /// Tells the client what the back end says of its command.
    fn reply_error_of(&mut self, id: u32, answered: &Answered) {
        if let Ok(Said::Error {
            code,
            message,
            temporary,
        }) = &answered.outcome
        {
            let (code, temporary) = (*code, *temporary);
            let failure = Failure {
                code,
                message,
                temporary,
            };
            self.reply(id, &Reply::Error(failure));
        }
    }

    /// Ends the connection for what its peer has sent, behind the answers to what it sent before.
    pub(super) fn end_behind_answers(&mut self, code: Disconnect, outlet: &mut Outlet<'_>) {
        if let Some(close) = close_of(code) {
            self.close_behind_answers(close, outlet);
        }
    }

    fn close_behind_answers(&mut self, close: Close, outlet: &mut Outlet<'_>) {
        self.stage = Stage::Ending(close);
        outlet.wait();
        self.end_if_answered(outlet);
    }

    pub(super) fn end_if_answered(&mut self, outlet: &mut Outlet<'_>) {
        if let Stage::Ending(close) = self.stage
            && self.awaited.is_empty()
        {
            self.flush(outlet);
            self.close_with(close, outlet);
        }
    }

    /// What somebody asks for whose identity is known.
    fn carry_out_open(
        &mut self,
        live: &Arc<Live>,
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
            Method::Subscribe(request) => return self.subscribe(live, world, id, request, outlet),
            Method::Unsubscribe(request) => self.unsubscribe(id, request, outlet)?,
            Method::Publish(request) => return self.publish(live, world, id, request, outlet),
            Method::Presence(request) => self.presence(world, id, &request.channel, outlet)?,
            Method::PresenceStats(request) => {
                self.presence_stats(world, id, &request.channel, outlet)?;
            }
            Method::History(request) => self.history(world, id, request, outlet)?,
            Method::Refresh(request) => return self.refresh(world, id, request, outlet),
            Method::SubRefresh(request) => return self.sub_refresh(world, id, request, outlet),
            Method::Rpc(request) => return self.rpc(live, world, id, request, outlet),
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

    /// Closes the connection with one of the protocol's own codes, behind the replies of this step.
    pub(super) fn disconnect(&mut self, code: Disconnect, outlet: &mut Outlet<'_>) {
        if let Some(close) = close_of(code) {
            self.close_with(close, outlet);
        }
    }

    /// The same with a code of the application.
    pub(super) fn close_with(&mut self, (code, reason): Close, outlet: &mut Outlet<'_>) {
        if self.wire.looks_at_messages_alone() {
            let number = code.get().into();
            self.push(
                "",
                &Push::Disconnect {
                    code: number,
                    reason,
                },
            );
            self.flush(outlet);
        }
        outlet.close(code, reason);
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
    pub(super) fn flush(&mut self, outlet: &mut Outlet<'_>) {
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
