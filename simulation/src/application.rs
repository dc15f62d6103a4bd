//! What the simulated server serves: sessions that do what peers tell them in text, and say what happened.
//!
//! | A peer says | The session does, and says |
//! |---|---|
//! | `join ROOM` | asks for it: `joined ROOM EPOCH OFFSET`, or `refused ROOM` |
//! | `enter ROOM SERIAL INFO MODE EPOCH OFFSET` | joins it as a member, with what was missed: `entered ROOM SERIAL EPOCH OFFSET HOW COUNT` and so many messages, or `refused ROOM`, or `there ROOM SERIAL` |
//! | `leave ROOM` | leaves it: `left ROOM` |
//! | `publish ROOM ID PADDING` | publishes in it: `published ID EPOCH OFFSET`, or `unpublished ID` |
//! | `tell ROOM ID PADDING` | the same without being in it |
//! | `once KEY ROOM ID PADDING` | the same with an idempotency key |
//! | `watch ROOM` | joins a room with a table: `watching ROOM COUNT` and so many keys, or `refused ROOM` |
//! | `set ROOM KEY ID PADDING`, `unset ROOM KEY ID` | sets a key of a table or removes it: `published ID EPOCH OFFSET`, or `unpublished ID` |
//! | `history ROOM SERIAL LIMIT ORDER EPOCH OFFSET` | asks for it: `past ROOM SERIAL EPOCH OFFSET COUNT` and so many messages, or `none ROOM SERIAL` |
//! | `members ROOM SERIAL` | asks for them: `members ROOM SERIAL INFO…`, or `none ROOM SERIAL` |
//! | `counts ROOM SERIAL` | asks for them: `counts ROOM SERIAL MEMBERS USERS` |
//! | `echo N PADDING` | `echoed N` and the padding |
//! | `slow TURNS N PADDING` | the same after so many turns |
//! | `alarm MS` | `alarm`, after this time |
//! | `pong` | has had the answer to its `ping` |
//! | `wait` | takes no further message until everything is answered |
//!
//! Who has joined a room gets `m ROOM ID PADDING`; who has entered it gets the same behind `o EPOCH OFFSET`,
//! and `came ROOM INFO` and `went ROOM INFO`; who watches one gets `t ROOM EPOCH OFFSET KEY ID PADDING`, and without
//! an id if the key is gone. Messages of the past come behind `p EPOCH OFFSET`. Of what
//! nobody asked for, a session says `left ROOM`, `lost ROOM` where messages may be missing, `skipped ROOM COUNT` and
//! `joining ROOM`.
//!
//! Each of these is a line. Where a room gathers its messages, several lines may be one message of a WebSocket for
//! whoever has entered it, and one chunk of a stream.

mod bodies;
mod obeying;

use std::sync::Arc;

use codec::{CloseCode, Request};
use hub::{Occupancy, RoomName, RuleBook};
use runtime::{
    Answer, Application, BatchInterval, BodyEncoder, BodyForm, Command, KeepAlive, Lag, Opening,
    Pings, Route, Streaming, Taken,
};

use crate::{
    rules::{Book, name_of},
    script::Told,
    watch::Watch,
};
use obeying::Obeying;

/// The application of the simulated server.
#[derive(Clone, Default)]
pub struct Commanded {
    /// The rules of its rooms.
    pub book: Arc<Book>,
    /// Who is told which rooms are occupied.
    pub watch: Arc<Watch>,
}

/// What an operator has all sessions do that are of this user.
#[derive(Debug)]
pub struct Expel {
    /// Whose.
    pub user: String,
    /// Leave this room; `None`: close the connection.
    pub room: Option<RoomName>,
}

const PROTOCOL: &str = "commanded";

/// A stream of this session.
fn streaming(session: Box<Obeying>, room: Option<RoomName>, lag: Lag) -> Streaming {
    Streaming {
        protocol: PROTOCOL,
        status: 200,
        fields: Vec::new(),
        room,
        body: BodyForm::RAW,
        lag,
        terms: None,
        keep_alive: KeepAlive::Bytes("h\n".into()),
        session,
    }
}

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
        let session = Box::new(Obeying::new(user, room.clone(), self.book.clone()));
        match kind {
            "ws" | "own" => Route::Open(Opening {
                protocol: PROTOCOL,
                subprotocol: None,
                room,
                body: BodyForm::RAW,
                lag,
                terms: None,
                pings: match kind {
                    "own" => Pings::Messages,
                    _ => Pings::Frames,
                },
                session,
            }),
            "stream" => Route::Stream(streaming(session, room, lag)),
            "posted" => Route::Body(Box::new(move |body| match body {
                b"hello" => Taken::Stream(Box::new(streaming(session, room, lag))),
                _ => Taken::Answer(Answer::text(400, "the body is another one")),
            })),
            "body" => Route::Body(Box::new(|body| {
                Taken::Answer(Answer::text(200, &format!("{}", body.len())).keeping())
            })),
            "page" => Route::Answer(Answer::text(200, "a page").keeping()),
            _ => Route::Answer(Answer::text(404, "nothing is here")),
        }
    }

    fn protocols(&self) -> Vec<&'static str> {
        vec![PROTOCOL]
    }

    fn bodies(&self) -> Option<Arc<dyn BodyEncoder>> {
        Some(Arc::new(bodies::Numbered))
    }

    fn rules(&self) -> Arc<dyn RuleBook> {
        self.book.clone()
    }

    fn occupancy(&self) -> Option<Arc<dyn Occupancy>> {
        Some(self.watch.clone())
    }

    fn batch_interval(&self, room: &RoomName) -> Option<BatchInterval> {
        self.book.interval(room)
    }
}

/// What an operator tells connections.
pub fn command_of(command: Told) -> Command {
    match command {
        Told::Say => Command::Say(codec::Kind::Text, bytes::Bytes::from_static(b"said\n")),
        Told::Join(number) => Command::Join(name_of(number)),
        Told::Leave(number) => Command::Leave(name_of(number)),
        Told::Close => Command::Close(CloseCode::NORMAL, "told to"),
        Told::Hand => Command::Hand(Arc::new(())),
        Told::Expel(peer, room) => Command::Hand(Arc::new(Expel {
            user: user_of(peer),
            room: room.map(name_of),
        })),
    }
}

/// Whose connection a peer's is.
pub fn user_of(peer: u8) -> String {
    format!("u{}", peer % 5)
}
