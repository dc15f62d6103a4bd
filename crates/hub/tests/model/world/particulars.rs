//! Messages that have more than a payload, and what becomes of them.

use std::sync::Arc;

use bytes::Bytes;
use hub::{
    ConnectionId, CoreId, Details, PublishRefusal, Record, Request, Target, Ticket, Version,
};

use super::{PUBLICATION_BYTES, World, details, key_of, name_of};
use crate::{
    ops::Particular,
    truth::{Fate, Latest, Room, Said, has_table},
};

impl World {
    /// What a publication counts for while it waits in the room of this name.
    pub(super) fn publication_bytes(&self, name: u8, ticket: Ticket) -> usize {
        let particular = self.particulars.get(&ticket.0);
        let has_key = has_table(name) && !matches!(particular, Some(Particular::Erasing(_)));
        PUBLICATION_BYTES + usize::from(has_key)
    }

    pub(super) fn publish_particular(&mut self, core: u16, name: u8, particular: Particular) {
        let room = self.find_or_make(name);
        let payload = self.answers.len() as u64;
        let ticket = Ticket(payload);
        let publisher = ConnectionId {
            core: CoreId(core),
            token: u64::MAX,
        };
        // What it erases is said now, since the latest message is another one when it is ordered.
        let told = self.rooms[room].told;
        let particular = match particular {
            Particular::Erasing(back) => Particular::Erasing(told.saturating_sub(back)),
            other => other,
        };
        self.answers.push((None, false));
        self.particulars.insert(payload, particular);
        self.home.apply(Request::Publish {
            to: Target::Name(name_of(name)),
            publisher,
            ticket,
            stamp: payload * 3,
            record: Record {
                tag: 1,
                payload: Bytes::copy_from_slice(&payload.to_ne_bytes()),
                details: Some(Arc::new(details_of(name, payload, particular))),
            },
        });
        let Particular::Version(epoch, version) = particular else {
            return self.follow_publication(room, (publisher, ticket));
        };
        let latest = self.version_before(room, payload);
        let Room { top, backlog, .. } = &self.rooms[room];
        let is_outdated = latest.is_some_and(|(of, latest)| of == epoch && version <= latest);
        let fate = match is_outdated {
            true => Some(Fate::At(*top)),
            false => backlog
                .as_ref()
                .map(|_| Fate::Refused(PublishRefusal::Busy)),
        };
        match fate {
            None => self.order(room, ticket),
            fate => self.answers[payload as usize].0 = fate,
        }
    }

    /// The version that a publication is compared with: that of its key, in a room with a table.
    fn version_before(&self, room: usize, payload: u64) -> Latest {
        let room = &self.rooms[room];
        if !has_table(room.name) {
            return room.version;
        }
        let (_, value) = room.table.get(&key_of(payload).0)?;
        match self.particulars.get(value) {
            Some(Particular::Version(epoch, version)) => Some((*epoch, *version)),
            _ => None,
        }
    }
}

impl Room {
    /// A message has the next place.
    pub fn say(&mut self, payload: u64, particular: Option<Particular>, now_ms: u64) {
        match particular {
            Some(Particular::Version(..)) if has_table(self.name) => {}
            Some(Particular::Version(epoch, version)) => self.version = Some((epoch, version)),
            Some(Particular::Erasing(offset)) => {
                for it in self.log.iter_mut().filter(|it| it.offset == offset) {
                    it.payload = payload;
                }
                for (at, kept) in self.table.values_mut() {
                    if *at == offset {
                        *kept = payload;
                    }
                }
            }
            Some(Particular::Passing) | None => {}
        }
        self.top.offset += 1;
        self.log.push(Said {
            offset: self.top.offset,
            payload,
            at_ms: now_ms,
            is_lasting: particular != Some(Particular::Passing),
        });
    }
}

fn details_of(name: u8, payload: u64, particular: Particular) -> Details {
    let keyed = has_table(name)
        .then(|| details(payload))
        .and_then(|it| it.keyed.clone());
    match particular {
        Particular::Version(epoch, version) => Details {
            keyed,
            version: Some(Version {
                epoch: epoch.to_string().into(),
                version,
            }),
            ..Details::default()
        },
        Particular::Passing => Details {
            keyed,
            skips_history: true,
            ..Details::default()
        },
        Particular::Erasing(offset) => Details {
            erases: Some(offset),
            ..Details::default()
        },
    }
}
