//! How often messages come to a room, from all and from each of its publishers.
//!
//! This is the generic cell rate algorithm: a bucket of tokens is kept as the time at which it will be full
//! again. A message counts at the time when it was received, however long it waited on its way here.

use std::{collections::HashMap, sync::Arc};

use crate::mailbox::ConnectionId;

/// Most publishers of a room whose rates are counted. Those who have paused long enough are forgotten first;
/// further ones are counted for the room alone.
const PUBLISHERS_MAX: usize = 4_096;

/// How often messages may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Messages a second, at least 1.
    pub per_second: u32,
    /// Messages at once, at least 1.
    pub burst: u32,
}

impl Pace {
    /// Takes a token of a bucket that is full at `full_at_us`; returns when it is full then, or `None` if there is
    /// none.
    fn take(self, full_at_us: u64, now_us: u64) -> Option<u64> {
        let token_us = 1_000_000 / u64::from(self.per_second.max(1));
        let next_us = full_at_us.max(now_us) + token_us;
        let burst_us = token_us * u64::from(self.burst.max(1));
        (next_us - now_us <= burst_us).then_some(next_us)
    }
}

/// Whose messages are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Connection(ConnectionId),
    User(Arc<str>),
}

/// What a room has counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    full_at_us: u64,
    publishers: HashMap<Source, u64>,
}

impl Counted {
    /// Whether a message may come now from this source; if so it is counted.
    pub(crate) fn allows(
        &mut self,
        (room, each): (Option<Pace>, Option<Pace>),
        source: Source,
        now_us: u64,
    ) -> bool {
        let of_publisher = match each {
            None => None,
            Some(pace) => {
                let full_at_us = self.publishers.get(&source).copied().unwrap_or(0);
                match pace.take(full_at_us, now_us) {
                    None => return false,
                    taken => taken,
                }
            }
        };
        if let Some(pace) = room {
            let Some(full_at_us) = pace.take(self.full_at_us, now_us) else {
                return false;
            };
            self.full_at_us = full_at_us;
        }
        if let Some(full_at_us) = of_publisher {
            self.note(source, full_at_us, now_us);
        }
        true
    }

    fn note(&mut self, source: Source, full_at_us: u64, now_us: u64) {
        if let Some(known) = self.publishers.get_mut(&source) {
            *known = full_at_us;
            return;
        }
        if self.publishers.len() >= PUBLISHERS_MAX {
            self.publishers.retain(|_, full_at_us| *full_at_us > now_us);
        }
        if self.publishers.len() < PUBLISHERS_MAX {
            self.publishers.insert(source, full_at_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::CoreId;

    fn source(token: u64) -> Source {
        let core = CoreId(0);
        Source::Connection(ConnectionId { core, token })
    }

    const SLOW: Option<Pace> = Some(Pace {
        per_second: 10,
        burst: 3,
    });

    fn allowed(
        counted: &mut Counted,
        paces: (Option<Pace>, Option<Pace>),
        publisher: u64,
        now_ms: u64,
    ) -> usize {
        let tries = 0..10;
        tries
            .filter(|_| counted.allows(paces, source(publisher), now_ms * 1_000))
            .count()
    }

    #[test]
    fn room_takes_its_burst_and_then_one_at_a_time_whoever_publishes() {
        let mut counted = Counted::default();
        let paces = (SLOW, None);
        assert_eq!(allowed(&mut counted, paces, 1, 5_000), 3);
        assert_eq!(allowed(&mut counted, paces, 2, 5_099), 0);
        assert_eq!(allowed(&mut counted, paces, 2, 5_100), 1);
        assert_eq!(allowed(&mut counted, paces, 2, 60_000), 3);
    }

    #[test]
    fn publisher_that_is_too_fast_takes_nothing_from_the_others() {
        let mut counted = Counted::default();
        let wide = Some(Pace {
            per_second: 1,
            burst: 7,
        });
        let paces = (wide, SLOW);
        assert_eq!(allowed(&mut counted, paces, 1, 0), 3);
        assert_eq!(allowed(&mut counted, paces, 2, 0), 3);
        assert_eq!(allowed(&mut counted, paces, 3, 0), 1, "the room's");
    }

    #[test]
    fn publishers_are_bounded_and_those_who_paused_are_forgotten() {
        let mut counted = Counted::default();
        for publisher in 0..PUBLISHERS_MAX as u64 + 5 {
            assert!(counted.allows((None, SLOW), source(publisher), 0));
        }
        assert_eq!(counted.publishers.len(), PUBLISHERS_MAX);
        assert!(counted.allows((None, SLOW), source(u64::MAX), 10_000_000));
        assert_eq!(counted.publishers.len(), 1);
    }
}
