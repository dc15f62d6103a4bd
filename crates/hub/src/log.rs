//! A room's log: the order of its messages, and what follows from it.
//!
//! The state of a room is a fold of its log: the epoch and the top, the latest messages or its table, the
//! idempotency keys of the latest publications, and the latest version change only when an envelope is applied.
//!
//! Assigning offsets and counting them are two steps. [`Log::propose`] writes the next offsets into
//! an envelope and changes nothing. Only [`Log::apply`] moves the top, and only for an envelope
//! that continues the log. On a single node the home calls both at once; between nodes a network
//! may lie between the two.

mod outliving;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    history::{History, HistoryLimits, Unrecoverable, bytes_of},
    recent_keys::{Known, RecentKeys},
    record::{Details, Record, Version},
    rules::RoomRules,
    table::{Admission, Keyed, Table, TableLimits},
};

/// One lifetime of a log, drawn at random, so that (epoch, offset) never names two messages. It
/// changes only when the log is lost; a position from before then shows by its epoch that it is
/// stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The lifetime of the log that the offset belongs to.
    pub epoch: Epoch,
    /// The offset of a message, from 1; 0 is the place before the first message.
    pub offset: u64,
}

/// The place up to which a peer has a log, as the peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The epoch that the peer knows; `None` if it takes whichever there is.
    pub epoch: Option<Epoch>,
    /// The offset of the latest message that it has.
    pub offset: u64,
}

/// Messages with consecutive offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The epoch of the log that the envelope continues.
    pub epoch: Epoch,
    /// The offset of the first record. Without records, the offset that the next one will get.
    pub first: u64,
    /// When the messages were given their offsets, in milliseconds of the wall clock since 1970.
    pub at_ms: u64,
    /// The messages, in the order of their offsets.
    pub records: Arc<[Record]>,
}

/// Why an envelope does not continue a log, which stays unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNext {
    /// The envelope was made for another epoch of the log.
    #[error("the envelope belongs to another epoch")]
    OtherEpoch,
    /// The envelope begins at an offset that the log has given to another message.
    #[error("the envelope begins at an offset that is already taken")]
    Taken,
    /// The envelope begins above the next offset: the messages between are missing.
    #[error("messages between the log and the envelope are missing")]
    Gap,
}

/// Messages with their offsets, shared by whoever is given them.
pub type Numbered = Arc<[(u64, Record)]>;

/// How much one answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// The number of messages.
    pub messages: usize,
    /// Bytes of these messages, with what carries each.
    pub bytes: usize,
}

/// What of a room's past a subscriber wants to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recover {
    /// Everything that it has missed.
    Missed(Since),
    /// The latest message, unless that is the one which it has.
    Latest(Since),
    /// What there is, for one that has nothing: the whole table, or the latest message in a room without one.
    State,
    /// Everything that it has missed, if it has been here before and that can be given; otherwise the newest
    /// messages.
    Newest(Option<Since>, Newest),
}

/// The newest messages of a room, within both bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Most messages.
    pub messages: usize,
    /// The age in milliseconds that all of them are below.
    pub age_ms: u64,
}

/// What a subscriber is given of a room's past. Live messages follow without a seam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Exactly what it has missed, or has asked for, oldest first.
    Exactly(Numbered),
    /// Messages are missing, and none of them is given.
    Impossible(Unrecoverable),
    /// The latest message of each key, in the order of the keys; or the latest message at all, if one is kept.
    State(Numbered),
    /// The newest messages.
    Newest {
        /// As many of them as were asked for, are kept and fit into one answer, oldest first.
        messages: Numbered,
        /// Why it is not given what it has missed, if it has been here before.
        instead: Option<Unrecoverable>,
    },
}

/// A part of a room's past that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The message beside which the page begins, exclusive. `None`: the oldest that is kept, or the latest
    /// if the page is reversed.
    pub since: Option<Since>,
    /// Most messages; an answer may have fewer, for its own bounds.
    pub limit: usize,
    /// Whether the page goes from newer to older messages.
    pub is_reversed: bool,
}

/// A room's log.
#[derive(Debug)]
pub struct Log {
    epoch: Epoch,
    top: u64,
    /// What is kept of its messages, once there is something.
    past: Option<Box<Past>>,
}

/// The latest messages, the idempotency keys of the latest publications, and the latest version.
#[derive(Debug, Default)]
struct Past {
    history: History,
    keys: RecentKeys,
    /// The latest message of each key. A room has either this or a history.
    table: Option<Box<Table>>,
    /// It is kept for as long as the position is.
    version: Option<Version>,
}

impl Log {
    /// A log without messages.
    pub fn new(epoch: Epoch) -> Self {
        let (top, past) = (0, None);
        Self { epoch, top, past }
    }

    /// The position of the latest message; its offset is 0 if there is none.
    pub fn top(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.top,
        }
    }

    /// Gives these messages the next offsets in an envelope. The log itself stays unchanged: until
    /// the envelope is applied, another may be proposed with the same offsets, and only one of them
    /// will continue the log.
    pub fn propose(&self, records: Arc<[Record]>, at_ms: u64) -> Envelope {
        Envelope {
            epoch: self.epoch,
            first: self.top + 1,
            at_ms,
            records,
        }
    }

    /// Adds the envelope's messages to the log, and keeps of them what the room's rules say.
    ///
    /// # Errors
    /// [`NotNext`] if the envelope does not continue the log, which then stays unchanged.
    pub fn apply(&mut self, envelope: &Envelope, rules: &RoomRules) -> Result<(), NotNext> {
        if envelope.epoch != self.epoch {
            return Err(NotNext::OtherEpoch);
        }
        if envelope.first <= self.top {
            return Err(NotNext::Taken);
        }
        if envelope.first > self.top + 1 {
            return Err(NotNext::Gap);
        }
        for record in envelope.records.iter() {
            self.top += 1;
            if record.is_rare() {
                self.apply_rare(record, envelope);
            }
            if let (Some(keyed), Some(_)) = (record.keyed(), &rules.table) {
                let table = &mut self.past.get_or_insert_default().table;
                let table = table.get_or_insert_default();
                table.apply(keyed, self.top, record);
            } else if rules.history.is_some() {
                let history = &mut self.past.get_or_insert_default().history;
                match record.skips_history() {
                    true => history.skip(self.top),
                    false => history.push(self.top, record.clone(), envelope.at_ms),
                }
            }
        }
        self.trim(rules, envelope.at_ms);
        Ok(())
    }

    /// What few messages do beside having a place: the one at the top.
    fn apply_rare(&mut self, record: &Record, envelope: &Envelope) {
        if let Some(details) = record.details.as_ref().filter(|_| record.is_conditional()) {
            let past = self.past.get_or_insert_default();
            if let Some(of) = &details.idempotency {
                past.keys.note(of, self.top, envelope.at_ms);
            }
            // That of a key is its message's own.
            if let (Some(version), None) = (&details.version, &details.keyed) {
                past.version = Some(version.clone());
            }
        }
        // Nobody could know a place that is given by this envelope.
        let erased = record.erases().filter(|offset| *offset < envelope.first);
        if let (Some(offset), Some(past)) = (erased, &mut self.past) {
            past.history.erase(offset, record);
            if let Some(table) = &mut past.table {
                table.erase(offset, record);
            }
        }
    }

    /// Whether the record's version is not above the latest one of its epoch: that of its key, if it has one, since
    /// each key is a state of its own, or else that of the room.
    pub(crate) fn is_outdated(&self, record: &Record) -> bool {
        let latest = match record.keyed() {
            Some(keyed) => self.table().and_then(|table| table.version(&keyed.key)),
            None => self.past.as_ref().and_then(|past| past.version.as_ref()),
        };
        let both = latest.zip(record.version());
        both.is_some_and(|(latest, of_record)| latest.outdates(of_record))
    }

    /// Forgets what is beyond the rules at `now_ms`, a time as of [`Envelope::at_ms`].
    pub fn trim(&mut self, rules: &RoomRules, now_ms: u64) {
        const NOTHING: HistoryLimits = HistoryLimits {
            messages: 0,
            bytes: 0,
            ttl_ms: u64::MAX,
        };
        if let Some(past) = &mut self.past {
            let limits = rules.history.as_ref();
            past.history.trim(limits.unwrap_or(&NOTHING), now_ms);
            past.keys.trim(now_ms);
            if rules.table.is_none() {
                past.table = None;
            }
        }
    }

    /// Forgets the latest messages of all keys.
    pub(crate) fn forget_table(&mut self) {
        if let Some(past) = &mut self.past {
            past.table = None;
        }
    }

    /// Forgets the latest messages on request.
    pub(crate) fn forget_history(&mut self) {
        if let Some(past) = &mut self.past {
            past.history.forget(Unrecoverable::Forgotten);
        }
    }

    /// A message for each key of the table that removes it, in the order of the keys.
    pub(crate) fn removals(&self) -> impl Iterator<Item = Record> {
        let keys = self.table().into_iter().flat_map(Table::keys);
        keys.map(|key| Record {
            tag: 0,
            payload: Bytes::new(),
            details: Some(Arc::new(Details {
                keyed: Some(Keyed {
                    key: key.clone(),
                    is_removed: true,
                }),
                ..Details::default()
            })),
        })
    }

    /// Which messages of a run the table has space for.
    pub(crate) fn admission(&self, limits: TableLimits) -> Admission<'_> {
        Admission::new(self.table(), limits)
    }

    /// The latest message of each key, in the order of the keys.
    pub(crate) fn table_now(&self) -> Numbered {
        self.table().map_or_else(|| [].into(), Table::all)
    }

    fn table(&self) -> Option<&Table> {
        self.past.as_ref()?.table.as_deref()
    }

    /// Bytes of memory that the table takes.
    pub(crate) fn table_bytes(&self) -> usize {
        self.table().map_or(0, Table::bytes)
    }

    /// The record's position, if its key says that it is the repetition of another.
    ///
    /// # Errors
    /// [`Conflict`] if the key was used for something else.
    pub fn find(&mut self, record: &Record, now_ms: u64) -> Result<Option<Position>, Conflict> {
        let details = record.details.as_ref();
        let of = details.and_then(|details| details.idempotency.as_ref());
        let (Some(of), Some(past)) = (of, &mut self.past) else {
            return Ok(None);
        };
        match past.keys.find(of, now_ms) {
            Known::New => Ok(None),
            Known::Repeated { offset } => Ok(Some(Position {
                epoch: self.epoch,
                offset,
            })),
            Known::Conflict => Err(Conflict),
        }
    }

    /// What a subscriber is given that comes at `now_ms`.
    pub fn recover(
        &mut self,
        recover: Recover,
        rules: &RoomRules,
        most: AnswerLimits,
        now_ms: u64,
    ) -> Recovered {
        self.trim(rules, now_ms);
        let limits = rules.history.as_ref();
        match recover {
            Recover::Missed(since) => self.missed(since, limits, most),
            Recover::Latest(since) => self.latest(since, limits),
            Recover::State => Recovered::State(match rules.table {
                Some(_) => self.table_now(),
                None => self.numbered_before(self.top + 1, AnswerLimits::ONE),
            }),
            Recover::Newest(since, newest) => {
                let instead = match since.map(|since| self.missed(since, limits, most)) {
                    Some(Recovered::Impossible(cause)) => Some(cause),
                    Some(given) => return given,
                    None => None,
                };
                let messages = self.newest(newest, most, now_ms);
                Recovered::Newest { messages, instead }
            }
        }
    }

    fn missed(
        &self,
        since: Since,
        limits: Option<&HistoryLimits>,
        most: AnswerLimits,
    ) -> Recovered {
        if since.epoch.is_some_and(|epoch| epoch != self.epoch) || since.offset > self.top {
            return Recovered::Impossible(Unrecoverable::Epoch);
        }
        let next = since.offset + 1;
        if next < self.whole_from() {
            return Recovered::Impossible(self.missing(limits));
        }
        let missed = self
            .past
            .as_ref()
            .map_or(0, |past| past.history.count(next));
        if missed > most.messages {
            return Recovered::Impossible(Unrecoverable::Cap);
        }
        let messages = self.numbered(next, most);
        match messages.len() == missed {
            true => Recovered::Exactly(messages),
            false => Recovered::Impossible(Unrecoverable::Cap),
        }
    }

    fn latest(&self, since: Since, limits: Option<&HistoryLimits>) -> Recovered {
        let newest = self.numbered_before(self.top + 1, AnswerLimits::ONE);
        let is_here = since.epoch == Some(self.epoch) && since.offset <= self.top;
        let knows_newest = newest.first().is_none_or(|(at, _)| *at <= since.offset);
        if is_here && since.offset + 1 >= self.whole_from() && knows_newest {
            return Recovered::Exactly([].into());
        }
        match newest.is_empty() {
            true => Recovered::Impossible(self.missing(limits)),
            false => Recovered::Exactly(newest),
        }
    }

    fn newest(&self, newest: Newest, most: AnswerLimits, now_ms: u64) -> Numbered {
        let past = self.past.as_ref();
        let young = past.map_or(0, |past| past.history.younger_than(newest.age_ms, now_ms));
        let most = AnswerLimits {
            messages: most.messages.min(newest.messages).min(young),
            ..most
        };
        let mut messages = self.numbered_before(self.top + 1, most);
        Arc::make_mut(&mut messages).reverse();
        messages
    }

    /// The messages of a page, in the order of the page.
    ///
    /// # Errors
    /// [`OtherEpoch`] if the page begins in another lifetime of the log.
    pub fn read(
        &mut self,
        page: &Page,
        rules: &RoomRules,
        most: AnswerLimits,
        now_ms: u64,
    ) -> Result<Numbered, OtherEpoch> {
        self.trim(rules, now_ms);
        let epoch = page.since.and_then(|since| since.epoch);
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            return Err(OtherEpoch);
        }
        let most = AnswerLimits {
            messages: most.messages.min(page.limit),
            ..most
        };
        let offset = page.since.map(|since| since.offset);
        Ok(match page.is_reversed {
            true => self.numbered_before(offset.unwrap_or(self.top + 1), most),
            false => self.numbered(offset.unwrap_or(0).saturating_add(1), most),
        })
    }

    /// The messages from this offset on, oldest first.
    pub(crate) fn numbered(&self, offset: u64, most: AnswerLimits) -> Numbered {
        let Some(past) = &self.past else {
            return [].into();
        };
        most.of(past.history.from(offset))
    }

    /// The messages before this offset, newest first.
    fn numbered_before(&self, offset: u64, most: AnswerLimits) -> Numbered {
        let Some(past) = &self.past else {
            return [].into();
        };
        most.of(past.history.before(offset).rev())
    }

    /// How many messages are kept.
    fn kept(&self) -> usize {
        self.past.as_ref().map_or(0, |past| past.history.len())
    }

    /// The offset from which on everything is kept that is to be.
    fn whole_from(&self) -> u64 {
        let end = self.top + 1;
        let past = self.past.as_ref();
        past.map_or(end, |past| past.history.whole_from(end))
    }

    /// Why messages before the first one that is kept cannot be found.
    fn missing(&self, limits: Option<&HistoryLimits>) -> Unrecoverable {
        match (&self.past, limits) {
            (Some(past), _) => past.history.missing(),
            // A log that has come back with its room had nothing but messages that were too old.
            (None, Some(_)) => Unrecoverable::Time,
            (None, None) => Unrecoverable::Size,
        }
    }

    /// Bytes of memory that are taken by what is kept.
    pub fn kept_bytes(&self) -> usize {
        let past = self.past.as_ref();
        let kept = past.map_or(0, |past| {
            let version = past.version.as_ref().map_or(0, Version::bytes);
            past.history.bytes() + past.keys.bytes() + version
        });
        kept + self.table_bytes()
    }

    /// Whether nothing is kept but the position and the latest version.
    pub fn is_bare(&self) -> bool {
        let is_empty = |past: &Past| past.history.len() == 0 && past.keys.is_empty();
        let has_table = self.table().is_some_and(|table| !table.is_empty());
        !has_table && self.past.as_deref().is_none_or(is_empty)
    }

    /// The log with nothing but its position and the latest version.
    #[must_use]
    pub(crate) fn bare(self) -> Self {
        let version = self.past.and_then(|past| past.version);
        let past = version.map(|version| {
            Box::new(Past {
                version: Some(version),
                ..Past::default()
            })
        });
        Self { past, ..self }
    }

    /// Whether a message is kept.
    pub(crate) fn has_messages(&self) -> bool {
        self.kept() > 0
    }

    /// Checks that what is kept keeps its limits, and is counted as what it is.
    #[cfg(feature = "audit")]
    pub(crate) fn audit(&self, rules: &RoomRules) -> Result<(), String> {
        let Some(past) = &self.past else {
            return Ok(());
        };
        if self.kept() as u64 > self.top {
            return Err(format!("{} of {} messages are kept", self.kept(), self.top));
        }
        past.history.audit(rules.history.as_ref())?;
        past.keys.audit()?;
        match &past.table {
            Some(_) if rules.table.is_none() => Err("there is a table, and none may be".into()),
            table => table.as_ref().map_or(Ok(()), |table| table.audit()),
        }
    }

    /// Forgets the oldest message for want of memory.
    pub(crate) fn drop_oldest(&mut self) {
        if let Some(past) = &mut self.past {
            past.history.drop_oldest(Unrecoverable::Memory);
        }
    }
}

/// A page begins in another lifetime of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the position is of another epoch")]
pub struct OtherEpoch;

/// An idempotency key was used for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the idempotency key was used for something else")]
pub struct Conflict;

impl AnswerLimits {
    const ONE: Self = Self {
        messages: 1,
        bytes: usize::MAX,
    };

    /// As many of the messages as an answer may have, and the first however long it is.
    fn of<'a>(&self, messages: impl Iterator<Item = (u64, &'a Record)>) -> Numbered {
        let mut bytes = 0;
        let fitting = messages.take(self.messages).take_while(|(_, record)| {
            let is_first = bytes == 0;
            bytes += bytes_of(record);
            is_first || bytes <= self.bytes
        });
        fitting.map(|(offset, it)| (offset, it.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
