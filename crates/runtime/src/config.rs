//! What the runtime is told: addresses, cores, bounds, deadlines.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    admission::{AddressLimits, Proxies, Rate},
    kernel::tls::ServerConfig,
};

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
    /// Descriptors that are kept for others in the process than cores, so that no connection takes them. *At start.*
    pub descriptors_kept: usize,
    /// Bounds on the connections of one address.
    pub addresses: AddressLimits,
    /// Whose word is taken for the address of a client.
    pub proxies: Proxies,
    /// Messages of one connection. `None` is no bound.
    pub message_rate: Option<Rate>,
    /// Pings and pongs of one connection. `None` is no bound.
    pub control_rate: Option<Rate>,
    /// Rooms at the same time, on all cores together.
    pub rooms_max: usize,
    /// Bytes of memory that all rooms keep of their past. Each core has an even share; where it is used up,
    /// the room that has been untouched for the longest time gives first. *At start.*
    pub history_bytes_max: usize,
    /// Positions that are kept of rooms that are no more, on all cores together. *At start.*
    pub positions_max: usize,
    /// Messages that one answer of a room's past may have, also to somebody who comes back. *At start.*
    pub recovered_messages_max: usize,
    /// Bytes of these messages, with what carries each. *At start.*
    pub recovered_bytes_max: usize,
    /// Rooms that one connection may be in at the same time, those included that it has asked for, from
    /// 1 to 256.
    pub rooms_per_connection_max: usize,
    /// Commands for connections that wait on one core, at least 1. *At start.*
    pub commands_max: usize,
    /// Requests of [desks](crate::Desk) that wait on one core or are under way, at least 1. *At start.*
    pub desk_requests_max: usize,
    /// Bytes queued for one connection: what is for it alone and its lag in all its rooms. A
    /// queue that is empty takes one message of any permitted size.
    pub send_queue_bytes_max: usize,
    /// Bytes of memory that are held for peers that do not read as fast as they are sent to: what
    /// waits for each alone, and their rooms' logs. Each core has an even share.
    pub send_queues_bytes_max: usize,
    /// Bytes of memory for what has arrived and is not whole yet: requests, messages and TLS records,
    /// and what connections keep that are not read. Each core has an even share, or three times the
    /// longest message if that is more.
    pub unfinished_bytes_max: usize,
    /// Bytes of a connection's publications that its rooms have not yet taken. Above it the
    /// connection is not read.
    pub publish_window_bytes: usize,
    /// Bytes of requests that wait on one core for one home's mailbox, its own home included. Above it
    /// connections that publish there are not read, and joins are refused. It also bounds what waits at a
    /// home for held rooms, and what desks publish on a core: these bounds are set *at start*.
    pub outbox_bytes_max: usize,
    /// Batches that a mailbox between cores holds, at least 1. *At start.*
    pub mailbox_batches: usize,
    /// The buffer that a core receives into, in bytes: the most that one receive brings.
    /// *At start.*
    pub receive_buffer_bytes: usize,
    /// How messages are compressed for peers that can take it. `None`: not at all.
    pub compression: Option<Compression>,
    /// Bytes of memory that connections may keep for compression with context takeover. Each core
    /// has an even share. Beyond it, connections open without takeover.
    pub compression_contexts_bytes_max: usize,
    /// TLS for all addresses: keys, certificates and what is offered, for handshakes that begin
    /// from now on. Whether there is any, *at start.*
    pub tls: Option<Arc<ServerConfig>>,
    /// Deadlines and intervals.
    pub timeouts: Timeouts,
}

/// How messages are compressed (RFC 7692).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// From 1, the fastest, to 9, the shortest.
    pub level: u32,
    /// Messages to peers that are shorter, in bytes, are sent as they are.
    pub bytes_min: usize,
    /// What is agreed on with a peer where there is memory for it. Connections in rooms never keep a
    /// context for what is sent to them, since what a room is told is compressed once for all.
    pub policy: codec::DeflatePolicy,
}

/// The runtime's deadlines and intervals, all above zero unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From accept to the 101 or another answer. On a connection that is kept behind an answer, from there to
    /// the first byte of the next request, and from that to its answer.
    pub handshake: Duration,
    /// From accept to the end of the TLS handshake, inside of `handshake`.
    pub tls_handshake: Duration,
    /// From one ping to the next, and from one heartbeat of a stream to the next.
    pub ping_interval: Duration,
    /// From a ping to its pong.
    pub pong: Duration,
    /// From our close frame (or the end of an HTTP answer) to the end of the connection.
    pub close: Duration,
    /// Sending without any progress.
    pub write: Duration,
    /// From the first byte of a message to its last, and from the head of a request to the last byte of its
    /// body.
    pub message: Duration,
    /// Not reading because a room cannot take more.
    pub pause: Duration,
    /// From being told to drain until a planned drain begins; the only one that may be zero.
    pub drain_delay: Duration,
    /// Over which a drain spreads its closes.
    pub drain: Duration,
    /// All of a drain that somebody waits for: [`Drainer::hurry`](crate::Drainer::hurry).
    pub interrupt_drain: Duration,
    /// An empty room is kept for this long.
    pub room_idle: Duration,
    /// For how long the epoch and the number of the latest message of a room are kept after the room
    /// itself; may be zero.
    pub position: Duration,
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
            descriptors_kept: 0,
            addresses: AddressLimits::default(),
            proxies: Proxies::default(),
            // What is normal differs from one application to the next by orders of magnitude.
            message_rate: None,
            control_rate: None,
            rooms_max: 1_000_000,
            // A fifth of a small machine's 4 GiB.
            history_bytes_max: 800 << 20,
            positions_max: 1_000_000,
            // Whoever has missed more is better served by what the application has.
            recovered_messages_max: 300,
            // Half of the queue that it will wait in.
            recovered_bytes_max: 512 << 10,
            // Centrifugo's default; a page that needs more is better served by several connections.
            rooms_per_connection_max: 128,
            // A tenth of a second of a back end that tells a core ten thousand things a second.
            commands_max: 1_024,
            // The same of one that publishes so often.
            desk_requests_max: 1_024,
            // A second of a busy room at full rate; slower peers are better off reconnecting.
            send_queue_bytes_max: 1 << 20,
            // A quarter of a small machine's 4 GiB.
            send_queues_bytes_max: 1 << 30,
            // An eighth of it: four thousand messages of the most bytes, however they have grown.
            unfinished_bytes_max: 512 << 20,
            // One receive's worth: the next receive waits until the rooms have taken this one.
            publish_window_bytes: 64 << 10,
            // Some sixty connections' windows before anyone on the core waits.
            outbox_bytes_max: 4 << 20,
            // A sleeping core's wake takes about 50 µs, a turn about as long: far below 64.
            mailbox_batches: 64,
            // A socket's usual receive buffer is not larger when it is first read.
            receive_buffer_bytes: 64 << 10,
            // Most chat is too short to gain, and deflate costs more than all the rest of a message.
            compression: None,
            // An eighth of a small machine's 4 GiB.
            compression_contexts_bytes_max: 512 << 20,
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
            // A message of the permitted size at 7 KiB a second.
            message: Duration::from_secs(10),
            pause: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
            // About as long as somebody at a terminal waits without wondering.
            interrupt_drain: Duration::from_secs(2),
            room_idle: Duration::from_secs(60),
            // Whoever comes back within a shift finds its place; only rooms with positions keep one.
            position: Duration::from_secs(3600),
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
            self.message,
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
