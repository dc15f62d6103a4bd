//! What travels between cores: requests to a room's home, deliveries to its subscribers' cores.
//!
//! Both travel in batches (`Vec`) through bounded flume channels, so that a sleeping core is woken
//! once for the work of a turn and not once for each message.

use std::sync::Arc;

use flume::Sender;
use smallvec::SmallVec;

use crate::{
    log::{Epoch, Numbered, Page, Position, Recover, Recovered},
    name::RoomName,
    presence::{Announcement, Member},
    record::Record,
    rules::RuleBook,
    saved::{PageBounds, Restored, SavedPage, SavedRoom},
    view::{Listing, RoomView},
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

/// A connection: its core, and a token that only that core can read. Tokens are never reused, so
/// that a late delivery finds no connection rather than a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The core whose connection this is.
    pub core: CoreId,
    /// Opaque to the hub.
    pub token: u64,
}

/// One lifetime of a room: its home core and the home's token for it. A room that was reaped and is
/// made again has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomId {
    /// The core that orders this room's messages.
    pub home: CoreId,
    /// Opaque to all cores but the home.
    pub token: u64,
}

/// Identifies a request in its answer. The requester chooses it; it is opaque to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// One number for each message of a run, as its publisher gave it. It is opaque to the hub, and
/// meaningless outside the process.
pub type Stamps = SmallVec<[u64; 1]>;

/// The room that a publication is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The room as a join's answer named it.
    Room(RoomId),
    /// The room of this name, made if it does not exist: for publishers that have not joined it.
    Name(RoomName),
}

/// From a connection's core to a room's home.
#[derive(Clone, Debug)]
pub enum Request {
    /// Subscribe `subscriber`; answered by [`Delivery::Joined`] or [`Delivery::Refused`].
    Join {
        /// The room, made if it does not exist.
        name: RoomName,
        /// The connection that the answer is for.
        subscriber: ConnectionId,
        /// The ticket that the answer will carry.
        ticket: Ticket,
        /// What it wants beside the messages from now on, if anything.
        terms: Option<Box<Terms>>,
    },
    /// A connection that has joined has left again. There is no answer.
    Leave {
        /// The room as [`Delivery::Joined`] named it.
        room: RoomId,
        /// The connection, as its join named it.
        subscriber: ConnectionId,
    },
    /// Give the record the room's next offset and deliver it to all subscribers. The answer, once,
    /// is [`Delivery::Published`] or [`Delivery::Unpublished`].
    Publish {
        /// The room.
        to: Target,
        /// The connection that the answer is for.
        publisher: ConnectionId,
        /// The ticket that the answer will carry.
        ticket: Ticket,
        /// When the message was received, in nanoseconds of a clock that all cores share. Rates are counted by
        /// it, and it travels with the message and with its answer.
        stamp: u64,
        /// The message to deliver.
        record: Record,
    },
    /// Answer a question about the room of this name; answered by [`Delivery::Answered`].
    Ask {
        /// The room. A question about its log makes it if it does not exist, so that the position in the
        /// answer stays true.
        name: RoomName,
        /// The connection that the answer is for.
        asker: ConnectionId,
        /// The ticket that the answer will carry.
        ticket: Ticket,
        /// When it was asked, in nanoseconds of a clock that all cores share. Messages that the question has the
        /// room tell travel with it.
        stamp: u64,
        /// What is asked.
        question: Question,
    },
    /// List some rooms of this home; answered by [`Delivery::Listed`].
    List {
        /// Where the list goes on: 0, or [`Listing::next`].
        from: u32,
        /// The connection that the answer is for.
        asker: ConnectionId,
        /// The ticket that the answer will carry.
        ticket: Ticket,
    },
    /// `core` cannot keep up with the room. The room's publications wait at its home, in order,
    /// until no core holds the room any more; its joins and leaves continue, and so do other rooms.
    /// A core without subscribers in the room cannot hold it: with its last subscriber it resumes
    /// the room. There is no answer.
    Hold {
        /// The room as [`Delivery::Joined`] named it.
        room: RoomId,
        /// The core that holds it.
        core: CoreId,
    },
    /// `core` has caught up with the room and holds it no longer. There is no answer.
    Resume {
        /// The room as [`Delivery::Joined`] named it.
        room: RoomId,
        /// The core that held it.
        core: CoreId,
    },
    /// The room's log is lost. All its subscribers are informed and dropped, and the room has
    /// another epoch when it is made again.
    Lose {
        /// The room.
        name: RoomName,
        /// The reason that subscribers are given.
        reason: LossReason,
    },
    /// Report the rooms with the most subscribers and the most messages to an operator.
    Look {
        /// The number of rooms of each kind.
        top: usize,
        /// The channel for the answer, which is dropped if the channel is full.
        reply: Sender<RoomView>,
    },
    /// Hand out some rooms as they are to outlive the process. From the first time on the home orders nothing any
    /// more: publications are refused, and rooms that it handed out are gone.
    Save {
        /// How much is handed out at once.
        most: PageBounds,
        /// The channel for the answer, which is dropped if the channel is full.
        reply: Sender<SavedPage>,
    },
    /// Take rooms that were handed out before, which nobody has asked for yet.
    Restore {
        /// The rooms, all of which have their home here.
        rooms: Vec<SavedRoom>,
        /// The channel for what became of them, which is dropped if the channel is full.
        reply: Sender<Restored>,
    },
    /// The current time. Rooms that have been empty for long enough are reaped, a bounded number at
    /// once.
    Sweep {
        /// Milliseconds that never go back; the sender may leave out those in which it stood still.
        now_ms: u64,
        /// Milliseconds of the wall clock since 1970, by which the age of messages is judged. A clock that
        /// is set back stands still for the rooms until it has caught up.
        wall_ms: u64,
        /// How long a room without subscribers and publications is kept, in milliseconds.
        idle_ms: u64,
        /// How long the position of a reaped room is kept after that, in milliseconds, if its rules
        /// say so. A room that is made again under the name within this time continues with the same
        /// epoch and offsets.
        position_ttl_ms: u64,
    },
    /// The rules of rooms are others from now on. Rooms that exist follow them within some turns.
    Configure {
        /// The rules.
        rules: Arc<dyn RuleBook>,
    },
}

// Every message travels in these: whatever is rare goes behind a pointer.
const _: () = assert!(size_of::<Request>() <= 104 && size_of::<Delivery>() <= 96);

/// What a join wants beside the messages from now on.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What of the room's past, for one who was here before or wants to know what was said.
    pub recover: Option<Recover>,
    /// Who comes, for rooms that know who is in them.
    pub member: Option<Arc<Member>>,
}

/// A question about a room, or a wish.
#[derive(Clone, Debug)]
pub enum Question {
    /// A part of its past.
    History(Box<Page>),
    /// Who is in it.
    Members,
    /// How many are in it.
    MemberCounts,
    /// The latest message of each key, in the order of the keys; answered by [`Answer::History`].
    Table,
    /// The messages that are kept are to be forgotten. Positions stay, so that whoever has missed some of them is
    /// told so.
    ForgetHistory,
    /// All keys are to be removed from its table. Subscribers are told each removal, as if it was published.
    ClearTable,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A part of the past.
    History {
        /// The position of the room's latest message.
        top: Position,
        /// The messages, in the order of the page.
        messages: Numbered,
    },
    /// Who is in the room.
    Members(Arc<[Arc<Member>]>),
    /// How many are in the room.
    MemberCounts {
        /// Connections.
        members: usize,
        /// Different users.
        users: usize,
    },
    /// What was wished is done.
    Done,
    /// There is no answer.
    Refused(AnswerRefusal),
}

/// Why a question is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefusal {
    /// The page begins at a position of another epoch.
    #[error("the position is of another epoch")]
    OtherEpoch,
    /// The answer would be larger than answers between cores may be.
    #[error("the answer would be too large")]
    TooLarge,
    /// The server has as many rooms as it may have, and the room does not exist.
    #[error("the server has as many rooms as it may have")]
    TooManyRooms,
    /// The room waits for slow subscribers and would have to tell them something, or its home ends.
    #[error("the room's subscribers cannot keep up, or the server ends")]
    Busy,
}

/// From a room's home to a core with subscribers or publishers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The join was ordered: `subscriber` receives every message after `position`.
    Joined {
        /// The connection whose join this answers.
        subscriber: ConnectionId,
        /// The ticket of the join.
        ticket: Ticket,
        /// The room's id, for leaving and publishing.
        room: RoomId,
        /// The room's name, as the join named it.
        name: RoomName,
        /// The position of the room's latest message before the join.
        position: Position,
        /// What the subscriber is given of the past, if it asked for that.
        recovered: Option<Recovered>,
    },
    /// The join was refused.
    Refused {
        /// The connection whose join this answers.
        subscriber: ConnectionId,
        /// The ticket of the join.
        ticket: Ticket,
        /// The reason of the refusal.
        reason: JoinRefusal,
    },
    /// Messages of a room with consecutive offsets, for every subscriber on the receiving core.
    Messages {
        /// The room.
        room: RoomId,
        /// The lifetime of the room's log.
        epoch: Epoch,
        /// The offset of the first record.
        first: u64,
        /// The messages, at least one.
        records: Arc<[Record]>,
        /// The stamps that the publishers gave, one for each message.
        stamps: Stamps,
    },
    /// Members of a room have come and gone, for every subscriber on the receiving core.
    Announced {
        /// The room.
        room: RoomId,
        /// Who, in order; at least one.
        announcements: Arc<[Announcement]>,
    },
    /// The answer to a question.
    Answered {
        /// The connection that has asked.
        asker: ConnectionId,
        /// The ticket of the question.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Some rooms of a home.
    Listed {
        /// The connection that has asked.
        asker: ConnectionId,
        /// The ticket of the request.
        ticket: Ticket,
        /// The rooms.
        listing: Listing,
    },
    /// The publication was ordered. If the publisher's core has subscribers in the room, it
    /// receives the message itself before this.
    Published {
        /// The connection whose publication this answers.
        publisher: ConnectionId,
        /// The ticket of the publication.
        ticket: Ticket,
        /// The room that the message was ordered in.
        room: RoomId,
        /// The message's position.
        position: Position,
        /// The stamp of the publication.
        stamp: u64,
    },
    /// The publication was refused and is delivered to nobody.
    Unpublished {
        /// The connection whose publication this answers.
        publisher: ConnectionId,
        /// The ticket of the publication.
        ticket: Ticket,
        /// The reason of the refusal.
        reason: PublishRefusal,
    },
    /// The room is lost, for all its subscribers on the receiving core: none of them has to leave
    /// it, and no further delivery of this room follows.
    Lost {
        /// The room.
        room: RoomId,
        /// How its log was lost.
        reason: LossReason,
    },
}

/// Why a join is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// The server has as many rooms as it may have, and the room does not exist.
    #[error("the server has as many rooms as it may have")]
    TooManyRooms,
}

/// Why a publication is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefusal {
    /// The room was reaped or lost after the publisher learned its id.
    #[error("the room is no more")]
    RoomGone,
    /// The server has as many rooms as it may have, and the room does not exist.
    #[error("the server has as many rooms as it may have")]
    TooManyRooms,
    /// The room waits for slow subscribers, and its home can queue no more publications.
    #[error("the room's subscribers cannot keep up, and no more messages may wait for them")]
    Busy,
    /// Messages come to the room, or from this publisher, more often than its rules permit.
    #[error("messages come too fast")]
    TooFast,
    /// The idempotency key of the publication was used for another one.
    #[error("the idempotency key was used for something else")]
    Conflict,
    /// The room's table has as many keys, or as many bytes, as it may have.
    #[error("the room has as many keys, or as many bytes of them, as it may have")]
    TableFull,
}

/// How a room's log was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LossReason {
    /// Messages that subscribers have not received can no longer be found.
    #[error("messages of the room are missing")]
    Gap,
    /// The latest messages are missing from the log, so that it would give their offsets again.
    #[error("the end of the room's log is lost")]
    Cut,
}
