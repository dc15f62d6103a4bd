//! All clients: what is due for each, and one epoll for all.

use super::super::chance::Chance;
use super::super::history::{By, History, What};
use super::super::server::OwnServer;
use super::connection::{CONNECT, Client, Connection, Desk, Next, State};
use super::wire::{Inflow, Sabotage};
use super::{Form, Names};
use crate::centrifuge::{Command, Requests, Transport};
use crate::load::dial::{Target, prepare};
use crate::load::link::{Buffers, Link};
use anyhow::{Result, bail};
use indicatif::ProgressBar;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long the loop sleeps at most.
const STEP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 3_000_000,
};
const EVENTS: usize = 1024;
/// Most of what is due that is done in one step, so that sockets are read in between.
const AT_ONCE: usize = 64;
/// So many connections in a row that are not let in end the run.
const NOT_LET_IN_MAX: u32 = 300;
/// The receive buffer of clients that stop reading, so that the server notices soon.
const STALLED_BUFFER_BYTES: usize = 8 << 10;
/// The receive buffer of clients that read again, which would otherwise catch up at the pace of probes.
const READING_BUFFER_BYTES: usize = 128 << 10;
/// What numbers of clients have in the poll, where the connection beside their stream is meant.
const BESIDE: u64 = 1 << 32;

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Where it speaks the protocol over WebSockets.
    pub path: String,
    /// How clients of the protocol are connected: they take turns.
    pub transports: Vec<Transport>,
    /// A fault for one stream.
    pub sabotage: Option<Sabotage>,
    /// Whether some clients are raw.
    pub raw: bool,
    /// The names of rooms.
    pub names: Names,
    /// How many rooms.
    pub rooms: u32,
    /// How many clients, at least one for each room.
    pub clients: u32,
    /// Messages published in a second.
    pub rate: f64,
    /// Decides what happens.
    pub seed: u64,
    /// For how long.
    pub busy: Duration,
    /// How often the server is killed, if the checker has started it.
    pub kills: u32,
}

impl Plan {
    /// What the paths of the protocol begin with, where the server is told to have it elsewhere.
    #[must_use]
    pub fn base(&self) -> &str {
        self.path
            .strip_suffix("/connection/websocket")
            .unwrap_or("")
    }
}

/// The clients.
#[derive(Debug)]
pub struct Swarm<'a> {
    pub(super) plan: &'a Plan,
    pub(super) clients: Vec<Client>,
    pub(super) desk: Desk,
    epoll: OwnedFd,
    buffers: Buffers,
    chance: Chance,
    last_step: Instant,
    /// For how long this thread had waited for a processor by then.
    waited: Duration,
    not_let_in: u32,
    bar: &'a ProgressBar,
}

impl<'a> Swarm<'a> {
    /// Clients that are about to come.
    pub fn new(plan: &'a Plan, history: History, bar: &'a ProgressBar) -> Result<Self> {
        let now = Instant::now();
        let mut chance = Chance::new(plan.seed);
        let clients = (0..plan.clients).map(|number| {
            let (form, rooms) = role(number, plan, &mut chance);
            let transport = transport_of(number, form, &plan.transports);
            let mut client = Client::new(number, (form, transport), rooms, now);
            client.is_undisturbed = number < plan.rooms;
            client
        });
        Ok(Self {
            plan,
            clients: clients.collect(),
            desk: Desk {
                history,
                at_us: 0,
                noted_at: now,
                names: plan.names.clone(),
                present: Vec::new(),
                sabotage: None,
            },
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            buffers: Buffers::new(),
            chance,
            last_step: now,
            waited: waited_for_processor(),
            not_let_in: 0,
            bar,
        })
    }

    /// How many clients speak in each form over each transport, in words.
    #[must_use]
    pub fn crowd(&self) -> String {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for client in &self.clients {
            let how = match client.form {
                Form::Raw => "raw".to_owned(),
                Form::Events => "raw over Sse".to_owned(),
                form => format!("{form:?} over {:?}", client.transport),
            };
            *counts.entry(how).or_default() += 1;
        }
        let each = counts.iter().map(|(how, count)| format!("{count} {how}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Lets everything happen for the time of the plan, and then come to rest; returns the history.
    pub fn run(mut self, mut server: Option<&mut OwnServer>) -> Result<History> {
        let began = Instant::now();
        self.bar.suspend(|| println!("clients: {}", self.crowd()));
        let kills = self.plan.kills;
        let (mut killed, mut sabotage) = (0, self.plan.sabotage);
        while began.elapsed() < self.plan.busy {
            let before = self.last_step;
            self.step()?;
            self.disturb((self.last_step - before).as_secs_f64().min(0.1))?;
            if let Some(server) = &mut server
                && killed < kills
                && began.elapsed() > self.plan.busy * (killed + 1) / (kills + 1)
            {
                killed += 1;
                self.kill(server)?;
            }
            if sabotage.is_some() && began.elapsed() > self.plan.busy / 2 {
                self.desk.sabotage = sabotage.take();
            }
            self.show();
        }
        self.rest()?;
        Ok(self.desk.history)
    }

    fn show(&self) {
        let counts = &self.desk.history.checker.counts;
        self.bar
            .set_position(self.last_step.elapsed().as_millis() as u64 + self.desk.at_us / 1000);
        self.bar.set_message(format!(
            "{} deliveries, {} recoveries, {} cuts",
            counts.deliveries + counts.raw_deliveries + counts.recovered,
            counts.exact,
            counts.cuts
        ));
    }

    /// Waits a moment, takes what has arrived, and does what is due.
    pub(super) fn step(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&STEP)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        let waited = waited_for_processor();
        let taken = waited.saturating_sub(self.waited);
        self.waited = waited;
        let passed = (now - self.last_step).saturating_sub(taken);
        let passed = passed.min(Duration::from_secs(1));
        self.desk.at_us += passed.as_micros() as u64;
        self.last_step = now;
        for event in events {
            let data = event.data.u64();
            self.serve((data % BESIDE) as usize, data >= BESIDE)?;
        }
        self.tend(now)
    }

    fn serve(&mut self, index: usize, is_beside: bool) -> Result<()> {
        let client = &mut self.clients[index];
        let next = match is_beside {
            true => client.receive_beside(&mut self.buffers, self.last_step),
            false => client.receive(&mut self.buffers, &mut self.desk),
        };
        match next? {
            Next::Stay if client.is_settled() => self.not_let_in = 0,
            Next::Stay => {}
            Next::NotLetIn(why) => {
                self.not_let_in += 1;
                if self.not_let_in > NOT_LET_IN_MAX {
                    bail!("the server lets nobody in: {why}");
                }
                self.not_in(index, Duration::from_millis(200))?;
            }
            Next::Over(by) => self.over(index, by)?,
        }
        Ok(())
    }

    /// Ends a client's connection on this side; the server is told by a reset.
    fn over(&mut self, index: usize, by: By) -> Result<()> {
        let number = self.clients[index].number;
        let was_open = self.clients[index]
            .connection()
            .is_some_and(|it| it.has_begun());
        let pause = match self.chance.below(6) {
            0 => self.chance.between(2_000, 9_000),
            _ => self.chance.between(0, 1_500),
        };
        self.away(index, Duration::from_millis(pause));
        if was_open {
            self.desk.note(number, What::Ended { by })?;
        }
        Ok(())
    }

    /// A client was not let in. One that listens to events has been noted all the same.
    fn not_in(&mut self, index: usize, pause: Duration) -> Result<()> {
        self.away(index, pause);
        match self.clients[index].form {
            Form::Events => self
                .desk
                .note(index as u32, What::Ended { by: By::Server(0) }),
            _ => Ok(()),
        }
    }

    fn away(&mut self, index: usize, pause: Duration) {
        self.clients[index].state = State::Away(self.last_step + pause);
    }

    /// Does what is due for clients: those that come back, those that read again, and what is unsent.
    fn tend(&mut self, now: Instant) -> Result<()> {
        let mut dialed = 0;
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            match &mut client.state {
                State::Away(until) if *until <= now && dialed < AT_ONCE => {
                    dialed += 1;
                    self.dial(index)?;
                }
                State::Away(_) => {}
                State::Here(connection) => {
                    if connection.stalled_until.is_some_and(|until| until <= now) {
                        connection.stalled_until = None;
                        let socket = connection.link.socket();
                        sockopt::set_socket_recv_buffer_size(socket, READING_BUFFER_BYTES)?;
                        self.watch(index)?;
                        self.desk.note(index as u32, What::Resumed)?;
                    } else if connection.link.has_unsent() {
                        let _ = connection.link.flush();
                    }
                    self.tend_beside(index, now)?;
                }
            }
        }
        Ok(())
    }

    /// Sends what waits beside a stream, over a connection that is opened when it is needed.
    fn tend_beside(&mut self, index: usize, now: Instant) -> Result<()> {
        let connection = self.clients[index].connection();
        let Some(beside) = connection.and_then(|it| it.beside.as_mut()) else {
            return Ok(());
        };
        beside.tend(now);
        if !beside.wants_link() {
            return Ok(());
        }
        // Who is not there says so on the stream.
        if let Ok(link) = self.plan.target.open(index) {
            prepare(link.socket())?;
            rustix::io::ioctl_fionbio(link.socket(), true)?;
            let data = epoll::EventData::new_u64(BESIDE + index as u64);
            epoll::add(&self.epoll, link.socket(), data, epoll::EventFlags::IN)?;
            beside.link = Some(link);
            beside.send();
        }
        Ok(())
    }

    /// A link on which a client's first request is sent, and what goes beside it.
    fn open(&self, index: usize) -> Result<(Link, Option<Requests>)> {
        let client = &self.clients[index];
        let (target, base) = (&self.plan.target, self.plan.base());
        let host = target.address.to_string();
        if let Some(encoding) = client.form.encoding() {
            let mut first = Vec::new();
            encoding.append(CONNECT, Command::Connect(None), &mut first);
            let request = client.transport.request(encoding, &host, base, &first);
            if let Some(request) = request {
                let requests = Requests::new(encoding, &host, base);
                return Ok((target.open_with(&request, index)?, Some(requests)));
            }
        }
        let path = match client.form {
            Form::Json => self.plan.path.clone(),
            Form::Protobuf => format!("{}?cf_protocol=protobuf", self.plan.path),
            Form::Raw | Form::Events => format!("/rooms/{}", self.desk.names.of(client.rooms[0])),
        };
        if client.form == Form::Events {
            let id = client.last_event_id();
            let id = id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
            let request = format!("GET {path}/sse HTTP/1.1\r\nHost: {host}\r\n{id}\r\n");
            return Ok((target.open_with(request.as_bytes(), index)?, None));
        }
        Ok((target.ask(&path, index)?, None))
    }

    fn dial(&mut self, index: usize) -> Result<()> {
        let client = &self.clients[index];
        if client.form == Form::Events {
            client.asks_for_events(&mut self.desk)?;
        }
        let (link, beside) = match self.open(index) {
            Ok(opened) => opened,
            Err(error) => {
                self.not_let_in += 1;
                if self.not_let_in > NOT_LET_IN_MAX {
                    return Err(error.context("the server is not there"));
                }
                self.not_in(index, Duration::from_millis(100))?;
                return Ok(());
            }
        };
        prepare(link.socket())?;
        rustix::io::ioctl_fionbio(link.socket(), true)?;
        let client = &mut self.clients[index];
        let inflow = Inflow::new(client.form, client.transport);
        client.state = State::Here(Box::new(Connection::new(link, inflow, beside)));
        self.watch(index)
    }

    fn watch(&mut self, index: usize) -> Result<()> {
        if let Some(connection) = self.clients[index].connection() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(
                &self.epoll,
                connection.link.socket(),
                data,
                epoll::EventFlags::IN,
            )?;
        }
        Ok(())
    }

    /// Publishes, cuts and stalls, as much as belongs to this time in seconds.
    fn disturb(&mut self, seconds: f64) -> Result<()> {
        let clients = f64::from(self.plan.clients);
        let due = self.chance.times(self.plan.rate * seconds).min(AT_ONCE);
        for _ in 0..due {
            let index = self.chance.below(self.clients.len());
            let Some(room) = self.chance.pick(&self.clients[index].rooms) else {
                continue;
            };
            let fill = match room % 6 {
                5 => self.chance.between(2_000, 4_000),
                _ => self.chance.between(10, 300),
            };
            self.clients[index].publish(room, fill as usize, &mut self.desk)?;
        }
        for _ in 0..self.chance.times(clients / 20.0 * seconds) {
            self.cut()?;
        }
        for _ in 0..self.chance.times(clients / 60.0 * seconds) {
            self.stall()?;
        }
        Ok(())
    }

    /// One of every `one_of` clients that may be disturbed, if it can be now. The first clients, one for each
    /// room, see everything.
    fn victim(&mut self, one_of: usize) -> Option<usize> {
        let first = (self.plan.rooms as usize).next_multiple_of(one_of);
        let others = self.clients.len().saturating_sub(first).div_ceil(one_of);
        let index = first + self.chance.below(others) * one_of;
        let connection = self.clients.get_mut(index)?.connection()?;
        (connection.is_open() && connection.stalled_until.is_none()).then_some(index)
    }

    fn cut(&mut self) -> Result<()> {
        let Some(index) = self.victim(1) else {
            return Ok(());
        };
        if self.chance.below(4) > 0 {
            return self.over(index, By::Cut);
        }
        match self.clients[index].connection() {
            Some(connection) => connection.leave(),
            None => Ok(()),
        }
    }

    fn stall(&mut self) -> Result<()> {
        let until = self.last_step + Duration::from_millis(self.chance.between(300, 8_000));
        // Three clients of four never stop reading, and must be harmed by nobody who does.
        let Some(index) = self.victim(4) else {
            return Ok(());
        };
        let Some(connection) = self.clients[index].connection() else {
            return Ok(());
        };
        connection.stalled_until = Some(until);
        let socket = connection.link.socket();
        sockopt::set_socket_recv_buffer_size(socket, STALLED_BUFFER_BYTES)?;
        epoll::delete(&self.epoll, socket)?;
        self.desk.note(index as u32, What::Stalled)
    }

    fn kill(&mut self, server: &mut OwnServer) -> Result<()> {
        self.desk.note(0, What::Killed)?;
        server.kill();
        std::thread::sleep(Duration::from_millis(self.chance.between(10, 200)));
        server.start()?;
        self.desk.note(0, What::Restarted)
    }
}

/// For how long this thread was ready to run and others had the processors, as far as the kernel tells.
fn waited_for_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited_ns = stat
        .split_whitespace()
        .nth(1)
        .and_then(|it| it.parse().ok());
    Duration::from_nanos(waited_ns.unwrap_or(0))
}

/// How a client speaks, and which rooms it wants to be in. The first clients, one for each room, speak the
/// protocol, are never disturbed, and so see everything in their rooms.
fn role(number: u32, plan: &Plan, chance: &mut Chance) -> (Form, Vec<u32>) {
    let form = match number % 5 {
        0 | 3 => Form::Json,
        4 if plan.raw && number >= plan.rooms => match (number / 5) % 2 {
            1 if plan.transports.contains(&Transport::Sse) => Form::Events,
            _ => Form::Raw,
        },
        _ => Form::Protobuf,
    };
    if number < plan.rooms {
        return (form, vec![number]);
    }
    let count = match form {
        Form::Raw | Form::Events => 1,
        Form::Json | Form::Protobuf => 1 + chance.below(3),
    };
    let any = |_| chance.below(plan.rooms as usize) as u32;
    let rooms: BTreeSet<u32> = (0..count).map(any).collect();
    (form, rooms.into_iter().collect())
}

/// How a client is connected: those of one form take turns.
pub fn transport_of(number: u32, form: Form, transports: &[Transport]) -> Transport {
    let carries = |it: &&Transport| form.encoding().is_some_and(|encoding| it.carries(encoding));
    let able: Vec<&Transport> = transports.iter().filter(carries).collect();
    let turn = (number / 5) as usize;
    able.get(turn % able.len().max(1))
        .map_or(Transport::Websocket, |it| **it)
}
