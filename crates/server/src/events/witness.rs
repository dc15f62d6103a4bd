//! Tells what happens to one connection, in order: connected, what it subscribes to and unsubscribes from,
//! disconnected.

use std::{fmt, sync::Arc};

use runtime::Explained;

pub use super::event::Why;
use super::{
    event::{Event, EventKind, What, Who},
    sink::Sink,
};
use crate::{protocols::shown_name, world::Live};

/// Tells what happens to one connection.
#[derive(Clone)]
pub struct Witness {
    sink: Arc<Sink>,
    live: Arc<Live>,
    who: Arc<Who>,
}

impl Witness {
    /// Tells `sink` of a connection of this user.
    pub fn new(
        sink: Arc<Sink>,
        live: Arc<Live>,
        client: &str,
        user: &Arc<str>,
        protocol: &'static str,
    ) -> Self {
        let who = Who {
            client: client.into(),
            user: user.clone(),
            protocol,
        };
        Self {
            sink,
            live,
            who: Arc::new(who),
        }
    }

    /// It is connected.
    pub fn connected(&self) {
        self.tell(EventKind::Connected, || What::Connected(self.who.clone()));
    }

    /// It is in this room.
    pub fn subscribed(&self, room: &str) {
        self.tell(EventKind::Subscribed, || {
            What::Subscribed(self.who.clone(), room_told(&self.live, room))
        });
    }

    /// It is in this room no longer.
    pub fn unsubscribed(&self, room: &str, why: Why) {
        self.tell(EventKind::Unsubscribed, || {
            What::Unsubscribed(self.who.clone(), room_told(&self.live, room), why)
        });
    }

    /// It is over.
    pub fn disconnected(&self, reason: Explained) {
        self.tell(EventKind::Disconnected, || {
            What::Disconnected(self.who.clone(), reason)
        });
    }

    fn tell(&self, kind: EventKind, what: impl FnOnce() -> What) {
        if self.sink.wants(kind) {
            self.sink.tell(Event::now(what()));
        }
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").field("who", &self.who).finish()
    }
}

/// The name of a room as it may be told: of a one-shot room only its beginning, because the whole of it is for those
/// who were given it.
pub(super) fn room_told(live: &Live, room: &str) -> Box<str> {
    match live.is_one_shot(room) {
        true => shown_name(room).into(),
        false => room.into(),
    }
}
