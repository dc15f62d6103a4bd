//! The event loop of every load: one epoll, many connections, one receive for each ready socket.

use super::check::Fault;
use super::link::{Buffers, Link, Received};
use super::meter::{Measured, Meter};
use super::pace::{Pace, interval};
use super::wait::wait;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::time::{Duration, Instant};

const EVENTS: usize = 1024;
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// A server counts as silent only after this many polls: on a machine that stalls, the load stalls
/// too.
const SILENT_LOOKS_MIN: u32 = 50;
const TIMER: u64 = u64::MAX;
/// How long to wait for replies when the measured part is over.
const DRAIN: Duration = Duration::from_secs(15);
/// A server that reaches less than this share of a fixed rate did not keep up.
const KEPT_UP: f64 = 0.97;

/// What a load does with its connections.
pub trait Driver {
    /// Sends the first messages.
    fn start(&mut self, io: &mut Io, now: Instant) -> Result<()>;
    /// Sends the messages that are due, for fixed rates and for whoever wants ticks.
    fn tick(&mut self, io: &mut Io, now: Instant) -> Result<()>;
    /// Checks bytes that a connection received; sends more messages unless `stopping`.
    fn receive(&mut self, io: &mut Io, index: usize, bytes: &[u8], stopping: bool) -> Result<()>;
    /// Judges that the server has ended a connection.
    fn ended(&mut self, _: &mut Io, _: usize) -> Result<()> {
        bail!("{}", Fault::Closed)
    }
    /// The number of operations that are in progress.
    fn outstanding(&self) -> u64;
    /// How messages are sent.
    fn pace(&self) -> Pace;
    /// How often something may be due, if it does not follow from what comes.
    fn ticks(&self) -> Option<Duration> {
        match self.pace() {
            Pace::Fixed { per_second } => Some(interval(per_second)),
            Pace::Closed { .. } => None,
        }
    }
    /// Operations for each message: one, or a delivery for each reader.
    fn operations_per_message(&self) -> usize;
}

/// The connections, and their measurements.
#[derive(Debug)]
pub struct Io {
    epoll: OwnedFd,
    links: Vec<Link>,
    /// The measurements of this run.
    pub meter: Meter,
}

impl Io {
    /// Connections for these links; links for which `reads` is false are never read.
    pub fn new(links: Vec<Link>, meter: Meter, reads: impl Fn(usize) -> bool) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let io = Self {
            epoll,
            links,
            meter,
        };
        let read = (0..io.links.len()).filter(|index| reads(*index));
        read.into_iter().try_for_each(|index| io.read(index))?;
        Ok(io)
    }

    fn read(&self, index: usize) -> Result<()> {
        let data = epoll::EventData::new_u64(index as u64);
        let socket = self.links[index].socket();
        epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Adds a connection behind all others.
    pub fn add(&mut self, link: Link) -> Result<()> {
        self.links.push(link);
        self.read(self.links.len() - 1)
    }

    /// From now on nothing more comes of a connection.
    pub fn forget(&self, index: usize) -> Result<()> {
        Ok(epoll::delete(&self.epoll, self.links[index].socket())?)
    }

    /// Ends a connection, in whose place there is another one from now on.
    pub fn replace(&mut self, index: usize, link: Link) -> Result<()> {
        self.links[index] = link;
        self.read(index)
    }

    /// Sends as much as the socket accepts, and the rest when it accepts more.
    pub fn send(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let link = &mut self.links[index];
        let waited = link.has_unsent();
        if !link.send(bytes)? && !waited {
            self.watch(index, epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
        }
        Ok(())
    }

    fn send_rest(&mut self, index: usize) -> Result<()> {
        if self.links[index].flush()? {
            self.watch(index, epoll::EventFlags::IN)?;
        }
        Ok(())
    }

    fn watch(&self, index: usize, flags: epoll::EventFlags) -> Result<()> {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, self.links[index].socket(), data, flags)?;
        Ok(())
    }
}

fn timer(interval: Duration) -> Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let interval = Timespec::try_from(interval).context("the interval of the load")?;
    let setting = Itimerspec {
        it_interval: interval,
        it_value: interval,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
    Ok(timer)
}

/// Runs until the measured part is over and all replies have arrived.
pub fn drive(mut io: Io, driver: &mut dyn Driver) -> Result<Measured> {
    let timer = start_timer(&mut io, driver)?;
    let mut buffers = Buffers::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut progress = Progress {
        last: Instant::now(),
        silent_looks: 0,
        over: None,
    };
    driver.start(&mut io, progress.last)?;
    while progress.goes_on(&mut io, driver)? {
        wait(&io.epoll, &mut events, &mut io.meter)?;
        let mut replies = false;
        if let Some(timer) = &timer {
            if !events.is_empty() {
                let _ = rustix::io::read(timer, &mut [0; 8]);
            }
            if progress.over.is_none() {
                driver.tick(&mut io, Instant::now())?;
            }
        }
        for event in events.iter().filter(|event| event.data.u64() != TIMER) {
            let index = event.data.u64() as usize;
            let stopping = progress.over.is_some();
            serve(&mut io, driver, index, event.flags, &mut buffers, stopping)
                .with_context(|| format!("connection {index}"))?;
            replies = true;
        }
        progress.note(replies);
    }
    conclude(io, driver, &buffers)
}

/// Starts a timer that wakes the loop when messages are due, for fixed rates and for whoever wants ticks.
fn start_timer(io: &mut Io, driver: &dyn Driver) -> Result<Option<OwnedFd>> {
    if let Pace::Fixed { .. } = driver.pace() {
        io.meter.count_by_schedule();
    }
    let Some(interval) = driver.ticks() else {
        return Ok(None);
    };
    let timer = timer(interval)?;
    let data = epoll::EventData::new_u64(TIMER);
    epoll::add(&io.epoll, &timer, data, epoll::EventFlags::IN)?;
    Ok(Some(timer))
}

struct Progress {
    /// When the latest reply arrived.
    last: Instant,
    /// The number of polls without a reply since then.
    silent_looks: u32,
    /// When the measured part ended, after which no new messages are sent.
    over: Option<Instant>,
}

impl Progress {
    fn note(&mut self, replies: bool) {
        if replies {
            self.last = Instant::now();
            self.silent_looks = 0;
        } else {
            self.silent_looks = self.silent_looks.saturating_add(1);
        }
    }

    fn goes_on(&mut self, io: &mut Io, driver: &dyn Driver) -> Result<bool> {
        let now = Instant::now();
        if self.over.is_none() && io.meter.is_over(now)? {
            self.over = Some(now);
        }
        if let Some(since) = self.over
            && (driver.outstanding() == 0 || now > since + DRAIN)
        {
            return Ok(false);
        }
        if now > self.last + SILENCE_MAX && self.silent_looks >= SILENT_LOOKS_MIN {
            let missing = driver.outstanding();
            bail!(
                "no reply for {} s, {missing} are missing",
                SILENCE_MAX.as_secs()
            );
        }
        Ok(true)
    }
}

fn serve(
    io: &mut Io,
    driver: &mut dyn Driver,
    index: usize,
    flags: epoll::EventFlags,
    buffers: &mut Buffers,
    stopping: bool,
) -> Result<()> {
    if flags.contains(epoll::EventFlags::OUT) {
        io.send_rest(index)?;
    }
    if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
        match io.links[index].receive(buffers)? {
            Received::Nothing => {}
            Received::Bytes(bytes) => driver.receive(io, index, bytes, stopping)?,
            Received::End => driver.ended(io, index)?,
        }
    }
    Ok(())
}

/// At a fixed rate a server may fall behind, which is a result; otherwise a missing reply is a
/// fault.
fn conclude(io: Io, driver: &dyn Driver, buffers: &Buffers) -> Result<Measured> {
    let missing = driver.outstanding();
    let mut measured = io.meter.finish().context("the run ended before it began")?;
    measured.note = buffers.known.note()?;
    let Pace::Fixed { per_second } = driver.pace() else {
        ensure!(missing == 0, "{missing} replies are missing");
        return Ok(measured);
    };
    let offered = per_second * driver.operations_per_message() as f64 * measured.seconds;
    let kept = measured.operations as f64 / offered;
    if missing > 0 {
        measured.note = Some(format!(
            "did not keep up: {missing} were still to come {} s after the end",
            DRAIN.as_secs()
        ));
    } else if kept < KEPT_UP {
        measured.note = Some(format!(
            "did not keep up: {:.0} % of the rate",
            kept * 100.0
        ));
    }
    Ok(measured)
}
