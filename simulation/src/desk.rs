//! Somebody who is not connected: what is asked of rooms through the desk, and what it must be answered.

use bytes::Bytes;
use codec::Kind;
use flume::{Receiver, TryRecvError};
use hub::{
    Answer, Details, Listing, Page, Position, PublishRefusal, Question, RoomName, Since, Version,
};
use runtime::{Desk, DeskFull};

use crate::{
    orders::Orders,
    particulars::Particular,
    script::{Said, Wish},
};

/// What is open, and what was answered.
#[derive(Default)]
pub struct Clerk {
    open: Vec<Open>,
    /// Places that it was told its messages have, and their rooms.
    places: Vec<(u8, Position)>,
    /// Rooms that have forgotten everything up to this position at least.
    pub forgotten: Vec<(u8, Position)>,
}

/// A request that is not answered yet.
enum Open {
    Publication {
        id: u64,
        room: u8,
        answer: Receiver<Result<Position, PublishRefusal>>,
    },
    Question {
        asked: Asked,
        answer: Receiver<Answer>,
    },
    Listing(Receiver<Listing>),
}

/// A question, with what its answer must fit.
#[derive(Clone, Copy)]
enum Asked {
    Past {
        limit: usize,
        is_reversed: bool,
    },
    Table,
    Members,
    /// The position of the room before it was asked to.
    Forget(u8, Option<Position>),
    Clear,
}

impl Clerk {
    /// Publishes a message; returns whether the desk took it.
    pub fn publish(
        &mut self,
        desk: &Desk,
        (room, name): (u8, RoomName),
        (id, bytes): (u64, u16),
        said: Said,
        orders: &mut Orders,
    ) -> Result<(), String> {
        let particular = self.particular(room, said);
        if let Some(particular) = particular {
            orders.particulars.note(id, particular);
        }
        let padding = "x".repeat(bytes.into());
        let text = format!("m r{room} {id} {bytes} {padding}\n");
        let details = particular.map(|it| details_of(it).into());
        match desk.publish(name, Kind::Text, Bytes::from(text), details) {
            Ok(answer) => {
                let open = Open::Publication { id, room, answer };
                self.open.push(open);
                Ok(())
            }
            // Nobody may ever get it.
            Err(DeskFull) => orders.refuse(id),
        }
    }

    fn particular(&self, room: u8, said: Said) -> Option<Particular> {
        match said {
            Said::Plain => None,
            Said::Passing => Some(Particular::Passing),
            Said::Version(epoch, version) => Some(Particular::Version(epoch, version)),
            Said::Erasing(back) => {
                let of_room = self.places.iter().rev().filter(|(it, _)| *it == room);
                let (_, at) = of_room.take(usize::from(back) + 1).last()?;
                Some(Particular::Erasing(at.offset))
            }
        }
    }

    /// Asks a room something, or has it do something. `at` is where the room is now.
    pub fn ask(
        &mut self,
        desk: &Desk,
        (room, name): (u8, RoomName),
        wish: Wish,
        at: Option<Position>,
    ) {
        let (question, asked) = match wish {
            Wish::History { limit, is_reversed } => {
                let limit = limit.into();
                let since = at.filter(|_| is_reversed).map(|at| Since {
                    epoch: None,
                    offset: at.offset,
                });
                let page = Page {
                    since,
                    limit,
                    is_reversed,
                };
                let asked = Asked::Past { limit, is_reversed };
                (Question::History(Box::new(page)), asked)
            }
            Wish::Table => (Question::Table, Asked::Table),
            Wish::Members => (Question::Members, Asked::Members),
            Wish::Forget => (Question::ForgetHistory, Asked::Forget(room, at)),
            Wish::Clear => (Question::ClearTable, Asked::Clear),
        };
        if let Ok(answer) = desk.ask(name, question) {
            self.open.push(Open::Question { asked, answer });
        }
    }

    /// Asks for some rooms of a core.
    pub fn list(&mut self, desk: &Desk, core: usize, from: u32) {
        if let Ok(listing) = desk.list(core, from) {
            self.open.push(Open::Listing(listing));
        }
    }

    /// Goes away without waiting for what is open but publications, whose places it must know.
    pub fn give_up(&mut self) {
        self.open
            .retain(|open| matches!(open, Open::Publication { .. }));
    }

    /// How many requests are not answered.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Takes the answers that have come.
    pub fn hear(&mut self, orders: &mut Orders) -> Result<(), String> {
        for open in std::mem::take(&mut self.open) {
            if let Some(still_open) = self.hear_one(open, orders)? {
                self.open.push(still_open);
            }
        }
        Ok(())
    }

    fn hear_one(&mut self, open: Open, orders: &mut Orders) -> Result<Option<Open>, String> {
        match &open {
            Open::Publication { id, room, answer } => match came(answer)? {
                None => return Ok(Some(open)),
                Some(Ok(at)) => {
                    self.places.push((*room, at));
                    let (epoch, offset) = (at.epoch.0, at.offset);
                    match orders.particulars.is_version(*id) {
                        true => orders.particulars.answer(*id, epoch, offset),
                        false => orders.place(*id, epoch, offset)?,
                    }
                }
                Some(Err(_)) => orders.refuse(*id)?,
            },
            Open::Question { asked, answer } => match came(answer)? {
                None => return Ok(Some(open)),
                Some(answer) => self.hear_answer(*asked, answer, orders)?,
            },
            Open::Listing(answer) => {
                if came(answer)?.is_none() {
                    return Ok(Some(open));
                }
            }
        }
        Ok(None)
    }

    fn hear_answer(
        &mut self,
        asked: Asked,
        answer: Answer,
        orders: &mut Orders,
    ) -> Result<(), String> {
        match (asked, answer) {
            (_, Answer::Refused(_)) | (Asked::Members, Answer::Members(_)) => Ok(()),
            (Asked::Clear, Answer::Done) => Ok(()),
            (Asked::Forget(room, at), Answer::Done) => {
                self.forgotten.extend(at.map(|at| (room, at)));
                Ok(())
            }
            (Asked::Table, Answer::History { top, messages }) => {
                let keys = messages.iter().filter_map(|(_, it)| Some(&it.keyed()?.key));
                let is_known = messages.iter().all(|(at, _)| *at <= top.offset);
                match is_known && keys.is_sorted_by(|a, b| a < b) {
                    true => Ok(()),
                    false => Err(format!("this is no table at {top:?}: {messages:?}")),
                }
            }
            (Asked::Past { limit, is_reversed }, Answer::History { top, messages }) => {
                let mut last = None;
                if messages.len() > limit {
                    return Err(format!("{} messages came, and not {limit}", messages.len()));
                }
                for (at, record) in messages.iter() {
                    let is_next = last.is_none_or(|last| (*at < last) == is_reversed);
                    if !is_next || *at > top.offset {
                        return Err(format!("offset {at} came behind {last:?} of {top:?}"));
                    }
                    last = Some(*at);
                    orders.read(id_of(&record.payload), top.epoch.0, *at)?;
                }
                Ok(())
            }
            (_, answer) => Err(format!("nobody has asked for {answer:?}")),
        }
    }
}

/// The number of the message with this payload.
pub fn id_of(payload: &[u8]) -> u64 {
    let text = str::from_utf8(payload).unwrap_or_default();
    let id = text.split(' ').nth(2).and_then(|id| id.parse().ok());
    id.unwrap_or(0)
}

/// What has come, if anything; no core ends.
fn came<T>(answer: &Receiver<T>) -> Result<Option<T>, String> {
    match answer.try_recv() {
        Ok(answer) => Ok(Some(answer)),
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::Disconnected) => Err("a request of the desk is never answered".into()),
    }
}

fn details_of(particular: Particular) -> Details {
    let details = Details::default();
    match particular {
        Particular::Passing => Details {
            skips_history: true,
            ..details
        },
        Particular::Version(epoch, version) => Details {
            version: Some(Version {
                epoch: epoch.to_string().into(),
                version: version.into(),
            }),
            ..details
        },
        Particular::Erasing(offset) => Details {
            erases: Some(offset),
            ..details
        },
    }
}
