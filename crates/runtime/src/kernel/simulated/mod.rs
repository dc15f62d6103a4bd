//! A simulated machine in place of the kernel: each function asks the [`World`] of this thread.
//!
//! The world itself is the simulation's (the crate of that name). It must keep the promises of the kernel
//! and of the driver that the code above relies on, and may do everything else that they may.

pub mod record;
pub mod tls;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    hash::{BuildHasher, DefaultHasher, Hasher},
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, UNIX_EPOCH},
};

use rustix::event::epoll::{Event, EventData};
pub use rustix::{event::epoll::EventFlags, io::Errno};

/// A task of a core.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// One end of a connection, one set of sockets, or one listener, by its number in the world.
pub type Id = u32;

/// A simulated machine. Calls come from whichever simulated core runs.
pub trait World {
    /// Nanoseconds since the machine started. They never go back.
    fn now_ns(&self) -> u64;
    /// A random number, which follows from the seed of the run.
    fn random(&self) -> u64;
    /// Starts a task on the core that runs.
    fn spawn(&self, task: Task);
    /// Wakes at this time, or somewhat later.
    fn wake_at(&self, at_ns: u64, waker: Waker);
    /// Wakes when the driver of the core that runs has had its next turn.
    fn wake_after_turn(&self, waker: Waker);
    /// A new set of sockets, which belongs to the core that runs.
    fn open_set(&self) -> Id;
    /// Reports of this socket go to that set with this token, as an edge-triggered epoll set reports.
    fn watch(&self, set: Id, socket: Id, token: u64);
    /// Whether the set has something to report; if not, wakes when it has.
    fn poll_set(&self, set: Id, waker: &Waker) -> bool;
    /// Takes at most `most` reports.
    fn take_reports(&self, set: Id, most: usize) -> Vec<(EventFlags, u64)>;
    /// As `recv` with `MSG_DONTWAIT`.
    fn receive(&self, socket: Id, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// As `sendmsg` with `MSG_DONTWAIT`.
    fn send(&self, socket: Id, runs: &[IoSlice<'_>]) -> Result<usize, Errno>;
    /// As `shutdown` of the sending side.
    fn shut_sending(&self, socket: Id);
    /// The next close of the socket resets the connection.
    fn reset_on_close(&self, socket: Id);
    /// As `close`.
    fn close(&self, socket: Id);
    /// As `accept4`.
    fn accept(&self, listener: Id) -> Result<(Id, SocketAddr), Errno>;
    /// Whether an accept would find something, or the listener is shut; if not, wakes when it is so.
    fn poll_listener(&self, listener: Id, waker: &Waker) -> bool;
    /// The listener listens no longer.
    fn shut_listener(&self, listener: Id);
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Makes this the world of the calling thread.
pub fn enter(world: Rc<dyn World>) {
    WORLD.set(Some(world));
}

/// The calling thread has no world any more.
pub fn leave() {
    WORLD.set(None);
}

fn world() -> Rc<dyn World> {
    WORLD.with_borrow(|world| world.clone().expect("a simulation has entered its world"))
}

/// A moment of virtual time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant(u64);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(world().now_ns())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(world().now_ns() - self.0)
    }
}

/// The date, which follows virtual time.
pub(crate) struct SystemTime;

impl SystemTime {
    pub(crate) fn now() -> std::time::SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_nanos(world().now_ns())
    }
}

/// Hash keys that follow from the seed.
#[derive(Clone, Debug)]
pub(crate) struct RandomState(u64);

impl RandomState {
    pub(crate) fn new() -> Self {
        Self(world().random())
    }
}

impl BuildHasher for RandomState {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

pub(crate) fn random() -> Option<u64> {
    Some(world().random())
}

pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    world().spawn(Box::pin(task));
}

pub(crate) async fn sleep(duration: Duration) {
    let until_ns = world().now_ns() + duration.as_nanos() as u64;
    let mut is_set = false;
    poll_fn(|context| {
        if is_set && world().now_ns() >= until_ns {
            return Poll::Ready(());
        }
        is_set = true;
        world().wake_at(until_ns, context.waker().clone());
        Poll::Pending
    })
    .await;
}

pub(crate) struct DriverTurn;

impl DriverTurn {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn pass(&self) -> io::Result<()> {
        let mut has_waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(Ok(()));
            }
            world().wake_after_turn(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// One end of a simulated connection.
pub(crate) struct Connected(Id);

impl Connected {
    pub(crate) fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        world().receive(self.0, buffer)
    }

    pub(crate) fn send(&self, runs: &[IoSlice<'_>]) -> io::Result<usize> {
        match world().send(self.0, runs) {
            Ok(bytes) => Ok(bytes),
            Err(Errno::WOULDBLOCK) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn shut_sending(&self) {
        world().shut_sending(self.0);
    }

    pub(crate) fn reset_on_close(&self) {
        world().reset_on_close(self.0);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        world().close(self.0);
    }
}

pub(crate) struct ReadySet(Id);

impl ReadySet {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(world().open_set()))
    }

    pub(crate) fn add(&self, socket: &Connected, token: u64, _: EventFlags) -> io::Result<()> {
        world().watch(self.0, socket.0, token);
        Ok(())
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| ready(world().poll_set(self.0, context.waker()))).await;
        Ok(())
    }

    pub(crate) fn take(&self, events: &mut Vec<Event>) -> Result<(), Errno> {
        events.clear();
        let reports = world().take_reports(self.0, events.capacity());
        events.extend(reports.into_iter().map(|(flags, token)| Event {
            flags,
            data: EventData::new_u64(token),
        }));
        Ok(())
    }
}

/// A listener by its number, for a core to take.
pub(crate) type Listening = Id;

pub(crate) struct Listener(Id);

impl Listener {
    pub(crate) fn new(listening: Listening) -> io::Result<Self> {
        Ok(Self(listening))
    }

    pub(crate) fn accept(&self) -> Result<(Connected, SocketAddr), Errno> {
        let (socket, peer) = world().accept(self.0)?;
        Ok((Connected(socket), peer))
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context: &mut Context<'_>| ready(world().poll_listener(self.0, context.waker())))
            .await;
        Ok(())
    }

    pub(crate) fn shut(&self) {
        world().shut_listener(self.0);
    }
}

pub(crate) struct Reserve;

impl Reserve {
    pub(crate) fn open() -> Option<Self> {
        Some(Self)
    }
}

fn ready(is_ready: bool) -> Poll<()> {
    match is_ready {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }
}
