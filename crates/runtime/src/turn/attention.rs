//! The connections that a core is to attend to, first come, first served.
//!
//! A connection is on the list at most once, which its own flag says (`Connection::is_listed`). Costly
//! work has lanes of its own, so that many who come together for it keep nobody else waiting.

use std::{collections::VecDeque, rc::Rc};

use super::Wake;
use crate::ids::ConnectionKey;

/// What kind of work a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Ordinary work: everything but the two costly kinds below.
    Plain,
    /// A step of its TLS handshake.
    Handshake,
    /// Input that may be compressed.
    Compression,
}

/// A core's list.
#[derive(Debug)]
pub(crate) struct Attention {
    plain: VecDeque<ConnectionKey>,
    handshakes: VecDeque<ConnectionKey>,
    compression: VecDeque<ConnectionKey>,
    /// Raised by each entry, unless whoever adds it attends in the same turn.
    wake: Rc<Wake>,
    waking: Waking,
}

/// What an entry does beside being on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waking {
    /// It wakes the loop that attends.
    AtOnce,
    /// Nothing: the loop that adds it attends in the same turn.
    Suppressed,
    /// It wakes the loop, which has to leave its turn to others first: the list is what a turn has left.
    NextTurn,
}

impl Attention {
    /// An empty list, whose entries raise `wake`.
    pub(crate) fn new(wake: Rc<Wake>) -> Self {
        Self {
            plain: VecDeque::new(),
            handshakes: VecDeque::new(),
            compression: VecDeque::new(),
            wake,
            waking: Waking::AtOnce,
        }
    }

    /// Puts a connection at the end of a lane.
    pub(crate) fn push(&mut self, key: ConnectionKey, lane: Lane) {
        self.lane(lane).push_back(key);
        if self.waking != Waking::Suppressed {
            self.wake.raise();
        }
    }

    /// Entries wake nobody until [`resume_wakes`](Self::resume_wakes): the caller attends to them itself.
    pub(crate) fn suppress_wakes(&mut self) {
        self.waking = Waking::Suppressed;
    }

    /// The caller has attended as long as a turn allows. What is left is the next turn's.
    pub(crate) fn resume_wakes(&mut self) {
        self.waking = Waking::AtOnce;
        if !self.is_empty() {
            self.waking = Waking::NextTurn;
            self.wake.raise();
        }
    }

    /// Whether the entries are left over from a finished turn, so that the loop must pass the turnstile
    /// before it goes on. Resets that.
    pub(crate) fn take_left_over(&mut self) -> bool {
        let is_left_over = self.waking == Waking::NextTurn;
        if is_left_over {
            self.waking = Waking::AtOnce;
        }
        is_left_over
    }

    /// Takes the first connection of a lane.
    pub(crate) fn pop(&mut self, lane: Lane) -> Option<ConnectionKey> {
        self.lane(lane).pop_front()
    }

    /// How many connections wait in a lane.
    pub(crate) fn len(&self, lane: Lane) -> usize {
        match lane {
            Lane::Plain => self.plain.len(),
            Lane::Handshake => self.handshakes.len(),
            Lane::Compression => self.compression.len(),
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.handshakes.is_empty() && self.compression.is_empty()
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<ConnectionKey> {
        match lane {
            Lane::Plain => &mut self.plain,
            Lane::Handshake => &mut self.handshakes,
            Lane::Compression => &mut self.compression,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_wake_nobody_while_their_loop_attends_itself_but_for_what_is_left() {
        let wake = Rc::new(Wake::default());
        let mut attention = Attention::new(wake.clone());
        let key = ConnectionKey::new(1, 0);
        attention.push(key, Lane::Plain);
        assert!(wake.take());
        attention.pop(Lane::Plain);
        attention.suppress_wakes();
        attention.push(key, Lane::Plain);
        assert!(!wake.take());
        attention.pop(Lane::Plain);
        attention.resume_wakes();
        assert!(!wake.take(), "nothing is left");
        assert!(!attention.take_left_over());
        attention.suppress_wakes();
        attention.push(key, Lane::Compression);
        attention.resume_wakes();
        assert!(wake.take());
        assert!(attention.take_left_over());
        assert!(!attention.take_left_over());
    }

    #[test]
    fn whoever_comes_back_is_behind_all_others_of_its_lane() {
        let mut attention = Attention::new(Rc::default());
        let keys: Vec<_> = (0..3).map(|slot| ConnectionKey::new(1, slot)).collect();
        for key in &keys {
            attention.push(*key, Lane::Handshake);
        }
        attention.push(keys[0], Lane::Plain);
        let mut served = Vec::new();
        for _ in 0..9 {
            let key = attention.pop(Lane::Handshake).unwrap();
            served.push(key);
            attention.push(key, Lane::Handshake);
        }
        assert_eq!(served, keys.repeat(3));
        assert_eq!(attention.len(Lane::Plain), 1, "lanes do not mix");
    }
}
