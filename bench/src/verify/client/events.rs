//! A client that listens to a raw room as `EventSource` does: it has positions, and comes back with the latest of them.

use super::super::history::{By, Position, What};
use super::connection::{Client, Desk};
use crate::centrifuge::Publication;
use anyhow::{Context as _, Result, bail, ensure};

/// An event, as far as this client needs it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<Position>,
    is_gap: bool,
    data: Option<Vec<u8>>,
}

impl Event {
    /// Reads the lines of one event.
    fn read(block: &str) -> Result<Self> {
        let mut event = Self::default();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => {
                    let (epoch, offset) = value.split_once(':').context("an id of one part")?;
                    event.id = Some(Position {
                        epoch: epoch.into(),
                        offset: offset.parse().context("the offset of an id")?,
                    });
                }
                "event" => {
                    ensure!(value == "gap", "an event named {value}");
                    event.is_gap = true;
                }
                "data" => {
                    ensure!(event.data.is_none(), "a message of several lines");
                    event.data = Some(value.into());
                }
                // A comment has no name.
                "retry" | "" => {}
                other => bail!("a field named {other}"),
            }
        }
        Ok(event)
    }
}

impl Client {
    /// Notes that it is about to ask for its stream. What it is there to be called nobody tells it.
    pub fn asks_for_events(&self, desk: &mut Desk) -> Result<()> {
        let room = self.rooms[0];
        desk.note(self.number, What::Connected { id: "".into() })?;
        let from = self.positions.get(&room).cloned();
        desk.note(self.number, What::Asked { room, from })
    }

    /// The position with which it comes back.
    #[must_use]
    pub fn last_event_id(&self) -> Option<String> {
        let position = self.positions.get(&self.rooms[0])?;
        Some(format!("{}:{}", position.epoch, position.offset))
    }

    /// Takes whole events.
    pub fn take_events(&mut self, events: &[u8], desk: &mut Desk) -> Result<Option<By>> {
        let events = str::from_utf8(events).context("events that are not UTF-8")?;
        for block in events.split("\n\n").filter(|it| !it.is_empty()) {
            let event = Event::read(block)?;
            match (event.id, event.data) {
                (Some(begin), _) if !self.hears() => self.begins(begin, event.is_gap, desk)?,
                (Some(id), Some(data)) if !event.is_gap => self.hears_event(&id, &data, desk)?,
                (None, None) if !event.is_gap => {}
                _ => bail!("an event that is out of place: {block}"),
            }
        }
        Ok(None)
    }

    /// The stream begins at a position: the one that was asked for, if nothing is missing.
    fn begins(&mut self, begin: Position, is_gap: bool, desk: &mut Desk) -> Result<()> {
        let room = self.rooms[0];
        let before = self.positions.get(&room);
        let recovered = before.is_some() && !is_gap;
        ensure!(
            !recovered || before == Some(&begin),
            "a stream that begins at {begin:?} in place of {before:?} says nothing of a gap"
        );
        self.positions.insert(room, begin.clone());
        desk.note(
            self.number,
            What::Subscribed {
                room,
                position: begin,
                recovered,
            },
        )?;
        // What it has missed is not marked: it is what others have already.
        self.missed_until = Some(match recovered {
            true => desk.history.checker.top(room),
            false => 0,
        });
        self.joins(room);
        self.catches_up(desk)
    }

    /// Notes the moment from which on it hears what is said now.
    fn catches_up(&mut self, desk: &mut Desk) -> Result<()> {
        let room = self.rooms[0];
        let offset = self.positions.get(&room).map_or(0, |it| it.offset);
        match self.missed_until {
            Some(until) if offset >= until => {
                self.missed_until = None;
                desk.note(self.number, What::CaughtUp { room })
            }
            _ => Ok(()),
        }
    }

    fn hears_event(&mut self, id: &Position, data: &[u8], desk: &mut Desk) -> Result<()> {
        let room = self.rooms[0];
        let publication = Publication {
            data,
            offset: id.offset,
            epoch: (*id.epoch).into(),
            ..Publication::default()
        };
        let was_missed = self.missed_until.is_some_and(|it| id.offset <= it);
        self.given(room, &publication, was_missed, desk)?;
        self.catches_up(desk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_others_than_a_server_sends_are_refused() {
        let position = |offset| {
            Some(Position {
                epoch: "e".into(),
                offset,
            })
        };
        let check = |block: &str, id, is_gap, data: Option<&str>| {
            let data = data.map(|it| it.as_bytes().to_vec());
            assert_eq!(Event::read(block).unwrap(), Event { id, is_gap, data });
        };
        check("retry: 2000\nid: e:7", position(7), false, None);
        check(
            "id: e:8\ndata: {\"a\": 1}",
            position(8),
            false,
            Some("{\"a\": 1}"),
        );
        check(
            "id: e:9\nevent: gap\ndata: {}",
            position(9),
            true,
            Some("{}"),
        );
        check(": still here", None, false, None);
        for wrong in [
            "id: 7",
            "id: e:x",
            "event: other",
            "data: a\ndata: b",
            "what: ever",
        ] {
            assert!(Event::read(wrong).is_err(), "{wrong}");
        }
    }
}
