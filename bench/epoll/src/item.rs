//! One socket: its protocol, where it is in its life, and what it has not taken yet.

use std::io::IoSlice;

use codec::Connection;
use rustix::{
    fd::OwnedFd,
    io::{Errno, Result},
    net::{self, SendAncillaryBuffer, SendFlags, Shutdown},
};

use crate::room::{Room, Seat};

/// A connection. Without heap of its own while it is idle.
pub struct Item {
    pub socket: OwnedFd,
    /// Between its messages it holds no bytes: the thread's receive buffer is all they need.
    pub connection: Connection,
    pub stage: Stage,
    /// Watched for writing, not for reading, as it did not take all that it was sent.
    pub is_waiting: bool,
    /// Bytes for it alone, to be sent before what it lacks of its room; the first `sent` of them
    /// have left.
    own: Vec<u8>,
    sent: usize,
}

/// Where a connection is in its life.
#[derive(Clone, Copy)]
pub enum Stage {
    /// The request has not ended.
    Handshake,
    /// Its messages go back to it.
    Echo,
    /// Its messages go to a room.
    Room(Seat),
    /// The last bytes are on their way.
    Ending {
        /// Whether the peer may be sending still. Closing a socket with unread bytes resets the
        /// connection, and the peer would never see why.
        linger: bool,
    },
    /// Nothing more is sent; what comes is thrown away until the peer closes too.
    Lingering,
}

impl Item {
    /// An accepted socket of which nothing was read yet.
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

    /// Whether bytes for it alone wait.
    pub fn holds_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Lets `bytes` wait until the next send.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
    }

    /// Sends its own bytes and then `run`, in one call, and returns how much of `run` has left.
    pub fn send(&mut self, run: &[u8]) -> Result<usize> {
        // A peer that is gone is an error, not a signal.
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

    /// Sends its own bytes and what it lacks of `room`, in one call. Returns whether all left.
    pub fn deliver(&mut self, room: &Room) -> Result<bool> {
        let Stage::Room(seat) = self.stage else {
            return Ok(true);
        };
        let run = room.since(seat.cursor);
        let sent = self.send(run)?;
        // The rest of a half-sent frame becomes its own: so cursors always stand between frames,
        // and what else is for this socket alone can follow at any time.
        let taken = Room::frame_end(run, sent);
        self.keep(&run[sent..taken]);
        self.stage = Stage::Room(Seat {
            cursor: seat.cursor + taken as u64,
            ..seat
        });
        Ok(taken == run.len() && !self.holds_own())
    }

    /// Tells the peer that nothing more will come.
    pub fn linger(&mut self) {
        self.stage = Stage::Lingering;
        // Fails if the peer is gone, which the next receive reports.
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
