//! Clients about whom a back end is asked: what they wait longer than others, what becomes of them while the back end
//! is stopped, and what everybody else feels of that.
//!
//! ```text
//!   plain:   one after the other, at a server like it that asks nobody
//!   hooked:  one after the other
//!   alone:   ordinary rooms at a steady rate, nobody comes
//!   silent:  the same, and clients come at a rate; the back end takes their questions and says nothing
//!   gone:    the same, and the back end takes no connections
//!   back:    it answers again, and somebody is let in
//! ```

use super::Event;
use super::back_end::BackEnd;
use crate::centrifuge::Encoding;
use crate::load::dial::Target;
use crate::load::link::Buffers;
use crate::load::meter::{Measured, Meter, Window, histogram};
use crate::load::pace::Schedule;
use crate::load::sdk::client::{Client, Progress, Wish};
use crate::load::sdk::layout::Layout;
use crate::load::sdk::probes::Probes;
use crate::load::wait::wait;
use crate::proc::Process;
use crate::results::Figure;
use crate::workload::Subject;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use rustix::event::epoll;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For how long servers are told to wait for the back end.
pub const TIMEOUT: Duration = Duration::from_secs(1);

const ENCODING: Encoding = Encoding::Json;
const EVENTS: usize = 64;
/// How long the load waits for an answer, which is far longer than a server may wait for the back end.
const PATIENCE: Duration = Duration::from_secs(15);
/// The number of the back end among what the load is told of; clients have smaller ones.
const BACK_END: usize = 1 << 30;
/// The number of the one client who comes, in its own poll.
const CLIENT: usize = 0;
/// The pause between attempts when the back end is back.
const AGAIN: Duration = Duration::from_millis(50);
/// How often the ordinary rooms are opened at most: on a machine that stalls, the back end may be late.
const OPENINGS: u32 = 5;

/// What is asked, and who is there besides.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hook {
    /// What is asked.
    pub event: Event,
    /// Clients a second who come while the back end is stopped.
    pub coming: f64,
    /// Ordinary rooms, of which nobody is asked.
    pub rooms: usize,
    /// Subscribers of each.
    pub members: usize,
    /// Messages a second in all of them together.
    pub rate: f64,
}

impl Hook {
    fn layout(&self) -> Layout {
        Layout::Rooms {
            rooms: self.rooms,
            members: self.members,
        }
    }

    /// Connections that are open at the same time: while the back end is silent, those who wait, too.
    #[must_use]
    pub fn connections(&self) -> usize {
        let waiting = self.coming * TIMEOUT.as_secs_f64();
        self.layout().connections() + waiting.ceil() as usize
    }

    /// Reduces connections and messages for a smoke run.
    pub fn shrink(&mut self) {
        self.rooms = self.rooms.min(2);
        self.members = self.members.min(5);
        self.coming = self.coming.min(50.0);
    }

    /// The room that clients come to, of a server that asks and of one that does not.
    fn rooms_to_come_to(&self) -> [&'static str; 2] {
        match self.event {
            Event::Connect => ["bench:comers"; 2],
            Event::Subscribe => ["hooked:comers", "bench:comers"],
        }
    }
}

/// What becomes of clients while the back end is stopped, and what ordinary rooms feel.
struct Stopped {
    refused: Histogram<u64>,
    ordinary: Histogram<u64>,
}

/// Measures all phases. An operation is a client who is subscribed; latency is from its connect command to the answer to
/// its subscription.
pub fn measure(server: &Subject<'_>, window: Window, hook: Hook) -> Result<Measured> {
    let (event, address) = server
        .beside
        .hook
        .context("this needs a server that was told whom to ask: `compare` starts one")?;
    ensure!(event == hook.event, "the server asks something else");
    let (plain_target, plain_process) = server
        .plain
        .context("this needs a server that asks nobody: `compare` starts one")?;
    let process = server.process.clone();
    let process = process.context("this needs the server's process")?;
    let [room, plain_room] = hook.rooms_to_come_to();
    let plain = one_by_one(plain_target, plain_process, window, plain_room, None)?;
    let mut back_end = BackEnd::open(event, address)?;
    let mut measured = one_by_one(server.target, &process, window, room, Some(&mut back_end))?;
    let late = measured.note.take();
    let mut ordinary = open_ordinary(server.target, &mut back_end, hook)?;
    ordinary.run_until(Instant::now() + window.warm_up)?;
    ordinary.begin();
    ordinary.run_until(Instant::now() + window.measured)?;
    let alone = ordinary.end()?;
    let stop = |ordinary: &mut Probes, back_end: &mut BackEnd| {
        come_in_vain(server.target, ordinary, back_end, window, hook)
    };
    back_end.fall_silent();
    let silent = stop(&mut ordinary, &mut back_end).context("while the back end is silent")?;
    back_end.go_away();
    let gone = stop(&mut ordinary, &mut back_end).context("while the back end is gone")?;
    let back_after = come_back(server.target, &mut back_end, room)?;
    measured.more = figures(&plain, &measured, &alone, &silent, &gone);
    let back_after = format!(
        "the back end was back for {:.0} ms when somebody was let in",
        back_after.as_secs_f64() * 1e3
    );
    let notes: Vec<String> = late.into_iter().chain([back_after]).collect();
    measured.note = Some(notes.join("; "));
    Ok(measured)
}

fn us(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}

fn figures(
    plain: &Measured,
    hooked: &Measured,
    alone: &Histogram<u64>,
    silent: &Stopped,
    gone: &Stopped,
) -> Vec<(Figure, f64)> {
    let added = |quantile| us(&hooked.latency, quantile) - us(&plain.latency, quantile);
    let plain_ns = plain.server.map_or(0.0, |cpu| cpu.all_ns());
    vec![
        (Figure::WithoutHookP50Us, us(&plain.latency, 0.5)),
        (Figure::WithoutHookP99Us, us(&plain.latency, 0.99)),
        (
            Figure::WithoutHookCpuNs,
            plain_ns / plain.operations.max(1) as f64,
        ),
        (Figure::AddedP50Us, added(0.5)),
        (Figure::AddedP99Us, added(0.99)),
        (Figure::SilentRefusedP50Us, us(&silent.refused, 0.5)),
        (Figure::SilentRefusedMaxUs, us(&silent.refused, 1.0)),
        (Figure::GoneRefusedP50Us, us(&gone.refused, 0.5)),
        (Figure::GoneRefusedMaxUs, us(&gone.refused, 1.0)),
        (Figure::OrdinaryAloneP50Us, us(alone, 0.5)),
        (Figure::OrdinaryAloneP99Us, us(alone, 0.99)),
        (Figure::OrdinarySilentP50Us, us(&silent.ordinary, 0.5)),
        (Figure::OrdinarySilentP99Us, us(&silent.ordinary, 0.99)),
        (Figure::OrdinaryGoneP50Us, us(&gone.ordinary, 0.5)),
        (Figure::OrdinaryGoneP99Us, us(&gone.ordinary, 0.99)),
    ]
}

/// Has clients come one after the other until the measured part is over. Whoever is subscribed resets its connection.
fn one_by_one(
    target: &Target,
    process: &Process,
    window: Window,
    room: &str,
    mut back_end: Option<&mut BackEnd>,
) -> Result<Measured> {
    let mut meter = Meter::new(window, Some(process.clone()));
    let (mut come, mut late) = (0, 0);
    while !meter.is_over(Instant::now())? {
        let asked_before = back_end.as_ref().map_or(0, |it| it.asked);
        let came = come_once(target, room, come, back_end.as_deref_mut(), &mut meter)?;
        come += 1;
        let (since, now) = match came {
            Came::In { since, now } => (since, now),
            // On a machine that stalls, the back end does, too; the server need not wait any longer.
            Came::Refused { after, .. } if after >= TIMEOUT && back_end.is_some() => {
                late += 1;
                continue;
            }
            Came::Refused { why, .. } => bail!("client {come} was refused: {why}"),
        };
        if let Some(back_end) = &back_end {
            let asked = back_end.asked - asked_before;
            ensure!(asked == 1, "{asked} questions about client {come}");
            let is_it = back_end.room.is_empty() || back_end.room == room;
            ensure!(is_it, "a question about {}, not {room}", back_end.room);
        }
        meter.record(since, now, 1);
    }
    let mut measured = meter.finish().context("the run ended before it began")?;
    if late > 0 {
        let text = format!("{late} clients were refused because the bench's back end was too late");
        measured.note = Some(text);
    }
    Ok(measured)
}

/// What became of a client.
enum Came {
    /// It was let in.
    In { since: Instant, now: Instant },
    /// It was not, for this reason, so long after its connect command.
    Refused { why: String, after: Duration },
}

/// One client comes. Its handshake is no part of what it waits.
fn come_once(
    target: &Target,
    room: &str,
    index: usize,
    mut back_end: Option<&mut BackEnd>,
    meter: &mut Meter,
) -> Result<Came> {
    let wish = Wish {
        token: None,
        room: Some((room, None)),
    };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    if let Some(back_end) = &back_end {
        let data = epoll::EventData::new_u64(BACK_END as u64);
        epoll::add(&epoll, back_end.poll(), data, epoll::EventFlags::IN)?;
    }
    let mut client = Client::dial(target, ENCODING, index, false)?;
    client.watch(&epoll, CLIENT)?;
    let mut buffers = Buffers::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut since = Instant::now();
    loop {
        ensure!(since.elapsed() < PATIENCE, "client {index} waits in vain");
        wait(&epoll, &mut events, meter)?;
        for event in &events {
            if event.data.u64() == BACK_END as u64 {
                let back_end = back_end.as_deref_mut();
                back_end.map_or(Ok(()), |it| it.turn(Duration::ZERO))?;
                continue;
            }
            match client.advance(&mut buffers, &wish, |_| Ok(()))? {
                Progress::Waits => {}
                Progress::Ready => {
                    since = Instant::now();
                    client.connect(&wish)?;
                }
                Progress::Done => {
                    let now = Instant::now();
                    return Ok(Came::In { since, now });
                }
                Progress::Refused(why) => {
                    let after = since.elapsed();
                    return Ok(Came::Refused { why, after });
                }
            }
        }
    }
}

/// Opens the ordinary rooms. Their members connect before the load has its loop, so that somebody else has to serve the
/// back end meanwhile.
fn open_ordinary(target: &Target, back_end: &mut BackEnd, hook: Hook) -> Result<Probes> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let serving = scope.spawn(|| back_end.serve_until(&is_over));
        let open = || Probes::open(target, hook.layout(), hook.rate);
        let mut opened = open();
        for _ in 1..OPENINGS {
            opened = opened.or_else(|_| open());
        }
        is_over.store(true, Ordering::Relaxed);
        let served = serving.join();
        served.map_err(|_| anyhow!("the back end panicked"))??;
        opened.context("ordinary rooms")
    })
}

/// A client on its way.
struct Comer {
    client: Client,
    /// When its connect command was sent, if it was.
    since: Option<Instant>,
}

/// Clients who come while the back end is stopped.
struct Comers<'a> {
    target: &'a Target,
    wish: Wish<'a>,
    /// The number of the first connection that is none of the ordinary rooms'.
    first: usize,
    schedule: Schedule,
    on_their_way: HashMap<usize, Comer>,
    refused: Histogram<u64>,
    buffers: Buffers,
}

impl Comers<'_> {
    /// Whoever is due comes.
    fn come(&mut self, now: Instant, ordinary: &Probes) -> Result<()> {
        while let Some((number, _)) = self.schedule.next(now) {
            let number = number as usize;
            let client = Client::dial(self.target, ENCODING, self.first + number, false)?;
            ordinary.watch(client.link.socket(), number)?;
            let since = None;
            self.on_their_way.insert(number, Comer { client, since });
        }
        Ok(())
    }

    /// Reads what the server has told one of them.
    fn advance(&mut self, number: usize) -> Result<()> {
        let Some(comer) = self.on_their_way.get_mut(&number) else {
            return Ok(());
        };
        let progress = comer
            .client
            .advance(&mut self.buffers, &self.wish, |_| Ok(()))?;
        match progress {
            Progress::Waits => {}
            Progress::Ready => {
                comer.since = Some(Instant::now());
                comer.client.connect(&self.wish)?;
            }
            Progress::Done => bail!("client {number} was let in, and nobody was asked"),
            Progress::Refused(why) => {
                let since = comer.since;
                let since = since.with_context(|| format!("before it had asked: {why}"))?;
                self.refused
                    .saturating_record(since.elapsed().as_nanos() as u64);
                self.on_their_way.remove(&number);
            }
        }
        Ok(())
    }

    /// Whether somebody came, and all who came were refused.
    fn are_refused(&self) -> bool {
        self.on_their_way.is_empty() && !self.refused.is_empty()
    }
}

/// Has clients come at a rate while the back end is stopped, beside ordinary rooms. Each must be refused.
fn come_in_vain(
    target: &Target,
    ordinary: &mut Probes,
    back_end: &mut BackEnd,
    window: Window,
    hook: Hook,
) -> Result<Stopped> {
    let [room, _] = hook.rooms_to_come_to();
    let began = Instant::now();
    let until = began + window.measured;
    let mut comers = Comers {
        target,
        wish: Wish {
            token: None,
            room: Some((room, None)),
        },
        first: hook.layout().connections(),
        schedule: Schedule::new(began, hook.coming),
        on_their_way: HashMap::new(),
        refused: histogram(),
        buffers: Buffers::new(),
    };
    ordinary.watch(back_end.poll(), BACK_END)?;
    ordinary.begin();
    let mut measured = None;
    while measured.is_none() || !comers.are_refused() {
        let waiting = comers.on_their_way.len();
        ensure!(
            began.elapsed() < window.measured + PATIENCE,
            "{waiting} clients wait in vain"
        );
        let now = Instant::now();
        if now >= until && measured.is_none() {
            measured = Some(ordinary.end()?);
        }
        // On a machine that stalls, nobody may have come in time.
        if now < until || waiting == 0 && comers.refused.is_empty() {
            comers.come(now, ordinary)?;
        }
        for number in ordinary.look(until)? {
            match number {
                BACK_END => back_end.turn(Duration::ZERO)?,
                number => comers.advance(number)?,
            }
        }
    }
    ordinary.forget(back_end.poll())?;
    Ok(Stopped {
        refused: comers.refused,
        ordinary: measured.context("ordinary rooms were not measured")?,
    })
}

/// The back end listens again; returns how long it took until somebody was let in.
fn come_back(target: &Target, back_end: &mut BackEnd, room: &str) -> Result<Duration> {
    back_end.come_back()?;
    let window = Window {
        warm_up: PATIENCE,
        measured: PATIENCE,
        stays_awake: true,
    };
    let mut meter = Meter::new(window, None);
    let began = Instant::now();
    loop {
        match come_once(target, room, 0, Some(back_end), &mut meter)? {
            Came::In { .. } => return Ok(began.elapsed()),
            Came::Refused { why, .. } => ensure!(
                began.elapsed() < PATIENCE,
                "the back end is back, and clients are still refused: {why}"
            ),
        }
        thread::sleep(AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::CpuTime;

    fn latencies(us: u64) -> Histogram<u64> {
        let mut latencies = histogram();
        latencies.record(us * 1_000).unwrap();
        latencies
    }

    fn measured(us: u64, total_ns: u64) -> Measured {
        Measured {
            operations: 2,
            seconds: 1.0,
            server: Some(CpuTime {
                total_ns,
                ..CpuTime::default()
            }),
            resident_bytes: None,
            load_share: None,
            others_busy: None,
            latency: latencies(us),
            note: None,
            probed: None,
            held: None,
            more: Vec::new(),
        }
    }

    #[test]
    fn added_is_what_a_client_waits_longer_than_where_nobody_is_asked() {
        let stopped = |refused, ordinary| Stopped {
            refused: latencies(refused),
            ordinary: latencies(ordinary),
        };
        let (plain, hooked) = (measured(100, 8_000), measured(250, 12_000));
        let (silent, gone) = (stopped(1_000, 700), stopped(500, 600));
        let figures = figures(&plain, &hooked, &latencies(400), &silent, &gone);
        let check = |figure: Figure, expected: f64| {
            let (_, found) = figures.iter().find(|(it, _)| *it == figure).unwrap();
            // Histograms are exact to three digits.
            assert!((found / expected - 1.0).abs() < 0.01, "{figure:?}: {found}");
        };
        check(Figure::WithoutHookP50Us, 100.0);
        check(Figure::WithoutHookCpuNs, 4_000.0);
        check(Figure::AddedP50Us, 150.0);
        check(Figure::SilentRefusedMaxUs, 1_000.0);
        check(Figure::GoneRefusedP50Us, 500.0);
        check(Figure::OrdinaryAloneP99Us, 400.0);
        check(Figure::OrdinarySilentP99Us, 700.0);
        check(Figure::OrdinaryGoneP99Us, 600.0);
    }
}
