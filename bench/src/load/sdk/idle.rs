//! Idle connections with a subscription each: the memory of each, and what its keep-alive costs.

use super::client::{Client, Progress, Wish};
use super::inbox::Inbox;
use super::layout::Layout;
use super::layout::name;
use super::opening::{connect, subscribe};
use crate::centrifuge::{Encoding, Transport};
use crate::load::dial::Target;
use crate::load::link::{Buffers, Link, Received};
use crate::load::meter::{Measured, Meter, Window};
use crate::load::wait::wait;
use crate::proc::Process;
use crate::results::Figure;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::epoll;
use std::thread::sleep;
use std::time::{Duration, Instant};

const ENCODING: Encoding = Encoding::Json;
const EVENTS: usize = 1024;
/// How long a client waits for its subscription.
const PATIENCE: Duration = Duration::from_secs(10);
/// Within this time every server pings each of its clients.
const PING_WITHIN: Duration = Duration::from_secs(40);

/// Clients of streams that are on their way at a time.
const AT_ONCE: usize = 64;

/// The memory of clients that are connected over a stream and subscribed by its request.
pub fn measure_streams(
    target: &Target,
    process: &Process,
    window: Window,
    layout: Layout,
    transport: Transport,
) -> Result<Measured> {
    let count = layout.connections();
    let settled = || {
        sleep(window.steps().settle);
        process.resident_bytes()
    };
    let base = settled()?;
    let window = Window {
        warm_up: Duration::ZERO,
        measured: PING_WITHIN,
        ..window
    };
    let mut meter = Meter::new(window, Some(process.clone()));
    meter.is_over(Instant::now())?;
    let mut clients: Vec<Client> = Vec::with_capacity(count);
    let mut buffers = Buffers::new();
    while clients.len() < count {
        let first = clients.len();
        let rooms: Vec<String> = (first..count.min(first + AT_ONCE))
            .flat_map(|index| layout.rooms_of(index).into_iter().map(name))
            .collect();
        let wish = |room: usize| Wish {
            token: None,
            room: Some((&rooms[room], None)),
        };
        for place in 0..rooms.len() {
            let client = Client::dial_stream(target, transport, first + place, &wish(place))?;
            clients.push(client);
        }
        for (place, client) in clients[first..].iter_mut().enumerate() {
            await_subscription(client, &wish(place), &mut buffers)
                .with_context(|| format!("client {}", first + place))?;
            let now = Instant::now();
            meter.record(now, now, 1);
        }
    }
    let subscribed = settled()?;
    meter.end()?;
    let mut measured = meter.finish().context("the run ended before it began")?;
    let each = (subscribed as f64 - base as f64) / count as f64;
    measured.more = vec![(Figure::SubscribedBytes, each)];
    Ok(measured)
}

fn await_subscription(client: &mut Client, wish: &Wish<'_>, buffers: &mut Buffers) -> Result<()> {
    let since = Instant::now();
    loop {
        match client.advance(buffers, wish, |_| Ok(()))? {
            Progress::Done => return Ok(()),
            Progress::Refused(why) => bail!("refused: {why}"),
            Progress::Waits | Progress::Ready => {
                ensure!(since.elapsed() < PATIENCE, "no answer");
                sleep(Duration::from_micros(50));
            }
        }
    }
}

/// Opens and subscribes all connections, then answers pings for the time `watched`, if it is not zero.
pub fn measure(
    target: &Target,
    process: &Process,
    window: Window,
    layout: Layout,
    watched: Duration,
) -> Result<Measured> {
    let connections = layout.connections();
    let settled = || {
        sleep(window.steps().settle);
        process.resident_bytes()
    };
    let base = settled()?;
    let mut inbox = Inbox::new(ENCODING, connections);
    let mut links = connect(target, ENCODING, 0..connections, &mut inbox)?;
    let connected = settled()?;
    subscribe(&mut links, ENCODING, layout, &mut inbox)?;
    let subscribed = settled()?;
    let window = Window {
        warm_up: Duration::ZERO,
        measured: watched,
        ..window
    };
    let mut measured = watch(
        &mut links,
        &mut inbox,
        Meter::new(window, Some(process.clone())),
    )?;
    let each = |bytes: u64| (bytes as f64 - base as f64) / connections as f64;
    measured.more = vec![
        (Figure::IdleBytes, each(connected)),
        (Figure::SubscribedBytes, each(subscribed)),
    ];
    ensure!(
        watched < PING_WITHIN || inbox.pings >= connections as u64,
        "{} pings of {connections} connections",
        inbox.pings
    );
    if !watched.is_zero() {
        let cpu = measured.server.context("the server's time is not known")?;
        let each = cpu.all_ns() / connections as f64 / measured.seconds;
        measured.more.push((Figure::IdleCpuNs, each));
        measured.note = Some(format!(
            "{} pings in {:.0} s",
            inbox.pings, measured.seconds
        ));
    }
    Ok(measured)
}

/// Answers pings until the measured part is over.
fn watch(links: &mut [Link], inbox: &mut Inbox, mut meter: Meter) -> Result<Measured> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, link) in links.iter().enumerate() {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&epoll, link.socket(), data, epoll::EventFlags::IN)?;
    }
    let mut buffers = Buffers::new();
    let mut events = Vec::with_capacity(EVENTS);
    while !meter.is_over(Instant::now())? {
        wait(&epoll, &mut events, &mut meter)?;
        for event in &events {
            let index = event.data.u64() as usize;
            let answered = answer(&mut links[index], index, inbox, &mut buffers);
            answered.with_context(|| format!("connection {index}"))?;
            let now = Instant::now();
            meter.record(now, now, 1);
        }
    }
    meter.finish().context("the run ended before it began")
}

fn answer(link: &mut Link, index: usize, inbox: &mut Inbox, buffers: &mut Buffers) -> Result<()> {
    match link.receive(buffers)? {
        Received::Nothing => return Ok(()),
        Received::End => bail!("the server ended an idle connection"),
        Received::Bytes(bytes) => inbox.take(index, bytes, |message| {
            bail!("unexpected: {}", String::from_utf8_lossy(message))
        })?,
    }
    ensure!(link.send(&inbox.owed)?, "an idle connection took no pong");
    Ok(())
}
