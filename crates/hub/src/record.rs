//! A message as a log holds it, and what few messages have beside their payload.

use std::sync::Arc;

use bytes::Bytes;

use crate::{recent_keys::Idempotency, table::Keyed};

/// A message as a log holds it. Nothing in it depends on the process, so another node can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// One byte beside the payload, opaque to the hub. The runtime stores the kind of message in
    /// it.
    pub tag: u8,
    /// The payload, opaque to the hub and shared by all cores that deliver it.
    pub payload: Bytes,
    /// What few messages have, or what all of one publisher share.
    pub details: Option<Arc<Details>>,
}

/// What stands beside a message's payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// What subscribers are told of the message or its publisher, opaque to the hub.
    pub meta: Bytes,
    /// The key by which a repeated publication is known.
    pub idempotency: Option<Idempotency>,
    /// Whose message it is, as far as rates are concerned.
    pub publisher: Publisher,
    /// What it does to the table of its room, if that has one.
    pub keyed: Option<Keyed>,
    /// Which version of a state that is published as a whole it is, of its key's or else of the room's: an outdated
    /// one is not ordered, and is answered with the position of the latest message.
    pub version: Option<Version>,
    /// It is delivered and has an offset, and the room's history does not keep it. Whoever has missed it is given the
    /// others.
    pub skips_history: bool,
    /// The offset of an earlier message of which nothing is to be left: where the room keeps that one, it keeps the
    /// payload and the meta of this one in its place. Messages of the same envelope stay, and so does everything if
    /// this message has a key.
    pub erases: Option<u64>,
}

/// A version of the state that a room is about. The last writer wins, whichever comes last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Versions of one epoch are compared; one of another epoch than the latest is newer than it. At most
    /// [`EPOCH_BYTES_MAX`](Self::EPOCH_BYTES_MAX) bytes: whoever lets others choose it has to see to that.
    pub epoch: Box<str>,
    /// The number, which is to be above that of the latest version.
    pub version: u64,
}

impl Version {
    /// Bytes that an epoch may have.
    pub const EPOCH_BYTES_MAX: usize = 255;

    /// Whether a room that has had this version takes `next` no more.
    pub(crate) fn outdates(&self, next: &Self) -> bool {
        self.epoch == next.epoch && next.version <= self.version
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.epoch.len()
    }
}

/// Whose message it is, as far as rates are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Publisher {
    /// That of its connection, which counts by itself.
    #[default]
    Connection,
    /// This user, all of whose connections count together.
    User(Arc<str>),
    /// One for whom no rate holds.
    Unlimited,
}

impl Record {
    /// What subscribers are told beside the payload; empty if nothing.
    pub fn meta(&self) -> &[u8] {
        let details = self.details.as_ref();
        details.map_or(&[], |details| &details.meta)
    }

    /// Whose message it is, as far as rates are concerned.
    pub(crate) fn publisher(&self) -> &Publisher {
        let details = self.details.as_ref();
        details.map_or(&Publisher::Connection, |details| &details.publisher)
    }

    /// Whether it is ordered only if it is no repetition, or not outdated.
    pub(crate) fn is_conditional(&self) -> bool {
        let details = self.details.as_ref();
        details.is_some_and(|it| it.idempotency.is_some() || it.version.is_some())
    }

    /// Whether it does more to its room's log than to have a place.
    pub(crate) fn is_rare(&self) -> bool {
        let details = self.details.as_ref();
        details.is_some_and(|it| {
            it.idempotency.is_some() || it.version.is_some() || it.erases.is_some()
        })
    }

    /// Whether the history is not to keep it.
    pub(crate) fn skips_history(&self) -> bool {
        self.details.as_ref().is_some_and(|it| it.skips_history)
    }

    /// The offset of the kept message that it takes the place of. A message with a key has none.
    pub(crate) fn erases(&self) -> Option<u64> {
        let details = self.details.as_ref()?;
        details.erases.filter(|_| details.keyed.is_none())
    }

    /// What is kept of this message once `tombstone` has erased it: its key stays.
    pub(crate) fn erased_by(&self, tombstone: &Self) -> Self {
        let meta = tombstone.details.as_ref().map(|it| it.meta.clone());
        let (meta, keyed) = (meta.unwrap_or_default(), self.keyed().cloned());
        let details = (!meta.is_empty() || keyed.is_some()).then(|| {
            Arc::new(Details {
                meta,
                keyed,
                ..Details::default()
            })
        });
        Self {
            tag: tombstone.tag,
            payload: tombstone.payload.clone(),
            details,
        }
    }

    /// What it does to the table of its room.
    pub fn keyed(&self) -> Option<&Keyed> {
        self.details.as_ref()?.keyed.as_ref()
    }

    /// Which version it is, of its key or of the room.
    pub fn version(&self) -> Option<&Version> {
        self.details.as_ref()?.version.as_ref()
    }

    /// Bytes of its payload, and of its key if it has one: what its publisher has sent.
    pub fn sent_bytes(&self) -> usize {
        self.payload.len() + self.keyed().map_or(0, |keyed| keyed.key.len())
    }
}
