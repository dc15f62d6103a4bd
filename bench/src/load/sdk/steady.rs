//! Publications at a steady rate, whatever is delivered of them, in a room whose subscribers may be too slow for all.
//!
//! ```text
//!   publishers ──▶ schedule ──▶ room ──▶ subscribers ──▶ audience (checks, counts what was passed over)
//!       └── replies                        └── some of whom read little, and seldom
//! ```

use super::inbox::{Closed, Inbox, append};
use super::opening::{ask_all, connect};
use crate::centrifuge::{Command, Encoding, Reply, Said};
use crate::load::dial::Target;
use crate::load::link::{Buffers, Link, Received};
use crate::load::meter::{Measured, Meter, Window};
use crate::load::pace::Schedule;
use crate::load::wait::wait_at_most;
use crate::proc::Process;
use crate::results::Figure;
use anyhow::{Context as _, Result, ensure};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::net::sockopt;
use std::time::{Duration, Instant};

/// The encoding of all connections.
pub const ENCODING: Encoding = Encoding::Json;
const EVENTS: usize = 1024;
const SUBSCRIBE: u32 = 2;
/// Publications have numbers from this one on.
const FIRST_ID: u32 = 1_000;
/// How long the load sleeps at most, if it sleeps: messages are due more often than that.
const SLEEP: Duration = Duration::from_millis(1);
/// How long subscribers may take for what is newest when nothing more is published.
const PATIENCE: Duration = Duration::from_secs(20);
const MEMORY_READ_EVERY: Duration = Duration::from_millis(100);
/// Slow subscribers have so small a receive buffer, and read it out so seldom.
const SLOW_BUFFER_BYTES: usize = 8 << 10;
const SLOW_READS_EVERY: Duration = Duration::from_millis(100);
/// Messages that publishers may be owed replies for, as a part of those of a second; what is due beyond is not sent.
const OWED_SECONDS: f64 = 1.0;

/// Who publishes and who listens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Steady {
    /// Connections that publish, in turns.
    pub publishers: usize,
    /// Connections that listen.
    pub subscribers: usize,
    /// How many of these, the last ones, read too little.
    pub slow: usize,
    /// Publications in a second.
    pub rate: f64,
    /// Whether a server may close a subscriber that is too slow, as those must that cannot pass over messages.
    pub may_close: bool,
}

/// What subscribers are told, and must be told.
pub trait Audience {
    /// The command that subscribes.
    fn subscription(&self) -> Command<'_>;
    /// Calls `send` with the command that publishes the next message.
    fn publish(&mut self, number: u32, due: Instant, send: &mut dyn FnMut(Command<'_>));
    /// A publication has its place.
    fn acknowledged(&mut self, meter: &mut Meter, now: Instant);
    /// Takes a message of the room.
    fn take(
        &mut self,
        subscriber: usize,
        message: &[u8],
        meter: &mut Meter,
        now: Instant,
    ) -> Result<()>;
    /// Looks how things stand, in the measured part.
    fn look(&mut self, now: Instant);
    /// Whether a subscriber lacks the newest.
    fn lacks(&self, subscriber: usize) -> bool;
    /// Deliveries so far.
    fn delivered(&self) -> u64;
    /// Figures of its own.
    fn figures(&self) -> Vec<(Figure, f64)>;
}

struct Load<'a, A> {
    steady: Steady,
    audience: &'a mut A,
    epoll: OwnedFd,
    /// Subscribers, then publishers; nothing where the server has closed one.
    links: Vec<Option<Link>>,
    inbox: Inbox,
    buffers: Buffers,
    published: u32,
    acknowledged: u32,
    /// What was due and not sent, because too many replies were missing.
    unsent: u64,
    /// Bytes that subscribers have received.
    bytes: u64,
    closed: usize,
    slow_read: Instant,
}

/// Publishes until the measured part is over, and waits until every subscriber has what is newest.
pub fn measure(
    target: &Target,
    process: &Process,
    window: Window,
    steady: Steady,
    audience: &mut impl Audience,
) -> Result<Measured> {
    let base = process.resident_bytes()?;
    let mut load = Load::open(target, steady, audience)?;
    let before = process.resident_bytes()?;
    let mut meter = Meter::new(window, Some(process.clone()));
    meter.count_by_schedule();
    let most = load.run(&mut meter, process)?;
    let mut measured = meter.finish().context("the run ended before it began")?;
    let delivered = load.audience.delivered();
    let told = f64::from(load.published) * steady.subscribers as f64;
    measured.more = vec![
        (Figure::DroppedShare, 1.0 - delivered as f64 / told.max(1.0)),
        (
            Figure::BytesEach,
            load.bytes as f64 / delivered.max(1) as f64,
        ),
        (
            Figure::PerFrame,
            delivered as f64 / load.inbox.frames.max(1) as f64,
        ),
        (Figure::Closed, load.closed as f64),
        (Figure::RssBaseBytes, base as f64),
        (Figure::RssBeforeBytes, before as f64),
        (Figure::RssMostBytes, most as f64),
    ];
    measured.more.extend(load.audience.figures());
    if load.unsent > 0 {
        measured.note = Some(format!(
            "the server took {} publications, and {} that were due could not be sent",
            load.published, load.unsent
        ));
    }
    Ok(measured)
}

impl<'a, A: Audience> Load<'a, A> {
    fn open(target: &Target, steady: Steady, audience: &'a mut A) -> Result<Self> {
        let all = steady.subscribers + steady.publishers;
        let mut inbox = Inbox::new(ENCODING, all);
        let mut links = connect(target, ENCODING, 0..all, &mut inbox)?;
        let commands = |_, out: &mut Vec<u8>| {
            append(ENCODING, SUBSCRIBE, audience.subscription(), out);
            1
        };
        let subscribers = &mut links[..steady.subscribers];
        ask_all(
            subscribers,
            0,
            ENCODING,
            &mut inbox,
            commands,
            |_, _, reply| {
                let is_there = matches!(&reply, Reply::Subscribed(it) if it.phase == 0);
                ensure!(is_there, "subscribe: {reply:?}");
                Ok(())
            },
        )?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let reading = steady.subscribers - steady.slow;
        for (index, link) in links.iter().enumerate() {
            if (reading..steady.subscribers).contains(&index) {
                sockopt::set_socket_recv_buffer_size(link.socket(), SLOW_BUFFER_BYTES)?;
            } else {
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&epoll, link.socket(), data, epoll::EventFlags::IN)?;
            }
        }
        inbox.frames = 0;
        Ok(Self {
            steady,
            audience,
            epoll,
            links: links.into_iter().map(Some).collect(),
            inbox,
            buffers: Buffers::new(),
            published: 0,
            acknowledged: 0,
            unsent: 0,
            bytes: 0,
            closed: 0,
            slow_read: Instant::now(),
        })
    }

    /// Returns the most memory that was seen.
    fn run(&mut self, meter: &mut Meter, process: &Process) -> Result<u64> {
        let began = Instant::now();
        let mut schedule = Schedule::new(began, self.steady.rate);
        let mut events = Vec::with_capacity(EVENTS);
        let (mut most, mut read, mut over) = (0, began, None);
        loop {
            let now = Instant::now();
            if meter.is_over(now)? {
                let since = *over.get_or_insert(now);
                let lacking = self.lacking();
                if lacking == 0 && self.acknowledged == self.published {
                    return Ok(most);
                }
                ensure!(
                    since.elapsed() < PATIENCE,
                    "{PATIENCE:?} after the end {lacking} subscribers lack what is newest, and {} of {} publications \
                     are answered",
                    self.acknowledged,
                    self.published
                );
            } else {
                self.publish(&mut schedule, now)?;
                if meter.is_measuring() {
                    self.audience.look(now);
                }
            }
            wait_at_most(&self.epoll, &mut events, meter, SLEEP)?;
            for event in &events {
                self.serve(event.data.u64() as usize, meter)?;
            }
            self.read_slow(over.is_some(), meter)?;
            if read.elapsed() >= MEMORY_READ_EVERY {
                read = Instant::now();
                most = process.resident_bytes()?.max(most);
            }
        }
    }

    fn lacking(&self) -> usize {
        let all = self.links[..self.steady.subscribers].iter().enumerate();
        let open = all.filter(|(_, link)| link.is_some());
        open.filter(|(index, _)| self.audience.lacks(*index))
            .count()
    }

    fn publish(&mut self, schedule: &mut Schedule, now: Instant) -> Result<()> {
        let most = (self.steady.rate * OWED_SECONDS) as u32;
        let mut batches: Vec<Vec<u8>> = vec![Vec::new(); self.steady.publishers];
        while let Some((_, due)) = schedule.next(now) {
            if self.published - self.acknowledged >= most {
                self.unsent += 1;
                continue;
            }
            let number = self.published;
            let batch = &mut batches[number as usize % self.steady.publishers];
            let id = FIRST_ID.wrapping_add(number);
            let mut send = |command: Command<'_>| append(ENCODING, id, command, batch);
            self.audience.publish(number, due, &mut send);
            self.published += 1;
        }
        for (publisher, batch) in batches.iter().enumerate() {
            let link = &mut self.links[self.steady.subscribers + publisher];
            let link = link.as_mut().context("a publisher was closed")?;
            match batch.is_empty() {
                true => link.flush()?,
                false => link.send(batch)?,
            };
        }
        Ok(())
    }

    /// Slow subscribers read what a small buffer holds now and then, and everything at the end.
    fn read_slow(&mut self, is_over: bool, meter: &mut Meter) -> Result<()> {
        if is_over || self.slow_read.elapsed() >= SLOW_READS_EVERY {
            self.slow_read = Instant::now();
            let subscribers = self.steady.subscribers;
            for index in subscribers - self.steady.slow..subscribers {
                self.serve(index, meter)?;
            }
        }
        Ok(())
    }

    fn serve(&mut self, index: usize, meter: &mut Meter) -> Result<()> {
        let served = self.receive(index, meter);
        match served {
            Err(error) if error.is::<Closed>() && self.steady.may_close => {
                ensure!(index < self.steady.subscribers, "a publisher: {error}");
                self.links[index] = None;
                self.closed += 1;
                Ok(())
            }
            served => served.with_context(|| format!("connection {index}")),
        }
    }

    fn receive(&mut self, index: usize, meter: &mut Meter) -> Result<()> {
        let Some(link) = &mut self.links[index] else {
            return Ok(());
        };
        let bytes = match link.receive(&mut self.buffers) {
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::Bytes(bytes)) => bytes,
            Ok(Received::End) | Err(_) => return Err(Closed("it ended".to_owned()).into()),
        };
        let now = Instant::now();
        let (audience, acknowledged) = (&mut *self.audience, &mut self.acknowledged);
        if index < self.steady.subscribers {
            self.bytes += bytes.len() as u64;
            let told = self.inbox.take(index, bytes, |message| {
                audience.take(index, message, meter, now)
            });
            told?;
        } else {
            let frames = self.inbox.frames;
            let told = self.inbox.take(index, bytes, |message| {
                let said = ENCODING.read(message)?;
                let is_it = matches!(said[..], [Said::Reply(_, Reply::Published)]);
                ensure!(is_it, "a publisher was told {said:?}");
                *acknowledged += 1;
                audience.acknowledged(meter, now);
                Ok(())
            });
            // Frames are counted for subscribers alone.
            self.inbox.frames = frames;
            told?;
        }
        if !self.inbox.owed.is_empty() {
            link.send(&self.inbox.owed)?;
        }
        Ok(())
    }
}
