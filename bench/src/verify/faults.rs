//! Ten kinds of faults, planted into a recorded history one at a time: the checker must find each.

use super::chance::Chance;
use super::history::{Event, Message, What};
use super::promises::{Checker, Promise};
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// How often each kind is planted, at another place each time.
const PLANTS: usize = 4;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A subscriber is not given one message.
    Drop,
    /// A subscriber is given one message twice.
    Duplicate,
    /// A subscriber is given two messages at each other's place.
    Swap,
    /// A subscriber is given other bytes than were published.
    Corruption,
    /// A subscriber is given what nobody has published.
    Phantom,
    /// A server that was killed goes on with the epoch of before.
    EpochReuse,
    /// Of what was missed, one message is not given.
    PartialRecovery,
    /// The first message behind what was missed is not given.
    LostSeam,
    /// A message is acknowledged, and has no place.
    Missing,
    /// A client that is gone is said to be present.
    Ghost,
}

impl Fault {
    const ALL: [Self; 10] = [
        Self::Drop,
        Self::Duplicate,
        Self::Swap,
        Self::Corruption,
        Self::Phantom,
        Self::EpochReuse,
        Self::PartialRecovery,
        Self::LostSeam,
        Self::Missing,
        Self::Ghost,
    ];

    /// The promise that it breaks.
    fn breaks(self) -> Promise {
        match self {
            Self::Drop | Self::Duplicate => Promise::NoGap,
            Self::Swap | Self::Corruption | Self::Phantom => Promise::Order,
            Self::EpochReuse => Promise::Epochs,
            Self::PartialRecovery | Self::LostSeam => Promise::Recovery,
            Self::Missing => Promise::Kept,
            Self::Ghost => Promise::Presence,
        }
    }

    /// The history with the fault in it, if it has a place for one.
    fn plant(self, clean: &[Event], chance: &mut Chance) -> Option<Vec<Event>> {
        let mut history = clean.to_vec();
        match self {
            Self::Drop => {
                let (live, at) = within(clean, chance)?;
                history.remove(live[at]);
            }
            Self::Duplicate => {
                let (live, at) = within(clean, chance)?;
                history.insert(live[at] + 1, clean[live[at]].clone());
            }
            Self::Swap => {
                let (live, at) = within(clean, chance)?;
                swap_content(&mut history, live[at], live[at + 1]);
            }
            Self::Corruption => {
                let (live, at) = within(clean, chance)?;
                corrupt(&mut history[live[at]], chance);
            }
            Self::Phantom => {
                let (live, _) = within(clean, chance)?;
                let last = *live.last()?;
                history.insert(last + 1, phantom_behind(&clean[last]));
            }
            Self::EpochReuse => reuse_epoch(&mut history, chance)?,
            Self::PartialRecovery => {
                let all = recoveries(clean, |run| run.replied.len() > 1);
                let run = &all.get(chance.below(all.len()))?.replied;
                history.remove(run[chance.below(run.len() - 1)]);
            }
            Self::LostSeam => {
                let all = recoveries(clean, |run| run.live.len() > 1);
                history.remove(all.get(chance.below(all.len()))?.live[0]);
            }
            Self::Missing => lose_acknowledged(&mut history, chance)?,
            Self::Ghost => {
                let gone = gone(clean);
                let id = gone.get(chance.below(gone.len()))?.clone();
                let said = history.iter_mut().find_map(|it| match &mut it.what {
                    What::Present { ids, .. } => Some(ids),
                    _ => None,
                });
                said?.push(id);
            }
        }
        Some(history)
    }
}

/// Plants every kind of fault into a history without faults; returns how many were planted. Fails unless all of
/// them are found, and nothing in the history as it is.
pub fn find_all(clean: &[Event], seed: u64) -> Result<usize> {
    let checker = Checker::of(clean);
    ensure!(checker.findings.is_empty(), "the history is not clean");
    let mut chance = Chance::new(seed);
    for fault in Fault::ALL {
        for _ in 0..PLANTS {
            let planted = fault.plant(clean, &mut chance);
            let planted = planted.with_context(|| {
                format!("the history has no place for {fault:?}: take more --seconds")
            })?;
            let findings = Checker::of(&planted).findings;
            ensure!(
                findings.count(fault.breaks()) > 0,
                "a planted fault was not found: {fault:?}"
            );
        }
    }
    Ok(Fault::ALL.len() * PLANTS)
}

/// The places in a history of what one subscription was given.
#[derive(Clone, Debug, Default)]
struct Run {
    /// Whether it began with a recovery.
    recovered: bool,
    /// In the reply.
    replied: Vec<usize>,
    /// As it was published.
    live: Vec<usize>,
}

/// All subscriptions.
fn runs(history: &[Event]) -> Vec<Run> {
    let mut open: BTreeMap<(u32, u32), Run> = BTreeMap::new();
    let mut all = Vec::new();
    for (at, event) in history.iter().enumerate() {
        match &event.what {
            What::Subscribed {
                room, recovered, ..
            } => {
                let run = Run {
                    recovered: *recovered,
                    ..Run::default()
                };
                all.extend(open.insert((event.client, *room), run));
            }
            What::Delivered {
                room, recovered, ..
            } => {
                if let Some(run) = open.get_mut(&(event.client, *room)) {
                    match recovered {
                        true => run.replied.push(at),
                        false => run.live.push(at),
                    }
                }
            }
            _ => {}
        }
    }
    all.extend(open.into_values());
    all
}

/// A subscription with several live messages, and one of them that is neither the first nor the last.
fn within(history: &[Event], chance: &mut Chance) -> Option<(Vec<usize>, usize)> {
    let mut all = runs(history);
    all.retain(|run| run.live.len() > 3);
    let at = chance.below(all.len());
    let live = all.into_iter().nth(at)?.live;
    let at = 1 + chance.below(live.len() - 2);
    Some((live, at))
}

/// The subscriptions that began with a recovery, and are as wanted.
fn recoveries(history: &[Event], wanted: impl Fn(&Run) -> bool) -> Vec<Run> {
    let mut all = runs(history);
    all.retain(|run| run.recovered && wanted(run));
    all
}

fn content(event: &mut Event) -> Option<(&mut Message, &mut u64)> {
    match &mut event.what {
        What::Delivered {
            message, digest, ..
        } => Some((message, digest)),
        _ => None,
    }
}

fn swap_content(history: &mut [Event], first: usize, second: usize) {
    let (before, behind) = history.split_at_mut(second);
    if let (Some(one), Some(other)) = (content(&mut before[first]), content(&mut behind[0])) {
        std::mem::swap(one.0, other.0);
        std::mem::swap(one.1, other.1);
    }
}

fn corrupt(event: &mut Event, chance: &mut Chance) {
    if let Some((_, digest)) = content(event) {
        *digest ^= 1 << chance.below(64);
    }
}

fn phantom_behind(event: &Event) -> Event {
    let mut phantom = event.clone();
    if let What::Delivered {
        message,
        offset: Some(offset),
        ..
    } = &mut phantom.what
    {
        message.number = u32::MAX;
        *offset += 1;
    }
    phantom
}

/// The epoch in which each event of a room lies, if it lies in one.
fn epochs(history: &[Event], wanted: u32) -> Vec<Option<Box<str>>> {
    let mut present: BTreeMap<u32, Box<str>> = BTreeMap::new();
    let of = |event: &Event| match &event.what {
        What::Asked { room, from } if *room == wanted => Some(from.as_ref()?.epoch.clone()),
        What::Subscribed { room, position, .. } if *room == wanted => {
            present.insert(event.client, position.epoch.clone());
            Some(position.epoch.clone())
        }
        What::Delivered {
            room,
            offset: Some(_),
            ..
        } if *room == wanted => present.get(&event.client).cloned(),
        _ => None,
    };
    history.iter().map(of).collect()
}

/// Gives the last epoch of a room the name of one before; some of their offsets must be the same.
fn reuse_epoch(history: &mut [Event], chance: &mut Chance) -> Option<()> {
    let rooms = rooms(history);
    let first = chance.below(rooms.len());
    let turned = rooms.iter().cycle().skip(first).take(rooms.len());
    for room in turned {
        let epochs = epochs(history, *room);
        let mut offsets: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        let mut order: Vec<&str> = Vec::new();
        for (event, epoch) in history.iter().zip(&epochs) {
            if let (What::Delivered { offset, .. }, Some(epoch)) = (&event.what, epoch) {
                offsets.entry(epoch).or_default().extend(offset);
                if !order.contains(&&**epoch) {
                    order.push(epoch);
                }
            }
        }
        let [.., before, last] = order[..] else {
            continue;
        };
        if offsets[before].is_disjoint(&offsets[last]) {
            continue;
        }
        let (before, last): (Box<str>, Box<str>) = (before.into(), last.into());
        history
            .iter_mut()
            .for_each(|it| rename(it, *room, &last, &before));
        return Some(());
    }
    None
}

fn rooms(history: &[Event]) -> Vec<u32> {
    let asked = history.iter().filter_map(|event| match event.what {
        What::Asked { room, .. } => Some(room),
        _ => None,
    });
    asked.collect::<BTreeSet<_>>().into_iter().collect()
}

fn rename(event: &mut Event, wanted: u32, from: &str, to: &str) {
    let epoch = match &mut event.what {
        What::Asked {
            room,
            from: Some(position),
        }
        | What::Subscribed { room, position, .. }
            if *room == wanted =>
        {
            Some(&mut position.epoch)
        }
        What::Delivered { room, epoch, .. } if *room == wanted => epoch.as_mut(),
        _ => None,
    };
    if let Some(epoch) = epoch.filter(|it| &***it == from) {
        *epoch = to.into();
    }
}

/// Takes an acknowledged message out of the log, as if the next one had come in its place.
fn lose_acknowledged(history: &mut Vec<Event>, chance: &mut Chance) -> Option<()> {
    let restarted = history.iter().rposition(|it| it.what == What::Restarted);
    let alive = &history[restarted.map_or(0, |at| at + 1)..];
    // What was sent before is gone with the server.
    let sent = alive.iter().filter_map(|it| match it.what {
        What::Sent { message, .. } => Some(message),
        _ => None,
    });
    let sent: BTreeSet<Message> = sent.collect();
    let acknowledged = alive.iter().filter_map(|it| match it.what {
        What::Acknowledged { message } => Some(message),
        _ => None,
    });
    let candidates: Vec<Message> = acknowledged.filter(|it| sent.contains(it)).collect();
    let lost = chance.pick(&candidates)?;
    let (at, room, gone) = history
        .iter()
        .enumerate()
        .find_map(|(at, it)| match &it.what {
            What::Delivered {
                room,
                message,
                offset: Some(offset),
                ..
            } if *message == lost => Some((at, *room, *offset)),
            _ => None,
        })?;
    let epochs = epochs(history, room);
    let epoch = epochs[at].clone();
    for (event, _) in history
        .iter_mut()
        .zip(&epochs)
        .filter(|(_, it)| **it == epoch)
    {
        close_up(event, gone);
    }
    history.retain(|it| !matches!(it.what, What::Delivered { message, .. } if message == lost));
    Some(())
}

/// Moves an event of a room by one, if it lies behind what is gone.
fn close_up(event: &mut Event, gone: u64) {
    match &mut event.what {
        What::Asked {
            from: Some(position),
            ..
        }
        | What::Subscribed { position, .. } => {
            position.offset -= u64::from(position.offset >= gone);
        }
        What::Delivered {
            offset: Some(offset),
            ..
        } => *offset -= u64::from(*offset > gone),
        _ => {}
    }
}

/// Names of clients that were connected, and are in no room at the end.
fn gone(history: &[Event]) -> Vec<Box<str>> {
    let mut ids = BTreeSet::new();
    for event in history {
        match &event.what {
            What::Connected { id } => {
                ids.insert(id.clone());
            }
            What::Present { ids: present, .. } => present.iter().for_each(|id| {
                ids.remove(id);
            }),
            _ => {}
        }
    }
    ids.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::model;
    use super::*;

    #[test]
    fn clean_history_has_no_findings_and_every_planted_fault_is_found() {
        for seed in 0..8 {
            let clean = model::history(seed);
            let findings = Checker::of(&clean).findings;
            assert!(findings.is_empty(), "seed {seed}: {findings:?}");
            let planted = find_all(&clean, seed);
            assert_eq!(
                planted.map_err(|it| format!("{it:#}")),
                Ok(40),
                "seed {seed}"
            );
        }
    }
}
