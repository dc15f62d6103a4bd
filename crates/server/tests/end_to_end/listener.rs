//! Clients that hear one room, each over another transport, and all in the same way.

use std::{collections::VecDeque, net::TcpStream};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::{
    client::Client,
    commands::{CONNECT, PATH},
    harness::Server,
    streamed::{End, HTTP_STREAM, ONE_WAY, SSE, Stream, begin},
    wire,
};

/// A transport, and the protocol over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    WebSocket,
    HttpStream,
    Sse,
    UniWebSocket,
    UniHttpStream,
    UniSse,
    Raw,
    RawSse,
}

pub const WAYS: [Way; 8] = [
    Way::WebSocket,
    Way::HttpStream,
    Way::Sse,
    Way::UniWebSocket,
    Way::UniHttpStream,
    Way::UniSse,
    Way::Raw,
    Way::RawSse,
];

/// Up to which message somebody has heard a room.
pub type Position = (String, u64);

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A message of the room: its place if it has one, or 0, and its JSON.
    Message(u64, String),
    /// It is not in the room any more, for this code.
    Lost(u64),
    /// The connection has ended, with this code; a stream of a raw room has none.
    Closed(Option<u64>, End),
}

enum Link {
    Socket(Box<Client>),
    Stream(Stream),
}

/// A client of one room.
pub struct Listener {
    pub way: Way,
    link: Link,
    room: String,
    /// What was missed, and not asked for yet.
    missed: VecDeque<Told>,
    /// Lines of the last message of a WebSocket that nobody has asked for yet.
    lines: VecDeque<String>,
    /// The disconnect that was told on a stream.
    code: Option<u64>,
    /// The latest message that was heard.
    pub position: Position,
}

impl Way {
    fn path(self, room: &str) -> String {
        match self {
            Self::WebSocket => PATH.into(),
            Self::HttpStream => HTTP_STREAM.into(),
            Self::Sse => SSE.into(),
            Self::UniWebSocket => "/connection/uni_websocket".into(),
            Self::UniHttpStream => ONE_WAY[0].into(),
            Self::UniSse => ONE_WAY[1].into(),
            Self::Raw => format!("/rooms/{room}?positions=1"),
            Self::RawSse => format!("/rooms/{room}/sse?"),
        }
    }

    fn is_raw(self) -> bool {
        matches!(self, Self::Raw | Self::RawSse)
    }

    /// The first frame of a session.
    fn frame(self, room: &str, since: Option<&Position>) -> String {
        let mut wish = json!({"recoverable": true});
        if let Some((epoch, offset)) = since {
            wish = json!({"recoverable": true, "recover": true, "epoch": epoch, "offset": offset});
        }
        match self {
            Self::UniWebSocket | Self::UniHttpStream | Self::UniSse => {
                json!({"subs": {room: wish}}).to_string()
            }
            _ => {
                wish["channel"] = room.into();
                format!("{CONNECT}\n{}", json!({"id": 2, "subscribe": wish}))
            }
        }
    }
}

impl Listener {
    /// Comes into the room, behind this position if there is one; waits until it is there.
    #[track_caller]
    pub fn open(server: &Server, way: Way, room: &str, since: Option<&Position>) -> Self {
        Self::over(wire::connect(server.address()), way, room, since)
    }

    /// The same over a connection of a test's own making.
    #[track_caller]
    pub fn over(stream: TcpStream, way: Way, room: &str, since: Option<&Position>) -> Self {
        let mut path = way.path(room);
        if let (true, Some((epoch, offset))) = (way.is_raw(), since) {
            path += &format!("&since={epoch}:{offset}");
        }
        let link = match way {
            Way::WebSocket | Way::UniWebSocket | Way::Raw => {
                let mut client = Client::over(stream, &path, &[]).expect("101");
                if !way.is_raw() {
                    client.send(way.frame(room, since));
                }
                Link::Socket(Box::new(client))
            }
            Way::RawSse => {
                let request = wire::request("GET", &path, &[]);
                Link::Stream(Stream::over(stream, request))
            }
            _ => Link::Stream(Stream::over(stream, begin(&path, &way.frame(room, since)))),
        };
        let mut listener = Self {
            way,
            link,
            room: room.into(),
            missed: VecDeque::new(),
            lines: VecDeque::new(),
            code: None,
            position: (String::new(), 0),
        };
        listener.arrive(since);
        // Where it was counts, and not what the server says of that.
        if let Some(since) = since {
            listener.position = since.clone();
        }
        listener
    }

    /// Reads up to where the room begins, and what was missed before.
    fn arrive(&mut self, since: Option<&Position>) {
        let came_back = |is_so: bool, said: &dyn std::fmt::Debug| {
            assert!(is_so || since.is_none(), "not recovered: {said:?}");
        };
        match self.way {
            Way::RawSse => {
                let event = self.stream().event().expect("the first event");
                came_back(!event.contains("gap"), &event);
                let (_, id) = event.split_once("id: ").expect("a position");
                self.position = position(id);
            }
            Way::Raw => {
                let said = self.line();
                came_back(said["recovered"] == true, &said);
                let epoch = said["epoch"].as_str().expect("an epoch");
                self.position = (epoch.into(), said["offset"].as_u64().unwrap());
            }
            _ => {
                let mut said = self.line();
                let in_room = match said["connect"]["subs"][&self.room].take() {
                    Value::Null => self.line()["subscribe"].take(),
                    subscription => subscription,
                };
                came_back(in_room["recovered"] == true, &in_room);
                let epoch = in_room["epoch"].as_str().unwrap_or_default();
                let offset = in_room["offset"].as_u64().unwrap_or_default();
                self.position = (epoch.into(), offset);
                for missed in in_room["publications"].as_array().into_iter().flatten() {
                    self.missed.push_back(message(missed));
                }
            }
        }
    }

    /// What comes next, heartbeats aside. Messages come one behind the other, or else it is told.
    #[track_caller]
    pub fn next(&mut self) -> Told {
        let told = self.missed.pop_front().unwrap_or_else(|| self.hear());
        if let Told::Message(offset, _) = told {
            self.position.1 = offset;
        }
        told
    }

    /// The place and the JSON of the next message, which follows the one before.
    #[track_caller]
    pub fn message(&mut self) -> (u64, String) {
        let before = self.position.1;
        match self.next() {
            Told::Message(offset, text) if offset == before + 1 => (offset, text),
            other => panic!("{:?} has heard {other:?} behind {before}", self.way),
        }
    }

    /// Ends the connection without a word.
    pub fn vanish(self) {
        if let Link::Socket(client) = self.link {
            client.vanish();
        }
    }

    fn stream(&mut self) -> &mut Stream {
        match &mut self.link {
            Link::Stream(stream) => stream,
            Link::Socket(_) => panic!("a stream is asked for"),
        }
    }

    /// The next line, which must come.
    #[track_caller]
    fn line(&mut self) -> Value {
        let line = self.try_line().unwrap_or_else(|end| panic!("{end:?}"));
        serde_json::from_str(&line).unwrap()
    }

    /// The next line that is no heartbeat, or how the connection ended.
    fn try_line(&mut self) -> Result<String, Told> {
        loop {
            let line = match (&mut self.link, self.lines.pop_front()) {
                (_, Some(line)) => line,
                (Link::Stream(stream), None) => {
                    stream.next().map_err(|end| Told::Closed(self.code, end))?
                }
                (Link::Socket(client), None) => {
                    self.lines = frame_of(client)?.lines().map(str::to_owned).collect();
                    continue;
                }
            };
            if line != "{}" {
                return Ok(line);
            }
        }
    }

    #[track_caller]
    fn hear(&mut self) -> Told {
        if self.way == Way::RawSse {
            return self.hear_event();
        }
        loop {
            let told = match self.try_line() {
                Ok(line) => self.read(&serde_json::from_str(&line).unwrap()),
                Err(end) => Some(end),
            };
            if let Some(told) = told {
                return told;
            }
        }
    }

    fn hear_event(&mut self) -> Told {
        loop {
            let event = match self.stream().event() {
                Ok(event) if event.starts_with(':') => continue,
                Ok(event) => event,
                Err(end) => return Told::Closed(None, end),
            };
            let (id, data) = event.split_once("\ndata: ").expect("an event");
            let id = id.strip_prefix("id: ").expect("a position");
            return Told::Message(position(id).1, data.to_owned());
        }
    }

    /// What a line tells of the room.
    fn read(&mut self, said: &Value) -> Option<Told> {
        if self.way == Way::Raw {
            let text = said["data"].as_str()?;
            return Some(Told::Message(said["offset"].as_u64()?, text.into()));
        }
        let push = match &said["push"] {
            Value::Null => said,
            push => push,
        };
        if push["pub"].is_object() {
            return Some(message(&push["pub"]));
        }
        if let Some(code) = push["disconnect"]["code"].as_u64() {
            self.code = Some(code);
        }
        push["unsubscribe"]["code"].as_u64().map(Told::Lost)
    }
}

/// The next frame of a WebSocket with text, or how it closed.
fn frame_of(client: &mut Client) -> Result<String, Told> {
    match client.next() {
        Ok(Message::Text(text)) => Ok(text.to_string()),
        Ok(Message::Close(Some(frame))) => {
            // The answer to the close frame leaves with this.
            assert!(client.next().is_err(), "something behind a close frame");
            let code = u64::from(u16::from(frame.code));
            Err(Told::Closed(Some(code), End::Whole))
        }
        Ok(other) => panic!("{other:?}"),
        Err(_) => Err(Told::Closed(None, End::Cut)),
    }
}

fn message(publication: &Value) -> Told {
    let offset = publication["offset"].as_u64().unwrap_or_default();
    Told::Message(offset, publication["data"].to_string())
}

fn position(id: &str) -> Position {
    let (epoch, offset) = id.split_once(':').expect("a position");
    (epoch.into(), offset.parse().unwrap())
}
