//! Homes whose rooms remember, and what is said in them and asked of them.

use std::sync::Arc;

use bytes::Bytes;
use hub::{
    Answer, Delivery, Details, Epoch, HistoryLimits, HomeBounds, Keyed, Page, Question, Record,
    Recover, Recovered, Request, RoomName, RoomRules, Since, TableLimits, Target, Terms,
};

use crate::harness::{BOUNDS, CORE, Home, connection};

pub const AMPLE: HomeBounds = HomeBounds {
    answer: hub::AnswerLimits {
        messages: 100,
        bytes: usize::MAX,
    },
    ..BOUNDS
};

pub fn name(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

pub fn with_history() -> Home {
    let history = HistoryLimits {
        messages: 4,
        bytes: usize::MAX,
        ttl_ms: 1_000,
    };
    let rules = RoomRules {
        history: Some(history),
        keeps_position: true,
        ..RoomRules::default()
    };
    Home::with(10_000, AMPLE, rules)
}

pub fn with_table() -> Home {
    let table = TableLimits {
        keys: 2_000,
        bytes: usize::MAX,
        ttl_ms: 5_000,
    };
    let rules = RoomRules {
        table: Some(table),
        ..RoomRules::default()
    };
    Home::with(10, AMPLE, rules)
}

/// Without ending the turn.
pub fn say(home: &mut Home, room: &str, payload: &str, details: Details) {
    let ticket = home.ticket();
    home.rooms.apply(Request::Publish {
        to: Target::Name(name(room)),
        publisher: connection(CORE),
        ticket,
        stamp: 1_000 + ticket.0,
        record: Record {
            tag: 0,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            details: Some(Arc::new(details)),
        },
    });
}

pub fn of_key(key: &str) -> Details {
    Details {
        keyed: Some(Keyed {
            key: key.into(),
            is_removed: false,
        }),
        ..Details::default()
    }
}

pub fn request(home: &mut Home, room: &str, question: Question) -> Request {
    Request::Ask {
        name: name(room),
        asker: connection(CORE),
        ticket: home.ticket(),
        stamp: 77,
        question,
    }
}

pub fn ask(home: &mut Home, room: &str, question: Question) -> Answer {
    let request = request(home, room, question);
    match home.apply(request).into_iter().next_back() {
        Some(Delivery::Answered { answer, .. }) => answer,
        other => panic!("unexpected {other:?}"),
    }
}

/// `top: offset payload, …`
pub fn past(home: &mut Home, room: &str, question: Question) -> String {
    let Answer::History { top, messages } = ask(home, room, question) else {
        panic!("a past");
    };
    let messages = messages.iter().map(|(offset, record)| {
        let payload = str::from_utf8(&record.payload).unwrap();
        format!("{offset} {payload}")
    });
    let messages: Vec<_> = messages.collect();
    format!("{}: {}", top.offset, messages.join(", "))
}

pub fn everything() -> Question {
    Question::History(Box::new(Page {
        since: None,
        limit: 100,
        is_reversed: false,
    }))
}

/// What one who comes back is given, who has had everything up to this offset.
pub fn recovered(home: &mut Home, room: &str, offset: u64) -> Recovered {
    recover(home, room, Recover::Missed(since(offset)))
}

pub fn since(offset: u64) -> Since {
    Since {
        epoch: Some(Epoch(101)),
        offset,
    }
}

/// What one who comes is given; it leaves again.
pub fn recover(home: &mut Home, room: &str, recover: Recover) -> Recovered {
    let ticket = home.ticket();
    let answers = home.apply(Request::Join {
        name: name(room),
        subscriber: connection(CORE),
        ticket,
        terms: Some(Box::new(Terms {
            recover: Some(recover),
            member: None,
        })),
    });
    match answers.into_iter().next_back() {
        Some(Delivery::Joined {
            room,
            recovered: Some(recovered),
            ..
        }) => {
            home.leave(room);
            recovered
        }
        other => panic!("unexpected {other:?}"),
    }
}
