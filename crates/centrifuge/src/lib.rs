//! The Centrifuge protocol, version 2, server side, without I/O: frames of a client go in as bytes
//! and come out as commands; replies and pushes go in and come out as bytes.
//!
//! ```text
//!  frame ──▶ Commands ──▶ Command { id, method } ──▶ session
//!            (lines or lengths, then JSON or Protobuf)   │
//!                                                        ▼
//!  frame ◀── Encoding::append_reply, append_push ◀── Reply, Push
//!                        ▲
//!  Publication { meta, data, offset, … }   (meta and data are spliced in as they are)
//! ```
//!
//! A command borrows from its frame: strings unless they have escapes, and all payloads. A payload
//! is never parsed into values or written anew: a JSON client's is the text that it sent, and loses
//! only its newlines.
//!
//! What this protocol calls a channel is a room elsewhere in this server.
//!
//! *Never* here: sockets, async, clocks, randomness. *Invariants*: no input panics; memory and work
//! follow the bytes of a frame, never a number in it; both encodings of a message have one
//! declaration, so they cannot differ.

mod codes;
mod commands;
mod json;
mod malformed;
mod message;
mod protobuf;
mod publication;
mod push;
mod reply;
mod request;
mod writer;

pub use codes::{Disconnect, ErrorCode, Unsubscribed, reconnects};
pub use commands::Commands;
pub use json::{JSON_DEPTH_MAX, is_json, is_json_object, nests_within};
pub use malformed::Malformed;
pub use message::Unread;
pub use publication::{ClientInfo, Meta, Publication};
pub use push::{Push, Subscribed};
pub use reply::{ConnectResult, Expiry, Failure, HistoryResult, Reply, SubscribeResult};
pub use request::{
    CONNECT_HEADERS_MAX, CONNECT_SUBSCRIPTIONS_MAX, Command, ConnectRequest, EmulationRequest,
    Frame, Headers, HistoryRequest, KIND_MAP, KIND_STREAM, Method, PHASE_STREAM, PresenceRequest,
    PresenceStatsRequest, PublishRequest, RefreshRequest, RpcRequest, SUBSCRIBE_NUMERIC_CHANNELS,
    SUBSCRIBE_REFUSE_UNRECOVERABLE, SendRequest, StreamPosition, SubRefreshRequest,
    SubscribeRequest, Subscriptions, UnsubscribeRequest,
};

use writer::{Key, Writer};

/// How messages look on the wire. A connection has one encoding in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// Lines of JSON, in text frames.
    Json,
    /// Protobuf messages behind their lengths, in binary frames.
    Protobuf,
}

impl Encoding {
    /// Appends what stands between two messages of one frame; nothing if `frame` has none yet.
    ///
    /// `frame` must hold messages alone.
    pub fn separate(self, frame: &mut Vec<u8>) {
        if self == Self::Json && !frame.is_empty() {
            frame.push(b'\n');
        }
    }

    /// Appends the answer to the command with this id.
    pub fn append_reply(self, id: u32, reply: &Reply<'_>, out: &mut Vec<u8>) {
        Writer::message(self, out, |writer| {
            writer.number(Key("id", 1), id.into());
            reply.write(writer);
        });
    }

    /// Appends news of a channel, or of the connection if `channel` is empty.
    pub fn append_push(self, channel: &str, push: &Push<'_>, out: &mut Vec<u8>) {
        Writer::message(self, out, |writer| {
            writer.object(Key("push", 4), |writer| push.write(writer, channel));
        });
    }

    /// Appends news without what makes it a reply, as clients get it that never ask.
    pub fn append_bare_push(self, channel: &str, push: &Push<'_>, out: &mut Vec<u8>) {
        Writer::message(self, out, |writer| push.write(writer, channel));
    }

    /// Appends a ping, which is a reply that is empty.
    pub fn append_ping(self, out: &mut Vec<u8>) {
        Writer::message(self, out, |_| {});
    }
}
