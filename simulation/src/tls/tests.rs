//! Tests of simulated TLS: its server's side demands what rustls demands, and its peer reads strictly.

use std::sync::Arc;

use runtime::simulation::tls::{
    ConnectionState, ServerConfig, UnbufferedServerConnection, UnbufferedStatus,
};

use super::*;

/// A server's side, and the number of the peer's next record.
struct Server {
    connection: UnbufferedServerConnection,
    sealed: u8,
    /// What it has to send.
    said: Vec<u8>,
}

impl Server {
    fn new() -> Self {
        Self {
            connection: UnbufferedServerConnection::new(Arc::new(ServerConfig)).unwrap(),
            sealed: 0,
            said: Vec::new(),
        }
    }

    /// After the handshake.
    fn open() -> Self {
        let mut server = Self::new();
        for message in [CLIENT_HELLO, FINISHED] {
            let mut record = server.record(Kind::Handshake, message);
            assert_eq!(server.take(&mut record), (record.len(), Ok(Vec::new())));
        }
        assert!(!server.connection.is_handshaking());
        server
    }

    fn record(&mut self, kind: Kind, content: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        record::append(kind, &mut self.sealed, content, &mut record);
        record
    }

    /// Has the server process this: returns how much it consumed, and the data.
    fn take(&mut self, input: &mut [u8]) -> (usize, Result<Vec<u8>, rustls::Error>) {
        let (mut from, mut data) = (0, Vec::new());
        loop {
            let status = self.connection.process_tls_records(&mut input[from..]);
            let UnbufferedStatus { mut discard, state } = status;
            let mut is_done = false;
            match state {
                Err(error) => return (from + discard, Err(error)),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                data.extend_from_slice(record.payload);
                                discard += record.discard;
                            }
                            Err(error) => return (from + discard, Err(error)),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut encoding)) => {
                    encoding.encode(&mut []).unwrap_err();
                    let at = self.said.len();
                    self.said.resize(at + 64, 0);
                    let bytes = encoding.encode(&mut self.said[at..]).unwrap();
                    self.said.truncate(at + bytes);
                }
                Ok(ConnectionState::TransmitTlsData(transmission)) => transmission.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => is_done = true,
            }
            from += discard;
            if is_done {
                return (from, Ok(data));
            }
        }
    }
}

#[test]
fn server_reads_records_however_they_are_split() {
    let mut server = Server::open();
    let mut all = server.record(Kind::Data, b"one");
    all.extend(server.record(Kind::Data, b""));
    all.extend(server.record(Kind::Data, b"two"));
    let whole = all.len();
    all.extend(server.record(Kind::Data, b"three"));
    let end = all.len();
    let taken = server.take(&mut all[..end - 1]);
    assert_eq!(taken, (whole, Ok(b"onetwo".to_vec())));
    let taken = server.take(&mut all[whole..]);
    assert_eq!(taken, (end - whole, Ok(b"three".to_vec())));
}

#[test]
#[should_panic(expected = "has not come again")]
fn server_panics_if_less_comes_again() {
    let mut server = Server::open();
    let mut record = server.record(Kind::Data, b"one");
    assert_eq!(server.take(&mut record[..4]), (0, Ok(Vec::new())));
    let _ = server.take(&mut record[..3]);
}

#[test]
#[should_panic(expected = "has not come again")]
fn server_panics_if_something_else_comes_again() {
    let mut server = Server::open();
    let mut record = server.record(Kind::Data, b"one");
    assert_eq!(server.take(&mut record[..5]), (0, Ok(Vec::new())));
    record.remove(4);
    let _ = server.take(&mut record);
}

#[test]
fn server_refuses_what_breaks_a_rule_and_says_so() {
    type Break = fn(&mut Server) -> Vec<u8>;
    let breaks: [Break; 7] = [
        |_| vec![0x18, 0, 1, 0],
        |_| b"GET / HTTP/1.1".to_vec(),
        |_| vec![0x17, 0, 0],
        |_| vec![0x17, 0x40, 0x02],
        |server| {
            server.sealed += 1;
            server.record(Kind::Data, b"behind one that is missing")
        },
        |server| {
            server.sealed += 1;
            server.record(Kind::Alert, CLOSE_NOTIFY)
        },
        |server| server.record(Kind::Handshake, FINISHED),
    ];
    for (nth, broken) in breaks.into_iter().enumerate() {
        let mut server = Server::open();
        let mut input = broken(&mut server);
        assert!(server.take(&mut input).1.is_err(), "{nth}");
        assert!(server.connection.wants_write(), "{nth}");
    }
    let mut server = Server::new();
    let mut early = server.record(Kind::Data, b"before the handshake");
    assert!(server.take(&mut early).1.is_err());
}

/// A good peer after the handshake, and the number of its server's next record.
fn peer() -> (Channel, u8) {
    let mut channel = Channel::new(Manner::Good, Rng::with_seed(1));
    let (mut sealed, mut said) = (0, Vec::new());
    record::append(Kind::Handshake, &mut sealed, SERVER_HELLO, &mut said);
    record::append(Kind::Handshake, &mut sealed, TICKET, &mut said);
    for byte in said {
        assert_eq!(channel.open(&[byte]), Ok(Vec::new()));
    }
    assert_eq!(channel.phase, Phase::Open);
    (channel, sealed)
}

#[test]
fn peer_reads_records_and_nothing_else() {
    let (mut channel, mut sealed) = peer();
    let mut said = Vec::new();
    record::append(Kind::Data, &mut sealed, b"data", &mut said);
    assert_eq!(channel.open(&said), Ok(b"data".to_vec()));
    assert!(channel.open(&said).is_err(), "a record came twice");
    let (mut channel, _) = peer();
    assert!(channel.open(b"HTTP/1.1 200 OK").is_err());
    assert!(channel.check_end().is_err());
    let (mut channel, mut sealed) = peer();
    let mut said = Vec::new();
    record::append(Kind::Alert, &mut sealed, CLOSE_NOTIFY, &mut said);
    assert_eq!(channel.open(&said), Ok(Vec::new()));
    assert_eq!(channel.check_end(), Ok(()));
    assert!(channel.open(&[0x17]).is_err());
}

#[test]
fn peer_says_all_of_it_in_records() {
    for seed in 0..20 {
        let mut channel = Channel::new(Manner::Good, Rng::with_seed(seed));
        let mut server = Server::new();
        let (mut input, mut heard) = (Vec::new(), Vec::new());
        let text: Vec<u8> = (0..40_000).map(|nth| nth as u8).collect();
        let mut to_say = text.clone().into();
        while heard.len() < text.len() {
            channel.seal(&mut to_say);
            let arrived = 3_000.min(channel.to_write.len());
            input.extend(channel.to_write.drain(..arrived));
            let (consumed, data) = server.take(&mut input);
            input.drain(..consumed);
            heard.extend(data.unwrap());
            assert_eq!(channel.open(&server.said.split_off(0)), Ok(Vec::new()));
        }
        assert_eq!((heard, channel.to_write.len()), (text, 0));
    }
}
