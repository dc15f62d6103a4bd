//! The server as its clients see it, on both drivers: each command, its answer, and what others hear of it.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tungstenite::{Message, WebSocket};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// The runtime's default of rooms for one connection.
const ROOMS_MAX: usize = 128;

/// A running server; dropped, it is gone.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// On two cores, so that rooms have members on both.
    fn start(driver: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_bench-many-rooms"))
            .args(["--listen", "127.0.0.1:0", "--cores", "2"])
            .args(["--driver", driver])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(line.contains(&format!("driver: {driver})")), "{line:?}");
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split(' ').next().unwrap().parse().unwrap();
        Self { process, address }
    }

    fn open(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{}/", self.address);
        Client(tungstenite::client(url, stream).unwrap().0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Client(WebSocket<TcpStream>);

impl Client {
    fn send(&mut self, command: &str) {
        self.0.send(Message::text(command)).unwrap();
    }

    /// The next message, which must be this text.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        assert_eq!(self.0.read().unwrap(), Message::text(text));
    }

    #[track_caller]
    fn ask(&mut self, command: &str, answer: &str) {
        self.send(command);
        self.expect(answer);
    }

    /// Nothing waits for it: what it is sent next is the answer to a command that does nothing.
    #[track_caller]
    fn hears_nothing_more(&mut self) {
        self.ask("leave nowhere", "error: the connection is not in the room");
    }
}

fn check(test: impl Fn(&Server)) {
    for driver in ["io_uring", "epoll"] {
        test(&Server::start(driver));
    }
}

#[test]
fn members_hear_publications_of_their_rooms_until_they_leave() {
    check(|server| {
        // So many that both cores have some of them.
        let mut members: Vec<Client> = (0..8).map(|_| server.open()).collect();
        for member in &mut members {
            member.ask("join a", "joined a");
            member.ask("join b", "joined b");
        }
        members[0].send("publish a 1");
        members[0].send("publish b 2 with spaces");
        members[0].send("publish a 3");
        for member in &mut members {
            // The two rooms have no order between them.
            let mut heard: Vec<String> = (0..3)
                .map(|_| member.0.read().unwrap().into_text().unwrap().to_string())
                .collect();
            heard.sort_by_key(|text| text.starts_with("publish b"));
            assert_eq!(
                heard,
                ["publish a 1", "publish a 3", "publish b 2 with spaces"]
            );
        }
        members[1].ask("leave a", "left a");
        members[0].send("publish a 4");
        for (index, member) in members.iter_mut().enumerate() {
            if index != 1 {
                member.expect("publish a 4");
            }
        }
        members[1].hears_nothing_more();
        members[0].send("publish b 5");
        members.iter_mut().for_each(|it| it.expect("publish b 5"));
        members[1].ask("join a", "joined a");
        members[1].send("publish a 6");
        members.iter_mut().for_each(|it| it.expect("publish a 6"));
    });
}

#[test]
fn wrong_commands_are_answered_and_close_nothing() {
    check(|server| {
        let mut client = server.open();
        let commands = "error: the commands are: join ROOM, leave ROOM, publish ROOM TEXT";
        client.ask("subscribe a", commands);
        client.ask("", commands);
        client.0.send(Message::binary(b"join a".to_vec())).unwrap();
        client.expect("error: commands are text");
        client.ask("join", "error: a room's name must not be empty");
        client.ask("join a b", "error: a room's name must be one word");
        let absent = "error: the connection is not in the room";
        client.ask("leave a", absent);
        client.ask("publish a text", absent);
        client.ask("join a", "joined a");
        client.ask(
            "join a",
            "error: the connection has asked for the room already",
        );
        client.ask("publish a", "error: there is no text to publish");
        client.ask("publish a text", "publish a text");
    });
}

#[test]
fn connection_is_in_128_rooms_and_no_more() {
    check(|server| {
        let mut client = server.open();
        for room in 0..ROOMS_MAX {
            client.ask(&format!("join {room}"), &format!("joined {room}"));
        }
        let full = "error: the connection is in as many rooms as it may be";
        client.ask("join one-more", full);
        client.ask("leave 77", "left 77");
        client.ask("join one-more", "joined one-more");
        client.ask("publish 127 text", "publish 127 text");
    });
}
