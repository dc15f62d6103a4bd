//! The rooms of one connection: which it has asked for, which it is in, and which have something for it.
//!
//! Most connections are in one room, and that one lies in the connection itself. With the second, a
//! table is allotted.

use smallvec::SmallVec;

use super::{Subscription, Ticket};

/// A connection's rooms.
#[derive(Debug, Default)]
pub(crate) enum Subscriptions {
    #[default]
    None,
    One(Entry),
    Many(Box<Many>),
}

/// Several rooms, or one that had others beside it.
#[derive(Debug, Default)]
pub(crate) struct Many {
    /// By slot.
    entries: Vec<Option<Entry>>,
    entered: usize,
    /// Slots whose rooms may have something that was not sent yet, each once, in the order of the news.
    with_news: SmallVec<[u8; 8]>,
    /// The slot of the room of whose frame a part has left: the rest of it must leave first.
    half_sent: Option<u8>,
}

/// One room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    ticket: Ticket,
    membership: Membership,
    has_news: bool,
}

/// How far a connection is with a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// The room's home was asked.
    Asked,
    /// The room's home was asked, and the connection wants to leave again.
    GivenUp,
    /// It is in the room.
    In(Subscription),
}

impl Subscriptions {
    /// How many rooms the connection is in, or has asked for.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.entered,
        }
    }

    /// Makes an entry for a room whose home is asked now, with this number of the connection's tickets;
    /// `None` if there would be more than `max`.
    pub(crate) fn ask(&mut self, serial: u32, max: usize) -> Option<Ticket> {
        if self.len() >= max.min(Ticket::SLOTS_MAX) {
            return None;
        }
        match self {
            Self::None => {
                let entry = Entry::asked(Ticket::new(serial, 0));
                *self = Self::One(entry);
                Some(entry.ticket)
            }
            Self::One(entry) => {
                let mut many = Many {
                    entries: vec![Some(*entry)],
                    entered: 1,
                    ..Many::default()
                };
                // A single room is always taken to have news, and its cursor tells. Several rooms keep a
                // list of those with news, which begins with the first.
                many.note_news(0);
                let ticket = many.ask(serial);
                *self = Self::Many(Box::new(many));
                Some(ticket)
            }
            Self::Many(many) => Some(many.ask(serial)),
        }
    }

    /// How far the connection is with the room of this ticket; `None` if it is not there any more.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<Membership> {
        self.entry(ticket).map(|entry| entry.membership)
    }

    /// Notes how far the connection is with the room of this ticket.
    pub(crate) fn set(&mut self, ticket: Ticket, membership: Membership) {
        if let Some(entry) = self.entry_mut(ticket) {
            entry.membership = membership;
        }
    }

    /// The subscriber of the room in this slot is found elsewhere from now on.
    pub(crate) fn moved(&mut self, slot: u8, to: Subscription) {
        let entry = match self {
            Self::None => None,
            Self::One(entry) => Some(entry),
            Self::Many(many) => many
                .entries
                .get_mut(usize::from(slot))
                .and_then(Option::as_mut),
        };
        if let Some(Entry { membership, .. }) = entry
            && matches!(membership, Membership::In(_))
        {
            *membership = Membership::In(to);
        }
    }

    /// Takes the room of this ticket off the list.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Membership> {
        let membership = self.get(ticket)?;
        match self {
            Self::None => {}
            Self::One(_) => *self = Self::None,
            Self::Many(many) => many.remove(ticket.slot()),
        }
        Some(membership)
    }

    /// Takes all rooms off the list.
    pub(crate) fn take(&mut self) -> Vec<Membership> {
        let entries = std::mem::take(self);
        entries.entries().map(|entry| entry.membership).collect()
    }

    /// The first room's ticket: that of the room which the connection was opened in, unless it has left it.
    pub(crate) fn first(&self) -> Option<Ticket> {
        self.entries().next().map(|entry| entry.ticket)
    }

    /// All tickets.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.entries().map(|entry| entry.ticket)
    }

    /// The ticket of the room in this slot.
    pub(crate) fn ticket_in(&self, slot: u8) -> Option<Ticket> {
        let mut entries = self.entries();
        entries
            .find(|entry| entry.ticket.slot() == slot)
            .map(|entry| entry.ticket)
    }

    /// The room in this slot has something for the connection.
    pub(crate) fn note_news(&mut self, slot: u8) {
        if let Self::Many(many) = self {
            many.note_news(slot);
        }
    }

    /// The rooms that may have something that was not sent yet: that of a half-sent frame first.
    pub(crate) fn with_news(&self) -> impl Iterator<Item = (u8, Subscription)> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(entry) => (Some(entry), None),
            Self::Many(many) => (None, Some(many)),
        };
        let one = one.and_then(Entry::joined);
        one.into_iter()
            .chain(many.into_iter().flat_map(|many| many.with_news()))
    }

    /// After a send: the room in this slot has `has_more` for the connection, or is in the middle of a
    /// frame.
    pub(crate) fn settle(&mut self, slot: u8, has_more: bool, is_half_sent: bool) {
        if let Self::Many(many) = self {
            many.settle(slot, has_more, is_half_sent);
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(entry) => (Some(entry), None),
            Self::Many(many) => (None, Some(&many.entries)),
        };
        one.into_iter().chain(many.into_iter().flatten().flatten())
    }

    fn entry(&self, ticket: Ticket) -> Option<&Entry> {
        let entry = match self {
            Self::None => None,
            Self::One(entry) => Some(entry),
            Self::Many(many) => many.entries.get(usize::from(ticket.slot()))?.as_ref(),
        };
        entry.filter(|entry| entry.ticket == ticket)
    }

    fn entry_mut(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        let entry = match self {
            Self::None => None,
            Self::One(entry) => Some(entry),
            Self::Many(many) => many.entries.get_mut(usize::from(ticket.slot()))?.as_mut(),
        };
        entry.filter(|entry| entry.ticket == ticket)
    }
}

impl Many {
    fn ask(&mut self, serial: u32) -> Ticket {
        let free = self.entries.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.entries.len());
        if free.is_none() {
            self.entries.push(None);
        }
        let ticket = Ticket::new(serial, slot as u8);
        self.entries[slot] = Some(Entry::asked(ticket));
        self.entered += 1;
        ticket
    }

    fn remove(&mut self, slot: u8) {
        if self.entries[usize::from(slot)].take().is_some() {
            self.entered -= 1;
        }
        self.with_news.retain(|other| *other != slot);
        if self.half_sent == Some(slot) {
            self.half_sent = None;
        }
    }

    fn note_news(&mut self, slot: u8) {
        if let Some(Some(entry)) = self.entries.get_mut(usize::from(slot))
            && !std::mem::replace(&mut entry.has_news, true)
        {
            self.with_news.push(slot);
        }
    }

    fn settle(&mut self, slot: u8, has_more: bool, is_half_sent: bool) {
        if is_half_sent {
            self.half_sent = Some(slot);
        } else if self.half_sent == Some(slot) {
            self.half_sent = None;
        }
        if has_more {
            return;
        }
        if let Some(Some(entry)) = self.entries.get_mut(usize::from(slot)) {
            entry.has_news = false;
        }
        self.with_news.retain(|other| *other != slot);
    }

    fn with_news(&self) -> impl Iterator<Item = (u8, Subscription)> {
        let others = self.with_news.iter().copied();
        let others = others.filter(|slot| Some(*slot) != self.half_sent);
        let slots = self.half_sent.into_iter().chain(others);
        slots.filter_map(|slot| self.entries[usize::from(slot)].as_ref()?.joined())
    }
}

impl Entry {
    fn asked(ticket: Ticket) -> Self {
        Self {
            ticket,
            membership: Membership::Asked,
            has_news: false,
        }
    }

    fn joined(&self) -> Option<(u8, Subscription)> {
        match self.membership {
            Membership::In(subscription) => Some((self.ticket.slot(), subscription)),
            Membership::Asked | Membership::GivenUp => None,
        }
    }
}

#[cfg(test)]
mod tests;
