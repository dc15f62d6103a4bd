//! TLS of one connection: rustls without I/O, over buffers of the core.
//!
//! Ciphertext that arrives is decrypted in the core's buffer, and plaintext that leaves is
//! encrypted into another. An idle connection therefore holds only the state of rustls. Otherwise a
//! connection also keeps the received part of an incomplete record, and what its socket did not
//! accept of the latest send.
//!
//! *Invariant:* rustls keeps offsets into the input that it did not consume, and panics if that
//! input is gone. So whatever is kept is passed to rustls again, at the front, in each call; it is
//! freed only when no more calls follow.

use std::sync::Arc;

use rustls::{Error, HandshakeKind, ProtocolVersion};

use crate::kernel::tls::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ServerConfig, ServerConnectionData,
    UnbufferedServerConnection, UnbufferedStatus, WriteTraffic,
};

/// The longest record that a peer may send: header, content, and the most that a cipher may add
/// (RFC 8446 section 5.2, RFC 5246 section 6.2.3). A handshake message that spans several records
/// may be as long; no ClientHello is nearly so long.
pub(crate) const RECORD_BYTES_MAX: usize = 5 + (16 << 10) + (2 << 10);

/// Most records sent under one key of AES-GCM (RFC 8446 section 5.5), less the number that may
/// leave before the limit is noticed. TLS 1.3 changes its keys before that; TLS 1.2 cannot.
const RECORDS_MAX: u32 = (1 << 24) - (1 << 17);

/// Bytes that one record adds to its content, with the cipher that adds most.
const RECORD_OVERHEAD: usize = 32;

/// Most records that one receive should bring. Decrypting a record costs about 0.3 µs however short
/// it is, so a whole receive of one-byte records takes twelve times as long as one of long records.
const RECORDS_PER_RECEIVE: usize = 64;

/// Fewest bytes that a receive may be limited to.
const RECEIVE_BYTES_MIN: usize = 1 << 10;

/// The longest HTTP method that is recognised at the beginning of a connection.
const METHOD_BYTES_MAX: usize = 16;

/// TLS of one connection. It is large and is kept in a box, so that sockets without TLS stay small.
pub(crate) struct Tls {
    rustls: UnbufferedServerConnection,
    phase: Phase,
    /// The number of records sent, for comparison with [`RECORDS_MAX`].
    records: u32,
    /// Most bytes of the next receive. It shrinks when records are short, and doubles with each
    /// receive that brings few records.
    receive_bytes: usize,
    /// Ciphertext that rustls cannot process until more of it arrives. Unallocated between records.
    kept: Vec<u8>,
    /// Ciphertext that must be sent before anything else. Unallocated while the socket accepts all.
    pub(crate) unsent: Vec<u8>,
}

/// The stage of a connection's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first bytes have yet to show whether the peer speaks TLS at all.
    Opening { deadline_ms: u64 },
    /// The handshake is in progress.
    Handshake {
        deadline_ms: u64,
        /// Whether this side has sent anything. After that the peer may send its last handshake
        /// message and then end its stream.
        is_answered: bool,
    },
    /// The handshake is complete, and both sides may send.
    Open,
    /// The peer has ended its stream (close_notify); what follows is ignored.
    PeerEnded,
    /// This side has sent close_notify or an alert; what arrives is ignored.
    Over,
}

/// The outcome of processing received ciphertext.
#[derive(Debug)]
pub(crate) enum Opened {
    /// This many bytes of plaintext; often none.
    Plain(usize),
    /// The peer sent a plain HTTP request instead of TLS.
    Http,
    /// The handshake cannot complete, since the peer's stream has ended. Its bytes were not
    /// processed.
    PeerGone,
    /// The peer broke a rule or sent an alert. The alert for the peer is queued.
    Failed(Error),
}

/// The state of the peer's stream, as its socket reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerStream {
    /// More bytes may arrive.
    Open,
    /// The peer has ended its stream; this side can still send.
    Ended,
    /// The connection is broken in both directions.
    Broken,
}

/// The parameters agreed on in a handshake.
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
    /// Most plaintext bytes encrypted in one send, which are four records. It bounds the ciphertext
    /// that a connection keeps when its socket is full.
    pub(crate) const SEALED_BYTES_MAX: usize = 64 << 10;

    /// TLS of a connection that was just accepted. `deadline_ms` is when its handshake must be
    /// complete, in milliseconds since the process started.
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

    /// Whether the handshake is incomplete, so that nothing can be sent to the peer yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. } | Phase::Handshake { .. })
    }

    /// Whether a handshake or a record has begun and is incomplete.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self.phase, Phase::Handshake { .. }) || !self.kept.is_empty()
    }

    /// The deadline of the handshake if it is in progress, in milliseconds of deadlines
    /// ([`Now::ms`](crate::clock::Now::ms)).
    pub(crate) fn handshake_deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Opening { deadline_ms } | Phase::Handshake { deadline_ms, .. } => {
                Some(deadline_ms)
            }
            Phase::Open | Phase::PeerEnded | Phase::Over => None,
        }
    }

    /// Whether the keys are nearly used up and cannot be changed, so that the connection must
    /// close.
    pub(crate) fn has_worn_keys(&self) -> bool {
        self.records > RECORDS_MAX
            && self.rustls.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }

    /// Whether the peer has ended its stream by close_notify.
    pub(crate) fn has_peer_ended(&self) -> bool {
        self.phase == Phase::PeerEnded
    }

    /// The parameters agreed on, once the handshake is complete.
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

    /// Memory held for an incomplete record, in bytes.
    pub(crate) fn partial_record_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// Most bytes of the next receive, at least [`RECEIVE_BYTES_MIN`].
    pub(crate) fn receive_bytes(&self) -> usize {
        self.receive_bytes
    }

    /// Adapts the size of the next receive to a receive that brought `records` in `bytes`.
    fn pace(&mut self, records: usize, bytes: usize) {
        self.receive_bytes = match records > RECORDS_PER_RECEIVE {
            true => (RECORDS_PER_RECEIVE * bytes / records).max(RECEIVE_BYTES_MIN),
            false => self.receive_bytes.saturating_mul(2),
        };
    }

    /// Copies the kept ciphertext to the front of `wire`; returns its length.
    pub(crate) fn put_kept(&self, wire: &mut [u8]) -> usize {
        wire[..self.kept.len()].copy_from_slice(&self.kept);
        self.kept.len()
    }

    /// Decrypts `wire`, which is the kept ciphertext and the newly received bytes behind it, into
    /// `plain`, which is at least as long. If TLS must answer, the answer is then in `unsent`.
    ///
    /// A handshake costs a signature and a key agreement. It is not advanced for a peer that cannot
    /// complete it: after its ClientHello the peer must receive from this side.
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
                // All complete records were consumed. Early data is not configured, so there is
                // none.
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

    /// Keeps `rest` for the next call. The memory follows the bytes that have arrived, whatever
    /// length the peer has claimed.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.kept = Vec::new();
        } else {
            self.kept.clear();
            self.kept.reserve_exact(rest.len());
            self.kept.extend_from_slice(rest);
        }
    }

    /// Takes the alert that rustls has to send after an error. Until it is taken, rustls does not
    /// read its input.
    fn take_alert(&mut self, wire: &mut [u8]) {
        while self.rustls.wants_write() {
            match self.rustls.process_tls_records(wire).state {
                Ok(ConnectionState::EncodeTlsData(encoding)) => encode(encoding, &mut self.unsent),
                _ => return,
            }
        }
    }

    /// Encrypts the first bytes of `plain`, at most [`SEALED_BYTES_MAX`](Self::SEALED_BYTES_MAX) of
    /// them, and appends the records to `wire`; returns how many bytes it encrypted.
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

    /// Queues the close_notify (RFC 8446 section 6.1) behind everything else, once, unless the
    /// handshake is incomplete or TLS is over.
    pub(crate) fn say_last(&mut self) {
        if matches!(self.phase, Phase::Open | Phase::PeerEnded) {
            let mut last = Vec::new();
            let said = self.write(&mut last, 2 + RECORD_OVERHEAD, |traffic, room| {
                traffic.queue_close_notify(room)
            });
            // An error means that nothing can be encrypted: the keys are used up and close_notify
            // was sent already, or the peer ended its stream before there were any keys.
            let _ = said;
            self.unsent.append(&mut last);
        }
        self.give_up();
    }

    /// Ends TLS: nothing more is encrypted or decrypted.
    pub(crate) fn give_up(&mut self) {
        self.phase = Phase::Over;
        self.kept = Vec::new();
    }

    /// Whether TLS is over, so that queued messages can no longer be encrypted.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Lets rustls append to `wire`; `expected` is the number of bytes that this usually needs.
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
                        // A key update precedes the record.
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

/// The type parameter of rustls for the server's side.
type Side = ServerConnectionData;

/// Appends what rustls has to send to `wire`.
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
    /// An HTTP method in capitals, and a space.
    Http,
    /// Only capitals so far. No TLS record begins with a capital letter.
    Undecided,
    /// TLS or an unknown protocol: rustls decides.
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
