//! A room's subscribers on one core: the room's log here, and a cursor into it for each.
//!
//! Subscribers to whom messages look alike on the wire share a shard: a room has one for each form.

use std::collections::{HashMap, hash_map::Entry};

use hub::RoomId;
use slotmap::{SlotMap, new_key_type};
use smallvec::SmallVec;

use crate::{connection::ConnectionKey, encoder::WireForm, log::Log};

new_key_type! {
    /// A shard's slot on its core.
    pub(crate) struct ShardKey;
    /// A subscriber's slot in its shard.
    pub(crate) struct SubscriberKey;
}

/// One room on one core, in one form.
pub(crate) struct Shard {
    pub(crate) room: RoomId,
    form: WireForm,
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
    by_room: HashMap<RoomId, SmallVec<[ShardKey; 1]>>,
    /// Shards to which something was appended since their subscribers were last looked at.
    news: Vec<ShardKey>,
    /// Shards whose log may hold what everybody has had.
    untrimmed: Vec<ShardKey>,
    /// Subscribers of all shards.
    subscriptions: usize,
}

impl Shards {
    /// Adds a subscriber that gets what is appended from now on, in this form.
    pub(crate) fn subscribe(
        &mut self,
        room: RoomId,
        form: WireForm,
        connection: ConnectionKey,
    ) -> Subscription {
        let shard = self.shard(room, form);
        let Shard {
            log, subscribers, ..
        } = &mut self.shards[shard];
        let cursor = log.head();
        self.subscriptions += 1;
        let subscriber = subscribers.insert(Subscriber { connection, cursor });
        Subscription { shard, subscriber }
    }

    fn shard(&mut self, room: RoomId, form: WireForm) -> ShardKey {
        let shards = &mut self.shards;
        let forms = self.by_room.entry(room).or_default();
        let found = forms.iter().find(|key| shards[**key].form == form);
        found.copied().unwrap_or_else(|| {
            let key = shards.insert(Shard {
                room,
                form,
                log: Log::default(),
                subscribers: SlotMap::with_key(),
                has_news: false,
                is_untrimmed: false,
            });
            forms.push(key);
            key
        })
    }

    /// Removes a subscriber, and the shard with its last; returns the room that was left.
    pub(crate) fn unsubscribe(&mut self, subscription: Subscription) -> RoomId {
        let shard = &mut self.shards[subscription.shard];
        let room = shard.room;
        self.subscriptions -= 1;
        shard.subscribers.remove(subscription.subscriber);
        if shard.subscribers.is_empty() {
            self.shards.remove(subscription.shard);
            if let Entry::Occupied(mut forms) = self.by_room.entry(room) {
                forms.get_mut().retain(|key| *key != subscription.shard);
                if forms.get().is_empty() {
                    forms.remove();
                }
            }
        } else {
            self.note_progress(&[subscription]);
        }
        room
    }

    /// How many subscribers all rooms have here.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Appends one frame to the room's log in each form that anybody here has, by `append`;
    /// returns how many are subscribed.
    pub(crate) fn append(
        &mut self,
        room: RoomId,
        mut append: impl FnMut(WireForm, &mut Log),
    ) -> usize {
        let forms = self.by_room.get(&room).map_or(&[][..], SmallVec::as_slice);
        let mut subscribers = 0;
        for key in forms {
            let shard = &mut self.shards[*key];
            append(shard.form, &mut shard.log);
            if !std::mem::replace(&mut shard.has_news, true) {
                self.news.push(*key);
            }
            subscribers += shard.subscribers.len();
        }
        subscribers
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
            shard.log.trim(slowest);
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

    use super::*;

    const ROOM: RoomId = RoomId {
        home: CoreId(0),
        token: 7,
    };
    const DEFLATE: WireForm = WireForm::Deflate { window_bits: 12 };

    /// Appends one frame to each form, of another length; returns for how many, and which forms.
    fn append(shards: &mut Shards) -> (usize, Vec<WireForm>) {
        let mut forms = Vec::new();
        let subscribers = shards.append(ROOM, |form, log| {
            forms.push(form);
            let header: &[u8] = if form == DEFLATE { &[1] } else { &[1, 2, 3] };
            log.append([header, &[0; 10]]);
        });
        (subscribers, forms)
    }

    #[test]
    fn room_with_two_forms_has_a_log_for_each_and_all_its_subscribers() {
        let mut shards = Shards::default();
        let nobody = ConnectionKey::default();
        let plain = shards.subscribe(ROOM, WireForm::Plain, nobody);
        let deflate = shards.subscribe(ROOM, DEFLATE, nobody);
        let late = append(&mut shards);
        assert_eq!(late, (2, vec![WireForm::Plain, DEFLATE]));
        let another = shards.subscribe(ROOM, DEFLATE, nobody);
        assert_eq!(append(&mut shards).0, 3);
        assert_eq!((shards.lag(plain), shards.lag(deflate)), (26, 22));
        assert_eq!(shards.lag(another), 11, "from its subscription on");
        let mut told = Vec::new();
        shards.subscribers_with_news(&mut told);
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn room_without_subscribers_of_a_form_makes_no_frames_of_it() {
        let mut shards = Shards::default();
        let nobody = ConnectionKey::default();
        let plain = shards.subscribe(ROOM, WireForm::Plain, nobody);
        let deflate = shards.subscribe(ROOM, DEFLATE, nobody);
        assert_eq!(shards.unsubscribe(plain), ROOM);
        assert_eq!(append(&mut shards), (1, vec![DEFLATE]));
        assert_eq!(shards.unsubscribe(deflate), ROOM);
        assert_eq!(append(&mut shards), (0, Vec::new()));
        assert!(shards.by_room.is_empty() && shards.shards.is_empty());
        shards.subscribe(ROOM, WireForm::Plain, nobody);
        assert_eq!(append(&mut shards), (1, vec![WireForm::Plain]));
    }
}
