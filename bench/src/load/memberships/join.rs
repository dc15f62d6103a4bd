//! Every connection joins its rooms, and is told so of each.

use super::command::{append_join, joined, short_text};
use super::spread::Spread;
use crate::load::link::{Buffers, Link, Received};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::HashSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that join at the same time.
const JOINING: usize = 64;

/// Has all connections join; returns when all are members of all their rooms.
pub fn all(links: &mut [Link], spread: Spread) -> Result<()> {
    let mut buffers = Buffers::new();
    let mut commands = Vec::new();
    for first in (0..links.len()).step_by(JOINING) {
        let indices = first..(first + JOINING).min(links.len());
        for index in indices.clone() {
            commands.clear();
            spread
                .rooms_of(index)
                .for_each(|room| append_join(room, &mut commands));
            links[index].send(&commands)?;
        }
        for index in indices {
            await_answers(
                &mut links[index],
                spread.rooms_of(index).collect(),
                &mut buffers,
            )
            .with_context(|| format!("connection {index}"))?;
        }
    }
    Ok(())
}

/// Rooms may have their homes on several cores, so their answers have no order.
fn await_answers(link: &mut Link, mut wanted: HashSet<usize>, buffers: &mut Buffers) -> Result<()> {
    let mut answers = Vec::new();
    let since = Instant::now();
    while !wanted.is_empty() {
        link.flush()?;
        match link.receive(buffers)? {
            Received::End => bail!("the server closed the connection"),
            Received::Bytes(bytes) => {
                answers.extend_from_slice(bytes);
                let left = take(&answers, &mut wanted)?.len();
                answers.drain(..answers.len() - left);
            }
            Received::Nothing => {
                let missing = wanted.len();
                ensure!(
                    since.elapsed() < REPLY_TIMEOUT,
                    "{missing} joins were not answered"
                );
                sleep(Duration::from_micros(50));
            }
        }
    }
    ensure!(
        answers.is_empty(),
        "joins were answered with more than that"
    );
    Ok(())
}

/// Strikes out the rooms whose answers are whole; returns what follows them.
fn take<'a>(mut answers: &'a [u8], wanted: &mut HashSet<usize>) -> Result<&'a [u8]> {
    while let Some((text, rest)) = short_text(answers) {
        let is_wanted = joined(text).is_some_and(|room| wanted.remove(&room));
        ensure!(is_wanted, "a join was answered with {text:?}");
        answers = rest;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::{Kind, frame};

    #[track_caller]
    fn check(answers: &[&str], left: Option<usize>) {
        let mut bytes = Vec::new();
        for text in answers {
            frame::encode_message(Kind::Text, text.as_bytes(), &mut bytes);
        }
        let mut wanted = HashSet::from([1, 2]);
        let taken = take(&bytes, &mut wanted).map(|_| wanted.len());
        assert_eq!(taken.ok(), left);
    }

    #[test]
    fn answers_strike_out_rooms_in_any_order() {
        check(&[], Some(2));
        check(&["joined 00000002"], Some(1));
        check(&["joined 00000002", "joined 00000001"], Some(0));
    }

    #[test]
    fn answer_of_another_room_or_an_error_is_a_failure() {
        check(&["joined 00000003"], None);
        check(&["joined 00000002", "joined 00000002"], None);
        check(
            &["error: the connection is in as many rooms as it may be"],
            None,
        );
    }
}
