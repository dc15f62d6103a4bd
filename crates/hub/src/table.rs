//! The latest message of each key of a room, bounded by keys and bytes.
//!
//! A room with a table keeps no other messages. What a subscriber that comes is given is the whole table, and
//! a message that does not fit into it is refused before it is ordered: nothing in a table is ever given up
//! for want of space, because subscribers would have to be told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    log::Numbered,
    record::{Details, Record, Version},
};

/// How much a room's table may have, and how long it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLimits {
    /// The number of keys.
    pub keys: usize,
    /// Bytes of keys and messages, with what carries each.
    pub bytes: usize,
    /// How long a room without subscribers and publications keeps its table, in milliseconds.
    pub ttl_ms: u64,
}

/// What a message does to the table of its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The key whose latest message this is.
    pub key: Arc<str>,
    /// Whether the key is removed, and the message has no payload.
    pub is_removed: bool,
}

/// The latest message of each key, with its offset.
#[derive(Debug, Default)]
pub(crate) struct Table {
    latest: BTreeMap<Arc<str>, (u64, Record)>,
    bytes: usize,
}

impl Table {
    /// Whether there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// Bytes of memory that the table takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Follows from a message with this offset.
    pub(crate) fn apply(&mut self, keyed: &Keyed, offset: u64, record: &Record) {
        let before = match keyed.is_removed {
            true => self.latest.remove(&keyed.key),
            false => {
                self.bytes += bytes_of(&keyed.key, record);
                let place = (offset, record.clone());
                self.latest.insert(keyed.key.clone(), place)
            }
        };
        if let Some((_, before)) = before {
            self.bytes -= bytes_of(&keyed.key, &before);
        }
    }

    /// Of the message with this offset, if it is the latest of its key, nothing is to be left but what its tombstone
    /// says.
    pub(crate) fn erase(&mut self, offset: u64, tombstone: &Record) {
        let mut latest = self.latest.iter_mut();
        if let Some((key, (_, record))) = latest.find(|(_, (at, _))| *at == offset) {
            let erased = record.erased_by(tombstone);
            self.bytes = self.bytes - bytes_of(key, record) + bytes_of(key, &erased);
            *record = erased;
        }
    }

    /// The key whose latest message has this offset, and the message.
    fn at(&self, offset: u64) -> Option<(&Arc<str>, &Record)> {
        let mut latest = self.latest.iter();
        let (key, (_, record)) = latest.find(|(_, (at, _))| *at == offset)?;
        Some((key, record))
    }

    /// The version of a key's latest message.
    pub(crate) fn version(&self, key: &str) -> Option<&Version> {
        self.latest.get(key)?.1.version()
    }

    /// The keys, in their order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.latest.keys()
    }

    /// All of it, in the order of the keys.
    pub(crate) fn all(&self) -> Numbered {
        self.latest.values().cloned().collect()
    }

    /// What a key counts for; 0 if it is not here.
    fn bytes_at(&self, key: &str) -> usize {
        let latest = self.latest.get(key);
        latest.map_or(0, |(_, record)| bytes_of(key, record))
    }

    /// Checks that what is here is counted as what it is, and is found under its own key.
    #[cfg(feature = "audit")]
    pub(crate) fn audit(&self) -> Result<(), String> {
        let all = self.latest.iter();
        let bytes = all.map(|(key, (_, record))| bytes_of(key, record)).sum();
        crate::rooms::audit::agree("bytes of a table", self.bytes, bytes)?;
        let mut all = self.latest.iter();
        let is_own = |(key, (_, record)): (&Arc<str>, &(u64, Record))| {
            record
                .keyed()
                .is_some_and(|it| it.key == *key && !it.is_removed)
        };
        match all.all(is_own) {
            true => Ok(()),
            false => Err("a message is kept under another key than its own".into()),
        }
    }
}

/// What a message counts for in a table, in bytes; never 0.
fn bytes_of(key: &str, record: &Record) -> usize {
    let carried = size_of::<(Arc<str>, (u64, Record))>() + size_of::<Details>();
    let version = record.version().map_or(0, |version| version.epoch.len());
    key.len() + record.meta().len() + record.payload.len() + version + carried
}

/// What becomes of a message that is to be ordered in a room with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is ordered.
    Ordered,
    /// It removes a key that is not there: there is nothing to tell.
    Idle,
    /// The table has no space for it.
    Refused,
}

/// Which messages of a run a table has space for: the run is ordered as a whole, so that each message has to
/// be seen behind those before it.
pub(crate) struct Admission<'a> {
    table: Option<&'a Table>,
    limits: TableLimits,
    keys: usize,
    bytes: usize,
    /// What the keys count for that the run has changed so far; 0 if they are removed.
    changed: HashMap<Arc<str>, usize>,
}

impl<'a> Admission<'a> {
    /// Messages for this table, or for one that is not there yet.
    pub(crate) fn new(table: Option<&'a Table>, limits: TableLimits) -> Self {
        Self {
            table,
            limits,
            keys: table.map_or(0, |table| table.latest.len()),
            bytes: table.map_or(0, Table::bytes),
            changed: HashMap::new(),
        }
    }

    /// What becomes of the next message. Whatever makes the table smaller is ordered, even if a reload has
    /// left it larger than it may be.
    pub(crate) fn judge(&mut self, record: &Record) -> Verdict {
        let Some(Keyed { key, is_removed }) = record.keyed() else {
            return self.judge_tombstone(record);
        };
        let before = self.changed.get(key).copied();
        let before = before.unwrap_or_else(|| self.table.map_or(0, |table| table.bytes_at(key)));
        let after = match is_removed {
            true => 0,
            false => bytes_of(key, record),
        };
        self.judge_change(key, before, after)
    }

    /// What a message that erases another leaves of it must have space, too; most often it is less.
    fn judge_tombstone(&mut self, record: &Record) -> Verdict {
        let table = self.table;
        let at = |offset| table.and_then(|table| table.at(offset));
        let Some((key, erased)) = record.erases().and_then(at) else {
            return Verdict::Ordered;
        };
        let after = bytes_of(key, &erased.erased_by(record));
        match self.changed.get(key) {
            None => self.judge_change(key, bytes_of(key, erased), after),
            // Unless another tombstone has changed it, that message is not the latest of its key any more.
            Some(0) => Verdict::Ordered,
            Some(before) if after <= *before => Verdict::Ordered,
            Some(before) => self.judge_change(key, *before, after),
        }
    }

    fn judge_change(&mut self, key: &Arc<str>, before: usize, after: usize) -> Verdict {
        if before == 0 && after == 0 {
            return Verdict::Idle;
        }
        let keys = self.keys - usize::from(before > 0) + usize::from(after > 0);
        let bytes = self.bytes - before + after;
        let is_one_too_many = keys > self.keys && keys > self.limits.keys;
        let is_too_large = bytes > self.bytes && bytes > self.limits.bytes;
        if is_one_too_many || is_too_large {
            return Verdict::Refused;
        }
        (self.keys, self.bytes) = (keys, bytes);
        self.changed.insert(key.clone(), after);
        Verdict::Ordered
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(key: &str, payload: Option<&'static str>) -> Record {
        let keyed = Keyed {
            key: key.into(),
            is_removed: payload.is_none(),
        };
        Record {
            tag: 0,
            payload: Bytes::from_static(payload.unwrap_or("").as_bytes()),
            details: Some(Arc::new(Details {
                keyed: Some(keyed),
                ..Details::default()
            })),
        }
    }

    fn table(records: &[Record]) -> Table {
        let mut table = Table::default();
        for (offset, record) in (1..).zip(records) {
            table.apply(record.keyed().unwrap(), offset, record);
        }
        table
    }

    /// What is left of a payload when so many bytes of one key may be there.
    fn limits(keys: usize, payload_bytes: usize) -> TableLimits {
        TableLimits {
            keys,
            bytes: keys * (bytes_of("k", &record("k", Some(""))) + payload_bytes),
            ttl_ms: u64::MAX,
        }
    }

    #[test]
    fn table_has_the_latest_message_of_each_key_that_is_not_removed() {
        let table = table(&[
            record("b", Some("1")),
            record("a", Some("22")),
            record("b", Some("333")),
            record("c", Some("4")),
            record("c", None),
            record("d", None),
        ]);
        let all = table.all();
        let all: Vec<_> = all.iter().map(|(at, it)| (*at, &it.payload[..])).collect();
        assert_eq!(all, [(2, &b"22"[..]), (3, b"333")]);
        let bytes =
            bytes_of("a", &record("a", Some("22"))) + bytes_of("b", &record("b", Some("333")));
        assert_eq!(table.bytes(), bytes);
    }

    #[test]
    fn table_without_keys_counts_nothing() {
        let table = table(&[record("a", Some("x")), record("a", None)]);
        assert!(table.is_empty());
        assert_eq!(table.bytes(), 0);
    }

    #[track_caller]
    fn check(limits: TableLimits, kept: &[Record], run: &[(Record, Verdict)]) {
        let table = table(kept);
        let mut admission = Admission::new(Some(&table), limits);
        for (at, (record, expected)) in run.iter().enumerate() {
            assert_eq!(admission.judge(record), *expected, "message {at}");
        }
    }

    #[test]
    fn key_beyond_the_most_is_refused_and_known_ones_are_not() {
        use Verdict::{Ordered, Refused};
        check(
            limits(2, 10),
            &[record("a", Some("1"))],
            &[
                (record("b", Some("1")), Ordered),
                (record("c", Some("1")), Refused),
                (record("a", Some("2")), Ordered),
                (record("b", Some("2")), Ordered),
            ],
        );
    }

    #[test]
    fn removal_makes_space_within_its_run_and_of_nothing_is_idle() {
        use Verdict::{Idle, Ordered, Refused};
        check(
            limits(1, 10),
            &[record("a", Some("1"))],
            &[
                (record("b", None), Idle),
                (record("a", None), Ordered),
                (record("a", None), Idle),
                (record("b", Some("1")), Ordered),
                (record("a", Some("1")), Refused),
            ],
        );
    }

    #[test]
    fn bytes_beyond_the_most_are_refused_unless_the_table_gets_smaller() {
        use Verdict::{Ordered, Refused};
        check(
            limits(1, 3),
            &[record("a", Some("123456"))],
            &[
                (record("a", Some("1234567")), Refused),
                (record("a", Some("12345")), Ordered),
                (record("a", Some("123")), Ordered),
                (record("a", Some("1234")), Refused),
            ],
        );
    }

    #[test]
    fn message_without_a_key_is_nothing_to_a_table() {
        let message = Record {
            tag: 0,
            payload: Bytes::new(),
            details: None,
        };
        check(limits(0, 0), &[], &[(message, Verdict::Ordered)]);
    }
}
