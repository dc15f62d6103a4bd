//! The counters of one core: plain numbers of its own thread, copied when they are exported.

use std::collections::BTreeMap;

use codec::{Event, Kind, Transmitted};
use hub::{PublishRefusal, Recovered, Unrecoverable};

use super::distribution::{Sizes, Timing};
use crate::{
    end::Ending,
    io::{Secured, Version},
};

/// All counters of a core. Every number only rises, except those of open connections.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Connections accepted.
    pub opened: u64,
    /// Connections admitted without a count for their address, since the address table was full.
    pub addresses_uncounted: u64,
    /// Open connections, by their entry in the application's table.
    pub open: Vec<u64>,
    /// Connections ended.
    pub ended: BTreeMap<Ending, u64>,
    /// Upgrade requests answered with another status than 101, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// WebSockets opened without a subprotocol although the client offered some.
    pub subprotocols_unanswered: u64,
    /// Failed accepts.
    pub accept_errors: AcceptErrors,
    /// Panics caught.
    pub panics: u64,
    /// Frames received.
    pub frames_received: Frames,
    /// Frames queued for sending, once for each subscriber.
    pub frames_sent: Frames,
    /// Payload bytes of messages received.
    pub payload_received: Payload,
    /// Payload bytes of messages queued for sending, once for each subscriber.
    pub payload_sent: Payload,
    /// Bytes received from sockets.
    pub received_bytes: u64,
    /// Bytes that sockets accepted for sending.
    pub sent_bytes: u64,
    /// WebSockets opened with permessage-deflate (RFC 7692).
    pub deflate_agreed: u64,
    /// Context takeovers that were declined for lack of memory.
    pub takeovers_declined: Takeovers,
    /// Messages sent compressed.
    pub compressed: Compressed,
    /// Commands of protocols within messages.
    pub commands: u64,
    /// Messages handed to rooms.
    pub published: u64,
    /// Publications that rooms' homes refused.
    pub unpublished: Unpublished,
    /// Messages queued for subscribers.
    pub delivered: u64,
    /// Messages that slow subscribers were not sent, where their rooms permit that.
    pub skipped: u64,
    /// Updates of keys that slow subscribers were not sent, because there were later ones of the same key.
    pub conflated: u64,
    /// Subscribers who wanted to recover.
    pub recoveries: Recoveries,
    /// Rooms that connections lost without having asked for it.
    pub rooms_lost: RoomsLost,
    /// Requests sent to rooms' homes.
    pub requests: Batches,
    /// Deliveries received from rooms' homes.
    pub deliveries: Batches,
    /// Turns of the core's loop.
    pub turns: u64,
    /// Time from the receipt of a message to the last send to its subscribers on this core.
    pub fanout: Timing,
    /// Time from the receipt of a message until its publisher's core learns its position in the
    /// room.
    pub publish: Timing,
    /// Time from accept to the 101.
    pub handshake: Timing,
    /// TLS handshakes done.
    pub tls_handshakes: TlsHandshakes,
    /// Steps of TLS handshakes: one for each turn in which bytes of a handshake are processed.
    pub tls_steps: u64,
    /// Time from accept to the end of the TLS handshake.
    pub tls_handshake: Timing,
    /// Time from a ping to its pong.
    pub ping: Timing,
    /// Time from the wake of the core to the end of its sends in that turn.
    pub turn: Timing,
    /// Payload bytes of each message received.
    pub message_bytes: Sizes,
    /// Subscribers on this core of each message delivered.
    pub recipients: Sizes,
}

/// Frames by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    /// First, or only, frames of text messages.
    pub text: u64,
    /// First, or only, frames of binary messages.
    pub binary: u64,
    /// Further frames of messages.
    pub continuation: u64,
    /// Pings.
    pub ping: u64,
    /// Pongs.
    pub pong: u64,
    /// Close frames.
    pub close: u64,
}

/// Payload bytes of messages by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payload {
    /// Bytes of text messages.
    pub text: u64,
    /// Bytes of binary messages.
    pub binary: u64,
}

/// Context takeovers (RFC 7692 section 7.1.1), by the side whose messages refer to earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takeovers {
    /// Of messages from the server.
    pub server: u64,
    /// Of messages from the client.
    pub client: u64,
}

/// The effect of compression. Each message counts once, however many subscribers it is sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressed {
    /// Messages sent compressed.
    pub messages: u64,
    /// Their payload bytes before compression.
    pub payload_bytes: u64,
    /// The bytes of their frames, headers included.
    pub frame_bytes: u64,
}

/// Publications that rooms' homes refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpublished {
    /// The room waited for slow subscribers, and its home could queue no more publications.
    pub busy: u64,
    /// The room no longer existed.
    pub room_gone: u64,
    /// The server had as many rooms as it may have.
    pub too_many_rooms: u64,
    /// The idempotency key was used for something else.
    pub conflict: u64,
    /// Messages came more often than the room's rules permit.
    pub too_fast: u64,
    /// The room's table had no space for it.
    pub table_full: u64,
}

/// Subscribers who wanted to recover, by what they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// Exactly what they had missed.
    pub exact: u64,
    /// Nothing: their position was of another epoch, or beyond the top.
    pub epoch: u64,
    /// Nothing: the history was too short.
    pub size: u64,
    /// Nothing: the messages were too old.
    pub time: u64,
    /// Nothing: they had missed more than one answer may have.
    pub cap: u64,
    /// Nothing: the memory for all histories was used up.
    pub memory: u64,
    /// Nothing: the messages were removed.
    pub forgotten: u64,
}

/// Rooms that connections lost without having asked for it, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomsLost {
    /// Somebody else asked for it.
    pub commanded: u64,
    /// The connection read too slowly.
    pub lagging: u64,
    /// The room's order was lost.
    pub order: u64,
}

/// Batches through mailboxes, and the items in them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batches {
    /// The number of batches.
    pub batches: u64,
    /// The number of requests or deliveries in them.
    pub items: u64,
}

/// TLS handshakes by version and kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsHandshakes {
    /// Full handshakes of TLS 1.2.
    pub tls12_full: u64,
    /// Resumed handshakes of TLS 1.2.
    pub tls12_resumed: u64,
    /// Full handshakes of TLS 1.3.
    pub tls13_full: u64,
    /// Resumed handshakes of TLS 1.3.
    pub tls13_resumed: u64,
}

/// Failed accepts by reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptErrors {
    /// There was no file descriptor or no memory for another connection.
    pub descriptors: u64,
    /// The peer gave up before it was accepted.
    pub aborted: u64,
    /// Anything else.
    pub other: u64,
}

impl Tally {
    /// All zero, for an application's table of `protocols` entries.
    pub fn new(protocols: usize) -> Self {
        Self {
            opened: 0,
            addresses_uncounted: 0,
            open: vec![0; protocols],
            ended: BTreeMap::new(),
            rejected: BTreeMap::new(),
            subprotocols_unanswered: 0,
            accept_errors: AcceptErrors::default(),
            panics: 0,
            frames_received: Frames::default(),
            frames_sent: Frames::default(),
            payload_received: Payload::default(),
            payload_sent: Payload::default(),
            received_bytes: 0,
            sent_bytes: 0,
            deflate_agreed: 0,
            takeovers_declined: Takeovers::default(),
            compressed: Compressed::default(),
            commands: 0,
            published: 0,
            unpublished: Unpublished::default(),
            delivered: 0,
            skipped: 0,
            conflated: 0,
            recoveries: Recoveries::default(),
            rooms_lost: RoomsLost::default(),
            requests: Batches::default(),
            deliveries: Batches::default(),
            turns: 0,
            fanout: Timing::default(),
            publish: Timing::default(),
            handshake: Timing::default(),
            tls_handshakes: TlsHandshakes::default(),
            tls_steps: 0,
            tls_handshake: Timing::default(),
            ping: Timing::default(),
            turn: Timing::default(),
            // From 16 B to 16 MiB.
            message_bytes: Sizes::from_power(2),
            // From 1 to 1,048,576.
            recipients: Sizes::from_power(0),
        }
    }

    /// Adds the counters of another core.
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.addresses_uncounted += other.addresses_uncounted;
        for (open, more) in self.open.iter_mut().zip(&other.open) {
            *open += more;
        }
        for (ending, more) in &other.ended {
            *self.ended.entry(*ending).or_default() += more;
        }
        for (reason, more) in &other.rejected {
            *self.rejected.entry(reason).or_default() += more;
        }
        self.subprotocols_unanswered += other.subprotocols_unanswered;
        self.accept_errors.add(other.accept_errors);
        self.panics += other.panics;
        self.frames_received.add(other.frames_received);
        self.frames_sent.add(other.frames_sent);
        self.payload_received.add(other.payload_received);
        self.payload_sent.add(other.payload_sent);
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.deflate_agreed += other.deflate_agreed;
        self.takeovers_declined.add(other.takeovers_declined);
        self.compressed.add(other.compressed);
        self.commands += other.commands;
        self.published += other.published;
        self.unpublished.add(other.unpublished);
        self.delivered += other.delivered;
        self.skipped += other.skipped;
        self.conflated += other.conflated;
        self.recoveries.add(other.recoveries);
        self.rooms_lost.add(other.rooms_lost);
        self.requests.add(other.requests);
        self.deliveries.add(other.deliveries);
        self.turns += other.turns;
        self.tls_handshakes.add(other.tls_handshakes);
        self.tls_steps += other.tls_steps;
        self.add_distributions(other);
    }

    fn add_distributions(&mut self, other: &Self) {
        self.fanout.add(&other.fanout);
        self.publish.add(&other.publish);
        self.handshake.add(&other.handshake);
        self.tls_handshake.add(&other.tls_handshake);
        self.ping.add(&other.ping);
        self.turn.add(&other.turn);
        self.message_bytes.add(&other.message_bytes);
        self.recipients.add(&other.recipients);
    }

    /// Counts an event of a connection's protocol.
    pub(crate) fn took(&mut self, event: &Event<'_>) {
        match event {
            Event::Message(message) => {
                let bytes = message.payload.len();
                self.frames_received.count(message.kind, 1);
                self.frames_received.continuation += u64::from(message.fragments) - 1;
                self.payload_received.count(message.kind, bytes, 1);
                self.message_bytes.record(bytes);
            }
            Event::Ping(_) => self.frames_received.ping += 1,
            Event::Pong(_) => self.frames_received.pong += 1,
            Event::Close(_) => self.frames_received.close += 1,
            Event::Request(_) | Event::Body(_) | Event::Failed(_) => {}
        }
    }

    /// Counts a completed TLS handshake that took `took_ns` nanoseconds.
    pub(crate) fn secured(&mut self, secured: Secured, took_ns: u64) {
        let handshakes = &mut self.tls_handshakes;
        *match (secured.version, secured.is_resumed) {
            (Version::Tls12, false) => &mut handshakes.tls12_full,
            (Version::Tls12, true) => &mut handshakes.tls12_resumed,
            (Version::Tls13, false) => &mut handshakes.tls13_full,
            (Version::Tls13, true) => &mut handshakes.tls13_resumed,
        } += 1;
        self.tls_handshake.record(took_ns);
    }

    /// Counts a message that was queued for `connections` subscribers.
    pub(crate) fn sent(&mut self, kind: Kind, payload_bytes: usize, connections: u64) {
        self.frames_sent.count(kind, connections);
        self.payload_sent.count(kind, payload_bytes, connections);
    }

    /// Counts a message of a room that was queued for so many subscribers, some of whom get a frame more for it.
    pub(crate) fn told(&mut self, kind: Kind, payload_bytes: usize, subscribers: u64, frames: u64) {
        self.delivered += subscribers;
        self.frames_sent.count(kind, frames);
        self.payload_sent.count(kind, payload_bytes, subscribers);
    }

    /// Counts the pong and the close frame that were queued for a connection. What ends an HTTP
    /// connection is no frame.
    pub(crate) fn transmitted(&mut self, transmitted: Transmitted, is_websocket: bool) {
        self.frames_sent.pong += u64::from(transmitted.pong);
        self.frames_sent.close += u64::from(transmitted.farewell && is_websocket);
    }
}

impl Frames {
    fn count(&mut self, kind: Kind, frames: u64) {
        match kind {
            Kind::Text => self.text += frames,
            Kind::Binary => self.binary += frames,
        }
    }

    fn add(&mut self, other: Self) {
        self.text += other.text;
        self.binary += other.binary;
        self.continuation += other.continuation;
        self.ping += other.ping;
        self.pong += other.pong;
        self.close += other.close;
    }
}

impl Payload {
    /// Bytes of text and binary messages together.
    pub(crate) fn bytes(&self) -> u64 {
        self.text + self.binary
    }

    fn count(&mut self, kind: Kind, bytes: usize, times: u64) {
        match kind {
            Kind::Text => self.text += bytes as u64 * times,
            Kind::Binary => self.binary += bytes as u64 * times,
        }
    }

    fn add(&mut self, other: Self) {
        self.text += other.text;
        self.binary += other.binary;
    }
}

impl Takeovers {
    pub(crate) fn add(&mut self, other: Self) {
        self.server += other.server;
        self.client += other.client;
    }
}

impl Compressed {
    /// Counts one more message.
    pub(crate) fn count(&mut self, payload_bytes: usize, frame_bytes: usize) {
        self.messages += 1;
        self.payload_bytes += payload_bytes as u64;
        self.frame_bytes += frame_bytes as u64;
    }

    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.payload_bytes += other.payload_bytes;
        self.frame_bytes += other.frame_bytes;
    }
}

impl Unpublished {
    /// Counts one more refused publication.
    pub(crate) fn count(&mut self, reason: PublishRefusal) {
        *match reason {
            PublishRefusal::Busy => &mut self.busy,
            PublishRefusal::RoomGone => &mut self.room_gone,
            PublishRefusal::TooManyRooms => &mut self.too_many_rooms,
            PublishRefusal::Conflict => &mut self.conflict,
            PublishRefusal::TooFast => &mut self.too_fast,
            PublishRefusal::TableFull => &mut self.table_full,
        } += 1;
    }

    fn add(&mut self, other: Self) {
        self.busy += other.busy;
        self.room_gone += other.room_gone;
        self.too_many_rooms += other.too_many_rooms;
        self.conflict += other.conflict;
        self.too_fast += other.too_fast;
        self.table_full += other.table_full;
    }
}

impl Recoveries {
    /// Counts one more subscriber, if it wanted to recover.
    pub(crate) fn count(&mut self, recovered: &Recovered) {
        let cause = match recovered {
            Recovered::Exactly(_) => None,
            Recovered::Impossible(cause) => Some(cause),
            Recovered::Newest { instead: None, .. } | Recovered::State(_) => return,
            Recovered::Newest { instead, .. } => instead.as_ref(),
        };
        *match cause {
            None => &mut self.exact,
            Some(Unrecoverable::Epoch) => &mut self.epoch,
            Some(Unrecoverable::Size) => &mut self.size,
            Some(Unrecoverable::Time) => &mut self.time,
            Some(Unrecoverable::Cap) => &mut self.cap,
            Some(Unrecoverable::Memory) => &mut self.memory,
            Some(Unrecoverable::Forgotten) => &mut self.forgotten,
        } += 1;
    }

    fn add(&mut self, other: Self) {
        self.exact += other.exact;
        self.epoch += other.epoch;
        self.size += other.size;
        self.time += other.time;
        self.cap += other.cap;
        self.memory += other.memory;
        self.forgotten += other.forgotten;
    }
}

impl RoomsLost {
    fn add(&mut self, other: Self) {
        self.commanded += other.commanded;
        self.lagging += other.lagging;
        self.order += other.order;
    }
}

impl Batches {
    /// Counts one more batch.
    pub(crate) fn count(&mut self, items: usize) {
        self.batches += 1;
        self.items += items as u64;
    }

    fn add(&mut self, other: Self) {
        self.batches += other.batches;
        self.items += other.items;
    }
}

impl TlsHandshakes {
    fn add(&mut self, other: Self) {
        self.tls12_full += other.tls12_full;
        self.tls12_resumed += other.tls12_resumed;
        self.tls13_full += other.tls13_full;
        self.tls13_resumed += other.tls13_resumed;
    }
}

impl AcceptErrors {
    fn add(&mut self, other: Self) {
        self.descriptors += other.descriptors;
        self.aborted += other.aborted;
        self.other += other.other;
    }
}
