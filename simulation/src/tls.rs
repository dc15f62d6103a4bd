//! A peer's side of simulated TLS: what it writes becomes records of all lengths, and what it reads must be
//! records, in order, from the answer of the handshake to the end of the stream.

use std::collections::VecDeque;

use fastrand::Rng;
use runtime::simulation::record::{
    self, CLIENT_HELLO, CLOSE_NOTIFY, CONTENT_BYTES_MAX, FINISHED, Kind, SERVER_HELLO, TICKET,
};

/// What lies between a peer and its server.
pub enum Transport {
    /// Nothing.
    Plain,
    /// Nothing, although the server has TLS: it refuses whatever it is asked.
    Misplaced,
    /// TLS.
    Tls(Box<Channel>),
}

/// TLS of a peer.
pub struct Channel {
    rng: Rng,
    manner: Manner,
    phase: Phase,
    /// The longest content of its records.
    longest: usize,
    /// Whether it says that it ends its stream.
    says_end: bool,
    has_said_end: bool,
    /// Whether the server may end its stream without saying so.
    pub may_be_cut: bool,
    /// The number of the next record of each side.
    sealed: u8,
    opened: u8,
    arrived: Vec<u8>,
    /// What is to be written.
    pub to_write: VecDeque<u8>,
}

/// How a peer handles TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Good,
    /// In place of its next but so many records it sends what is none.
    Breaks(u8),
    /// It begins a handshake and never completes it.
    Halfway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitsHello,
    AwaitsTicket,
    Open,
    /// The server has ended its stream.
    Ended,
    /// The server has sent an alert.
    Failed,
}

impl Transport {
    /// What the peer of a server with TLS has, drawn from this seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let manner = match rng.u8(0..16) {
            0 => return Self::Misplaced,
            1 => Manner::Breaks(rng.u8(0..6)),
            2 => Manner::Halfway,
            _ => Manner::Good,
        };
        Self::Tls(Box::new(Channel::new(manner, rng)))
    }

    /// Whether the server owes this peer all that it promises.
    pub fn is_good(&self) -> bool {
        match self {
            Self::Plain | Self::Misplaced => true,
            Self::Tls(channel) => channel.manner == Manner::Good,
        }
    }
}

impl Channel {
    fn new(manner: Manner, mut rng: Rng) -> Self {
        let lengths = [1, 40, 2_000, CONTENT_BYTES_MAX];
        let mut channel = Self {
            manner,
            phase: Phase::AwaitsHello,
            longest: lengths[rng.usize(0..lengths.len())],
            says_end: rng.u8(0..4) > 0,
            has_said_end: false,
            may_be_cut: false,
            sealed: 0,
            opened: 0,
            arrived: Vec::new(),
            to_write: VecDeque::new(),
            rng,
        };
        channel.queue(Kind::Handshake, CLIENT_HELLO);
        if manner == Manner::Halfway && channel.rng.bool() {
            let some = channel.rng.usize(1..channel.to_write.len());
            channel.to_write.truncate(some);
        }
        channel
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::AwaitsTicket | Phase::Open | Phase::Ended)
    }

    fn queue(&mut self, kind: Kind, content: &[u8]) {
        let mut record = Vec::new();
        record::append(kind, &mut self.sealed, content, &mut record);
        match &mut self.manner {
            Manner::Breaks(0) => record = self.broken(record),
            Manner::Breaks(more) => *more -= 1,
            Manner::Good | Manner::Halfway => {}
        }
        self.to_write.extend(record);
    }

    /// Something else in place of a record.
    fn broken(&mut self, mut record: Vec<u8>) -> Vec<u8> {
        match self.rng.u8(0..5) {
            0 => record[0] = 0x18,
            1 => record[1] = 0xFF,
            2 => record[1..3].fill(0),
            3 => *record.last_mut().expect("a record has a last byte") ^= 1,
            _ => {
                record.clear();
                let mut number = self.sealed.wrapping_sub(1);
                record::append(Kind::Alert, &mut number, &[40], &mut record);
            }
        }
        record
    }

    /// Makes records of all that is to be said, once the handshake allows it.
    pub fn seal(&mut self, plain: &mut VecDeque<u8>) {
        if self.has_said_end || self.phase == Phase::Failed {
            plain.clear();
        }
        while self.is_open() && !plain.is_empty() {
            let length = match self.rng.u8(0..20) {
                0 => 0,
                _ => self.rng.usize(1..=self.longest).min(plain.len()),
            };
            let content: Vec<_> = plain.drain(..length).collect();
            self.queue(Kind::Data, &content);
        }
    }

    /// Says that its stream ends, unless that is not its way, or too early or too late.
    pub fn say_end(&mut self) {
        if self.is_open() && self.says_end && !self.has_said_end {
            self.queue(Kind::Alert, CLOSE_NOTIFY);
            self.has_said_end = true;
        }
    }

    /// These bytes have come: returns what they say.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.arrived.extend_from_slice(bytes);
        let mut plain = Vec::new();
        let mut arrived = std::mem::take(&mut self.arrived);
        let mut at = 0;
        let broken = |broken| format!("no record came: {broken:?}");
        while let Some((kind, length)) = record::measure(&arrived[at..]).map_err(broken)? {
            let record = &mut arrived[at..at + length];
            let content = record::open(record, &mut self.opened).map_err(broken)?;
            self.hear(kind, content, &mut plain)?;
            at += length;
        }
        arrived.drain(..at);
        self.arrived = arrived;
        match matches!(self.phase, Phase::Ended | Phase::Failed) && !self.arrived.is_empty() {
            true => Err("bytes came behind the end of TLS".into()),
            false => Ok(plain),
        }
    }

    fn hear(&mut self, kind: Kind, content: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        match (self.phase, kind) {
            (Phase::AwaitsHello, Kind::Handshake) if content == SERVER_HELLO => {
                self.phase = Phase::AwaitsTicket;
                match self.manner {
                    Manner::Halfway => self.phase = Phase::AwaitsHello,
                    Manner::Good | Manner::Breaks(_) => self.queue(Kind::Handshake, FINISHED),
                }
            }
            (Phase::AwaitsTicket, Kind::Handshake) if content == TICKET => {
                self.phase = Phase::Open;
            }
            (Phase::Open, Kind::Data) => plain.extend_from_slice(content),
            (Phase::Open, Kind::Alert) if content == CLOSE_NOTIFY => {
                self.phase = Phase::Ended;
                self.say_end();
            }
            (Phase::AwaitsHello | Phase::AwaitsTicket | Phase::Open, Kind::Alert)
                if matches!(self.manner, Manner::Breaks(_)) =>
            {
                self.phase = Phase::Failed;
            }
            (phase, kind) => return Err(format!("{kind:?} {content:?} came to it as {phase:?}")),
        }
        Ok(())
    }

    /// The server's stream has ended: a good peer of an open connection must have been told so.
    pub fn check_end(&self) -> Result<(), String> {
        let is_owed = self.manner == Manner::Good && !self.may_be_cut;
        match self.phase == Phase::Open && is_owed {
            true => Err("its stream ended without close_notify".into()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
