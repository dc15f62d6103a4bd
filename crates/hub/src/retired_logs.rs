//! Keeps the logs of reaped rooms for a time, so that a room of the same name continues its epoch and
//! offsets.

use std::collections::{BTreeMap, HashMap};

use crate::{log::Log, name::RoomName};

/// When a log was put here, and a number that distinguishes logs put here in the same millisecond.
type Place = (u64, u64);

/// The retired logs of one home. Each takes a place in the budget of rooms, which bounds their number.
#[derive(Default)]
pub(crate) struct RetiredLogs {
    logs: HashMap<RoomName, (Log, Place)>,
    /// The same logs, oldest first.
    oldest: BTreeMap<Place, RoomName>,
    /// The number of logs put here so far.
    put: u64,
}

impl RetiredLogs {
    /// The number of retired logs.
    pub(crate) fn len(&self) -> usize {
        self.logs.len()
    }

    /// Keeps the log of a room that is reaped at `now_ms`, in milliseconds of the sweeps.
    pub(crate) fn put(&mut self, name: RoomName, log: Log, now_ms: u64) {
        self.put += 1;
        let place = (now_ms, self.put);
        self.oldest.insert(place, name.clone());
        self.logs.insert(name, (log, place));
    }

    /// The position of a room whose log is here.
    #[cfg(feature = "audit")]
    pub(crate) fn position(&self, name: &RoomName) -> Option<crate::log::Position> {
        self.logs.get(name).map(|(log, _)| log.top())
    }

    /// Checks that each log waits for its end; returns how many do.
    #[cfg(feature = "audit")]
    pub(crate) fn audit(&self) -> Result<usize, String> {
        let is_listed = |(place, name)| self.logs.get(name).is_some_and(|(_, it)| it == place);
        match self.oldest.iter().all(is_listed) {
            true => Ok(self.oldest.len()),
            false => Err("a log that is gone is to be dropped".into()),
        }
    }

    /// Removes and returns the log of a room that is made again.
    pub(crate) fn take(&mut self, name: &RoomName) -> Option<Log> {
        let (log, place) = self.logs.remove(name)?;
        self.oldest.remove(&place);
        Some(log)
    }

    /// Whether the log of a room of this name is here.
    pub(crate) fn has(&self, name: &RoomName) -> bool {
        self.logs.contains_key(name)
    }

    /// Removes and returns the log that was put here last.
    pub(crate) fn take_latest(&mut self) -> Option<(RoomName, Log)> {
        let (_, name) = self.oldest.pop_last()?;
        let (log, _) = self.logs.remove(&name)?;
        Some((name, log))
    }

    /// Drops the log that has been kept longest; returns whether there was one.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let oldest = self.oldest.pop_first();
        oldest.is_some_and(|(_, name)| self.logs.remove(&name).is_some())
    }

    /// Drops the log that has been kept longest, if that was for `ttl_ms` milliseconds or longer;
    /// returns whether there was one.
    pub(crate) fn drop_expired(&mut self, now_ms: u64, ttl_ms: u64) -> bool {
        let oldest = self.oldest.first_key_value();
        let is_due = oldest.is_some_and(|((since, _), _)| now_ms.saturating_sub(*since) >= ttl_ms);
        is_due && self.drop_oldest()
    }
}
