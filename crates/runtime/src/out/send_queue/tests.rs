//! Tests of plans and what has left of them, split at every byte.

use std::sync::Arc;

use codec::Kind;
use hub::{Details, RoomId};

use super::*;
use crate::{
    encoding::WireForm,
    fixture::{ROOM, Random, keyed, lobby},
    ids::ConnectionKey,
    rooms::{Membership, Ticket, Visit},
};

/// A queue with its rooms, and what has left of it.
#[derive(Default)]
struct Peer {
    queue: SendQueue,
    subscriptions: Subscriptions,
    shards: Shards,
    serial: u32,
    wire: Vec<u8>,
}

impl Peer {
    fn join(&mut self, room: RoomId) -> (Ticket, Subscription) {
        self.serial += 1;
        let ticket = self.subscriptions.ask(self.serial, 9).unwrap();
        let connection = ConnectionKey::new(1, 0);
        let slot = ticket.slot();
        let visit = Visit { connection, slot };
        let form = WireForm::default();
        let subscription = self.shards.subscribe(room, &lobby(), form, visit);
        self.subscriptions.set(ticket, Membership::In(subscription));
        (ticket, subscription)
    }

    fn say(&mut self, room: RoomId, slot: u8, frame: &[u8]) {
        self.say_with(room, slot, frame, None);
    }

    fn say_with(&mut self, room: RoomId, slot: u8, frame: &[u8], details: Option<&Arc<Details>>) {
        self.shards
            .offer(room, 0, details, |_, _, log| log.append([frame, &[]]));
        self.subscriptions.note_news(slot);
    }

    /// Sends so many bytes at most; returns whether nothing is left.
    fn send(&mut self, most: usize) -> bool {
        let Plan { runs, offered } = self.queue.plan(&self.subscriptions, &self.shards);
        let mut all = Vec::new();
        runs.iter().for_each(|run| all.extend_from_slice(run));
        drop(runs);
        assert_eq!(all.len(), offered.bytes);
        let taken = most.min(all.len());
        self.wire.extend(&all[..taken]);
        self.queue
            .settle(&offered, taken, &mut self.subscriptions, &mut self.shards)
    }
}

fn room(number: u8) -> RoomId {
    RoomId {
        token: u64::from(number),
        ..ROOM
    }
}

/// A frame of the tests: whose it is, its number there, how much follows, and that much.
fn frame(source: u8, number: u8, bytes: usize) -> Vec<u8> {
    let mut frame = vec![source, number, bytes as u8];
    frame.resize(3 + bytes, source ^ number);
    frame
}

/// Takes whole frames from what has left; returns the numbers of each source, in order.
fn frames_of(mut wire: &[u8], sources: usize) -> Vec<Vec<u8>> {
    let mut numbers = vec![Vec::new(); sources];
    while let [source, number, bytes, ..] = *wire {
        let whole = frame(source, number, usize::from(bytes));
        assert_eq!(wire[..whole.len()], whole, "a frame within another");
        numbers[usize::from(source)].push(number);
        wire = &wire[whole.len()..];
    }
    assert!(wire.is_empty());
    numbers
}

const DIRECT: u8 = 3;

/// What several rooms and the connection's own queue have to say, some of it while the rest is sent.
fn send_in_pieces(mut piece: impl FnMut() -> usize, mut random: Random) -> Vec<Vec<u8>> {
    let mut peer = Peer::default();
    let slots = [0, 1, 2].map(|number| peer.join(room(number)).0.slot());
    let mut said = [0; 4];
    let mut steps = 0;
    loop {
        let is_empty = peer.send(piece());
        if is_empty && steps >= 40 {
            break;
        }
        if steps < 40 && random.below(3) == 0 {
            steps += 1;
            let source = random.below(4);
            said[source] += 1;
            let frame = frame(source as u8, said[source], random.below(20));
            match source {
                0..3 => peer.say(room(source as u8), slots[source], &frame),
                _ => peer.queue.direct().extend(frame),
            }
        }
    }
    assert_eq!(peer.queue.bytes(&peer.subscriptions, &peer.shards), 0);
    assert_eq!(peer.shards.held_bytes(), 0);
    let numbers = frames_of(&peer.wire, usize::from(DIRECT) + 1);
    for (source, numbers) in numbers.iter().enumerate() {
        let all: Vec<u8> = (1..=said[source]).collect();
        assert_eq!(*numbers, all, "of source {source}");
    }
    numbers
}

#[test]
fn frames_of_several_rooms_leave_whole_in_order_and_once_however_sends_are_split() {
    for bytes in 1..=30 {
        send_in_pieces(|| bytes, Random::default());
    }
    let mut pieces = Random::default();
    for _ in 0..200 {
        let mut random = Random::default();
        for _ in 0..pieces.below(50) {
            random.below(2);
        }
        send_in_pieces(|| pieces.below(9), random);
    }
}

/// A room with keys beside one without, and an own queue; sends take so many bytes, and what is left waits
/// for a socket that is full.
fn send_keys_in_pieces(mut piece: impl FnMut() -> usize, mut random: Random) {
    const KEYED: u8 = 1;
    let mut peer = Peer::default();
    let slots = [0, 1].map(|number| peer.join(room(number)).0.slot());
    let (mut said, mut newest) = ([0; 4], [0; 5]);
    for step in 0.. {
        peer.queue.refill(&mut peer.subscriptions, &mut peer.shards);
        let is_empty = peer.send(piece());
        let is_empty = is_empty && !peer.queue.refill(&mut peer.subscriptions, &mut peer.shards);
        if is_empty && step >= 200 {
            break;
        }
        if !is_empty {
            peer.queue
                .conflate(&mut peer.subscriptions, &mut peer.shards);
        }
        if step < 200 && random.below(2) == 0 {
            let source = [0, KEYED, KEYED, KEYED, DIRECT][random.below(5)];
            said[usize::from(source)] += 1;
            let number = said[usize::from(source)];
            let frame = frame(source, number, random.below(20));
            match source {
                KEYED => {
                    let key = number % 5;
                    newest[usize::from(key)] = number;
                    let details = keyed(&key.to_string());
                    let shards = &mut peer.shards;
                    shards.offer(room(KEYED), 0, Some(&details), |_, _, log| {
                        log.append([&frame[..], &[]]);
                    });
                    peer.subscriptions.note_news(slots[1]);
                }
                DIRECT => peer.queue.direct().extend(frame),
                _ => peer.say(room(source), slots[0], &frame),
            }
        }
    }
    let numbers = frames_of(&peer.wire, 4);
    for source in [0, DIRECT] {
        let all: Vec<u8> = (1..=said[usize::from(source)]).collect();
        assert_eq!(numbers[usize::from(source)], all, "of source {source}");
    }
    let mut had = [0; 5];
    for number in &numbers[usize::from(KEYED)] {
        let before = std::mem::replace(&mut had[usize::from(number % 5)], *number);
        assert!(before < *number, "late or twice");
    }
    assert_eq!(had, newest);
    let passed_over = peer.shards.take_passed_over() as usize;
    let sent = numbers[usize::from(KEYED)].len();
    assert_eq!(sent + passed_over, usize::from(said[usize::from(KEYED)]));
    assert_eq!(peer.shards.held_bytes(), 0);
}

#[test]
fn newest_of_each_key_leaves_whole_however_sends_are_split() {
    for bytes in 1..=30 {
        send_keys_in_pieces(|| bytes, Random::default());
    }
    let mut pieces = Random::default();
    for _ in 0..300 {
        let mut random = Random::default();
        for _ in 0..pieces.below(50) {
            random.below(2);
        }
        send_keys_in_pieces(|| pieces.below(40), random);
    }
}

#[test]
fn what_waits_is_split_at_every_byte() {
    let whole = || {
        let mut peer = Peer::default();
        let slots = [0, 1, 2].map(|number| peer.join(room(number)).0.slot());
        peer.queue.direct().extend(frame(DIRECT, 1, 5));
        for number in 1..=2 {
            for (source, slot) in (0..).zip(slots) {
                peer.say(room(source), slot, &frame(source, number, 7));
            }
        }
        peer
    };
    let mut all = whole();
    assert!(all.send(usize::MAX));
    for at in 0..=all.wire.len() {
        let mut peer = whole();
        assert_eq!(peer.send(at), at == all.wire.len());
        // Whatever comes now waits for the end of a frame that has begun, and not for more.
        peer.queue.direct().extend(frame(DIRECT, 2, 3));
        assert!(peer.send(usize::MAX));
        let numbers = frames_of(&peer.wire, 4);
        assert!(numbers.iter().all(|numbers| *numbers == [1, 2]), "at {at}");
        // The first frame has 8 bytes, each of the others 10.
        let end = 8 + at.saturating_sub(8).next_multiple_of(10);
        let own = frame(DIRECT, 2, 3);
        assert!(peer.wire[end..].starts_with(&own), "at {at}");
    }
}

#[test]
fn rest_of_a_frame_that_has_begun_is_all_that_is_kept() {
    let (mut all, mut ends) = (Vec::new(), vec![0]);
    for bytes in [0, 1, 125, 126, 300, 65_536, 7] {
        codec::encode_message(Kind::Binary, &vec![0xff; bytes], &mut all);
        ends.push(all.len());
    }
    for step in [1, 2, 3, 127, 1_000, 50_000] {
        for steps in 1..all.len().div_ceil(step).min(150) {
            let mut peer = Peer::default();
            let (ticket, subscription) = peer.join(ROOM);
            for frame in ends.windows(2) {
                peer.say(ROOM, ticket.slot(), &all[frame[0]..frame[1]]);
            }
            let sent = step * steps;
            peer.send(sent);
            peer.queue.direct().extend_from_slice(b"own");
            peer.queue
                .detach(subscription, &peer.shards, Remainder::HalfSent);
            let end = *ends.iter().find(|end| **end >= sent).unwrap();
            let expected = [&all[sent..end], b"own"].concat();
            assert_eq!(peer.queue.direct, expected, "after {sent}");
            peer.shards.skip(subscription);
            peer.subscriptions.settle(ticket.slot(), false, false);
            assert_eq!(peer.shards.held_bytes(), 0);
            // What is said next begins at a frame's boundary.
            peer.say(ROOM, ticket.slot(), b"next");
            assert!(peer.send(usize::MAX));
            let expected = [&all[..end], b"ownnext"].concat();
            assert_eq!(peer.wire, expected, "after {sent}");
        }
    }
}

#[test]
fn all_that_a_room_has_told_is_kept_on_leaving_it() {
    for sent in 0..=20 {
        let mut peer = Peer::default();
        let (ticket, subscription) = peer.join(ROOM);
        peer.say(ROOM, ticket.slot(), &frame(0, 1, 7));
        peer.say(ROOM, ticket.slot(), &frame(0, 2, 7));
        peer.send(sent);
        peer.queue.direct().extend(frame(1, 1, 2));
        peer.queue
            .detach(subscription, &peer.shards, Remainder::All);
        peer.subscriptions.remove(ticket);
        peer.shards.unsubscribe(subscription);
        assert!(peer.send(usize::MAX));
        assert_eq!(frames_of(&peer.wire, 2), [vec![1, 2], vec![1]]);
    }
}

/// Who does not hear itself, in a room with others who say things, some of it while the rest is sent. It leaves after
/// so many steps.
fn pass_over_own(mut piece: impl FnMut() -> usize, random: &mut Random, steps: usize) {
    let mut peer = Peer::default();
    let (ticket, subscription) = peer.join(ROOM);
    let (other, _) = peer.join(room(2));
    let own = Arc::<Details>::default();
    peer.shards.pass_over(subscription, own.clone());
    // Equal details are not the same.
    let same = Arc::<Details>::default();
    let mut said = 0;
    for _ in 0..steps {
        let details = match random.below(4) {
            0 => {
                peer.send(piece());
                continue;
            }
            1 => {
                said += 1;
                None
            }
            2 => {
                said += 1;
                Some(&same)
            }
            _ => Some(&own),
        };
        let is_own = details.is_some_and(|details| Arc::ptr_eq(details, &own));
        let (source, number) = if is_own { (9, 9) } else { (0, said) };
        peer.say_with(
            ROOM,
            ticket.slot(),
            &frame(source, number, random.below(20)),
            details,
        );
        // In another room the same details mean nothing.
        peer.say_with(room(2), other.slot(), &frame(1, 1, 0), Some(&own));
    }
    match random.below(3) {
        0 => while !peer.send(piece()) {},
        1 => {
            peer.queue
                .detach(subscription, &peer.shards, Remainder::All);
            peer.subscriptions.remove(ticket);
            peer.shards.unsubscribe(subscription);
        }
        _ => {
            peer.queue
                .detach(subscription, &peer.shards, Remainder::HalfSent);
            said -= peer.shards.skip(subscription) as u8;
            peer.subscriptions.settle(ticket.slot(), false, false);
            assert_eq!(peer.shards.lag(subscription), 0);
        }
    }
    while !peer.send(usize::MAX) {}
    assert_eq!(peer.shards.held_bytes(), 0);
    let numbers = frames_of(&peer.wire, 2);
    assert_eq!(numbers[0], (1..=said).collect::<Vec<_>>());
}

#[test]
fn own_messages_are_passed_over_and_all_others_leave_however_sends_are_split() {
    let mut random = Random::default();
    for piece in 1..=30 {
        for steps in [1, 2, 3, 10, 40, 200] {
            pass_over_own(|| piece, &mut random, steps);
        }
    }
    let mut pieces = Random::default();
    for _ in 0..1_000 {
        pass_over_own(|| pieces.below(90), &mut random, 60);
    }
}

#[test]
fn messages_that_are_passed_over_count_as_little_and_are_bounded_like_what_waits() {
    let mut peer = Peer::default();
    let (ticket, subscription) = peer.join(ROOM);
    let own = Arc::<Details>::default();
    peer.shards.pass_over(subscription, own.clone());
    // While nothing else waits they are not even noted.
    for _ in 0..1_000 {
        peer.say_with(ROOM, ticket.slot(), &[1; 100], Some(&own));
    }
    assert_eq!(
        (peer.shards.lag(subscription), peer.shards.held_bytes()),
        (0, 0)
    );
    peer.say(ROOM, ticket.slot(), &[2; 10]);
    for _ in 0..1_000 {
        peer.say_with(ROOM, ticket.slot(), &[1; 100], Some(&own));
    }
    let lag = peer.shards.lag(subscription);
    assert!((10..50).contains(&lag), "they follow each other: {lag}");
    assert!(peer.shards.is_last_frame(subscription));
    for _ in 0..1_000 {
        peer.say(ROOM, ticket.slot(), &[2; 10]);
        peer.say_with(ROOM, ticket.slot(), &[1; 100], Some(&own));
    }
    assert!(!peer.shards.is_last_frame(subscription));
    let lag = peer.shards.lag(subscription);
    assert!((20_000..50_000).contains(&lag), "{lag}");
    while !peer.send(usize::MAX) {}
    assert_eq!(peer.wire, vec![2; 10 * 1_001]);
    assert_eq!(
        (peer.shards.lag(subscription), peer.shards.held_bytes()),
        (0, 0)
    );
}

#[test]
fn queue_is_over_its_bound_from_the_first_byte_beyond() {
    let mut peer = Peer::default();
    let (ticket, _) = peer.join(ROOM);
    let hundred = [&[0x82, 98][..], &[0; 98]].concat();
    for _ in 0..2 {
        peer.say(ROOM, ticket.slot(), &hundred);
    }
    let is_over = |peer: &Peer, bytes_max, sealed_bytes| {
        let Peer {
            queue,
            subscriptions,
            shards,
            ..
        } = peer;
        queue.is_over(bytes_max, sealed_bytes, subscriptions, shards)
    };
    for (bytes_max, expected) in [(199, true), (200, false), (201, false)] {
        assert_eq!(is_over(&peer, bytes_max, 0), expected, "{bytes_max}");
    }
    // What is for the connection alone counts with it.
    peer.queue.direct = vec![0x8a, 0];
    for (bytes_max, expected) in [(201, true), (202, false), (203, false)] {
        assert_eq!(is_over(&peer, bytes_max, 0), expected, "{bytes_max}");
    }
    // So does what has been encrypted.
    for (bytes_max, expected) in [(231, true), (232, false)] {
        assert_eq!(is_over(&peer, bytes_max, 30), expected, "{bytes_max}");
    }
    // So does the lag in another room.
    let (other, _) = peer.join(room(2));
    peer.say(room(2), other.slot(), &hundred);
    for (bytes_max, expected) in [(301, true), (302, false)] {
        assert_eq!(is_over(&peer, bytes_max, 0), expected, "{bytes_max}");
    }
    // A single message may be longer than the bound.
    let mut peer = Peer::default();
    let (ticket, _) = peer.join(ROOM);
    peer.say(ROOM, ticket.slot(), &hundred);
    assert!(!is_over(&peer, 1, 0));
}

#[test]
fn queue_that_never_empties_keeps_only_what_waits() {
    let mut queue = SendQueue::default();
    let mut number = 0u32;
    for round in 0..10_000 {
        while queue.direct_bytes() < 4_000 {
            queue.direct.extend_from_slice(&number.to_be_bytes());
            number += 1;
        }
        let rest = &queue.direct[queue.sent()..];
        let oldest = u32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
        assert_eq!(oldest, number - 1_000, "round {round}");
        queue.advance_direct(400);
    }
    assert!(queue.direct.capacity() <= 4 * 4_000);
}
