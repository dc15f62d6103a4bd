//! One client: its connection, what it has asked, where it is in its rooms.

use super::super::history::{By, Event, History, Message, Position, What};
use super::super::payload;
use super::wire::{Beside, Fared, Inflow, Sabotage};
use super::{Form, Names};
use crate::centrifuge::{
    Command, Frame, Publication, Reply, Requests, Said, Subscribed, Transport, frames,
};
use crate::load::link::{Buffers, Link, Received};
use anyhow::{Result, bail, ensure};
use codec::Opcode;
use rustix::net::Shutdown;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// The number of the connect command.
pub const CONNECT: u32 = 1;

/// Errors that pass: of the server itself, and too many requests.
const TEMPORARY: [u32; 2] = [100, 111];

/// What all clients share.
#[derive(Debug)]
pub struct Desk {
    /// Where everything is noted.
    pub history: History,
    /// The present time.
    pub at_us: u64,
    /// When something was noted last.
    pub noted_at: Instant,
    /// The rooms' names.
    pub names: Names,
    /// Answers to the question who is in a room; none if the server does not tell.
    pub present: Vec<(u32, Option<Vec<Box<str>>>)>,
    /// A fault for the next chunk of a stream that nobody disturbs, if it has publications and nothing else.
    pub sabotage: Option<Sabotage>,
}

impl Desk {
    /// Notes an event.
    pub fn note(&mut self, client: u32, what: What) -> Result<()> {
        let at_us = self.at_us;
        self.noted_at = Instant::now();
        self.history.note(Event {
            at_us,
            client,
            what,
        })
    }
}

/// A client, which has one connection after the other.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub number: u32,
    /// How it speaks.
    pub form: Form,
    /// How it is connected.
    pub transport: Transport,
    /// The rooms that it wants to be in; a raw client has one.
    pub rooms: Vec<u32>,
    /// Whether it is neither cut nor stalled.
    pub is_undisturbed: bool,
    /// Where it was in each room.
    pub(super) positions: BTreeMap<u32, Position>,
    /// Up to where the messages of an event stream are such as it has missed, if it has not caught up.
    pub(super) missed_until: Option<u64>,
    /// How many messages it has sent.
    sent: u32,
    /// Its connection, or its absence.
    pub state: State,
}

/// Whether a client has a connection.
#[derive(Debug)]
pub enum State {
    /// It has none until then.
    Away(Instant),
    /// It has one.
    Here(Box<Connection>),
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub link: Link,
    /// What it sends, if the link is a stream.
    pub beside: Option<Beside>,
    inflow: Inflow,
    stage: Stage,
    next_id: u32,
    asked: BTreeMap<u32, Asked>,
    joined: BTreeSet<u32>,
    /// Until when it does not read.
    pub stalled_until: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    /// The answer to the handshake or to the request of a stream is coming.
    Handshake,
    /// The connect command is not answered.
    Connecting,
    Open,
    /// A close frame was sent, or the end of what it sends.
    Leaving,
}

/// What a command was for.
#[derive(Debug)]
enum Asked {
    Connect,
    Subscribe(u32),
    Publish(Message),
    Presence(u32),
}

/// What follows what was received.
#[derive(Debug)]
pub enum Next {
    /// The connection goes on.
    Stay,
    /// The handshake was refused.
    NotLetIn(String),
    /// The connection is over.
    Over(By),
}

impl Connection {
    /// A connection whose handshake has been sent; with `beside`, one whose stream was asked for with the connect
    /// command.
    #[must_use]
    pub fn new(link: Link, inflow: Inflow, beside: Option<Requests>) -> Self {
        let asked = beside.iter().map(|_| (CONNECT, Asked::Connect));
        Self {
            link,
            inflow,
            stage: Stage::Handshake,
            next_id: CONNECT + beside.iter().len() as u32,
            asked: asked.collect(),
            beside: beside.map(Beside::new),
            joined: BTreeSet::new(),
            stalled_until: None,
        }
    }

    /// Whether everything is sent, answered, and as it should be.
    #[must_use]
    pub fn is_settled(&self, form: Form, rooms: &[u32]) -> bool {
        let is_joined = form == Form::Raw || rooms.iter().all(|it| self.joined.contains(it));
        let is_said = self.beside.as_ref().is_none_or(|it| it.requests.is_idle());
        let is_idle = self.asked.is_empty() && !self.link.has_unsent() && is_said;
        matches!(self.stage, Stage::Open) && is_joined && is_idle
    }

    /// Whether its client was let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether the checker has noted it.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Handshake | Stage::Connecting)
    }

    fn can_publish(&self, form: Form, room: u32) -> bool {
        let is_waiting = self
            .asked
            .values()
            .any(|it| matches!(it, Asked::Publish(_)));
        let is_there = match form {
            Form::Raw => true,
            Form::Events => false,
            Form::Json | Form::Protobuf => self.joined.contains(&room),
        };
        self.is_open() && is_there && !is_waiting && self.stalled_until.is_none()
    }

    /// Says that it leaves, and goes on reading until the server ends the connection.
    pub fn leave(&mut self) -> Result<()> {
        self.stage = Stage::Leaving;
        match self.inflow {
            Inflow::Stream(_) => {
                // A connection that is gone says so when it is read.
                let _ = rustix::net::shutdown(self.link.socket(), Shutdown::Write);
                Ok(())
            }
            _ => self.send_frame(Opcode::Close, &1000u16.to_be_bytes()),
        }
    }

    fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        frames::append(opcode, payload, &mut bytes);
        // A connection that the server has ended says so when it is read.
        let _ = self.link.send(&bytes);
        Ok(())
    }

    fn send(&mut self, form: Form, asked: Option<Asked>, command: Command<'_>) -> Result<()> {
        let id = self.next_id;
        if let Some(asked) = asked {
            self.asked.insert(id, asked);
            self.next_id += 1;
        }
        let Some(encoding) = form.encoding() else {
            bail!("a raw client has no commands");
        };
        if let Some(beside) = &mut self.beside {
            encoding.append(id, command, beside.requests.waiting());
            beside.send();
            return Ok(());
        }
        let mut frame = Vec::new();
        encoding.append(id, command, &mut frame);
        self.send_frame(encoding.opcode(), &frame)
    }
}

impl Client {
    /// A client that is about to come.
    #[must_use]
    pub fn new(
        number: u32,
        (form, transport): (Form, Transport),
        rooms: Vec<u32>,
        from: Instant,
    ) -> Self {
        Self {
            number,
            form,
            transport,
            rooms,
            is_undisturbed: false,
            positions: BTreeMap::new(),
            missed_until: None,
            sent: 0,
            state: State::Away(from),
        }
    }

    /// Its connection, if it has one.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            State::Here(connection) => Some(connection),
            State::Away(_) => None,
        }
    }

    /// Whether it is where it wants to be, and nothing is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match &self.state {
            State::Here(connection) => connection.is_settled(self.form, &self.rooms),
            State::Away(_) => false,
        }
    }

    /// Publishes in a room, if it can.
    pub fn publish(&mut self, room: u32, fill: usize, desk: &mut Desk) -> Result<()> {
        let State::Here(connection) = &mut self.state else {
            return Ok(());
        };
        if !connection.can_publish(self.form, room) {
            return Ok(());
        }
        let message = Message {
            from: self.number,
            number: self.sent,
        };
        self.sent += 1;
        let payload = payload::make(message, fill);
        let digest = payload::digest(&payload);
        desk.note(
            self.number,
            What::Sent {
                room,
                message,
                digest,
            },
        )?;
        match self.form {
            Form::Raw => connection.send_frame(Opcode::Text, &payload)?,
            form => {
                let name = desk.names.of(room);
                let command = Command::Publish(&name, &payload);
                connection.send(form, Some(Asked::Publish(message)), command)?;
            }
        }
        Ok(())
    }

    /// Asks who is in a room; returns whether it could.
    pub fn ask_presence(&mut self, room: u32, names: &Names) -> Result<bool> {
        let State::Here(connection) = &mut self.state else {
            return Ok(false);
        };
        if self.form.encoding().is_none() || !connection.joined.contains(&room) {
            return Ok(false);
        }
        let name = names.of(room);
        let asked = Some(Asked::Presence(room));
        connection.send(self.form, asked, Command::Presence(&name))?;
        Ok(true)
    }

    /// Takes what has arrived.
    pub fn receive(&mut self, buffers: &mut Buffers, desk: &mut Desk) -> Result<Next> {
        let State::Here(connection) = &mut self.state else {
            return Ok(Next::Stay);
        };
        let bytes = match connection.link.receive(buffers) {
            Ok(Received::Nothing) => return Ok(Next::Stay),
            Ok(Received::Bytes(bytes)) => bytes,
            Ok(Received::End) | Err(_) => return Ok(self.ended()),
        };
        match connection.inflow.push(bytes, self.number) {
            Err(error) => return Ok(Next::NotLetIn(format!("{error:#}"))),
            Ok(false) => return Ok(Next::Stay),
            Ok(true) => {}
        }
        if let Stage::Handshake = connection.stage {
            self.let_in(desk)?;
        }
        self.take_frames(desk)
    }

    /// Takes what has arrived beside its stream.
    pub fn receive_beside(&mut self, buffers: &mut Buffers, now: Instant) -> Result<Next> {
        let beside = self.connection().and_then(|it| it.beside.as_mut());
        let fared = beside.map_or(Ok(Fared::Well), |it| it.receive(buffers, now))?;
        Ok(match fared {
            Fared::Well => Next::Stay,
            Fared::Badly => Next::Over(By::Server(0)),
        })
    }

    fn ended(&self) -> Next {
        match &self.state {
            State::Here(it) if matches!(it.stage, Stage::Handshake) => {
                Next::NotLetIn("the server ended the connection".to_owned())
            }
            _ => Next::Over(By::Server(0)),
        }
    }

    fn let_in(&mut self, desk: &mut Desk) -> Result<()> {
        let (form, number, room) = (self.form, self.number, self.rooms[0]);
        let Some(connection) = self.connection() else {
            return Ok(());
        };
        if form.encoding().is_none() {
            connection.stage = Stage::Open;
            return match form {
                Form::Raw => desk.note(number, What::Entered { room }),
                _ => Ok(()),
            };
        }
        connection.stage = Stage::Connecting;
        match connection.beside {
            Some(_) => Ok(()),
            None => connection.send(form, Some(Asked::Connect), Command::Connect(None)),
        }
    }

    fn take_frames(&mut self, desk: &mut Desk) -> Result<Next> {
        loop {
            let Some(connection) = self.connection() else {
                return Ok(Next::Stay);
            };
            match connection.inflow.next()? {
                None => return Ok(Next::Stay),
                Some(Frame::Close(code)) => return Ok(Next::Over(By::Server(code))),
                Some(Frame::Ping(payload)) => connection.send_frame(Opcode::Pong, &payload)?,
                Some(Frame::Message(message)) => {
                    for _ in 0..self.comes(&message, desk)? {
                        if let Some(by) = self.take_message(&message, desk)? {
                            return Ok(Next::Over(by));
                        }
                    }
                }
            }
        }
    }

    /// How often a message comes: once, unless a fault is to be planted, and this is the place for it.
    fn comes(&self, message: &[u8], desk: &mut Desk) -> Result<usize> {
        let State::Here(connection) = &self.state else {
            return Ok(1);
        };
        let (Some(sabotage), Some(encoding), Inflow::Stream(_)) =
            (desk.sabotage, self.form.encoding(), &connection.inflow)
        else {
            return Ok(1);
        };
        let said = encoding.read(message)?;
        let is_place =
            self.is_undisturbed && said.iter().all(|it| matches!(it, Said::Publication(..)));
        Ok(match is_place {
            true => {
                desk.sabotage = None;
                sabotage.times()
            }
            false => 1,
        })
    }

    /// Takes a message; returns who has ended the connection, if it is of no more use.
    fn take_message(&mut self, message: &[u8], desk: &mut Desk) -> Result<Option<By>> {
        if self.form == Form::Events {
            return self.take_events(message, desk);
        }
        let Some(encoding) = self.form.encoding() else {
            let room = self.rooms[0];
            let publication = Publication {
                data: message,
                ..Publication::default()
            };
            self.given(room, &publication, false, desk)?;
            return Ok(None);
        };
        for said in encoding.read(message)? {
            if let Some(by) = self.hear(said, desk)? {
                return Ok(Some(by));
            }
        }
        Ok(None)
    }

    fn hear(&mut self, said: Said<'_>, desk: &mut Desk) -> Result<Option<By>> {
        match said {
            Said::Ping => {
                let form = self.form;
                if let Some(connection) = self.connection() {
                    connection.send(form, None, Command::Pong)?;
                }
            }
            Said::Publication(room, publication) => {
                if let Some(room) = desk.names.number(&room) {
                    self.given(room, &publication, false, desk)?;
                }
            }
            Said::Unsubscribed(room, code) => {
                if let Some(room) = desk.names.number(&room) {
                    desk.note(self.number, What::Lost { room, code })?;
                    if let Some(connection) = self.connection() {
                        connection.joined.remove(&room);
                    }
                    self.subscribe(room, desk)?;
                }
            }
            Said::Reply(id, reply) => {
                let asked = self.connection().and_then(|it| it.asked.remove(&id));
                if let Some(asked) = asked {
                    return self.answered(asked, reply, desk);
                }
            }
            Said::Disconnected(code) => return Ok(Some(By::Server(u16::try_from(code)?))),
            Said::Other => {}
        }
        Ok(None)
    }

    /// Takes an answer; returns who has ended the connection, if it is of no more use.
    fn answered(&mut self, asked: Asked, reply: Reply<'_>, desk: &mut Desk) -> Result<Option<By>> {
        let number = self.number;
        match (asked, reply) {
            (Asked::Connect, Reply::Connected(it)) => {
                let id = (*it.client).into();
                desk.note(number, What::Connected { id })?;
                if let Some(connection) = self.connection() {
                    connection.stage = Stage::Open;
                    let beside = connection.beside.as_mut();
                    beside
                        .into_iter()
                        .for_each(|beside| beside.requests.begin(&it.session, &it.node));
                }
                for room in self.rooms.clone() {
                    self.subscribe(room, desk)?;
                }
            }
            (Asked::Subscribe(room), Reply::Subscribed(subscribed)) => {
                self.subscribed(room, &subscribed, desk)?;
            }
            (Asked::Publish(message), Reply::Published) => {
                desk.note(number, What::Acknowledged { message })?;
            }
            // Whether it has its place is not known.
            (Asked::Publish(_), Reply::Failed(100)) => {}
            (Asked::Publish(message), Reply::Failed(code)) => {
                desk.note(number, What::Refused { message, code })?;
            }
            (Asked::Presence(room), Reply::Present(ids)) => desk.present.push((room, Some(ids))),
            (Asked::Presence(room), Reply::Failed(_)) => desk.present.push((room, None)),
            (Asked::Connect | Asked::Subscribe(_), Reply::Failed(code))
                if TEMPORARY.contains(&code) =>
            {
                return Ok(Some(By::Cut));
            }
            (asked, reply) => bail!("the server answered {asked:?} with {reply:?}"),
        }
        Ok(None)
    }

    fn subscribe(&mut self, room: u32, desk: &mut Desk) -> Result<()> {
        let from = self.positions.get(&room).cloned();
        let asked = What::Asked {
            room,
            from: from.clone(),
        };
        desk.note(self.number, asked)?;
        let name = desk.names.of(room);
        let from = from.as_ref().map(|it| (&*it.epoch, it.offset));
        let form = self.form;
        let Some(connection) = self.connection() else {
            return Ok(());
        };
        let command = Command::Subscribe(&name, from);
        connection.send(form, Some(Asked::Subscribe(room)), command)
    }

    fn subscribed(
        &mut self,
        room: u32,
        subscribed: &Subscribed<'_>,
        desk: &mut Desk,
    ) -> Result<()> {
        ensure!(
            subscribed.recoverable,
            "subscribers of {} cannot recover: its rules must allow it",
            desk.names.of(room)
        );
        let position = Position {
            epoch: (*subscribed.epoch).into(),
            offset: subscribed.offset,
        };
        let recovered = subscribed.recovered;
        desk.note(
            self.number,
            What::Subscribed {
                room,
                position: position.clone(),
                recovered,
            },
        )?;
        // With what was missed comes the position of the request; so it does not lead beyond the messages.
        if !recovered || !self.positions.contains_key(&room) {
            self.positions.insert(room, position);
        }
        for publication in &subscribed.publications {
            self.given(room, publication, true, desk)?;
        }
        self.joins(room);
        desk.note(self.number, What::CaughtUp { room })
    }

    /// Whether it is in its only room.
    pub(super) fn hears(&mut self) -> bool {
        let room = self.rooms[0];
        self.connection()
            .is_some_and(|it| it.joined.contains(&room))
    }

    /// It is in a room from now on.
    pub(super) fn joins(&mut self, room: u32) {
        if let Some(connection) = self.connection() {
            connection.joined.insert(room);
        }
    }

    pub(super) fn given(
        &mut self,
        room: u32,
        publication: &Publication<'_>,
        recovered: bool,
        desk: &mut Desk,
    ) -> Result<()> {
        let offset = (self.form != Form::Raw).then_some(publication.offset);
        if let (Some(offset), Some(position)) = (offset, self.positions.get_mut(&room)) {
            position.offset = offset;
        }
        let epoch = (!publication.epoch.is_empty()).then(|| (*publication.epoch).into());
        let delivered = What::Delivered {
            room,
            message: payload::read(publication.data),
            digest: payload::digest(publication.data),
            offset,
            epoch,
            recovered,
        };
        desk.note(self.number, delivered)
    }
}
