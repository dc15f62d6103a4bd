//! A session: it does what its peer says.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use codec::{CloseCode, Kind, Message};
use hub::{
    Answer, Details, Epoch, Idempotency, Keyed, Member, Page, Position, Publisher, Question,
    Record, Recover, Recovered, RoomName, Since, Terms, Unrecoverable,
};
use runtime::{Lag, LeftReason, Outlet, Session, SessionEvent, Ticket};

use super::{
    Expel,
    bodies::{NUMBERED, TICKS, info, tick},
};
use crate::rules::Book;

pub(super) struct Obeying {
    user: String,
    rooms: Vec<In>,
    /// Publications that are not answered yet.
    publications: Vec<(Ticket, String)>,
    /// Questions that are not answered yet: the room and the serial number.
    questions: Vec<(Ticket, String)>,
    first: Option<RoomName>,
    book: Arc<Book>,
    /// What is still to be echoed, and after how many turns.
    slow: Option<(u32, String)>,
}

/// A room that the session is in, or has asked for.
struct In {
    ticket: Ticket,
    name: RoomName,
    /// The serial number under which its peer has entered it.
    serial: Option<String>,
}

impl Session for Obeying {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        outlet.identify(&self.user);
        if let (Some(ticket), Some(name)) = (outlet.room(), self.first.take()) {
            say(outlet, &format!("begins {name}"));
            self.note(ticket, name, None);
        }
    }

    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        let text = str::from_utf8(message.payload).unwrap_or_default();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (name, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "join" => self.join(name, outlet),
            "enter" => self.enter(name, more, outlet),
            "leave" => {
                if let Some(at) = self.find(name) {
                    self.leave(at, outlet);
                }
            }
            "publish" => {
                let ticket = self.find(name).and_then(|at| {
                    let room = self.rooms[at].ticket;
                    outlet.publish(room, Kind::Text, shown(name, more).as_bytes())
                });
                match ticket {
                    Some(ticket) => self.publications.push((ticket, id_of(more))),
                    None => say(outlet, &format!("unpublished {}", id_of(more))),
                }
            }
            "tell" => {
                if let Ok(room) = RoomName::new(name) {
                    let ticket = outlet.publish_to(room, Kind::Text, shown(name, more).as_bytes());
                    self.publications.push((ticket, id_of(more)));
                }
            }
            "once" => self.publish_once(name, more, outlet),
            "watch" => self.watch(name, outlet),
            "set" | "unset" => self.set(name, more, verb == "unset", outlet),
            "history" | "members" | "counts" => self.ask(verb, name, more, outlet),
            "echo" => say(outlet, &format!("echoed {rest}")),
            "slow" => {
                self.slow = Some((name.parse().unwrap_or(0), more.to_owned()));
                outlet.go_on_later();
            }
            "alarm" => {
                let after = Duration::from_millis(name.parse().unwrap_or(0));
                outlet.set_alarm(Some(after));
            }
            "pong" => outlet.ponged(),
            "wait" => outlet.wait(),
            _ => say(outlet, "unknown"),
        }
    }

    fn go_on(&mut self, outlet: &mut Outlet<'_>) {
        match self.slow.take() {
            Some((0, rest)) => say(outlet, &format!("echoed {rest}")),
            Some((turns, rest)) => {
                self.slow = Some((turns - 1, rest));
                match turns % 2 {
                    0 => outlet.go_on_later(),
                    _ => outlet.go_on_at_cost(),
                }
            }
            None => {}
        }
    }

    fn lag(&self, room: Ticket) -> Option<Lag> {
        let room = self.rooms.iter().find(|it| it.ticket == room)?;
        self.book.lag(&room.name)
    }

    fn ping(&mut self, outlet: &mut Outlet<'_>) {
        say(outlet, "ping");
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Joined {
                room,
                position,
                recovered,
            } => self.joined(room, position, recovered, outlet),
            SessionEvent::JoinRefused { room, .. } => self.forget(room, outlet, "refused"),
            SessionEvent::Left { room, reason } => {
                let verb = match reason {
                    LeftReason::Commanded => "left",
                    LeftReason::Lagging | LeftReason::Lost(_) => "lost",
                };
                self.forget(room, outlet, verb);
            }
            SessionEvent::Skipped { room, messages } => {
                self.say_of(room, outlet, |it| format!("skipped {} {messages}", it.name));
            }
            SessionEvent::Published {
                publication,
                position,
            } => {
                let Position { epoch, offset } = position;
                if let Some(id) = take(&mut self.publications, publication) {
                    say(outlet, &format!("published {id} {} {offset}", epoch.0));
                }
            }
            SessionEvent::Unpublished { publication, .. } => {
                if let Some(id) = take(&mut self.publications, publication) {
                    say(outlet, &format!("unpublished {id}"));
                }
            }
            SessionEvent::Joining { room, name } => {
                // A second subscription of the same room would have its messages twice.
                if self.find(name.as_str()).is_some() {
                    return outlet.leave(room);
                }
                say(outlet, &format!("joining {name}"));
                self.note(room, name, None);
            }
            SessionEvent::Command(command) => match command.downcast_ref() {
                Some(expel) => self.obey(expel, outlet),
                None => say(outlet, "commanded"),
            },
            SessionEvent::Answered { question, answer } => self.answered(question, answer, outlet),
            SessionEvent::Alarm => say(outlet, "alarm"),
        }
    }
}

impl Obeying {
    pub(super) fn new(user: String, first: Option<RoomName>, book: Arc<Book>) -> Self {
        Self {
            user,
            rooms: Vec::new(),
            publications: Vec::new(),
            questions: Vec::new(),
            first,
            book,
            slow: None,
        }
    }

    fn join(&mut self, name: &str, outlet: &mut Outlet<'_>) {
        let Ok(name) = RoomName::new(name) else {
            return;
        };
        if self.find(name.as_str()).is_some() {
            return;
        }
        match outlet.join(name.clone()) {
            Ok(ticket) => self.note(ticket, name, None),
            Err(_) => say(outlet, &format!("refused {name}")),
        }
    }

    /// Joins a room as a member. Nothing further is taken until the answer has come, which may be long.
    fn enter(&mut self, name: &str, more: &str, outlet: &mut Outlet<'_>) {
        let words: Vec<_> = more.split(' ').collect();
        let ([serial, info, mode, epoch, offset], Ok(name)) = (&words[..], RoomName::new(name))
        else {
            return;
        };
        if self.find(name.as_str()).is_some() {
            return say(outlet, &format!("there {name} {serial}"));
        }
        let since = since(epoch, offset);
        let terms = Terms {
            recover: match *mode {
                "missed" => Some(Recover::Missed(since)),
                "latest" => Some(Recover::Latest(since)),
                _ => None,
            },
            member: Some(Arc::new(Member {
                user: self.user.as_str().into(),
                info: Bytes::copy_from_slice(info.as_bytes()),
            })),
        };
        match outlet.join_with(name.clone(), NUMBERED, Some(Box::new(terms))) {
            Ok(ticket) => self.note(ticket, name, Some((*serial).to_owned())),
            Err(_) => say(outlet, &format!("refused {name}")),
        }
        outlet.wait();
    }

    fn joined(
        &mut self,
        room: Ticket,
        position: Position,
        recovered: Option<Recovered>,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(In { name, serial, .. }) = self.rooms.iter().find(|it| it.ticket == room) else {
            return;
        };
        if let Some(Recovered::State(all)) = &recovered {
            return say_table(outlet, name, position.epoch, all);
        }
        let place = format!("{} {}", position.epoch.0, position.offset);
        let Some(serial) = serial else {
            return say(outlet, &format!("joined {name} {place}"));
        };
        let (how, messages): (_, &[_]) = match &recovered {
            None => ("live", &[]),
            Some(Recovered::Exactly(messages)) => ("exactly", messages),
            Some(Recovered::Impossible(cause)) => (cause_of(*cause), &[]),
            // Nobody here asks for these, or they are told already.
            Some(Recovered::Newest { .. } | Recovered::State(_)) => return,
        };
        let count = messages.len();
        say(
            outlet,
            &format!("entered {name} {serial} {place} {how} {count}"),
        );
        say_past(outlet, position.epoch, messages);
    }

    /// Joins a room with a table. Nothing further is taken until the answer has come.
    fn watch(&mut self, name: &str, outlet: &mut Outlet<'_>) {
        let Ok(name) = RoomName::new(name) else {
            return;
        };
        if self.find(name.as_str()).is_some() {
            return;
        }
        let terms = Terms {
            recover: Some(Recover::State),
            member: None,
        };
        match outlet.join_with(name.clone(), TICKS, Some(Box::new(terms))) {
            Ok(ticket) => self.note(ticket, name, None),
            Err(_) => say(outlet, &format!("refused {name}")),
        }
        outlet.wait();
    }

    fn set(&mut self, name: &str, more: &str, is_removed: bool, outlet: &mut Outlet<'_>) {
        let (key, more) = more.split_once(' ').unwrap_or((more, ""));
        let Ok(room) = RoomName::new(name) else {
            return;
        };
        let key = key.into();
        let details = Details {
            keyed: Some(Keyed { key, is_removed }),
            ..Details::default()
        };
        let payload = match is_removed {
            true => String::new(),
            false => format!("{more}\n"),
        };
        let details = Some(Arc::new(details));
        let ticket = outlet.publish_with(room, Kind::Text, payload.as_bytes(), details);
        self.publications.push((ticket, id_of(more)));
    }

    fn publish_once(&mut self, key: &str, more: &str, outlet: &mut Outlet<'_>) {
        let (name, more) = more.split_once(' ').unwrap_or((more, ""));
        let (Ok(key), Ok(room)) = (key.parse(), RoomName::new(name)) else {
            return;
        };
        let id = id_of(more);
        let details = Details {
            idempotency: Some(Idempotency {
                key,
                body: id.parse().unwrap_or(0),
            }),
            publisher: Publisher::User(self.user.as_str().into()),
            ..Details::default()
        };
        let payload = shown(name, more);
        let details = Some(Arc::new(details));
        let ticket = outlet.publish_with(room, Kind::Text, payload.as_bytes(), details);
        self.publications.push((ticket, id));
    }

    /// Asks about a room. Nothing further is taken until the answer has come, which may be long.
    fn ask(&mut self, verb: &str, name: &str, more: &str, outlet: &mut Outlet<'_>) {
        let words: Vec<_> = more.split(' ').collect();
        let Ok(room) = RoomName::new(name) else {
            return;
        };
        let question = match (verb, &words[..]) {
            ("history", [_, limit, order, epoch, offset]) => Question::History(Box::new(Page {
                since: (*epoch != "none").then(|| since(epoch, offset)),
                limit: limit.parse().unwrap_or(0),
                is_reversed: *order == "reversed",
            })),
            ("members", _) => Question::Members,
            _ => Question::MemberCounts,
        };
        let ticket = outlet.ask_about(room, question);
        self.questions
            .push((ticket, format!("{name} {}", words[0])));
        outlet.wait();
    }

    fn answered(&mut self, question: Ticket, answer: Answer, outlet: &mut Outlet<'_>) {
        let Some(about) = take(&mut self.questions, question) else {
            return;
        };
        match answer {
            Answer::History { top, messages } => {
                let Position { epoch, offset } = top;
                let count = messages.len();
                say(
                    outlet,
                    &format!("past {about} {} {offset} {count}", epoch.0),
                );
                say_past(outlet, epoch, &messages);
            }
            Answer::Members(members) => {
                let members: String = members
                    .iter()
                    .map(|it| format!(" {}", info(&it.info)))
                    .collect();
                say(outlet, &format!("members {about}{members}"));
            }
            Answer::MemberCounts { members, users } => {
                say(outlet, &format!("counts {about} {members} {users}"));
            }
            Answer::Done | Answer::Refused(_) => say(outlet, &format!("none {about}")),
        }
    }

    fn obey(&mut self, Expel { user, room }: &Expel, outlet: &mut Outlet<'_>) {
        if *user != self.user {
            return;
        }
        match room {
            None => outlet.close(CloseCode::NORMAL, "expelled"),
            Some(room) => {
                if let Some(at) = self.find(room.as_str()) {
                    self.leave(at, outlet);
                }
            }
        }
    }

    fn note(&mut self, ticket: Ticket, name: RoomName, serial: Option<String>) {
        self.rooms.push(In {
            ticket,
            name,
            serial,
        });
    }

    fn leave(&mut self, at: usize, outlet: &mut Outlet<'_>) {
        let In { ticket, name, .. } = self.rooms.remove(at);
        outlet.leave(ticket);
        say(outlet, &format!("left {name}"));
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.rooms.iter().position(|it| it.name.as_str() == name)
    }

    fn forget(&mut self, room: Ticket, outlet: &mut Outlet<'_>, verb: &str) {
        if let Some(at) = self.rooms.iter().position(|it| it.ticket == room) {
            let In { name, .. } = self.rooms.remove(at);
            say(outlet, &format!("{verb} {name}"));
        }
    }

    fn say_of(&self, room: Ticket, outlet: &mut Outlet<'_>, text: impl Fn(&In) -> String) {
        if let Some(room) = self.rooms.iter().find(|it| it.ticket == room) {
            say(outlet, &text(room));
        }
    }
}

fn take(all: &mut Vec<(Ticket, String)>, ticket: Ticket) -> Option<String> {
    let at = all.iter().position(|(it, _)| *it == ticket)?;
    Some(all.remove(at).1)
}

fn say(outlet: &mut Outlet<'_>, text: &str) {
    outlet.send(Kind::Text, format!("{text}\n").as_bytes());
}

/// Messages of the past, each behind its place.
fn say_past(outlet: &mut Outlet<'_>, epoch: Epoch, messages: &[(u64, hub::Record)]) {
    for (offset, record) in messages {
        let mut text = format!("p {} {offset} ", epoch.0).into_bytes();
        text.extend_from_slice(&record.payload);
        outlet.send(Kind::Text, &text);
    }
}

/// A table: how many keys there are, and each of them.
fn say_table(outlet: &mut Outlet<'_>, name: &RoomName, epoch: Epoch, all: &[(u64, Record)]) {
    say(outlet, &format!("watching {name} {}", all.len()));
    for (offset, record) in all {
        let mut text = Vec::new();
        if let Some(keyed) = record.keyed() {
            tick(name, (epoch, *offset), keyed, &record.payload, &mut text);
        }
        outlet.send(Kind::Text, &text);
    }
}

fn since(epoch: &str, offset: &str) -> Since {
    Since {
        epoch: epoch.parse().ok().map(Epoch),
        offset: offset.parse().unwrap_or(0),
    }
}

fn cause_of(cause: Unrecoverable) -> &'static str {
    match cause {
        Unrecoverable::Epoch => "epoch",
        Unrecoverable::Size => "size",
        Unrecoverable::Time => "time",
        Unrecoverable::Cap => "cap",
        Unrecoverable::Memory => "memory",
        Unrecoverable::Forgotten => "forgotten",
    }
}

fn shown(room: &str, more: &str) -> String {
    format!("m {room} {more}\n")
}

fn id_of(more: &str) -> String {
    more.split(' ').next().unwrap_or_default().to_owned()
}
