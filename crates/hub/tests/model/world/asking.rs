//! What rooms are asked and are to do, and what they must answer.

use std::collections::BTreeSet;

use hub::{
    Answer, AnswerRefusal, ConnectionId, CoreId, Listing, Numbered, Page, Position, Question,
    Record, Request, Since, Ticket,
};

use super::{RECOVERED_MAX, World, deliveries::payload_of, name_of, user_of};
use crate::{
    ops::Asked,
    truth::{End, Said, shown},
};

/// The tickets of questions lie above those of publications and below those of joins.
const QUESTIONS: u64 = 1 << 32;

/// A removal that nobody has published, of this key.
pub const REMOVAL: u64 = 1 << 40;

/// What must be answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Expected {
    Counts {
        members: usize,
        users: usize,
    },
    Past(Position, Vec<(u64, u64)>),
    Done,
    Refused(AnswerRefusal),
    /// All rooms, and the number of subscribers of each.
    Rooms(BTreeSet<(String, u32)>),
}

impl World {
    pub(super) fn ask(&mut self, name: u8, asked: Asked) {
        let question = match asked {
            Asked::Count => Question::MemberCounts,
            Asked::Table => Question::Table,
            Asked::Page {
                below,
                limit,
                is_reversed,
            } => {
                let room = self.find_or_make(name);
                let Position { epoch, offset } = self.rooms[room].top;
                let since = below.map(|below| Since {
                    epoch: Some(epoch),
                    offset: offset.saturating_sub(below),
                });
                Question::History(Box::new(Page {
                    since,
                    limit,
                    is_reversed,
                }))
            }
            Asked::ForgetHistory => Question::ForgetHistory,
            Asked::ClearTable => Question::ClearTable,
        };
        let expected = self.answer(name, &question);
        self.asked.push_back(expected);
        self.home.apply(Request::Ask {
            name: name_of(name),
            asker: nobody(),
            ticket: Ticket(QUESTIONS),
            stamp: 0,
            question,
        });
    }

    fn answer(&mut self, name: u8, question: &Question) -> Expected {
        match question {
            Question::History(page) => {
                let room = self.find_or_make(name);
                let room = &self.rooms[room];
                Expected::Past(room.top, shown(&page_of(room.kept(self.now_ms), page)))
            }
            Question::Table => {
                let room = self.find_or_make(name);
                let room = &self.rooms[room];
                Expected::Past(room.top, room.table.values().copied().collect())
            }
            Question::ForgetHistory => {
                if let Some(room) = self.by_name.get(&name) {
                    let room = &mut self.rooms[*room];
                    room.forgotten = room.top.offset;
                }
                Expected::Done
            }
            Question::ClearTable => self.clear(name),
            Question::Members | Question::MemberCounts => self.counts(name),
        }
    }

    fn clear(&mut self, name: u8) -> Expected {
        let Some(room) = self.by_name.get(&name).copied() else {
            return Expected::Done;
        };
        if self.rooms[room].backlog.is_some() {
            return Expected::Refused(AnswerRefusal::Busy);
        }
        for key in std::mem::take(&mut self.rooms[room].table).into_keys() {
            self.say(room, REMOVAL + key, None);
        }
        Expected::Done
    }

    fn counts(&mut self, name: u8) -> Expected {
        let joined = self.by_name.get(&name).copied();
        let here = self
            .subscribers
            .iter()
            .filter(|s| Some(s.joined) == joined && !s.left);
        let users: BTreeSet<_> = here.clone().map(|s| user_of(s.id)).collect();
        let is_lost = joined.is_none_or(|room| self.rooms[room].end != End::Open);
        let (members, users) = match is_lost {
            true => (0, 0),
            false => (here.count(), users.len()),
        };
        Expected::Counts { members, users }
    }

    pub(super) fn list(&mut self) {
        let rooms = self.by_name.iter().map(|(name, room)| {
            let here = self.subscribers.iter();
            let here = here.filter(|s| s.joined == *room && !s.left);
            (name_of(*name).as_str().to_owned(), here.count() as u32)
        });
        let expected = Expected::Rooms(rooms.collect());
        self.asked.push_back(expected);
        self.home.apply(Request::List {
            from: 0,
            asker: nobody(),
            ticket: Ticket(QUESTIONS),
        });
    }

    pub(super) fn is_told(&mut self, answer: Answer) {
        let told = match answer {
            Answer::MemberCounts { members, users } => Expected::Counts { members, users },
            Answer::History { top, messages } => Expected::Past(top, numbers(&messages)),
            Answer::Done => Expected::Done,
            Answer::Refused(reason) => Expected::Refused(reason),
            Answer::Members(members) => panic!("unexpected {members:?}"),
        };
        assert_eq!(self.asked.pop_front(), Some(told));
    }

    pub(super) fn is_listed(&mut self, listing: Listing) {
        let many = listing.rooms.len();
        let rooms = listing.rooms.into_iter();
        let rooms: BTreeSet<_> = rooms
            .map(|(name, n)| (name.as_str().to_owned(), n))
            .collect();
        assert_eq!((rooms.len(), listing.next), (many, None));
        assert_eq!(self.asked.pop_front(), Some(Expected::Rooms(rooms)));
    }
}

fn nobody() -> ConnectionId {
    ConnectionId {
        core: CoreId(0),
        token: 0,
    }
}

/// The messages of a page, in its order.
fn page_of(mut kept: Vec<Said>, page: &Page) -> Vec<Said> {
    let since = page.since.map(|since| since.offset);
    match page.is_reversed {
        true => {
            kept.reverse();
            kept.retain(|it| since.is_none_or(|since| it.offset < since));
        }
        false => kept.retain(|it| since.is_none_or(|since| it.offset > since)),
    }
    kept.truncate(page.limit.min(RECOVERED_MAX));
    kept
}

/// Offsets and payloads.
pub fn numbers(messages: &Numbered) -> Vec<(u64, u64)> {
    let number = |(offset, record): &(u64, Record)| (*offset, payload_of(record));
    messages.iter().map(number).collect()
}
