//! What somebody does who is not connected.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::{Event, TICKERS};

/// What somebody who is not connected publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Said {
    Plain,
    Passing,
    /// The number of a version, behind that of its epoch.
    Version(u8, u8),
    /// The tombstone of the message that was published so many before.
    Erasing(u8),
}

/// What somebody who is not connected asks of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Wish {
    History { limit: u8, is_reversed: bool },
    Table,
    Members,
    Forget,
    Clear,
}

/// What somebody does who is not connected.
pub(super) fn desk_event(rng: &mut Rng, rooms: u8) -> Event {
    let room = rng.u8(0..rooms);
    let wish = match rng.u8(0..10) {
        0..=2 => Wish::History {
            limit: rng.u8(0..50),
            is_reversed: rng.bool(),
        },
        3 | 4 => Wish::Table,
        5 => Wish::Members,
        6 | 7 => Wish::Forget,
        _ => Wish::Clear,
    };
    match rng.u8(0..100) {
        0..=64 => Event::DeskPublish {
            room,
            bytes: [0, 3, 130, 1_500][rng.usize(0..4)] + rng.u16(0..100),
            times: [1, 1, 3, 30][rng.usize(0..4)],
            said: match rng.u8(0..8) {
                0 | 1 => Said::Plain,
                2 | 3 => Said::Passing,
                4 | 5 => Said::Version(rng.u8(0..2), rng.u8(0..20)),
                _ => Said::Erasing(rng.u8(0..6)),
            },
        },
        65..=92 => {
            let is_ticker = matches!(wish, Wish::Table | Wish::Clear) && rng.u8(0..6) > 0;
            Event::DeskAsk {
                room: if is_ticker { rng.u8(0..TICKERS) } else { room },
                wish,
                is_ticker,
            }
        }
        93..=97 => Event::DeskList {
            core: rng.u8(..),
            from: rng.u8(0..9),
        },
        _ => Event::DeskLeft {},
    }
}
