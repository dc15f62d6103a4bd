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

/// The latest version of a room, with its epoch.
pub type Latest = Option<(u8, u64)>;

/// One incarnation of a room.
pub struct Room {
    pub name: u8,
    pub top: Position,
    /// The offset that it began behind.
    pub base: u64,
    pub log: Vec<Said>,
    /// The offset up to which it was to forget everything.
    pub forgotten: u64,
    pub version: Latest,
    /// The offset of the latest message that anybody can have been told of.
    pub told: u64,
    /// The latest offset and payload of each key, in a room with a table.
    pub table: BTreeMap<u64, (u64, u64)>,
    pub holders: Vec<CoreId>,
    /// Tickets and payloads that wait. There may be some though nobody holds the room any more:
    /// until the turn ends.
    pub backlog: Option<VecDeque<(ConnectionId, Ticket)>>,
    pub end: End,
}

/// A message that was ordered.
#[derive(Clone, Copy)]
pub struct Said {
    pub offset: u64,
    /// That of its tombstone, once it is erased.
    pub payload: u64,
    pub at_ms: u64,
    /// Whether it is to be kept.
    pub is_lasting: bool,
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
    /// What the room keeps, oldest first.
    pub fn kept(&self, now_ms: u64) -> Vec<Said> {
        let lasting = self.log.iter().filter(|it| it.is_lasting);
        let lasting: Vec<_> = lasting.copied().collect();
        let mut kept = lasting[lasting.len().saturating_sub(HISTORY)..].to_vec();
        kept.retain(|it| it.offset > self.forgotten && now_ms - it.at_ms < HISTORY_TTL_MS);
        if has_table(self.name) {
            Vec::new()
        } else {
            kept
        }
    }

    /// Whether the room still has everything behind this offset that it was to keep.
    fn is_whole_behind(&self, offset: u64, kept: &[Said]) -> bool {
        let lasting = self.log.iter().filter(|it| it.is_lasting);
        let mut missed = lasting.filter(|it| it.offset > offset);
        let is_kept = |it: &Said| kept.iter().any(|kept| kept.offset == it.offset);
        let is_here = match has_table(self.name) {
            true => offset == self.top.offset,
            false => offset >= self.base,
        };
        is_here && missed.all(is_kept)
    }

    /// What the room must give to one who comes back.
    pub fn missed(&self, recover: Recover, now_ms: u64) -> Missed {
        let top = self.top;
        let kept = self.kept(now_ms);
        match recover {
            Recover::State => Some((false, self.table.values().copied().collect())),
            Recover::Latest(since) => {
                let is_here = since.epoch == Some(top.epoch) && since.offset <= top.offset;
                let has_it = kept.last().is_none_or(|it| it.offset <= since.offset);
                let is_whole = self.is_whole_behind(since.offset, &kept);
                match is_here && has_it && is_whole {
                    true => Some((true, Vec::new())),
                    false => kept.last().map(|last| (true, shown(&[*last]))),
                }
            }
            Recover::Missed(since) => {
                let is_of_this_log = since.epoch == Some(top.epoch) && since.offset <= top.offset;
                let is_whole = self.is_whole_behind(since.offset, &kept);
                let missed = kept.into_iter().filter(|it| it.offset > since.offset);
                let missed: Vec<_> = missed.collect();
                let is_given = is_of_this_log && is_whole && missed.len() <= RECOVERED_MAX;
                is_given.then(|| (true, shown(&missed)))
            }
            Recover::Newest(since, newest) => {
                let missed = since.and_then(|since| self.missed(Recover::Missed(since), now_ms));
                missed.or_else(|| {
                    let most = newest.messages.min(RECOVERED_MAX);
                    let is_young = |it: &Said| now_ms - it.at_ms < newest.age_ms;
                    let young: Vec<_> = kept.into_iter().filter(is_young).collect();
                    let given = &young[young.len().saturating_sub(most)..];
                    Some((false, shown(given)))
                })
            }
        }
    }
}

/// Offsets and payloads.
pub fn shown(messages: &[Said]) -> Vec<(u64, u64)> {
    messages.iter().map(|it| (it.offset, it.payload)).collect()
}
