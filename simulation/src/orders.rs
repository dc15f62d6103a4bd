//! The order of every room, put together from what all peers have seen of it.
//!
//! A member knows the offset of each message that it gets: it was told where it joined, and each message is
//! one further. So two members contradict each other as soon as they see two orders, and one that misses a
//! message, or has it twice, contradicts all others.

use std::collections::BTreeMap;

use crate::{particulars::Particulars, script::ROOMS};

/// All that is known of the orders of all rooms.
#[derive(Default)]
pub struct Orders {
    /// Which message has this place in this epoch.
    messages: BTreeMap<(u64, u64), u64>,
    places: BTreeMap<u64, (u64, u64)>,
    /// The places of messages with idempotency keys: one in each epoch.
    keyed: BTreeMap<(u64, u64), u64>,
    refused: BTreeMap<u64, ()>,
    /// Messages that members got one after the other from a place that they do not know.
    runs: Vec<Run>,
    /// Whether rooms tell some of their members who comes and goes.
    pub announces: bool,
    /// What rooms keep for certain.
    pub sure: Sure,
    /// What is known of messages that have more than a payload.
    pub particulars: Particulars,
}

/// What is certain of recoveries, whatever happens.
#[derive(Clone, Copy, Default)]
pub struct Sure {
    /// So many of the latest messages are in no room's way: as far as its rules are concerned, it keeps them.
    pub kept: [Option<u64>; ROOMS as usize],
    /// So many messages are not too many for an answer.
    pub answered: Option<u64>,
    /// Whether there is memory for all that rooms keep.
    pub has_memory: bool,
    /// Rooms that were to forget what they keep.
    pub forgotten: [bool; ROOMS as usize],
}

impl Sure {
    /// Whether the room was ever to forget what it keeps.
    pub fn forgets(&self, room: u8) -> bool {
        self.forgotten.get(usize::from(room)) == Some(&true)
    }

    /// Whether this can be why so many messages of a room are not given.
    pub fn permits(&self, cause: &str, room: u8, missed: u64) -> bool {
        let kept = self.kept.get(usize::from(room)).copied().flatten();
        match cause {
            "size" => kept.is_none_or(|kept| missed > kept),
            "cap" => self.answered.is_none_or(|most| missed > most),
            "memory" => !self.has_memory,
            "time" => true,
            "forgotten" => self.forgets(room),
            _ => false,
        }
    }
}

/// Messages from this number on have idempotency keys: each may be published again, and in another epoch it
/// has another place.
pub const ONCE: u64 = 1 << 40;

/// Consecutive messages of a room, the place of whose first is not known.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// They lie behind this place, if it is known.
    pub behind: Option<(u64, u64)>,
    /// The messages.
    pub ids: Vec<u64>,
}

impl Orders {
    /// A message was seen, or acknowledged, at this place.
    pub fn place(&mut self, id: u64, epoch: u64, offset: u64) -> Result<(), String> {
        let place = (epoch, offset);
        let there = *self.messages.entry(place).or_insert(id);
        if there != id {
            return Err(format!(
                "offset {offset} is of message {there} and of message {id}"
            ));
        }
        if id >= ONCE {
            let known = *self.keyed.entry((id, epoch)).or_insert(offset);
            return match known == offset {
                true => Ok(()),
                false => Err(format!(
                    "message {id} of one key has the offsets {known} and {offset}"
                )),
            };
        }
        let known = *self.places.entry(id).or_insert(place);
        if known != place {
            let (_, other) = known;
            return Err(format!("message {id} has the offsets {other} and {offset}"));
        }
        self.is_not_both(id)
    }

    /// A message was found at this place of a past: the one of this place, or its tombstone.
    pub fn read(&mut self, id: u64, epoch: u64, offset: u64) -> Result<(), String> {
        match self.particulars.is_tombstone_of(id, offset)? {
            true => Ok(()),
            false => self.place(id, epoch, offset),
        }
    }

    /// The numbers of those of which one stands at a place whose message was erased.
    pub fn erased(&self) -> BTreeMap<(u64, u64), Vec<u64>> {
        self.particulars.erased(&self.places)
    }

    /// Whether nothing is known.
    pub fn is_new(&self) -> bool {
        self.messages.is_empty() && self.runs.is_empty()
    }

    /// A publisher was told that nobody got this message.
    pub fn refuse(&mut self, id: u64) -> Result<(), String> {
        if id >= ONCE {
            return Ok(());
        }
        self.refused.insert(id, ());
        self.is_not_both(id)
    }

    fn is_not_both(&self, id: u64) -> Result<(), String> {
        match self.refused.contains_key(&id) && self.places.contains_key(&id) {
            true => Err(format!("message {id} was refused and has a place")),
            false => Ok(()),
        }
    }

    /// A run has ended; it is checked when all is known.
    pub fn keep(&mut self, run: Run) {
        if !run.ids.is_empty() {
            self.runs.push(run);
        }
    }

    /// The place of a message, if anybody knows it.
    pub fn place_of(&self, id: u64) -> Option<(u64, u64)> {
        self.places.get(&id).copied()
    }

    /// The last offset of an epoch that anybody knows.
    pub fn top(&self, epoch: u64) -> Option<u64> {
        let mut of_epoch = self.messages.range((epoch, 0)..=(epoch, u64::MAX));
        of_epoch.next_back().map(|((_, offset), _)| *offset)
    }

    /// Checks the runs.
    pub fn check(&self) -> Result<(), String> {
        self.particulars.check(&self.messages)?;
        self.runs.iter().try_for_each(|run| self.check_run(run))
    }

    fn check_run(&self, run: &Run) -> Result<(), String> {
        for id in &run.ids {
            if self.refused.contains_key(id) {
                return Err(format!("message {id} was refused, and a member got it"));
            }
        }
        let placed: Vec<_> = (0u64..)
            .zip(&run.ids)
            .filter_map(|(nth, id)| Some((nth, self.place_of(*id)?)))
            .collect();
        for pair in placed.windows(2) {
            let ((nth, (epoch, offset)), (next, (next_epoch, next_offset))) = (pair[0], pair[1]);
            if epoch != next_epoch || next_offset.wrapping_sub(offset) != next - nth {
                let ids = &run.ids;
                return Err(format!(
                    "messages {} and {} came {} after each other and lie at {offset} and {next_offset}",
                    ids[nth as usize],
                    ids[next as usize],
                    next - nth
                ));
            }
        }
        if let (Some((behind_epoch, behind)), Some((nth, (epoch, offset)))) =
            (run.behind, placed.first())
            && (behind_epoch != *epoch || *offset <= behind + nth)
        {
            return Err(format!(
                "a member got offset {offset} behind offset {behind}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_orders_of_one_room_contradict_each_other() {
        let mut orders = Orders::default();
        orders.place(10, 1, 1).unwrap();
        orders.place(11, 1, 2).unwrap();
        orders.place(11, 1, 2).unwrap();
        assert!(orders.place(12, 1, 2).is_err());
        assert!(orders.place(10, 1, 3).is_err());
    }

    #[test]
    fn message_is_refused_or_has_a_place() {
        let mut orders = Orders::default();
        orders.refuse(10).unwrap();
        assert!(orders.place(10, 1, 1).is_err());
    }

    #[test]
    fn run_with_a_gap_or_from_before_is_found_once_its_places_are_known() {
        let run = |behind, ids: &[u64]| Run {
            behind,
            ids: ids.to_vec(),
        };
        let check = |run| {
            let mut orders = Orders::default();
            for id in 10..20 {
                orders.place(id, 1, id - 9).unwrap();
            }
            orders.keep(run);
            orders.check()
        };
        check(run(Some((1, 2)), &[14, 15, 16])).unwrap();
        check(run(Some((1, 2)), &[99, 15])).unwrap();
        assert!(check(run(None, &[14, 16])).is_err());
        assert!(check(run(None, &[15, 14])).is_err());
        assert!(check(run(Some((1, 5)), &[13])).is_err());
    }
}
