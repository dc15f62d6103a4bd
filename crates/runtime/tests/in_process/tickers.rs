//! Rooms with the latest message of each key: who comes is given all of them, and who does not read as fast as
//! they change is given the newest of each, whatever else it is told.

use std::{
    collections::HashMap,
    net::TcpStream,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use codec::{Kind, Message, Request};
use hub::{
    Details, Keyed, PublishRefusal, Recover, Recovered, RoomName, RoomRules, RuleBook, TableLimits,
    Terms,
};
use runtime::{
    Application, BodyEncoder, BodyForm, Delivered, DriverChoice, Lag, Opening, Outlet, Pings,
    RoomEvent, Route, Session, SessionEvent,
};
use tungstenite::WebSocket;

use crate::{
    harness::{PATIENCE, Running, start_with},
    pages::tally,
};

on_both_drivers![
    who_comes_is_given_all_keys_and_then_each_change,
    key_beyond_the_most_is_refused,
    who_does_not_read_is_given_the_newest_of_each_key_and_keeps_its_rooms,
    memory_for_who_does_not_read_follows_the_keys_and_is_given_back,
    who_does_not_read_leaves_a_room_of_which_too_many_removals_would_have_to_be_kept,
];

/// Sessions that watch rooms and set keys. Rooms whose names begin with `news` have messages instead.
struct Tickers;

const KEYS: usize = 100;

/// What one update takes; all that are made in a test are far more than the sockets of both sides hold.
const VALUE_BYTES: usize = 2_000;
const ROUNDS: usize = 150;

/// So many values fit into a socket whose reader has not had a turn.
const PIECE: usize = 10;

impl RuleBook for Tickers {
    fn rules(&self, name: &RoomName) -> Arc<RoomRules> {
        let table = TableLimits {
            keys: KEYS,
            bytes: 1 << 20,
            ttl_ms: 60_000,
        };
        Arc::new(RoomRules {
            table: (!name.as_str().starts_with("news")).then_some(table),
            ..RoomRules::default()
        })
    }
}

impl BodyEncoder for Tickers {
    fn encode(&self, _: BodyForm, said: &Delivered<'_>, body: &mut Vec<u8>) -> Option<Kind> {
        let RoomEvent::Message { keyed, payload, .. } = said.event else {
            return None;
        };
        let of = match keyed {
            None => "news".to_owned(),
            Some(Keyed { key, is_removed }) => {
                format!("{}{key}", if *is_removed { "-" } else { "+" })
            }
        };
        body.extend_from_slice(of.as_bytes());
        body.push(b' ');
        body.extend_from_slice(payload);
        Some(Kind::Text)
    }
}

impl Application for Tickers {
    fn protocols(&self) -> Vec<&'static str> {
        vec!["tickers"]
    }

    fn bodies(&self) -> Option<Arc<dyn BodyEncoder>> {
        Some(Arc::new(Self))
    }

    fn rules(&self) -> Arc<dyn RuleBook> {
        Arc::new(Self)
    }

    fn route(&self, _: &Request<'_>) -> Route {
        Route::Open(Opening {
            protocol: "tickers",
            subprotocol: None,
            room: None,
            terms: None,
            body: BodyForm(1),
            lag: Lag::Close,
            pings: Pings::Frames,
            session: Box::new(Trader),
        })
    }
}

struct Trader;

impl Session for Trader {
    /// `watch ROOM`, `set ROOM KEY VALUE`, `set ROOM -KEY`, `say ROOM TEXT`.
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        let text = str::from_utf8(message.payload).unwrap();
        let words: Vec<_> = text.split(' ').collect();
        let name = RoomName::new(words[1]).unwrap();
        match words[0] {
            "watch" => {
                let terms = Terms {
                    recover: Some(Recover::State),
                    member: None,
                };
                outlet
                    .join_with(name, BodyForm(1), Some(Box::new(terms)))
                    .unwrap();
            }
            "say" => drop(outlet.publish_to(name, Kind::Text, words[2].as_bytes())),
            _ => {
                let removed = words[2].strip_prefix('-');
                let keyed = Keyed {
                    key: removed.unwrap_or(words[2]).into(),
                    is_removed: removed.is_some(),
                };
                let details = Details {
                    keyed: Some(keyed),
                    ..Details::default()
                };
                let value = words.get(3).copied().unwrap_or_default().as_bytes();
                outlet.publish_with(name, Kind::Text, value, Some(Arc::new(details)));
            }
        }
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        let words = match event {
            SessionEvent::Joined { recovered, .. } => {
                let Some(Recovered::State(all)) = recovered else {
                    panic!("{recovered:?}");
                };
                let all = all.iter().map(|(_, record)| {
                    let key = record.keyed().map_or("", |keyed| &keyed.key);
                    format!(" {key}={}", str::from_utf8(&record.payload).unwrap())
                });
                format!("!there is{}", all.collect::<String>())
            }
            SessionEvent::Published { .. } => "!done".to_owned(),
            SessionEvent::Unpublished { reason, .. } => {
                assert_eq!(reason, PublishRefusal::TableFull);
                "!full".to_owned()
            }
            SessionEvent::Left { reason, .. } => format!("!left {reason:?}"),
            _ => return,
        };
        outlet.send(Kind::Text, words.as_bytes());
    }
}

struct Client(WebSocket<TcpStream>);

impl Client {
    fn connect(server: &Running) -> Self {
        let stream = server.stream();
        // What a socket may take by itself differs from one machine to the next.
        let socket = socket2::SockRef::from(&stream);
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let url = format!("ws://{}/", stream.peer_addr().unwrap());
        Self(tungstenite::client(url, stream).expect("101").0)
    }

    fn tell(&mut self, text: &str) {
        self.0.send(text.into()).unwrap();
    }

    #[track_caller]
    fn hear(&mut self) -> String {
        self.0.read().unwrap().into_text().unwrap().to_string()
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) {
        assert_eq!(self.hear(), expected);
    }

    fn watch(server: &Running, room: &str) -> Self {
        let mut client = Self::connect(server);
        client.tell(&format!("watch {room}"));
        client.hears("!there is");
        client
    }

    #[track_caller]
    fn set(&mut self, room: &str, what: &str) {
        self.set_all(room, [what.to_owned()]);
    }

    #[track_caller]
    fn set_all(&mut self, room: &str, all: impl IntoIterator<Item = String>) {
        let mut count = 0;
        for what in all {
            self.tell(&format!("set {room} {what}"));
            count += 1;
        }
        (0..count).for_each(|_| self.hears("!done"));
    }
}

fn serve(driver: DriverChoice) -> Running {
    start_with(driver, Tickers, |config| {
        config.send_queue_bytes_max = 256 << 10;
        // A machine with much to do is no reason to end anything.
        config.timeouts.write = 2 * PATIENCE;
        config.timeouts.close = PATIENCE;
    })
}

fn who_comes_is_given_all_keys_and_then_each_change(driver: DriverChoice) {
    let server = serve(driver);
    let mut early = Client::watch(&server, "forex");
    let mut publisher = Client::connect(&server);
    publisher.set("forex", "eur 1");
    publisher.set("forex", "usd 1");
    publisher.set("forex", "eur 2");
    let mut late = Client::connect(&server);
    late.tell("watch forex");
    late.hears("!there is eur=2 usd=1");
    publisher.set("forex", "-usd");
    publisher.set("forex", "eur 3");
    for told in ["+eur 1", "+usd 1", "+eur 2", "-usd ", "+eur 3"] {
        early.hears(told);
    }
    late.hears("-usd ");
    late.hears("+eur 3");
    assert_eq!(tally(&server).conflated, 0, "nobody was too slow");
}

fn key_beyond_the_most_is_refused(driver: DriverChoice) {
    let server = serve(driver);
    let mut publisher = Client::connect(&server);
    for key in 0..KEYS {
        publisher.set("forex", &format!("{key} 1"));
    }
    publisher.tell("set forex more 1");
    publisher.hears("!full");
    publisher.set("forex", "0 2");
    publisher.set("forex", "-1");
    publisher.set("forex", "more 1");
    assert_eq!(tally(&server).unpublished.table_full, 1);
}

/// A value by which each of its bytes is known.
fn value(number: usize) -> String {
    format!("{number:08}").repeat(VALUE_BYTES / 8)
}

/// Changes all keys of a room again and again, and says something in another meanwhile. Behind each [`PIECE`] of them
/// it waits for what `heard` waits for.
fn flood(publisher: &mut Client, mut heard: impl FnMut()) {
    for round in 0..ROUNDS {
        publisher.tell(&format!("say news {round}"));
        publisher.hears("!done");
        for first in (0..KEYS).step_by(PIECE) {
            let keys = first..first + PIECE;
            publisher.set_all("forex", keys.map(|key| format!("{key} {}", value(round))));
            heard();
        }
    }
}

/// How many subscribers are given nothing but the newest of each key, and how many bytes are held for them.
fn laggards(server: &Running) -> (usize, usize) {
    let monitor = server.server().monitor();
    let cores = (0..monitor.cores()).map(|core| monitor.snapshot(core).recv().unwrap());
    let cores: Vec<_> = cores.collect();
    let sum = |of: fn(&runtime::Snapshot) -> usize| cores.iter().map(|core| of(core)).sum();
    (sum(|core| core.conflated), sum(|core| core.held_bytes))
}

fn await_no_laggards(server: &Running) {
    let until = Instant::now() + PATIENCE;
    while laggards(server) != (0, 0) {
        assert!(Instant::now() < until, "{:?}", laggards(server));
        thread::sleep(Duration::from_millis(5));
    }
}

fn who_does_not_read_is_given_the_newest_of_each_key_and_keeps_its_rooms(driver: DriverChoice) {
    let server = serve(driver);
    let mut slow = Client::watch(&server, "forex");
    slow.tell("watch news");
    slow.hears("!there is");
    let mut fast = Client::watch(&server, "forex");
    let (has_heard, heard) = mpsc::channel();
    let reads = thread::spawn(move || {
        for round in 0..ROUNDS {
            for key in 0..KEYS {
                fast.hears(&format!("+{key} {}", value(round)));
                if (key + 1) % PIECE == 0 {
                    has_heard.send(()).unwrap();
                }
            }
        }
        fast
    });
    let mut publisher = Client::connect(&server);
    // On a busy machine the fast one would else be too slow, too.
    flood(&mut publisher, || heard.recv_timeout(PATIENCE).unwrap());
    publisher.set("forex", "-7");
    let mut fast = reads.join().unwrap();
    fast.hears("-7 ");

    let (mut news, mut updates) = (0, 0);
    let mut newest: HashMap<usize, String> = HashMap::new();
    let mut is_removed = false;
    while news < ROUNDS
        || !is_removed
        || newest.len() < KEYS
        || newest.values().any(|it| *it != value(ROUNDS - 1))
    {
        let told = slow.hear();
        let (of, text) = told.split_once(' ').unwrap();
        if of == "news" {
            assert_eq!(text, news.to_string(), "the other room misses nothing");
            news += 1;
            continue;
        }
        updates += 1;
        if of == "-7" {
            is_removed = true;
            newest.insert(7, value(ROUNDS - 1));
            continue;
        }
        assert_eq!(text.len(), VALUE_BYTES, "an update is whole");
        let key = of[1..].parse().unwrap();
        let before = newest.insert(key, text.to_owned());
        assert!(
            before.is_none_or(|before| *before < *text),
            "no value comes twice or late"
        );
    }
    let all = (KEYS * ROUNDS + 1) as u64;
    assert!(updates < all / 2, "{updates}");
    await_no_laggards(&server);
    assert_eq!(
        tally(&server).conflated,
        all - updates,
        "each is sent or passed over"
    );
    assert_eq!(tally(&server).ended.len(), 0);
    // It is where the room is, and in both rooms.
    publisher.set("forex", "8 now");
    slow.hears("+8 now");
    publisher.tell("say news now");
    slow.hears("news now");
}

fn memory_for_who_does_not_read_follows_the_keys_and_is_given_back(driver: DriverChoice) {
    let server = serve(driver);
    let slow: Vec<_> = (0..20).map(|_| Client::watch(&server, "forex")).collect();
    let mut publisher = Client::connect(&server);
    flood(&mut publisher, || {});
    let (conflated, held_bytes) = laggards(&server);
    assert_eq!(conflated, 20);
    // On each core the latest of each key, and for each laggard a little that it was given last.
    let most = 2 * KEYS * (VALUE_BYTES + 500) + 20 * (16 << 10) * 2 + 20 * 16 * KEYS;
    assert!(held_bytes < most, "{held_bytes} of {most}");
    assert_eq!(tally(&server).ended.len(), 0);
    drop(slow);
    await_no_laggards(&server);
}

fn who_does_not_read_leaves_a_room_of_which_too_many_removals_would_have_to_be_kept(
    driver: DriverChoice,
) {
    /// More keys than a core keeps of a room for who lacks them, and what sockets take beside that.
    const GONE: usize = 20_000;
    let server = serve(driver);
    let mut slow = Client::watch(&server, "forex");
    let mut publisher = Client::connect(&server);
    flood(&mut publisher, || {});
    for some in 0..GONE / 10 {
        let keys = 10 * some..10 * some + 10;
        let names = keys.clone().map(|key| format!("-{}", key % KEYS));
        publisher.set_all("forex", names);
        let name = |key: usize| format!("gone-{key:0200}");
        publisher.set_all("forex", keys.clone().map(|key| format!("{} 1", name(key))));
        publisher.set_all("forex", keys.map(|key| format!("-{}", name(key))));
    }
    while slow.hear() != "!left Lagging" {}
    await_no_laggards(&server);
    slow.tell("watch forex");
    slow.hears("!there is");
    publisher.set("forex", "eur 1");
    slow.hears("+eur 1");
    assert_eq!(tally(&server).rooms_lost.lagging, 1);
}
