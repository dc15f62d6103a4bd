//! The latest messages of a room, found by their offset and bounded by count, bytes and age.

use std::collections::VecDeque;

use crate::{record::Record, saved::SavedMessage};

/// How much of its past a room keeps. A message beyond any of the three is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// The number of messages.
    pub messages: usize,
    /// Bytes of these messages, with what carries each.
    pub bytes: usize,
    /// The age of a message in milliseconds.
    pub ttl_ms: u64,
}

/// Why messages that a subscriber has missed cannot be given to it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::EnumIter, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum Unrecoverable {
    /// The position belongs to another lifetime of the room's log, or lies beyond its top.
    #[error("the position is of another epoch")]
    Epoch,
    /// The room keeps fewer messages, or fewer bytes of them.
    #[error("the room keeps fewer messages")]
    Size,
    /// The messages were older than the room keeps them.
    #[error("the messages were too old")]
    Time,
    /// There are more of them than one answer may have.
    #[error("more messages were missed than one answer may have")]
    Cap,
    /// All rooms together kept more than there is memory for.
    #[error("the memory for the past of all rooms is used up")]
    Memory,
    /// Somebody with the right to it has had the room forget them.
    #[error("the messages were removed")]
    Forgotten,
}

/// A message that is kept, its offset, and when it was ordered.
#[derive(Debug)]
struct Kept {
    offset: u64,
    at_ms: u64,
    record: Record,
}

/// The latest messages of one room. Their offsets are consecutive, but for those that are not to be kept.
#[derive(Debug, Default)]
pub(crate) struct History {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// The offset from which on it has everything that it is to keep, and that behind the last message it knows of.
    whole: (u64, u64),
    /// Why the message before the first one is not here any more.
    dropped_for: Option<Unrecoverable>,
}

impl History {
    /// The messages of a room that comes back, oldest first: everything that is to be kept from the first of these
    /// two offsets on, before the second. None is younger than now. Messages that do not lie there cannot be this
    /// room's, and then none of them is taken.
    pub(crate) fn restored(
        messages: Vec<SavedMessage>,
        whole: (u64, u64),
        dropped_for: Option<Unrecoverable>,
        now_ms: u64,
    ) -> Self {
        let mut history = Self {
            dropped_for,
            ..Self::default()
        };
        let mut offsets = messages.iter().map(|it| it.offset);
        let lie_there = offsets.all(|offset| (whole.0..whole.1).contains(&offset));
        if !lie_there || !messages.is_sorted_by(|a, b| a.offset < b.offset) || whole.0 > whole.1 {
            return history;
        }
        let mut before_ms = 0;
        for saved in messages {
            let SavedMessage {
                offset,
                at_ms,
                record,
            } = saved;
            // They were ordered one after the other.
            before_ms = at_ms.min(now_ms).max(before_ms);
            history.push(offset, record, before_ms);
        }
        history.whole = whole;
        history
    }

    /// Takes all messages, oldest first, with the times at which they were ordered.
    pub(crate) fn save(self) -> Vec<SavedMessage> {
        let saved = |it: Kept| SavedMessage {
            offset: it.offset,
            at_ms: it.at_ms,
            record: it.record,
        };
        self.kept.into_iter().map(saved).collect()
    }

    /// Why the message before the first one was given up, if one was.
    pub(crate) fn dropped_for(&self) -> Option<Unrecoverable> {
        self.dropped_for
    }

    /// The number of messages.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Bytes of memory that the messages take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the message with the log's next offset.
    pub(crate) fn push(&mut self, offset: u64, record: Record, at_ms: u64) {
        self.skip(offset);
        self.bytes += bytes_of(&record);
        self.kept.push_back(Kept {
            offset,
            at_ms,
            record,
        });
    }

    /// The message with the log's next offset is not to be kept.
    pub(crate) fn skip(&mut self, offset: u64) {
        let (first, end) = self.whole;
        // It knows of none of the messages that came while the room kept nothing.
        self.whole = (if end == offset { first } else { offset }, offset + 1);
    }

    /// The offset from which on it has everything that it is to keep of a log that ends before this one.
    pub(crate) fn whole_from(&self, log_end: u64) -> u64 {
        let (first, end) = self.whole;
        if end == log_end { first } else { log_end }
    }

    /// Of this message nothing is to be left but what its tombstone says.
    pub(crate) fn erase(&mut self, offset: u64, tombstone: &Record) {
        let place = self.place(offset);
        if let Some(kept) = self.kept.get_mut(place).filter(|it| it.offset == offset) {
            let erased = kept.record.erased_by(tombstone);
            self.bytes = self.bytes - bytes_of(&kept.record) + bytes_of(&erased);
            kept.record = erased;
        }
    }

    /// Forgets what is beyond the limits at `now_ms`.
    pub(crate) fn trim(&mut self, limits: &HistoryLimits, now_ms: u64) {
        while let Some(oldest) = self.kept.front() {
            let is_old = now_ms.saturating_sub(oldest.at_ms) >= limits.ttl_ms;
            let is_beyond = self.kept.len() > limits.messages || self.bytes > limits.bytes;
            let cause = match (is_old, is_beyond) {
                (true, _) => Unrecoverable::Time,
                (false, true) => Unrecoverable::Size,
                (false, false) => break,
            };
            self.drop_oldest(cause);
        }
        if self.kept.len() * 4 < self.kept.capacity() {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }

    /// Forgets the oldest message.
    pub(crate) fn drop_oldest(&mut self, cause: Unrecoverable) {
        if let Some(oldest) = self.kept.pop_front() {
            self.bytes -= bytes_of(&oldest.record);
            self.whole.0 = oldest.offset + 1;
            self.dropped_for = Some(cause);
        }
    }

    /// Forgets all messages.
    pub(crate) fn forget(&mut self, cause: Unrecoverable) {
        if let Some(latest) = self.kept.back() {
            self.whole.0 = latest.offset + 1;
            self.dropped_for = Some(cause);
        }
        self.kept = VecDeque::new();
        self.bytes = 0;
    }

    /// Checks that the messages keep the limits, and are counted as what they are.
    #[cfg(feature = "audit")]
    pub(crate) fn audit(&self, limits: Option<&HistoryLimits>) -> Result<(), String> {
        let bytes = self.kept.iter().map(|kept| bytes_of(&kept.record)).sum();
        crate::rooms::audit::agree("bytes of messages", self.bytes, bytes)?;
        let mut offsets = self.kept.iter().map(|kept| kept.offset);
        let (first, end) = self.whole;
        if !offsets.all(|offset| (first..end).contains(&offset))
            || !self.kept.iter().is_sorted_by(|a, b| a.offset < b.offset)
        {
            return Err(format!(
                "a message is kept out of its place in {first} to {end}"
            ));
        }
        let (messages_max, bytes_max) = limits.map_or((0, 0), |it| (it.messages, it.bytes));
        match self.len() > messages_max || bytes > bytes_max {
            true => Err(format!(
                "{} messages of {bytes} bytes are kept, more than {limits:?}",
                self.len()
            )),
            false => Ok(()),
        }
    }

    /// Why a message before the first one cannot be found.
    pub(crate) fn missing(&self) -> Unrecoverable {
        // A room without any history has forgotten its messages for want of space.
        self.dropped_for.unwrap_or(Unrecoverable::Size)
    }

    /// How many messages are younger than that at `now_ms`.
    pub(crate) fn younger_than(&self, age_ms: u64, now_ms: u64) -> usize {
        // They were ordered one after the other, by a clock that does not go back.
        let is_old = |kept: &Kept| now_ms.saturating_sub(kept.at_ms) >= age_ms;
        self.kept.len() - self.kept.partition_point(is_old)
    }

    /// The messages from this offset on, oldest first.
    pub(crate) fn from(&self, offset: u64) -> impl DoubleEndedIterator<Item = (u64, &Record)> {
        let kept = self.kept.range(self.place(offset)..);
        kept.map(|kept| (kept.offset, &kept.record))
    }

    /// The messages before this offset, oldest first.
    pub(crate) fn before(&self, offset: u64) -> impl DoubleEndedIterator<Item = (u64, &Record)> {
        let kept = self.kept.range(..self.place(offset));
        kept.map(|kept| (kept.offset, &kept.record))
    }

    /// The number of messages from this offset on.
    pub(crate) fn count(&self, offset: u64) -> usize {
        self.kept.len() - self.place(offset)
    }

    /// Where the first message from this offset on is.
    fn place(&self, offset: u64) -> usize {
        self.kept.partition_point(|kept| kept.offset < offset)
    }
}

/// What a kept message counts for, in bytes.
pub(crate) fn bytes_of(record: &Record) -> usize {
    record.payload.len() + record.meta().len() + size_of::<Kept>()
}
