//! TLS of one connection: rustls without I/O, over buffers of the core.
//!
//! Ciphertext that arrives is decrypted in the core's buffer and plaintext that leaves is encrypted
//! into another, so an idle connection holds rustls' state and not a byte more. It keeps what has
//! arrived of an unfinished record, and what its socket did not take of the latest send.
//!
//! *Invariant:* rustls keeps offsets into what was left of its input, and panics if that is gone. So
//! whatever is kept is handed to it again, at the front, whenever it is asked for something; it is
//! freed only by what ends the asking.

use std::sync::Arc;

use rustls::{
    Error, HandshakeKind, ProtocolVersion, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
    },
};

/// The longest record that a peer may send: header, content, and what a cipher may add to it
/// (RFC 8446 section 5.2, RFC 5246 section 6.2.3). A handshake's message of several records may
/// take as much: no ClientHello is nearly as long.
pub(crate) const RECORD_BYTES_MAX: usize = 5 + (16 << 10) + (2 << 10);

/// So many records may be sent under the same keys of AES-GCM (RFC 8446 section 5.5), less what may
/// leave before that is noticed. TLS 1.3 changes its keys before; TLS 1.2 cannot.
const RECORDS_MAX: u32 = (1 << 24) - (1 << 17);

/// What one record adds to its content, with the widest of the ciphers.
const RECORD_OVERHEAD: usize = 32;

/// Records that one receive should bring at most. Each costs some 0.3 µs to decrypt, however short it
/// is, so that a whole receive of records of one byte takes twelve times as long as one of long ones.
const RECORDS_PER_RECEIVE: usize = 64;

/// What a receive may bring in any case, in bytes.
const RECEIVE_BYTES_MIN: usize = 1 << 10;

/// The longest method of HTTP that is looked for at the beginning of a connection.
const METHOD_BYTES_MAX: usize = 16;

/// One connection's TLS. Boxed where it is kept: it is large, and sockets without TLS have none.
pub(crate) struct Tls {
    rustls: UnbufferedServerConnection,
    phase: Phase,
    /// Records sent, until there are too many.
    records: u32,
    /// What the next receive may bring, in bytes: less where records are short, and then twice as much
    /// with each receive that brought few.
    receive_bytes: usize,
    /// Ciphertext that rustls cannot take without more of it. Unallocated between records.
    kept: Vec<u8>,
    /// Ciphertext that is to be sent before anything else. Unallocated while the socket takes all.
    pub(crate) unsent: Vec<u8>,
}

/// How far a connection's TLS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its first bytes have yet to show that it is TLS at all.
    Opening { deadline_ms: u64 },
    /// The handshake.
    Handshake {
        deadline_ms: u64,
        /// Whether this side has said anything, so that the peer may have said all it has to.
        is_answered: bool,
    },
    /// Both sides may speak.
    Open,
    /// The peer has ended its stream (close_notify): what comes after it is ignored.
    PeerEnded,
    /// This side has said its last, close_notify or an alert: what comes is no longer looked at.
    Over,
}

/// What became of received ciphertext.
#[derive(Debug)]
pub(crate) enum Opened {
    /// So many bytes of plaintext; often none.
    Plain(usize),
    /// It is no TLS but a request over plain HTTP.
    Http,
    /// The handshake cannot come to its end, since the peer has come to its own. Nothing was made of
    /// what it said.
    PeerGone,
    /// The peer broke a rule, or gave up with an alert. What it is told of it is to be sent.
    Failed(Error),
}

/// How far the peer's stream has come, as its socket reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerStream {
    /// More may come.
    Open,
    /// What has arrived is all there will be.
    Ended,
    /// The same, and nothing can be said any more.
    Broken,
}

/// What was agreed on in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Secured {
    pub(crate) version: Version,
    pub(crate) is_resumed: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

impl Tls {
    /// Plaintext of one send, four records: what a connection keeps of it when its socket is full.
    pub(crate) const SEALED_BYTES_MAX: usize = 64 << 10;

    /// Of a connection that was just accepted.
    pub(crate) fn new(config: Arc<ServerConfig>, deadline_ms: u64) -> Result<Self, Error> {
        Ok(Self {
            rustls: UnbufferedServerConnection::new(config)?,
            phase: Phase::Opening { deadline_ms },
            records: 0,
            receive_bytes: usize::MAX,
            kept: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// Whether nothing can be said to the peer yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. } | Phase::Handshake { .. })
    }

    /// Whether a handshake, or a record, has begun that is not whole yet.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self.phase, Phase::Handshake { .. }) || !self.kept.is_empty()
    }

    /// When the handshake must be complete, if it is under way, in milliseconds since the process
    /// started.
    pub(crate) fn handshake_deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Opening { deadline_ms } | Phase::Handshake { deadline_ms, .. } => {
                Some(deadline_ms)
            }
            Phase::Open | Phase::PeerEnded | Phase::Over => None,
        }
    }

    /// Whether its keys are nearly used up and cannot be changed: it must be closed.
    pub(crate) fn is_worn(&self) -> bool {
        self.records > RECORDS_MAX
            && self.rustls.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }

    /// Whether the peer has ended its stream by close_notify.
    pub(crate) fn has_peer_ended(&self) -> bool {
        self.phase == Phase::PeerEnded
    }

    /// What was agreed on, once the handshake is complete.
    pub(crate) fn secured(&self) -> Option<Secured> {
        if self.is_handshaking() || self.rustls.is_handshaking() {
            return None;
        }
        let version = match self.rustls.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Version::Tls12,
            _ => Version::Tls13,
        };
        let is_resumed = self.rustls.handshake_kind() == Some(HandshakeKind::Resumed);
        Some(Secured {
            version,
            is_resumed,
        })
    }

    /// Memory held for an unfinished record, in bytes.
    pub(crate) fn kept_held_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// How many bytes the next receive may bring, at least [`RECEIVE_BYTES_MIN`].
    pub(crate) fn receive_bytes(&self) -> usize {
        self.receive_bytes
    }

    /// So many records have come in so many bytes.
    fn pace(&mut self, records: usize, bytes: usize) {
        self.receive_bytes = match records > RECORDS_PER_RECEIVE {
            true => (RECORDS_PER_RECEIVE * bytes / records).max(RECEIVE_BYTES_MIN),
            false => self.receive_bytes.saturating_mul(2),
        };
    }

    /// Puts what is kept at the front of `wire`; returns how much that is.
    pub(crate) fn put_kept(&self, wire: &mut [u8]) -> usize {
        wire[..self.kept.len()].copy_from_slice(&self.kept);
        self.kept.len()
    }

    /// Decrypts `wire`, what was kept and what has arrived behind it, into `plain`, which is at
    /// least as long. What may have to be answered is then in `unsent`.
    ///
    /// A handshake costs a signature and the agreement on a key, so none is gone on with for a peer
    /// that cannot finish it: after its ClientHello it must hear from this side.
    pub(crate) fn open(&mut self, wire: &mut [u8], plain: &mut [u8], peer: PeerStream) -> Opened {
        match self.phase {
            Phase::PeerEnded | Phase::Over => return Opened::Plain(0),
            Phase::Opening { deadline_ms } => match Beginning::of(wire) {
                Beginning::Http => return Opened::Http,
                Beginning::Undecided => {
                    self.keep(wire);
                    return Opened::Plain(0);
                }
                Beginning::Other => {
                    let is_answered = false;
                    self.phase = Phase::Handshake {
                        deadline_ms,
                        is_answered,
                    };
                }
            },
            Phase::Handshake { .. } | Phase::Open => {}
        }
        if let Phase::Handshake { is_answered, .. } = self.phase {
            match peer {
                PeerStream::Ended if !is_answered => return Opened::PeerGone,
                PeerStream::Broken => return Opened::PeerGone,
                PeerStream::Open | PeerStream::Ended => {}
            }
        }
        match self.decrypt(wire, plain) {
            Ok(bytes) => Opened::Plain(bytes),
            Err(error) => {
                self.take_alert(wire);
                self.give_up();
                Opened::Failed(error)
            }
        }
    }

    fn decrypt(&mut self, wire: &mut [u8], plain: &mut [u8]) -> Result<usize, Error> {
        let (mut from, mut filled, mut records) = (0, 0, 0);
        let mut has_peer_ended = false;
        loop {
            let status = self.rustls.process_tls_records(&mut wire[from..]);
            let UnbufferedStatus { mut discard, state } = status;
            let mut is_done = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        let end = filled + record.payload.len();
                        plain[filled..end].copy_from_slice(record.payload);
                        filled = end;
                        discard += record.discard;
                        records += 1;
                    }
                }
                ConnectionState::EncodeTlsData(encoding) => encode(encoding, &mut self.unsent),
                ConnectionState::TransmitTlsData(transmission) => transmission.done(),
                ConnectionState::PeerClosed => has_peer_ended = true,
                // All that is whole was taken. There is no early data: it is not configured.
                _ => is_done = true,
            }
            from += discard;
            if is_done {
                break;
            }
        }
        self.pace(records, from);
        if has_peer_ended {
            self.phase = Phase::PeerEnded;
            self.kept = Vec::new();
            return Ok(filled);
        }
        match &mut self.phase {
            phase if !self.rustls.is_handshaking() => *phase = Phase::Open,
            Phase::Handshake { is_answered, .. } => *is_answered |= !self.unsent.is_empty(),
            _ => {}
        }
        self.keep(&wire[from..]);
        match self.kept.len() > RECORD_BYTES_MAX {
            true => Err(Error::PeerSentOversizedRecord),
            false => Ok(filled),
        }
    }

    /// The memory follows what has arrived, whatever length the peer has claimed.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.kept = Vec::new();
        } else {
            self.kept.clear();
            self.kept.reserve_exact(rest.len());
            self.kept.extend_from_slice(rest);
        }
    }

    /// After an error rustls has an alert to send. While it has, it does not look at its input.
    fn take_alert(&mut self, wire: &mut [u8]) {
        while self.rustls.wants_write() {
            match self.rustls.process_tls_records(wire).state {
                Ok(ConnectionState::EncodeTlsData(encoding)) => encode(encoding, &mut self.unsent),
                _ => return,
            }
        }
    }

    /// Encrypts the first of these bytes, at most [`SEALED_BYTES_MAX`](Self::SEALED_BYTES_MAX) of
    /// them, to the end of `wire`; returns how many.
    pub(crate) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<usize, EncryptError> {
        let plain = &plain[..plain.len().min(Self::SEALED_BYTES_MAX)];
        if !matches!(self.phase, Phase::Open | Phase::PeerEnded) {
            return Err(EncryptError::EncryptExhausted);
        }
        let records = plain.len() / (16 << 10) + 1;
        self.records = self.records.saturating_add(records as u32);
        let expected = plain.len() + records * RECORD_OVERHEAD;
        self.write(wire, expected, |traffic, room| traffic.encrypt(plain, room))?;
        Ok(plain.len())
    }

    /// Tells the peer that nothing more will come (RFC 8446 section 6.1), once and behind
    /// everything else, unless there is nobody who could understand it.
    pub(crate) fn say_last(&mut self) {
        if matches!(self.phase, Phase::Open | Phase::PeerEnded) {
            let mut last = Vec::new();
            let said = self.write(&mut last, 2 + RECORD_OVERHEAD, |traffic, room| {
                traffic.queue_close_notify(room)
            });
            // An error means that nothing can be encrypted: the keys are used up, and close_notify
            // is on its way already, or the peer has ended before there were any.
            let _ = said;
            self.unsent.append(&mut last);
        }
        self.give_up();
    }

    /// Nothing more is said or listened to.
    pub(crate) fn give_up(&mut self) {
        self.phase = Phase::Over;
        self.kept = Vec::new();
    }

    /// Whether what is queued for the peer can no longer be said.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Has rustls write to the end of `wire`, where it will need about so much room.
    fn write(
        &mut self,
        wire: &mut Vec<u8>,
        expected: usize,
        mut write: impl FnMut(&mut WriteTraffic<'_, Side>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), EncryptError> {
        loop {
            match self.rustls.process_tls_records(&mut self.kept).state {
                Ok(ConnectionState::EncodeTlsData(encoding)) => encode(encoding, wire),
                Ok(ConnectionState::TransmitTlsData(transmission)) => transmission.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let at = wire.len();
                    wire.resize(at + expected, 0);
                    let mut written = write(&mut traffic, &mut wire[at..]);
                    if let Err(EncryptError::InsufficientSize(need)) = &written {
                        // A key update goes before it.
                        wire.resize(at + need.required_size, 0);
                        written = write(&mut traffic, &mut wire[at..]);
                    }
                    wire.truncate(at + *written.as_ref().unwrap_or(&0));
                    return written.map(|_| ());
                }
                _ => return Err(EncryptError::EncryptExhausted),
            }
        }
    }
}

/// The side of a connection that this is, to rustls.
type Side = rustls::server::ServerConnectionData;

/// Adds what rustls has to say to `wire`.
fn encode<T>(mut encoding: EncodeTlsData<'_, T>, wire: &mut Vec<u8>) {
    if let Err(EncodeError::InsufficientSize(need)) = encoding.encode(&mut []) {
        let at = wire.len();
        wire.resize(at + need.required_size, 0);
        let encoded = encoding.encode(&mut wire[at..]);
        debug_assert!(encoded.is_ok_and(|bytes| bytes == need.required_size));
    }
}

/// What the first bytes of a connection look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// A method of HTTP, in capitals, and a space.
    Http,
    /// Capitals so far. No record of TLS begins with one.
    Undecided,
    /// TLS, or nothing that is known: rustls decides.
    Other,
}

impl Beginning {
    fn of(bytes: &[u8]) -> Self {
        match bytes.iter().position(|byte| !byte.is_ascii_uppercase()) {
            Some(at @ 1..=METHOD_BYTES_MAX) if bytes[at] == b' ' => Self::Http,
            None if bytes.len() <= METHOD_BYTES_MAX => Self::Undecided,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod conversations;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_is_http_only_after_a_whole_method() {
        for (bytes, expected) in [
            (&b""[..], Beginning::Undecided),
            (b"G", Beginning::Undecided),
            (b"GET", Beginning::Undecided),
            (b"GET ", Beginning::Http),
            (b"GET / HTTP/1.1\r\n", Beginning::Http),
            (b"OPTIONS * HTTP/1.1\r\n", Beginning::Http),
            (b" GET", Beginning::Other),
            (b"get /", Beginning::Other),
            (b"SSH-2.0-x\r\n", Beginning::Other),
            (b"GET\r\n", Beginning::Other),
            (b"ABCDEFGHIJKLMNOP", Beginning::Undecided),
            (b"ABCDEFGHIJKLMNOP ", Beginning::Http),
            (b"ABCDEFGHIJKLMNOPQ", Beginning::Other),
            (&[0x16, 3, 1], Beginning::Other),
            (&[0x15], Beginning::Other),
            (&[0x80, 0x2e], Beginning::Other),
        ] {
            assert_eq!(Beginning::of(bytes), expected, "{bytes:?}");
        }
    }
}
