//! A session of which somebody is told what happens to it: connected, in its room and out of it, disconnected.
//!
//! It stands around sessions of one room or none, and only where events are wanted. Sessions that come and go in rooms
//! tell it themselves.

use std::sync::Arc;

use bytes::Bytes;
use codec::{CloseCode, Message};
use hub::RoomName;
use runtime::{EndReason, Lag, LeftReason, Outlet, Session, SessionEvent, Ticket};

use crate::{
    events::{Why, Witness},
    world::Live,
};

/// Whose session it is, and which room may be told of.
pub struct Whose {
    live: Arc<Live>,
    client: Box<str>,
    user: Arc<str>,
    room: Option<RoomName>,
}

/// A session, and who tells what happens to it.
struct Witnessed {
    session: Box<dyn Session>,
    witness: Witness,
    /// The room that it may enter, if that is told of.
    room: Option<RoomName>,
    is_in: bool,
}

impl Whose {
    /// Of a client with this id and user, which may enter this room; `None` if nobody wants to know of it.
    pub fn of(
        live: &Arc<Live>,
        client: Option<&str>,
        user: &Arc<str>,
        room: Option<&RoomName>,
    ) -> Option<Self> {
        live.events()?;
        let client = client.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        let room = room.filter(|room| live.now().tells_of(room.as_str()));
        Some(Self {
            live: live.clone(),
            client: client.into(),
            user: user.clone(),
            room: room.cloned(),
        })
    }

    /// This session, of which it is told what happens to it.
    pub fn witness(self, session: Box<dyn Session>, protocol: &'static str) -> Box<dyn Session> {
        match self.live.witness(&self.client, &self.user, protocol) {
            None => session,
            Some(witness) => Box::new(Witnessed {
                session,
                witness,
                room: self.room,
                is_in: false,
            }),
        }
    }
}

impl Witnessed {
    fn entered(&mut self) {
        if let Some(room) = &self.room
            && !self.is_in
        {
            self.is_in = true;
            self.witness.subscribed(room.as_str());
        }
    }

    fn left(&mut self, why: Why) {
        if let Some(room) = &self.room
            && self.is_in
        {
            self.is_in = false;
            self.witness.unsubscribed(room.as_str(), why);
        }
    }
}

impl Session for Witnessed {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        self.witness.connected();
        if outlet.room().is_some() {
            self.entered();
        }
        self.session.opened(outlet);
    }

    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        self.session.receive(message, outlet);
    }

    fn go_on(&mut self, outlet: &mut Outlet<'_>) {
        self.session.go_on(outlet);
    }

    fn counts_messages(&self) -> bool {
        self.session.counts_messages()
    }

    fn held_bytes(&self) -> usize {
        self.session.held_bytes()
    }

    fn lag(&self, room: Ticket) -> Option<Lag> {
        self.session.lag(room)
    }

    fn ping(&mut self, outlet: &mut Outlet<'_>) {
        self.session.ping(outlet);
    }

    fn close_code(&self, reason: &EndReason) -> Option<(CloseCode, &'static str)> {
        self.session.close_code(reason)
    }

    fn last_words(&mut self, reason: &EndReason) -> Option<Bytes> {
        self.session.last_words(reason)
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match &event {
            SessionEvent::Joined { .. } => self.entered(),
            SessionEvent::Left { reason, .. } => self.left(why_left(*reason)),
            _ => {}
        }
        self.session.handle(event, outlet);
    }

    fn closed(&mut self, reason: &EndReason) {
        self.left(Why::DISCONNECTED);
        self.witness.disconnected(reason.explained());
        self.session.closed(reason);
    }
}

/// Why a connection is in a room no longer for which it did not ask.
fn why_left(reason: LeftReason) -> Why {
    match reason {
        LeftReason::Lost(_) => Why::LOST,
        LeftReason::Lagging => Why::LAGGING,
        LeftReason::Commanded => Why::COMMANDED,
    }
}
