//! The latest messages of a room, found by their offset and bounded by count, bytes and age.

use std::collections::VecDeque;

use crate::{log::Record, saved::SavedMessage};

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

/// A message that is kept, and when it was ordered.
#[derive(Debug)]
struct Kept {
    at_ms: u64,
    record: Record,
}

/// The latest messages of one room. Their offsets are consecutive, and the last of them is the log's top.
#[derive(Debug, Default)]
pub(crate) struct History {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// Why the message before the first one is not here any more.
    dropped_for: Option<Unrecoverable>,
}

impl History {
    /// The messages of a room that comes back, oldest first. None is younger than now.
    pub(crate) fn restored(
        messages: Vec<SavedMessage>,
        dropped_for: Option<Unrecoverable>,
        now_ms: u64,
    ) -> Self {
        let mut history = Self {
            dropped_for,
            ..Self::default()
        };
        let mut before_ms = 0;
        for SavedMessage { at_ms, record } in messages {
            // They were ordered one after the other.
            before_ms = at_ms.min(now_ms).max(before_ms);
            history.push(record, before_ms);
        }
        history
    }

    /// Takes all messages, oldest first, with the times at which they were ordered.
    pub(crate) fn save(self) -> Vec<SavedMessage> {
        let saved = |Kept { at_ms, record }| SavedMessage { at_ms, record };
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

    /// Adds the message with the next offset.
    pub(crate) fn push(&mut self, record: Record, at_ms: u64) {
        self.bytes += bytes_of(&record);
        self.kept.push_back(Kept { at_ms, record });
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
            self.dropped_for = Some(cause);
        }
    }

    /// Forgets all messages.
    pub(crate) fn forget(&mut self, cause: Unrecoverable) {
        if !self.kept.is_empty() {
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

    /// The messages from this place on, oldest first; place 0 is the oldest.
    pub(crate) fn from(&self, place: usize) -> impl DoubleEndedIterator<Item = &Record> {
        let place = place.min(self.kept.len());
        self.kept.range(place..).map(|kept| &kept.record)
    }

    /// The messages before this place, oldest first.
    pub(crate) fn before(&self, place: usize) -> impl DoubleEndedIterator<Item = &Record> {
        let place = place.min(self.kept.len());
        self.kept.range(..place).map(|kept| &kept.record)
    }
}

/// What a kept message counts for, in bytes.
pub(crate) fn bytes_of(record: &Record) -> usize {
    record.payload.len() + record.meta().len() + size_of::<Kept>()
}
