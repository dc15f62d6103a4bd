//! The pace of a drain with many connections, seen from outside.

use std::{
    io::Read,
    net::TcpStream,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self as set, CreateFlags, EventData, EventFlags},
    },
    process::Signal,
};

use crate::{
    harness::{Driver, PATIENCE, Server},
    process,
    wire::Raw,
};

on_both_drivers![closes_of_5000_connections_never_come_faster_than_their_pace];

const CLIENTS: usize = 5_000;
const DRAIN: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_millis(500);

/// The time between two looks that show something: a close comes every millisecond.
const STALL: Duration = Duration::from_millis(100);

/// A close that happened at some time between these two.
#[derive(Clone, Copy)]
struct Close {
    after: Duration,
    before: Duration,
}

fn closes_of_5000_connections_never_come_faster_than_their_pace(driver: Driver) {
    // These do not run side by side, because they measure time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    process::allow_descriptors(CLIENTS + 1_000);
    // Each core closes its first connection at once, outside the pace.
    let permitted = CLIENTS as f64 * WINDOW.as_secs_f64() / DRAIN.as_secs_f64() * 1.2 + 2.0;
    // A core that has stood still for more than a second closes at once what is overdue. If this
    // test has stood still as well, that may have happened: it is tried again.
    for tries_left in [2, 1, 0] {
        let (count, stood_still) = most_in_a_window(driver);
        if count <= permitted {
            return;
        }
        assert!(
            tries_left > 0 && stood_still > STALL,
            "{count} closes in {WINDOW:?}, more than {permitted}"
        );
    }
}

/// The most closes that certainly happened within one window, however late this test looked, and
/// how late it was at most.
fn most_in_a_window(driver: Driver) -> (f64, Duration) {
    let flags = ["--cores", "2", "--drain-timeout", "5s"];
    let mut server = Server::start(driver, &flags);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| Raw::open(&server, "/echo").stream)
        .collect();
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let closes = watch(clients, begun);
    assert_eq!(server.wait().code(), Some(0));
    let within = |first: &Close| {
        let until = first.after + WINDOW;
        let closes = closes.iter();
        closes
            .filter(|close| close.after >= first.after && close.before <= until)
            .count()
    };
    let count = closes.iter().map(within).max().unwrap_or(0);
    let looks = closes.iter().map(|close| close.before - close.after);
    (count as f64, looks.max().unwrap_or_default())
}

/// Waits for the close of every client, which must be 1001.
fn watch(clients: Vec<TcpStream>, begun: Instant) -> Vec<Close> {
    let all = set::create(CreateFlags::CLOEXEC).unwrap();
    // Each is counted once: a process that another test starts may hold a closed one for a moment.
    let interest = EventFlags::IN | EventFlags::ONESHOT;
    for (at, client) in (0u64..).zip(&clients) {
        set::add(&all, client, EventData::new_u64(at), interest).unwrap();
    }
    let mut clients: Vec<_> = clients.into_iter().map(Some).collect();
    let mut closes = Vec::new();
    // There is room for all, so that a close that one look does not show happened after it.
    let mut events = Vec::with_capacity(CLIENTS);
    let mut after = begun.elapsed();
    while closes.len() < CLIENTS {
        let began = begun.elapsed();
        assert!(began < DRAIN + PATIENCE, "{} were closed", closes.len());
        events.clear();
        let most = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        set::wait(&all, spare_capacity(&mut events), Some(&most)).unwrap();
        let before = begun.elapsed();
        for event in &events {
            let data = event.data;
            let mut client = clients[data.u64() as usize].take().unwrap();
            let mut frame = [0; 4];
            client.read_exact(&mut frame).unwrap();
            assert_eq!((frame[0], &frame[2..]), (0x88, &1001u16.to_be_bytes()[..]));
            closes.push(Close { after, before });
        }
        after = began;
    }
    closes
}
