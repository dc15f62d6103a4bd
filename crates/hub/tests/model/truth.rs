//! What the model holds true of rooms and their subscribers.

use std::collections::{BTreeMap, VecDeque};

use hub::{ConnectionId, CoreId, Position, PublishRefusal, Recover, RoomId, Ticket};

/// What each room keeps, and how much of that one answer may have.
pub const HISTORY: usize = 6;
pub const HISTORY_TTL_MS: u64 = 90;
pub const RECOVERED_MAX: usize = 4;

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

/// Whether the room of this name has a table.
pub fn has_table(name: u8) -> bool {
    name >= 3
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
    /// The latest offset and payload of each key, in a room with a table.
    pub table: BTreeMap<u64, (u64, u64)>,
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

impl Room {
    /// What the room must give to one who comes back.
    pub fn missed(&self, recover: Recover, now_ms: u64) -> Missed {
        let Self {
            name,
            top,
            log,
            table,
            ..
        } = self;
        let young = |at_ms: u64| now_ms - at_ms < HISTORY_TTL_MS;
        let kept: Vec<_> = log[log.len().saturating_sub(HISTORY)..]
            .iter()
            .filter(|(_, _, at_ms)| young(*at_ms) && !has_table(*name))
            .map(|(offset, payload, at_ms)| (*offset, *payload, *at_ms))
            .collect();
        let shown = |it: &[(u64, u64, u64)]| it.iter().map(|it| (it.0, it.1)).collect::<Vec<_>>();
        match recover {
            Recover::State => Some((false, table.values().copied().collect())),
            Recover::Latest(since)
                if since.epoch == Some(top.epoch) && since.offset == top.offset =>
            {
                Some((true, Vec::new()))
            }
            Recover::Latest(_) => kept.last().map(|last| (true, shown(&[*last]))),
            Recover::Missed(since) => {
                let is_of_this_log = since.epoch == Some(top.epoch) && since.offset <= top.offset;
                let missed: Vec<_> = kept.into_iter().filter(|it| it.0 > since.offset).collect();
                let is_whole = is_of_this_log && missed.len() as u64 == top.offset - since.offset;
                let is_given = is_whole && missed.len() <= RECOVERED_MAX;
                is_given.then(|| (true, shown(&missed)))
            }
            Recover::Newest(since, newest) => {
                let missed = since.and_then(|since| self.missed(Recover::Missed(since), now_ms));
                missed.or_else(|| {
                    let most = newest.messages.min(RECOVERED_MAX);
                    let is_young = |at_ms: u64| now_ms - at_ms < newest.age_ms;
                    let young: Vec<_> = kept.into_iter().filter(|it| is_young(it.2)).collect();
                    let given = &young[young.len().saturating_sub(most)..];
                    Some((false, shown(given)))
                })
            }
        }
    }
}
