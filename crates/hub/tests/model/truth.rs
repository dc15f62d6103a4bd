//! What the model holds true of rooms and their subscribers.

use std::collections::VecDeque;

use hub::{ConnectionId, CoreId, Position, PublishRefusal, RoomId, Ticket};

/// A position and the payload there.
pub type Place = (Position, u64);

/// What the model holds true of one subscriber.
pub struct Subscriber {
    pub id: ConnectionId,
    /// Which of the model's rooms it joined.
    pub joined: usize,
    /// What the answer must say.
    pub position: Position,
    pub recovered: Option<Missed>,
    /// Set when the join's answer has arrived.
    pub room: Option<RoomId>,
    pub left: bool,
    /// What must arrive: everything ordered in this room since the join was applied.
    pub owed: VecDeque<Place>,
    /// What has arrived.
    pub seen: Vec<Place>,
    pub is_told_of_loss: bool,
}

/// What one who comes back must be given: whether that is what it has missed, rather than the newest messages,
/// and their offsets and payloads; or nothing of it.
pub type Missed = Option<(bool, Vec<(u64, u64)>)>;

/// One incarnation of a room.
pub struct Room {
    pub name: u8,
    pub top: Position,
    /// Each message, and when it was ordered.
    pub log: Vec<(u64, u64, u64)>,
    pub holders: Vec<CoreId>,
    /// Tickets and payloads that wait. There may be some though nobody holds the room any more:
    /// until the turn ends.
    pub backlog: Option<VecDeque<(ConnectionId, Ticket)>>,
    pub end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Open,
    Reaped,
    Lost,
}

/// What a publisher must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    At(Position),
    Refused(PublishRefusal),
}
