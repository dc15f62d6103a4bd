//! Sessions that do what their peers tell them in text, and report what happens to them.
//!
//! Rooms and publications are known by their numbers, in the order in which the connection asked for
//! them. Reports begin with `!`, messages of rooms with `@`, their room and their offset.
//!
//! | Command | What it does, and what is reported at once |
//! |---|---|
//! | `join NAME` | asks for a room; `!full` if there may be no more |
//! | `leave ROOM` | leaves a room (by number, or all of a name); `!gone ROOM` for each |
//! | `publish ROOM TEXT` | publishes in a room; `!absent TEXT` if the connection is not in it |
//! | `publish-to NAME TEXT` | publishes in a room by its name |
//! | `wait` | waits for answers |
//! | `who` | `!who CORE TOKEN` |
//! | `user NAME` | says whose connection it is |
//! | `say TEXT` | `!TEXT` |
//! | `stand still` | its core stands still until the test lets it go on |
//!
//! Rooms whose names begin with `gathers` have an interval of 100 ms, and those with `gathers-long` of 500: their messages
//! may be lines of one frame.
//!
//! A command of the application's own is reported, `publish-to NAME TEXT` is done as well, and over
//! `panic` the session panics.

use std::{
    collections::VecDeque,
    net::{Shutdown, TcpStream},
    sync::{Arc, Barrier},
    time::Duration,
};

use codec::{Kind, Message, Request};
use hub::{
    ConnectionId, CoreId, Epoch, HistoryLimits, Position, RoomName, RoomRules, RuleBook,
    TableLimits,
};
use runtime::{
    Application, BatchInterval, BodyEncoder, BodyForm, Delivered, Lag, Opening, Outlet, Pings,
    RoomEvent, Route, Session, SessionEvent, Ticket,
};
use tungstenite::{Error, Message as Received, WebSocket, error::ProtocolError};

use crate::harness::Running;

/// Opens `/leave` and `/skip` with the policy of that name for those who lag, and everything else with
/// that which closes.
#[derive(Default)]
pub struct Told {
    gate: Gate,
}

/// Where a core stands still: at the first wait it has come here, at the second it goes on.
type Gate = Arc<Option<Barrier>>;

/// Messages with their room and offset.
struct Marked;

impl Told {
    /// With cores that can be made to [stand still](Standing).
    pub fn with_gate() -> (Self, Gate) {
        let gate: Gate = Arc::new(Some(Barrier::new(2)));
        (Self { gate: gate.clone() }, gate)
    }
}

impl Application for Told {
    fn protocols(&self) -> Vec<&'static str> {
        vec!["told"]
    }

    fn route(&self, request: &Request<'_>) -> Route {
        Route::Open(Opening {
            protocol: "told",
            subprotocol: None,
            room: None,
            body: BodyForm(1),
            lag: match request.path() {
                "/leave" => Lag::Leave,
                "/skip" => Lag::Skip,
                _ => Lag::Close,
            },
            terms: None,
            pings: Pings::Frames,
            session: Box::new(Obedient {
                gate: self.gate.clone(),
                rooms: Vec::new(),
                publications: Vec::new(),
            }),
        })
    }

    fn bodies(&self) -> Option<Arc<dyn BodyEncoder>> {
        Some(Arc::new(Marked))
    }

    fn rules(&self) -> Arc<dyn RuleBook> {
        Arc::new(Positions)
    }

    fn batch_interval(&self, room: &RoomName) -> Option<BatchInterval> {
        let kind = room.as_str().strip_prefix("gathers")?;
        let ms = if kind.starts_with("-long") { 500 } else { 100 };
        BatchInterval::new(Duration::from_millis(ms))
    }
}

/// All rooms keep their positions; `kept` its messages, and `keyed` the latest of two keys.
struct Positions;

impl RuleBook for Positions {
    fn rules(&self, name: &RoomName) -> Arc<RoomRules> {
        Arc::new(RoomRules {
            keeps_position: true,
            history: (name.as_str() == "kept").then_some(HistoryLimits {
                messages: 10,
                bytes: usize::MAX,
                ttl_ms: u64::MAX,
            }),
            table: (name.as_str() == "keyed").then_some(TableLimits {
                keys: 2,
                bytes: usize::MAX,
                ttl_ms: u64::MAX,
            }),
            ..RoomRules::default()
        })
    }
}

impl BodyEncoder for Marked {
    fn encode(&self, form: BodyForm, said: &Delivered<'_>, body: &mut Vec<u8>) -> Option<Kind> {
        assert_eq!(form, BodyForm(1));
        let RoomEvent::Message {
            offset,
            kind,
            payload,
            ..
        } = said.event
        else {
            return None;
        };
        if !body.is_empty() {
            body.push(b'\n');
        }
        body.extend_from_slice(format!("@{} {offset} ", said.room).as_bytes());
        body.extend_from_slice(payload);
        Some(kind)
    }

    fn gathers(&self, _: BodyForm) -> bool {
        true
    }
}

struct Obedient {
    gate: Gate,
    /// With their names, in the order in which they were asked for.
    rooms: Vec<(Ticket, String)>,
    publications: Vec<Ticket>,
}

impl Session for Obedient {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        let text = std::str::from_utf8(message.payload).unwrap();
        let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
        match command {
            "join" => match outlet.join(RoomName::new(rest).unwrap()) {
                Ok(ticket) => self.rooms.push((ticket, rest.into())),
                Err(_) => report(outlet, "full"),
            },
            "leave" => {
                for room in self.meant(rest) {
                    outlet.leave(self.rooms[room].0);
                    report(outlet, &format!("gone {room}"));
                }
            }
            "publish" => self.publish(rest, outlet),
            "publish-to" => self.publish_to(rest, outlet),
            "wait" => outlet.wait(),
            "who" => {
                let ConnectionId { core, token } = outlet.id();
                report(outlet, &format!("who {} {token}", core.0));
            }
            "user" => outlet.identify(rest),
            "say" => report(outlet, rest),
            "stand" => {
                let gate = self.gate.as_ref().as_ref().unwrap();
                gate.wait();
                gate.wait();
            }
            _ => panic!("{text} is no command"),
        }
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        let said = match event {
            SessionEvent::Joined { room, position, .. } => {
                format!("joined {} {}", self.number(room), words(position))
            }
            SessionEvent::JoinRefused { room, reason } => {
                format!("refused {} {reason:?}", self.number(room))
            }
            SessionEvent::Left { room, reason } => {
                format!("left {} {reason:?}", self.number(room))
            }
            SessionEvent::Skipped { room, .. } => format!("skipped {}", self.number(room)),
            SessionEvent::Published {
                publication,
                position,
            } => format!(
                "published {} {}",
                self.publication(publication),
                words(position)
            ),
            SessionEvent::Unpublished {
                publication,
                reason,
            } => format!("unpublished {} {reason:?}", self.publication(publication)),
            SessionEvent::Joining { room, name } => {
                self.rooms.push((room, name.as_str().into()));
                format!("joining {} {}", self.number(room), name.as_str())
            }
            SessionEvent::Answered { .. } | SessionEvent::Alarm => return,
            SessionEvent::Command(command) => {
                let text = command.downcast_ref::<String>().unwrap();
                assert_ne!(text, "panic", "as the test wants it");
                if let Some(rest) = text.strip_prefix("publish-to ") {
                    self.publish_to(rest, outlet);
                }
                format!("command {text}")
            }
        };
        report(outlet, &said);
    }
}

impl Obedient {
    fn publish(&mut self, rest: &str, outlet: &mut Outlet<'_>) {
        let (room, text) = rest.split_once(' ').unwrap();
        for room in self.meant(room) {
            match outlet.publish(self.rooms[room].0, Kind::Text, text.as_bytes()) {
                Some(ticket) => self.publications.push(ticket),
                None => report(outlet, &format!("absent {text}")),
            }
        }
    }

    fn publish_to(&mut self, rest: &str, outlet: &mut Outlet<'_>) {
        let (name, text) = rest.split_once(' ').unwrap();
        let name = RoomName::new(name).unwrap();
        let ticket = outlet.publish_to(name, Kind::Text, text.as_bytes());
        self.publications.push(ticket);
    }

    /// The numbers of the rooms that are meant by a number or by a name.
    fn meant(&self, room: &str) -> Vec<usize> {
        if let Ok(number) = room.parse() {
            return vec![number];
        }
        let numbered = self.rooms.iter().enumerate();
        numbered
            .filter(|(_, (_, name))| name == room)
            .map(|(number, _)| number)
            .collect()
    }

    fn number(&self, ticket: Ticket) -> usize {
        let found = self.rooms.iter().rposition(|(room, _)| *room == ticket);
        found.expect("an event names a room that was asked for")
    }

    fn publication(&self, ticket: Ticket) -> usize {
        let found = self.publications.iter().rposition(|it| *it == ticket);
        found.expect("an event names a publication of this connection")
    }
}

fn report(outlet: &mut Outlet<'_>, text: &str) {
    outlet.send(Kind::Text, format!("!{text}").as_bytes());
}

fn words(position: Position) -> String {
    format!("{} {}", position.epoch.0, position.offset)
}

/// A client that tells its session what to do.
pub struct Teller {
    socket: WebSocket<TcpStream>,
    /// Reports and messages that were heard while the other kind was awaited.
    reports: VecDeque<String>,
    messages: VecDeque<Said>,
    /// How many frames of messages it has had.
    pub frames: usize,
    pub id: ConnectionId,
}

/// A message of a room, as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub room: String,
    pub offset: u64,
    pub text: String,
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Report(String),
    Message(Said),
    Close(u16),
    /// The stream is over, or the answer to our own close frame has come.
    End,
}

impl Teller {
    pub fn connect(server: &Running, path: &str) -> Self {
        Self::over(server.stream(), path)
    }

    /// A client for which little more is under way than what it has read.
    pub fn that_reads_slowly(server: &Running, path: &str) -> Self {
        let stream = server.stream();
        // What a socket may take by itself differs from one machine to the next.
        let socket = socket2::SockRef::from(&stream);
        socket.set_recv_buffer_size(64 << 10).unwrap();
        Self::over(stream, path)
    }

    fn over(stream: TcpStream, path: &str) -> Self {
        let url = format!("ws://{}{path}", stream.peer_addr().unwrap());
        let (socket, _) = tungstenite::client(url, stream).expect("101");
        let mut teller = Self {
            socket,
            reports: VecDeque::new(),
            messages: VecDeque::new(),
            frames: 0,
            id: ConnectionId {
                core: CoreId(0),
                token: 0,
            },
        };
        teller.tell("who");
        let who = teller.report("who");
        let (core, token) = who.split_once(' ').unwrap();
        teller.id = ConnectionId {
            core: CoreId(core.parse().unwrap()),
            token: token.parse().unwrap(),
        };
        teller
    }

    /// As many clients on each of two cores.
    pub fn on_both_cores(server: &Running, path: &str, each: usize) -> [Vec<Self>; 2] {
        let mut on = [Vec::new(), Vec::new()];
        while on.iter().any(|here| here.len() < each) {
            let teller = Self::connect(server, path);
            let here = &mut on[teller.id.core.index()];
            if here.len() < each {
                here.push(teller);
            }
        }
        on
    }

    pub fn tell(&mut self, command: &str) {
        self.socket.send(command.into()).unwrap();
    }

    /// Tells it all of these in one write.
    pub fn tell_all(&mut self, commands: &[&str]) {
        for command in commands {
            self.socket.write((*command).into()).unwrap();
        }
        self.socket.flush().unwrap();
    }

    /// The next that is heard, of whatever kind.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        assert!(self.reports.is_empty() && self.messages.is_empty());
        self.read()
    }

    #[track_caller]
    fn read(&mut self) -> Heard {
        let text = match self.socket.read() {
            Ok(Received::Close(Some(close))) => return Heard::Close(close.code.into()),
            Ok(Received::Close(None)) => return Heard::End,
            Ok(message) => message.into_text().unwrap(),
            Err(Error::ConnectionClosed) => return Heard::End,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return Heard::End,
            Err(error) => panic!("{error}"),
        };
        if let Some(report) = text.strip_prefix('!') {
            return Heard::Report(report.into());
        }
        self.frames += 1;
        let mut messages = text.lines().map(|line| {
            let mut words = line.strip_prefix('@').unwrap().splitn(3, ' ');
            let mut word = || words.next().unwrap();
            Said {
                room: word().into(),
                offset: word().parse().unwrap(),
                text: word().into(),
            }
        });
        let first = messages.next().unwrap();
        self.messages.extend(messages);
        Heard::Message(first)
    }

    /// The next report, which must begin so; what follows that.
    #[track_caller]
    pub fn report(&mut self, beginning: &str) -> String {
        let report = loop {
            if let Some(report) = self.reports.pop_front() {
                break report;
            }
            match self.read() {
                Heard::Report(report) => break report,
                Heard::Message(said) => self.messages.push_back(said),
                end => panic!("{end:?} instead of {beginning}"),
            }
        };
        let rest = report.strip_prefix(beginning);
        let rest = rest.unwrap_or_else(|| panic!("{report} instead of {beginning}"));
        rest.trim_start().into()
    }

    /// The position in the next report, which must begin so.
    #[track_caller]
    pub fn position(&mut self, beginning: &str) -> Position {
        position(&self.report(beginning))
    }

    /// The next message of a room.
    #[track_caller]
    pub fn said(&mut self) -> Said {
        loop {
            if let Some(said) = self.messages.pop_front() {
                return said;
            }
            match self.read() {
                Heard::Report(report) => self.reports.push_back(report),
                Heard::Message(said) => return said,
                end => panic!("{end:?} instead of a message"),
            }
        }
    }

    /// Joins rooms that it is not in, and waits until it is.
    #[track_caller]
    pub fn join(&mut self, names: &[&str]) {
        for name in names {
            self.tell(&format!("join {name}"));
        }
        for _ in names {
            self.report("joined");
        }
    }

    /// The code of the close frame that must come next; the stream must end after it.
    #[track_caller]
    pub fn closed(&mut self) -> u16 {
        let Heard::Close(code) = self.hear() else {
            panic!("no close frame with a code");
        };
        assert_eq!(self.read(), Heard::End);
        code
    }

    /// Nothing that was asked for before has anything to say any more but this.
    #[track_caller]
    pub fn hears_nothing_more(&mut self) {
        self.tell("say nothing more");
        assert_eq!(self.hear(), Heard::Report("nothing more".into()));
    }

    /// Closes its side as one should, without waiting for the other.
    pub fn begin_close(&mut self) {
        self.socket.close(None).unwrap();
        self.socket.flush().unwrap();
    }

    /// Ends its stream without a close frame; it reads on.
    pub fn end_stream(&mut self) {
        let stream = self.socket.get_ref();
        stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// The position that a report ends with: its epoch and its offset.
pub fn position(words: &str) -> Position {
    let mut words = words.rsplit(' ').map(|word| word.parse().unwrap());
    let (offset, epoch) = (words.next().unwrap(), words.next().unwrap());
    let epoch = Epoch(epoch);
    Position { epoch, offset }
}

/// A core that stands still, until this is dropped.
pub struct Standing<'a>(&'a Gate);

impl<'a> Standing<'a> {
    /// Has this client's core stand still.
    pub fn of(gate: &'a Gate, teller: &mut Teller) -> Self {
        teller.tell("stand still");
        gate.as_ref().as_ref().unwrap().wait();
        Self(gate)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.as_ref().as_ref().unwrap().wait();
    }
}
