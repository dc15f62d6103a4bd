//! Messages that have more than a payload, and what must be true of them in the order of their room.

use std::collections::{BTreeMap, BTreeSet};

/// What a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Particular {
    /// It has a place, and no history keeps it.
    Passing,
    /// It is a version of this epoch.
    Version(u8, u8),
    /// It takes the place of the message at this offset wherever that is kept.
    Erasing(u64),
}

/// All that is known of such messages.
#[derive(Default)]
pub struct Particulars {
    by_id: BTreeMap<u64, Particular>,
    /// Places that were passed over by whoever was given a past, as if nothing was to be kept there.
    passed_over: BTreeSet<(u64, u64)>,
    /// The positions with which publishers of versions were answered: those of their messages, or of the latest
    /// one, if theirs was outdated.
    answered: Vec<(u64, u64, u64)>,
}

/// The latest version of an epoch of a room, if there is one.
type Latest = Option<(u8, u8)>;

impl Particulars {
    /// The message of this number has that.
    pub fn note(&mut self, id: u64, particular: Particular) {
        self.by_id.insert(id, particular);
    }

    /// Whether it is a version.
    pub fn is_version(&self, id: u64) -> bool {
        matches!(self.by_id.get(&id), Some(Particular::Version(..)))
    }

    /// The publisher of a version was answered with this position.
    pub fn answer(&mut self, id: u64, epoch: u64, offset: u64) {
        self.answered.push((id, epoch, offset));
    }

    /// Somebody was given a past in which there was nothing at this place.
    pub fn pass_over(&mut self, epoch: u64, offset: u64) {
        self.passed_over.insert((epoch, offset));
    }

    /// Whether a message that was found at this place of a past is the tombstone of the one that was there. An
    /// error if it may be in no past.
    pub fn is_tombstone_of(&self, id: u64, offset: u64) -> Result<bool, String> {
        match self.by_id.get(&id) {
            Some(Particular::Passing) => Err(format!("message {id} was not to be kept")),
            Some(Particular::Erasing(erased)) => Ok(*erased == offset),
            _ => Ok(false),
        }
    }

    /// The messages that may stand at a place, if the one of this place was erased.
    pub fn erased(&self, places: &BTreeMap<u64, (u64, u64)>) -> BTreeMap<(u64, u64), Vec<u64>> {
        let mut erased = BTreeMap::<_, Vec<_>>::new();
        for (id, particular) in &self.by_id {
            if let (Particular::Erasing(offset), Some((epoch, own))) = (particular, places.get(id))
                && offset < own
            {
                erased.entry((*epoch, *offset)).or_default().push(*id);
            }
        }
        erased
    }

    /// Checks what can be said when all messages are known whose place anybody knows.
    pub fn check(&self, messages: &BTreeMap<(u64, u64), u64>) -> Result<(), String> {
        for place in &self.passed_over {
            let there = messages.get(place);
            let particular = there.and_then(|id| self.by_id.get(id));
            if particular != Some(&Particular::Passing) {
                return Err(format!(
                    "{place:?} was passed over, and {there:?} is there: {particular:?}"
                ));
            }
        }
        self.check_versions(messages)
    }

    /// Only a version above the latest of its epoch is ordered, and whoever is told another position had an
    /// outdated one.
    fn check_versions(&self, messages: &BTreeMap<(u64, u64), u64>) -> Result<(), String> {
        let known = messages.iter().map(|(place, id)| (*place, *id));
        let answered = self.answered.iter();
        let answered = answered.map(|(id, epoch, offset)| ((*epoch, *offset), *id));
        let mut all: Vec<_> = known.chain(answered).collect();
        // What is known of a place comes before what was answered.
        all.sort_by_key(|(place, _)| *place);
        let mut latest: (u64, Latest) = (0, None);
        let mut seen = BTreeSet::new();
        for (place, id) in all {
            let Some(Particular::Version(of, version)) = self.by_id.get(&id) else {
                continue;
            };
            if latest.0 != place.0 {
                latest = (place.0, None);
            }
            let is_outdated = latest
                .1
                .is_some_and(|(it, last)| it == *of && *version <= last);
            let is_there = messages.get(&place) == Some(&id);
            match (is_there, is_outdated) {
                (true, _) if !seen.insert(id) => {}
                (true, true) => {
                    return Err(format!(
                        "message {id}, version {version}, has {place:?} behind {latest:?}"
                    ));
                }
                (false, false) if messages.contains_key(&place) => {
                    return Err(format!(
                        "message {id}, version {version}, is not at {place:?} behind {latest:?}"
                    ));
                }
                (true, false) | (false, false) => latest.1 = Some((*of, *version)),
                (false, true) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages 10, 11, … from offset 1 on, of which some are versions of one epoch.
    fn check(known: &[Option<u8>], answered: &[(u8, u64)]) -> Result<(), String> {
        let mut particulars = Particulars::default();
        let mut messages = BTreeMap::new();
        for (offset, version) in (1..).zip(known) {
            messages.insert((1, offset), offset + 9);
            if let Some(version) = version {
                particulars.note(offset + 9, Particular::Version(0, *version));
            }
        }
        for (id, (version, offset)) in (100..).zip(answered) {
            particulars.note(id, Particular::Version(0, *version));
            particulars.answer(id, 1, *offset);
        }
        particulars.check(&messages)
    }

    #[test]
    fn versions_go_up_and_who_is_told_another_place_had_an_outdated_one() {
        check(&[Some(1), None, Some(3)], &[(3, 3), (1, 2), (1, 1)]).unwrap();
        assert!(check(&[Some(2), None, Some(2)], &[]).is_err());
        assert!(check(&[Some(2), None], &[(3, 2)]).is_err());
        // Nobody else knows what is at the fourth place.
        check(&[Some(1), None, Some(3)], &[(4, 4), (4, 4)]).unwrap();
        assert!(check(&[Some(1), None, None], &[(4, 4), (5, 2)]).is_err());
    }

    #[test]
    fn only_a_message_that_is_not_to_be_kept_is_passed_over() {
        let mut particulars = Particulars::default();
        let messages = BTreeMap::from([((1, 1), 10), ((1, 2), 11)]);
        particulars.note(11, Particular::Passing);
        particulars.pass_over(1, 2);
        particulars.check(&messages).unwrap();
        assert!(particulars.is_tombstone_of(11, 2).is_err());
        particulars.pass_over(1, 1);
        assert!(particulars.check(&messages).is_err());
    }
}
