//! Publications by a back end, over kept connections to the API, in a closed loop: the next request of a connection
//! goes when the one before is answered.
//!
//! Each connection speaks in rooms of its own, so that it is known which offset each answer must have; and each room
//! has a few subscribers, who must be told the same.

use super::answers::{Answer, Answers};
use super::api_of;
use crate::centrifuge::Encoding;
use crate::load::dial::{Target, prepare};
use crate::load::link::Link;
use crate::load::meter::{Measured, Meter, Window, histogram};
use crate::load::pace::Pace;
use crate::load::reactor::{Driver, Io, drive};
use crate::load::sdk::inbox::Inbox;
use crate::load::sdk::layout::{Layout, name};
use crate::load::sdk::opening::{Position, connect, subscribe};
use crate::load::sdk::publications::{Publications, Taken};
use crate::load::transport::Compression;
use crate::load::wire::Framing;
use crate::results::Figure;
use crate::workload::Subject;
use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Instant;

const ENCODING: Encoding = Encoding::Json;
const PAYLOAD_BYTES: usize = 128;

/// What a back end publishes, and who listens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Calls {
    /// Kept connections to the API.
    pub connections: usize,
    /// Requests in flight on each.
    pub at_once: usize,
    /// Messages of each request; of one it is `publish`, of more it is `batch`.
    pub messages: usize,
    /// Rooms of each connection, in which its messages go in turns.
    pub rooms_each: usize,
    /// Subscribers of each room.
    pub members: usize,
}

impl Calls {
    fn layout(&self) -> Layout {
        Layout::Rooms {
            rooms: self.connections * self.rooms_each,
            members: self.members,
        }
    }

    /// Subscribers of all rooms.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.layout().connections()
    }

    /// Reduces connections and messages for a smoke run.
    pub fn shrink(&mut self) {
        self.connections = self.connections.min(4);
        self.messages = self.messages.min(50);
    }
}

/// Publishes until the measured part is over. An operation is a message; latency is that of its request.
pub fn measure(server: &Subject<'_>, window: Window, calls: Calls) -> Result<Measured> {
    let (links, mut driver) = open(server, calls)?;
    let io = Io::new(links, Meter::new(window, server.process.clone()), |_| true)?;
    let mut measured = drive(io, &mut driver)?;
    measured.more = driver.figures();
    Ok(measured)
}

/// Subscribers, and behind them connections to the API; and who drives them.
pub fn open(server: &Subject<'_>, calls: Calls) -> Result<(Vec<Link>, Calling)> {
    let api = api_of(server)?;
    let (layout, subscribers) = (calls.layout(), calls.subscribers());
    let mut inbox = Inbox::new(ENCODING, subscribers);
    let mut links = connect(server.target, ENCODING, 0..subscribers, &mut inbox)?;
    let positions = subscribe(&mut links, ENCODING, layout, &mut inbox)?;
    for connection in 0..calls.connections {
        links.push(http_link(api, subscribers + connection)?);
    }
    let driver = Calling::new(calls, api, server.api_key, positions, inbox);
    Ok((links, driver))
}

/// A connection over which requests go.
pub fn http_link(address: SocketAddrV4, index: usize) -> Result<Link> {
    let target = Target {
        address,
        framing: Framing::WebSocket,
        tls: None,
        compression: Compression::Off,
    };
    let link = target.open(index)?;
    prepare(link.socket())?;
    rustix::io::ioctl_fionbio(link.socket(), true)?;
    Ok(link)
}

/// A request on its way.
#[derive(Debug)]
struct Asked {
    since: Instant,
    /// The offset that each message must be answered with, in the room whose turn it is.
    offsets: Vec<u64>,
}

/// A connection to the API.
#[derive(Debug, Default)]
struct Caller {
    asked: VecDeque<Asked>,
    answers: Answers,
    /// The next request.
    ready: Vec<u8>,
}

/// The load of such publications.
#[derive(Debug)]
pub struct Calling {
    calls: Calls,
    /// The head of each request, up to its length.
    head: String,
    positions: Vec<Position>,
    publications: Publications,
    inbox: Inbox,
    callers: Vec<Caller>,
    unanswered: u64,
    /// From a request to the delivery of each of its messages.
    delivered: Histogram<u64>,
}

impl Calling {
    fn new(
        calls: Calls,
        api: SocketAddrV4,
        key: &str,
        positions: Vec<Position>,
        inbox: Inbox,
    ) -> Self {
        let method = match calls.messages {
            1 => "publish",
            _ => "batch",
        };
        Self {
            calls,
            head: format!(
                "POST /api/{method} HTTP/1.1\r\nHost: {api}\r\nX-API-Key: {key}\r\n\
                 Content-Type: application/json\r\nContent-Length: "
            ),
            publications: Publications::new(ENCODING, calls.layout(), &positions, PAYLOAD_BYTES),
            positions,
            inbox,
            callers: (0..calls.connections).map(|_| Caller::default()).collect(),
            unanswered: 0,
            delivered: histogram(),
        }
    }

    /// The first of what belongs to no subscriber.
    #[must_use]
    pub fn first_caller(&self) -> usize {
        self.calls.subscribers()
    }

    /// The rooms of a request's messages, in their order.
    fn rooms(calls: Calls, caller: usize) -> impl Iterator<Item = usize> {
        (0..calls.messages).map(move |at| caller * calls.rooms_each + at % calls.rooms_each)
    }

    /// Writes the next request of a caller, while the server has the one before.
    fn prepare(&mut self, caller: usize) {
        let mut body = String::new();
        let mut ahead = vec![0; self.calls.rooms_each];
        for room in Self::rooms(self.calls, caller) {
            let ahead = &mut ahead[room % self.calls.rooms_each];
            let (room_name, payload) = (name(room), self.publications.payload_ahead(room, *ahead));
            *ahead += 1;
            let publish = format!(r#"{{"channel":"{room_name}","data":{payload}}}"#);
            match self.calls.messages {
                1 => body = publish,
                _ => {
                    body.push_str(match body.is_empty() {
                        true => r#"{"commands":["#,
                        false => ",",
                    });
                    body.push_str(&format!(r#"{{"publish":{publish}}}"#));
                }
            }
        }
        if self.calls.messages > 1 {
            body.push_str("]}");
        }
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        self.callers[caller].ready = request.into_bytes();
    }

    fn call(&mut self, io: &mut Io, caller: usize) -> Result<()> {
        let since = Instant::now();
        let rooms = Self::rooms(self.calls, caller);
        let offsets = rooms.map(|room| self.publications.note(room, since));
        let offsets = offsets.collect();
        let asked = Asked { since, offsets };
        io.send(self.first_caller() + caller, &self.callers[caller].ready)?;
        self.callers[caller].asked.push_back(asked);
        self.unanswered += 1;
        self.prepare(caller);
        Ok(())
    }

    /// Takes what the API has answered a caller.
    fn answered(&mut self, io: &mut Io, caller: usize, bytes: &[u8], stopping: bool) -> Result<()> {
        self.callers[caller].answers.push(bytes);
        while let Some(answer) = self.callers[caller].answers.next()? {
            let now = Instant::now();
            let asked = self.callers[caller].asked.pop_front();
            let asked = asked.context("an answer to no request")?;
            self.check(caller, &asked, &answer)?;
            self.unanswered -= 1;
            io.meter
                .record(asked.since, now, asked.offsets.len() as u64);
            if !stopping {
                self.call(io, caller)?;
            }
        }
        Ok(())
    }

    /// Every message must be answered with its place.
    fn check(&self, caller: usize, asked: &Asked, answer: &Answer) -> Result<()> {
        let body = answer.accepted()?;
        let places = places(body, self.calls.messages)?;
        let rooms = Self::rooms(self.calls, caller);
        for ((place, &offset), room) in places.iter().zip(&asked.offsets).zip(rooms) {
            let epoch = &self.positions[room].epoch;
            ensure!(
                place.offset == offset && place.epoch == *epoch,
                "a message at {offset} of {epoch} is answered with {} of {}",
                place.offset,
                place.epoch
            );
        }
        Ok(())
    }

    /// How long deliveries took.
    #[must_use]
    pub fn figures(&self) -> Vec<(Figure, f64)> {
        let us = |quantile| self.delivered.value_at_quantile(quantile) as f64 / 1e3;
        vec![
            (Figure::DeliveredP50Us, us(0.5)),
            (Figure::DeliveredP99Us, us(0.99)),
        ]
    }
}

impl Driver for Calling {
    fn start(&mut self, io: &mut Io, _: Instant) -> Result<()> {
        for caller in 0..self.calls.connections {
            self.prepare(caller);
        }
        for _ in 0..self.calls.at_once {
            for caller in 0..self.calls.connections {
                self.call(io, caller)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, _: &mut Io, _: Instant) -> Result<()> {
        Ok(())
    }

    fn receive(&mut self, io: &mut Io, index: usize, bytes: &[u8], stopping: bool) -> Result<()> {
        if let Some(caller) = index.checked_sub(self.first_caller()) {
            return self.answered(io, caller, bytes, stopping);
        }
        let now = Instant::now();
        let is_measuring = io.meter.is_measuring();
        let Self {
            publications,
            inbox,
            delivered,
            ..
        } = self;
        inbox.take(index, bytes, |message| {
            match publications.take(index, message)? {
                Taken::Delivered { since, .. } if is_measuring => {
                    delivered.saturating_record((now - since).as_nanos() as u64);
                }
                Taken::Delivered { .. } => {}
                Taken::Acknowledged => bail!("a subscriber was told of a publication as its own"),
            }
            Ok(())
        })?;
        if !self.inbox.owed.is_empty() {
            io.send(index, &self.inbox.owed)?;
        }
        Ok(())
    }

    fn outstanding(&self) -> u64 {
        self.unanswered + self.publications.outstanding()
    }

    fn pace(&self) -> Pace {
        Pace::Closed {
            at_once: self.calls.at_once as u32,
        }
    }

    fn operations_per_message(&self) -> usize {
        1
    }
}

/// Where a message has its place.
#[derive(Deserialize, PartialEq, Eq, Debug)]
struct Place<'a> {
    #[serde(default)]
    offset: u64,
    #[serde(borrow, default)]
    epoch: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Published<'a> {
    #[serde(borrow)]
    result: Option<Place<'a>>,
}

#[derive(Deserialize)]
struct Batched<'a> {
    #[serde(borrow)]
    replies: Vec<BatchedReply<'a>>,
}

#[derive(Deserialize)]
struct BatchedReply<'a> {
    #[serde(borrow)]
    publish: Option<Place<'a>>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

/// The places that an answer tells, one for each message.
fn places(body: &[u8], messages: usize) -> Result<Vec<Place<'_>>> {
    let told = || String::from_utf8_lossy(&body[..body.len().min(200)]);
    if messages == 1 {
        let published: Published<'_> = serde_json::from_slice(body)?;
        let place = published.result;
        let place = place.with_context(|| format!("a message is answered {}", told()))?;
        return Ok(vec![place]);
    }
    let batched: Batched<'_> = serde_json::from_slice(body)?;
    ensure!(
        batched.replies.len() == messages,
        "{} replies to {messages} commands",
        batched.replies.len()
    );
    let places = batched.replies.into_iter().map(|reply| match reply {
        BatchedReply {
            publish: Some(place),
            error: None,
        } => Ok(place),
        _ => bail!("a command of a batch was not carried out: {}", told()),
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Place<'static> {
        Place {
            offset,
            epoch: "e".into(),
        }
    }

    #[test]
    fn places_are_read_from_both_methods() {
        let one = br#"{"result":{"offset":3,"epoch":"e"}}"#;
        assert_eq!(places(one, 1).unwrap(), [place(3)]);
        let two = br#"{"replies":[{"publish":{"offset":1,"epoch":"e"}},{"publish":{"offset":2,"epoch":"e"}}]}"#;
        assert_eq!(places(two, 2).unwrap(), [place(1), place(2)]);
    }

    #[test]
    fn what_was_not_carried_out_is_a_fault() {
        for (body, messages) in [
            (r#"{"error":{"code":107,"message":"bad request"}}"#, 1),
            (r#"{"replies":[{"publish":{"offset":1,"epoch":"e"}}]}"#, 2),
            (r#"{"replies":[{"publish":{}},{"error":{"code":102}}]}"#, 2),
            ("nonsense", 1),
        ] {
            assert!(places(body.as_bytes(), messages).is_err(), "{body}");
        }
    }

    fn calling(calls: Calls) -> Calling {
        let api = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1);
        let positions = (0..calls.layout().rooms()).map(|room| Position {
            epoch: "e".to_owned(),
            offset: 10 * room as u64,
        });
        let inbox = Inbox::new(ENCODING, calls.subscribers());
        Calling::new(calls, api, "k", positions.collect(), inbox)
    }

    #[test]
    fn request_has_its_length_its_key_and_its_messages_in_the_rooms_of_the_caller() {
        let mut calls = Calls {
            connections: 2,
            at_once: 1,
            messages: 3,
            rooms_each: 2,
            members: 1,
        };
        let body = |calls: Calls, method: &str| {
            let mut calling = calling(calls);
            calling.prepare(1);
            let request = String::from_utf8(calling.callers[1].ready.clone()).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("POST /api/{method} HTTP/1.1\r\n")));
            assert!(head.contains("X-API-Key: k\r\n"));
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
            serde_json::from_str::<serde_json::Value>(body).unwrap()
        };
        let batch = body(calls, "batch");
        let rooms: Vec<&str> = (0..3)
            .map(|at| {
                batch["commands"][at]["publish"]["channel"]
                    .as_str()
                    .unwrap()
            })
            .collect();
        assert_eq!(rooms, [2, 3, 2].map(name));
        let payload = |at: usize| batch["commands"][at]["publish"]["data"].as_str().unwrap();
        assert!(payload(0)[8..].starts_with("00000000"));
        assert!(payload(2)[8..].starts_with("00000001"));
        calls.messages = 1;
        assert_eq!(body(calls, "publish")["channel"], *name(2));
    }

    #[test]
    fn answer_with_another_place_is_a_fault() {
        let calls = Calls {
            connections: 2,
            at_once: 1,
            messages: 1,
            rooms_each: 1,
            members: 1,
        };
        let mut calling = calling(calls);
        let since = Instant::now();
        let offsets = vec![calling.publications.note(1, since)];
        let asked = Asked { since, offsets };
        let check = |code, offset: u64, epoch: &str| {
            let body = format!(r#"{{"result":{{"offset":{offset},"epoch":"{epoch}"}}}}"#);
            let body = body.into_bytes();
            calling.check(1, &asked, &Answer { code, body })
        };
        assert!(check(200, 11, "e").is_ok());
        assert!(check(200, 12, "e").is_err());
        assert!(check(200, 11, "f").is_err());
        assert!(check(429, 11, "e").is_err());
    }
}
