//! What somebody does who is not connected, and the lists of all rooms.

use std::collections::BTreeMap;

use super::Run;
use crate::{
    rules::{name_of, ticker_of},
    script::{Event, Wish},
};

/// Virtual time in which a request of the desk is answered when nothing else happens.
const ANSWER_NS: u64 = 1_000_000_000;

impl Run {
    pub(super) fn ask_at_the_desk(&mut self, event: &Event) -> Result<(), String> {
        let desk = self.machine.desk().clone();
        match *event {
            Event::DeskPublish {
                room,
                bytes,
                times,
                said,
            } => {
                for _ in 0..times {
                    let id = self.id();
                    let of = (room, name_of(room));
                    self.clerk
                        .publish(&desk, of, (id, bytes), said, &mut self.orders)?;
                }
            }
            Event::DeskAsk {
                room,
                wish,
                is_ticker,
            } => {
                let name = if is_ticker {
                    ticker_of(room)
                } else {
                    name_of(room)
                };
                let at = self.machine.position(&name);
                if let (Wish::Forget, Some(forgotten)) =
                    (wish, self.orders.sure.forgotten.get_mut(usize::from(room)))
                {
                    *forgotten = true;
                }
                self.clerk.ask(&desk, (room, name), wish, at);
            }
            Event::DeskList { core, from } => {
                let core = usize::from(core) % self.settings.cores;
                self.clerk.list(&desk, core, from.into());
            }
            _ => self.clerk.give_up(),
        }
        Ok(())
    }

    /// The lists of all cores have all rooms that stay meanwhile, each once.
    pub(super) fn check_lists(&mut self) -> Result<(), String> {
        let before = self.machine.rooms();
        let mut listed = BTreeMap::new();
        for core in 0..self.settings.cores {
            let mut from = Some(0);
            while let Some(at) = from {
                let answer = self.machine.desk().list(core, at);
                let answer = answer.map_err(|error| format!("no list of core {core}: {error}"))?;
                let until_ns = self.world.time_ns() + ANSWER_NS;
                while answer.is_empty() {
                    self.pass(10_000)?;
                    if self.world.time_ns() > until_ns {
                        return Err(format!("no list of core {core} from {at}"));
                    }
                }
                let listing = answer.recv().map_err(|error| error.to_string())?;
                for (name, subscribers) in listing.rooms {
                    if listed.insert(name.clone(), subscribers).is_some() {
                        return Err(format!("{name} is listed twice"));
                    }
                }
                from = listing.next;
            }
        }
        let after = self.machine.rooms();
        let stayed = before.iter().filter(|(name, _)| after.contains_key(*name));
        for (name, subscribers) in stayed {
            let told = listed.get(name);
            if told != Some(subscribers) && told != after.get(name) {
                return Err(format!(
                    "{name} has {subscribers} subscribers, and is listed with {told:?}"
                ));
            }
        }
        let mut names = listed.keys();
        let unknown = names.find(|&name| !before.contains_key(name) && !after.contains_key(name));
        match unknown {
            Some(name) => Err(format!("{name} is listed, and does not exist")),
            None => Ok(()),
        }
    }
}
