//! One connection's session: it does what its peer's commands say, and answers each in text.

use std::fmt::Display;

use codec::{Kind, Message};
use hub::RoomName;
use runtime::{Outlet, Session, SessionEvent, Ticket, TooManyRooms};

use crate::command::{Command, NoCommand};

/// The rooms that a connection has joined or asked for, of which the runtime bounds the number.
#[derive(Default)]
pub struct Commanded {
    rooms: Vec<(Ticket, RoomName)>,
}

/// Why a command is not carried out.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NoCommand(#[from] NoCommand),
    #[error(transparent)]
    TooManyRooms(#[from] TooManyRooms),
    #[error("the connection has asked for the room already")]
    AskedAlready,
    #[error("the connection is not in the room")]
    NotIn,
}

impl Session for Commanded {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        if let Err(refusal) = self.obey(message, outlet) {
            refuse(outlet, refusal);
        }
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Joined { room, .. } => {
                if let Some(at) = self.rooms.iter().position(|(ticket, _)| *ticket == room) {
                    answer(outlet, "joined", &self.rooms[at].1);
                }
            }
            SessionEvent::JoinRefused { room, reason } => {
                self.rooms.retain(|(ticket, _)| *ticket != room);
                refuse(outlet, reason);
            }
            SessionEvent::Unpublished { reason, .. } => refuse(outlet, reason),
            // A room that is lost closes the connection, so that nobody misses its messages unawares.
            other => outlet.close_for(&other),
        }
    }
}

impl Commanded {
    fn obey(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) -> Result<(), Refusal> {
        let text = match message.kind {
            Kind::Text => str::from_utf8(message.payload).map_err(|_| NoCommand::NotText)?,
            Kind::Binary => return Err(NoCommand::NotText.into()),
        };
        match Command::parse(text)? {
            Command::Join(name) => {
                if self.find(name.as_str()).is_some() {
                    return Err(Refusal::AskedAlready);
                }
                self.rooms.push((outlet.join(name.clone())?, name));
            }
            Command::Leave(name) => {
                let at = self.find(name).ok_or(Refusal::NotIn)?;
                let (ticket, name) = self.rooms.swap_remove(at);
                outlet.leave(ticket);
                answer(outlet, "left", &name);
            }
            Command::Publish(name) => {
                let at = self.find(name).ok_or(Refusal::NotIn)?;
                let published = outlet.publish(self.rooms[at].0, Kind::Text, message.payload);
                published.ok_or(Refusal::NotIn)?;
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.rooms
            .iter()
            .position(|(_, room)| room.as_str() == name)
    }
}

fn answer(outlet: &mut Outlet<'_>, what: &str, room: &RoomName) {
    outlet.send(Kind::Text, format!("{what} {room}").as_bytes());
}

fn refuse(outlet: &mut Outlet<'_>, why: impl Display) {
    outlet.send(Kind::Text, format!("error: {why}").as_bytes());
}
