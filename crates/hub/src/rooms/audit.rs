//! What the simulation checks of a home between any two of its turns, and asks it about rooms.

use std::sync::Arc;

use super::Rooms;
use crate::{
    log::{AnswerLimits, Numbered, Position},
    mailbox::ConnectionId,
    name::RoomName,
    occupancy::Said,
    presence::Member,
    room::Room,
};

impl Rooms {
    /// Checks that the home's parts agree with each other and keep their bounds; returns for how many places
    /// it has to answer in the budget of rooms.
    ///
    /// # Errors
    ///
    /// Where they do not.
    pub fn audit(&self) -> Result<usize, String> {
        let (mut past_bytes, mut waiting_bytes) = (0, 0);
        for (key, room) in &self.rooms {
            audit_room(room).map_err(|what| format!("{}: {what}", room.name))?;
            self.audit_said(room)
                .map_err(|what| format!("{}: {what}", room.name))?;
            past_bytes += room.log.kept_bytes();
            waiting_bytes += room.backlog.as_ref().map_or(0, |it| it.waiting_bytes());
            if self.by_name.get(&room.name) != Some(&key) {
                return Err(format!("{} is not found by its name", room.name));
            }
            if self.listed.get(room.place) != Some(&key) {
                return Err(format!(
                    "{} is not found in its place of the list",
                    room.name
                ));
            }
        }
        let retired = self.retired.len();
        agree("rooms by name", self.by_name.len(), self.rooms.len())?;
        agree("rooms that are listed", self.listed.len(), self.rooms.len())?;
        agree("bytes of all pasts", self.pasts.bytes(), past_bytes)?;
        agree("waiting bytes", self.waiting_bytes, waiting_bytes)?;
        agree("retired logs", self.retired.audit()?, retired)?;
        let most = self.bounds.past_bytes;
        if past_bytes > most && self.rooms.values().any(|room| room.log.has_messages()) {
            return Err(format!(
                "{past_bytes} bytes of messages and keys are kept, more than {most}"
            ));
        }
        if retired > self.bounds.positions {
            return Err(format!("the positions of {retired} rooms are kept"));
        }
        Ok(self.rooms.len() + retired)
    }

    /// What was said of a room's occupancy must fit who is in it.
    fn audit_said(&self, room: &Room) -> Result<(), String> {
        let is_empty = room.cores.is_empty();
        match room.said {
            Said::Occupied if is_empty => Err("it is empty and not waiting to be vacated".into()),
            Said::Empty { .. } if !is_empty => Err("it is to be vacated with subscribers".into()),
            Said::Empty { .. } if !room.awaits_vacating => Err("it is never vacated".into()),
            // Rules that have just changed are followed later.
            Said::Vacated if !is_empty && self.watch.is_some() && self.to_configure.is_empty() => {
                match room.rules.tells_occupancy {
                    true => Err("nobody was told that it is occupied".into()),
                    false => Ok(()),
                }
            }
            Said::Vacated | Said::Occupied | Said::Empty { .. } => Ok(()),
        }
    }

    /// The position of the latest message of the room of this name, or of its log that outlives it.
    pub fn position(&self, name: &RoomName) -> Option<Position> {
        match self.by_name.get(name) {
            Some(key) => Some(self.rooms[*key].log.top()),
            None => self.retired.position(name),
        }
    }

    /// All rooms, and the number of subscribers of each.
    pub fn all(&self) -> impl Iterator<Item = (RoomName, u32)> {
        let rooms = self.rooms.values();
        rooms.map(|room| (room.name.clone(), room.subscribers()))
    }

    /// The members of the room of this name, as they are told to those who ask.
    pub fn members_now(&self, name: &RoomName) -> Vec<(ConnectionId, Arc<Member>)> {
        let room = self.by_name.get(name).map(|key| &self.rooms[*key]);
        let presence = room.and_then(|room| room.presence.as_ref());
        presence.map_or_else(Vec::new, |presence| presence.by_connection())
    }

    /// All messages that the room of this name keeps, or all of its table.
    pub fn kept(&self, name: &RoomName) -> Numbered {
        const ALL: AnswerLimits = AnswerLimits {
            messages: usize::MAX,
            bytes: usize::MAX,
        };
        let room = self.by_name.get(name).map(|key| &self.rooms[*key]);
        room.map_or_else(
            || [].into(),
            |room| match room.rules.table {
                Some(_) => room.log.table_now(),
                None => room.log.numbered(0, ALL),
            },
        )
    }
}

fn audit_room(room: &Room) -> Result<(), String> {
    room.log.audit(&room.rules)?;
    agree(
        "bytes of its past",
        room.counted.bytes,
        room.log.kept_bytes(),
    )?;
    match &room.presence {
        Some(_) if !room.rules.has_presence => Err("it knows who is in it".into()),
        Some(presence) => presence.audit(),
        None => Ok(()),
    }
}

/// What is counted must be what is there.
pub(crate) fn agree(what: &str, counted: usize, found: usize) -> Result<(), String> {
    match counted == found {
        true => Ok(()),
        false => Err(format!("{what}: counted {counted}, found {found}")),
    }
}
