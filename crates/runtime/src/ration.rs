//! A bound on costly work in one turn, so that many who come together do not keep everyone waiting.
//! Who comes first is served first.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use crate::{signal::Signal, turnstile::Turnstile};

/// How much of one kind of work all connections together may do between two passes of the turnstile.
/// The last to enter may exceed it, because a piece of work cannot be split.
pub(crate) struct Ration {
    per_turn_ns: u64,
    per_piece_min_ns: u64,
    turn: Cell<u64>,
    spent_ns: Cell<u64>,
    /// Those who wait. The first looks whether the next turn has come; the others wait to be first.
    waiting: RefCell<VecDeque<Rc<Signal>>>,
}

impl Ration {
    /// With so much in each turn, of which each piece of work takes so much at least.
    pub(crate) fn new(per_turn_ns: u64, per_piece_min_ns: u64) -> Self {
        Self {
            per_turn_ns,
            per_piece_min_ns,
            turn: Cell::new(0),
            spent_ns: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Waits until something is left and all have had theirs who came before. Whoever has entered
    /// does its work at once and says what it [`spent`](Self::spend). Returns whether it has waited.
    pub(crate) async fn enter(&self, turnstile: &Turnstile) -> bool {
        if self.waiting.borrow().is_empty() && self.is_left(turnstile.turns()) {
            return false;
        }
        let place = Rc::new(Signal::default());
        self.waiting.borrow_mut().push_back(place.clone());
        if self.waiting.borrow().len() > 1 {
            place.wait().await;
        }
        while !self.is_left(turnstile.turns()) {
            turnstile.pass().await;
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.pop_front();
        if let Some(next) = waiting.front() {
            next.raise();
        }
        true
    }

    /// Counts a piece of work that was done.
    pub(crate) fn spend(&self, ns: u64) {
        self.spent_ns
            .set(self.spent_ns.get() + ns.max(self.per_piece_min_ns));
    }

    fn is_left(&self, turn: u64) -> bool {
        if self.turn.replace(turn) != turn {
            self.spent_ns.set(0);
        }
        self.spent_ns.get() < self.per_turn_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::on_each_driver;

    #[test]
    fn ration_is_the_same_in_every_turn() {
        let ration = Ration::new(10, 3);
        for turn in [0, 1, 7] {
            let taken = [5, 0, 1, 8, 1].map(|ns| {
                let is_left = ration.is_left(turn);
                ration.spend(ns);
                is_left
            });
            // 5, 3, 3: that is more than there was.
            assert_eq!(taken, [true, true, true, false, false]);
        }
    }

    /// Each wants all there is in a turn, and comes back at once when it has had it.
    #[test]
    fn who_comes_back_at_once_is_behind_all_who_wait() {
        on_each_driver(async |core| {
            let ration = Rc::new(Ration::new(10, 0));
            ration.enter(&core.turnstile).await;
            ration.spend(10);
            let served = Rc::new(RefCell::new(Vec::new()));
            for name in 0..3 {
                let (core, ration, served) = (core.clone(), ration.clone(), served.clone());
                monoio::spawn(async move {
                    for _ in 0..4 {
                        ration.enter(&core.turnstile).await;
                        served.borrow_mut().push((core.turnstile.turns(), name));
                        ration.spend(10);
                    }
                });
            }
            while served.borrow().len() < 12 {
                core.turnstile.pass().await;
            }
            let served = served.borrow();
            let names: Vec<_> = served.iter().map(|(_, name)| *name).collect();
            assert_eq!(names, [0, 1, 2].repeat(4));
            let turns = served.windows(2).all(|two| two[0].0 < two[1].0);
            assert!(turns, "one in a turn: {served:?}");
        });
    }
}
