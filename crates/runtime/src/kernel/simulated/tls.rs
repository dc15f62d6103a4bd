//! TLS without secrecy in place of rustls' unbuffered interface: the names, the order of states and the
//! demands of rustls, over the records of `record.rs`.
//!
//! It is as strict as rustls may be: input that was not consumed must come again, at the front and
//! unchanged, whenever input is read. Whoever breaks that is stopped by a panic.

use std::{collections::VecDeque, marker::PhantomData, mem, sync::Arc};

pub use rustls::unbuffered::{EncodeError, EncryptError};
use rustls::{
    AlertDescription, ContentType, Error, HandshakeKind, InvalidMessage, ProtocolVersion,
    unbuffered::InsufficientSizeError,
};

use super::record::{
    self, Broken, CLIENT_HELLO, CLOSE_NOTIFY, CONTENT_BYTES_MAX, FINISHED, Kind, OVERHEAD,
    SERVER_HELLO, TICKET,
};

/// That there is TLS, of which nothing is configured.
#[derive(Debug)]
pub struct ServerConfig;

/// The server's side, as a parameter of types.
#[derive(Debug)]
pub struct ServerConnectionData;

/// The server's side of one connection.
#[derive(Debug)]
pub struct UnbufferedServerConnection {
    phase: Phase,
    /// The number of the next record of each side.
    sealed: u8,
    opened: u8,
    /// Records to be encoded.
    to_encode: VecDeque<Vec<u8>>,
    /// Whether something was encoded that is not said to be transmitted.
    is_untransmitted: bool,
    /// The beginning of a record whose rest has not come: it must come again.
    seen: Vec<u8>,
    error: Option<Error>,
    peer: Stream,
    has_said_close: bool,
}

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitsHello,
    AwaitsFinished,
    Open,
}

/// The stream of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Open,
    /// It has ended, of which the caller is not told yet.
    Ended,
    EndIsTold,
}

/// What was found at the front of the input.
enum Found {
    Nothing,
    Data,
    /// A record of so many bytes was processed.
    Processed(usize),
}

/// What a call has come to.
#[derive(Debug)]
pub struct UnbufferedStatus<'c, 'i, Data> {
    /// So many bytes of the input must not come again.
    pub discard: usize,
    /// What is to be done next.
    pub state: Result<ConnectionState<'c, 'i, Data>, Error>,
}

/// What is to be done next.
#[derive(Debug)]
pub enum ConnectionState<'c, 'i, Data> {
    /// Records of data are to be read.
    ReadTraffic(ReadTraffic<'c, 'i, Data>),
    /// The peer has ended its stream; said once.
    PeerClosed,
    /// Both sides have ended their streams.
    Closed,
    /// A record is to be encoded.
    EncodeTlsData(EncodeTlsData<'c, Data>),
    /// What was encoded is to be sent before anything else.
    TransmitTlsData(TransmitTlsData<'c, Data>),
    /// The handshake awaits the peer.
    BlockedHandshake,
    /// Data may be encrypted, and more input may come.
    WriteTraffic(WriteTraffic<'c, Data>),
}

impl UnbufferedServerConnection {
    /// A connection before its first byte.
    ///
    /// # Errors
    ///
    /// None; rustls has some.
    pub fn new(_: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            phase: Phase::AwaitsHello,
            sealed: 0,
            opened: 0,
            to_encode: VecDeque::new(),
            is_untransmitted: false,
            seen: Vec::new(),
            error: None,
            peer: Stream::Open,
            has_said_close: false,
        })
    }

    /// Whether the handshake is incomplete.
    pub fn is_handshaking(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether there is a record to be encoded.
    pub fn wants_write(&self) -> bool {
        !self.to_encode.is_empty()
    }

    /// The version that was agreed on.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        (self.phase != Phase::AwaitsHello).then_some(ProtocolVersion::TLSv1_3)
    }

    /// How the handshake went.
    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        (self.phase != Phase::AwaitsHello).then_some(HandshakeKind::Full)
    }

    /// Processes the input until something is to be done.
    ///
    /// # Panics
    ///
    /// If input that was not consumed does not come again.
    pub fn process_tls_records<'c, 'i>(
        &'c mut self,
        input: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        let mut discard = 0;
        let state = loop {
            if let Some(record) = self.to_encode.pop_front() {
                break Ok(ConnectionState::EncodeTlsData(EncodeTlsData {
                    connection: self,
                    record: Some(record),
                    side: PhantomData,
                }));
            }
            let found = match (&self.error, self.peer) {
                (Some(error), _) => Err(error.clone()),
                (None, Stream::Open) => self.take(&mut input[discard..]),
                (None, Stream::Ended | Stream::EndIsTold) => Ok(Found::Nothing),
            };
            match found {
                Err(error) => break Err(error),
                Ok(Found::Processed(bytes)) => discard += bytes,
                Ok(Found::Data) => {
                    break Ok(ConnectionState::ReadTraffic(ReadTraffic {
                        connection: self,
                        rest: &mut input[discard..],
                        side: PhantomData,
                    }));
                }
                Ok(Found::Nothing) => break Ok(self.idle()),
            }
        };
        UnbufferedStatus { discard, state }
    }

    /// What is to be done when there is nothing to process.
    fn idle<'i>(&mut self) -> ConnectionState<'_, 'i, ServerConnectionData> {
        let side = PhantomData;
        if self.is_untransmitted {
            ConnectionState::TransmitTlsData(TransmitTlsData {
                connection: self,
                side,
            })
        } else if self.peer == Stream::Ended {
            self.peer = Stream::EndIsTold;
            ConnectionState::PeerClosed
        } else if self.peer == Stream::EndIsTold && self.has_said_close {
            ConnectionState::Closed
        } else if self.phase == Phase::Open {
            ConnectionState::WriteTraffic(WriteTraffic {
                connection: self,
                side,
            })
        } else {
            ConnectionState::BlockedHandshake
        }
    }

    /// Processes the record at the front of `input`, unless it is of data.
    fn take(&mut self, input: &mut [u8]) -> Result<Found, Error> {
        assert!(
            input.starts_with(&self.seen),
            "input that was not consumed has not come again"
        );
        let (kind, bytes) = match record::measure(input) {
            Ok(Some(measure)) => measure,
            Ok(None) => {
                self.seen.extend_from_slice(&input[self.seen.len()..]);
                return Ok(Found::Nothing);
            }
            Err(broken) => return Err(self.fail(broken)),
        };
        self.seen.clear();
        if kind == Kind::Data && self.phase == Phase::Open {
            return Ok(Found::Data);
        }
        let content = match record::open(&mut input[..bytes], &mut self.opened) {
            Ok(content) => content,
            Err(broken) => return Err(self.fail(broken)),
        };
        match (self.phase, kind) {
            (Phase::AwaitsHello, Kind::Handshake) if content == CLIENT_HELLO => {
                self.phase = Phase::AwaitsFinished;
                self.queue(Kind::Handshake, SERVER_HELLO);
            }
            (Phase::AwaitsFinished, Kind::Handshake) if content == FINISHED => {
                self.phase = Phase::Open;
                self.queue(Kind::Handshake, TICKET);
            }
            (Phase::Open, Kind::Alert) if content == CLOSE_NOTIFY => self.peer = Stream::Ended,
            (_, Kind::Alert) => {
                let alert = AlertDescription::from(content.first().copied().unwrap_or_default());
                return Err(self.error.insert(Error::AlertReceived(alert)).clone());
            }
            (_, Kind::Handshake | Kind::Data) => {
                let error = Error::InappropriateMessage {
                    expect_types: vec![ContentType::Handshake],
                    got_type: ContentType::from(kind as u8),
                };
                return Err(self.alert(AlertDescription::UnexpectedMessage, error));
            }
        }
        Ok(Found::Processed(bytes))
    }

    fn queue(&mut self, kind: Kind, content: &[u8]) {
        let mut record = Vec::new();
        record::append(kind, &mut self.sealed, content, &mut record);
        self.to_encode.push_back(record);
    }

    fn fail(&mut self, broken: Broken) -> Error {
        let error = match broken {
            Broken::Kind(_) => Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Broken::Length(_) => Error::PeerSentOversizedRecord,
            Broken::Number => Error::DecryptError,
        };
        let alert = match broken {
            Broken::Kind(_) => AlertDescription::DecodeError,
            Broken::Length(_) => AlertDescription::RecordOverflow,
            Broken::Number => AlertDescription::BadRecordMac,
        };
        self.alert(alert, error)
    }

    /// Nothing is processed after this error, of which the peer is told.
    fn alert(&mut self, alert: AlertDescription, error: Error) -> Error {
        self.queue(Kind::Alert, &[alert.into()]);
        self.error.insert(error).clone()
    }

    /// Writes records of this content, if there is room for all of them.
    fn write(&mut self, kind: Kind, content: &[u8], to: &mut [u8]) -> Result<usize, EncryptError> {
        if self.has_said_close {
            return Err(EncryptError::EncryptExhausted);
        }
        let pieces = content.chunks(CONTENT_BYTES_MAX);
        let required_size = content.len() + pieces.len() * OVERHEAD;
        if to.len() < required_size {
            return Err(InsufficientSizeError { required_size }.into());
        }
        let mut records = Vec::new();
        for piece in pieces {
            record::append(kind, &mut self.sealed, piece, &mut records);
        }
        to[..records.len()].copy_from_slice(&records);
        Ok(records.len())
    }
}

/// Records of data.
#[derive(Debug)]
pub struct ReadTraffic<'c, 'i, Data> {
    connection: &'c mut UnbufferedServerConnection,
    rest: &'i mut [u8],
    side: PhantomData<Data>,
}

/// One record of data.
#[derive(Debug)]
pub struct AppDataRecord<'i> {
    /// So many further bytes of the input must not come again.
    pub discard: usize,
    /// Its content.
    pub payload: &'i [u8],
}

impl<Data> ReadTraffic<'_, '_, Data> {
    /// The next record, decrypted where it lies; `None` if another kind is next, or it is not whole.
    pub fn next_record(&mut self) -> Option<Result<AppDataRecord<'_>, Error>> {
        let Ok(Some((Kind::Data, discard))) = record::measure(self.rest) else {
            return None;
        };
        let (record, rest) = mem::take(&mut self.rest).split_at_mut(discard);
        self.rest = rest;
        Some(match record::open(record, &mut self.connection.opened) {
            Ok(payload) => Ok(AppDataRecord { discard, payload }),
            Err(broken) => Err(self.connection.fail(broken)),
        })
    }
}

/// A record to be encoded.
#[derive(Debug)]
pub struct EncodeTlsData<'c, Data> {
    connection: &'c mut UnbufferedServerConnection,
    record: Option<Vec<u8>>,
    side: PhantomData<Data>,
}

impl<Data> EncodeTlsData<'_, Data> {
    /// Writes the record; returns its length.
    ///
    /// # Errors
    ///
    /// If there is too little room, or it was written already.
    pub fn encode(&mut self, to: &mut [u8]) -> Result<usize, EncodeError> {
        let record = self.record.take().ok_or(EncodeError::AlreadyEncoded)?;
        let required_size = record.len();
        if to.len() < required_size {
            self.record = Some(record);
            return Err(InsufficientSizeError { required_size }.into());
        }
        to[..required_size].copy_from_slice(&record);
        self.connection.is_untransmitted = true;
        Ok(required_size)
    }
}

/// What was encoded is to be sent.
#[derive(Debug)]
pub struct TransmitTlsData<'c, Data> {
    connection: &'c mut UnbufferedServerConnection,
    side: PhantomData<Data>,
}

impl<Data> TransmitTlsData<'_, Data> {
    /// It is sent, or will be before anything else.
    pub fn done(self) {
        self.connection.is_untransmitted = false;
    }
}

/// Data may be encrypted.
#[derive(Debug)]
pub struct WriteTraffic<'c, Data> {
    connection: &'c mut UnbufferedServerConnection,
    side: PhantomData<Data>,
}

impl<Data> WriteTraffic<'_, Data> {
    /// Encrypts `plain` into records; returns how many bytes they are.
    ///
    /// # Errors
    ///
    /// If there is too little room, or the stream has ended.
    pub fn encrypt(&mut self, plain: &[u8], to: &mut [u8]) -> Result<usize, EncryptError> {
        self.connection.write(Kind::Data, plain, to)
    }

    /// Ends the stream.
    ///
    /// # Errors
    ///
    /// As of [`encrypt`](Self::encrypt).
    pub fn queue_close_notify(&mut self, to: &mut [u8]) -> Result<usize, EncryptError> {
        let written = self.connection.write(Kind::Alert, CLOSE_NOTIFY, to)?;
        self.connection.has_said_close = true;
        Ok(written)
    }
}
