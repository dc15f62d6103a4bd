//! TLS handshakes, good and bad: versions, ciphers, resumption, and how each failure ends.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use rustls::{
    AlertDescription, Error, HandshakeKind, ProtocolVersion, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::{
    client::{Client, Response},
    harness::{Driver, PATIENCE, eventually},
    process,
    tls_client::{Secure, Stream, config, handshake, over, records, sum},
    wire::{self, TEXT},
};

on_both_drivers![
    client_of_either_version_is_served,
    session_is_resumed_in_either_version,
    protocol_is_http_1_1_or_none,
    keys_are_updated_while_messages_pass,
    openssl_has_tls_1_2_and_1_3_with_forward_secrecy_alone,
    renegotiation_is_refused,
    python_is_served,
    plain_http_is_answered_400,
    client_hello_byte_by_byte_is_served,
    handshake_that_stops_is_ended_in_time,
    handshake_that_drips_is_ended_in_time,
    whole_handshakes_time_holds_for_tls_too,
    bytes_of_no_protocol_get_an_alert,
    hello_without_end_is_refused,
    record_that_was_tampered_with_gets_an_alert,
    alert_of_the_client_ends_the_handshake,
    handshakes_at_once_disturb_no_room,
    handshake_of_a_peer_that_has_gone_costs_none,
    request_and_end_behind_a_handshake_are_answered,
];

/// A whole ClientHello, as a good client sends it.
fn client_hello(secure: &Secure) -> Vec<u8> {
    let mut client = over(wire::connect(secure.server.address()), &secure.config);
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).unwrap();
    hello
}

fn client_of_either_version_is_served(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let versions: [(&'static SupportedProtocolVersion, _, _); 2] = [
        (&TLS12, ProtocolVersion::TLSv1_2, "1.2"),
        (&TLS13, ProtocolVersion::TLSv1_3, "1.3"),
    ];
    for (offered, expected, label) in versions {
        let config = Arc::new(config(&secure.authority, &[offered]));
        let stream = over(wire::connect(secure.server.address()), &config);
        let mut client = Client::over(stream, "/echo", &[]).unwrap();
        client.send("hello");
        assert_eq!(client.text(), "hello");
        assert_eq!(client.stream().conn.protocol_version(), Some(expected));
        client.leave();
        let label = format!("version=\"{label}\"");
        assert_eq!(
            sum(&secure.server, "hubbub_tls_handshakes_total", &label),
            1
        );
    }
    assert_eq!(
        sum(&secure.server, "hubbub_tls_handshake_seconds_count", ""),
        2
    );
}

fn session_is_resumed_in_either_version(driver: Driver) {
    // A ticket is valid on every core.
    let secure = Secure::start(driver, &["--cores", "2"]);
    let versions: [&'static SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    for version in versions {
        let config = Arc::new(config(&secure.authority, &[version]));
        for n in 0..8 {
            let stream = over(wire::connect(secure.server.address()), &config);
            let mut client = Client::over(stream, "/echo", &[]).unwrap();
            client.send("hello");
            assert_eq!(client.text(), "hello");
            let expected = match n {
                0 => HandshakeKind::Full,
                _ => HandshakeKind::Resumed,
            };
            assert_eq!(client.stream().conn.handshake_kind(), Some(expected));
            client.leave();
        }
    }
    let count = |label| sum(&secure.server, "hubbub_tls_handshakes_total", label);
    assert_eq!(count("resumed=\"yes\""), 14);
    assert_eq!(count("resumed=\"no\""), 2);
}

fn protocol_is_http_1_1_or_none(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let offering = |protocols: &[&[u8]]| {
        let mut config = config(&secure.authority, &[&TLS13, &TLS12]);
        config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        let mut stream = over(wire::connect(secure.server.address()), &Arc::new(config));
        handshake(&mut stream).map(|()| stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(offering(&[]).unwrap(), None);
    let chosen = offering(&[b"h2", b"http/1.1"]).unwrap();
    assert_eq!(chosen.as_deref(), Some(&b"http/1.1"[..]));
    let refused = offering(&[b"h2"]).unwrap_err();
    let alert = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    assert_eq!(failure(&refused), Some(&alert));
    eventually("it has failed", || secure.ended("tls_failed") == 1);
}

/// The message of rustls for a failure.
fn failure(error: &std::io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn keys_are_updated_while_messages_pass(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let mut client = secure.connect("/echo");
    for n in 0..50 {
        client.stream().conn.refresh_traffic_keys().unwrap();
        client.send(format!("{n}"));
        assert_eq!(client.text(), format!("{n}"));
    }
    client.leave();
}

fn s_client(secure: &Secure, flags: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    let address = secure.server.address().to_string();
    command.args(["s_client", "-connect", &address, "-CAfile"]);
    command.arg(secure.authority.root());
    command.args(["-verify_return_error", "-servername", "localhost"]);
    command.args(flags);
    command.stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// A client with everything that OpenSSL supports, good or bad.
fn openssl_has_tls_1_2_and_1_3_with_forward_secrecy_alone(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let all = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";
    for old in ["-tls1", "-tls1_1"] {
        let output = s_client(&secure, &[old, "-cipher", all]).output().unwrap();
        assert!(!output.status.success(), "{}", said(&output));
        // rustls chooses which of its two faults it names: version, or no signature scheme.
        let refusals = ["alert protocol version", "alert handshake failure"];
        let is_refused = refusals.iter().any(|alert| said(&output).contains(alert));
        assert!(is_refused, "{}", said(&output));
    }
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let output = s_client(&secure, &[version]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains(name), "{}", said(&output));
        assert!(said(&output).contains("Verification: OK"));
    }
    let listed = Command::new("openssl")
        .args(["ciphers", all])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let older = listed
        .trim()
        .split(':')
        .filter(|name| !name.starts_with("TLS_"));
    let older: Vec<_> = older.collect();
    assert!(older.len() > 40, "{listed}");
    let accepted: BTreeSet<_> = older
        .into_iter()
        .filter(|cipher| {
            let only = format!("{cipher}:@SECLEVEL=0");
            let output = s_client(&secure, &["-tls1_2", "-cipher", &only]).output();
            output.unwrap().status.success()
        })
        .collect();
    // Those of an ECDSA certificate; with RSA the same three begin with ECDHE-RSA.
    let expected = [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ];
    assert_eq!(accepted, expected.into());
    assert!(secure.serves());
}

fn renegotiation_is_refused(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let mut command = s_client(&secure, &["-tls1_2"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_connected = lines.any(|line| line.unwrap().starts_with("    Verify return code"));
    assert!(is_connected);
    child.stdin.as_mut().unwrap().write_all(b"R\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains("no renegotiation"), "{said}");
    assert!(secure.serves());
}

fn python_is_served(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let script = r#"
import socket, ssl, sys
port, root = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=root)
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    with context.wrap_socket(plain, server_hostname="localhost") as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert f"Content-Length: {len(body)}".lower().encode() in head.lower(), head
        stream.unwrap()
print("good")
"#;
    let port = secure.server.address().port().to_string();
    let mut command = Command::new("python3");
    command
        .args(["-c", script, &port])
        .arg(secure.authority.root());
    let output = command.output().unwrap();
    assert!(said(&output).contains("good"), "{}", said(&output));
}

fn plain_http_is_answered_400(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let requests = [
        wire::request("GET", "/", &[]),
        wire::request("POST", "/rooms/r", &[]),
        wire::upgrade("/echo"),
    ];
    for request in &requests {
        for piece in [1, usize::MAX] {
            let mut stream = wire::connect(secure.server.address());
            for piece in request.as_bytes().chunks(piece) {
                wire::send(&mut stream, piece);
            }
            let answer = Response::read_from(&mut stream);
            assert_eq!(answer.status, 400);
            let body = String::from_utf8(answer.body).unwrap();
            assert!(
                body.contains("https://") && body.contains("wss://"),
                "{body}"
            );
        }
    }
    eventually("each has ended for it", || secure.ended("plain_http") == 6);
    assert!(secure.serves());
}

fn client_hello_byte_by_byte_is_served(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let mut stream = secure.stream();
    let mut hello = Vec::new();
    stream.conn.write_tls(&mut hello).unwrap();
    for byte in hello {
        stream.sock.write_all(&[byte]).unwrap();
    }
    let mut client = Client::over(stream, "/echo", &[]).unwrap();
    client.send("at last");
    assert_eq!(client.text(), "at last");
}

const SHORT: [&str; 2] = ["--tls-handshake-timeout", "300ms"];

fn handshake_that_stops_is_ended_in_time(driver: Driver) {
    let secure = Secure::start(driver, &SHORT);
    let hello = client_hello(&secure);
    for begun in [
        &hello[..0],
        &hello[..1],
        b"GE",
        &hello[..hello.len() / 2],
        &hello,
    ] {
        let began = Instant::now();
        let mut stream = wire::connect(secure.server.address());
        wire::send(&mut stream, begun);
        let sent = records(&mut stream);
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!(sent.is_empty(), begun.len() < hello.len(), "{sent:?}");
    }
    eventually("each has ended for it", || {
        // If this machine is busy and bytes arrive late, they count as nothing.
        let silent = secure.ended("silent_timeout");
        silent >= 1 && secure.ended("tls_handshake_timeout") + silent == 5
    });
    // One had to be opened to make the hello.
    assert_eq!(secure.ended(""), 6);
}

fn handshake_that_drips_is_ended_in_time(driver: Driver) {
    let secure = Secure::start(driver, &SHORT);
    let hello = client_hello(&secure);
    let mut stream = wire::connect(secure.server.address());
    let until = Instant::now() + PATIENCE;
    for byte in hello {
        assert!(Instant::now() < until, "it drips for ever");
        thread::sleep(Duration::from_millis(10));
        if stream.write_all(&[byte]).is_err() {
            break;
        }
    }
    eventually("it has ended for it", || {
        secure.ended("tls_handshake_timeout") == 1
    });
}

fn whole_handshakes_time_holds_for_tls_too(driver: Driver) {
    let flags = [
        "--handshake-timeout",
        "1s",
        "--tls-handshake-timeout",
        "60s",
    ];
    let secure = Secure::start(driver, &flags);
    let mut half = wire::connect(secure.server.address());
    wire::send(&mut half, &client_hello(&secure)[..1]);
    assert!(records(&mut half).is_empty());
    // Once TLS is done the client can be answered.
    let mut stream = secure.stream();
    handshake(&mut stream).unwrap();
    stream.write_all(b"GET").unwrap();
    stream.flush().unwrap();
    assert_eq!(Response::read_from(&mut stream).status, 408);
    drop(half);
    drop(stream);
    eventually("both have ended for it", || {
        secure.ended("handshake_timeout") == 2
    });
}

/// The only unencrypted alert that the server sends.
fn alert(stream: &mut TcpStream) -> Vec<u8> {
    let records = records(stream);
    let [(21, alert)] = &records[..] else {
        panic!("no alert but {records:?}");
    };
    alert.clone()
}

fn bytes_of_no_protocol_get_an_alert(driver: Driver) {
    const FATAL: u8 = 2;
    let secure = Secure::start(driver, &[]);
    let decode_error = [FATAL, u8::from(AlertDescription::DecodeError)];
    let unexpected = [FATAL, u8::from(AlertDescription::UnexpectedMessage)];
    let cases: [(&[u8], [u8; 2]); 6] = [
        (b"\0\x01\x02\x03\x04\x05\x06\x07", decode_error),
        (b"SSH-2.0-OpenSSH_9.2\r\n", decode_error),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", decode_error),
        (&[0xff; 1000], decode_error),
        // A record that is longer than permitted.
        (&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], decode_error),
        // Content before the handshake.
        (&[0x17, 3, 3, 0, 1, 9], unexpected),
    ];
    for (bytes, expected) in cases {
        let mut stream = wire::connect(secure.server.address());
        wire::send(&mut stream, bytes);
        assert_eq!(alert(&mut stream), expected, "{bytes:?}");
    }
    eventually("each has failed", || secure.ended("tls_failed") == 6);
    assert_eq!(secure.ended(""), 6);
    assert!(secure.serves());
}

/// A handshake message may announce 64 KiB and come in any number of records.
fn hello_without_end_is_refused(driver: Driver) {
    let secure = Secure::start(driver, &["--tls-handshake-timeout", "9s"]);
    let before = process::memory_peak(secure.server.pid());
    let many: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = wire::connect(secure.server.address());
            let mut hello = vec![0x16, 3, 1, 0x20, 0, 1, 0, 0xff, 0];
            hello.resize(5 + (8 << 10), 0);
            wire::send(&mut stream, &hello);
            for _ in 0..4 {
                let mut more = vec![0x16, 3, 1, 0x20, 0];
                more.resize(5 + (8 << 10), 0);
                wire::send(&mut stream, &more);
            }
            stream
        })
        .collect();
    eventually("all are refused", || {
        many.iter().all(|stream| {
            stream.set_nonblocking(true).unwrap();
            !matches!((&*stream).read(&mut [0; 100]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
        })
    });
    drop(many);
    eventually("each has failed", || secure.ended("tls_failed") == 200);
    let grown = process::memory_peak(secure.server.pid()) - before;
    assert!(grown < 12 << 20, "{grown} bytes");
}

fn record_that_was_tampered_with_gets_an_alert(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let versions: [&'static SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    for version in versions {
        for path in ["/echo", "/rooms/r"] {
            let config = Arc::new(config(&secure.authority, &[version]));
            let stream = over(wire::connect(secure.server.address()), &config);
            let mut client = Client::over(stream, path, &[]).unwrap();
            let Stream { conn, sock } = client.stream();
            conn.writer()
                .write_all(&wire::frame(TEXT, b"hello"))
                .unwrap();
            let mut record = Vec::new();
            conn.write_tls(&mut record).unwrap();
            *record.last_mut().unwrap() ^= 1;
            sock.write_all(&record).unwrap();
            let failed = client.stream().read(&mut [0; 100]).unwrap_err();
            let alert = Error::AlertReceived(AlertDescription::BadRecordMac);
            assert_eq!(failure(&failed), Some(&alert));
        }
    }
    eventually("each has failed", || secure.ended("tls_failed") == 4);
    assert_eq!(secure.ended(""), 4);
}

fn alert_of_the_client_ends_the_handshake(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let stranger = crate::tls_client::Authority::new();
    let config = Arc::new(config(&stranger, &[&TLS13, &TLS12]));
    let mut stream = over(wire::connect(secure.server.address()), &config);
    let refused = handshake(&mut stream).unwrap_err();
    assert!(matches!(
        failure(&refused),
        Some(Error::InvalidCertificate(_))
    ));
    // The client says so to the server.
    eventually("it has failed", || secure.ended("tls_failed") == 1);
    assert_eq!(secure.ended(""), 1);
    let log = secure.server.log();
    let line = log.lines().find(|line| line.contains("TLS failed"));
    let line = line.expect("the log tells of it");
    for word in [
        "INFO",
        "reason=\"tls_failed\"",
        "error=received fatal alert",
    ] {
        assert!(line.contains(word), "{word} is not in {line}");
    }
}

fn handshakes_at_once_disturb_no_room(driver: Driver) {
    const THREADS: usize = 8;
    let times = [
        "--handshake-timeout",
        "60s",
        "--tls-handshake-timeout",
        "60s",
    ];
    let secure = Secure::start(driver, &times);
    let mut talking: Vec<_> = (0..4).map(|_| secure.connect("/rooms/r")).collect();
    thread::scope(|scope| {
        let coming: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    // All of them are connected before the first finishes its handshake.
                    let mut streams: Vec<_> =
                        (0..1000 / THREADS).map(|_| secure.stream()).collect();
                    for stream in &mut streams {
                        handshake(stream).unwrap();
                    }
                    streams
                })
            })
            .collect();
        let mut number = 0;
        while coming.iter().any(|thread| !thread.is_finished()) || number < 100 {
            talking[number % 4].send(format!("{number}"));
            for member in &mut talking {
                assert_eq!(member.text(), format!("{number}"));
            }
            number += 1;
        }
        // A client has finished before the server reads its last record, and the server spends no cryptography on a peer
        // that has left: the streams stay open until all are counted.
        let streams: Vec<_> = coming
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        let done = || sum(&secure.server, "hubbub_tls_handshakes_total", "");
        eventually("all are counted", || done() == 1004);
        drop(streams);
    });
}

fn steps(secure: &Secure) -> u64 {
    sum(&secure.server, "hubbub_tls_handshake_steps_total", "")
}

/// Two hundred send a hello and leave, half of them by a reset, while the server is stopped. A good
/// handshake and a request over plain HTTP are among them.
fn handshake_of_a_peer_that_has_gone_costs_none(driver: Driver) {
    let secure = Secure::start(driver, &["--cores", "1", "--address-connections-max", "0"]);
    let hello = client_hello(&secure);
    let before = steps(&secure);
    secure.server.signal(Signal::STOP);
    let leaving: Vec<_> = (0..200)
        .map(|n| {
            let mut stream = wire::connect(secure.server.address());
            wire::send(&mut stream, &hello);
            if n % 2 == 0 {
                wire::reset(stream);
                return None;
            }
            stream.shutdown(Shutdown::Write).unwrap();
            Some(stream)
        })
        .collect();
    let mut plain = wire::connect(secure.server.address());
    wire::send(&mut plain, wire::request("GET", "/", &[]).as_bytes());
    plain.shutdown(Shutdown::Write).unwrap();
    let mut honest = wire::connect(secure.server.address());
    let mut tls = secure.over(honest.try_clone().unwrap());
    tls.conn.write_tls(&mut honest).unwrap();
    secure.server.signal(Signal::CONT);
    assert_eq!(Response::read_from(&mut plain).status, 400);
    let mut client = Client::over(tls, "/echo", &[]).unwrap();
    client.send("I am here");
    assert_eq!(client.text(), "I am here");
    eventually("all have ended for it", || {
        secure.ended("peer_gone_handshake") >= 200 && secure.ended("plain_http") == 1
    });
    let taken = steps(&secure) - before;
    assert!((2..=3).contains(&taken), "{taken} steps");
    drop(leaving);
}

/// A client that has received all it needs may send its last message along with its request.
fn request_and_end_behind_a_handshake_are_answered(driver: Driver) {
    let secure = Secure::start(driver, &["--cores", "1"]);
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(config(&secure.authority, &[version]));
        let mut stream = over(wire::connect(secure.server.address()), &config);
        stream.conn.write_tls(&mut stream.sock).unwrap();
        while stream.conn.is_handshaking() && !stream.conn.wants_write() {
            stream.conn.read_tls(&mut stream.sock).unwrap();
            stream.conn.process_new_packets().unwrap();
        }
        secure.server.signal(Signal::STOP);
        stream
            .conn
            .writer()
            .write_all(wire::request("GET", "/", &[]).as_bytes())
            .unwrap();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock).unwrap();
        }
        if version.version == ProtocolVersion::TLSv1_3 {
            stream.sock.shutdown(Shutdown::Write).unwrap();
        }
        secure.server.signal(Signal::CONT);
        assert_eq!(Response::read_from(&mut stream).status, 200);
    }
}
