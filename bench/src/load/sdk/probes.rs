//! Messages at a steady rate in a few rooms, and how long each delivery takes: what others feel of whatever a load does to
//! a server meanwhile. Who does it shares the loop, and is told of its own sockets.

use super::inbox::Inbox;
use super::layout::Layout;
use super::opening::{connect, subscribe};
use super::publications::{Publications, Taken};
use crate::centrifuge::Encoding;
use crate::load::dial::Target;
use crate::load::link::{Buffers, Link, Received};
use crate::load::meter::histogram;
use crate::load::pace::Schedule;
use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::time::{Duration, Instant};

const ENCODING: Encoding = Encoding::Json;
const PAYLOAD_BYTES: usize = 128;
const EVENTS: usize = 64;
/// Numbers of what is watched for others begin here; those below are probes.
const OTHERS: usize = 1 << 32;
/// How long deliveries may take when nothing more is published.
const PATIENCE: Duration = Duration::from_secs(15);

/// Members of rooms, the first of each of which publishes.
pub struct Probes {
    epoll: OwnedFd,
    layout: Layout,
    links: Vec<Link>,
    inbox: Inbox,
    publications: Publications,
    schedule: Schedule,
    buffers: Buffers,
    /// Latency of what was due since the phase began.
    latency: Histogram<u64>,
    since: Instant,
}

impl Probes {
    /// Opens all rooms, in which so much is said together in a second.
    pub fn open(target: &Target, layout: Layout, rate: f64) -> Result<Self> {
        let connections = layout.connections();
        let mut inbox = Inbox::new(ENCODING, connections);
        let mut links = connect(target, ENCODING, 0..connections, &mut inbox)?;
        let positions = subscribe(&mut links, ENCODING, layout, &mut inbox)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, link) in links.iter().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, link.socket(), data, epoll::EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            layout,
            links,
            inbox,
            publications: Publications::new(ENCODING, layout, &positions, PAYLOAD_BYTES),
            schedule: Schedule::new(Instant::now(), rate),
            buffers: Buffers::new(),
            latency: histogram(),
            since: Instant::now(),
        })
    }

    /// From now on [`Self::look`] tells with this number that there is something on a socket.
    pub fn watch(&self, socket: impl AsFd, number: usize) -> Result<()> {
        let data = epoll::EventData::new_u64((OTHERS + number) as u64);
        epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)?;
        Ok(())
    }

    /// From now on it does not any more.
    pub fn forget(&self, socket: impl AsFd) -> Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Counts from now on.
    pub fn begin(&mut self) {
        self.skip();
        self.latency = histogram();
        self.since = Instant::now();
    }

    /// The schedule goes on from now; what was not sent before is not due any more.
    fn skip(&mut self) {
        while self.schedule.next(Instant::now()).is_some() {}
    }

    /// Counts what was due until now, as soon as all of it has come.
    pub fn end(&mut self) -> Result<Histogram<u64>> {
        let until = Instant::now();
        while self.publications.outstanding() > 0 {
            ensure!(until.elapsed() < PATIENCE, "replies to probes are missing");
            self.look(until)?;
        }
        // What comes from now on is not counted.
        self.since = Instant::now() + Duration::from_secs(3600);
        self.skip();
        Ok(std::mem::replace(&mut self.latency, histogram()))
    }

    /// Goes on alone until then.
    pub fn run_until(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.look(until)?;
        }
        Ok(())
    }

    /// Sends the probes that are due by now and by `until`, and takes what has arrived; returns the numbers of others
    /// for whom there is something.
    pub fn look(&mut self, until: Instant) -> Result<Vec<usize>> {
        let limit = Instant::now().min(until);
        while let Some((number, due)) = self.schedule.next(limit) {
            let room = number as usize % self.layout.rooms();
            let mut bytes = Vec::new();
            self.publications.publish(room, due, &mut bytes);
            let publisher = self.layout.publisher(room);
            ensure!(self.links[publisher].send(&bytes)?, "a probe was not taken");
        }
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut events),
            Some(&Timespec::default()),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut others = Vec::new();
        for event in events {
            match event.data.u64() as usize {
                other @ OTHERS.. => others.push(other - OTHERS),
                probe => self
                    .receive(probe)
                    .with_context(|| format!("probe {probe}"))?,
            }
        }
        Ok(others)
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let bytes = match self.links[index].receive(&mut self.buffers)? {
            Received::Nothing => return Ok(()),
            Received::End => bail!("the server ended the connection"),
            Received::Bytes(bytes) => bytes,
        };
        let (publications, latency, begin) =
            (&mut self.publications, &mut self.latency, self.since);
        let now = Instant::now();
        self.inbox.take(index, bytes, |message| {
            if let Taken::Delivered { since, .. } = publications.take(index, message)?
                && since >= begin
            {
                latency.saturating_record((now - since).as_nanos() as u64);
            }
            Ok(())
        })?;
        self.links[index].send(&self.inbox.owed)?;
        Ok(())
    }
}
