//! What a publication counts for, and how its kind of message travels through the hub.

use codec::Kind;
use hub::{Record, Request};

/// What a publication counts for against the bounds on its way to its room, in bytes: its payload and
/// what carries it, so that empty messages are bounded too.
pub(crate) fn publication_bytes(payload: usize) -> usize {
    payload + size_of::<Request>()
}

/// The tag of a record that holds a message of this kind.
pub(crate) fn tag_of(kind: Kind) -> u8 {
    match kind {
        Kind::Text => 0,
        Kind::Binary => 1,
    }
}

/// The kind of message that a record holds.
pub fn kind_of(record: &Record) -> Kind {
    match record.tag {
        0 => Kind::Text,
        _ => Kind::Binary,
    }
}
