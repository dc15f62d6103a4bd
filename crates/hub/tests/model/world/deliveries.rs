//! What arrives at the cores, compared with what the model owes them.

use hub::{CoreId, Delivery, LossReason, Record, Recovered, RoomId, Ticket};

use super::{
    World,
    asking::{REMOVAL, numbers},
};
use crate::truth::{Fate, Missed, Place, Subscriber};

impl World {
    pub(super) fn deliver(&mut self, core: CoreId, delivery: Delivery) {
        match delivery {
            Delivery::Joined {
                subscriber,
                ticket,
                room,
                position,
                recovered,
                ..
            } => {
                assert_eq!(ticket, Ticket(!subscriber.token));
                let subscriber = &mut self.subscribers[subscriber.token as usize];
                assert_eq!((subscriber.room, subscriber.position), (None, position));
                assert_eq!(subscriber.recovered, recovered.map(|it| given(&it)));
                subscriber.room = Some(room);
            }
            Delivery::Messages {
                room,
                epoch,
                first,
                records,
                stamps,
            } => {
                let of_room = |s: &&Subscriber| s.room == Some(room);
                if let Some(subscriber) = self.subscribers.iter().find(of_room) {
                    assert_eq!(epoch, self.rooms[subscriber.joined].top.epoch);
                }
                assert_eq!(records.len(), stamps.len());
                assert!(!records.is_empty());
                for (offset, (record, stamp)) in (first..).zip(records.iter().zip(stamps)) {
                    self.message(core, room, offset, record, stamp);
                }
            }
            Delivery::Published {
                publisher,
                ticket,
                position,
                stamp,
                ..
            } => {
                assert_eq!((publisher.core, stamp), (core, ticket.0 * 3));
                self.answered(ticket, Fate::At(position));
                self.has_come_before(core, (position, ticket.0));
            }
            Delivery::Unpublished { ticket, reason, .. } => {
                self.answered(ticket, Fate::Refused(reason));
            }
            Delivery::Lost { room, reason } => {
                assert_eq!(reason, LossReason::Cut);
                self.lost(core, room);
            }
            Delivery::Answered { answer, .. } => self.is_told(answer),
            Delivery::Listed { listing, .. } => self.is_listed(listing),
            other @ (Delivery::Refused { .. } | Delivery::Announced { .. }) => {
                panic!("unexpected {other:?}")
            }
        }
    }

    fn message(&mut self, core: CoreId, room: RoomId, offset: u64, record: &Record, stamp: u64) {
        let payload = payload_of(record);
        match payload >= REMOVAL {
            true => assert_eq!((record.tag, stamp), (0, 0)),
            false => assert_eq!((record.tag, stamp), (1, payload * 3)),
        }
        for subscriber in &mut self.subscribers {
            let here = subscriber.id.core == core && subscriber.room == Some(room);
            if here && !subscriber.left {
                assert!(!subscriber.is_told_of_loss, "nothing comes behind the loss");
                let place = subscriber.owed.pop_front().unwrap();
                assert_eq!((place.0.offset, place.1), (offset, payload));
                subscriber.seen.push(place);
            }
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Fate) {
        let (expected, has_come) = &mut self.answers[ticket.0 as usize];
        assert_eq!(*expected, Some(answer));
        assert!(!std::mem::replace(has_come, true), "answered twice");
    }

    /// Behind the message comes its acknowledgement.
    fn has_come_before(&self, core: CoreId, place: Place) {
        for subscriber in self.subscribers.iter().filter(|s| s.id.core == core) {
            assert!(!subscriber.owed.contains(&place), "too early: {place:?}");
        }
    }

    fn lost(&mut self, core: CoreId, room: RoomId) {
        for subscriber in &mut self.subscribers {
            if subscriber.id.core == core && subscriber.room == Some(room) {
                assert!(subscriber.owed.is_empty(), "owed {:?}", subscriber.owed);
                let was_told = std::mem::replace(&mut subscriber.is_told_of_loss, true);
                assert!(!was_told);
            }
        }
    }
}

/// The offsets and payloads of what was recovered.
fn given(recovered: &Recovered) -> Missed {
    let (is_missed, messages) = match recovered {
        Recovered::Exactly(messages) => (true, messages),
        Recovered::Newest { messages, .. } | Recovered::State(messages) => (false, messages),
        Recovered::Impossible(_) => return None,
    };
    Some((is_missed, numbers(messages)))
}

/// The number that a message has as its payload, or that stands for its removal of a key.
pub fn payload_of(record: &Record) -> u64 {
    let removed = record.keyed().filter(|_| record.payload.is_empty());
    match removed {
        Some(keyed) => REMOVAL + keyed.key.parse::<u64>().unwrap(),
        None => u64::from_ne_bytes(record.payload[..].try_into().unwrap()),
    }
}
