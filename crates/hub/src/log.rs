//! The order of one room: the offset of each message, and the epoch of the offsets.
//!
//! Assigning offsets and counting them are two steps. [`Log::propose`] writes the next offsets into
//! an envelope and changes nothing. Only [`Log::apply`] moves the top, and only for an envelope
//! that continues the log. On a single node the home calls both at once; between nodes a network
//! may lie between the two.

use std::sync::Arc;

use bytes::Bytes;

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

/// A message as a log holds it. Nothing in it depends on the process, so another node can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// One byte beside the payload, opaque to the hub. The runtime stores the kind of message in
    /// it.
    pub tag: u8,
    /// The payload, opaque to the hub and shared by all cores that deliver it.
    pub payload: Bytes,
}

/// Messages with consecutive offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The epoch of the log that the envelope continues.
    pub epoch: Epoch,
    /// The offset of the first record. Without records, the offset that the next one will get.
    pub first: u64,
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

/// A room's order: its epoch and the offset of its latest message.
#[derive(Debug, PartialEq, Eq)]
pub struct Log {
    epoch: Epoch,
    top: u64,
}

impl Log {
    /// A log without messages.
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, top: 0 }
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
    pub fn propose(&self, records: Arc<[Record]>) -> Envelope {
        Envelope {
            epoch: self.epoch,
            first: self.top + 1,
            records,
        }
    }

    /// Adds the envelope's messages to the log.
    ///
    /// # Errors
    /// [`NotNext`] if the envelope does not continue the log, which then stays unchanged.
    pub fn apply(&mut self, envelope: &Envelope) -> Result<(), NotNext> {
        if envelope.epoch != self.epoch {
            return Err(NotNext::OtherEpoch);
        }
        if envelope.first <= self.top {
            return Err(NotNext::Taken);
        }
        if envelope.first > self.top + 1 {
            return Err(NotNext::Gap);
        }
        self.top += envelope.records.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> Arc<[Record]> {
        let record = Record {
            tag: 0,
            payload: Bytes::new(),
        };
        vec![record; count].into()
    }

    /// A log that holds two messages.
    fn log() -> Log {
        let mut log = Log::new(Epoch(7));
        let envelope = log.propose(records(2));
        assert_eq!(log.apply(&envelope), Ok(()));
        log
    }

    #[track_caller]
    fn check(epoch: u64, first: u64, expected: Result<(), NotNext>) {
        let mut log = log();
        let envelope = Envelope {
            epoch: Epoch(epoch),
            first,
            records: records(3),
        };
        assert_eq!(log.apply(&envelope), expected);
        let offset = if expected.is_ok() { 5 } else { 2 };
        let epoch = Epoch(7);
        assert_eq!(log.top(), Position { epoch, offset });
    }

    #[test]
    fn proposal_changes_nothing_and_names_the_offsets_that_follow() {
        let log = log();
        let envelope = log.propose(records(3));
        assert_eq!((envelope.epoch, envelope.first), (Epoch(7), 3));
        assert_eq!(log.top().offset, 2);
        assert_eq!(log.propose(records(3)), envelope);
    }

    #[test]
    fn of_two_proposals_with_the_same_offsets_one_continues_the_log() {
        let mut log = log();
        let (one, other) = (log.propose(records(1)), log.propose(records(2)));
        assert_eq!(log.apply(&other), Ok(()));
        assert_eq!(log.apply(&one), Err(NotNext::Taken));
        assert_eq!(log.top().offset, 4);
    }

    #[test]
    fn envelope_is_applied_only_where_it_continues_the_log() {
        check(7, 3, Ok(()));
        check(7, 2, Err(NotNext::Taken));
        check(7, 0, Err(NotNext::Taken));
        check(7, 4, Err(NotNext::Gap));
        check(7, u64::MAX, Err(NotNext::Gap));
        check(8, 3, Err(NotNext::OtherEpoch));
        check(8, 1, Err(NotNext::OtherEpoch));
    }
}
