//! Blocks, mutes and revocations on the disk: read at the start, and written by a thread of its own before a change is
//! answered.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
};

use flume::{Receiver, Sender};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use thiserror::Error;
use tracing::error;

use super::{Change, Moderation, NotChanged, Revocation};
use crate::state::{Directory, open, open_or_create};

/// The form of what is written. A server reads its own and no other.
const FORMAT: u64 = 1;

const FILE: &str = "moderation.redb";

const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
/// Until when each user is blocked.
const BLOCKS: TableDefinition<'_, &str, i64> = TableDefinition::new("blocks");
/// Until when each user is muted, by user and room.
const MUTES: TableDefinition<'_, (&str, &str), i64> = TableDefinition::new("mutes");
/// What is revoked of each user, or of all under the empty name: tokens from before when, and until when.
const REVOCATIONS: TableDefinition<'_, &str, (i64, i64)> = TableDefinition::new("revocations");

/// A change that is to be made, and where the answer goes.
pub struct Order {
    pub change: Change,
    pub reply: Sender<Result<(), NotChanged>>,
}

/// The file.
pub struct Store {
    path: PathBuf,
    /// Closed after the disk has failed it, since it takes nothing more then.
    database: Option<Database>,
}

/// What is kept cannot be read. The server does not start without it: who is kept out would come in.
#[derive(Debug, Error)]
#[error(
    "state_dir: blocks, mutes and revocations in {file} cannot be read: {why}; put a copy of the file there, or remove \
     it, after which none of them is in force"
)]
pub struct Unreadable {
    file: String,
    why: String,
}

impl Store {
    /// Opens the file, or makes it, and returns what is in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(directory: &Directory) -> Result<(Self, Vec<Change>), Unreadable> {
        let path = directory.file(FILE);
        let read = || -> Result<_, String> {
            let database = open_or_create(&path).map_err(|error| error.to_string())?;
            let format = begin(&database).map_err(|error| error.to_string())?;
            if format != FORMAT {
                return Err(format!(
                    "another version of the server has written them (format {format}, and this one reads {FORMAT})"
                ));
            }
            let changes = read_all(&database).map_err(|error| error.to_string())?;
            let store = Self {
                path: path.clone(),
                database: Some(database),
            };
            Ok((store, changes))
        };
        // The store verifies the file first; it may stumble over one nevertheless.
        let read = catch_unwind(AssertUnwindSafe(read));
        let read = read.unwrap_or_else(|_| Err("it is damaged".to_owned()));
        read.map_err(|why| Unreadable {
            file: path.display().to_string(),
            why,
        })
    }

    /// Makes the changes that are ordered, one after the other, for as long as anybody can order some.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(mut self, orders: Receiver<Order>, of: Weak<Moderation>) -> std::io::Result<()> {
        let thread = thread::Builder::new().name("moderation".into());
        thread.spawn(move || {
            for Order { change, reply } in orders.iter() {
                let Some(moderation) = of.upgrade() else {
                    return;
                };
                let made = moderation.make(change, |changes| self.keep(changes));
                // Whoever has ordered it may have given up.
                let _ = reply.try_send(made);
            }
        })?;
        Ok(())
    }

    fn keep(&mut self, changes: &[Change]) -> Result<(), NotChanged> {
        let opened = match self.database.take() {
            Some(database) => Ok(database),
            None => open(&self.path).map_err(redb::Error::from),
        };
        let written = opened.and_then(|database| {
            write(&database, changes)?;
            Ok(database)
        });
        match written {
            Ok(database) => {
                self.database = Some(database);
                Ok(())
            }
            Err(error) => {
                error!(%error, "a change of blocks, mutes or revocations could not be written to state_dir");
                Err(NotChanged::Unwritten)
            }
        }
    }
}

/// Writes changes together: all of them are on the disk then, or none.
fn write(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut blocks = transaction.open_table(BLOCKS)?;
        let mut mutes = transaction.open_table(MUTES)?;
        let mut revocations = transaction.open_table(REVOCATIONS)?;
        for change in changes {
            match change {
                Change::Block { user, until } => _ = blocks.insert(&**user, until)?,
                Change::Unblock { user } => _ = blocks.remove(&**user)?,
                Change::Mute { user, room, until } => {
                    mutes.insert((&**user, &**room), until)?;
                }
                Change::Unmute { user, room } => _ = mutes.remove((&**user, &**room))?,
                Change::Revoke { user, revocation } => {
                    let Revocation { before, until } = *revocation;
                    revocations.insert(&**user, (before, until))?;
                }
                Change::Unrevoke { user } => _ = revocations.remove(&**user)?,
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Makes the tables of a new file; returns the form of what is in it.
fn begin(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let format = {
        let mut about = transaction.open_table(ABOUT)?;
        let format = about.get("format")?.map(|it| it.value());
        if format.is_none() {
            about.insert("format", FORMAT)?;
            transaction.open_table(BLOCKS)?;
            transaction.open_table(MUTES)?;
            transaction.open_table(REVOCATIONS)?;
        }
        format.unwrap_or(FORMAT)
    };
    transaction.commit()?;
    Ok(format)
}

fn read_all(database: &Database) -> Result<Vec<Change>, redb::Error> {
    let transaction = database.begin_read()?;
    let mut changes = Vec::new();
    for block in transaction.open_table(BLOCKS)?.iter()? {
        let (user, until) = block?;
        changes.push(Change::Block {
            user: user.value().into(),
            until: until.value(),
        });
    }
    for mute in transaction.open_table(MUTES)?.iter()? {
        let (of, until) = mute?;
        let (user, room): (Arc<str>, Arc<str>) = (of.value().0.into(), of.value().1.into());
        let until = until.value();
        changes.push(Change::Mute { user, room, until });
    }
    for revocation in transaction.open_table(REVOCATIONS)?.iter()? {
        let (user, revocation) = revocation?;
        let (before, until) = revocation.value();
        changes.push(Change::Revoke {
            user: user.value().into(),
            revocation: Revocation { before, until },
        });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use redb::{Builder, StorageBackend, backends::InMemoryBackend};

    use super::*;
    use crate::moderation::FOREVER;

    /// A disk that takes nothing once it is full.
    #[derive(Debug)]
    struct Disk {
        memory: InMemoryBackend,
        is_full: Arc<AtomicBool>,
    }

    impl Disk {
        fn check(&self) -> io::Result<()> {
            match self.is_full.load(Ordering::Relaxed) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check()?;
            self.memory.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.check()?;
            self.memory.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.check()?;
            self.memory.write(offset, data)
        }
    }

    #[test]
    fn change_that_a_full_disk_does_not_take_is_refused_and_later_ones_are_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        begin(&open_or_create(&path).unwrap()).unwrap();
        let is_full = Arc::new(AtomicBool::new(false));
        let disk = Disk {
            memory: InMemoryBackend::new(),
            is_full: is_full.clone(),
        };
        let database = Builder::new().create_with_backend(disk).unwrap();
        begin(&database).unwrap();
        let mut store = Store {
            path: path.clone(),
            database: Some(database),
        };
        let block = |user: &str| Change::Block {
            user: user.into(),
            until: FOREVER,
        };
        assert_eq!(store.keep(&[block("ann")]), Ok(()));
        is_full.store(true, Ordering::Relaxed);
        assert_eq!(store.keep(&[block("bob")]), Err(NotChanged::Unwritten));
        // The file is opened anew, here another one, and has space.
        assert_eq!(store.keep(&[block("cid")]), Ok(()));
        assert_eq!(store.keep(&[block("dan")]), Ok(()));
        drop(store);
        let kept = read_all(&open(&path).unwrap()).unwrap();
        assert_eq!(kept, [block("cid"), block("dan")]);
    }
}
