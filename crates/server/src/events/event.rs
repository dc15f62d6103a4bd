//! What can be told: the kinds of events, and what each says.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use runtime::{Explained, Initiator};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventKind {
    /// A client is connected, and it is known who it is.
    Connected,
    /// A connection is over, for one reason.
    Disconnected,
    /// A connection is in a room.
    Subscribed,
    /// A connection is in a room no longer.
    Unsubscribed,
    /// A room has its first subscriber.
    Occupied,
    /// A room has had no subscriber for events_debounce.
    Vacated,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Connected,
        Self::Disconnected,
        Self::Subscribed,
        Self::Unsubscribed,
        Self::Occupied,
        Self::Vacated,
    ];

    /// Its name in events, settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Occupied => "occupied",
            Self::Vacated => "vacated",
        }
    }
}

/// Whose connection it is.
#[derive(Debug)]
pub(super) struct Who {
    /// The connection's id.
    pub(super) client: Box<str>,
    /// The user's id; empty for nobody.
    pub(super) user: Arc<str>,
    /// The entry in the table of protocols.
    pub(super) protocol: &'static str,
}

/// Something that has happened.
#[derive(Debug)]
pub(super) struct Event {
    /// When, in milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) what: What,
}

/// What has happened. Names of one-shot rooms are cut already.
#[derive(Debug)]
pub(super) enum What {
    Connected(Arc<Who>),
    Disconnected(Arc<Who>, Explained),
    Subscribed(Arc<Who>, Box<str>),
    Unsubscribed(Arc<Who>, Box<str>, Why),
    Occupied(Box<str>),
    Vacated(Box<str>),
}

/// Why a connection is in a room no longer: a word, and the code with which its client was told, if it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    pub(super) word: &'static str,
    pub(super) code: Option<u16>,
}

impl Why {
    /// The client has asked for it.
    pub const CLIENT: Self = Self::word("client");
    /// Its connection is over.
    pub const DISCONNECTED: Self = Self::word("disconnected");
    /// It was too slow for the room.
    pub const LAGGING: Self = Self::word("lagging");
    /// The room is lost, or something of it.
    pub const LOST: Self = Self::word("lost");
    /// Somebody has asked for it with a command.
    pub const COMMANDED: Self = Self::word("commanded");

    const fn word(word: &'static str) -> Self {
        Self { word, code: None }
    }

    /// The server has ended it, and told the client so.
    pub const fn told(word: &'static str, code: u16) -> Self {
        Self {
            word,
            code: Some(code),
        }
    }
}

impl Event {
    /// What has happened just now.
    pub(super) fn now(what: What) -> Self {
        Self {
            at_ms: now_ms(),
            what,
        }
    }

    pub(super) fn kind(&self) -> EventKind {
        match self.what {
            What::Connected(_) => EventKind::Connected,
            What::Disconnected(..) => EventKind::Disconnected,
            What::Subscribed(..) => EventKind::Subscribed,
            What::Unsubscribed(..) => EventKind::Unsubscribed,
            What::Occupied(_) => EventKind::Occupied,
            What::Vacated(_) => EventKind::Vacated,
        }
    }

    /// The memory that it takes. What connections share is counted for each event, as if it were alone.
    pub(super) fn bytes(&self) -> usize {
        let (who, room) = self.parts();
        let of_who = who.map_or(0, |it| size_of::<Who>() + it.client.len() + it.user.len());
        size_of::<Self>() + of_who + room.map_or(0, str::len)
    }

    fn parts(&self) -> (Option<&Who>, Option<&str>) {
        match &self.what {
            What::Connected(who) | What::Disconnected(who, _) => (Some(who), None),
            What::Subscribed(who, room) | What::Unsubscribed(who, room, _) => {
                (Some(who), Some(room))
            }
            What::Occupied(room) | What::Vacated(room) => (None, Some(room)),
        }
    }
}

/// An event with its id, as it is sent.
pub(super) struct Identified<'e> {
    pub(super) node: &'e str,
    pub(super) number: u64,
    pub(super) event: &'e Event,
}

impl Serialize for Identified<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &format_args!("{}-{}", self.node, self.number))?;
        map.serialize_entry("at_ms", &event.at_ms)?;
        map.serialize_entry("kind", event.kind().name())?;
        let (who, room) = event.parts();
        if let Some(who) = who {
            map.serialize_entry("client", &who.client)?;
            map.serialize_entry("user", &*who.user)?;
            map.serialize_entry("protocol", who.protocol)?;
        }
        if let Some(room) = room {
            map.serialize_entry("room", room)?;
        }
        match &event.what {
            What::Disconnected(_, reason) => {
                map.serialize_entry("reason", reason.name)?;
                let by = match reason.initiator {
                    Initiator::Peer => "client",
                    Initiator::Server => "server",
                };
                map.serialize_entry("by", by)?;
                if let Some(code) = reason.code {
                    map.serialize_entry("code", &code.get())?;
                }
                if !reason.text.is_empty() {
                    map.serialize_entry("text", reason.text)?;
                }
            }
            What::Unsubscribed(_, _, why) => {
                map.serialize_entry("reason", why.word)?;
                if let Some(code) = why.code {
                    map.serialize_entry("code", &code)?;
                }
            }
            What::Connected(_) | What::Subscribed(..) | What::Occupied(_) | What::Vacated(_) => {}
        }
        map.end()
    }
}

/// The wall clock, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
