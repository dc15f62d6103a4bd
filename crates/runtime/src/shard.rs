//! A room's subscribers on one core: the room's log here, and a cursor into it for each.

use std::collections::HashMap;

use hub::RoomId;
use slotmap::{SlotMap, new_key_type};

use crate::{connection::ConnectionKey, log::Log};

new_key_type! {
    /// A shard's slot on its core.
    pub(crate) struct ShardKey;
    /// A subscriber's slot in its shard.
    pub(crate) struct SubscriberKey;
}

/// One room on one core.
pub(crate) struct Shard {
    pub(crate) room: RoomId,
    pub(crate) log: Log,
    pub(crate) subscribers: SlotMap<SubscriberKey, Subscriber>,
    /// Whether it waits in [`Shards::news`].
    has_news: bool,
    /// Whether it waits in [`Shards::untrimmed`].
    is_untrimmed: bool,
}

/// A subscriber: whose it is, and how far it is.
pub(crate) struct Subscriber {
    pub(crate) connection: ConnectionKey,
    /// The position in the log of the first byte that has not been sent to it.
    pub(crate) cursor: u64,
}

/// A connection's end of its subscription: where its subscriber is found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) shard: ShardKey,
    pub(crate) subscriber: SubscriberKey,
}

/// All shards of one core.
#[derive(Default)]
pub(crate) struct Shards {
    shards: SlotMap<ShardKey, Shard>,
    by_room: HashMap<RoomId, ShardKey>,
    /// Shards to which something was appended since their subscribers were last looked at.
    news: Vec<ShardKey>,
    /// Shards whose log may hold what everybody has had.
    untrimmed: Vec<ShardKey>,
    /// Subscribers of all shards.
    subscriptions: usize,
    /// Bytes of memory that all logs take.
    held_bytes: usize,
}

impl Shards {
    /// Adds a subscriber that gets what is appended from now on.
    pub(crate) fn subscribe(&mut self, room: RoomId, connection: ConnectionKey) -> Subscription {
        let shards = &mut self.shards;
        let shard = *self.by_room.entry(room).or_insert_with(|| {
            shards.insert(Shard {
                room,
                log: Log::default(),
                subscribers: SlotMap::with_key(),
                has_news: false,
                is_untrimmed: false,
            })
        });
        let Shard {
            log, subscribers, ..
        } = &mut shards[shard];
        let cursor = log.head();
        self.subscriptions += 1;
        let subscriber = subscribers.insert(Subscriber { connection, cursor });
        Subscription { shard, subscriber }
    }

    /// Removes a subscriber, and the shard with its last; returns the room that was left.
    pub(crate) fn unsubscribe(&mut self, subscription: Subscription) -> RoomId {
        let shard = &mut self.shards[subscription.shard];
        let room = shard.room;
        self.subscriptions -= 1;
        shard.subscribers.remove(subscription.subscriber);
        if shard.subscribers.is_empty() {
            self.held_bytes -= shard.log.held_bytes();
            self.shards.remove(subscription.shard);
            self.by_room.remove(&room);
        } else {
            self.note_progress(&[subscription]);
        }
        room
    }

    /// How many subscribers all rooms have here.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Bytes of memory that all logs take.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Appends one frame to the room's log, if anybody here is subscribed; returns how many are.
    pub(crate) fn append(&mut self, room: RoomId, header: &[u8], payload: &[u8]) -> usize {
        let Some(key) = self.by_room.get(&room) else {
            return 0;
        };
        let shard = &mut self.shards[*key];
        self.held_bytes -= shard.log.held_bytes();
        shard.log.append(header, payload);
        self.held_bytes += shard.log.held_bytes();
        if !std::mem::replace(&mut shard.has_news, true) {
            self.news.push(*key);
        }
        shard.subscribers.len()
    }

    /// Adds the subscribers of all shards with news, which are no news from then on. Their
    /// connections are not looked at: one more look at a thousand of them costs a tenth of what a
    /// fan-out spends outside the kernel.
    pub(crate) fn subscribers_with_news(&mut self, connections: &mut Vec<ConnectionKey>) {
        for key in self.news.drain(..) {
            // It may be gone by now.
            if let Some(shard) = self.shards.get_mut(key) {
                shard.has_news = false;
                connections.extend(shard.subscribers.values().map(|s| s.connection));
            }
        }
    }

    /// Remembers that subscribers have moved on or left: their logs may be trimmed.
    pub(crate) fn note_progress(&mut self, subscriptions: &[Subscription]) {
        for subscription in subscriptions {
            let shard = &mut self.shards[subscription.shard];
            if !shard.log.is_empty() && !std::mem::replace(&mut shard.is_untrimmed, true) {
                self.untrimmed.push(subscription.shard);
            }
        }
    }

    /// Forgets what all subscribers of a shard have had, for each shard where there may be such.
    pub(crate) fn trim(&mut self) {
        for key in std::mem::take(&mut self.untrimmed) {
            let Some(shard) = self.shards.get_mut(key) else {
                continue;
            };
            shard.is_untrimmed = false;
            let cursors = shard.subscribers.values().map(|s| s.cursor);
            let slowest = cursors.min().unwrap_or(shard.log.head());
            self.held_bytes -= shard.log.held_bytes();
            shard.log.trim(slowest);
            self.held_bytes += shard.log.held_bytes();
        }
    }

    /// The room of a subscription.
    pub(crate) fn room(&self, subscription: Subscription) -> RoomId {
        self.shards[subscription.shard].room
    }

    /// The log and the cursor that a subscription stands for.
    pub(crate) fn position(&self, subscription: Subscription) -> (&Log, u64) {
        let shard = &self.shards[subscription.shard];
        (
            &shard.log,
            shard.subscribers[subscription.subscriber].cursor,
        )
    }

    /// Moves a subscription's cursor on by so many bytes that were sent.
    pub(crate) fn advance(&mut self, subscription: Subscription, bytes: usize) {
        let shard = &mut self.shards[subscription.shard];
        shard.subscribers[subscription.subscriber].cursor += bytes as u64;
    }

    /// How many bytes a subscription is behind.
    pub(crate) fn lag(&self, subscription: Subscription) -> usize {
        let (log, cursor) = self.position(subscription);
        (log.head() - cursor) as usize
    }
}

#[cfg(test)]
mod tests {
    use hub::CoreId;
    use slotmap::Key;

    use super::*;

    /// A fixed sequence that looks random, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }

    #[test]
    fn bytes_held_are_those_of_all_logs_whatever_happens() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut shards = Shards::default();
        let mut subscriptions = Vec::new();
        for step in 0..20_000 {
            let home = CoreId(0);
            let token = random.below(4) as u64;
            let room = RoomId { home, token };
            match random.below(8) {
                0 if subscriptions.len() < 20 => {
                    subscriptions.push(shards.subscribe(room, ConnectionKey::null()));
                }
                1 if !subscriptions.is_empty() => {
                    let at = random.below(subscriptions.len());
                    shards.unsubscribe(subscriptions.swap_remove(at));
                }
                2..5 => {
                    shards.append(room, &[0, 0], &vec![1; random.below(1_000)]);
                }
                _ if !subscriptions.is_empty() => {
                    let one = subscriptions[random.below(subscriptions.len())];
                    let bytes = random.below(shards.lag(one) + 1);
                    shards.advance(one, bytes);
                    shards.note_progress(&[one]);
                    shards.trim();
                }
                _ => {}
            }
            let held = shards.shards.values().map(|it| it.log.held_bytes());
            assert_eq!(shards.held_bytes(), held.sum::<usize>(), "step {step}");
        }
        for subscription in subscriptions {
            shards.unsubscribe(subscription);
        }
        assert_eq!(shards.held_bytes(), 0);
    }
}
