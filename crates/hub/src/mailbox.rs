//! What travels between cores: requests to a room's home, deliveries to its subscribers' cores.
//!
//! Both travel as `Vec` batches through bounded flume channels, so that a sleeping core is woken
//! once for a turn's work and not once for each message.

use std::sync::Arc;

use flume::Sender;
use smallvec::SmallVec;

use crate::{
    log::{Position, Record},
    name::RoomName,
    view::RoomView,
};

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
    /// The core that orders this room's messages.
    pub home: CoreId,
    /// Read only by that core.
    pub token: u64,
}

/// Chosen by whoever asks, and part of the answer: what the answer is to. Opaque to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// One number for each message of a run, as its publisher gave it: opaque to the hub and without
/// a meaning beyond the process.
pub type Stamps = SmallVec<[u64; 1]>;

/// The room that a publication is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The room as a join's answer named it.
    Room(RoomId),
    /// The room of this name, made if it is not there: for publishers that have not joined it.
    Name(RoomName),
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
        /// What the answer is known by.
        ticket: Ticket,
    },
    /// One subscriber of `core` is gone. Not answered.
    Leave {
        /// The room as the join's answer named it.
        room: RoomId,
        /// The core that has one subscriber fewer.
        core: CoreId,
    },
    /// Give the record the room's next offset and deliver it to all subscribers; answered once, by
    /// [`Delivery::Published`] or [`Delivery::Unpublished`].
    Publish {
        /// The room.
        to: Target,
        /// Whom the answer is for.
        publisher: ConnectionId,
        /// What the answer is known by.
        ticket: Ticket,
        /// A number that travels with the message and its answer.
        stamp: u64,
        /// What is delivered.
        record: Record,
    },
    /// `core` cannot keep up with the room: its publications wait at its home, in order, until no
    /// core holds it any more. Joins and leaves go on, and so do other rooms. A core without
    /// subscribers there holds nothing: with its last one it lets go of the room. Not answered.
    Hold {
        /// The room as the join's answer named it.
        room: RoomId,
        /// The core that holds it.
        core: CoreId,
    },
    /// `core` has caught up with the room. Not answered.
    Resume {
        /// The room as the join's answer named it.
        room: RoomId,
        /// The core that lets go of it.
        core: CoreId,
    },
    /// The room's log is lost. All its subscribers are told and forgotten, and when it is made again
    /// it has another epoch.
    Lose {
        /// The room.
        name: RoomName,
        /// What its subscribers are told.
        reason: LossReason,
    },
    /// Tell an operator which rooms stand out.
    Look {
        /// How many of each kind.
        top: usize,
        /// Where the answer goes; one that finds no room there is lost.
        reply: Sender<RoomView>,
    },
    /// Time has come to this; empty rooms whose time is over are reaped, a bounded number at once.
    Sweep {
        /// Milliseconds since the process started.
        now_ms: u64,
        /// For how long a room without subscribers and publications is kept, in milliseconds.
        idle_ms: u64,
        /// For how long a reaped room's log is kept after that, in milliseconds. Until then a room
        /// that is made again under the name goes on with the same epoch and offsets.
        position_ttl_ms: u64,
    },
}

/// From a room's home to a core with subscribers or publishers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The join was ordered: `subscriber` has every message after `position`.
    Joined {
        /// Whose join this answers.
        subscriber: ConnectionId,
        /// The ticket of the join.
        ticket: Ticket,
        /// The room's id, for leaving and publishing.
        room: RoomId,
        /// Its name, as it was asked for.
        name: RoomName,
        /// The position of the room's latest message before the join.
        position: Position,
    },
    /// The join was refused.
    Refused {
        /// Whose join this answers.
        subscriber: ConnectionId,
        /// The ticket of the join.
        ticket: Ticket,
        /// Why.
        reason: JoinRefusal,
    },
    /// Messages of a room with consecutive offsets, for every subscriber on the receiving core.
    Messages {
        /// The room.
        room: RoomId,
        /// The offset of the first record.
        first: u64,
        /// The messages; never none.
        records: Arc<[Record]>,
        /// What their publishers gave with them, one for each.
        stamps: Stamps,
    },
    /// The publication was ordered. If the publisher's core has subscribers, the message itself has
    /// come before this.
    Published {
        /// Whose publication this answers.
        publisher: ConnectionId,
        /// The ticket of the publication.
        ticket: Ticket,
        /// The room that has it.
        room: RoomId,
        /// The message's position.
        position: Position,
        /// The stamp of the publication.
        stamp: u64,
    },
    /// The publication was refused: it is delivered to nobody.
    Unpublished {
        /// Whose publication this answers.
        publisher: ConnectionId,
        /// The ticket of the publication.
        ticket: Ticket,
        /// Why.
        reason: PublishRefusal,
    },
    /// The room is no more, for all its subscribers on the receiving core: none of them has to leave
    /// it, and nothing more comes of it.
    Lost {
        /// The room.
        room: RoomId,
        /// What became of it.
        reason: LossReason,
    },
}

/// Why a join is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// There are as many rooms as are allowed, and this would be one more.
    #[error("the server has as many rooms as it may have")]
    TooManyRooms,
}

/// Why a publication is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefusal {
    /// The room was reaped or lost since the publisher was told of it.
    #[error("the room is no more")]
    RoomGone,
    /// There are as many rooms as are allowed, and this would be one more.
    #[error("the server has as many rooms as it may have")]
    TooManyRooms,
    /// The room waits for subscribers that cannot keep up, and as much waits as may.
    #[error("the room's subscribers cannot keep up, and no more may wait for them")]
    Busy,
}

/// How a room's log was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LossReason {
    /// Messages that subscribers have not had can no longer be found.
    #[error("messages of the room are missing")]
    Gap,
    /// Messages that had their offsets are no longer in the log, which would give them again.
    #[error("the end of the room's log is lost")]
    Cut,
}
