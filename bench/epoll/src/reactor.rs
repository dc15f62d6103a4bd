//! The event loop of one thread: waits for events, handles them, and sends at the end of each turn.

use std::{ops::Range, os::fd::AsRawFd, time::Instant};

use codec::{Error, Event, Inflater, Limits, Request, ResponseHead, encode_message};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::{OwnedFd, RawFd},
    io::{Errno, Result},
    net::{self, RecvFlags, SocketFlags},
};

use crate::{
    item::{Item, Stage},
    room::Rooms,
};

/// Most events of one turn.
const EVENTS_MAX: usize = 1024;
/// Most connections accepted in one turn, so that open connections need not wait long.
const ACCEPTS_MAX: usize = 256;
/// Bytes of one receive: a pipeline of small messages, or four of the largest.
const RECEIVE_BYTES: usize = 256 * 1024;
/// A member that lags further behind its room is closed. The log is shared, so this many bytes are
/// held once for each room, not for each slow member.
const LAG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest message in bytes.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The pause in accepting after descriptors ran out.
const ACCEPT_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// A thread's sockets and rooms.
pub struct Reactor {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// When accepting was paused, if it is.
    paused: Option<Instant>,
    coalesces: bool,
    limits: Limits,
    /// Required by the codec, although no connection uses compression here.
    inflater: Inflater,
    /// The items, by descriptor; the kernel assigns the lowest free number.
    items: Vec<Option<Item>>,
    rooms: Rooms,
    /// Members of rooms that have bytes of their own to send at the end of the turn.
    owed: Vec<RawFd>,
    received: Box<[u8]>,
    /// The reply to the current item alone.
    reply: Vec<u8>,
}

impl Reactor {
    /// A reactor that accepts connections from `listener`.
    pub fn new(listener: OwnedFd, coalesces: bool) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut reactor = Self {
            epoll,
            listener,
            paused: None,
            coalesces,
            inflater: Inflater::default(),
            limits: Limits {
                message_bytes_max: MESSAGE_BYTES_MAX,
                ..Limits::default()
            },
            items: Vec::new(),
            rooms: Rooms::default(),
            owed: Vec::new(),
            received: vec![0; RECEIVE_BYTES].into(),
            reply: Vec::new(),
        };
        reactor.resume()?;
        Ok(reactor)
    }

    /// Runs turns until waiting for events fails, and returns that error.
    pub fn run(mut self) -> Errno {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let timeout = self.paused.map(|_| &ACCEPT_PAUSE);
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return error,
            }
            for event in events.drain(..) {
                self.dispatch({ event.data }.u64() as RawFd);
            }
            self.end_turn();
            if let Some(since) = self.paused
                && since.elapsed().as_nanos() >= ACCEPT_PAUSE.tv_nsec as u128
                && let Err(error) = self.resume()
            {
                return error;
            }
        }
    }

    /// An item is watched for one thing at a time, so its stage determines what the event means;
    /// the call that follows reports errors.
    ///
    /// An event may be stale, if an earlier one of the turn closed the socket and perhaps another
    /// one was opened with its number. Then the call would block, and returns at once.
    fn dispatch(&mut self, fd: RawFd) {
        if fd == self.listener.as_raw_fd() {
            return self.on_acceptable();
        }
        match self.item(fd) {
            Some(item) if item.is_waiting => self.on_writable(fd),
            Some(_) => self.on_readable(fd),
            None => {}
        }
    }

    fn on_acceptable(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for _ in 0..ACCEPTS_MAX {
            match net::accept_with(&self.listener, flags) {
                Ok(socket) => self.admit(socket),
                Err(Errno::WOULDBLOCK) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    return self.pause();
                }
                // The peer gave up before it was accepted (accept(2)).
                Err(_) => {}
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd) {
        let fd = socket.as_raw_fd();
        let data = epoll::EventData::new_u64(fd as u64);
        // The kernel has no memory: the socket is dropped, which closes it.
        if epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN).is_ok() {
            let at = fd as usize;
            if self.items.len() <= at {
                self.items.resize_with(at + 1, || None);
            }
            self.items[at] = Some(Item::new(socket));
        }
    }

    /// Stops watching the listener: it is level-triggered and would be reported in each turn, in
    /// vain.
    fn pause(&mut self) {
        self.paused = Some(Instant::now());
        // The listener is registered, so this cannot fail.
        let _ = epoll::delete(&self.epoll, &self.listener);
    }

    fn resume(&mut self) -> Result<()> {
        self.paused = None;
        let data = epoll::EventData::new_u64(self.listener.as_raw_fd() as u64);
        epoll::add(&self.epoll, &self.listener, data, epoll::EventFlags::IN)
    }

    /// Performs one receive. If more bytes remain, the socket is reported again.
    fn on_readable(&mut self, fd: RawFd) {
        let Some(item) = self.items[fd as usize].as_mut() else {
            return;
        };
        let bytes = match net::recv(&item.socket, &mut *self.received, RecvFlags::empty()) {
            Ok((0, _)) => return self.close(fd),
            Ok((bytes, _)) => bytes,
            Err(Errno::WOULDBLOCK | Errno::INTR) => return,
            Err(_) => return self.close(fd),
        };
        let mut unread = 0..bytes;
        while self.step(fd, &mut unread) {
            if !self.coalesces {
                self.send_reply(fd);
                self.end_turn();
            }
        }
        self.send_reply(fd);
    }

    /// Handles the next event of the peer; returns whether there was one.
    fn step(&mut self, fd: RawFd, unread: &mut Range<usize>) -> bool {
        let Some(item) = self.items[fd as usize].as_mut() else {
            return false;
        };
        let input = &mut self.received[unread.clone()];
        let step = item
            .connection
            .receive(input, &self.limits, &mut self.inflater);
        unread.start += step.consumed;
        match step.event {
            // One call reads a limited number of frames, so more may follow.
            None => return step.consumed > 0 && unread.start < unread.end,
            Some(Event::Message(message)) => match item.stage {
                Stage::Echo => encode_message(message.kind, message.payload, &mut self.reply),
                Stage::Room(seat) => self.rooms.publish(seat.room, message),
                Stage::Handshake | Stage::Ending { .. } | Stage::Lingering => {}
            },
            Some(Event::Ping(_)) => {
                item.connection.transmit(&mut self.reply);
            }
            // There are no bodies: the upgrade refuses a request that announces one.
            Some(Event::Pong(_) | Event::Body(_)) => {}
            Some(Event::Request(request)) => {
                let answer = Answer::to(&request);
                self.open(fd, answer);
            }
            // A peer sends nothing after its close frame (RFC 6455 section 5.5.1).
            Some(Event::Close(_)) => self.end(fd, false),
            Some(Event::Failed(Error::Handshake(error))) => self.open(fd, Answer::Refuse(error)),
            Some(Event::Failed(Error::Frame(_))) => self.end(fd, true),
        }
        true
    }

    fn open(&mut self, fd: RawFd, answer: Answer) {
        let Some(item) = self.items[fd as usize].as_mut() else {
            return;
        };
        item.stage = match answer {
            Answer::Echo(accept) => {
                item.connection.accept(&accept, None, None, &mut self.reply);
                Stage::Echo
            }
            Answer::Join(accept, name) => {
                item.connection.accept(&accept, None, None, &mut self.reply);
                Stage::Room(self.rooms.join(&name, fd))
            }
            Answer::Refuse(error) => {
                // This server has no clock, so its responses have no date.
                item.connection.refuse(error, None, &mut self.reply);
                Stage::Ending { linger: true }
            }
            Answer::NotFound => {
                let not_found = ResponseHead {
                    status: 404,
                    date: None,
                    fields: &[],
                    content_length: Some(0),
                    keep: false,
                };
                let _without_body = item.connection.respond(&not_found, &mut self.reply);
                Stage::Ending { linger: true }
            }
        };
    }

    /// Sends the last bytes and ends the connection. Messages published before are still delivered.
    fn end(&mut self, fd: RawFd, linger: bool) {
        let Some(item) = self.items[fd as usize].as_mut() else {
            return;
        };
        if let Stage::Room(seat) = item.stage {
            item.keep(self.rooms[seat.room].since(seat.cursor));
            self.leave(fd);
        }
        if let Some(item) = self.items[fd as usize].as_mut() {
            item.stage = Stage::Ending { linger };
            item.connection.transmit(&mut self.reply);
        }
    }

    /// Sends the reply. A member of a room gets it at the end of the turn, together with the
    /// messages of the room.
    fn send_reply(&mut self, fd: RawFd) {
        let Some(item) = self.items[fd as usize].as_mut() else {
            return self.reply.clear();
        };
        let ends = matches!(item.stage, Stage::Ending { .. });
        if self.reply.is_empty() && !ends {
            return;
        }
        if item.is_waiting {
            item.keep(&self.reply);
        } else if matches!(item.stage, Stage::Room(_)) {
            item.keep(&self.reply);
            self.owed.push(fd);
        } else {
            let sent = item.send(&self.reply);
            if let Ok(sent) = sent {
                item.keep(&self.reply[sent..]);
            }
            let all = sent.map(|_| !item.holds_own());
            self.settle(fd, all);
        }
        self.reply.clear();
    }

    /// Performs one send for each socket that has bytes to send from this turn.
    fn end_turn(&mut self) {
        while let Some(room) = self.rooms.next_dirty() {
            self.fan_out(room);
        }
        while let Some(fd) = self.owed.pop() {
            if let Some(item) = self.item(fd)
                && !item.is_waiting
                && item.holds_own()
            {
                let all = item.send(&[]).map(|_| !item.holds_own());
                self.settle(fd, all);
            }
        }
    }

    /// Sends each member of a room the bytes that it lacks. It goes from the last member to the
    /// first: when one is closed, the last takes its place, and that one was already served.
    fn fan_out(&mut self, at: usize) {
        let head = self.rooms[at].head();
        let mut oldest = head;
        for index in (0..self.rooms[at].members().len()).rev() {
            let room = &self.rooms[at];
            let fd = room.members()[index];
            let Some(item) = self.items[fd as usize].as_mut() else {
                continue;
            };
            if !item.is_waiting {
                let all = item.deliver(room);
                if all != Ok(true) {
                    self.settle(fd, all);
                }
            }
            if let Some(cursor) = self.cursor(fd) {
                if head - cursor > LAG_BYTES_MAX {
                    self.close(fd);
                } else {
                    oldest = oldest.min(cursor);
                }
            }
        }
        self.rooms.trim(at, oldest);
    }

    fn on_writable(&mut self, fd: RawFd) {
        let Some(item) = self.items[fd as usize].as_mut() else {
            return;
        };
        let all = match item.stage {
            Stage::Room(seat) => {
                let all = item.deliver(&self.rooms[seat.room]);
                // It may have been the last member that needed the log.
                if all == Ok(true) {
                    self.rooms.mark(seat.room);
                }
                all
            }
            _ => item.send(&[]).map(|_| !item.holds_own()),
        };
        self.settle(fd, all);
    }

    /// After a send: waits for the socket to accept the rest, or ends a connection that was to end,
    /// or reads on.
    fn settle(&mut self, fd: RawFd, all: Result<bool>) {
        let Ok(all) = all else {
            return self.close(fd);
        };
        let Some(item) = self.items[fd as usize].as_mut() else {
            return;
        };
        if item.is_waiting == all {
            item.is_waiting = !all;
            let data = epoll::EventData::new_u64(fd as u64);
            let flags = match all {
                true => epoll::EventFlags::IN,
                false => epoll::EventFlags::OUT,
            };
            if epoll::modify(&self.epoll, &item.socket, data, flags).is_err() {
                return self.close(fd);
            }
        }
        match item.stage {
            Stage::Ending { linger: true } if all => item.linger(),
            Stage::Ending { linger: false } if all => self.close(fd),
            _ => {}
        }
    }

    /// Closing the descriptor also removes it from the epoll set.
    fn close(&mut self, fd: RawFd) {
        self.leave(fd);
        self.items[fd as usize] = None;
    }

    /// Removes the item from its room, if it is in one.
    fn leave(&mut self, fd: RawFd) {
        let Some(Stage::Room(seat)) = self.item(fd).map(|item| item.stage) else {
            return;
        };
        let moved = self.rooms.leave(seat).and_then(|moved| self.item(moved));
        if let Some(Item {
            stage: Stage::Room(moved),
            ..
        }) = moved
        {
            moved.index = seat.index;
        }
    }

    fn item(&mut self, fd: RawFd) -> Option<&mut Item> {
        self.items.get_mut(fd as usize)?.as_mut()
    }

    fn cursor(&mut self, fd: RawFd) -> Option<u64> {
        match self.item(fd)?.stage {
            Stage::Room(seat) => Some(seat.cursor),
            _ => None,
        }
    }
}

/// The outcome of a request.
enum Answer {
    Echo(codec::AcceptKey),
    Join(codec::AcceptKey, Box<str>),
    Refuse(codec::HandshakeError),
    NotFound,
}

impl Answer {
    fn to(request: &Request<'_>) -> Self {
        let path = request.path();
        let room = path
            .strip_prefix("/rooms/")
            .filter(|name| !name.is_empty() && !name.contains('/'));
        match (path, room, request.upgrade()) {
            ("/echo", _, Ok(upgrade)) => Self::Echo(upgrade.accept),
            (_, Some(name), Ok(upgrade)) => Self::Join(upgrade.accept, name.into()),
            ("/echo", _, Err(error)) | (_, Some(_), Err(error)) => Self::Refuse(error),
            _ => Self::NotFound,
        }
    }
}
