//! One room as bytes: the form in which the file of rooms has it.
//!
//! The form is that of postcard, whose specification is fixed. Whatever is changed here changes
//! [`FORMAT`](super::file::FORMAT).

use std::{iter, sync::Arc};

use bytes::Bytes;
use hub::{
    Details, Epoch, Keyed, Position, Record, RoomName, SavedKey, SavedMessage, SavedRoom,
    Unrecoverable, Version,
};
use serde::{Deserialize, Serialize};
use strum::IntoEnumIterator;

/// A room.
#[derive(Serialize, Deserialize)]
struct StoredRoom {
    name: String,
    epoch: u64,
    top: u64,
    /// Offset, time and message.
    messages: Vec<(u64, u64, StoredRecord)>,
    whole_from: u64,
    /// Why a message before these is not here, by its name.
    missing: Option<String>,
    table: Vec<(u64, StoredRecord)>,
    keys: Vec<(u128, u128, u64, u64)>,
    version: Option<(String, u64)>,
}

/// A message. What matters only until it is ordered is left out.
#[derive(Serialize, Deserialize)]
struct StoredRecord {
    tag: u8,
    payload: Bytes,
    meta: Bytes,
    key: Option<String>,
    /// That of its key.
    version: Option<(String, u64)>,
}

/// The bytes of a room.
///
/// # Errors
///
/// Never, as far as is known: memory is the only thing that it takes.
pub fn encode(room: &SavedRoom) -> postcard::Result<Vec<u8>> {
    let messages = room.messages.iter();
    let table = room.table.iter();
    let keys = room.keys.iter();
    postcard::to_allocvec(&StoredRoom {
        name: room.name.as_str().to_owned(),
        epoch: room.position.epoch.0,
        top: room.position.offset,
        messages: messages
            .map(|it| (it.offset, it.at_ms, stored(&it.record)))
            .collect(),
        whole_from: room.whole_from,
        missing: room.missing.map(|cause| <&str>::from(cause).to_owned()),
        table: table
            .map(|(offset, record)| (*offset, stored(record)))
            .collect(),
        keys: keys
            .map(|it| (it.key, it.body, it.offset, it.at_ms))
            .collect(),
        version: room.version.as_ref().map(stored_version),
    })
}

/// The rooms of these bytes, one behind the other; the last is `None` if the rest of the bytes is no room.
pub fn decode_all(mut bytes: &[u8]) -> impl Iterator<Item = Option<SavedRoom>> {
    iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Ok((stored, rest)) = postcard::take_from_bytes(bytes) else {
            bytes = &[];
            return Some(None);
        };
        bytes = rest;
        Some(room_of(stored))
    })
}

fn room_of(stored: StoredRoom) -> Option<SavedRoom> {
    let messages = stored.messages.into_iter();
    let table = stored.table.into_iter();
    let keys = stored.keys.into_iter();
    let missing = stored.missing.as_deref();
    Some(SavedRoom {
        name: RoomName::new(&stored.name).ok()?,
        position: Position {
            epoch: Epoch(stored.epoch),
            offset: stored.top,
        },
        messages: messages
            .map(|(offset, at_ms, it)| SavedMessage {
                offset,
                at_ms,
                record: record(it),
            })
            .collect(),
        whole_from: stored.whole_from,
        missing: missing.and_then(|name| Unrecoverable::iter().find(|it| <&str>::from(it) == name)),
        table: table.map(|(offset, it)| (offset, record(it))).collect(),
        keys: keys
            .map(|(key, body, offset, at_ms)| SavedKey {
                key,
                body,
                offset,
                at_ms,
            })
            .collect(),
        version: stored.version.map(version_of),
    })
}

fn stored(record: &Record) -> StoredRecord {
    let details = record.details.as_ref();
    StoredRecord {
        tag: record.tag,
        meta: details.map(|it| it.meta.clone()).unwrap_or_default(),
        payload: record.payload.clone(),
        key: record.keyed().map(|keyed| (*keyed.key).to_owned()),
        version: record
            .version()
            .filter(|_| record.keyed().is_some())
            .map(stored_version),
    }
}

fn stored_version(version: &Version) -> (String, u64) {
    (version.epoch.to_string(), version.version)
}

fn version_of((epoch, version): (String, u64)) -> Version {
    let epoch = epoch.into();
    Version { epoch, version }
}

fn record(stored: StoredRecord) -> Record {
    let StoredRecord {
        tag,
        payload,
        meta,
        key,
        version,
    } = stored;
    let keyed = key.map(|key| Keyed {
        key: key.into(),
        is_removed: false,
    });
    let details = (!meta.is_empty() || keyed.is_some()).then(|| {
        Arc::new(Details {
            meta,
            keyed,
            version: version.map(version_of),
            ..Details::default()
        })
    });
    Record {
        tag,
        payload,
        details,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A room that has everything.
    pub fn room(name: &str, top: u64) -> SavedRoom {
        let record = |text: &'static str, key: Option<&str>| {
            record(StoredRecord {
                tag: 1,
                payload: Bytes::from_static(text.as_bytes()),
                meta: Bytes::from_static(b"who"),
                key: key.map(Into::into),
                version: key.map(|_| ("edits".to_owned(), 8)),
            })
        };
        SavedRoom {
            name: RoomName::new(name).unwrap(),
            position: Position {
                epoch: Epoch(u64::MAX - 1),
                offset: top,
            },
            messages: vec![SavedMessage {
                offset: top,
                at_ms: 1_234_567_890_123,
                record: record("hello", None),
            }],
            whole_from: top,
            missing: Some(Unrecoverable::Time),
            table: vec![(top, record("value", Some("key")))],
            keys: vec![SavedKey {
                key: u128::MAX,
                body: 7,
                offset: top,
                at_ms: 5,
            }],
            version: Some(Version {
                epoch: "deploys".into(),
                version: 3,
            }),
        }
    }

    #[test]
    fn rooms_are_the_same_behind_their_bytes() {
        let mut bare = room("bare", 9);
        bare.strip();
        bare.missing = None;
        let rooms = [room("room", 1), room("äöü:1", u64::MAX), bare];
        let bytes: Vec<_> = rooms.iter().flat_map(|it| encode(it).unwrap()).collect();
        let read: Vec<_> = decode_all(&bytes).collect();
        assert_eq!(read, rooms.map(Some));
    }

    #[test]
    fn bytes_that_are_no_room_are_none() {
        let good = encode(&room("room", 1)).unwrap();
        for cut in 1..good.len() {
            let bytes = [&good[..], &good[..cut]].concat();
            let read: Vec<_> = decode_all(&bytes).collect();
            assert_eq!(read, [Some(room("room", 1)), None], "{cut}");
        }
        let mut named_badly = good;
        named_badly[1] = b'/';
        assert!(decode_all(&named_badly).eq([None]));
        // A length beyond everything takes no memory.
        assert!(decode_all(&[0xff; 64]).eq([None]));
    }
}
