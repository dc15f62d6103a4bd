//! Idle connections: the memory of each, before and after its first message.

use super::check::EchoCheck;
use super::dial::{Target, dial_all};
use super::link::{Buffers, Link, Received};
use super::wire::{Template, without_pings};
use crate::proc::Process;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::thread::sleep;
use std::time::{Duration, Instant};

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections that have a message in flight.
const TALKING: usize = 64;

/// Memory of a server that holds idle connections.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Bytes before the first connection.
    pub base_bytes: u64,
    /// Numbers of idle connections, and the total bytes with each.
    pub curve: Vec<(usize, u64)>,
    /// Bytes after each connection has sent one message and received it back.
    pub talked_bytes: u64,
}

/// The steps in which connections are opened.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The number of steps; memory is read after each.
    pub count: usize,
    /// The pause before memory is read.
    pub settle: Duration,
}

/// Opens the connections in steps, then lets each send one message.
pub fn measure(
    target: &Target,
    process: &Process,
    connections: usize,
    steps: Steps,
    template: &mut Template,
    path: impl Fn(usize) -> String,
) -> Result<Memory> {
    sleep(steps.settle);
    let base_bytes = process.resident_bytes()?;
    let mut links = Vec::with_capacity(connections);
    let mut curve = vec![(0, base_bytes)];
    for step in 1..=steps.count {
        let until = connections * step / steps.count;
        links.extend(dial_all(target, links.len()..until, &path)?);
        sleep(steps.settle);
        curve.push((until, process.resident_bytes()?));
    }
    let mut buffers = Buffers::new();
    for first in (0..links.len()).step_by(TALKING) {
        let until = (first + TALKING).min(links.len());
        talk(&mut links[first..until], first, template, &mut buffers)?;
    }
    buffers.known.note()?;
    sleep(steps.settle);
    Ok(Memory {
        base_bytes,
        curve,
        talked_bytes: process.resident_bytes()?,
    })
}

fn talk(
    links: &mut [Link],
    first: usize,
    template: &mut Template,
    buffers: &mut Buffers,
) -> Result<()> {
    for (offset, link) in links.iter_mut().enumerate() {
        let mut message = Vec::new();
        template.append((first + offset) as u32, 0, &mut message);
        ensure!(
            link.send(&message)?,
            "an idle connection did not take a message"
        );
    }
    for (offset, link) in links.iter_mut().enumerate() {
        let index = first + offset;
        receive_own(link, index, template, buffers)
            .with_context(|| format!("connection {index}"))?;
    }
    Ok(())
}

fn receive_own(
    link: &mut Link,
    index: usize,
    template: &mut Template,
    buffers: &mut Buffers,
) -> Result<()> {
    let mut check = EchoCheck::new(index as u32);
    let since = Instant::now();
    while check.returned() == 0 {
        match link.receive(buffers)? {
            Received::End => bail!("the server closed the connection"),
            Received::Bytes(bytes) => {
                check
                    .receive(template, 1, without_pings(bytes))
                    .map_err(|fault| anyhow!("{fault}"))?;
            }
            Received::Nothing => {
                ensure!(since.elapsed() < REPLY_TIMEOUT, "no reply");
                sleep(Duration::from_micros(50));
            }
        }
    }
    Ok(())
}
