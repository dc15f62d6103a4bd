//! One run: a machine, its peers, what happens to them, and all that is checked.

mod desk;
mod rest;

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use runtime::simulation::{self, CoreCounts, Machine, Seed};

use crate::{
    application::{Commanded, command_of, user_of},
    client::{Client, End, Positions, TICKS},
    desk::Clerk,
    homes::Homes,
    orders::{Orders, Sure},
    rules::{Rules, name_of},
    script::{Budgets, Event, Kind, Lag, Recovery, Script, Told},
    settings::{MESSAGE_BYTES_MAX, Settings},
    tls::Transport,
    world::World,
};

/// Virtual time after which everything must be at rest, once peers behave.
const REST_NS: u64 = 120_000_000_000;

/// Steps after which a run that does not come to rest never will.
const STEPS_MAX: u64 = 3_000_000;

/// Between so many steps all parts are checked against each other.
const AUDIT_STEPS: u64 = 16;

/// What a run has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Steps of all cores.
    pub steps: u64,
    /// Virtual time in nanoseconds.
    pub virtual_ns: u64,
    /// Everything that happened, in one number: the same script has the same.
    pub trace: u64,
    /// What is wrong, if anything is.
    pub failure: Option<String>,
}

/// Runs a script.
pub fn run(script: &Script) -> Outcome {
    let mut run = Run::begin(script);
    let result = catch_unwind(AssertUnwindSafe(|| run.all(script)));
    let failure = match result {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("a core panicked: {}", text.unwrap_or("no text")))
        }
    };
    run.end(failure)
}

struct Run {
    world: Rc<World>,
    settings: Settings,
    machine: Machine,
    clients: Vec<Option<Client>>,
    /// Where peers were that are gone.
    positions: Vec<Positions>,
    orders: Orders,
    homes: Homes,
    clerk: Clerk,
    application: Commanded,
    /// The configuration of now.
    budgets: Budgets,
    next_id: u64,
    steps: u64,
    drained: usize,
    is_draining: bool,
    /// Whether the budgets of memory have ever been less than ample.
    is_scarce: bool,
}

impl Run {
    fn begin(script: &Script) -> Self {
        let settings = Settings::of(script.seed);
        let world = World::new(script.seed, settings.cores, settings.character);
        simulation::enter(world.clone());
        let application = Commanded::default();
        let (machine, tasks) = Machine::new(Seed {
            config: settings.config(Budgets::Ample),
            application: Arc::new(application.clone()),
            listeners: (0..settings.cores as u32).collect(),
        });
        for (core, task) in tasks.into_iter().enumerate() {
            world.start(core, task);
        }
        Self {
            world,
            settings,
            machine,
            clients: (0..crate::script::PEERS).map(|_| None).collect(),
            positions: vec![Positions::new(); usize::from(crate::script::PEERS)],
            orders: Orders::default(),
            homes: Homes::default(),
            clerk: Clerk::default(),
            application,
            budgets: Budgets::Ample,
            next_id: 1,
            steps: 0,
            drained: 0,
            is_draining: false,
            is_scarce: false,
        }
    }

    fn end(self, failure: Option<String>) -> Outcome {
        let at_us = self.world.time_ns() / 1_000;
        let outcome = Outcome {
            steps: self.steps,
            virtual_ns: self.world.time_ns(),
            trace: self.world.trace(),
            failure: failure.map(|what| format!("{what} (step {}, {at_us} µs)", self.steps)),
        };
        self.world.stop();
        drop(self.clients);
        drop(self.machine);
        simulation::leave();
        outcome
    }

    fn all(&mut self, script: &Script) -> Result<(), String> {
        while self.world.step() {}
        self.machine.open();
        for step in &script.steps {
            self.pass(step.after_us * 1_000)?;
            self.happen(&step.event)?;
        }
        self.come_to_rest()?;
        self.check_orders()?;
        let clients = self.clients.iter().flatten();
        self.homes.at_rest(
            &self.machine,
            &self.application.watch,
            clients,
            &mut self.orders,
            &self.clerk.forgotten,
        )?;
        // What is kept has told more of their places.
        self.orders.check()?;
        self.check_lists()?;
        self.leave()
    }

    /// Lets so much time pass, and everything happen that happens in it.
    fn pass(&mut self, ns: u64) -> Result<(), String> {
        let until_ns = self.world.time_ns() + ns;
        while self.world.time_ns() < until_ns {
            let peers_first = self.world.below(3) == 0;
            let has_acted = match peers_first {
                true => self.act_one()? || self.step()?,
                false => self.step()? || self.act_all()?,
            };
            if !has_acted && !self.act_all()? {
                self.check_wakes()?;
                let next_ns = self.world.next_ns().unwrap_or(until_ns).min(until_ns);
                self.world
                    .pass(next_ns.saturating_sub(self.world.time_ns()));
            }
        }
        Ok(())
    }

    /// Nothing is to happen now but timers and what peers do: whatever could be done must have been done.
    fn check_wakes(&self) -> Result<(), String> {
        if let Some(stuck) = self.machine.stuck() {
            return Err(format!("a wake was lost: {stuck}"));
        }
        self.homes.nobody_is_a_ghost(&self.machine)?;
        for (core, it) in self.machine.audit()?.iter().enumerate() {
            for (what, held, max) in [
                ("for slow peers", it.queues_bytes, it.queues_bytes_max),
                ("unfinished", it.unfinished_bytes, it.unfinished_bytes_max),
            ] {
                if held > max {
                    return Err(format!(
                        "core {core} holds {held} bytes {what}, more than {max}"
                    ));
                }
            }
        }
        let unread = self.world.with_peer(|sockets, _| sockets.unread());
        for (core, token) in unread {
            if self.machine.receives(core, token) {
                return Err(format!(
                    "a wake was lost: core {core} does not receive for {token:#x}"
                ));
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<bool, String> {
        if !self.world.step() {
            return Ok(false);
        }
        self.steps += 1;
        if self.steps.is_multiple_of(AUDIT_STEPS) {
            self.audit()?;
        }
        match self.steps > STEPS_MAX {
            true => Err(format!("no rest within {STEPS_MAX} steps")),
            false => Ok(true),
        }
    }

    fn act_one(&mut self) -> Result<bool, String> {
        let peer = self.world.below(self.clients.len() as u64) as usize;
        self.act(peer)
    }

    fn act_all(&mut self) -> Result<bool, String> {
        let mut has_acted = false;
        for peer in 0..self.clients.len() {
            has_acted |= self.act(peer)?;
        }
        Ok(has_acted)
    }

    fn act(&mut self, peer: usize) -> Result<bool, String> {
        let Some(client) = &mut self.clients[peer] else {
            return Ok(false);
        };
        let most = [1, 7, 200, 5_000][self.world.below(4) as usize];
        let acted = client.act(&self.world, most, &mut self.orders);
        acted.map_err(|what| format!("peer {peer}: {what}"))
    }

    /// Checks all parts of all cores against each other, and every bound.
    fn audit(&mut self) -> Result<Vec<CoreCounts>, String> {
        let counts = self.machine.audit()?;
        self.clerk.hear(&mut self.orders)?;
        self.homes.follow(&self.machine, self.world.time_ns())?;
        self.application.watch.check()?;
        let config = self.settings.config(Budgets::Ample);
        // Beyond its bound, a queue has what one receive makes a session say, the answers to joins of 128
        // rooms and to one question, and a message that was whole when the bound was looked at, in two copies at most.
        let queue_max = config.send_queue_bytes_max.max(MESSAGE_BYTES_MAX)
            + config.receive_buffer_bytes
            + 128 * 64
            + config.recovered_bytes_max
            + 2 * MESSAGE_BYTES_MAX;
        for (core, it) in counts.iter().enumerate() {
            if it.panics > 0 {
                return Err(format!("core {core}: a connection's code panicked"));
            }
            if it.queue_bytes > queue_max {
                return Err(format!(
                    "core {core}: {} bytes wait for one connection",
                    it.queue_bytes
                ));
            }
        }
        Ok(counts)
    }

    fn happen(&mut self, event: &Event) -> Result<(), String> {
        match *event {
            Event::Connect {
                peer,
                kind,
                room,
                lag,
                buffer,
                has_own_pings,
            } => {
                let path = match (kind, has_own_pings) {
                    (Kind::Stream, false) => "stream",
                    (Kind::Stream, true) => "posted",
                    (_, true) => "own",
                    (_, false) => "ws",
                };
                self.connect(peer, (kind, path), room, lag, buffer as usize)?;
            }
            Event::Rules { number } => self.rule(Rules::of(number)),
            Event::Enter {
                peer,
                room,
                recovery,
            } => self.with(peer, |it| it.enter(room, recovery)),
            Event::Return {
                peer,
                recovery,
                buffer,
            } => self.come_back(peer, recovery, buffer as usize)?,
            Event::Once {
                peer,
                room,
                key,
                body,
                bytes,
            } => {
                self.homes.note_key(room);
                self.with(peer, |it| {
                    it.publish_once(room, key, body, usize::from(bytes));
                });
            }
            Event::Watch { peer, ticker } => {
                self.with(peer, |it| it.say(&format!("watch t{ticker}"), 1));
            }
            Event::Unwatch { peer, ticker } => {
                self.with(peer, |it| it.say(&format!("leave t{ticker}"), 1));
            }
            Event::Set {
                peer,
                ticker,
                key,
                bytes,
                times,
            } => {
                for nth in 0..times {
                    let id = TICKS + self.id();
                    let key = key.wrapping_add(nth % 4);
                    self.with(peer, |it| it.set(ticker, key, id, Some(bytes.into())));
                }
            }
            Event::Unset { peer, ticker, key } => {
                let id = TICKS + self.id();
                self.with(peer, |it| it.set(ticker, key, id, None));
            }
            Event::History {
                peer,
                room,
                limit,
                is_reversed,
                is_beside,
            } => self.with(peer, |it| {
                it.ask_history(room, limit, is_reversed, is_beside)
            }),
            Event::Members {
                peer,
                room,
                is_counted,
            } => self.with(peer, |it| it.ask_members(room, is_counted)),
            Event::Slow { peer, turns } => {
                let id = self.id();
                self.with(peer, |it| it.echo_slowly(id, turns));
            }
            Event::Alarm { peer, ms } => self.with(peer, |it| it.set_alarm(ms)),
            Event::Everyone { command } => {
                let command = command_of(command);
                // A mailbox that is full refuses it, as it says.
                let _ = self.machine.commander().everyone(&command);
            }
            Event::Publish {
                peer,
                room,
                bytes,
                times,
                is_told,
            } => {
                for _ in 0..times {
                    let id = self.id();
                    let verb = if is_told { "tell" } else { "publish" };
                    self.with(peer, |it| it.publish(verb, room, id, usize::from(bytes)));
                }
            }
            Event::Echo {
                peer,
                bytes,
                times,
                fragments,
            } => {
                for _ in 0..times {
                    let id = self.id();
                    self.with(peer, |it| {
                        it.echo(id, usize::from(bytes), usize::from(fragments))
                    });
                }
            }
            Event::Ping { peer, bytes } => {
                let id = self.id();
                let payload = format!("{id:0>width$}", width = usize::from(bytes.min(125)));
                self.with(peer, |it| it.ping(payload.as_bytes()));
            }
            Event::JoinMany { peer, room, rooms } => {
                for room in room..room.saturating_add(rooms) {
                    self.with(peer, |it| it.say(&format!("join r{room}"), 1));
                }
            }
            Event::Join { peer, room } => self.with(peer, |it| it.say(&format!("join r{room}"), 1)),
            Event::Leave { peer, room } => {
                self.with(peer, |it| it.say(&format!("leave r{room}"), 1));
            }
            Event::Wait { peer } => self.with(peer, |it| it.say("wait", 1)),
            Event::Request { peer, body } => self.with(peer, |it| it.request(body as usize)),
            Event::Unfinished { peer, bytes } => self.with(peer, |it| it.begin(usize::from(bytes))),
            Event::Violate { peer } => self.with(peer, Client::violate),
            Event::Close { peer } => self.with(peer, Client::close),
            Event::HalfClose { peer } => self.with(peer, Client::end_stream),
            Event::Stall { peer } => self.with(peer, |it| it.reads = false),
            Event::Resume { peer } => self.with(peer, |it| it.reads = true),
            Event::Mute { peer, is_mute } => self.with(peer, |it| it.answers = !is_mute),
            Event::Urgent { peer } => {
                if let Some(client) = &self.clients[usize::from(peer)] {
                    let end = client.peer();
                    self.world
                        .with_peer(|sockets, reports| sockets.mark(end, reports));
                }
            }
            Event::HangUp { peer } => self.vanish(peer, false)?,
            Event::Reset { peer } => self.vanish(peer, true)?,
            Event::Reload { budgets } => {
                if budgets != Budgets::Ample {
                    self.is_scarce = true;
                    self.clients
                        .iter_mut()
                        .flatten()
                        .for_each(Client::lack_memory);
                }
                self.budgets = budgets;
                self.configure();
            }
            Event::Command { peer, command } => self.command(peer, command),
            Event::Lose { room } => self.machine.lose(&name_of(room)),
            Event::Shortage { accepts } => {
                self.world
                    .with_peer(|sockets, _| sockets.run_short(u32::from(accepts)));
            }
            Event::Standstill { ms } => self.world.pass(u64::from(ms) * 1_000_000),
            Event::DeskPublish { .. }
            | Event::DeskAsk { .. }
            | Event::DeskList { .. }
            | Event::DeskLeft {} => self.ask_at_the_desk(event)?,
            Event::Ask { core } => self.ask(core),
            Event::Drain { is_hurried } => {
                self.is_draining = true;
                self.machine.drain(is_hurried);
            }
        }
        Ok(())
    }

    fn configure(&self) {
        let config = self.settings.config(self.budgets);
        self.machine
            .configurer()
            .configure(config, Arc::new(self.application.clone()));
    }

    /// Rooms follow other rules.
    fn rule(&mut self, rules: Rules) {
        self.orders.announces |= rules.announces();
        let are_first = self.clients.iter().all(Option::is_none) && self.orders.is_new();
        let forgotten = self.orders.sure.forgotten;
        self.orders.sure = match are_first {
            true => self.settings.sure(&rules),
            false => Sure::default(),
        };
        self.orders.sure.forgotten = forgotten;
        self.homes.rule(rules.clone(), are_first);
        self.application.book.replace(rules);
        self.configure();
    }

    /// A peer is cut off, connects again and goes into the rooms where it was.
    fn come_back(&mut self, peer: u8, recovery: Recovery, buffer: usize) -> Result<(), String> {
        self.connect(peer, (Kind::WebSocket, "ws"), None, Lag::Leave, buffer)?;
        self.with(peer, |client| client.enter_all(recovery));
        Ok(())
    }

    fn connect(
        &mut self,
        peer: u8,
        (kind, path): (Kind, &str),
        room: Option<u8>,
        lag: Lag,
        buffer: usize,
    ) -> Result<(), String> {
        self.vanish(peer, false)?;
        let address = SocketAddr::from(([10, 0, 0, peer], 1_000));
        let end = self.world.connect(address, 3_000, buffer);
        let lag = match lag {
            Lag::Close => "close",
            Lag::Leave => "leave",
            Lag::Skip => "skip",
        };
        let room = room.map_or(String::new(), |room| format!("/r{room}"));
        let transport = match self.settings.has_tls {
            true => Transport::of(self.settings.seed ^ (u64::from(end.number()) << 32)),
            false => Transport::Plain,
        };
        let target = format!("/{path}/{lag}/{}{room}", user_of(peer));
        let positions = std::mem::take(&mut self.positions[usize::from(peer)]);
        let mut client = Client::new(end, kind, transport, &target).knowing(positions);
        if self.is_scarce {
            client.lack_memory();
        }
        self.clients[usize::from(peer)] = Some(client);
        Ok(())
    }

    /// A peer is gone, with its socket.
    fn vanish(&mut self, peer: u8, is_reset: bool) -> Result<(), String> {
        if let Some(mut client) = self.clients[usize::from(peer)].take() {
            let end = client.peer();
            self.world.with_peer(|sockets, reports| match is_reset {
                true => sockets.reset(end, reports),
                false => sockets.hang_up(end, reports),
            });
            if client.end.is_none() {
                client.finish(End::Reset, &mut self.orders)?;
            }
            self.positions[usize::from(peer)] = client.take_positions();
        }
        Ok(())
    }

    fn command(&mut self, peer: u8, command: Told) {
        // A mailbox that is full refuses it, as it says.
        let _ = self
            .machine
            .commander()
            .user(&user_of(peer), command_of(command));
    }

    /// An operator asks a core everything, and does not wait for the answers.
    fn ask(&self, core: u8) {
        let monitor = self.machine.monitor();
        let core = usize::from(core) % self.settings.cores;
        drop((
            monitor.alive(core),
            monitor.snapshot(core),
            monitor.connections(core, 3),
            monitor.rooms_of(core, 3),
        ));
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn with(&mut self, peer: u8, work: impl FnOnce(&mut Client)) {
        if let Some(client) = &mut self.clients[usize::from(peer)] {
            work(client);
        }
    }
}
