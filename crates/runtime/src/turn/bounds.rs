//! What one turn of a core may do, all of it in one place.
//!
//! A turn is what a core does before its driver looks again at sockets, timers and other cores. Work
//! whose pieces cost about the same is bounded by their number; work whose cost a peer can choose is
//! bounded by time: measured, or reckoned from what such work takes a usual processor. Whatever does
//! not fit goes on in the next turn, after everyone else has had theirs.
//!
//! A share (`share.rs`) is for one connection and one turn; the other bounds here are for all
//! connections of a core together. Rates and limits of memory are something else: they do not depend on
//! turns, and the configuration sets them.

use hub::bound;

/// Readiness reports that are taken from the kernel at once.
pub(crate) const EVENTS: usize = bound(512, 3);

/// Connections that are accepted: some 20 µs each.
pub(crate) const ACCEPTS: usize = bound(64, 2);

/// Receives of all connections, with all that follows from what they bring.
pub(crate) const RECEIVES_NS: u64 = 2_000_000;

/// The share of one connection: the cost of a message of 64 KiB, or of one full receive. That is 127 messages
/// of one byte, or as many pings, of which the last exceeds it and is processed all the same.
pub(crate) const SHARE_NS: u64 = bound(64 << 10, 3 << 10) as u64;

/// Steps of TLS handshakes. A step signs, or agrees on a key: 0.1 ms with ECDSA, so about ten of them;
/// ten times that with RSA, so one.
pub(crate) const HANDSHAKES_NS: u64 = 1_000_000;

/// What a step of a handshake counts for at least, so that a turn closes at most 64 abandoned handshakes:
/// closing a connection needs no cryptography, but takes the kernel some 10 µs.
pub(crate) const HANDSHAKE_NS_MIN: u64 = HANDSHAKES_NS / 64;

/// What connections with compression may take: to inflate a byte can take ninety times what it takes to
/// receive it, and to deflate an answer of 64 KiB half a millisecond.
pub(crate) const COMPRESSION_NS: u64 = 2_000_000;

/// Deliveries that are encoded into rooms' logs. Compressing is what takes long here.
pub(crate) const DELIVERIES_NS: u64 = 1_000_000;

/// What a delivery counts for besides the bytes that are encoded for it, once for each form.
pub(crate) const DELIVERY_BYTES: usize = 256;

/// Bytes of deliveries between two looks at the clock: they take some 10 µs to compress at level 1, and 0.1 ms
/// at level 9. One message in all of its forms is never divided.
pub(crate) const DELIVERED_BYTES_PER_LOOK: usize = bound(4 << 10, 256);

/// Sends, of a connection's own bytes and of rooms' news together. Echoes and small rooms wait for so much of a
/// large room: a millisecond made their median 1.5 to 2 times as long and brought the large room nothing.
pub(crate) const SENDS_NS: u64 = 300_000;

/// Sends between two looks at the clock.
pub(crate) const SENDS_PER_LOOK: usize = bound(16, 2);

/// Bytes of an answer with a body after which other connections have their turn, though the socket takes
/// more: otherwise a fast reader of a long answer would keep the core until it ends.
pub(crate) const ANSWER_BYTES: usize = bound(256 << 10, 1 << 10);

/// Subscribers of one room that are looked at before the next room with news has its turn. A send of many
/// messages takes some 20 µs, so a small room waits for a third of a millisecond of a large one's.
pub(crate) const SLICE_SUBSCRIBERS: usize = bound(16, 2);

/// Slots of connections whose deadlines are looked at: some 20 ns each.
pub(crate) const SWEPT_SLOTS: usize = bound(8_192, 3);

/// Connections whose deadline has passed and for which something is done. Those that end are removed in their
/// next turn, in which the kernel takes some 50 µs to take down a full socket.
pub(crate) const DUE: usize = bound(64, 2);

/// Connections that are reset or closed because memory is short.
pub(crate) const EVICTIONS: usize = bound(64, 1);

/// Commands for connections that are taken from the mailbox.
pub(crate) const COMMANDS: usize = bound(256, 2);

/// Requests of desks that are taken from the mailbox and handed to the homes of rooms.
pub(crate) const ERRANDS: usize = bound(256, 2);
