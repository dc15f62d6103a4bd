//! Tests of rooms on one core: rounds, parked deliveries, memory.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use hub::{CoreId, Record};

use super::*;
use crate::{
    encoding::{BodyForm, Packing},
    fixture::{Random, keyed, lobby},
};

const ROOM: RoomId = room(7);
const PLAIN: WireForm = WireForm {
    body: BodyForm::RAW,
    packing: Packing::Plain,
};
const DEFLATE: WireForm = WireForm {
    body: BodyForm::RAW,
    packing: Packing::Deflate { window_bits: 12 },
};

/// Four of them are as much as may be offered before all subscribers were visited.
const LARGE: usize = UNVISITED_BYTES_MAX as usize / 4;

const fn room(token: u64) -> RoomId {
    RoomId {
        home: CoreId(0),
        token,
    }
}

fn visit(number: usize) -> Visit {
    Visit {
        connection: ConnectionKey::new(1, number),
        slot: 0,
    }
}

fn subscribe(shards: &mut Shards, room: RoomId, form: WireForm, number: usize) -> Subscription {
    shards.subscribe(room, &lobby(), form, visit(number))
}

/// Offers one frame to each form, of another length; returns for how many, and which forms.
fn offer(shards: &mut Shards, room: RoomId, stamp_ns: u64) -> (usize, Vec<WireForm>) {
    let mut forms = Vec::new();
    let subscribers = shards.offer(room, stamp_ns, None, |_, form, log| {
        forms.push(form);
        let header: &[u8] = if form == DEFLATE { &[1] } else { &[1, 2, 3] };
        log.append([header, &[0; 10]]);
    });
    (subscribers, forms)
}

fn offer_bytes(shards: &mut Shards, room: RoomId, bytes: usize) {
    shards.offer(room, 0, None, |_, _, log| {
        log.append([&vec![0; bytes], &[]])
    });
}

/// The next slice: whom it visits, and the stamps of what it has finished.
fn slice(shards: &mut Shards, most: usize) -> (Vec<usize>, Vec<u64>) {
    let (mut visits, mut finished) = (Vec::new(), Vec::new());
    shards.next_slice(most, &mut visits, &mut finished);
    let visited = visits.iter().map(|visit| visit.connection.slot()).collect();
    (visited, finished)
}

fn take_all(shards: &mut Shards, subscription: Subscription) {
    shards.taken(subscription, shards.lag(subscription));
}

/// A delivery that can be told from others.
fn delivery(first: u64) -> Delivery {
    Delivery::Messages {
        room: ROOM,
        epoch: hub::Epoch(1),
        first,
        records: [Record {
            tag: 0,
            payload: Bytes::new(),
            details: None,
        }]
        .into(),
        stamps: [0].into_iter().collect(),
    }
}

fn first_of(delivery: &Delivery) -> u64 {
    match delivery {
        Delivery::Messages { first, .. } => *first,
        other => panic!("{other:?}"),
    }
}

#[test]
fn room_with_two_forms_has_a_log_for_each_and_all_its_subscribers() {
    let mut shards = Shards::default();
    let plain = subscribe(&mut shards, ROOM, PLAIN, 0);
    let deflate = subscribe(&mut shards, ROOM, DEFLATE, 1);
    assert_eq!(
        offer(&mut shards, ROOM, 0),
        (2, vec![PLAIN, DEFLATE]),
        "one frame of each form"
    );
    let another = subscribe(&mut shards, ROOM, DEFLATE, 2);
    assert_eq!(offer(&mut shards, ROOM, 0).0, 3);
    assert_eq!((shards.lag(plain), shards.lag(deflate)), (26, 22));
    assert_eq!(shards.lag(another), 11, "from its subscription on");
    let visited = [slice(&mut shards, 9).0, slice(&mut shards, 9).0];
    assert_eq!(visited, [vec![0], vec![1, 2]]);
    assert_eq!(shards.subscribers(ROOM).len(), 3);
    assert_eq!(shards.subscriptions(), 3);
}

#[test]
fn room_without_subscribers_of_a_form_makes_no_frames_of_it() {
    let mut shards = Shards::default();
    let plain = subscribe(&mut shards, ROOM, PLAIN, 0);
    let deflate = subscribe(&mut shards, ROOM, DEFLATE, 1);
    assert_eq!(shards.unsubscribe(plain), ROOM);
    assert_eq!(offer(&mut shards, ROOM, 0), (1, vec![DEFLATE]));
    assert_eq!(shards.unsubscribe(deflate), ROOM);
    assert_eq!(offer(&mut shards, ROOM, 0), (0, Vec::new()));
    assert!(shards.rooms.is_empty() && shards.shards.is_empty());
    assert!(!shards.has_news());
    subscribe(&mut shards, ROOM, PLAIN, 0);
    assert_eq!(offer(&mut shards, ROOM, 0), (1, vec![PLAIN]));
}

#[test]
fn rooms_with_news_take_turns_in_slices() {
    let mut shards = Shards::default();
    for number in 0..10 {
        subscribe(&mut shards, room(1), PLAIN, number);
    }
    for number in 20..23 {
        subscribe(&mut shards, room(2), PLAIN, number);
    }
    offer(&mut shards, room(1), 1);
    offer(&mut shards, room(2), 2);
    let mut slices = Vec::new();
    while shards.has_news() {
        slices.push(slice(&mut shards, 4));
    }
    assert_eq!(slices[0], (vec![0, 1, 2, 3], vec![]));
    assert_eq!(slices[1], (vec![20, 21, 22], vec![2]));
    assert_eq!(slices[2], (vec![4, 5, 6, 7], vec![]));
    let rest = slices[3..].iter().flat_map(|(visited, _)| visited);
    assert_eq!(rest.copied().collect::<Vec<_>>(), [8, 9]);
    assert_eq!(slices.last().unwrap().1, [1]);
}

#[test]
fn what_is_offered_in_a_round_is_the_next_rounds() {
    let mut shards = Shards::default();
    let all: Vec<_> = (0..8)
        .map(|number| subscribe(&mut shards, ROOM, PLAIN, number))
        .collect();
    let send = |shards: &mut Shards, numbers: Vec<usize>| {
        for number in numbers {
            take_all(shards, all[number]);
        }
    };
    offer(&mut shards, ROOM, 1);
    let (visited, finished) = slice(&mut shards, 4);
    assert_eq!((&visited[..], finished), (&[0, 1, 2, 3][..], vec![]));
    send(&mut shards, visited);
    offer(&mut shards, ROOM, 2);
    offer(&mut shards, ROOM, 3);
    let (visited, finished) = slice(&mut shards, 4);
    assert_eq!((&visited[..], finished), (&[4, 5, 6, 7][..], vec![1]));
    send(&mut shards, visited);
    assert!(shards.has_news(), "the first four have not had all");
    let (visited, finished) = slice(&mut shards, 4);
    assert_eq!((&visited[..], finished), (&[0, 1, 2, 3][..], vec![]));
    send(&mut shards, visited);
    assert_eq!(slice(&mut shards, 4), (vec![], vec![2, 3]));
    assert!(!shards.has_news());
    assert_eq!(shards.held_bytes(), 0);
}

#[test]
fn who_leaves_in_the_middle_of_a_round_is_not_visited_and_who_joins_has_only_what_follows() {
    let mut shards = Shards::default();
    let all: Vec<_> = (0..4)
        .map(|number| subscribe(&mut shards, ROOM, PLAIN, number))
        .collect();
    offer(&mut shards, ROOM, 1);
    assert_eq!(slice(&mut shards, 2).0, [0, 1]);
    shards.unsubscribe(all[2]);
    let late = subscribe(&mut shards, ROOM, PLAIN, 9);
    assert_eq!(slice(&mut shards, 2).0, [3], "its place is another's");
    assert!(!shards.has_news());
    take_all(&mut shards, all[0]);
    offer(&mut shards, ROOM, 2);
    assert_eq!(slice(&mut shards, 4).0, [0, 1, 9, 3]);
    assert_eq!((shards.lag(all[1]), shards.lag(late)), (26, 13));
}

#[test]
fn room_whose_last_subscriber_leaves_in_the_middle_of_a_round_has_no_news() {
    let mut shards = Shards::default();
    let one = subscribe(&mut shards, ROOM, PLAIN, 0);
    let other = subscribe(&mut shards, room(1), PLAIN, 1);
    offer(&mut shards, ROOM, 1);
    offer(&mut shards, room(1), 2);
    shards.unsubscribe(one);
    assert_eq!(slice(&mut shards, 9), (vec![1], vec![2]));
    assert!(!shards.has_news());
    shards.unsubscribe(other);
    assert_eq!(shards.held_bytes(), 0);
}

#[test]
fn room_must_park_from_its_bound_on_until_its_subscribers_were_visited() {
    let mut shards = Shards::default();
    let one = subscribe(&mut shards, ROOM, PLAIN, 0);
    subscribe(&mut shards, room(1), PLAIN, 1);
    offer_bytes(&mut shards, ROOM, LARGE);
    offer_bytes(&mut shards, ROOM, 3 * LARGE - 1);
    assert!(!shards.must_park(ROOM));
    offer_bytes(&mut shards, ROOM, 1);
    assert!(shards.must_park(ROOM) && shards.has_unvisited_excess(ROOM));
    assert!(!shards.must_park(room(1)));
    // What was offered when the round began has been sent by its end, whatever the subscriber takes.
    slice(&mut shards, 9);
    assert!(!shards.must_park(ROOM));
    offer_bytes(&mut shards, ROOM, LARGE);
    assert!(shards.must_park(ROOM));
    // A laggard does not keep its room full.
    slice(&mut shards, 9);
    assert!(!shards.must_park(ROOM) && shards.has_news());
    slice(&mut shards, 9);
    assert!(!shards.has_news());
    assert_eq!(shards.lag(one), 5 * LARGE);
}

#[test]
fn parked_deliveries_are_made_in_order_and_as_far_as_there_is_room() {
    let mut shards = Shards::default();
    subscribe(&mut shards, ROOM, PLAIN, 0);
    for _ in 0..4 {
        offer_bytes(&mut shards, ROOM, LARGE);
    }
    let held = shards.held_bytes();
    assert_eq!(shards.park(ROOM, delivery(2), 10), Some(Parked::First));
    assert_eq!(shards.park(ROOM, delivery(3), 20), Some(Parked::Another));
    assert_eq!(shards.park(ROOM, delivery(4), 30), Some(Parked::Another));
    assert_eq!(
        shards.park_first(ROOM, delivery(1), 5),
        Some(Parked::Another)
    );
    assert_eq!(shards.held_bytes(), held + 65);
    assert!(shards.unpark(|_| 0).is_none(), "nobody was visited");
    let bytes_of = |delivery: &Delivery| [5, 10, 20, 30][first_of(delivery) as usize - 1];
    // The round of the first frame makes room for one more of that size.
    slice(&mut shards, 9);
    let mut made = unpark_all(&mut shards, bytes_of);
    assert_eq!(made, [(1, false)]);
    assert!(shards.has_parked(ROOM) && shards.must_park(ROOM));
    // The next is that of all that there was when it began.
    slice(&mut shards, 9);
    made.extend(unpark_all(&mut shards, bytes_of));
    assert_eq!(made, [(1, false), (2, false), (3, false), (4, true)]);
    assert!(!shards.has_parked(ROOM));
    let logs = shards.shards.values().map(Shard::held_bytes);
    assert_eq!(shards.held_bytes(), logs.sum::<usize>());
}

/// Makes deliveries that are parked, each as a large frame; returns which, and whether each was the last.
fn unpark_all(shards: &mut Shards, bytes_of: impl Fn(&Delivery) -> usize) -> Vec<(u64, bool)> {
    let mut made = Vec::new();
    while let Some((room, delivery)) = shards.unpark(&bytes_of) {
        offer_bytes(shards, room, LARGE);
        made.push((first_of(&delivery), !shards.has_parked(room)));
    }
    made
}

#[test]
fn what_is_parked_of_a_room_that_all_have_left_is_made_too_and_forgotten() {
    let mut shards = Shards::default();
    let one = subscribe(&mut shards, ROOM, PLAIN, 0);
    offer_bytes(&mut shards, ROOM, 4 * LARGE);
    shards.park(ROOM, delivery(1), 10);
    shards.park(ROOM, delivery(2), 10);
    shards.unsubscribe(one);
    assert!(shards.has_relieved());
    assert_eq!(unpark_all(&mut shards, |_| 10), [(1, false), (2, true)]);
    assert!(!shards.has_relieved());
    assert!(shards.rooms.is_empty());
    assert_eq!(shards.held_bytes(), 0);
    assert_eq!(shards.park(ROOM, delivery(3), 10), None, "nobody is here");
}

#[test]
fn laggard_keeps_its_own_bytes_and_touches_nobody_elses() {
    for many in [10, 10_000] {
        let mut shards = Shards::default();
        let all: Vec<_> = (0..many)
            .map(|number| subscribe(&mut shards, ROOM, PLAIN, number))
            .collect();
        for _ in 0..10 {
            offer_bytes(&mut shards, ROOM, 20_000);
            for one in &all[1..] {
                take_all(&mut shards, *one);
            }
        }
        let cursors = |shards: &Shards| -> Vec<_> {
            let shard = shards.shards.values().next().unwrap();
            let all = shard.subscribers.iter();
            all.map(|(_, it)| it.standing.cursor(u64::MAX)).collect()
        };
        let before = cursors(&shards);
        shards.taken(all[0], 150_000);
        let after = cursors(&shards);
        assert_eq!(after[0], 150_000);
        assert_eq!(before[1..], after[1..]);
        assert_eq!(shards.lag(all[0]), 50_000);
        assert!(shards.held_bytes() < 4 * 70_000, "{}", shards.held_bytes());
        take_all(&mut shards, all[0]);
        assert_eq!(shards.held_bytes(), 0);
    }
}

/// What a model knows of the parked deliveries of each room: how many bytes each is.
type Parks = HashMap<RoomId, VecDeque<usize>>;

fn check_bytes(shards: &Shards, parks: &Parks, step: usize) {
    let logs = shards.shards.values().map(Shard::held_bytes);
    let parked = parks.values().flatten().sum::<usize>();
    assert_eq!(
        shards.held_bytes(),
        logs.sum::<usize>() + parked,
        "step {step}"
    );
    let sum = ParkedSum {
        rooms: parks.values().filter(|it| !it.is_empty()).count(),
        bytes: parked,
    };
    assert_eq!(shards.parked(), sum, "step {step}");
}

#[test]
fn bytes_held_are_those_of_all_logs_and_parked_deliveries_whatever_happens() {
    let mut random = Random::default();
    let mut shards = Shards::default();
    let mut subscriptions = BTreeMap::new();
    let mut parks = Parks::new();
    for step in 0..20_000 {
        let room = room(random.below(4) as u64);
        let some = subscriptions.keys().nth(random.below(20)).copied();
        match (random.below(10), some) {
            (0, _) if subscriptions.len() < 20 => {
                let form = [PLAIN, DEFLATE][random.below(2)];
                let one = subscribe(&mut shards, room, form, step);
                subscriptions.insert(step, one);
            }
            (1, Some(some)) => {
                let one = subscriptions.remove(&some).unwrap();
                shards.unsubscribe(one);
            }
            (2..4, _) => {
                let payload = vec![1; random.below(20_000)];
                shards.offer(room, 0, None, |_, _, log| log.append([&[0, 0], &payload]));
            }
            (4, _) => {
                // Some rooms have keys.
                let details = (room.token < 2).then(|| keyed(&random.below(5).to_string()));
                let payload = vec![1; random.below(2_000)];
                shards.offer(room, 0, details.as_ref(), |_, _, log| {
                    log.append([&[0, 0][..], &payload]);
                });
            }
            (5, _) => {
                let bytes = 1 + random.below(1_000);
                if shards.park(room, delivery(bytes as u64), bytes).is_some() {
                    parks.entry(room).or_default().push_back(bytes);
                }
            }
            (6, _) => drop(slice(&mut shards, random.below(9))),
            (7, _) => unpark_one(&mut shards, &mut parks),
            (8, Some(some)) => {
                let one = subscriptions[&some];
                if shards.may_conflate(one) {
                    shards.conflate(one);
                    assert_eq!(shards.lag(one), 0);
                } else {
                    let bytes = random.below(4_000);
                    shards.give_latest(one, bytes, &mut Vec::new());
                }
            }
            (_, Some(some)) => {
                let one = subscriptions[&some];
                let bytes = random.below(shards.lag(one) + 1);
                shards.taken(one, bytes);
            }
            _ => {}
        }
        check_bytes(&shards, &parks, step);
    }
    for one in subscriptions.into_values() {
        shards.unsubscribe(one);
    }
    while shards.has_relieved() {
        unpark_one(&mut shards, &mut parks);
    }
    assert_eq!(parks.values().flatten().count(), 0, "some are lost");
    assert_eq!(shards.held_bytes(), 0);
    assert!(shards.rooms.is_empty() && !shards.has_news());
    let sum = shards.conflation();
    assert_eq!((sum.shards, sum.laggards, sum.lost), (0, 0, 0));
}

fn unpark_one(shards: &mut Shards, parks: &mut Parks) {
    let bytes_of = |delivery: &Delivery| first_of(delivery) as usize;
    if let Some((room, delivery)) = shards.unpark(bytes_of) {
        let park = parks.get_mut(&room).unwrap();
        assert_eq!(park.pop_front(), Some(bytes_of(&delivery)));
        assert_eq!(park.is_empty(), !shards.has_parked(room));
    }
}

#[test]
fn message_that_is_nothing_in_a_form_is_no_news_and_holds_no_memory() {
    let mut shards = Shards::default();
    subscribe(&mut shards, ROOM, PLAIN, 0);
    for _ in 0..100 {
        shards.offer(ROOM, 1, None, |_, _, log| log.append([&[], &[]]));
    }
    assert!(!shards.has_news());
    assert_eq!(shards.held_bytes(), 0);
    let shard = shards.shards.values().next().unwrap();
    assert!(shard.stamps.is_empty());
}
