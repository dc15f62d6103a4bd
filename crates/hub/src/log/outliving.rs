//! How a log outlives its process: everything that it keeps taken out, and put into one of the same epoch.

use super::{Log, Past, Position};
use crate::{
    history::History, name::RoomName, recent_keys::RecentKeys, rules::RoomRules, saved::SavedRoom,
    table::Table,
};

impl Log {
    /// Takes what is kept, to outlive the process with the room's name.
    pub(crate) fn save(self, name: RoomName) -> SavedRoom {
        let mut saved = SavedRoom::bare(name, self.top(), None);
        saved.whole_from = self.whole_from();
        if let Some(past) = self.past {
            saved.version = past.version;
            saved.missing = past.history.dropped_for();
            saved.messages = past.history.save();
            saved.keys = past.keys.save();
            saved.table = past
                .table
                .map_or_else(Vec::new, |table| table.all().to_vec());
        }
        saved
    }

    /// The log of a room that comes back at `now_ms`, a time as of [`Envelope::at_ms`], with what the rules of now
    /// keep of it. Nothing in it is younger than now, whatever the clock has said before.
    pub(crate) fn restored(saved: SavedRoom, rules: &RoomRules, now_ms: u64) -> Self {
        let Position { epoch, offset: top } = saved.position;
        let mut past = Past::default();
        let whole = (saved.whole_from, top.saturating_add(1));
        past.history = History::restored(saved.messages, whole, saved.missing, now_ms);
        past.version = saved.version;
        past.keys = RecentKeys::restored(&saved.keys, now_ms);
        if rules.table.is_some() && !saved.table.is_empty() {
            let mut table = Table::default();
            for (offset, record) in &saved.table {
                if let Some(keyed) = record.keyed().filter(|keyed| !keyed.is_removed) {
                    table.apply(keyed, *offset, record);
                }
            }
            past.table = Some(Box::new(table));
        }
        let past = Some(Box::new(past));
        let mut log = Self { epoch, top, past };
        log.trim(rules, now_ms);
        if log.has_more_than_a_position() {
            log
        } else {
            log.bare()
        }
    }

    /// Whether something is kept beside the position and the version, or at least known: that nothing which was to
    /// be kept is missing.
    pub(crate) fn has_more_than_a_position(&self) -> bool {
        !self.is_bare() || self.whole_from() <= self.top
    }
}
