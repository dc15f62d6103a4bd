//! One socket: its protocol, its stage, and the bytes that it has not accepted yet.

use std::io::IoSlice;

use codec::Connection;
use rustix::{
    fd::OwnedFd,
    io::{Errno, Result},
    net::{self, SendAncillaryBuffer, SendFlags, Shutdown},
};

use crate::room::{Room, Seat};

/// A connection. It holds no heap of its own while it is idle.
pub struct Item {
    pub socket: OwnedFd,
    /// It holds no bytes between messages, for which the thread's receive buffer is enough.
    pub connection: Connection,
    pub stage: Stage,
    /// Whether it is watched for writing instead of reading, because the socket did not accept all
    /// bytes.
    pub is_waiting: bool,
    /// Bytes for this socket alone, which are sent before the bytes that it lacks of its room. The
    /// first `sent` of them have left.
    own: Vec<u8>,
    sent: usize,
}

/// The stage of a connection.
#[derive(Clone, Copy)]
pub enum Stage {
    /// The request is incomplete.
    Handshake,
    /// Its messages are returned to it.
    Echo,
    /// Its messages go to a room.
    Room(Seat),
    /// The last bytes are being sent.
    Ending {
        /// Whether the peer may still be sending. Closing a socket with unread bytes resets the
        /// connection, and the peer would not receive the reason.
        linger: bool,
    },
    /// Nothing more is sent, and received bytes are dropped, until the peer closes too.
    Lingering,
}

impl Item {
    /// A connection on a socket that was just accepted.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            connection: Connection::new(),
            stage: Stage::Handshake,
            is_waiting: false,
            own: Vec::new(),
            sent: 0,
        }
    }

    /// Whether bytes for this socket alone are waiting.
    pub fn holds_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Keeps `bytes` until the next send.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
    }

    /// Sends its own bytes and then `run`, in one call; returns how much of `run` has left.
    pub fn send(&mut self, run: &[u8]) -> Result<usize> {
        // Writing to a peer that has gone yields an error, not a signal.
        let flags = SendFlags::NOSIGNAL;
        let own = &self.own[self.sent..];
        let sent = match (own, run) {
            ([], []) => return Ok(0),
            ([], run) => net::send(&self.socket, run, flags),
            (own, []) => net::send(&self.socket, own, flags),
            (own, run) => {
                let runs = [IoSlice::new(own), IoSlice::new(run)];
                let mut nothing_else = SendAncillaryBuffer::default();
                net::sendmsg(&self.socket, &runs, &mut nothing_else, flags)
            }
        };
        let sent = match sent {
            Err(Errno::WOULDBLOCK | Errno::INTR) => 0,
            sent => sent?,
        };
        let sent_own = sent.min(own.len());
        self.advance(sent_own);
        Ok(sent - sent_own)
    }

    /// Sends its own bytes and those that it lacks of `room`, in one call; returns whether all have
    /// left.
    pub fn deliver(&mut self, room: &Room) -> Result<bool> {
        let Stage::Room(seat) = self.stage else {
            return Ok(true);
        };
        let run = room.since(seat.cursor);
        let sent = self.send(run)?;
        // The rest of a partly sent frame becomes the socket's own bytes. So cursors always stand
        // between frames, and other bytes for this socket alone can follow at any time.
        let taken = Room::frame_end(run, sent);
        self.keep(&run[sent..taken]);
        self.stage = Stage::Room(Seat {
            cursor: seat.cursor + taken as u64,
            ..seat
        });
        Ok(taken == run.len() && !self.holds_own())
    }

    /// Closes the sending direction.
    pub fn linger(&mut self) {
        self.stage = Stage::Lingering;
        // It fails if the peer has gone, which the next receive reports.
        let _ = net::shutdown(&self.socket, Shutdown::Write);
    }

    fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.own.len() && self.sent > 0 {
            self.own = Vec::new();
            self.sent = 0;
        }
    }
}
