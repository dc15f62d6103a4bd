//! What sessions do beside messages: go on later, at their cost, when all has left; pings of their own, alarms,
//! close codes of their own; and rooms that remember, asked by sessions on other cores.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use codec::{CloseCode, Kind, Message, Request};
use hub::{
    Answer as RoomAnswer, HistoryLimits, Member, Page, Question, Recover, Recovered, RoomName,
    RoomRules, RuleBook, Since, Terms,
};
use runtime::{
    Answer, Application, AtCost, BodyEncoder, BodyForm, Delivered, DriverChoice, EndReason, Lag,
    Opening, Outlet, Pings, Refused, RoomEvent, Route, Session, SessionEvent,
};

use crate::harness::{Running, start, start_with};

on_both_drivers![
    session_goes_on_before_it_is_handed_another_message_and_others_have_their_turns,
    costly_work_is_done_in_its_lane_and_in_order,
    ping_of_the_session_is_answered_by_the_session_or_ends_the_connection,
    session_that_is_costly_to_decide_opens_or_is_refused,
    alarm_comes_once_and_can_be_set_again,
    end_is_told_with_the_code_of_the_session,
    nothing_follows_a_close_frame_that_comes_while_the_session_goes_on,
    subscriber_that_comes_back_is_given_what_it_has_missed_before_what_comes,
    members_are_known_and_announced_to_those_who_listen,
];

/// Sessions that do as they are told.
struct Telling;

/// All rooms remember 100 messages and who is in them.
struct Remembering;

impl RuleBook for Remembering {
    fn rules(&self, _: &RoomName) -> Arc<RoomRules> {
        Arc::new(RoomRules {
            history: Some(HistoryLimits {
                messages: 100,
                bytes: 1 << 20,
                ttl_ms: 60_000,
            }),
            keeps_position: true,
            has_presence: true,
            announced_members_max: 10,
            ..RoomRules::default()
        })
    }
}

/// `offset payload`, and for those who listen who comes and goes.
struct Worded;

const WORDS: BodyForm = BodyForm(1);
const WORDS_AND_MEMBERS: BodyForm = BodyForm(2);

impl BodyEncoder for Worded {
    fn encode(&self, form: BodyForm, said: &Delivered<'_>, body: &mut Vec<u8>) -> Option<Kind> {
        let words = match said.event {
            RoomEvent::Message {
                offset, payload, ..
            } => format!("{offset} {}", str::from_utf8(payload).unwrap()),
            _ if form == WORDS => return None,
            RoomEvent::Came(member) => format!("+{}", member.user),
            RoomEvent::Went(member) => format!("-{}", member.user),
        };
        body.extend_from_slice(words.as_bytes());
        Some(Kind::Text)
    }
}

impl Application for Telling {
    fn protocols(&self) -> Vec<&'static str> {
        vec!["telling"]
    }

    fn bodies(&self) -> Option<Arc<dyn BodyEncoder>> {
        Some(Arc::new(Worded))
    }

    fn rules(&self) -> Arc<dyn RuleBook> {
        Arc::new(Remembering)
    }

    fn route(&self, request: &Request<'_>) -> Route {
        let opening = Opening {
            protocol: "telling",
            subprotocol: None,
            room: None,
            terms: None,
            body: WORDS,
            lag: Lag::Close,
            pings: match request.path() {
                "/pings" => Pings::Messages,
                _ => Pings::Frames,
            },
            session: Box::<Told>::default(),
        };
        let at_cost = |decided| {
            Route::OpenAtCost(AtCost {
                decide: Box::new(|| decided),
                held_bytes: 0,
            })
        };
        match request.path() {
            "/decided" => at_cost(Ok(opening)),
            "/refused" => at_cost(Err(Answer::text(403, "no").refusing(Refused::Right))),
            _ => Route::Open(opening),
        }
    }
}

#[derive(Default)]
struct Told {
    /// What is left to count, and whether at a cost.
    left: u32,
    at_cost: bool,
    alarms: u32,
}

impl Told {
    fn count(&mut self, outlet: &mut Outlet<'_>) {
        outlet.send(Kind::Text, format!("{}", self.left).as_bytes());
        self.left -= 1;
        match (self.left, self.at_cost) {
            (0, _) => {}
            (_, false) => outlet.go_on_later(),
            (_, true) => outlet.go_on_at_cost(),
        }
    }

    fn join(words: &[&str], outlet: &mut Outlet<'_>) {
        let recover = words.get(3).map(|offset| {
            Recover::Missed(Since {
                epoch: None,
                offset: offset.parse().unwrap(),
            })
        });
        let member = Arc::new(Member {
            user: words[2].into(),
            info: words[2].to_owned().into(),
        });
        let terms = Terms {
            recover,
            member: Some(member),
        };
        let body = match words[0] {
            "listen" => WORDS_AND_MEMBERS,
            _ => WORDS,
        };
        let name = RoomName::new(words[1]).unwrap();
        outlet.join_with(name, body, Some(Box::new(terms))).unwrap();
    }
}

impl Session for Told {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        let text = str::from_utf8(message.payload).unwrap();
        let words: Vec<_> = text.split(' ').collect();
        match words[0] {
            "count" | "work" => {
                self.left = words[1].parse().unwrap();
                self.at_cost = words[0] == "work";
                self.count(outlet);
            }
            "alarm" => outlet.set_alarm(Some(Duration::from_millis(20))),
            "pong" => outlet.ponged(),
            "join" | "listen" => Self::join(&words, outlet),
            "leave" => outlet.leave(outlet.room().unwrap()),
            "say" => {
                let name = RoomName::new(words[1]).unwrap();
                outlet.publish_to(name, Kind::Text, words[2].as_bytes());
            }
            "history" | "members" | "counts" => {
                let page = Page {
                    since: None,
                    limit: 10,
                    is_reversed: true,
                };
                let question = match words[0] {
                    "history" => Question::History(Box::new(page)),
                    "members" => Question::Members,
                    _ => Question::MemberCounts,
                };
                outlet.ask_about(RoomName::new(words[1]).unwrap(), question);
            }
            _ => outlet.send(Kind::Text, message.payload),
        }
    }

    fn go_on(&mut self, outlet: &mut Outlet<'_>) {
        self.count(outlet);
    }

    fn ping(&mut self, outlet: &mut Outlet<'_>) {
        outlet.send(Kind::Text, b"ping");
    }

    fn close_code(&self, reason: &EndReason) -> Option<(CloseCode, &'static str)> {
        let code = match reason {
            EndReason::PongTimeout => 3012,
            EndReason::Drained => 3001,
            _ => return None,
        };
        Some((CloseCode::from_wire(code)?, "of its own"))
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        let words = match event {
            SessionEvent::Joined {
                position,
                recovered,
                ..
            } => match recovered {
                None => format!("joined {}", position.offset),
                Some(Recovered::Impossible(cause)) => format!("joined, but {cause}"),
                Some(Recovered::Newest { messages, .. }) => {
                    format!("joined, and given {}", messages.len())
                }
                Some(Recovered::Exactly(messages) | Recovered::State(messages)) => {
                    let payloads = messages.iter().map(|(offset, it)| {
                        format!(" {offset}={}", str::from_utf8(&it.payload).unwrap())
                    });
                    format!("joined with{}", payloads.collect::<String>())
                }
            },
            SessionEvent::Answered { answer, .. } => match answer {
                RoomAnswer::History { top, messages } => {
                    let offsets = messages.iter().map(|(offset, _)| format!(" {offset}"));
                    format!("top {},{}", top.offset, offsets.collect::<String>())
                }
                RoomAnswer::Members(all) => {
                    let mut users: Vec<_> = all.iter().map(|it| it.user.to_string()).collect();
                    users.sort();
                    format!("members {}", users.join(","))
                }
                RoomAnswer::MemberCounts { members, users } => format!("{members} of {users}"),
                RoomAnswer::Done => "done".into(),
                RoomAnswer::Refused(reason) => format!("{reason}"),
            },
            SessionEvent::Alarm => {
                self.alarms += 1;
                format!("alarm {}", self.alarms)
            }
            _ => return,
        };
        outlet.send(Kind::Text, words.as_bytes());
    }
}

fn session_goes_on_before_it_is_handed_another_message_and_others_have_their_turns(
    driver: DriverChoice,
) {
    let server = start(driver, Telling);
    let mut client = server.connect("/");
    let mut other = server.connect("/");
    client.send("count 3000");
    client.send("behind");
    other.send("echo");
    assert_eq!(other.text(), "echo");
    for left in (1..=3000).rev() {
        assert_eq!(client.text(), format!("{left}"));
    }
    assert_eq!(client.text(), "behind");
}

fn costly_work_is_done_in_its_lane_and_in_order(driver: DriverChoice) {
    let server = start(driver, Telling);
    let mut client = server.connect("/");
    client.send("work 50");
    client.send("count 2");
    client.send("behind");
    for left in (1..=50).rev() {
        assert_eq!(client.text(), format!("{left}"));
    }
    assert_eq!([(); 3].map(|()| client.text()), ["2", "1", "behind"]);
}

fn session_that_is_costly_to_decide_opens_or_is_refused(driver: DriverChoice) {
    let server = start(driver, Telling);
    for path in ["/refused", "/decided"] {
        // Who goes away meanwhile is nobody's loss.
        drop(asking(&server, path));
        let mut stream = asking(&server, path);
        // Sent before the answer, which is allowed to nobody, and no reason to lose it.
        stream.write_all(b"\x81\x84\0\0\0\0echo").unwrap();
        let head = head(&mut stream);
        let status = |status: &str| assert!(head.starts_with(status), "{head}");
        match path {
            "/refused" => status("HTTP/1.1 403 "),
            _ => {
                status("HTTP/1.1 101 ");
                assert_eq!(frame(&mut stream), (0x81, b"echo".to_vec()));
            }
        }
    }
}

fn ping_of_the_session_is_answered_by_the_session_or_ends_the_connection(driver: DriverChoice) {
    let server = start_with(driver, Telling, |config| {
        config.timeouts.ping_interval = Duration::from_millis(40);
        config.timeouts.pong = Duration::from_millis(400);
    });
    let mut client = server.connect("/pings");
    for _ in 0..3 {
        assert_eq!(client.text(), "ping");
        client.send("pong");
    }
    assert_eq!(client.text(), "ping");
    assert_eq!(client.closed(), (3012, "of its own".into()));
}

fn alarm_comes_once_and_can_be_set_again(driver: DriverChoice) {
    let server = start(driver, Telling);
    let mut client = server.connect("/");
    for expected in ["alarm 1", "alarm 2"] {
        client.send("alarm");
        assert_eq!(client.text(), expected);
    }
    client.send("echo");
    assert_eq!(client.text(), "echo", "and no third alarm");
}

fn end_is_told_with_the_code_of_the_session(driver: DriverChoice) {
    let server = start(driver, Telling);
    let mut client = server.connect("/");
    client.send("echo");
    assert_eq!(client.text(), "echo");
    server.server().drainer().drain();
    assert_eq!(client.closed(), (3001, "of its own".into()));
}

fn nothing_follows_a_close_frame_that_comes_while_the_session_goes_on(driver: DriverChoice) {
    for request in ["count 1000000", "work 1000000"] {
        let server = start(driver, Telling);
        let mut stream = asking(&server, "/");
        head(&mut stream);
        let length = u8::try_from(request.len()).unwrap();
        stream
            .write_all(&[0x81, 0x80 | length, 0, 0, 0, 0])
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(frame(&mut stream), (0x81, b"1000000".to_vec()));
        server.server().drainer().drain();
        let close = loop {
            let (first, payload) = frame(&mut stream);
            if first != 0x81 {
                break (first, payload);
            }
        };
        assert_eq!(
            close,
            (0x88, [&3001_u16.to_be_bytes()[..], b"of its own"].concat())
        );
        stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
        let mut behind = Vec::new();
        stream.read_to_end(&mut behind).unwrap();
        assert!(behind.is_empty(), "{:?}", String::from_utf8_lossy(&behind));
    }
}

/// A connection that has asked for an upgrade.
fn asking(server: &Running, path: &str) -> TcpStream {
    let mut stream = server.stream();
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    .unwrap();
    stream
}

/// The head of the answer.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(byte(stream));
    }
    String::from_utf8(head).unwrap()
}

fn byte(stream: &mut TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

/// The first byte and the payload of a short frame.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = byte(stream);
    let mut payload = vec![0; usize::from(byte(stream))];
    stream.read_exact(&mut payload).unwrap();
    (first, payload)
}

/// Says so many messages in a room, whose home may be any core, and waits until all are ordered.
fn say(server: &Running, room: &str, from: u64, to: u64) {
    let mut speaker = server.connect("/");
    for number in from..=to {
        speaker.send(&format!("say {room} m{number}"));
    }
    speaker.send(&format!("history {room}"));
    assert!(speaker.text().starts_with(&format!("top {to},")));
}

fn subscriber_that_comes_back_is_given_what_it_has_missed_before_what_comes(driver: DriverChoice) {
    let server = start(driver, Telling);
    for room in ["a", "b", "c", "d"] {
        say(&server, room, 1, 3);
        let mut client = server.connect("/");
        client.send(&format!("join {room} ann 1"));
        assert_eq!(client.text(), "joined with 2=m2 3=m3");
        say(&server, room, 4, 4);
        assert_eq!(client.text(), "4 m4");
        client.send(&format!("history {room}"));
        assert_eq!(client.text(), "top 4, 4 3 2 1");
        let mut late = server.connect("/");
        late.send(&format!("join {room} bob 9"));
        assert_eq!(late.text(), "joined, but the position is of another epoch");
    }
}

fn members_are_known_and_announced_to_those_who_listen(driver: DriverChoice) {
    let server = start(driver, Telling);
    for room in ["a", "b", "c", "d"] {
        let mut listener = server.connect("/");
        listener.send(&format!("listen {room} ann"));
        assert_eq!(listener.text(), "joined 0");
        assert_eq!(listener.text(), "+ann");
        let mut deaf = server.connect("/");
        deaf.send(&format!("join {room} bob"));
        assert_eq!(deaf.text(), "joined 0");
        assert_eq!(listener.text(), "+bob");
        let mut third = server.connect("/");
        third.send(&format!("join {room} bob"));
        assert_eq!(third.text(), "joined 0");
        assert_eq!(listener.text(), "+bob");
        deaf.send(&format!("members {room}"));
        assert_eq!(deaf.text(), "members ann,bob,bob");
        deaf.send(&format!("counts {room}"));
        assert_eq!(deaf.text(), "3 of 2");
        // However it ends.
        drop(third);
        assert_eq!(listener.text(), "-bob");
        deaf.send("leave");
        assert_eq!(listener.text(), "-bob");
        deaf.send(&format!("counts {room}"));
        assert_eq!(deaf.text(), "1 of 1");
    }
}
