//! Tests of a connection's rooms against a naive list.

use std::collections::BTreeMap;

use super::*;
use crate::{
    encoding::WireForm,
    fixture::{ROOM, Random, lobby},
    ids::ConnectionKey,
    rooms::{Shards, Visit},
};

/// The same, naively.
#[derive(Default)]
struct Model {
    /// Whether there ever was a second room beside another.
    is_many: bool,
    entries: BTreeMap<u8, (Ticket, Membership)>,
    with_news: Vec<u8>,
    half_sent: Option<u8>,
}

impl Model {
    fn note_news(&mut self, slot: u8) {
        if self.is_many && self.entries.contains_key(&slot) && !self.with_news.contains(&slot) {
            self.with_news.push(slot);
        }
    }

    fn ask(&mut self, ticket: Ticket) {
        if !self.is_many && !self.entries.is_empty() {
            self.is_many = true;
            self.note_news(0);
        }
        let free = (0..=u8::MAX).find(|slot| !self.entries.contains_key(slot));
        assert_eq!(Some(ticket.slot()), free);
        self.entries
            .insert(ticket.slot(), (ticket, Membership::Asked));
    }

    fn forget_news(&mut self, slot: u8) {
        self.with_news.retain(|other| *other != slot);
    }

    fn with_news(&self) -> Vec<(u8, Subscription)> {
        let slots: Vec<u8> = match self.is_many {
            false => self.entries.keys().copied().collect(),
            true => {
                let others = self.with_news.iter().copied();
                let others = others.filter(|slot| Some(*slot) != self.half_sent);
                self.half_sent.into_iter().chain(others).collect()
            }
        };
        let joined = slots
            .into_iter()
            .filter_map(|slot| match self.entries.get(&slot)?.1 {
                Membership::In(subscription) => Some((slot, subscription)),
                Membership::Asked | Membership::GivenUp => None,
            });
        joined.collect()
    }
}

fn subscription(shards: &mut Shards, slot: u8) -> Membership {
    let connection = ConnectionKey::new(1, 0);
    let visit = Visit { connection, slot };
    let form = WireForm::default();
    Membership::In(shards.subscribe(ROOM, &lobby(), form, visit))
}

const MAX: usize = 5;

#[test]
fn rooms_of_a_connection_are_those_of_a_naive_list_whatever_happens() {
    let mut random = Random::default();
    let mut shards = Shards::default();
    let mut gone = Vec::new();
    let mut serial = 0;
    for _ in 0..100 {
        let (mut rooms, mut model) = (Subscriptions::default(), Model::default());
        for _ in 0..300 {
            let slot = random.below(MAX + 1) as u8;
            let known = model.entries.get(&slot).copied();
            match (random.below(7), known) {
                (0, _) => {
                    serial += 1;
                    let ticket = rooms.ask(serial, MAX);
                    assert_eq!(ticket.is_some(), model.entries.len() < MAX);
                    if let Some(ticket) = ticket {
                        model.ask(ticket);
                    }
                }
                (1, Some((ticket, Membership::Asked))) => {
                    let membership = match random.below(4) {
                        0 => Membership::GivenUp,
                        _ => subscription(&mut shards, slot),
                    };
                    rooms.set(ticket, membership);
                    model.entries.insert(slot, (ticket, membership));
                }
                (2, Some((ticket, membership))) if random.below(4) == 0 => {
                    assert_eq!(rooms.remove(ticket), Some(membership));
                    model.entries.remove(&slot);
                    model.forget_news(slot);
                    model.half_sent = model.half_sent.filter(|half_sent| *half_sent != slot);
                    gone.push(ticket);
                }
                (3, _) => {
                    rooms.note_news(slot);
                    model.note_news(slot);
                }
                (4, _) => settle_first(&mut rooms, &mut model, &mut random),
                (5, _) if !gone.is_empty() => {
                    let ticket = gone[random.below(gone.len())];
                    assert_eq!(rooms.get(ticket), None, "its slot is another's");
                    rooms.set(ticket, Membership::GivenUp);
                    assert_eq!(rooms.remove(ticket), None);
                }
                _ => {}
            }
            check(&rooms, &model);
        }
        let mut all: Vec<_> = model.entries.values().map(|(_, it)| *it).collect();
        for membership in rooms.take() {
            let at = all.iter().position(|other| *other == membership);
            all.swap_remove(at.unwrap());
        }
        assert!(all.is_empty());
        assert_eq!((rooms.len(), rooms.first()), (0, None));
    }
}

/// The room that is to be sent of first was sent of: all of it, some frames, or a part of one.
fn settle_first(rooms: &mut Subscriptions, model: &mut Model, random: &mut Random) {
    let Some((slot, _)) = model.with_news().first().copied() else {
        return;
    };
    let is_half_sent = random.below(3) == 0;
    let has_more = is_half_sent || random.below(2) == 0;
    rooms.settle(slot, has_more, is_half_sent);
    if !model.is_many {
        return;
    }
    model.half_sent = is_half_sent.then_some(slot);
    if !has_more {
        model.forget_news(slot);
    }
}

fn check(rooms: &Subscriptions, model: &Model) {
    assert_eq!(rooms.len(), model.entries.len());
    let tickets: Vec<_> = model.entries.values().map(|(ticket, _)| *ticket).collect();
    assert_eq!(rooms.tickets().collect::<Vec<_>>(), tickets);
    assert_eq!(rooms.first(), tickets.first().copied());
    for (slot, (ticket, membership)) in &model.entries {
        assert_eq!(rooms.get(*ticket), Some(*membership));
        assert_eq!(rooms.ticket_in(*slot), Some(*ticket));
    }
    assert_eq!(rooms.with_news().collect::<Vec<_>>(), model.with_news());
}

#[test]
fn single_room_lies_in_the_connection_itself_and_is_never_without_news() {
    let mut shards = Shards::default();
    let mut rooms = Subscriptions::default();
    for serial in 1..4 {
        let ticket = rooms.ask(serial, 1).unwrap();
        assert_eq!(rooms.with_news().count(), 0, "it is not there yet");
        assert_eq!(rooms.ask(9, 1), None);
        rooms.set(ticket, subscription(&mut shards, 0));
        rooms.settle(0, false, false);
        assert_eq!(rooms.with_news().count(), 1);
        assert!(matches!(rooms, Subscriptions::One(_)));
        rooms.remove(ticket);
        assert!(matches!(rooms, Subscriptions::None));
    }
}

#[test]
fn room_whose_frame_has_begun_is_first_though_others_were_there_before() {
    let mut shards = Shards::default();
    let mut rooms = Subscriptions::default();
    for serial in 1..4 {
        let ticket = rooms.ask(serial, 3).unwrap();
        rooms.set(ticket, subscription(&mut shards, ticket.slot()));
    }
    let slots = |rooms: &Subscriptions| -> Vec<u8> { rooms.with_news().map(|it| it.0).collect() };
    for slot in [2, 1, 2, 0] {
        rooms.note_news(slot);
    }
    assert_eq!(
        slots(&rooms),
        [0, 2, 1],
        "the first was there before the others"
    );
    rooms.settle(1, true, true);
    assert_eq!(slots(&rooms), [1, 0, 2]);
    rooms.settle(1, true, false);
    assert_eq!(slots(&rooms), [0, 2, 1]);
    rooms.settle(0, false, false);
    assert_eq!(slots(&rooms), [2, 1]);
}
