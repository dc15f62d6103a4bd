//! Connections that are opened, connected by the protocol, and subscribed, some at a time.

use super::inbox::{Inbox, append};
use super::layout::{Layout, name};
use crate::centrifuge::{Command, Encoding, Reply, Said};
use crate::load::dial::{Target, dial_all};
use crate::load::link::{Buffers, Link, Received};
use anyhow::{Context as _, Result, bail, ensure};
use std::thread::sleep;
use std::time::{Duration, Instant};

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait for answers at the same time.
const ASKING: usize = 64;
/// Connections that are opened before they connect: servers close those that take more than 10 s for it.
const OPENING: usize = 500;
/// The number of the connect command; those of subscriptions follow it.
const CONNECT: u32 = 1;

/// Where a room's log is.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Position {
    /// The log's epoch.
    pub epoch: String,
    /// The offset of its latest message.
    pub offset: u64,
}

/// Opens these connections and sends the connect command on each, with no token.
pub fn connect(
    target: &Target,
    encoding: Encoding,
    indices: std::ops::Range<usize>,
    inbox: &mut Inbox,
) -> Result<Vec<Link>> {
    let commands = |_, out: &mut Vec<u8>| {
        append(encoding, CONNECT, Command::Connect(None), out);
        1
    };
    let mut links = Vec::with_capacity(indices.len());
    for first in indices.clone().step_by(OPENING) {
        let some = first..(first + OPENING).min(indices.end);
        let mut some = dial_all(target, some, |_| encoding.path().to_owned())?;
        ask_all(
            &mut some,
            first,
            encoding,
            inbox,
            commands,
            |_, _, reply| {
                ensure!(matches!(reply, Reply::Connected(_)), "connect: {reply:?}");
                Ok(())
            },
        )?;
        links.append(&mut some);
    }
    Ok(links)
}

/// Subscribes connections from the first on to their rooms; returns the position of each room. All of a room must
/// be told the same one.
pub fn subscribe(
    links: &mut [Link],
    encoding: Encoding,
    layout: Layout,
    inbox: &mut Inbox,
) -> Result<Vec<Position>> {
    let mut positions = vec![None; layout.rooms()];
    let commands = |index: usize, out: &mut Vec<u8>| {
        let rooms = layout.rooms_of(index);
        for (id, &room) in (CONNECT + 1..).zip(&rooms) {
            append(encoding, id, Command::Subscribe(&name(room), None), out);
        }
        rooms.len()
    };
    ask_all(links, 0, encoding, inbox, commands, |index, id, reply| {
        let Reply::Subscribed(subscribed) = reply else {
            bail!("subscribe: {reply:?}");
        };
        ensure!(subscribed.recoverable, "a subscription cannot recover");
        let place = (id - CONNECT - 1) as usize;
        let room = *layout
            .rooms_of(index)
            .get(place)
            .context("an answer to nothing")?;
        let told = Position {
            epoch: subscribed.epoch.into_owned(),
            offset: subscribed.offset,
        };
        let known = positions[room].get_or_insert_with(|| told.clone());
        ensure!(
            *known == told,
            "one room has two positions: {known:?}, {told:?}"
        );
        Ok(())
    })?;
    let all: Option<Vec<Position>> = positions.into_iter().collect();
    all.context("a room has no subscriber")
}

/// Has every connection send commands, and waits until all are answered. `commands` appends them and says how many
/// they are; `first` is the number of the first connection.
pub fn ask_all(
    links: &mut [Link],
    first: usize,
    encoding: Encoding,
    inbox: &mut Inbox,
    commands: impl Fn(usize, &mut Vec<u8>) -> usize,
    mut answer: impl FnMut(usize, u32, Reply<'_>) -> Result<()>,
) -> Result<()> {
    let mut buffers = Buffers::new();
    let mut bytes = Vec::new();
    for begin in (0..links.len()).step_by(ASKING) {
        let until = (begin + ASKING).min(links.len());
        let mut missing = Vec::with_capacity(ASKING);
        for (index, link) in (begin..until).zip(&mut links[begin..until]) {
            bytes.clear();
            missing.push(commands(first + index, &mut bytes));
            link.send(&bytes)?;
        }
        for (index, missing) in (begin..until).zip(missing) {
            let number = first + index;
            let said = |said: Said<'_>| match said {
                Said::Reply(id, reply) => answer(number, id, reply),
                other => bail!("unexpected: {other:?}"),
            };
            await_answers(
                &mut links[index],
                number,
                encoding,
                inbox,
                &mut buffers,
                missing,
                said,
            )
            .with_context(|| format!("connection {number}"))?;
        }
    }
    Ok(())
}

fn await_answers(
    link: &mut Link,
    number: usize,
    encoding: Encoding,
    inbox: &mut Inbox,
    buffers: &mut Buffers,
    mut missing: usize,
    mut answer: impl FnMut(Said<'_>) -> Result<()>,
) -> Result<()> {
    let since = Instant::now();
    while missing > 0 {
        link.flush()?;
        match link.receive(buffers)? {
            Received::End => bail!("the server ended the connection"),
            Received::Bytes(bytes) => {
                inbox.take(number, bytes, |one| {
                    for said in encoding.read(one)? {
                        answer(said)?;
                        missing = missing
                            .checked_sub(1)
                            .context("more answers than commands")?;
                    }
                    Ok(())
                })?;
                link.send(&inbox.owed)?;
            }
            Received::Nothing => {
                ensure!(
                    since.elapsed() < REPLY_TIMEOUT,
                    "{missing} commands were not answered"
                );
                sleep(Duration::from_micros(50));
            }
        }
    }
    Ok(())
}
