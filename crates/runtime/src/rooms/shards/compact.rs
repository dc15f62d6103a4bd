//! Makes the table of a room's subscribers small again when most of them have left.
//!
//! A round walks over all slots of a shard, and a slot stays when its subscriber leaves, since
//! subscriptions name slots. So a room that was crowded once would cost what the crowd did, for each message
//! and for as long as a single subscriber stays.

use hub::bound;

use super::{Shard, ShardKey, Shards, Subscription};
use crate::ids::ConnectionKey;

/// Tables with fewer slots stay as they are: walking over them costs less than a send.
const SLOTS_MIN: usize = bound(256, 2);

/// A table is sparse when fewer than one slot in so many is taken.
const SLOTS_PER_SUBSCRIBER: usize = 4;

/// A subscriber that lies elsewhere now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) connection: ConnectionKey,
    /// Which of the connection's rooms this is.
    pub(crate) slot: u8,
    /// Where its subscriber is found from now on.
    pub(crate) subscription: Subscription,
}

impl Shards {
    /// Remembers a shard that has become sparse.
    pub(super) fn note_if_sparse(&mut self, key: ShardKey) {
        let shard = &mut self.shards[key];
        if shard.is_sparse() && !std::mem::replace(&mut shard.is_noted_sparse, true) {
            self.sparse.push(key);
        }
    }

    /// Compacts one of the shards that have become sparse; `None` if there is none. The caller tells the
    /// connections where their subscribers are found, before it does anything else with them.
    pub(crate) fn compact_next(&mut self) -> Option<Vec<Moved>> {
        let key = self.sparse.pop()?;
        let mut moved = Vec::new();
        let Some(shard) = self.shards.get_mut(key) else {
            return Some(moved);
        };
        shard.is_noted_sparse = false;
        if !shard.is_sparse() {
            return Some(moved);
        }
        shard.subscribers.compact(|subscriber, _, to| {
            let subscription = Subscription {
                shard: key,
                subscriber: to as u32,
            };
            if let Some(own) = subscriber.own {
                self.own.moved(own, subscription);
            }
            moved.push(Moved {
                connection: subscriber.connection,
                slot: subscriber.slot,
                subscription,
            });
            true
        });
        // Who was to be visited may lie before those that were; nobody is sent anything twice, because a
        // cursor tells what is left.
        if let Some(round) = &mut shard.round {
            round.next = 0;
        }
        Some(moved)
    }
}

impl Shard {
    fn is_sparse(&self) -> bool {
        let slots = self.subscribers.capacity();
        slots >= SLOTS_MIN && SLOTS_PER_SUBSCRIBER * self.subscribers.len() < slots
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hub::Details;

    use super::*;
    use crate::{
        encoding::WireForm,
        fixture::{ROOM, lobby},
        rooms::Visit,
    };

    fn offer(shards: &mut Shards) {
        shards.offer(ROOM, 0, None, |_, _, log| log.append([&[1; 10], &[]]));
    }

    /// Visits everyone who has news and notes that it was sent; returns who they were.
    fn send_all(
        shards: &mut Shards,
        places: &[(ConnectionKey, Subscription)],
    ) -> Vec<ConnectionKey> {
        let (mut visits, mut finished) = (Vec::new(), Vec::new());
        while shards.has_news() {
            shards.next_slice(64, &mut visits, &mut finished);
        }
        let visited = visits.iter().map(|visit| visit.connection);
        let served = visited.filter(|key| {
            let (_, subscription) = places.iter().find(|(other, _)| other == key).unwrap();
            let lag = shards.lag(*subscription);
            shards.taken(*subscription, lag);
            lag > 0
        });
        served.collect()
    }

    #[test]
    fn room_that_was_crowded_costs_no_more_than_those_who_are_left() {
        for is_within_round in [false, true] {
            let mut shards = Shards::default();
            let mut places: Vec<_> = (0..1_000)
                .map(|number| {
                    let connection = ConnectionKey::new(1, number);
                    let visit = Visit {
                        connection,
                        slot: 3,
                    };
                    let name = lobby();
                    let form = WireForm::default();
                    (connection, shards.subscribe(ROOM, &name, form, visit))
                })
                .collect();
            if is_within_round {
                offer(&mut shards);
                // Slots up to 700 are visited, and some of those who lie there are served.
                let mut visits = Vec::new();
                shards.next_slice(700, &mut visits, &mut Vec::new());
                let (_, served) = places[699];
                shards.taken(served, 10);
            }
            let stay = |key: &ConnectionKey| [3, 699, 998].contains(&key.slot());
            for (_, subscription) in places.iter().filter(|(key, _)| !stay(key)) {
                shards.unsubscribe(*subscription);
            }
            places.retain(|(key, _)| stay(key));
            let moved = shards.compact_next().expect("it is sparse");
            assert_eq!(shards.compact_next(), None);
            for Moved {
                connection,
                slot,
                subscription,
            } in moved
            {
                assert_eq!(slot, 3);
                let place = places.iter_mut().find(|(key, _)| *key == connection);
                place.unwrap().1 = subscription;
            }
            let (_, subscription) = places[0];
            assert!(shards.shards[subscription.shard].subscribers.capacity() < 16);
            if is_within_round {
                let mut served = send_all(&mut shards, &places);
                served.sort_by_key(|key| key.slot());
                let slots: Vec<_> = served.iter().map(|key| key.slot()).collect();
                assert_eq!(slots, [3, 998], "one was served before");
            }
            offer(&mut shards);
            assert_eq!(send_all(&mut shards, &places).len(), 3);
            for (_, subscription) in places {
                shards.unsubscribe(subscription);
            }
            assert_eq!(shards.held_bytes(), 0);
        }
    }

    #[test]
    fn subscriber_that_does_not_hear_itself_does_not_hear_itself_elsewhere_either() {
        let mut shards = Shards::default();
        let mut subscribers: Vec<_> = (0..1_000)
            .map(|number| {
                let connection = ConnectionKey::new(1, number);
                let visit = Visit {
                    connection,
                    slot: 0,
                };
                shards.subscribe(ROOM, &lobby(), WireForm::default(), visit)
            })
            .collect();
        let own = Arc::<Details>::default();
        let last = subscribers.pop().unwrap();
        shards.pass_over(last, own.clone());
        for subscriber in subscribers {
            shards.unsubscribe(subscriber);
        }
        let moved = shards.compact_next().expect("it is sparse");
        let last = moved[0].subscription;
        let mut said = |details: Option<&Arc<Details>>| {
            shards.offer(ROOM, 0, details, |_, _, log| log.append([&[1; 10], &[]]));
            shards.lag(last)
        };
        assert_eq!(said(Some(&own)), 0);
        assert_eq!(said(None), 10);
        shards.unsubscribe(last);
        assert_eq!(shards.held_bytes(), 0);
    }

    #[test]
    fn small_tables_and_rooms_that_are_gone_are_left_alone() {
        let mut shards = Shards::default();
        let subscribe = |shards: &mut Shards, number| {
            let connection = ConnectionKey::new(1, number);
            let visit = Visit {
                connection,
                slot: 0,
            };
            shards.subscribe(ROOM, &lobby(), WireForm::default(), visit)
        };
        let few: Vec<_> = (0..100)
            .map(|number| subscribe(&mut shards, number))
            .collect();
        for subscription in few {
            shards.unsubscribe(subscription);
        }
        assert_eq!(shards.compact_next(), None);
        let many: Vec<_> = (0..1_000)
            .map(|number| subscribe(&mut shards, number))
            .collect();
        for subscription in many {
            shards.unsubscribe(subscription);
        }
        assert_eq!(
            shards.compact_next(),
            Some(Vec::new()),
            "it is noted, and gone"
        );
        assert_eq!(shards.compact_next(), None);
    }
}
