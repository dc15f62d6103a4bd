//! One peer: it writes what it was told to, reads at its own pace, and checks all that it is told.

mod members;
mod past;
mod tickers;

use std::collections::{BTreeMap, VecDeque};

use codec::{Opcode, frame::encode_masked};

pub use past::Positions;
use past::{Past, number_in, room_in};
pub use tickers::TICKS;
use tickers::{Ticker, ticker_in};

use crate::{
    orders::{Orders, Run},
    script::Kind,
    tls::Transport,
    wire::{Answer, Inbox, Told},
    world::{Peer, Read, World},
};

/// A connected peer.
pub struct Client {
    peer: Peer,
    kind: Kind,
    transport: Transport,
    /// What is to be written, behind everything else.
    to_write: VecDeque<u8>,
    /// What is to be written once the WebSocket is open.
    to_say: Vec<u8>,
    inbox: Inbox,
    /// Whether it reads.
    pub reads: bool,
    /// Whether it answers pings.
    pub answers: bool,
    /// Whether there may be no memory to copy what it has not had of a room that it leaves.
    may_miss_the_last: bool,
    /// Whether it has kept all rules, so that the server owes it all that it promises.
    pub is_good: bool,
    has_closed: bool,
    is_told_of_close: bool,
    ends_when_written: bool,
    /// How its connection has ended.
    pub end: Option<End>,
    members: BTreeMap<u8, Member>,
    past: Past,
    /// The tables that it watches.
    tickers: BTreeMap<u8, Ticker>,
    /// Publications that are not answered yet, and how often each was made.
    awaited: BTreeMap<u64, u32>,
    /// How many alarms it has set, and how often one came.
    alarms: (u32, u32),
    echoes: VecDeque<u64>,
    pings: VecDeque<Vec<u8>>,
    answers_awaited: u32,
}

/// How a connection has ended for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server has ended its stream.
    Ended,
    /// The connection was reset.
    Reset,
}

/// What a member knows of its room.
enum Member {
    /// The next message must be at this place.
    At { epoch: u64, next: u64 },
    /// The next message is at this place, or at most so much further.
    Passed { epoch: u64, next: u64, most: u64 },
    /// It does not know where it is.
    Lost(Run),
}

impl Client {
    /// A peer that has connected and asks for `target`.
    pub fn new(peer: Peer, kind: Kind, transport: Transport, target: &str) -> Self {
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
        let request = match kind {
            Kind::WebSocket => format!("GET {target} HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"),
            Kind::Stream if target.starts_with("/posted/") => {
                format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            }
            Kind::Stream => format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
            Kind::Http | Kind::Silent => String::new(),
        };
        Self {
            peer,
            kind,
            is_good: kind != Kind::Silent && transport.is_good(),
            transport,
            to_write: request.into_bytes().into(),
            to_say: Vec::new(),
            inbox: Inbox::default(),
            reads: true,
            answers: true,
            may_miss_the_last: false,
            has_closed: false,
            is_told_of_close: false,
            ends_when_written: false,
            end: None,
            members: BTreeMap::new(),
            past: Past::default(),
            tickers: BTreeMap::new(),
            awaited: BTreeMap::new(),
            alarms: (0, 0),
            echoes: VecDeque::new(),
            pings: VecDeque::new(),
            answers_awaited: u32::from(matches!(kind, Kind::WebSocket | Kind::Stream)),
        }
    }

    /// Its end of the connection.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether it can say something as a WebSocket.
    fn may_say(&self) -> bool {
        self.kind == Kind::WebSocket && !self.has_closed && self.end.is_none() && self.is_good
    }

    fn frame(&mut self, opcode: Opcode, is_last: bool, payload: &[u8]) {
        encode_masked(opcode, is_last, [1, 2, 3, 4], payload, &mut self.to_say);
    }

    /// Says a text, in so many fragments.
    pub fn say(&mut self, text: &str, fragments: usize) {
        if !self.may_say() {
            return;
        }
        let pieces = text
            .as_bytes()
            .chunks(text.len().div_ceil(fragments.max(1)).max(1));
        let count = pieces.len();
        for (nth, piece) in pieces.enumerate() {
            let opcode = match nth {
                0 => Opcode::Text,
                _ => Opcode::Continuation,
            };
            self.frame(opcode, nth + 1 == count, piece);
        }
    }

    /// Publishes a message, whose answer it then awaits.
    pub fn publish(&mut self, verb: &str, room: u8, id: u64, bytes: usize) {
        if self.may_say() {
            self.awaited.insert(id, 1);
            self.say(
                &format!("{verb} r{room} {id} {bytes} {}", "x".repeat(bytes)),
                1,
            );
        }
    }

    /// Sends a message that comes back.
    pub fn echo(&mut self, id: u64, bytes: usize, fragments: usize) {
        if self.may_say() {
            self.echoes.push_back(id);
            self.say(
                &format!("echo {id} {bytes} {}", "x".repeat(bytes)),
                fragments,
            );
        }
    }

    /// Sends a message that comes back after so many turns of its session.
    pub fn echo_slowly(&mut self, id: u64, turns: u8) {
        if self.may_say() {
            self.echoes.push_back(id);
            self.say(&format!("slow {turns} {id} 0 "), 1);
        }
    }

    /// Sets the alarm of its session.
    pub fn set_alarm(&mut self, ms: u16) {
        if self.may_say() {
            self.alarms.0 += 1;
            self.say(&format!("alarm {ms}"), 1);
        }
    }

    /// Sends a ping.
    pub fn ping(&mut self, payload: &[u8]) {
        if self.may_say() {
            self.pings.push_back(payload.to_vec());
            self.frame(Opcode::Ping, true, payload);
        }
    }

    /// Sends a close frame, and nothing after it.
    pub fn close(&mut self) {
        if self.may_say() {
            self.frame(Opcode::Close, true, &1000u16.to_be_bytes());
            self.has_closed = true;
        }
    }

    /// The server's memory is scarce from now on. Under TLS it may then end a connection without a last word:
    /// to free the part of a record that it holds, it gives up TLS if the socket is full.
    pub fn lack_memory(&mut self) {
        self.may_miss_the_last = true;
        if let Transport::Tls(channel) = &mut self.transport {
            channel.may_be_cut = true;
        }
    }

    fn may_be_cut(&self) -> bool {
        matches!(&self.transport, Transport::Tls(channel) if channel.may_be_cut)
    }

    /// Sends a request over HTTP.
    pub fn request(&mut self, body: usize) {
        if self.kind == Kind::Http && self.end.is_none() {
            let request = match body {
                0 => "GET /page HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
                _ => format!(
                    "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n{}",
                    "y".repeat(body)
                ),
            };
            self.answers_awaited += 1;
            self.to_write.extend(request.as_bytes());
        }
    }

    /// Sends the beginning of something and never its end.
    pub fn begin(&mut self, bytes: usize) {
        let wanted = bytes + 1;
        match self.kind {
            Kind::WebSocket if self.may_say() => {
                let mut frame = Vec::new();
                let payload = vec![b'x'; wanted];
                encode_masked(Opcode::Text, true, [0; 4], &payload, &mut frame);
                self.to_say.extend(&frame[..frame.len() - 1]);
            }
            Kind::Silent | Kind::Http => self.to_write.extend(b"GET / HTTP/1.1\r\nHost"),
            _ => {}
        }
        self.is_good = false;
    }

    /// Breaks a rule: a frame without a mask, or no HTTP.
    pub fn violate(&mut self) {
        match self.kind {
            Kind::WebSocket => self.to_say.extend(b"\x81\x01x"),
            _ => self.to_write.extend(b"\r\n\r\n"),
        }
        self.is_good = false;
    }

    /// Ends its stream once everything is written.
    pub fn end_stream(&mut self) {
        self.ends_when_written = true;
        self.is_good = false;
    }

    /// Writes and reads some; returns whether anything happened.
    pub fn act(&mut self, world: &World, most: usize, orders: &mut Orders) -> Result<bool, String> {
        if self.end.is_some() {
            return Ok(false);
        }
        let has_written = self.write(world, most);
        let has_read = self.reads && self.read(world, most, orders)?;
        Ok(has_written || has_read)
    }

    fn write(&mut self, world: &World, most: usize) -> bool {
        if self.inbox.is_open() {
            self.to_write.extend(self.to_say.drain(..));
        }
        let on_wire = match &mut self.transport {
            Transport::Plain | Transport::Misplaced => &mut self.to_write,
            Transport::Tls(channel) => {
                channel.seal(&mut self.to_write);
                if self.ends_when_written && channel.to_write.is_empty() {
                    channel.say_end();
                }
                &mut channel.to_write
            }
        };
        if on_wire.is_empty() {
            if std::mem::take(&mut self.ends_when_written) {
                world.with_peer(|sockets, reports| sockets.end(self.peer, reports));
                return true;
            }
            return false;
        }
        let some: Vec<u8> = on_wire.iter().take(most).copied().collect();
        let written = world.with_peer(|sockets, reports| sockets.write(self.peer, &some, reports));
        on_wire.drain(..written);
        written > 0
    }

    fn read(&mut self, world: &World, most: usize, orders: &mut Orders) -> Result<bool, String> {
        match world.with_peer(|sockets, reports| sockets.read(self.peer, most, reports)) {
            Read::Bytes(bytes) if bytes.is_empty() => Ok(false),
            Read::Bytes(bytes) => {
                match &mut self.transport {
                    Transport::Plain | Transport::Misplaced => self.inbox.take(&bytes),
                    Transport::Tls(channel) => self.inbox.take(&channel.open(&bytes)?),
                }
                while let Some(told) = self.inbox.read()? {
                    self.hear(told, orders)?;
                }
                Ok(true)
            }
            Read::End => {
                if let Transport::Tls(channel) = &self.transport {
                    channel.check_end()?;
                }
                self.finish(End::Ended, orders)?;
                Ok(true)
            }
            Read::Reset => {
                self.finish(End::Reset, orders)?;
                Ok(true)
            }
        }
    }

    /// The connection is over for this peer.
    pub fn finish(&mut self, end: End, orders: &mut Orders) -> Result<(), String> {
        self.end = Some(end);
        for (room, member) in std::mem::take(&mut self.members) {
            self.keep_position(room, &member);
            if let Member::Lost(run) = member {
                orders.keep(run);
            }
        }
        let is_open = self.kind == Kind::WebSocket && self.inbox.is_open();
        let is_whole = self.is_told_of_close && !self.inbox.is_within();
        if end == End::Ended && self.is_good && is_open && !is_whole && !self.may_be_cut() {
            return Err("a WebSocket ended without a close frame".into());
        }
        Ok(())
    }

    fn hear(&mut self, told: Told, orders: &mut Orders) -> Result<(), String> {
        if self.is_told_of_close {
            return Err("something came behind a close frame".into());
        }
        match told {
            Told::Answer(Answer { status, .. }) => {
                if matches!(self.transport, Transport::Misplaced) && status != 400 {
                    return Err(format!("{status} came over plain HTTP, and TLS is served"));
                }
                self.answers_awaited = self
                    .answers_awaited
                    .checked_sub(1)
                    .or((!self.is_good || status >= 400).then_some(0))
                    .ok_or("an answer came to no request")?;
                Ok(())
            }
            Told::Ping(payload) => {
                if self.answers && !self.has_closed {
                    self.frame(Opcode::Pong, true, &payload);
                }
                Ok(())
            }
            Told::Pong(payload) => self.hear_pong(&payload),
            Told::Close => {
                self.is_told_of_close = true;
                if !self.has_closed {
                    self.frame(Opcode::Close, true, &1000u16.to_be_bytes());
                    self.has_closed = true;
                }
                Ok(())
            }
            Told::Text(text) => self.hear_lines(&text, orders),
            Told::LastChunk => {
                self.is_told_of_close = true;
                Ok(())
            }
        }
    }

    /// A pong answers the latest ping; earlier ones may be passed over (RFC 6455 section 5.5.3).
    fn hear_pong(&mut self, payload: &[u8]) -> Result<(), String> {
        let at = self.pings.iter().position(|ping| ping == payload);
        let at = at.ok_or("a pong came to no ping")?;
        self.pings.drain(..=at);
        Ok(())
    }

    /// Rooms that gather their messages tell several at once.
    fn hear_lines(&mut self, text: &str, orders: &mut Orders) -> Result<(), String> {
        let mut lines = text.split_inclusive('\n').peekable();
        lines.peek().ok_or("a message of nothing")?;
        lines.try_for_each(|line| self.hear_text(line, orders))
    }

    fn hear_text(&mut self, text: &str, orders: &mut Orders) -> Result<(), String> {
        let line = text
            .strip_suffix('\n')
            .ok_or_else(|| format!("no whole message: {text:?}"))?;
        let words: Vec<_> = line.split(' ').collect();
        let number = |nth: usize| number_in(&words, nth, text);
        let room = || room_in(&words, 1, text);
        match words[0] {
            "m" => {
                is_padded(&words[3..], text)?;
                self.hear_message(room()?, number(2)?, orders)
            }
            "begins" => {
                self.members.insert(room()?, Member::Lost(Run::default()));
                Ok(())
            }
            "joined" => {
                let (epoch, next) = (number(2)?, number(3)? + 1);
                self.members.insert(room()?, Member::At { epoch, next });
                Ok(())
            }
            "left" | "lost" | "refused" if words.get(1).is_some_and(|it| it.starts_with('t')) => {
                self.tickers.remove(&ticker_in(&words, text)?);
                Ok(())
            }
            "watching" | "t" => self.hear_ticker(&words, text),
            "left" => {
                self.check_told(room()?)?;
                self.leave(room()?, orders);
                Ok(())
            }
            "lost" | "refused" => {
                self.leave(room()?, orders);
                Ok(())
            }
            "skipped" => self.hear_skipped(room()?, number(2)?, orders),
            "published" | "unpublished" if number(1)? >= TICKS => self.hear_answer(number(1)?),
            "published" => {
                self.hear_answer(number(1)?)?;
                self.note_acknowledged(number(2)?, number(3)?);
                orders.place(number(1)?, number(2)?, number(3)?)
            }
            "unpublished" => {
                self.hear_answer(number(1)?)?;
                orders.refuse(number(1)?)
            }
            "echoed" => {
                is_padded(&words[2..], text)?;
                let expected = self.echoes.pop_front();
                match expected == Some(number(1)?) {
                    true => Ok(()),
                    false => Err(format!(
                        "an echo of {expected:?} was next, and {text:?} came"
                    )),
                }
            }
            "ping" => {
                if self.answers && !self.has_closed {
                    self.frame(Opcode::Text, true, b"pong");
                }
                Ok(())
            }
            "alarm" => {
                self.alarms.1 += 1;
                match self.alarms.1 > self.alarms.0 {
                    true => Err("an alarm came that was not set".into()),
                    false => Ok(()),
                }
            }
            "joining" | "said" | "commanded" | "h" => Ok(()),
            _ => self.hear_past(&words, text, orders),
        }
    }

    fn hear_answer(&mut self, id: u64) -> Result<(), String> {
        match self.awaited.get_mut(&id) {
            Some(times) if *times > 1 => *times -= 1,
            Some(_) => drop(self.awaited.remove(&id)),
            None => {
                return Err(format!(
                    "publication {id} was answered twice, or never made"
                ));
            }
        }
        Ok(())
    }

    /// What the server still owes this peer, although everything has had time enough.
    pub fn complaint(&self, orders: &Orders) -> Option<String> {
        if self.end.is_some() || !self.is_good || self.has_closed || !self.inbox.is_open() {
            let waits = self.answers_awaited > 0 && self.is_good && self.end.is_none();
            return waits.then(|| "it has no answer to its request".to_owned());
        }
        let is_sealed = match &self.transport {
            Transport::Plain | Transport::Misplaced => false,
            Transport::Tls(channel) => !channel.to_write.is_empty(),
        };
        if is_sealed || !self.to_write.is_empty() || !self.to_say.is_empty() {
            return Some("it is not read".into());
        }
        if let Some((id, _)) = self.awaited.first_key_value() {
            return Some(format!("publication {id} is not answered"));
        }
        if let Some(id) = self.echoes.front() {
            return Some(format!("{id} is not echoed"));
        }
        if !self.pings.is_empty() {
            return Some("it waits for a pong".into());
        }
        if matches!(self.alarms, (1.., 0)) {
            return Some("it waits for its alarm".into());
        }
        if let Some(room) = self.unfinished_table() {
            return Some(format!("keys of t{room} are missing"));
        }
        if let Some(reading) = &self.past.reading {
            return Some(format!("messages of the past are missing: {reading:?}"));
        }
        self.members.iter().find_map(|(room, member)| {
            let (epoch, got) = match member {
                Member::At { epoch, next } => (*epoch, next - 1),
                Member::Passed { epoch, next, most } => (*epoch, next - 1 + most),
                Member::Lost(run) => orders.place_of(*run.ids.last()?)?,
            };
            let top = orders.top(epoch)?;
            (got < top).then(|| format!("it is at {got} of r{room}, whose top is {top}"))
        })
    }

    /// Where it is in each room if it has had everything: the epoch, and the least and the greatest offset of
    /// the latest message.
    pub fn places(&self) -> impl Iterator<Item = (u8, u64, u64, u64)> {
        let is_here = self.end.is_none() && self.is_good && !self.has_closed;
        let members = self.members.iter().filter(move |_| is_here);
        members.filter_map(|(room, member)| match *member {
            Member::At { epoch, next } => Some((*room, epoch, next - 1, next - 1)),
            Member::Passed { epoch, next, most } => Some((*room, epoch, next - 1, next - 1 + most)),
            Member::Lost(_) => None,
        })
    }

    /// What it is told at the end: everything it knows of places that it did not know.
    pub fn keep_runs(&self, orders: &mut Orders) {
        for member in self.members.values() {
            if let Member::Lost(run) = member {
                orders.keep(run.clone());
            }
        }
    }
}

/// Messages carry their own length, so that bytes of others between them are seen.
fn is_padded(words: &[&str], text: &str) -> Result<(), String> {
    let [length, padding] = words else {
        return Err(format!("no padding: {text:?}"));
    };
    let is_whole = padding.bytes().all(|byte| byte == b'x') && length.parse() == Ok(padding.len());
    match is_whole {
        true => Ok(()),
        false => Err(format!("not the message that was sent: {text:?}")),
    }
}
