//! What travels between cores: requests to a room's home, deliveries to its subscribers' cores.
//!
//! Both travel as `Vec` batches through bounded flume channels, so that a sleeping core is woken
//! once for a turn's work and not once for each message.

use bytes::Bytes;
use flume::Sender;

use crate::{name::RoomName, view::RoomView};

/// A core's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub u16);

impl CoreId {
    /// The number as an index into per-core tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A connection: its core, and a token that only that core can read. Tokens are never used again,
/// so that a late delivery meets nobody rather than a newer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// The core whose connection this is.
    pub core: CoreId,
    /// Opaque to the hub.
    pub token: u64,
}

/// One incarnation of a room: its home core and the home's token for it. A room that was reaped
/// and is made again has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomId {
    /// The core that numbers this room's messages.
    pub home: CoreId,
    /// Read only by that core.
    pub token: u64,
}

/// What a publisher hands over: opaque to the hub and delivered as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// One byte that belongs to the payload (which kind of message it is), opaque to the hub.
    pub tag: u8,
    /// A number that travels with it, opaque to the hub.
    pub stamp: u64,
    /// The payload, shared by all cores that deliver it.
    pub payload: Bytes,
}

/// From a connection's core to a room's home.
#[derive(Clone, Debug)]
pub enum Request {
    /// Subscribe `subscriber`; answered by [`Delivery::Joined`] or [`Delivery::Refused`].
    Join {
        /// The room, made if it is not there.
        name: RoomName,
        /// Who is told.
        subscriber: ConnectionId,
    },
    /// One subscriber of `core` is gone. Not answered.
    Leave {
        /// The room as the join's answer named it.
        room: RoomId,
        /// The core that has one subscriber fewer.
        core: CoreId,
    },
    /// Give the publication the room's next number and deliver it to all subscribers.
    Publish {
        /// The room as the join's answer named it.
        room: RoomId,
        /// Whose message this is; its core learns from the delivery that it was taken.
        publisher: ConnectionId,
        /// What is delivered.
        publication: Publication,
    },
    /// Tell an operator which rooms stand out.
    Look {
        /// How many of each kind.
        top: usize,
        /// Where the answer goes; one that finds no room there is lost.
        reply: Sender<RoomView>,
    },
    /// Time has come to this; empty rooms whose time is over are reaped.
    Sweep {
        /// Milliseconds since the process started.
        now_ms: u64,
        /// For how long an empty room is kept, in milliseconds.
        idle_ms: u64,
    },
}

/// From a room's home to a core with subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The join was ordered: `subscriber` has every message after `position`.
    Joined {
        /// Whose join this answers.
        subscriber: ConnectionId,
        /// The room's id, for leaving and publishing.
        room: RoomId,
        /// Random, one per incarnation: (epoch, number) is never the same for two messages.
        epoch: u64,
        /// The number of the room's latest message before the join; 0 if there was none.
        position: u64,
    },
    /// The join was refused.
    Refused {
        /// Whose join this answers.
        subscriber: ConnectionId,
        /// Why.
        reason: JoinRefusal,
    },
    /// One message of a room, for every subscriber on the receiving core.
    Message {
        /// The room.
        room: RoomId,
        /// From 1, growing by one.
        number: u64,
        /// Whose message it is.
        publisher: ConnectionId,
        /// What was published.
        publication: Publication,
    },
    /// The room of a publication is no more: it was not delivered to anybody.
    Unpublished {
        /// Whose message it was.
        publisher: ConnectionId,
    },
}

/// Why a join is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// There are as many rooms as are allowed, and this would be one more.
    #[error("the server has as many rooms as it may have")]
    TooManyRooms,
}
