//! What the runtime is told: addresses, cores, bounds, deadlines.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;

/// Which of monoio's drivers the cores run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring where the kernel grants it, else epoll.
    Auto,
    /// io_uring, or an error at start.
    IoUring,
    /// epoll.
    Epoll,
}

/// The runtime's settings. `Default` gives those of a server on one's own machine. Those marked
/// *at start* stay as they are while it runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on; port 0 takes a free one. *At start.*
    pub listen: Vec<SocketAddr>,
    /// How many cores to run on, at least 1. *At start.*
    pub cores: usize,
    /// io_uring or epoll. *At start.*
    pub driver: DriverChoice,
    /// Bounds on what a peer may send.
    pub limits: codec::Limits,
    /// Connections at the same time, on all cores together. `None`: as many as descriptors are
    /// allowed, less a reserve of min(64, a quarter of them) and those open at start.
    pub connections_max: Option<usize>,
    /// Rooms at the same time, on all cores together.
    pub rooms_max: usize,
    /// Bytes queued for one connection: what is for it alone and its lag in all its rooms. A
    /// queue that is empty takes one message of any permitted size.
    pub send_queue_bytes_max: usize,
    /// Bytes of a connection's publications that its rooms have not yet taken. Above it the
    /// connection is not read.
    pub publish_window_bytes: usize,
    /// Bytes of requests that wait on one core for another core's mailbox. Above it connections
    /// that publish there are not read, and joins are refused.
    pub outbox_bytes_max: usize,
    /// Batches that a mailbox between cores holds, at least 1. *At start.*
    pub mailbox_batches: usize,
    /// The buffer that a core receives into, in bytes: the most that one receive brings.
    /// *At start.*
    pub receive_buffer_bytes: usize,
    /// TLS for all addresses: keys, certificates and what is offered, for handshakes that begin
    /// from now on. Whether there is any, *at start.*
    pub tls: Option<Arc<ServerConfig>>,
    /// Deadlines and intervals.
    pub timeouts: Timeouts,
}

/// The runtime's deadlines and intervals, all above zero unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From accept to the 101 or another answer.
    pub handshake: Duration,
    /// From accept to the end of the TLS handshake, inside of `handshake`.
    pub tls_handshake: Duration,
    /// From one ping to the next.
    pub ping_interval: Duration,
    /// From a ping to its pong.
    pub pong: Duration,
    /// From our close frame (or the end of an HTTP answer) to the end of the connection.
    pub close: Duration,
    /// Sending without any progress.
    pub write: Duration,
    /// Not reading because a room cannot take more.
    pub pause: Duration,
    /// From being told to drain until a drain begins; the only one that may be zero.
    pub drain_delay: Duration,
    /// Over which a drain spreads its closes.
    pub drain: Duration,
    /// An empty room is kept for this long.
    pub room_idle: Duration,
    /// From accept until an open connection is closed, give or take a tenth that is different for
    /// each. `None`: never for its age.
    pub connection_age: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8000))],
            cores: 1,
            driver: DriverChoice::Auto,
            limits: codec::Limits::default(),
            connections_max: None,
            rooms_max: 1_000_000,
            // A second of a busy room at full rate; slower peers are better off reconnecting.
            send_queue_bytes_max: 1 << 20,
            // One receive's worth: the next receive waits until the rooms have taken this one.
            publish_window_bytes: 64 << 10,
            // Some sixty connections' windows before anyone on the core waits.
            outbox_bytes_max: 4 << 20,
            // A sleeping core's wake takes about 50 µs, a turn about as long: far below 64.
            mailbox_batches: 64,
            // A socket's usual receive buffer is not larger when it is first read.
            receive_buffer_bytes: 64 << 10,
            tls: None,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            // Several round trips of the slowest link, and whatever a busy core takes.
            tls_handshake: Duration::from_secs(5),
            // Below the 30 to 60 s after which proxies drop a silent connection.
            ping_interval: Duration::from_secs(25),
            pong: Duration::from_secs(10),
            close: Duration::from_secs(5),
            write: Duration::from_secs(5),
            pause: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
            room_idle: Duration::from_secs(60),
            connection_age: None,
        }
    }
}

impl Timeouts {
    /// How often deadlines are looked at: an eighth of the shortest, from 5 to 250 ms.
    pub(crate) fn sweep_interval(&self) -> Duration {
        let shortest = [
            self.handshake,
            self.tls_handshake,
            self.ping_interval,
            self.pong,
            self.close,
            self.write,
            self.pause,
            self.room_idle,
        ]
        .into_iter()
        .chain(self.connection_age)
        .min()
        .unwrap_or(self.handshake);
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }
}
