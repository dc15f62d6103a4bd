//! What the simulated server serves: sessions that do what peers tell them in text, and say what happened.
//!
//! | A peer says | The session does, and says |
//! |---|---|
//! | `join ROOM` | asks for it: `joined ROOM EPOCH OFFSET`, or `refused ROOM` |
//! | `leave ROOM` | leaves it: `left ROOM` |
//! | `publish ROOM ID PADDING` | publishes in it: `published ID EPOCH OFFSET`, or `unpublished ID` |
//! | `tell ROOM ID PADDING` | the same without being in it |
//! | `echo N PADDING` | `echoed N` and the padding |
//! | `wait` | takes no further message until everything is answered |
//!
//! Members of a room get `m ROOM ID PADDING`. Of what nobody asked for, a session says `left ROOM`,
//! `skipped ROOM` and `joining ROOM`.

use codec::{Kind, Message, Request};
use hub::{Position, RoomName};
use runtime::{
    Answer, Application, BodyForm, Lag, Opening, Outlet, Pings, Route, Session, SessionEvent,
    Streaming, Ticket,
};

/// The application of the simulated server.
pub struct Commanded;

const PROTOCOL: &str = "commanded";

impl Application for Commanded {
    fn route(&self, request: &Request<'_>) -> Route {
        let target = request.path();
        let mut words = target.split('/').skip(1);
        let kind = words.next().unwrap_or_default();
        let lag = match words.next() {
            Some("leave") => Lag::Leave,
            Some("skip") => Lag::Skip,
            _ => Lag::Close,
        };
        let user = words.next().unwrap_or_default().to_owned();
        let room = words.next().and_then(|room| RoomName::new(room).ok());
        let session = Box::new(Obeying {
            user,
            rooms: Vec::new(),
            publications: Vec::new(),
            first: room.clone(),
        });
        match kind {
            "ws" => Route::Open(Opening {
                protocol: PROTOCOL,
                subprotocol: None,
                room,
                body: BodyForm::RAW,
                lag,
                terms: None,
                pings: Pings::Frames,
                session,
            }),
            "stream" => Route::Stream(Streaming {
                protocol: PROTOCOL,
                status: 200,
                fields: Vec::new(),
                room,
                body: BodyForm::RAW,
                lag,
                terms: None,
                heartbeat: Some("h\n".into()),
                session,
            }),
            "body" => Route::Body(Box::new(|body| {
                Answer::text(200, &format!("{}", body.len())).keeping()
            })),
            "page" => Route::Answer(Answer::text(200, "a page").keeping()),
            _ => Route::Answer(Answer::text(404, "nothing is here")),
        }
    }

    fn protocols(&self) -> Vec<&'static str> {
        vec![PROTOCOL]
    }
}

struct Obeying {
    user: String,
    rooms: Vec<(Ticket, RoomName)>,
    /// Publications that are not answered yet.
    publications: Vec<(Ticket, String)>,
    first: Option<RoomName>,
}

impl Session for Obeying {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        outlet.identify(&self.user);
        if let (Some(ticket), Some(name)) = (outlet.room(), self.first.take()) {
            say(outlet, &format!("begins {name}"));
            self.rooms.push((ticket, name));
        }
    }

    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        let text = str::from_utf8(message.payload).unwrap_or_default();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (name, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "join" => self.join(name, outlet),
            "leave" => {
                if let Some(at) = self.find(name) {
                    let (ticket, name) = self.rooms.remove(at);
                    outlet.leave(ticket);
                    say(outlet, &format!("left {name}"));
                }
            }
            "publish" => {
                let ticket = self.find(name).and_then(|at| {
                    outlet.publish(self.rooms[at].0, Kind::Text, shown(name, more).as_bytes())
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
            "echo" => say(outlet, &format!("echoed {rest}")),
            "wait" => outlet.wait(),
            _ => say(outlet, "unknown"),
        }
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Joined { room, position, .. } => {
                let Position { epoch, offset } = position;
                self.say_of(room, outlet, |name| {
                    format!("joined {name} {} {offset}", epoch.0)
                });
            }
            SessionEvent::JoinRefused { room, .. } => self.forget(room, outlet, "refused"),
            SessionEvent::Left { room, .. } => self.forget(room, outlet, "left"),
            SessionEvent::Skipped { room, .. } => {
                self.say_of(room, outlet, |name| format!("skipped {name}"));
            }
            SessionEvent::Published {
                publication,
                position,
            } => {
                let Position { epoch, offset } = position;
                if let Some(id) = self.published(publication) {
                    say(outlet, &format!("published {id} {} {offset}", epoch.0));
                }
            }
            SessionEvent::Unpublished { publication, .. } => {
                if let Some(id) = self.published(publication) {
                    say(outlet, &format!("unpublished {id}"));
                }
            }
            SessionEvent::Joining { room, name } => {
                // A second subscription of the same room would have its messages twice.
                if self.find(name.as_str()).is_some() {
                    return outlet.leave(room);
                }
                say(outlet, &format!("joining {name}"));
                self.rooms.push((room, name));
            }
            SessionEvent::Command(_) => say(outlet, "commanded"),
            SessionEvent::Answered { .. } | SessionEvent::Alarm => {}
        }
    }
}

impl Obeying {
    fn join(&mut self, name: &str, outlet: &mut Outlet<'_>) {
        let Ok(name) = RoomName::new(name) else {
            return;
        };
        if self.find(name.as_str()).is_some() {
            return;
        }
        match outlet.join(name.clone()) {
            Ok(ticket) => self.rooms.push((ticket, name)),
            Err(_) => say(outlet, &format!("refused {name}")),
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.rooms
            .iter()
            .position(|(_, room)| room.as_str() == name)
    }

    fn forget(&mut self, room: Ticket, outlet: &mut Outlet<'_>, verb: &str) {
        if let Some(at) = self.rooms.iter().position(|(ticket, _)| *ticket == room) {
            let (_, name) = self.rooms.remove(at);
            say(outlet, &format!("{verb} {name}"));
        }
    }

    fn say_of(&self, room: Ticket, outlet: &mut Outlet<'_>, text: impl Fn(&RoomName) -> String) {
        if let Some((_, name)) = self.rooms.iter().find(|(ticket, _)| *ticket == room) {
            say(outlet, &text(name));
        }
    }

    fn published(&mut self, publication: Ticket) -> Option<String> {
        let at = self
            .publications
            .iter()
            .position(|(ticket, _)| *ticket == publication)?;
        Some(self.publications.remove(at).1)
    }
}

fn say(outlet: &mut Outlet<'_>, text: &str) {
    outlet.send(Kind::Text, format!("{text}\n").as_bytes());
}

fn shown(room: &str, more: &str) -> String {
    format!("m {room} {more}\n")
}

fn id_of(more: &str) -> String {
    more.split(' ').next().unwrap_or_default().to_owned()
}
