//! What whoever asks after a server's health waits while its API is flooded.
//!
//! ```text
//!   alone:  pages, each over a new connection, by a schedule
//!   flood:  the same, beside connections to the API with requests in flight all the time
//! ```

use super::answers::Answers;
use super::calls::{Calling, Calls, http_link, open};
use crate::load::check::Fault;
use crate::load::meter::{Measured, Meter, Window, histogram};
use crate::load::pace::{Pace, Schedule};
use crate::load::reactor::{Driver, Io, drive};
use crate::results::Figure;
use crate::workload::Subject;
use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// Requests of each page in a second.
const PER_SECOND: f64 = 50.0;
/// How often the load looks whether a page is due.
const INTERVAL: Duration = Duration::from_micros(200);

/// A page of the internal listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// Whether the server is alive.
    Health,
    /// Whether it wants new clients.
    Ready,
    /// Its metrics.
    Metrics,
}

impl Page {
    /// Figures of it: p50, p99 and the most, beside the flood and alone.
    fn figures(self) -> [[Figure; 3]; 2] {
        match self {
            Self::Health => [
                [
                    Figure::HealthP50Us,
                    Figure::HealthP99Us,
                    Figure::HealthMaxUs,
                ],
                [
                    Figure::HealthAloneP50Us,
                    Figure::HealthAloneP99Us,
                    Figure::HealthAloneMaxUs,
                ],
            ],
            Self::Ready => [
                [Figure::ReadyP50Us, Figure::ReadyP99Us, Figure::ReadyMaxUs],
                [
                    Figure::ReadyAloneP50Us,
                    Figure::ReadyAloneP99Us,
                    Figure::ReadyAloneMaxUs,
                ],
            ],
            Self::Metrics => [
                [
                    Figure::MetricsP50Us,
                    Figure::MetricsP99Us,
                    Figure::MetricsMaxUs,
                ],
                [
                    Figure::MetricsAloneP50Us,
                    Figure::MetricsAloneP99Us,
                    Figure::MetricsAloneMaxUs,
                ],
            ],
        }
    }
}

/// Asks for the pages alone, then beside the flood. The main figures are those of the flood.
pub fn measure(server: &Subject<'_>, window: Window, calls: Calls) -> Result<Measured> {
    let internal = server.beside.internal;
    let internal =
        internal.context("this needs the server's internal listener: give --internal")?;
    let begin = |flood: Option<Calling>, first: usize| {
        let pages = server.pages.iter().enumerate();
        let pages = pages.map(|(at, &(page, path))| Asker::new(page, path, internal, first + at));
        Flooded {
            flood,
            first,
            askers: pages.collect(),
        }
    };
    let process = server.process.clone();
    let mut quiet = begin(None, 0);
    let mut io = Io::new(Vec::new(), Meter::new(window, process.clone()), |_| true)?;
    quiet.dial(&mut io)?;
    drive(io, &mut quiet)?;
    let (links, flood) = open(server, calls)?;
    let first = links.len();
    let mut flooded = begin(Some(flood), first);
    let mut io = Io::new(links, Meter::new(window, process), |_| true)?;
    flooded.dial(&mut io)?;
    let mut measured = drive(io, &mut flooded)?;
    let flood = flooded.flood.as_ref();
    measured.more = flood.map_or(Vec::new(), Calling::figures);
    for (phase, askers) in [&flooded.askers, &quiet.askers].into_iter().enumerate() {
        for asker in askers {
            let us = |quantile| asker.latency.value_at_quantile(quantile) as f64 / 1e3;
            let figures = asker.page.figures()[phase];
            measured
                .more
                .extend(figures.into_iter().zip([0.5, 0.99, 1.0].map(us)));
        }
    }
    Ok(measured)
}

/// One who asks for a page again and again.
#[derive(Debug)]
struct Asker {
    page: Page,
    path: &'static str,
    address: SocketAddrV4,
    /// The number of its connection in the poll.
    index: usize,
    schedule: Option<Schedule>,
    /// When the request that is not answered was due.
    asked: Option<Instant>,
    answers: Answers,
    latency: Histogram<u64>,
    /// Connections so far, which come from different addresses.
    count: usize,
}

impl Asker {
    fn new(page: Page, path: &'static str, address: SocketAddrV4, index: usize) -> Self {
        Self {
            page,
            path,
            address,
            index,
            schedule: None,
            asked: None,
            answers: Answers::default(),
            latency: histogram(),
            count: 0,
        }
    }

    /// Asks if that is due and the request before is answered; what had to wait for that counts from when it was due.
    fn ask(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        if self.asked.is_some() {
            return Ok(());
        }
        let schedule = self
            .schedule
            .get_or_insert_with(|| Schedule::new(now, PER_SECOND));
        let Some((_, due)) = schedule.next(now) else {
            return Ok(());
        };
        self.count += 1;
        let link = http_link(self.address, self.index + self.count)?;
        io.replace(self.index, link)?;
        let (path, host) = (self.path, self.address);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        io.send(self.index, request.as_bytes())?;
        self.answers = Answers::default();
        self.asked = Some(due);
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<()> {
        self.answers.push(bytes);
        let Some(answer) = self.answers.next()? else {
            return Ok(());
        };
        let body = answer.accepted()?;
        ensure!(!body.is_empty(), "the page has nothing in it");
        let asked = self.asked.take().context("an answer to no request")?;
        self.latency
            .saturating_record(asked.elapsed().as_nanos() as u64);
        Ok(())
    }
}

/// Pages, and the flood beside them.
struct Flooded {
    flood: Option<Calling>,
    /// The number of the first page's connection.
    first: usize,
    askers: Vec<Asker>,
}

impl Flooded {
    /// Opens a connection for each page, which the first request replaces.
    fn dial(&self, io: &mut Io) -> Result<()> {
        self.askers
            .iter()
            .try_for_each(|asker| io.add(http_link(asker.address, asker.index)?))
    }
}

impl Driver for Flooded {
    fn start(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        let flood = self.flood.as_mut();
        flood.map_or(Ok(()), |flood| flood.start(io, now))
    }

    fn tick(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        let askers = self.askers.iter_mut();
        let mut askers = askers.map(|asker| asker.ask(io, now).context(asker.path));
        askers.try_for_each(|asked| asked)
    }

    fn receive(&mut self, io: &mut Io, index: usize, bytes: &[u8], stopping: bool) -> Result<()> {
        if let Some(at) = index.checked_sub(self.first) {
            let asker = &mut self.askers[at];
            return asker.receive(bytes).context(asker.path);
        }
        let flood = self.flood.as_mut().context("nobody floods")?;
        flood.receive(io, index, bytes, stopping)
    }

    /// A page may be the last of its connection.
    fn ended(&mut self, io: &mut Io, index: usize) -> Result<()> {
        let at = index.checked_sub(self.first);
        let asker = at.map(|at| &self.askers[at]);
        let is_answered = asker.is_some_and(|it| it.asked.is_none());
        ensure!(is_answered, "{}", Fault::Closed);
        io.forget(index)
    }

    fn outstanding(&self) -> u64 {
        let asked = self.askers.iter().filter(|it| it.asked.is_some()).count();
        let flood = self.flood.as_ref();
        asked as u64 + flood.map_or(0, Driver::outstanding)
    }

    fn pace(&self) -> Pace {
        let flood = self.flood.as_ref();
        flood.map_or(Pace::Closed { at_once: 1 }, Driver::pace)
    }

    fn ticks(&self) -> Option<Duration> {
        Some(INTERVAL)
    }

    fn operations_per_message(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn asker(asked: Option<Instant>) -> Asker {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        Asker {
            asked,
            ..Asker::new(Page::Health, "/healthz", address, 0)
        }
    }

    #[test]
    fn page_counts_from_when_it_was_due_once_all_of_it_has_come() {
        let due = Instant::now() - Duration::from_secs(1);
        let mut asker = asker(Some(due));
        asker
            .receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
            .unwrap();
        assert!(asker.latency.is_empty() && asker.asked.is_some());
        asker.receive(b"k").unwrap();
        assert!(asker.latency.min() >= 999_000_000 && asker.asked.is_none());
    }

    #[test]
    fn page_that_says_something_else_is_a_fault() {
        let check = |asked, answer: &[u8]| assert!(asker(asked).receive(answer).is_err());
        let (due, ok) = (
            Some(Instant::now()),
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        );
        check(None, ok);
        check(due, b"HTTP/1.1 503 Late\r\nContent-Length: 1\r\n\r\nx");
        check(due, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert!(asker(due).receive(ok).is_ok());
    }
}
