//! A bound on costly work in one turn, so that many who come together do not keep everyone waiting.

use std::cell::Cell;

/// So much of one kind of work may be done between two passes of the turnstile.
pub(crate) struct Ration {
    most: u32,
    turn: Cell<u64>,
    taken: Cell<u32>,
}

impl Ration {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most,
            turn: Cell::new(0),
            taken: Cell::new(0),
        }
    }

    /// Takes one piece of this turn's; `false` if there is none left until the next.
    pub(crate) fn take(&self, turn: u64) -> bool {
        if self.turn.replace(turn) != turn {
            self.taken.set(0);
        }
        let is_left = self.taken.get() < self.most;
        self.taken.set(self.taken.get() + u32::from(is_left));
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ration_is_the_same_in_every_turn() {
        let ration = Ration::new(2);
        for turn in [0, 1, 7] {
            let taken = [turn; 4].map(|turn| ration.take(turn));
            assert_eq!(taken, [true, true, false, false]);
        }
    }
}
