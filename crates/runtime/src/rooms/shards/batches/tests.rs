//! Tests of batches: who gets what in which frames, and when it is news.

use std::{collections::BTreeMap, io::Write as _, sync::Arc};

use codec::DeflatePolicy;
use hub::{CoreId, Epoch};

use super::*;
use crate::{
    config::Compression,
    encoding::{BodyForm, Packing, WireForm},
    fixture::{Lines, Random, lobby},
    ids::ConnectionKey,
    rooms::Visit,
};

const ROOM: RoomId = RoomId {
    home: CoreId(0),
    token: 7,
};

const LINES: BodyForm = BodyForm(1);

/// Lines in frames, raw messages in frames, lines in chunks.
const FORMS: [WireForm; 3] = [
    form(LINES, Packing::Plain),
    form(BodyForm::RAW, Packing::Plain),
    form(LINES, Packing::Chunk),
];

const fn form(body: BodyForm, packing: Packing) -> WireForm {
    WireForm { body, packing }
}

/// Nothing leaves before its time for its size.
const AT_100: Gathering = Gathering {
    due_ms: 100,
    bytes_max: usize::MAX,
};

fn encoder() -> Encoder {
    let compression = Compression {
        level: 1,
        bytes_min: 100,
        policy: DeflatePolicy {
            window_bits: 12,
            server_takeover: false,
            client_takeover: false,
        },
    };
    Encoder::new(Some(compression), Some(Arc::new(Lines)))
}

fn subscribe(shards: &mut Shards, form: WireForm, number: usize) -> Subscription {
    let visit = Visit {
        connection: ConnectionKey::new(1, number),
        slot: 0,
    };
    shards.subscribe(ROOM, &lobby(), form, visit)
}

fn gather(shards: &mut Shards, encoder: &mut Encoder, text: &str, how: Gathering) -> Reach {
    let event = RoomEvent::Message {
        epoch: Epoch(1),
        offset: 1,
        kind: Kind::Text,
        meta: &[],
        payload: text.as_bytes(),
        keyed: None,
    };
    shards.gather(ROOM, event, (received_ns(how), None), how, encoder)
}

/// When a message was received that is gathered so: another time for each batch.
fn received_ns(how: Gathering) -> u64 {
    how.due_ms - 95
}

fn at(due_ms: u64) -> Gathering {
    Gathering { due_ms, ..AT_100 }
}

/// Whom the next rounds visit, and what they finish.
fn visit_all(shards: &mut Shards) -> (Vec<usize>, Vec<u64>) {
    let (mut visits, mut finished) = (Vec::new(), Vec::new());
    while shards.has_news() {
        shards.next_slice(64, &mut visits, &mut finished);
    }
    let slots = visits.iter().map(|visit| visit.connection.slot());
    (slots.collect(), finished)
}

/// Takes all that a subscription has to be sent.
fn take(shards: &mut Shards, subscription: Subscription) -> Vec<u8> {
    let unsent = shards.unsent(subscription);
    let bytes = [unsent.half_sent.concat(), unsent.whole.concat()].concat();
    shards.taken(subscription, bytes.len());
    bytes
}

/// The payloads of these frames.
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        assert_eq!(first & 0xF0, 0x80, "a whole frame, not compressed");
        let (length, rest) = match length {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            length => (usize::from(*length), rest),
        };
        let (payload, behind) = rest.split_at(length);
        frames.push(String::from_utf8(payload.to_vec()).unwrap());
        bytes = behind;
    }
    frames
}

#[test]
fn messages_of_an_interval_are_one_frame_and_news_when_it_is_over() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let one = subscribe(&mut shards, FORMS[0], 0);
    subscribe(&mut shards, FORMS[0], 1);
    let later = at(150);
    let told = |frames| Reach {
        recipients: 2,
        frames,
        bytes: 1,
    };
    let mut gather = |shards: &mut Shards, text, how| gather(shards, &mut encoder, text, how);
    assert_eq!(gather(&mut shards, "a", AT_100), told(2));
    assert_eq!(gather(&mut shards, "b", later), told(0));
    assert_eq!(shards.next_due_ms(), Some(100), "that of the first");
    assert_eq!(shards.let_next_go(99, &mut self::encoder()), None);
    assert!(!shards.has_news());
    assert_eq!((shards.lag(one), shards.owed_bytes(one)), (0, 4));
    assert_eq!(shards.let_next_go(100, &mut self::encoder()), Some(4));
    assert_eq!(shards.next_due_ms(), None);
    assert_eq!(visit_all(&mut shards), (vec![0, 1], vec![5, 55]));
    assert_eq!(frames(&take(&mut shards, one)), ["a\nb\n"]);
    assert_eq!(gather(&mut shards, "c", later), told(2));
    assert_eq!(shards.next_due_ms(), Some(150));
}

#[test]
fn raw_messages_keep_their_frames_and_are_news_together() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let one = subscribe(&mut shards, FORMS[1], 0);
    for text in ["a", "b", "c"] {
        let reach = gather(&mut shards, &mut encoder, text, AT_100);
        assert_eq!(reach.frames, 1);
        assert!(!shards.has_news());
    }
    shards.let_next_go(100, &mut encoder);
    assert_eq!(visit_all(&mut shards), (vec![0], vec![5, 5, 5]));
    assert_eq!(frames(&take(&mut shards, one)), ["a", "b", "c"]);
}

/// A round that is under way when more is gathered is not that of what is gathered.
#[test]
fn what_is_gathered_in_a_round_is_no_news_before_its_own_time() {
    for form in FORMS {
        let (mut shards, mut encoder) = (Shards::default(), encoder());
        let [one, other] = [0, 1].map(|number| subscribe(&mut shards, form, number));
        gather(&mut shards, &mut encoder, "a", AT_100);
        shards.let_next_go(100, &mut encoder);
        let mut visits = Vec::new();
        shards.next_slice(1, &mut visits, &mut Vec::new());
        let later = at(200);
        take(&mut shards, one);
        take(&mut shards, other);
        gather(&mut shards, &mut encoder, "b", later);
        assert_eq!(visit_all(&mut shards), (vec![], vec![5]), "{form:?}");
        shards.let_next_go(200, &mut encoder);
        assert_eq!(visit_all(&mut shards), (vec![0, 1], vec![105]), "{form:?}");
    }
}

#[test]
fn batch_that_is_over_in_a_round_is_the_next_rounds_and_no_more_than_that() {
    for form in FORMS {
        let (mut shards, mut encoder) = (Shards::default(), encoder());
        let [one, other] = [0, 1].map(|number| subscribe(&mut shards, form, number));
        gather(&mut shards, &mut encoder, "a", AT_100);
        shards.let_next_go(100, &mut encoder);
        let (mut visits, mut finished) = (Vec::new(), Vec::new());
        shards.next_slice(1, &mut visits, &mut finished);
        gather(&mut shards, &mut encoder, "b", at(200));
        shards.let_next_go(200, &mut encoder);
        gather(&mut shards, &mut encoder, "c", at(300));
        shards.next_slice(64, &mut visits, &mut finished);
        assert_eq!((visits.len(), finished), (2, vec![5]), "{form:?}");
        assert_eq!(visit_all(&mut shards), (vec![0, 1], vec![105]), "{form:?}");
        take(&mut shards, one);
        take(&mut shards, other);
        shards.let_next_go(300, &mut encoder);
        let (visited, finished) = visit_all(&mut shards);
        assert_eq!(finished, [205], "{form:?}");
        // What lies in the log leaves with whatever else does.
        let waits: &[usize] = if form.body == LINES { &[0, 1] } else { &[] };
        assert_eq!(visited, waits, "{form:?}");
    }
}

#[test]
fn batch_of_the_most_bytes_leaves_early_and_no_frame_is_longer_but_for_one_message() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let one = subscribe(&mut shards, FORMS[0], 0);
    let how = Gathering {
        bytes_max: 100,
        ..AT_100
    };
    let mut say = |shards: &mut Shards, bytes| {
        gather(shards, &mut encoder, &"x".repeat(bytes), how);
        shards.has_news()
    };
    assert!(!say(&mut shards, 59));
    assert!(!say(&mut shards, 38));
    assert!(say(&mut shards, 0), "100 bytes");
    assert_eq!(visit_all(&mut shards).0, [0]);
    assert_eq!(frames(&take(&mut shards, one)).len(), 1);
    assert!(!say(&mut shards, 59));
    assert!(say(&mut shards, 90), "it does not fit behind the other");
    let lengths: Vec<_> = frames(&take(&mut shards, one))
        .iter()
        .map(String::len)
        .collect();
    assert_eq!(lengths, [60, 91]);
    visit_all(&mut shards);
    assert!(say(&mut shards, 300));
    assert_eq!(frames(&take(&mut shards, one))[0].len(), 301);
    visit_all(&mut shards);
    // The interval is over for what is left: nothing.
    shards.let_next_go(100, &mut self::encoder());
    assert!(!shards.has_news());
    assert_eq!(shards.held_bytes(), 0);
    let most = how.bytes_max.max(BATCH_BYTES_MAX);
    let far = Gathering {
        bytes_max: usize::MAX,
        ..how
    };
    gather(&mut shards, &mut self::encoder(), &"x".repeat(most), far);
    assert!(shards.has_news(), "whatever the queue has room for");
}

#[test]
fn who_joins_gets_nothing_of_the_open_frame_and_what_was_told_before_still_waits() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let one = subscribe(&mut shards, FORMS[0], 0);
    gather(&mut shards, &mut encoder, "before", AT_100);
    assert_eq!(shards.close_frames(ROOM, &mut encoder), 7);
    assert_eq!(shards.close_frames(ROOM, &mut encoder), 0);
    let late = subscribe(&mut shards, FORMS[0], 1);
    assert!(!shards.has_news());
    let reach = gather(&mut shards, &mut encoder, "behind", AT_100);
    assert_eq!(reach.frames, 2);
    shards.let_next_go(100, &mut encoder);
    assert_eq!(visit_all(&mut shards).0, [0, 1]);
    assert_eq!(frames(&take(&mut shards, one)), ["before\n", "behind\n"]);
    assert_eq!(frames(&take(&mut shards, late)), ["behind\n"]);
}

#[test]
fn frame_of_many_messages_is_compressed_once_and_skipped_as_many() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let packed = form(LINES, Packing::Deflate { window_bits: 12 });
    let all = [0, 1].map(|number| subscribe(&mut shards, packed, number));
    for _ in 0..20 {
        gather(&mut shards, &mut encoder, "the same again", AT_100);
    }
    // What somebody takes along who leaves is not compressed, and the others' frame stays open.
    let along = shards.open_frame(all[0]).unwrap().parts().concat();
    assert_eq!(frames(&along)[0].lines().count(), 20);
    assert_eq!(encoder.compressed().messages, 0);
    shards.let_next_go(100, &mut encoder);
    assert_eq!(encoder.compressed().messages, 1);
    assert!(shards.lag(all[0]) < 60, "{}", shards.lag(all[0]));
    shards.taken(all[0], 1);
    gather(&mut shards, &mut encoder, "more", AT_100);
    let skipped = all.map(|one| shards.skip(one));
    assert_eq!(skipped, [0, 20], "the rest of a frame is sent");
    let gathered = shards.open_frame(all[1]).unwrap().parts().concat();
    assert_eq!(frames(&gathered), ["more\n"], "it follows");
}

#[test]
fn room_in_which_a_batch_is_always_under_way_follows_new_rules() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let interval = BatchInterval::new(BatchInterval::MAX);
    let one = subscribe(&mut shards, FORMS[0], 0);
    assert_eq!(shards.interval(ROOM, &mut encoder, |_| interval), interval);
    gather(&mut shards, &mut encoder, "a", at(100));
    // Batches of this form are over at other times.
    let other = subscribe(&mut shards, FORMS[1], 1);
    gather(&mut shards, &mut encoder, "b", at(150));
    shards.let_next_go(100, &mut encoder);
    gather(&mut shards, &mut encoder, "c", at(200));
    shards.forget_intervals();
    shards.let_next_go(150, &mut encoder);
    assert_eq!(shards.interval(ROOM, &mut encoder, |_| None), None);
    assert_eq!(shards.next_due_ms(), None);
    shards.offer(ROOM, 6, None, |_, _, log| log.append([&[0x81, 1], b"d"]));
    visit_all(&mut shards);
    assert_eq!(frames(&take(&mut shards, one)), ["a\nb\n", "c\n", "d"]);
    assert_eq!(frames(&take(&mut shards, other)), ["b", "c", "d"]);
}

#[test]
fn interval_is_asked_for_once_and_again_when_rules_have_changed() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    assert_eq!(
        shards.interval(ROOM, &mut encoder, |_| unreachable!("nobody is there")),
        None
    );
    let one = subscribe(&mut shards, FORMS[0], 0);
    let interval = BatchInterval::new(BatchInterval::MIN);
    assert_eq!(shards.interval(ROOM, &mut encoder, |_| interval), interval);
    assert_eq!(
        shards.interval(ROOM, &mut encoder, |_| unreachable!("it is known")),
        interval
    );
    gather(&mut shards, &mut encoder, "a", AT_100);
    shards.forget_intervals();
    assert_eq!(shards.interval(ROOM, &mut encoder, |_| interval), interval);
    assert!(!shards.has_news(), "it is the same interval");
    shards.forget_intervals();
    assert_eq!(shards.interval(ROOM, &mut encoder, |_| None), None);
    assert_eq!(visit_all(&mut shards), (vec![0], vec![5]));
    shards.offer(ROOM, 6, None, |_, _, log| log.append([&[0x81, 1], b"b"]));
    assert_eq!(visit_all(&mut shards), (vec![0], vec![6]));
    assert_eq!(frames(&take(&mut shards, one)), ["a\n", "b"]);
}

/// A subscriber: the latest message before it came, and the bytes that it has had.
struct Member {
    subscription: Subscription,
    form: usize,
    since: usize,
    had: Vec<u8>,
}

impl Member {
    /// Whether it has had every message since it came up to this one, each once.
    fn check(&self, latest: usize) {
        let text = match self.form {
            2 => chunks(&self.had),
            _ => frames(&self.had),
        };
        let numbers = text.iter().flat_map(|frame| frame.lines());
        let numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
        let expected: Vec<_> = (self.since + 1..=latest).collect();
        assert_eq!(numbers, expected, "{:?}", FORMS[self.form]);
    }
}

fn chunks(mut bytes: &[u8]) -> Vec<String> {
    let mut chunks = Vec::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\r') {
        let size = usize::from_str_radix(str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let (chunk, behind) = bytes[end + 2..].split_at(size);
        chunks.push(String::from_utf8(chunk.to_vec()).unwrap());
        assert_eq!(&behind[..2], b"\r\n");
        bytes = &behind[2..];
    }
    chunks
}

#[test]
fn everybody_has_all_messages_since_it_came_each_once_whatever_happens() {
    let mut random = Random::default();
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let mut members: BTreeMap<usize, Member> = BTreeMap::new();
    let mut latest = 0;
    for step in 0..50_000 {
        let some = members.keys().nth(random.below(8)).copied();
        match (random.below(10), some) {
            (0, _) if members.len() < 8 => {
                shards.close_frames(ROOM, &mut encoder);
                let form = random.below(3);
                let subscription = subscribe(&mut shards, FORMS[form], step);
                let member = Member {
                    subscription,
                    form,
                    since: latest,
                    had: Vec::new(),
                };
                members.insert(step, member);
            }
            (1, Some(some)) => {
                let mut member = members.remove(&some).unwrap();
                member.had.extend(take(&mut shards, member.subscription));
                if let Some(open) = shards.open_frame(member.subscription) {
                    member.had.extend(open.parts().concat());
                }
                shards.unsubscribe(member.subscription);
                member.check(latest);
            }
            (2..6, _) if !members.is_empty() => {
                latest += 1;
                let mut text = Vec::new();
                write!(text, "{latest:0>width$}", width = random.below(60)).unwrap();
                let how = Gathering {
                    due_ms: (step + 100) as u64,
                    bytes_max: 200,
                };
                gather(
                    &mut shards,
                    &mut encoder,
                    str::from_utf8(&text).unwrap(),
                    how,
                );
            }
            (6, _) => while shards.let_next_go(step as u64 + 80, &mut encoder).is_some() {},
            (7, _) => drop(visit_all(&mut shards)),
            (_, Some(some)) => {
                let member = members.get_mut(&some).unwrap();
                let unsent = shards.unsent(member.subscription);
                let bytes = [unsent.half_sent.concat(), unsent.whole.concat()].concat();
                let taken = random.below(bytes.len() + 1);
                member.had.extend(&bytes[..taken]);
                shards.taken(member.subscription, taken);
            }
            _ => {}
        }
        let held = shards.shards.values().map(Shard::held_bytes);
        assert_eq!(shards.held_bytes(), held.sum::<usize>(), "step {step}");
        let batches = shards.shards.values().filter(|it| it.batch.is_some());
        assert_eq!(shards.due.len(), batches.count(), "step {step}");
    }
    for mut member in members.into_values() {
        member.had.extend(take(&mut shards, member.subscription));
        let open = shards.open_frame(member.subscription);
        member
            .had
            .extend(open.iter().flat_map(Encoded::parts).flatten());
        shards.unsubscribe(member.subscription);
        member.check(latest);
    }
    assert_eq!((shards.held_bytes(), shards.next_due_ms()), (0, None));
}

#[test]
fn member_that_comes_is_told_in_its_place_and_counts_as_no_frame() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let told = subscribe(&mut shards, form(BodyForm(2), Packing::Plain), 0);
    subscribe(&mut shards, FORMS[0], 1);
    let member = hub::Member {
        user: "ann".into(),
        info: "+ann".into(),
    };
    let came = RoomEvent::Came(&member);
    let reach = shards.gather(ROOM, came, (5, None), AT_100, &mut encoder);
    assert_eq!((reach.frames, reach.bytes), (0, 4));
    let batches = shards.shards.values().filter(|it| it.batch.is_some());
    assert_eq!(batches.count(), 1, "nothing is told in the other form");
    assert_eq!(gather(&mut shards, &mut encoder, "a", AT_100).frames, 2);
    assert_eq!(gather(&mut shards, &mut encoder, "b", AT_100).frames, 0);
    let open = shards.open_frame(told).unwrap().parts().concat();
    assert_eq!(frames(&open), ["+ann\na\nb\n"]);
    while shards.let_next_go(100, &mut encoder).is_some() {}
    assert_eq!(shards.skip(told), 3);
}

#[test]
fn subscriber_that_does_not_hear_itself_is_past_its_own_messages_of_a_batch() {
    let (mut shards, mut encoder) = (Shards::default(), encoder());
    let raw = form(BodyForm::RAW, Packing::Plain);
    let [publisher, listener] = [0, 1].map(|number| subscribe(&mut shards, raw, number));
    let own = Arc::<Details>::default();
    shards.pass_over(publisher, own.clone());
    let mut say = |shards: &mut Shards, text: &str, details: Option<&Arc<Details>>| {
        let event = RoomEvent::Message {
            epoch: Epoch(1),
            offset: 1,
            kind: Kind::Text,
            meta: &[],
            payload: text.as_bytes(),
            keyed: None,
        };
        shards.gather(ROOM, event, (5, details), AT_100, &mut encoder)
    };
    for (text, details, frames) in [("a", Some(&own), 1), ("b", None, 2), ("c", Some(&own), 1)] {
        let reach = say(&mut shards, text, details);
        assert_eq!((reach.recipients, reach.frames), (frames, frames), "{text}");
    }
    assert_eq!(shards.next_due_ms(), Some(100));
    assert!(shards.let_next_go(100, &mut self::encoder()).is_some());
    assert_eq!(visit_all(&mut shards).0, [0, 1]);
    assert_eq!(frames(&take(&mut shards, listener)), ["a", "b", "c"]);
    assert_eq!(frames(&take(&mut shards, publisher)), ["b"]);
    assert_eq!((shards.lag(publisher), shards.lag(listener)), (0, 0));
    // Alone in its room, it has nothing to be told of.
    shards.unsubscribe(listener);
    let reach = say(&mut shards, "d", Some(&own));
    assert_eq!((reach.recipients, reach.frames), (0, 0));
    while shards.let_next_go(100, &mut self::encoder()).is_some() {}
    visit_all(&mut shards);
    assert_eq!(shards.lag(publisher), 0);
    let reach = say(&mut shards, "e", None);
    assert_eq!(reach.recipients, 1);
    while shards.let_next_go(100, &mut self::encoder()).is_some() {}
    assert_eq!(visit_all(&mut shards).0, [0]);
    assert_eq!(frames(&take(&mut shards, publisher)), ["e"]);
    shards.unsubscribe(publisher);
    assert_eq!((shards.held_bytes(), shards.next_due_ms()), (0, None));
}
