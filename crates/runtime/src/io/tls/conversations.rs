//! Tests of whole TLS conversations with a client, in memory, however the ciphertext is split.

use std::{
    io::{Read, Write},
    mem,
};

use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, RootCertStore,
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{aws_lc_rs, cipher::OutboundPlainMessage},
    pki_types::{PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};

use super::*;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Both sides of a connection.
struct Pair {
    server: Tls,
    client: ClientConnection,
    wire: Vec<u8>,
    plain: Vec<u8>,
}

impl Pair {
    /// A connection before its first byte.
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let names = vec!["localhost".to_owned()];
        let signed = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = signed.cert.der().clone();
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut trusting = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        trusting.enable_secret_extraction = true;
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            server: Tls::new(Arc::new(config), 0).unwrap(),
            client: ClientConnection::new(Arc::new(trusting), name).unwrap(),
            wire: vec![0; 2 * RECORD_BYTES_MAX],
            plain: vec![0; 2 * RECORD_BYTES_MAX],
        }
    }

    /// A connection after its handshake, whose bytes reach the server in pieces of `piece_bytes`.
    fn open(version: &'static SupportedProtocolVersion, piece_bytes: usize) -> Self {
        let mut pair = Self::new(version);
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            let said = pair.said();
            let heard = said.chunks(piece_bytes).map(|piece| pair.receive(piece));
            assert_eq!(heard.map(|heard| heard.len()).sum::<usize>(), 0);
            pair.flush(&[]);
        }
        pair
    }

    /// These pieces of one handshake message, each in a record of its own under the client's keys,
    /// as no good client would send them. The client sends nothing after that.
    fn in_records(&mut self, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let client = mem::replace(&mut self.client, Self::new(&TLS13).client);
        let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
            panic!("no TLS 1.3");
        };
        let secrets = client.dangerous_extract_secrets().unwrap();
        let (first, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else {
            panic!("another cipher");
        };
        let mut encrypter = suite.aead_alg.encrypter(key, iv);
        let messages = pieces.iter().map(|piece| OutboundPlainMessage {
            typ: ContentType::Handshake,
            version: ProtocolVersion::TLSv1_2,
            payload: (*piece).into(),
        });
        let records = messages.zip(first..);
        let records = records.map(|(message, number)| encrypter.encrypt(message, number));
        records.map(|record| record.unwrap().encode()).collect()
    }

    /// The bytes that the client has to send.
    fn said(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut said).unwrap();
        }
        said
    }

    /// Passes this ciphertext to the server in one receive; returns its plaintext.
    fn receive(&mut self, piece: &[u8]) -> Vec<u8> {
        match self.receive_last(piece, PeerStream::Open) {
            Opened::Plain(bytes) => self.plain[..bytes].to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// The same, with this state of the peer's stream.
    fn receive_last(&mut self, piece: &[u8], peer: PeerStream) -> Opened {
        let kept = self.server.put_kept(&mut self.wire);
        let end = kept + piece.len();
        self.wire[kept..end].copy_from_slice(piece);
        self.server
            .open(&mut self.wire[..end], &mut self.plain, peer)
    }

    /// Lets the server send what it has queued and then `plain`; returns the plaintext that the
    /// client reads.
    fn flush(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut wire = mem::take(&mut self.server.unsent);
        let mut rest = plain;
        while !rest.is_empty() {
            let sealed = self.server.seal(rest, &mut wire).unwrap();
            rest = &rest[sealed..];
        }
        let mut wire = &wire[..];
        let mut heard = Vec::new();
        while !wire.is_empty() {
            self.client.read_tls(&mut wire).unwrap();
            self.client.process_new_packets().unwrap();
            // An error means that there is no more plaintext yet.
            let _ = self.client.reader().read_to_end(&mut heard);
        }
        heard
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 / 5) as u8).collect()
}

#[test]
fn bytes_in_any_pieces_are_the_same_while_this_side_speaks_and_keys_change() {
    for version in VERSIONS {
        for piece_bytes in [1, 2, 3, 5, 21, 4_000, RECORD_BYTES_MAX] {
            let mut pair = Pair::open(version, piece_bytes);
            for bytes in [1, 100, 16_383, 16_384, 16_385, 30_000] {
                let sent = content(bytes);
                pair.client.writer().write_all(&sent).unwrap();
                if *version == TLS13 {
                    // The server must answer with a key update of its own before it sends next.
                    pair.client.refresh_traffic_keys().unwrap();
                }
                let said = pair.said();
                let mut heard = Vec::new();
                for (at, piece) in said.chunks(piece_bytes).enumerate() {
                    heard.extend(pair.receive(piece));
                    // The server also sends while the client's records are incomplete.
                    if at % 100 == 0 {
                        assert_eq!(pair.flush(b"meanwhile"), b"meanwhile");
                    }
                }
                assert!(heard == sent, "{bytes} bytes in pieces of {piece_bytes}");
                let answer = content(3 * bytes);
                assert!(pair.flush(&answer) == answer, "{bytes} bytes");
            }
            assert_eq!(pair.server.kept.capacity(), 0);
        }
    }
}

/// While a part of the peer's handshake message is kept, rustls holds an offset to it.
#[test]
fn message_of_the_handshake_in_many_records_is_put_together_while_this_side_speaks() {
    for piece_bytes in [1, 7, usize::MAX] {
        let mut pair = Pair::open(&TLS13, usize::MAX);
        // A KeyUpdate that does not request one in return.
        let records = pair.in_records(&[&[24, 0], &[0], &[1, 0]]);
        for (at, record) in records.iter().enumerate() {
            for piece in record.chunks(piece_bytes) {
                assert_eq!(pair.receive(piece), b"");
                assert_eq!(pair.server.seal(b"meanwhile", &mut Vec::new()).unwrap(), 9);
            }
            assert_eq!(pair.server.kept.is_empty(), at == 2);
        }
    }
}

#[test]
fn keys_are_worn_before_their_last_record_where_they_cannot_change() {
    for (version, has_worn_keys) in [(&TLS12, true), (&TLS13, false)] {
        let mut pair = Pair::open(version, usize::MAX);
        // One message of four records uses up what is left.
        pair.server.records = RECORDS_MAX - 4;
        pair.flush(&[0; 3 * (16 << 10) + 1]);
        assert!(!pair.server.has_worn_keys());
        pair.flush(&[0]);
        assert_eq!(pair.server.has_worn_keys(), has_worn_keys);
        // What is queued can still be sent.
        assert_eq!(pair.flush(b"the end"), b"the end");
    }
}

#[test]
fn end_is_said_once_and_nothing_after_it() {
    for version in VERSIONS {
        let mut pair = Pair::open(version, usize::MAX);
        pair.server.say_last();
        let said = pair.server.unsent.len();
        pair.server.say_last();
        assert!(said > 0);
        assert_eq!(pair.server.unsent.len(), said);
        assert!(pair.server.seal(b"more", &mut Vec::new()).is_err());
        assert_eq!(pair.flush(&[]), b"");
        assert_eq!(pair.client.reader().read(&mut [0; 9]).unwrap(), 0);
        pair.client.writer().write_all(b"late").unwrap();
        let said = pair.said();
        assert_eq!(pair.receive(&said), b"");
    }
}

/// A handshake costs the server more than the peer, so none is begun with a peer that cannot finish
/// it.
#[test]
fn hello_of_a_peer_that_has_gone_is_not_answered() {
    for version in VERSIONS {
        for peer in [PeerStream::Ended, PeerStream::Broken] {
            let mut pair = Pair::new(version);
            let hello = pair.said();
            let opened = pair.receive_last(&hello, peer);
            assert!(matches!(opened, Opened::PeerGone), "{opened:?}");
            assert!(pair.server.unsent.is_empty());
        }
    }
}

/// After the server's answer the peer may send its last bytes and end its stream, and the handshake
/// still completes, unless the connection is broken.
#[test]
fn handshake_goes_on_with_the_last_that_a_peer_has_said() {
    for version in VERSIONS {
        for peer in [PeerStream::Ended, PeerStream::Broken] {
            let mut pair = Pair::new(version);
            let hello = pair.said();
            assert_eq!(pair.receive(&hello), b"");
            pair.flush(&[]);
            let finished = pair.said();
            let opened = pair.receive_last(&finished, peer);
            match peer {
                PeerStream::Ended => {
                    assert!(matches!(opened, Opened::Plain(0)), "{opened:?}");
                    assert!(!pair.server.is_handshaking());
                }
                _ => assert!(matches!(opened, Opened::PeerGone), "{opened:?}"),
            }
        }
    }
}

#[test]
fn receive_after_one_of_short_records_brings_only_so_many_of_them() {
    for version in VERSIONS {
        let mut pair = Pair::open(version, RECORD_BYTES_MAX);
        let messages = |pair: &mut Pair, count: usize, bytes: usize| {
            for _ in 0..count {
                pair.client.writer().write_all(&content(bytes)).unwrap();
            }
            let said = pair.said();
            assert_eq!(pair.receive(&said).len(), count * bytes);
            said.len()
        };
        // Up to this many records do not reduce the next receive.
        messages(&mut pair, RECORDS_PER_RECEIVE, 1);
        let before = pair.server.receive_bytes();
        assert!(before > 64 << 10);
        let bytes = messages(&mut pair, 5 * RECORDS_PER_RECEIVE, 1);
        assert_eq!(
            pair.server.receive_bytes(),
            (bytes / 5).max(RECEIVE_BYTES_MIN)
        );
        // After a few receives of long records, receives are as large as before.
        for _ in 0..7 {
            messages(&mut pair, 1, 10_000);
        }
        assert!(pair.server.receive_bytes() > 64 << 10);
    }
}
