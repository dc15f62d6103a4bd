//! Idle connections with a subscription each: the memory of each, and what its keep-alive costs.

use super::inbox::Inbox;
use super::layout::Layout;
use super::opening::{connect, subscribe};
use crate::centrifuge::Encoding;
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
/// Within this time every server pings each of its clients.
const PING_WITHIN: Duration = Duration::from_secs(40);

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
