//! The memory of unfinished input, over all connections: when it exceeds its bound, the connections
//! that hold the most are closed, and others notice nothing.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    sync::Arc,
    thread,
};

use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    SupportedCipherSuite,
    crypto::cipher::{OutboundChunks, OutboundPlainMessage},
};

use crate::{
    baseline::Baseline,
    client::{Response, scrape},
    harness::{Driver, Server, eventually},
    process,
    tls_client::{Secure, Stream, handshake},
    wire::{self, BINARY, Raw},
};

on_both_drivers![
    holder_of_the_most_is_closed_with_1013_and_others_have_their_messages,
    messages_of_peers_that_lack_a_byte_take_no_more_than_the_bound,
    requests_that_are_not_whole_are_answered_503,
    records_that_are_not_whole_are_given_up,
    record_of_a_message_of_tls_that_is_not_whole_is_given_up,
    what_an_answer_has_freed_is_not_counted,
    handshake_of_tls_that_was_given_up_is_not_counted,
    what_a_paused_connection_keeps_counts,
    message_of_the_most_bytes_has_room,
];

const BOUND: usize = 1 << 20;
const FLAGS: [&str; 4] = ["--cores", "1", "--unfinished-bytes-max", "1MiB"];

fn held(server: &Server) -> usize {
    scrape(server)["hubbub_unfinished_held_bytes"] as usize
}

/// How many connections have ended for this, with a code or without.
fn closed(server: &Server) -> f64 {
    ["1013", "none"]
        .map(|code| {
            let labels =
                format!(r#"{{code="{code}",initiator="server",reason="unfinished_full"}}"#);
            scrape(server)[&format!("hubbub_connections_ended_total{labels}")]
        })
        .iter()
        .sum()
}

/// A message that lacks its last byte, and that byte.
fn cut(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut frame = wire::frame(BINARY, &vec![7; bytes]);
    let last = frame.split_off(frame.len() - 1);
    (frame, last)
}

/// A peer whose message has arrived except for its last byte.
fn begin(server: &Server, bytes: usize) -> Raw {
    let come = || scrape(server)["hubbub_received_bytes_total"] as usize;
    let mut raw = Raw::open(server, "/echo");
    let before = come();
    raw.send(cut(bytes).0);
    eventually("it has come", || come() >= before + bytes);
    raw
}

/// Close frames that the server has sent.
fn told(server: &Server) -> f64 {
    scrape(server)[r#"hubbub_frames_sent_total{kind="close"}"#]
}

fn holder_of_the_most_is_closed_with_1013_and_others_have_their_messages(driver: Driver) {
    let server = Server::start(driver, &FLAGS);
    let mut large = begin(&server, 65_000);
    let mut others = Vec::new();
    // Memory grows by doubling, so they may hold up to twice what has arrived: less than the large
    // one.
    while told(&server) == 0.0 {
        assert!(others.len() * 20_000 < BOUND, "nobody is closed");
        assert!(held(&server) <= BOUND);
        others.push(begin(&server, 20_000));
    }
    assert!(
        others.len() * 40_000 > BOUND - 2 * 65_000,
        "{}",
        others.len()
    );
    assert_eq!(large.frame().close_code(), 1013);
    // An eighth of the bound is freed at once, which takes a few of the next largest as well.
    let mut few = 1;
    for mut raw in others {
        raw.send(cut(20_000).1);
        match raw.message() {
            frame if frame.opcode() == wire::CLOSE => few += 1,
            frame => assert!(frame.payload == [7; 20_000]),
        }
    }
    assert!(few <= 1 + BOUND / 8 / 20_000 + 1, "{few} were closed");
    drop(large);
    eventually("they are counted", || closed(&server) == few as f64);
    eventually("nothing is held", || held(&server) == 0);
}

fn messages_of_peers_that_lack_a_byte_take_no_more_than_the_bound(driver: Driver) {
    const PEERS: usize = 400;
    process::allow_descriptors(PEERS + 1_000);
    let flags = ["--cores", "1", "--unfinished-bytes-max", "4MiB"];
    let times = ["--close-timeout", "1s"];
    let server = Server::start(driver, &[&flags[..], &times].concat());
    let mut baseline = Baseline::of(&server);
    let attackers: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, wire::upgrade("/rooms/r").as_bytes());
            // It may have been closed already.
            let _ = stream.write_all(&cut(60_000).0);
            stream
        })
        .collect();
    // 64 KiB each, or 128 KiB if it arrived in pieces.
    eventually("those beyond it have been closed", || {
        baseline.serves_others();
        closed(&server) >= (PEERS - 70) as f64
    });
    assert!(held(&server) <= 4 << 20, "{}", held(&server));
    let grown = baseline.grown();
    assert!(grown < 16 << 20, "{grown} bytes more");
    drop(attackers);
    baseline.is_restored();
    eventually("nothing is held", || held(&server) == 0);
}

fn requests_that_are_not_whole_are_answered_503(driver: Driver) {
    let server = Server::start(driver, &FLAGS);
    let mut begun = wire::request("GET", "/echo", &["X: y"]).into_bytes();
    begun.truncate(begun.len() - 4);
    begun.resize(15 << 10, b'y');
    let begin = || {
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, &begun);
        stream
    };
    let mut peers: Vec<TcpStream> = (0..30).map(|_| begin()).collect();
    eventually("they have come", || held(&server) >= 30 * begun.len());
    assert_eq!(closed(&server), 0.0);
    peers.extend((0..60).map(|_| begin()));
    eventually("all have come", || {
        scrape(&server)["hubbub_received_bytes_total"] as usize >= 90 * begun.len()
    });
    eventually("no more is held than may be", || held(&server) <= BOUND);
    // A connection that was not answered is served once its request is whole.
    let mut statuses = Vec::new();
    for mut peer in peers {
        // A connection that was answered may have ended.
        let _ = peer.write_all(b"\r\n\r\n");
        statuses.push(Response::read_from(&mut peer).status);
    }
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    assert!(count(503) > 0 && count(426) >= 30, "{statuses:?}");
    assert_eq!(count(503) + count(426), 90, "{statuses:?}");
    let refused = r#"hubbub_handshakes_rejected_total{reason="unfinished_full"}"#;
    eventually("they are counted", || {
        scrape(&server)[refused] == count(503) as f64
    });
}

fn records_that_are_not_whole_are_given_up(driver: Driver) {
    let flags = [&FLAGS[..], &["--close-timeout", "10m"]].concat();
    let secure = Secure::start(driver, &flags);
    let held = || held(&secure.server);
    let mut peers = Vec::new();
    // 16 KiB each.
    for _ in 0..120 {
        let mut raw = secure.raw("/echo");
        let Stream { conn, sock } = &mut raw.stream;
        conn.writer()
            .write_all(&wire::frame(BINARY, &[7; 16_000]))
            .unwrap();
        let mut record = Vec::new();
        conn.write_tls(&mut record).unwrap();
        sock.write_all(&record[..record.len() - 1]).unwrap();
        peers.push(raw);
    }
    eventually("some are closed", || told(&secure.server) >= 50.0);
    eventually("no more is held than may be", || held() <= BOUND);
    assert!(secure.serves());
    let mut codes = Vec::new();
    for raw in &mut peers {
        raw.stream.sock.set_nonblocking(true).unwrap();
        let is_told = raw.stream.sock.peek(&mut [0]).is_ok();
        raw.stream.sock.set_nonblocking(false).unwrap();
        if is_told {
            codes.push(raw.frame().close_code());
        }
    }
    assert!(
        codes.len() >= 50 && codes.iter().all(|code| *code == 1013),
        "{codes:?}"
    );
    drop(peers);
    eventually("nothing is held", || held() == 0);
}

/// The peer has sent more than its queue has room for, and reads nothing: the server keeps the rest
/// of a receive, and the message that came last.
fn what_a_paused_connection_keeps_counts(driver: Driver) {
    let queue = [
        "--message-bytes-max",
        "1MiB",
        "--send-queue-bytes-max",
        "1MiB",
    ];
    let server = Server::start(driver, &[&FLAGS[..], &queue].concat());
    let stream = wire::connect_narrow(server.address(), 4096);
    let raw = Raw::over(stream, wire::upgrade("/echo"));
    let mut sending = raw.stream.try_clone().unwrap();
    let flood = thread::spawn(move || {
        let frame = wire::frame(BINARY, &[7; 300_000]);
        while sending.write_all(&frame).is_ok() {}
    });
    eventually("it is paused", || held(&server) > 300_000);
    raw.stream.shutdown(Shutdown::Both).unwrap();
    flood.join().unwrap();
    wire::reset(raw.stream);
    eventually("nothing is held", || held(&server) == 0);
}

/// A whole record with the beginning of a longer TLS message (KeyUpdate): rustls keeps its position
/// in it until the rest has arrived.
fn record_of_a_message_of_tls_that_is_not_whole_is_given_up(driver: Driver) {
    let flags = [&FLAGS[..], &["--close-timeout", "10m"]].concat();
    let mut secure = Secure::start(driver, &flags);
    let mut config = ClientConfig::clone(&secure.config);
    config.enable_secret_extraction = true;
    secure.config = Arc::new(config);
    let mut other = secure.connect("/echo");
    let begun = [&[24, 0, 0x75, 0x30], &[0; 16_000][..]].concat();
    let peers = (0..120).map(|_| {
        let (conn, mut sock) = secure.raw("/echo").stream.into_parts();
        let record = handshake_record(conn, &begun);
        // It may have been closed already.
        let _ = sock.write_all(&record);
        sock
    });
    let peers: Vec<_> = peers.collect();
    eventually("some are closed", || told(&secure.server) >= 50.0);
    eventually("no more is held than may be", || {
        held(&secure.server) <= BOUND
    });
    assert!(secure.serves());
    other.send("still there");
    assert_eq!(other.text(), "still there");
    drop(peers);
    eventually("nothing is held", || held(&secure.server) == 0);
}

/// The next record of a connection of TLS 1.3, with this content of a handshake.
fn handshake_record(conn: ClientConnection, content: &[u8]) -> Vec<u8> {
    let Some(SupportedCipherSuite::Tls13(suite)) = conn.negotiated_cipher_suite() else {
        panic!("no TLS 1.3");
    };
    let (number, secrets) = conn.dangerous_extract_secrets().unwrap().tx;
    let (key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("another cipher"),
    };
    let plain = OutboundPlainMessage {
        typ: ContentType::Handshake,
        version: ProtocolVersion::TLSv1_2,
        payload: OutboundChunks::Single(content),
    };
    let mut encrypter = suite.aead_alg.encrypter(key, iv);
    encrypter.encrypt(plain, number).unwrap().encode()
}

/// An unfinished record is behind a whole request.
fn what_an_answer_has_freed_is_not_counted(driver: Driver) {
    let flags = [&FLAGS[..], &["--close-timeout", "10m"]].concat();
    let secure = Secure::start(driver, &flags);
    let peers = (0..40).map(|_| {
        let mut stream = secure.stream();
        handshake(&mut stream).unwrap();
        let Stream { conn, sock } = &mut stream;
        let mut records = Vec::new();
        let request = wire::request("GET", "/", &[]);
        for content in [request.as_bytes(), &[b'x'; 16_000]] {
            conn.writer().write_all(content).unwrap();
            while conn.wants_write() {
                conn.write_tls(&mut records).unwrap();
            }
        }
        sock.write_all(&records[..records.len() - 1]).unwrap();
        stream
    });
    let mut peers: Vec<_> = peers.collect();
    for peer in &mut peers {
        assert_eq!(Response::read_from(peer).status, 200);
    }
    // These connections are still open.
    eventually("nothing is counted", || held(&secure.server) == 0);
    drop(peers);
}

fn handshake_of_tls_that_was_given_up_is_not_counted(driver: Driver) {
    let times = ["--tls-handshake-timeout", "2s", "--close-timeout", "10m"];
    let secure = Secure::start(driver, &[&FLAGS[..], &times].concat());
    // A record of 8 KiB of which most is missing.
    let begun = [&[0x16, 3, 1, 0x20, 0][..], &[0; 3000]].concat();
    let peers = (0..10).map(|_| {
        let mut stream = wire::connect(secure.server.address());
        wire::send(&mut stream, &begun);
        stream
    });
    let peers: Vec<_> = peers.collect();
    eventually("some of it is counted", || held(&secure.server) > 0);
    // The server waits for none of them, though a close may take long.
    let connections = || scrape(&secure.server)[r#"hubbub_connections{protocol="none"}"#];
    eventually("they have ended", || connections() == 0.0);
    assert_eq!(held(&secure.server), 0);
    drop(peers);
}

fn message_of_the_most_bytes_has_room(driver: Driver) {
    let flags = [
        "--message-bytes-max",
        "1MiB",
        "--send-queue-bytes-max",
        "2MiB",
    ];
    let server = Server::start(driver, &[&FLAGS[..], &flags].concat());
    let (begun, last) = cut(1 << 20);
    let mut raw = Raw::open(&server, "/echo");
    raw.send(begun);
    eventually("its memory has grown beyond the bound", || {
        held(&server) > BOUND
    });
    raw.send(last);
    assert!(raw.message().payload == vec![7; 1 << 20]);
    assert_eq!(closed(&server), 0.0);
}
