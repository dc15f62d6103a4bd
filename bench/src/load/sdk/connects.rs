//! Connects and subscriptions a second: open, upgrade, connect, subscribe, and away.

use super::client::{Client, Progress, Wish};
use super::layout::name;
use crate::centrifuge::Encoding;
use crate::load::dial::Target;
use crate::load::link::Buffers;
use crate::load::meter::{Measured, Meter};
use crate::load::wait::wait;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::time::{Duration, Instant};

const ENCODING: Encoding = Encoding::Json;
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Rooms in which connections take turns.
const ROOMS: usize = 100;

struct Connects<'a> {
    target: &'a Target,
    epoll: OwnedFd,
    next: usize,
}

impl Connects<'_> {
    fn open(&mut self, slot: usize) -> Result<Attempt> {
        let index = self.next;
        self.next += 1;
        let since = Instant::now();
        let client = Client::dial(self.target, ENCODING, index, true)?;
        client.watch(&self.epoll, slot)?;
        Ok(Attempt {
            client,
            room: name(index % ROOMS),
            since,
        })
    }
}

struct Attempt {
    client: Client,
    room: String,
    since: Instant,
}

/// Keeps `slots` clients on their way until the measured part is over. Who is subscribed resets its connection.
pub fn measure(target: &Target, slots: usize, mut meter: Meter) -> Result<Measured> {
    let mut load = Connects {
        target,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        next: 0,
    };
    let attempts = (0..slots).map(|slot| load.open(slot));
    let mut attempts = attempts.collect::<Result<Vec<_>>>()?;
    let mut buffers = Buffers::new();
    let mut events: Vec<epoll::Event> = Vec::with_capacity(slots);
    let mut progress = Instant::now();
    while !meter.is_over(Instant::now())? {
        ensure!(
            progress.elapsed() < SILENCE_MAX,
            "no client was subscribed for 5 s"
        );
        wait(&load.epoll, &mut events, &mut meter)?;
        for event in &events {
            let slot = event.data.u64() as usize;
            let attempt = &mut attempts[slot];
            let wish = Wish {
                token: None,
                room: Some((&attempt.room, None)),
            };
            match attempt.client.advance(&mut buffers, &wish, |_| Ok(()))? {
                Progress::Waits | Progress::Ready => {}
                Progress::Refused(why) => bail!("a client was refused: {why}"),
                Progress::Done => {
                    progress = Instant::now();
                    meter.record(attempt.since, progress, 1);
                    *attempt = load.open(slot)?;
                }
            }
        }
    }
    meter.finish().context("the run ended before it began")
}
