//! The application protocol of one connection.
//!
//! A session does no I/O and never blocks: it is handed each message, and each answer of the rooms, and says
//! through its [`Outlet`] what follows.

use std::{any::Any, sync::Arc};

use bytes::Bytes;
use codec::{CloseCode, Message};
use hub::{
    Answer as RoomAnswer, JoinRefusal, LossReason, Position, PublishRefusal, Recovered, RoomName,
};

use super::Outlet;
use crate::{end::EndReason, rooms::Ticket};

/// One connection's application protocol.
pub trait Session {
    /// The connection is open, and in its first room if it has one. What is sent here comes before
    /// everything else.
    fn opened(&mut self, _outlet: &mut Outlet<'_>) {}

    /// A whole message has come. Text is valid UTF-8.
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>);

    /// The session was not done with what it was handed ([`Outlet::go_on_later`]), and it is its turn again.
    /// Until it is done it is handed no message.
    fn go_on(&mut self, _outlet: &mut Outlet<'_>) {}

    /// Whether it bounds by itself how often its peer may send messages, because one may have many commands;
    /// otherwise the runtime does ([`Config::message_rate`](crate::Config::message_rate)).
    fn counts_messages(&self) -> bool {
        false
    }

    /// Bytes of memory that it keeps of what it is not done with; they count as unfinished.
    fn held_bytes(&self) -> usize {
        0
    }

    /// What happens when the connection is the furthest behind in this room, where that differs from what its
    /// [`Opening`](super::Opening) says.
    fn lag(&self, _room: Ticket) -> Option<Lag> {
        None
    }

    /// The peer is to be asked for a sign of life: see [`Pings::Messages`].
    fn ping(&mut self, _outlet: &mut Outlet<'_>) {}

    /// The code and the text of the close frame that tells the peer of this end, where the session's own
    /// protocol has other ones than [`EndReason::explained`].
    fn close_code(&self, _reason: &EndReason) -> Option<(CloseCode, &'static str)> {
        None
    }

    /// What a stream says behind everything else, because its protocol tells of this end so; a stream has no
    /// close frame. It is not asked for an end at which nothing can be sent any more.
    fn last_words(&mut self, _reason: &EndReason) -> Option<Bytes> {
        None
    }

    /// Something else has happened. By default a room or a publication that is lost closes the
    /// connection, and everything else is ignored.
    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        outlet.close_for(&event);
    }

    /// The connection is over, for this one reason.
    fn closed(&mut self, _reason: &EndReason) {}
}

/// What a session learns besides messages of its peer.
pub enum SessionEvent {
    /// The connection is in the room that it asked for with this ticket, and has every message after
    /// `position`. Of the room in which it was opened that is said only if something of the room's past was asked
    /// for ([`Terms::recover`](hub::Terms::recover)), behind [`Session::opened`]: otherwise the head of the answer
    /// says it all.
    Joined {
        /// The ticket of [`Outlet::join`].
        room: Ticket,
        /// The position of the room's latest message before the join.
        position: Position,
        /// What is given of the room's past, if that was asked for.
        recovered: Option<Recovered>,
    },
    /// The room was not joined.
    JoinRefused {
        /// The ticket of [`Outlet::join`].
        room: Ticket,
        /// Why.
        reason: JoinRefusal,
    },
    /// The connection is in that room no longer, though it did not ask for that.
    Left {
        /// The ticket of [`Outlet::join`].
        room: Ticket,
        /// Why.
        reason: LeftReason,
    },
    /// The connection was too far behind in that room ([`Lag::Skip`]): it misses messages.
    Skipped {
        /// The ticket of [`Outlet::join`].
        room: Ticket,
        /// How many; those who come and go count, too, where the connection would have been told of them. 0 if
        /// it had the beginning of the latest message, whose rest it gets.
        messages: u64,
    },
    /// The publication has its place in the room's order.
    Published {
        /// The ticket of [`Outlet::publish`] or [`Outlet::publish_to`].
        publication: Ticket,
        /// Where.
        position: Position,
    },
    /// The publication was not delivered to anybody.
    Unpublished {
        /// The ticket of [`Outlet::publish`] or [`Outlet::publish_to`].
        publication: Ticket,
        /// Why.
        reason: PublishRefusal,
    },
    /// A question about a room is answered.
    Answered {
        /// The ticket of [`Outlet::ask_about`].
        question: Ticket,
        /// The answer.
        answer: RoomAnswer,
    },
    /// A command has had the connection ask for this room; the answer follows.
    Joining {
        /// The ticket, as of [`Outlet::join`].
        room: Ticket,
        /// The room.
        name: RoomName,
    },
    /// Somebody has handed the session a command of the application's own.
    Command(Arc<dyn Any + Send + Sync>),
    /// The time has come that the session was waiting for ([`Outlet::set_alarm`]).
    Alarm,
}

/// Why a connection is in a room no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftReason {
    /// The room's order is lost: messages may be missing.
    Lost(LossReason),
    /// The connection was too far behind ([`Lag::Leave`]).
    Lagging,
    /// Somebody asked for it with a command.
    Commanded,
}

/// Who keeps a connection alive, at each [`Timeouts::ping_interval`](crate::Timeouts::ping_interval).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pings {
    /// The runtime, with a WebSocket's ping (RFC 6455 section 5.5.2).
    #[default]
    Frames,
    /// The session, with a message of its own ([`Session::ping`]); it says when that was answered
    /// ([`Outlet::ponged`]).
    Messages,
}

/// What is sent on a stream at each [`Timeouts::ping_interval`](crate::Timeouts::ping_interval), so that nobody
/// on the way takes the connection for dead and a peer that has gone is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeepAlive {
    /// Nothing.
    #[default]
    Nothing,
    /// These bytes, which nobody answers; none are nothing.
    Bytes(Bytes),
    /// A message of the session's own ([`Session::ping`]), which the peer answers over another connection: see
    /// [`Pings::Messages`].
    Messages,
}

/// What happens to a connection for which more waits than [`Config::send_queue_bytes_max`] allows.
///
/// [`Config::send_queue_bytes_max`]: crate::Config::send_queue_bytes_max
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lag {
    /// It is closed with 1013.
    #[default]
    Close,
    /// It leaves the room in which it is the furthest behind, and its session is handed
    /// [`SessionEvent::Left`].
    Leave,
    /// It is not sent what it has missed of that room, and its session is handed
    /// [`SessionEvent::Skipped`].
    Skip,
}
