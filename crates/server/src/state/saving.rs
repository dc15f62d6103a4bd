//! Writing rooms when the last connection is gone.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hub::{PageBounds, SavedRoom};
use runtime::{Homes, NoAnswer};
use thiserror::Error;
use tracing::{error, info, warn};

use super::{
    Bounds, State,
    directory::Directory,
    file::{self, FileError, Writing},
    stored,
};

/// What a home hands out at once, which is also what is written at once: enough for the disk to be busy, and so
/// little that the time is looked at often.
const PAGE: PageBounds = PageBounds {
    rooms: 4_096,
    bytes: 8 << 20,
};

/// How much longer than it may is waited for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was written.
#[derive(Debug, Default)]
struct Written {
    rooms: u64,
    bytes: u64,
    /// Rooms of which the position alone was written, for want of space.
    stripped: u64,
    /// Rooms that had no space at all.
    left_out: u64,
    /// Whether the time was over before all rooms were written.
    is_cut: bool,
}

/// Why the writing came to its end early.
#[derive(Debug, Error)]
enum SaveError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Home(#[from] NoAnswer),
    #[error("the time is over")]
    TimeIsOver,
}

impl State {
    /// Takes all rooms from their homes and writes them. The log has the result; a server that cannot write them
    /// ends all the same, and the next one has new epochs.
    pub fn save(&self, homes: &Homes) {
        let (begun, Bounds { bytes, time }) = (Instant::now(), self.bounds);
        let (done, result) = flume::bounded(1);
        let (directory, homes) = (self.directory.clone(), homes.clone());
        // A disk may never answer, and the process has to end.
        let thread = thread::Builder::new().name("state".into());
        let spawned = thread.spawn(move || {
            let written = write(&directory, &homes, bytes, begun + time);
            if written.is_err() {
                // What takes no space for rooms may be full of these.
                let _ = file::give_up(&directory);
            }
            let _ = done.send(written);
        });
        if let Err(error) = spawned {
            return tell_lost(&error.to_string());
        }
        match result.recv_timeout(time + PATIENCE) {
            Ok(Ok(written)) => tell(&written, begun.elapsed()),
            Ok(Err(error)) => tell_lost(&error.to_string()),
            Err(_) => tell_lost("the disk does not answer in time (state_timeout)"),
        }
    }
}

fn write(
    directory: &Arc<Directory>,
    homes: &Homes,
    bytes_max: u64,
    deadline: Instant,
) -> Result<Written, FileError> {
    let mut file = Writing::begin(directory)?;
    let mut written = Written::default();
    let saved = homes.save(PAGE, deadline, |rooms| -> Result<(), SaveError> {
        let left = bytes_max.saturating_sub(file.bytes());
        file.add(&encode(rooms, left, &mut written))?;
        match Instant::now() < deadline {
            true => Ok(()),
            false => Err(SaveError::TimeIsOver),
        }
    });
    match saved {
        Ok(()) => {}
        Err(SaveError::File(error)) => return Err(error),
        Err(SaveError::Home(_) | SaveError::TimeIsOver) => written.is_cut = true,
    }
    written.bytes = file.bytes();
    file.complete(directory)?;
    Ok(written)
}

/// The rooms as bytes, as far as there is space: a room that has none is written with its position alone.
fn encode(rooms: Vec<SavedRoom>, mut left: u64, written: &mut Written) -> Vec<Vec<u8>> {
    let mut encoded = Vec::with_capacity(rooms.len());
    for mut room in rooms {
        let mut fits = |room: &SavedRoom| {
            let bytes = stored::encode(room).ok()?;
            left = left.checked_sub(bytes.len() as u64)?;
            Some(bytes)
        };
        let mut bytes = fits(&room);
        if bytes.is_none() && room.strip() {
            bytes = fits(&room);
            written.stripped += u64::from(bytes.is_some());
        }
        match bytes {
            Some(bytes) => encoded.push(bytes),
            None => written.left_out += 1,
        }
    }
    written.rooms += encoded.len() as u64;
    encoded
}

fn tell(written: &Written, took: Duration) {
    let Written {
        rooms,
        bytes,
        stripped,
        left_out,
        is_cut,
    } = *written;
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    info!(rooms, bytes, ms, "rooms were written to state_dir");
    if stripped > 0 || left_out > 0 {
        warn!(
            stripped,
            left_out,
            "state_bytes_max had no space for the messages of some rooms, or for some rooms at all: raise it, or \
             keep shorter histories"
        );
    }
    if is_cut {
        warn!(
            "state_timeout was over before all rooms were written: the others get new epochs; raise it, and the \
             time that the supervisor waits"
        );
    }
}

fn tell_lost(why: &str) {
    error!(
        why,
        "rooms could not be written to state_dir: all of them get new epochs"
    );
}

#[cfg(test)]
mod tests {
    use super::{super::stored::tests::room, *};

    #[test]
    fn room_without_space_is_written_with_its_position_or_left_out() {
        let rooms = || (0..4).map(|at| room(&format!("room {at}"), 5)).collect();
        let mut all = Written::default();
        let encoded = encode(rooms(), u64::MAX, &mut all);
        assert_eq!((all.rooms, all.stripped, all.left_out), (4, 0, 0));
        let bytes = encoded[0].len() as u64;

        let mut some = Written::default();
        let encoded = encode(rooms(), bytes * 2 + bytes / 2, &mut some);
        assert_eq!(
            (some.rooms, some.stripped, some.left_out),
            (4 - some.left_out, some.stripped, some.left_out)
        );
        assert!(some.stripped >= 1, "{some:?}");
        let last = stored::decode_all(encoded.last().unwrap()).next();
        let last = last.flatten().unwrap();
        assert!(last.messages.is_empty() && last.position.offset == 5);

        let mut none = Written::default();
        assert!(encode(rooms(), 3, &mut none).is_empty());
        assert_eq!((none.rooms, none.left_out), (0, 4));
    }
}
