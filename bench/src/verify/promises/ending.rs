//! What only the whole history shows: what is missing at its end, and which came before which.

use super::log::Log;
use super::messages::{Fate, Messages};
use super::sessions::{Run, Session, Subscription};
use super::{Checker, Findings, Promise};

impl Checker {
    /// The history is over.
    pub fn finish(&mut self) {
        self.ends_at_the_top();
        for client in std::mem::take(&mut self.clients) {
            self.keep_run(client.session);
        }
        let Self {
            rooms,
            messages,
            findings,
            counts,
            incarnation,
            is_quiet,
            ..
        } = self;
        counts.unseen = rooms.iter().flat_map(|it| &it.logs).map(Log::unseen).sum();
        let unseen: Vec<u64> = rooms.iter().map(|it| it.unseen(*incarnation)).collect();
        for (number, room) in rooms.iter().enumerate() {
            for log in &room.logs {
                in_real_time(log, messages, findings);
            }
            let is_whole =
                |run: &Run| unseen[number] == 0 && *is_quiet && run.incarnation == *incarnation;
            for run in &room.runs {
                follows_log(number, run, is_whole(run), messages, findings);
            }
        }
        if *is_quiet {
            counts.lost_with_server = missing(messages, unseen, *incarnation, findings);
        }
    }

    /// Whether every subscriber has everything that anybody has.
    #[must_use]
    pub fn is_level(&self) -> bool {
        self.behind().next().is_none()
    }

    /// Subscribers that have not everything: the client, the room, what it has, and what there is.
    fn behind(&self) -> impl Iterator<Item = (usize, u32, u64, u64)> {
        let all = self.clients.iter().enumerate();
        let all = all.flat_map(|(client, it)| match &it.session {
            Session::Protocol(session) => session.rooms.iter().map(|on| (client, on)).collect(),
            Session::Away | Session::Raw(_) => Vec::new(),
        });
        all.filter_map(|(client, (room, subscription))| match subscription {
            Subscription::On(reading) => {
                let top = self.rooms[*room as usize].logs[reading.log].top;
                let has = reading.next - 1;
                (has < top).then_some((client, *room, has, top))
            }
            Subscription::Asked { .. } => None,
        })
    }

    /// Once nothing is under way, every subscriber has everything.
    fn ends_at_the_top(&mut self) {
        if !self.is_quiet {
            return;
        }
        for (client, room, has, top) in self.behind().collect::<Vec<_>>() {
            self.findings.add(Promise::NoGap, || {
                format!("client {client}, room {room}: ends at {has}, and the room at {top}")
            });
        }
    }
}

/// Counts what was acknowledged and has no place. What a killed server knew is gone with it; of the rest
/// nothing may be missing, but for as many as their room has places that nobody was given.
fn missing(
    messages: &Messages,
    mut unseen: Vec<u64>,
    incarnation: u32,
    findings: &mut Findings,
) -> u64 {
    let mut lost_with_server = 0;
    for (message, sent) in messages.iter() {
        if sent.place.is_some() || !matches!(sent.fate, Fate::Acknowledged(_)) {
            continue;
        }
        if sent.incarnation < incarnation {
            lost_with_server += 1;
            continue;
        }
        match unseen.get_mut(sent.room as usize) {
            Some(places) if *places > 0 => *places -= 1,
            _ => findings.add(Promise::Kept, || {
                format!(
                    "{message:?} was acknowledged in room {}, and is in no log",
                    sent.room
                )
            }),
        }
    }
    lost_with_server
}

/// What was sent when another was already acknowledged comes behind that.
fn in_real_time(log: &Log, messages: &Messages, findings: &mut Findings) {
    let mut earliest: Option<(u64, u64)> = None;
    for (offset, entry) in log.backwards() {
        let Some(sent) = messages.get(entry.message) else {
            continue;
        };
        if let Some((acknowledged, later)) = earliest
            && acknowledged < sent.at
        {
            findings.add(Promise::Order, || {
                format!(
                    "room {}: what lies at {later} was acknowledged before what lies at {offset} was sent",
                    sent.room
                )
            });
        }
        if let Fate::Acknowledged(at) = sent.fate
            && earliest.is_none_or(|(before, _)| at < before)
        {
            earliest = Some((at, offset));
        }
    }
}

/// A raw client is given a piece of the log: message after message, without their places. What a killed
/// server gave to it alone is in no log, and neither is what came before the first subscription.
fn follows_log(
    room: usize,
    run: &Run,
    is_whole: bool,
    messages: &Messages,
    findings: &mut Findings,
) {
    let mut before: Option<(usize, u64)> = None;
    for message in &run.messages {
        let place = messages.get(*message).and_then(|it| it.place);
        match (before, place) {
            (Some(_), None) if is_whole => findings.add(Promise::Order, || {
                format!("room {room}: a raw client was given {message:?}, which is in no log")
            }),
            (Some((log, offset)), Some(place)) if place != (log, offset + 1) => {
                findings.add(Promise::NoGap, || {
                    format!(
                        "room {room}: a raw client was given {place:?} behind {:?}",
                        (log, offset)
                    )
                });
            }
            _ => {}
        }
        before = place;
    }
}
