//! The machine that stands in place of the kernel: time, cores, sockets, all ordered by one seed.
//!
//! ```text
//!  run ──▶ World ──▶ cores.rs    tasks, timers and turns of the driver, for each core
//!            │ ▲ ──▶ sockets.rs  connections between peers and cores, and what is reported of them
//!            ▼ │
//!        the runtime (kernel/simulated/)
//! ```

mod cores;
mod sockets;

use std::{
    cell::{Cell, RefCell},
    io::IoSlice,
    net::SocketAddr,
    rc::Rc,
    task::{Context, Waker},
};

use fastrand::Rng;
use runtime::simulation::{Errno, EventFlags, Id, Task};

use cores::Cores;
pub use sockets::{Peer, Read, Sockets};

/// How a machine behaves where the real one is free to.
#[derive(Clone, Copy, Debug)]
pub struct Character {
    /// Whether ready tasks run in any order, instead of one after the other.
    pub shuffles_tasks: bool,
    /// The most that one look at the clock takes, in nanoseconds.
    pub look_ns: u64,
    /// The most that a turn of a task takes, in nanoseconds.
    pub step_ns: u64,
    /// The most by which a report of a socket comes late, in nanoseconds.
    pub report_ns: u64,
    /// The most by which a timer comes late, in nanoseconds.
    pub timer_ns: u64,
    /// One of so many looks at a set brings a report that says nothing new; 0 for none.
    pub idle_reports: u32,
}

/// A simulated machine.
pub struct World {
    now_ns: Cell<u64>,
    rng: RefCell<Rng>,
    character: Character,
    cores: RefCell<Cores>,
    sockets: RefCell<Sockets>,
    trace: Cell<u64>,
}

impl World {
    /// A machine with so many cores, each with one listener of the core's number.
    pub fn new(seed: u64, cores: usize, character: Character) -> Rc<Self> {
        Rc::new(Self {
            now_ns: Cell::new(1_000_000_000),
            rng: RefCell::new(Rng::with_seed(seed)),
            character,
            cores: RefCell::new(Cores::new(cores)),
            sockets: RefCell::new(Sockets::new(cores)),
            trace: Cell::new(0),
        })
    }

    /// Virtual time in nanoseconds.
    pub fn time_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// Time passes.
    pub fn pass(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get() + ns);
    }

    /// A random number below `bound`, which is above 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.rng.borrow_mut().u64(0..bound)
    }

    /// Connects a peer of this address to one of the listeners.
    pub fn connect(&self, address: SocketAddr, to_server_max: usize, to_peer_max: usize) -> Peer {
        let mut sockets = self.sockets.borrow_mut();
        let listener = self.below(self.cores.borrow().len() as u64) as Id;
        sockets.connect(listener, address, to_server_max, to_peer_max)
    }

    /// Starts a core with its first task.
    pub fn start(&self, core: usize, task: Task) {
        self.cores.borrow_mut().spawn(core, task);
    }

    /// Runs one task of some core, or one turn of its driver. Returns whether there was anything to do now.
    pub fn step(&self) -> bool {
        let now_ns = self.time_ns();
        self.cores.borrow_mut().settle_wakes(None);
        let sockets = &self.sockets;
        let ready_set = |core| sockets.borrow().has_report(core as Id, now_ns);
        let able = self.cores.borrow().able(now_ns, ready_set);
        if able.is_empty() {
            return false;
        }
        let core = able[self.below(able.len() as u64) as usize];
        self.cores.borrow_mut().current = core;
        let pick = self.character.shuffles_tasks.then(|| self.below(u64::MAX));
        let next = self.cores.borrow_mut().next_task(core, pick);
        self.note([
            now_ns,
            core as u64,
            next.map_or(u64::MAX, |task| task as u64),
        ]);
        match next {
            Some(task) => self.run(core, task),
            None => self.turn_driver(core, now_ns),
        }
        self.cores.borrow_mut().settle_wakes(Some(core));
        if self.character.step_ns > 0 {
            self.pass(self.below(self.character.step_ns));
        }
        true
    }

    /// Everything that happened, in one number.
    pub fn trace(&self) -> u64 {
        self.trace.get()
    }

    fn note(&self, what: impl IntoIterator<Item = u64>) {
        let trace = what.into_iter().fold(self.trace.get(), |trace, number| {
            (trace.rotate_left(5) ^ number).wrapping_mul(0x517C_C1B7_2722_0A95)
        });
        self.trace.set(trace);
    }

    /// Drops all tasks, while the world is still there.
    pub fn stop(&self) {
        let tasks = self.cores.borrow_mut().stop();
        drop(tasks);
    }

    /// When something is to do next, if nothing is now.
    pub fn next_ns(&self) -> Option<u64> {
        let timers = self.cores.borrow().next_timer_ns();
        let reports = self.sockets.borrow().next_report_ns();
        [timers, reports].into_iter().flatten().min()
    }

    fn run(&self, core: usize, number: usize) {
        let Some(mut task) = self.cores.borrow_mut().take(core, number) else {
            return;
        };
        let is_over = poll_core(&mut task, &cores::waker(core, number));
        if !is_over {
            self.cores.borrow_mut().put_back(core, number, task);
        }
    }

    fn turn_driver(&self, core: usize, now_ns: u64) {
        let mut wakers = self.cores.borrow_mut().turn(core, now_ns);
        wakers.extend(self.sockets.borrow_mut().take_waiting(core as Id, now_ns));
        for waker in wakers {
            waker.wake();
        }
    }

    /// Changes what only peers change.
    pub fn with_peer<T>(&self, work: impl FnOnce(&mut Sockets, &mut Reports<'_>) -> T) -> T {
        let reports = &mut Reports { world: self };
        work(&mut self.sockets.borrow_mut(), reports)
    }
}

/// Runs a task until it waits; returns whether it has ended. What is executed in here is the core's, except
/// in the methods of [`runtime::simulation::World`]: instructions are counted by the names of these.
#[inline(never)]
fn poll_core(task: &mut Task, waker: &Waker) -> bool {
    let mut context = Context::from_waker(waker);
    task.as_mut().poll(&mut context).is_ready()
}

/// When a report of a socket arrives.
pub struct Reports<'a> {
    world: &'a World,
}

impl Reports<'_> {
    /// The time of the next report.
    pub fn at_ns(&mut self) -> u64 {
        let late = match self.world.character.report_ns {
            0 => 0,
            most => self.world.below(most),
        };
        self.world.time_ns() + late
    }
}

impl runtime::simulation::World for World {
    fn now_ns(&self) -> u64 {
        if self.character.look_ns > 0 {
            self.pass(self.below(self.character.look_ns));
        }
        self.time_ns()
    }

    fn random(&self) -> u64 {
        self.rng.borrow_mut().u64(..)
    }

    fn spawn(&self, task: Task) {
        let mut cores = self.cores.borrow_mut();
        let current = cores.current;
        cores.spawn(current, task);
    }

    fn wake_at(&self, at_ns: u64, waker: Waker) {
        let late = match self.character.timer_ns {
            0 => 0,
            most => self.below(most),
        };
        self.cores.borrow_mut().set_timer(at_ns + late, waker);
    }

    fn wake_after_turn(&self, waker: Waker) {
        self.cores.borrow_mut().after_turn(waker);
    }

    fn open_set(&self) -> Id {
        self.cores.borrow().current as Id
    }

    fn watch(&self, set: Id, socket: Id, token: u64) {
        let at_ns = Reports { world: self }.at_ns();
        self.sockets.borrow_mut().watch(set, socket, token, at_ns);
    }

    fn poll_set(&self, set: Id, waker: &Waker) -> bool {
        let now_ns = self.time_ns();
        self.sockets.borrow_mut().poll_set(set, waker, now_ns)
    }

    fn take_reports(&self, set: Id, most: usize) -> Vec<(EventFlags, u64)> {
        let now_ns = self.time_ns();
        let idle = self.character.idle_reports;
        let has_idle = idle > 0 && self.below(u64::from(idle)) == 0;
        let pick = self.below(u64::MAX);
        let mut sockets = self.sockets.borrow_mut();
        sockets.take_reports(set, most, now_ns, has_idle.then_some(pick))
    }

    fn receive(&self, socket: Id, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.sockets.borrow_mut().receive(socket, buffer)
    }

    fn send(&self, socket: Id, runs: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let at_ns = Reports { world: self }.at_ns();
        let sent = self.sockets.borrow_mut().send(socket, runs, at_ns);
        self.note([u64::from(socket), sent.unwrap_or_default() as u64]);
        sent
    }

    fn shut_sending(&self, socket: Id) {
        self.sockets.borrow_mut().shut_sending(socket);
    }

    fn reset_on_close(&self, socket: Id) {
        self.sockets.borrow_mut().reset_on_close(socket);
    }

    fn close(&self, socket: Id) {
        self.sockets.borrow_mut().close(socket);
    }

    fn accept(&self, listener: Id) -> Result<(Id, SocketAddr), Errno> {
        self.sockets.borrow_mut().accept(listener)
    }

    fn poll_listener(&self, listener: Id, waker: &Waker) -> bool {
        self.sockets.borrow_mut().poll_listener(listener, waker)
    }

    fn shut_listener(&self, listener: Id) {
        self.sockets.borrow_mut().shut_listener(listener);
    }
}
