//! The memory that a core holds for its connections, in one ledger of several accounts.
//!
//! ```text
//!  connection ── Holding, as counted ──replace─▶ Ledger ── held(account) ──▶ bound, metrics, eviction
//! ```
//!
//! *Owns* the sums; a connection carries what of them is its own ([`Holding`]). The two are changed
//! together, by one method of the ledger, so that they cannot differ. Each core has an even share of
//! each bound, so that nothing on a message's path is shared between cores.

/// What memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Bytes that wait for peers that do not read as fast as they are sent to. Rooms' logs belong to
    /// this account too, but to no single connection.
    Queues,
    /// Received bytes that are no whole request, message or TLS record yet, or that wait while their
    /// connection is not read.
    Unfinished,
    /// What is reserved for compression with context takeover.
    Contexts,
}

/// Bytes held for one connection, by account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) queues: usize,
    pub(crate) unfinished: usize,
    pub(crate) contexts: usize,
}

/// Bytes held for all connections of a core, by account.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    all: Holding,
}

impl Ledger {
    /// A connection holds `now` instead of what was `counted` for it.
    pub(crate) fn replace(&mut self, counted: &mut Holding, now: Holding) {
        if *counted == now {
            return;
        }
        let Holding {
            queues,
            unfinished,
            contexts,
        } = &mut self.all;
        for (all, counted, now) in [
            (queues, counted.queues, now.queues),
            (unfinished, counted.unfinished, now.unfinished),
            (contexts, counted.contexts, now.contexts),
        ] {
            debug_assert!(*all >= counted, "more is given back than was counted");
            *all = *all - counted + now;
        }
        *counted = now;
    }

    /// Bytes held on an account by all connections.
    pub(crate) fn held(&self, account: Account) -> usize {
        match account {
            Account::Queues => self.all.queues,
            Account::Unfinished => self.all.unfinished,
            Account::Contexts => self.all.contexts,
        }
    }
}

/// After an overshoot, memory is freed down to this mark, seven eighths of the bound. So all connections
/// are looked at once for each overshoot, and not for each further byte.
pub(crate) fn low_water(bound: usize) -> usize {
    bound - bound / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledger_is_the_sum_of_what_its_connections_hold() {
        let mut ledger = Ledger::default();
        let mut counted = [Holding::default(); 3];
        let mut state = 7_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize
        };
        for step in 0..1_000 {
            let one = &mut counted[random() % 3];
            let now = Holding {
                queues: random() % 2 * random(),
                unfinished: random() % 2 * random(),
                contexts: random() % 2 * random(),
            };
            ledger.replace(one, now);
            assert_eq!(*one, now);
            for (account, of) in [
                (Account::Queues, (|it| it.queues) as fn(&Holding) -> usize),
                (Account::Unfinished, |it| it.unfinished),
                (Account::Contexts, |it| it.contexts),
            ] {
                let sum: usize = counted.iter().map(of).sum();
                assert_eq!(ledger.held(account), sum, "step {step}, {account:?}");
            }
        }
        for one in &mut counted {
            ledger.replace(one, Holding::default());
        }
        assert_eq!(ledger.all, Holding::default());
    }

    #[test]
    fn overshoot_is_over_at_seven_eighths_of_the_bound() {
        assert_eq!(low_water(800), 700);
        assert_eq!(low_water(1), 1);
        assert_eq!(low_water(0), 0);
    }
}
