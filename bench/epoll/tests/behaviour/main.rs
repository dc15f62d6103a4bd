//! Tests of the server from the outside: in Rust, with and without coalescing, and in C.

#![allow(clippy::unwrap_used)]

mod harness;

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use codec::{Opcode, frame::encode_masked};
use harness::{Client, PATIENCE, Server, numbered};
use tungstenite::{
    Message, error::Error, protocol::CloseFrame, protocol::frame::coding::CloseCode,
};

/// Runs a test against both ways of sending, and against the server in C.
fn check(test: impl Fn(&Server)) {
    for coalesce in ["true", "false"] {
        test(&Server::start(&["--coalesce", coalesce]));
    }
    test(&Server::in_c(&[]));
}

#[test]
fn echo_of_every_length_and_kind_comes_back() {
    check(|server| {
        let mut client = server.open("/echo");
        for bytes in [0, 1, 125, 126, 4096, 65_535, 65_536, 300_000, 1 << 20] {
            let binary = numbered(bytes, bytes);
            client.send(&binary);
            client.expect(&binary);
            let text = Message::text("é".repeat(bytes / 2));
            client.send(&text);
            client.expect(&text);
        }
    });
}

#[test]
fn echo_of_pipelined_frames_keeps_their_order() {
    check(|server| {
        let mut client = server.open("/echo");
        let mut frames = Vec::new();
        for number in 0..500u32 {
            encode_masked(
                Opcode::Binary,
                true,
                [1, 2, 3, 4],
                &number.to_be_bytes(),
                &mut frames,
            );
        }
        client.send_raw(&frames);
        for number in 0..500u32 {
            client.expect(&Message::binary(number.to_be_bytes().to_vec()));
        }
    });
}

#[test]
fn echo_of_frames_in_fragments_and_pieces_is_whole() {
    check(|server| {
        let mut client = server.open("/echo");
        let mut frames = Vec::new();
        encode_masked(Opcode::Text, false, [9, 2, 7, 4], b"hel", &mut frames);
        encode_masked(Opcode::Ping, true, [1, 2, 3, 4], b"now", &mut frames);
        encode_masked(Opcode::Continuation, true, [5, 5, 3, 4], b"lo", &mut frames);
        for byte in &frames {
            client.send_raw(&[*byte]);
            thread::sleep(Duration::from_millis(1));
        }
        client.expect(&Message::Pong(b"now".to_vec().into()));
        client.expect(&Message::text("hello"));
    });
}

#[test]
fn first_frames_behind_the_request_are_read() {
    check(|server| {
        let mut bytes = format!(
            "GET /echo HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            server.address
        )
        .into_bytes();
        encode_masked(Opcode::Text, true, [1, 2, 3, 4], b"early", &mut bytes);
        encode_masked(Opcode::Close, true, [1, 2, 3, 4], &[3, 232], &mut bytes);
        let answer = exchange(server, &bytes);
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        assert!(answer.ends_with(b"\r\n\r\n\x81\x05early\x88\x02\x03\xe8"));
    });
}

#[test]
fn room_messages_reach_all_its_members_in_one_order() {
    check(|server| {
        let mut members: Vec<_> = (0..20).map(|_| server.open("/rooms/a")).collect();
        let mut stranger = server.open("/rooms/b");
        for number in 0..60 {
            members[number % 20].send(&numbered(number, 100 + number));
            if number % 20 == 19 {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let mut orders = members.iter_mut().map(|member| {
            let read = |_| member.0.read().unwrap();
            (0..60).map(read).collect::<Vec<_>>()
        });
        let first = orders.next().unwrap();
        assert!(orders.all(|order| order == first));
        for number in 0..60 {
            assert!(first.contains(&numbered(number, 100 + number)));
        }
        stranger.send(&Message::text("alone"));
        stranger.expect(&Message::text("alone"));
    });
}

#[test]
fn room_members_that_come_and_go_leave_the_others_undisturbed() {
    check(|server| {
        let mut first = server.open("/rooms/a");
        let mut others: Vec<_> = (0..9).map(|_| server.open("/rooms/a")).collect();
        for round in 0..8 {
            // Clients leave alternately with a close frame and without.
            let mut gone = others.remove(round * 5 % others.len());
            if round % 2 == 0 {
                close(&mut gone);
            }
            drop(gone);
            others.push(server.open("/rooms/a"));
            let message = numbered(round, 200);
            first.send(&message);
            first.expect(&message);
            others.iter_mut().for_each(|member| member.expect(&message));
        }
    });
}

#[test]
fn room_of_one_gets_pongs_between_its_messages_and_then_the_close() {
    check(|server| {
        let mut client = server.open("/rooms/a");
        let mut frames = Vec::new();
        encode_masked(Opcode::Text, true, [1, 2, 3, 4], b"one", &mut frames);
        encode_masked(Opcode::Ping, true, [1, 2, 3, 4], b"?", &mut frames);
        encode_masked(Opcode::Text, true, [1, 2, 3, 4], b"two", &mut frames);
        encode_masked(Opcode::Close, true, [1, 2, 3, 4], &[3, 232], &mut frames);
        client.send_raw(&frames);
        let seen: Vec<_> = (0..4).map(|_| client.0.read().unwrap()).collect();
        let texts: Vec<_> = seen.iter().filter(|message| message.is_text()).collect();
        assert_eq!(texts, [&Message::text("one"), &Message::text("two")]);
        assert!(seen.contains(&Message::Pong(b"?".to_vec().into())));
        assert!(seen[3].is_close());
    });
}

#[test]
fn slow_reader_of_echoes_gets_all_and_the_server_waits_idle() {
    check(|server| {
        let mut client = server.open_narrow("/echo");
        let mut sender = client.sender();
        let sending = thread::spawn(move || {
            for number in 0..300 {
                sender.send(&numbered(number, 60_000));
            }
        });
        thread::sleep(Duration::from_millis(300));
        assert_idle(server);
        for number in 0..300 {
            client.expect(&numbered(number, 60_000));
        }
        sending.join().unwrap();
        assert_idle(server);
    });
}

#[test]
fn slow_member_gets_all_that_the_others_had_before() {
    // More than the kernel buffers for a socket (tcp_wmem, usually 4 MB), but less than that and
    // the lag for which the server closes a member.
    const LAG: usize = 120;
    check(|server| {
        let mut publisher = server.open("/rooms/a");
        let mut slow = server.open_narrow("/rooms/a");
        let message = |number| numbered(number, 50_000 + number);
        let mut publish = |number| {
            publisher.send(&message(number));
            publisher.expect(&message(number));
        };
        (0..LAG).for_each(&mut publish);
        assert_idle(server);
        for number in 0..100 {
            slow.expect(&message(number));
            publish(LAG + number);
        }
        (100..100 + LAG).for_each(|number| slow.expect(&message(number)));
        publish(0);
        slow.expect(&message(0));
        assert_idle(server);
    });
}

#[test]
fn slow_publisher_gets_pongs_between_whole_messages() {
    const MESSAGES: usize = 4000;
    check(|server| {
        let mut client = server.open_narrow("/rooms/a");
        let mut sender = client.sender();
        let sending = thread::spawn(move || {
            let mut frames = Vec::new();
            for number in 0..MESSAGES {
                let payload = numbered(number, 2_000 + number % 7).into_data();
                encode_masked(Opcode::Binary, true, [1, 2, 3, 4], &payload, &mut frames);
                encode_masked(Opcode::Ping, true, [1, 2, 3, 4], b"?", &mut frames);
            }
            sender.send_raw(&frames);
        });
        thread::sleep(Duration::from_millis(300));
        let (mut messages, mut pongs) = (0, 0);
        while messages < MESSAGES || pongs < MESSAGES {
            let message = client.0.read().unwrap();
            if message.is_pong() {
                pongs += 1;
            } else {
                assert!(message == numbered(messages, 2_000 + messages % 7));
                messages += 1;
            }
        }
        sending.join().unwrap();
    });
}

#[test]
fn member_that_stops_reading_is_closed_and_the_others_go_on() {
    check(|server| {
        let mut publisher = server.open("/rooms/a");
        let mut stalled = server.open_narrow("/rooms/a");
        let mut other = server.open("/rooms/a");
        for number in 0..300 {
            let message = numbered(number, 60_000);
            publisher.send(&message);
            publisher.expect(&message);
            other.expect(&message);
        }
        let outcome = (0..300).try_for_each(|_| stalled.0.read().map(drop));
        assert!(
            matches!(outcome, Err(Error::Io(_) | Error::Protocol(_))),
            "{outcome:?}"
        );
    });
}

#[test]
fn close_is_answered_and_the_connection_ends() {
    check(|server| {
        for path in ["/echo", "/rooms/a"] {
            close(&mut server.open(path));
        }
    });
}

#[test]
fn frame_that_breaks_a_rule_is_told_why() {
    check(|server| {
        for path in ["/echo", "/rooms/a"] {
            let mut client = server.open(path);
            // An unmasked frame, and many bytes behind it that the server does not read.
            client.send_raw(b"\x81\x05hello");
            let _ = client.0.get_mut().write_all(&[0; 1000]);
            let Message::Close(Some(frame)) = client.0.read().unwrap() else {
                panic!("no close frame");
            };
            assert_eq!(frame.code, CloseCode::Protocol);
        }
    });
}

#[test]
fn request_that_is_no_upgrade_is_refused() {
    check(|server| {
        let status = |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = exchange(server, request.as_bytes());
            String::from_utf8(answer[9..12].to_vec()).unwrap()
        };
        assert_eq!(status("/echo"), "426");
        assert_eq!(status("/rooms/a"), "426");
        assert_eq!(status("/"), "404");
        assert_eq!(status("/rooms/"), "404");
        assert_eq!(status("/rooms/a/b"), "404");
    });
}

#[test]
fn running_out_of_descriptors_lets_others_wait_without_spinning() {
    for server in [
        Server::with_descriptors(32),
        Server::in_c_with_descriptors(32),
    ] {
        run_out_of_descriptors(&server);
    }
}

fn run_out_of_descriptors(server: &Server) {
    let left = 32 - server.descriptors();
    let mut served: Vec<_> = (0..left).map(|_| server.open("/echo")).collect();
    let late = TcpStream::connect(server.address).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_idle(server);
    served.iter_mut().for_each(|client| {
        client.send(&Message::text("still"));
        client.expect(&Message::text("still"));
    });
    served.pop();
    let url = format!("ws://{}/echo", server.address);
    let (socket, _) = tungstenite::client(url, late).unwrap();
    let mut late = Client(socket);
    late.send(&Message::text("at last"));
    late.expect(&Message::text("at last"));
}

#[test]
fn several_threads_serve_one_address() {
    let server = Server::start(&["--threads", "4"]);
    let mut clients: Vec<_> = (0..40).map(|_| server.open("/echo")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&numbered(number, 1000));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect(&numbered(number, 1000));
    }
}

#[test]
fn second_server_on_the_same_address_fails_with_a_remedy() {
    let server = Server::start(&["--threads", "2"]);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_bench-epoll"))
        .args(["--listen", &server.address.to_string()])
        .output()
        .unwrap();
    assert!(!second.status.success());
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(
        message.contains("choose another with --listen"),
        "{message}"
    );
}

#[test]
fn heartbeat_in_c_closes_who_answers_no_ping_and_who_never_asks() {
    let server = Server::in_c(&["--heartbeat", "0.3"]);
    let mut answering = ["/echo", "/rooms/a"].map(|path| server.open(path));
    let mut silent = server.open("/rooms/a");
    let mut mute = TcpStream::connect(server.address).unwrap();
    mute.set_read_timeout(Some(PATIENCE)).unwrap();
    for round in 0..4 {
        for client in &mut answering {
            // tungstenite queues the pong while it reads, and sends it with the next message.
            assert!(client.0.read().unwrap().is_ping(), "round {round}");
            client.0.flush().unwrap();
        }
    }
    assert_eq!(mute.read(&mut [0; 8]).unwrap(), 0);
    let mut pings = Vec::new();
    silent.0.get_mut().read_to_end(&mut pings).unwrap();
    assert_eq!(pings, [0x89, 0], "one ping, and the end");
    answering[0].send(&Message::text("still"));
    answering[0].expect(&Message::text("still"));
}

#[test]
fn frames_that_break_a_rule_in_c_are_told_which() {
    let cases: [(&[u8], u16); 8] = [
        (&[0xc1, 0x80, 1, 2, 3, 4], 1002),
        (&[0x83, 0x80, 1, 2, 3, 4], 1002),
        (&[0x09, 0x80, 1, 2, 3, 4], 1002),
        (&[0x80, 0x80, 1, 2, 3, 4], 1002),
        (&[0x81, 0xfe, 0, 5, 1, 2, 3, 4], 1002),
        (&[0x88, 0x81, 0, 0, 0, 0, 3], 1002),
        (&[0x81, 0x82, 0, 0, 0, 0, 0xc0, 0x80], 1007),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1], 1009),
    ];
    let server = Server::in_c(&[]);
    for (frame, code) in cases {
        let mut client = server.open("/echo");
        client.send_raw(frame);
        let Message::Close(Some(close)) = client.0.read().unwrap() else {
            panic!("no close frame after {frame:02x?}");
        };
        assert_eq!(u16::from(close.code), code, "{frame:02x?}");
    }
}

/// An idle server must use no processor time: a loop that spins would use 20 ticks and more.
#[track_caller]
fn assert_idle(server: &Server) {
    thread::sleep(Duration::from_millis(100));
    let before = server.cpu_ticks();
    thread::sleep(Duration::from_millis(300));
    assert!(server.cpu_ticks() - before <= 6, "the server spins");
}

/// Performs the closing handshake.
#[track_caller]
fn close(client: &mut Client) {
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    client.0.close(Some(frame.clone())).unwrap();
    assert_eq!(client.0.read().unwrap(), Message::Close(Some(frame)));
    assert!(matches!(client.0.read(), Err(Error::ConnectionClosed)));
}

/// Sends `request` and returns everything up to the end of the connection.
fn exchange(server: &Server, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}
