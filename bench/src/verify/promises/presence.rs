//! Who must be in a room: exactly those whose subscriptions exist.

use super::sessions::{Session, Subscription};
use super::{Checker, Promise};
use std::collections::HashSet;

impl Checker {
    /// What is wrong with who is said to be in a room while nothing is under way.
    #[must_use]
    pub fn wrong_presence(&self, room: u32, ids: &[Box<str>]) -> Option<String> {
        let (expected, raw) = self.members(room);
        let said: HashSet<&str> = ids.iter().map(|it| &**it).collect();
        if said.len() != ids.len() {
            return Some(format!("room {room}: somebody is there twice"));
        }
        if let Some(missing) = expected.iter().find(|it| !said.contains(**it)) {
            return Some(format!(
                "room {room}: {missing} is subscribed, and not present"
            ));
        }
        let others: Vec<_> = ids.iter().filter(|it| !expected.contains(&***it)).collect();
        if let Some(ghost) = others.iter().find(|it| self.ids.contains(**it)) {
            return Some(format!("room {room}: {ghost} is present, and gone"));
        }
        (others.len() != raw).then(|| {
            let others = others.len();
            format!("room {room}: {others} others are present, and {raw} raw clients are in it")
        })
    }

    /// The names of those who are subscribed, and how many raw clients there are, whose names are not known.
    fn members(&self, room: u32) -> (HashSet<&str>, usize) {
        let (mut named, mut raw) = (HashSet::new(), 0);
        for client in &self.clients {
            match &client.session {
                Session::Protocol(it) => {
                    let subscription = it.rooms.get(&room);
                    if matches!(subscription, Some(Subscription::On(_))) {
                        match &*it.id {
                            "" => raw += 1,
                            id => drop(named.insert(id)),
                        }
                    }
                }
                Session::Raw(run) if run.room == room => raw += 1,
                Session::Raw(_) | Session::Away => {}
            }
        }
        (named, raw)
    }

    pub(super) fn present(&mut self, room: u32, ids: &[Box<str>]) {
        self.counts.presences += 1;
        if let Some(wrong) = self.wrong_presence(room, ids) {
            self.findings.add(Promise::Presence, || wrong);
        }
    }
}
