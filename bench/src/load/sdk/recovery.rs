//! Many clients that are cut at once, miss messages, and come back at once.

use super::client::{Client, Progress, Wish};
use super::inbox::Inbox;
use super::layout::{Layout, name};
use super::opening::{Position, ask_all, connect, subscribe};
use super::publications::payload;
use crate::centrifuge::{Command, Encoding, Reply, Subscribed, Transport};
use crate::load::dial::Target;
use crate::load::link::Buffers;
use crate::load::meter::{Measured, Meter, Window};
use crate::load::wait::wait;
use crate::proc::Process;
use crate::results::Figure;
use anyhow::{Context as _, Result, ensure};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant};

const ENCODING: Encoding = Encoding::Json;
const EVENTS: usize = 256;
/// Clients that are dialed before sockets are looked at again.
const DIALS: usize = 16;
/// How long somebody who was refused waits before it comes again, as SDKs do at first.
const BACK_OFF: Duration = Duration::from_millis(500);
/// When the run is given up.
const LIMIT: Duration = Duration::from_secs(60);
const MEMORY_READ_EVERY: Duration = Duration::from_millis(100);
/// Letters of a payload, which make it 128 bytes with its name and its quotes.
const FILLING: usize = 110;

/// A storm of clients that recover.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Storm {
    /// The number of rooms.
    pub rooms: usize,
    /// Subscribers of each.
    pub members: usize,
    /// Messages of each room that all of them miss.
    pub missed: u32,
    /// How they come back: they take turns.
    pub transports: &'static [Transport],
}

impl Storm {
    /// The number of clients.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.rooms * self.members
    }
}

struct Waiting {
    client: Option<Client>,
    refusals: u32,
    has_recovered: bool,
}

struct Recovery<'a> {
    target: &'a Target,
    storm: Storm,
    names: Vec<String>,
    positions: Vec<Position>,
    filling: String,
    epoll: OwnedFd,
    clients: Vec<Waiting>,
    /// Clients that come again, and when.
    again: VecDeque<(Instant, usize)>,
    recovered: usize,
    reason: Option<String>,
}

/// Lets all clients subscribe, cuts them, publishes, and lets them come back. An operation is a client that has
/// exactly what it missed; its latency counts from the moment at which all begin to come.
pub fn measure(
    target: &Target,
    process: &Process,
    window: Window,
    storm: Storm,
) -> Result<Measured> {
    let layout = Layout::Rooms {
        rooms: storm.rooms,
        members: storm.members,
    };
    let clients = storm.clients();
    let base = process.resident_bytes()?;
    let mut inbox = Inbox::new(ENCODING, clients + 1);
    let mut links = connect(target, ENCODING, 0..clients, &mut inbox)?;
    let positions = subscribe(&mut links, ENCODING, layout, &mut inbox)?;
    let before = process.resident_bytes()?;
    drop(links);
    sleep(window.steps().settle);
    let filling = "x".repeat(FILLING);
    publish(target, storm, &filling, clients, &mut inbox)?;
    let mut recovery = Recovery {
        target,
        storm,
        names: (0..storm.rooms).map(name).collect(),
        positions,
        filling,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        clients: Vec::with_capacity(clients),
        again: VecDeque::new(),
        recovered: 0,
        reason: None,
    };
    let window = Window {
        warm_up: Duration::ZERO,
        measured: LIMIT,
        ..window
    };
    let meter = Meter::new(window, Some(process.clone()));
    let (mut measured, most) = recovery.run(meter, process)?;
    let refusals = |times: u32| {
        recovery
            .clients
            .iter()
            .filter(|it| it.refusals >= times)
            .count()
    };
    measured.more = vec![
        (Figure::RecoverySeconds, measured.seconds),
        (Figure::RefusedOnce, refusals(1) as f64),
        (Figure::RefusedTwice, refusals(2) as f64),
        (Figure::RssBaseBytes, base as f64),
        (Figure::RssBeforeBytes, before as f64),
        (Figure::RssMostBytes, most as f64),
    ];
    measured.note = recovery.reason.map(|why| format!("refused: {why}"));
    Ok(measured)
}

/// Publishes what all clients miss, from a connection of its own.
fn publish(
    target: &Target,
    storm: Storm,
    filling: &str,
    index: usize,
    inbox: &mut Inbox,
) -> Result<()> {
    let mut links = connect(target, ENCODING, index..index + 1, inbox)?;
    for room in 0..storm.rooms {
        let commands = |_, out: &mut Vec<u8>| {
            for number in 0..storm.missed {
                let payload = payload(room, number, filling);
                let command = Command::Publish(&name(room), payload.as_bytes());
                super::inbox::append(ENCODING, number + 2, command, out);
            }
            storm.missed as usize
        };
        ask_all(
            &mut links,
            index,
            ENCODING,
            inbox,
            commands,
            |_, _, reply| {
                ensure!(reply == Reply::Published, "publish: {reply:?}");
                Ok(())
            },
        )?;
    }
    Ok(())
}

impl Recovery<'_> {
    /// Runs until all have recovered; returns the figures, and the most memory that was seen.
    fn run(&mut self, mut meter: Meter, process: &Process) -> Result<(Measured, u64)> {
        let began = Instant::now();
        ensure!(!meter.is_over(began)?, "the run ended before it began");
        let mut buffers = Buffers::new();
        let mut events = Vec::with_capacity(EVENTS);
        let (mut most, mut read) = (0, began);
        while self.recovered < self.storm.clients() {
            self.come(Instant::now())?;
            wait(&self.epoll, &mut events, &mut meter)?;
            for event in &events {
                self.advance(event.data.u64() as usize, &mut buffers, began, &mut meter)?;
            }
            if read.elapsed() >= MEMORY_READ_EVERY {
                read = Instant::now();
                most = process.resident_bytes()?.max(most);
            }
            ensure!(
                !meter.is_over(Instant::now())?,
                "{} of {} clients recovered within {LIMIT:?}",
                self.recovered,
                self.storm.clients()
            );
        }
        meter.end()?;
        most = process.resident_bytes()?.max(most);
        let measured = meter.finish().context("the run ended before it began")?;
        Ok((measured, most))
    }

    /// Dials some of those who have not come yet, and of those who come again.
    fn come(&mut self, now: Instant) -> Result<()> {
        for _ in 0..DIALS.min(self.storm.clients() - self.clients.len()) {
            self.clients.push(Waiting {
                client: None,
                refusals: 0,
                has_recovered: false,
            });
            self.dial(self.clients.len() - 1)?;
        }
        while let Some(&(_, index)) = self.again.front().filter(|(due, _)| *due <= now) {
            self.again.pop_front();
            self.dial(index)?;
        }
        Ok(())
    }

    fn dial(&mut self, index: usize) -> Result<()> {
        let (transports, room) = (self.storm.transports, index / self.storm.members);
        let client = match transports[index % transports.len()] {
            Transport::Websocket => Client::dial(self.target, ENCODING, index, true)?,
            stream => Client::dial_stream(
                self.target,
                stream,
                index,
                &wish(&self.names[room], &self.positions[room]),
            )?,
        };
        client.watch(&self.epoll, index)?;
        self.clients[index].client = Some(client);
        Ok(())
    }

    fn advance(
        &mut self,
        index: usize,
        buffers: &mut Buffers,
        began: Instant,
        meter: &mut Meter,
    ) -> Result<()> {
        let room = index / self.storm.members;
        let position = &self.positions[room];
        let wish = wish(&self.names[room], position);
        let waiting = &mut self.clients[index];
        let Some(client) = &mut waiting.client else {
            return Ok(());
        };
        let (missed, filling) = (self.storm.missed, &self.filling);
        let progress = client.advance(buffers, &wish, |subscribed| {
            check(subscribed, room, position.offset, missed, filling)
        });
        match progress.with_context(|| format!("client {index}"))? {
            Progress::Waits | Progress::Ready => {}
            Progress::Done => {
                waiting.has_recovered = true;
                self.recovered += 1;
                meter.record(began, Instant::now(), 1);
            }
            Progress::Refused(why) => {
                ensure!(
                    !waiting.has_recovered,
                    "client {index} had recovered: {why}"
                );
                waiting.client = None;
                waiting.refusals += 1;
                self.reason = Some(why);
                self.again.push_back((Instant::now() + BACK_OFF, index));
            }
        }
        Ok(())
    }
}

/// Recovery of a room from a position.
fn wish<'a>(name: &'a str, position: &'a Position) -> Wish<'a> {
    Wish {
        token: None,
        room: Some((name, Some((&position.epoch, position.offset)))),
    }
}

/// Whether these are exactly the messages that were missed.
fn check(
    subscribed: &Subscribed<'_>,
    room: usize,
    offset: u64,
    missed: u32,
    filling: &str,
) -> Result<()> {
    ensure!(subscribed.recovered, "a client did not recover");
    let given = subscribed.publications.len();
    ensure!(
        given == missed as usize,
        "{given} messages instead of {missed}"
    );
    for (number, publication) in (0..missed).zip(&subscribed.publications) {
        let expected = payload(room, number, filling);
        ensure!(
            publication.data == expected.as_bytes(),
            "message {number} differs"
        );
        let due = offset + u64::from(number) + 1;
        ensure!(
            publication.offset == due,
            "{} instead of {due}",
            publication.offset
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::centrifuge::Publication;

    #[test]
    fn recovery_of_anything_but_what_was_missed_is_found() {
        let payloads: Vec<String> = (0..3).map(|number| payload(4, number, "abc")).collect();
        let publications = |numbers: &[usize]| {
            let publication = |&number: &usize| Publication {
                data: payloads[number].as_bytes(),
                offset: 8 + number as u64,
                ..Publication::default()
            };
            numbers.iter().map(publication).collect::<Vec<_>>()
        };
        let judge = |numbers: &[usize], recovered, room| {
            let subscribed = Subscribed {
                recovered,
                publications: publications(numbers),
                ..Subscribed::default()
            };
            check(&subscribed, room, 7, 3, "abc").is_ok()
        };
        assert!(judge(&[0, 1, 2], true, 4));
        assert!(!judge(&[0, 1, 2], false, 4));
        assert!(!judge(&[0, 1, 2], true, 5));
        for wrong in [&[0, 1][..], &[0, 2, 1], &[0, 1, 1], &[]] {
            assert!(!judge(wrong, true, 4), "{wrong:?}");
        }
    }
}
