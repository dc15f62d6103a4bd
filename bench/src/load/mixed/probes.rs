//! The probes: small rooms and echoes at fixed rates, on one thread, with every reply checked.

use super::record::{Arrival, Phase, Probe, Recorder};
use super::stamp::{self, Clocks, Read};
use super::{Mix, SETTLE};
use crate::load::check::{EchoCheck, Fault, RoomLog};
use crate::load::dial::{Target, dial_all};
use crate::load::link::Link;
use crate::load::pace::Schedule;
use crate::load::wire::{Piece, Template, append_pong, first_piece};
use crate::proc::own_thread_cpu;
use anyhow::{Context as _, Result, anyhow, ensure};
use codec::Kind;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const ROOM_BYTES: usize = 128;
const ECHO_BYTES: usize = 20;
/// Few events at once, so that messages that are due need not wait for many reads.
const EVENTS: usize = 64;
const RECEIVE_BYTES: usize = 64 * 1024;
/// How long to wait for replies after the last message was sent.
const DRAIN: Duration = Duration::from_secs(5);
const TIMER: u64 = u64::MAX;

#[derive(Debug)]
struct Echo {
    check: EchoCheck,
    sent: u32,
    times: VecDeque<Instant>,
}

/// Connections of small rooms, room by room, followed by those of echoes.
#[derive(Debug)]
pub struct Probes {
    mix: Mix,
    links: Vec<Link>,
    room_template: Template,
    echo_template: Template,
    rooms: Vec<RoomLog>,
    /// Bytes that each member has received from its room.
    received: Vec<u64>,
    echoes: Vec<Echo>,
    outstanding: u64,
    epoll: OwnedFd,
    timer: OwnedFd,
    buffer: Vec<u8>,
    message: Vec<u8>,
}

impl Probes {
    /// Opens all connections; `first` is the index of the first.
    pub fn connect(target: &Target, first: usize, mix: Mix) -> Result<Self> {
        let members = mix.rooms * mix.members;
        let path = |index: usize| match index - first {
            own if own < members => format!("/rooms/small-{}", own / mix.members),
            _ => "/echo".to_owned(),
        };
        let links = dial_all(target, first..first + mix.probes(), path)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, link) in links.iter().enumerate() {
            stamp::enable(link.socket())?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, link.socket(), data, epoll::EventFlags::IN)?;
        }
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let data = epoll::EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, data, epoll::EventFlags::IN)?;
        let room_template = Template::new(target.framing, Kind::Text, ROOM_BYTES);
        let log = |room| RoomLog::new(&room_template, (room * mix.members) as u32, 1);
        let echo = |index| Echo {
            check: EchoCheck::new(index as u32),
            sent: 0,
            times: VecDeque::new(),
        };
        std::thread::sleep(SETTLE);
        Ok(Self {
            rooms: (0..mix.rooms).map(log).collect(),
            received: vec![0; members],
            echoes: (0..mix.echoes).map(echo).collect(),
            mix,
            links,
            room_template,
            echo_template: Template::new(target.framing, Kind::Text, ECHO_BYTES),
            outstanding: 0,
            epoll,
            timer,
            buffer: vec![0; RECEIVE_BYTES],
            message: Vec::new(),
        })
    }

    /// Sends at the rates of the mix, at first without counting, and waits until all replies have
    /// arrived.
    pub fn measure(&mut self, warm_up: Duration, measured: Duration) -> Result<Phase> {
        let start = Instant::now();
        let until = start + warm_up + measured;
        let used = own_thread_cpu();
        let mut recorder = Recorder::new(start + warm_up);
        let mut rooms = Schedule::new(start, self.mix.room_rate * self.mix.rooms as f64);
        let mut echoes = Schedule::new(start, self.mix.echo_rate * self.mix.echoes as f64);
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            let limit = now.min(until);
            while let Some((number, due)) = rooms.next(limit) {
                self.send_to_room(number as usize, due, &mut recorder)?;
            }
            while let Some((number, due)) = echoes.next(limit) {
                self.send_echo(number as usize, due, &mut recorder)?;
            }
            if now >= until && (self.outstanding == 0 || now > until + DRAIN) {
                break;
            }
            let next = match now < until {
                true => rooms.due().min(echoes.due()).min(until),
                false => until + DRAIN,
            };
            self.serve(next, &mut events, &mut recorder)?;
        }
        self.forget();
        let mut phase = recorder.finish();
        phase.missing = self.outstanding;
        phase.processor_share =
            (own_thread_cpu() - used).as_secs_f64() / start.elapsed().as_secs_f64();
        Ok(phase)
    }

    /// Sends no messages for a while, but answers pings.
    pub fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        let mut uncounted = Recorder::new(until);
        self.serve(until, &mut Vec::with_capacity(EVENTS), &mut uncounted)
    }

    /// Reads replies until a message is due, but returns after the first poll that found some.
    fn serve(
        &mut self,
        next: Instant,
        events: &mut Vec<epoll::Event>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        self.wait(next, events)?;
        let clocks = Clocks::now();
        for event in events.drain(..).filter(|it| it.data.u64() != TIMER) {
            let index = event.data.u64() as usize;
            self.receive(index, &clocks, recorder)
                .with_context(|| format!("probe {index}"))?;
        }
        Ok(())
    }

    /// Sleeps until a reply arrives or a message is due.
    fn wait(&self, next: Instant, events: &mut Vec<epoll::Event>) -> Result<()> {
        // A timer that is set to zero never expires.
        let wait = next.saturating_duration_since(Instant::now());
        let setting = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(wait.max(Duration::from_nanos(1)))?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
        match epoll::wait(&self.epoll, spare_capacity(events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        Ok(())
    }

    /// The first member of the room with this number sends a message.
    fn send_to_room(&mut self, number: usize, due: Instant, recorder: &mut Recorder) -> Result<()> {
        let room = number % self.mix.rooms;
        let index = room * self.mix.members;
        let now = Instant::now();
        recorder.sent(due, now);
        let number = self.rooms[room].sender(0).sends(now);
        self.message.clear();
        self.room_template
            .append(index as u32, number, &mut self.message);
        self.outstanding += self.mix.members as u64;
        self.send(index)
    }

    fn send_echo(&mut self, number: usize, due: Instant, recorder: &mut Recorder) -> Result<()> {
        let at = number % self.mix.echoes;
        let echo = &mut self.echoes[at];
        let now = Instant::now();
        recorder.sent(due, now);
        self.message.clear();
        self.echo_template
            .append(at as u32, echo.sent, &mut self.message);
        echo.times.push_back(now);
        echo.sent += 1;
        self.outstanding += 1;
        self.send(self.received.len() + at)
    }

    /// A probe has few bytes in flight, so every socket accepts them at once unless the server does
    /// not read.
    fn send(&mut self, index: usize) -> Result<()> {
        let link = &mut self.links[index];
        let all = link.send(&self.message)?;
        ensure!(all, "the server takes no more from probe {index}");
        Ok(())
    }

    fn receive(&mut self, index: usize, clocks: &Clocks, recorder: &mut Recorder) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = stamp::receive(self.links[index].socket(), &mut buffer)?;
        if let Read::Bytes(bytes, stamp) = read {
            let arrival = Arrival {
                arrived: stamp.map(|stamp| clocks.instant_of(stamp)),
                read: Instant::now(),
            };
            recorder.read(arrival);
            self.take(index, &buffer[..bytes], arrival, recorder)?;
        }
        self.buffer = buffer;
        ensure!(read != Read::End, "{}", Fault::Closed);
        Ok(())
    }

    /// Checks received bytes and answers pings, because a connection may be idle for long between
    /// phases.
    fn take(
        &mut self,
        index: usize,
        mut bytes: &[u8],
        arrival: Arrival,
        recorder: &mut Recorder,
    ) -> Result<()> {
        while !bytes.is_empty() {
            let (left, frame_bytes) = self.left(index);
            let (piece, rest) = first_piece(bytes, left, frame_bytes);
            bytes = rest;
            match piece {
                Piece::Ping(payload) => {
                    self.message.clear();
                    append_pong(payload, &mut self.message);
                    self.send(index)?;
                }
                Piece::Message(piece) if index < self.received.len() => {
                    self.take_of_room(index, piece, arrival, recorder)?;
                }
                Piece::Message(piece) => self.take_of_echo(index, piece, arrival, recorder)?,
            }
        }
        Ok(())
    }

    /// The number of bytes missing of the current message, and its whole length.
    fn left(&self, index: usize) -> (usize, usize) {
        match self.received.get(index) {
            Some(&received) => (
                self.rooms[index / self.mix.members].left(received),
                self.room_template.frame_bytes(),
            ),
            None => (
                self.echoes[index - self.received.len()]
                    .check
                    .left(&self.echo_template),
                self.echo_template.frame_bytes(),
            ),
        }
    }

    fn take_of_room(
        &mut self,
        index: usize,
        bytes: &[u8],
        arrival: Arrival,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let log = &mut self.rooms[index / self.mix.members];
        let before = self.received[index];
        let mut arrived = 0;
        self.received[index] = log
            .receive(&self.room_template, before, bytes, |sent, count| {
                recorder.arrived(Probe::Room, sent, arrival, count);
                arrived += count;
            })
            .map_err(|fault| anyhow!("{fault}"))?;
        self.outstanding -= arrived;
        Ok(())
    }

    fn take_of_echo(
        &mut self,
        index: usize,
        bytes: &[u8],
        arrival: Arrival,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let echo = &mut self.echoes[index - self.received.len()];
        let count = echo
            .check
            .receive(&mut self.echo_template, echo.sent, bytes)
            .map_err(|fault| anyhow!("{fault}"))?;
        for sent in echo.times.drain(..count as usize) {
            recorder.arrived(Probe::Echo, sent, arrival, 1);
        }
        self.outstanding -= u64::from(count);
        Ok(())
    }

    /// Drops the bytes that every member of a room has received.
    fn forget(&mut self) {
        let members = self.received.chunks(self.mix.members);
        for (log, received) in self.rooms.iter_mut().zip(members) {
            log.forget(received.iter().copied().min().unwrap_or(0));
        }
    }
}
