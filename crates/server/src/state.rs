//! `state_dir`: what outlives the process, in a directory that one process has at a time.
//!
//! ```text
//!  drain is over ─▶ homes hand out their rooms, some at a time ─▶ rooms.redb.part ─▶ rooms.redb
//!  next start ◀── homes take them, before anybody is let in ◀── rooms.redb, which is removed then
//! ```
//!
//! - `directory.rs` claims the directory; `saving.rs` writes rooms at the end, `restoring.rs` reads them at the start
//! - `file.rs` is the file of rooms, `stored.rs` one room in it
//!
//! *Invariants:* a position is never given twice. Homes order nothing once they have begun to hand out their rooms;
//! a file of rooms is removed before the server accepts, whatever has become of it; and a file that is not complete
//! has another name. So a process that is killed leaves nothing, and its successor has new epochs.
//!
//! *Bounded:* bytes by `state_bytes_max`, time by `state_timeout`, once at the start and once at the end.

mod directory;
mod file;
mod restoring;
mod saving;
mod stored;

use std::{sync::Arc, time::Duration};

use crate::settings::Settings;

pub use directory::{Directory, check};
pub use file::{open, open_or_create};
pub use restoring::{Outcome, Unusable};

/// What outlives the process, if the settings name a directory for it.
#[derive(Clone, Debug)]
pub struct State {
    directory: Arc<Directory>,
    bounds: Bounds,
}

/// How much of rooms is written and read, and how long that may take.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes: u64,
    time: Duration,
}

impl State {
    /// Claims the directory that the settings name.
    ///
    /// # Errors
    /// When it cannot be used, with the setting and a remedy.
    pub fn open(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(path) = &settings.state_dir else {
            return Ok(None);
        };
        Ok(Some(Self {
            directory: Arc::new(Directory::claim(path)?),
            bounds: Bounds {
                bytes: settings.state_bytes_max.bytes() as u64,
                time: settings.state_timeout.duration(),
            },
        }))
    }

    /// The directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
}
