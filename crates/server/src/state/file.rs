//! The file of rooms: written whole under another name first, and read once.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use hub::SavedRoom;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    backends::FileBackend,
};
use thiserror::Error;

use super::{directory::Directory, stored};

/// Which form rooms have in the file. A server reads its own and no other.
pub const FORMAT: u64 = 4;

const COMPLETE: &str = "rooms.redb";
const UNFINISHED: &str = "rooms.redb.part";

/// What could not be used is kept under this name, one at a time, for people to look at.
const REFUSED: &str = "rooms.redb.refused";

/// Rooms in the order in which they were written, many small ones together: a place in the store costs more than
/// what is in it.
const ROOMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rooms");

/// The bytes of a place with more than one room: the store gives a place pages of a power of two, and this fills them.
const PLACE_BYTES: usize = 60 << 10;

/// What the file says of itself.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// Memory for pages of the file. It is written and read from its beginning to its end.
const CACHE_BYTES: usize = 16 << 20;

/// Why a file of rooms cannot be written or used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The store says so.
    #[error("{0}")]
    Store(#[from] redb::Error),
    /// The directory does not take it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another version of this server has written it.
    #[error(
        "it was written by another version of the server (format {found}, and this one reads {FORMAT})"
    )]
    Format {
        /// What it says.
        found: u64,
    },
    /// It has more than may be read.
    #[error("its rooms have {bytes} bytes, more than state_bytes_max")]
    TooLarge {
        /// How many they are.
        bytes: u64,
    },
    /// It does not say of itself what it must.
    #[error("it is not whole")]
    NotWhole,
}

/// A file that is being written.
pub struct Writing {
    database: Database,
    places: u64,
    bytes: u64,
}

impl Writing {
    /// Begins a file, in place of one that was not finished.
    pub fn begin(directory: &Directory) -> Result<Self, FileError> {
        let path = directory.file(UNFINISHED);
        remove(&path)?;
        Ok(Self {
            database: create(&path).map_err(redb::Error::from)?,
            places: 0,
            bytes: 0,
        })
    }

    /// How many bytes the rooms in it have.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds these rooms, which are on the disk then.
    pub fn add(&mut self, rooms: &[Vec<u8>]) -> Result<(), FileError> {
        let mut places = self.places;
        let mut added = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(ROOMS)?;
                let mut place = Vec::new();
                for (number, room) in (1..).zip(rooms) {
                    place.extend_from_slice(room);
                    let next = rooms.get(number).map(Vec::len);
                    if next.is_none_or(|next| place.len() + next > PLACE_BYTES) {
                        table.insert(places, place.as_slice())?;
                        places += 1;
                        place.clear();
                    }
                }
            }
            transaction.commit()?;
            Ok(())
        };
        added()?;
        self.places = places;
        self.bytes += rooms.iter().map(|room| room.len() as u64).sum::<u64>();
        Ok(())
    }

    /// Completes the file: from now on a start finds it.
    pub fn complete(self, directory: &Directory) -> Result<(), FileError> {
        let completed = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut about = transaction.open_table(ABOUT)?;
                about.insert("format", FORMAT)?;
                about.insert("places", self.places)?;
                about.insert("bytes", self.bytes)?;
                // A file without rooms has the table all the same.
                transaction.open_table(ROOMS)?;
            }
            transaction.commit()?;
            Ok(())
        };
        completed()?;
        self.database.close().map_err(redb::Error::from)?;
        fs::rename(directory.file(UNFINISHED), directory.file(COMPLETE))?;
        Ok(directory.sync()?)
    }
}

/// Removes what was not finished, so that it takes no space.
pub fn give_up(directory: &Directory) -> io::Result<()> {
    remove(&directory.file(UNFINISHED))
}

/// Reads the rooms of a file, if there is one, and hands each to `take`, which says whether it wants more. Bytes that
/// are no room are handed on as `None`.
pub fn read(
    directory: &Directory,
    bytes_max: u64,
    mut take: impl FnMut(Option<SavedRoom>) -> bool,
) -> Result<bool, FileError> {
    give_up(directory)?;
    let path = directory.file(COMPLETE);
    if !fs::exists(&path)? {
        return Ok(false);
    }
    let database = open(&path).map_err(redb::Error::from)?;
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let about = transaction.open_table(ABOUT).map_err(redb::Error::from)?;
    let said = |what| -> Result<u64, FileError> {
        let said = about.get(what).map_err(redb::Error::from)?;
        Ok(said.ok_or(FileError::NotWhole)?.value())
    };
    let found = said("format")?;
    if found != FORMAT {
        return Err(FileError::Format { found });
    }
    let (places, bytes) = (said("places")?, said("bytes")?);
    if bytes > bytes_max {
        return Err(FileError::TooLarge { bytes });
    }
    let table = transaction.open_table(ROOMS).map_err(redb::Error::from)?;
    if table.len().map_err(redb::Error::from)? != places {
        return Err(FileError::NotWhole);
    }
    for place in table.iter().map_err(redb::Error::from)? {
        let (_, place) = place.map_err(redb::Error::from)?;
        if !stored::decode_all(place.value()).all(&mut take) {
            break;
        }
    }
    Ok(true)
}

/// Removes the file of rooms for good, or sets it aside if it was not used. No start finds it again.
pub fn retire(directory: &Directory, was_used: bool) -> io::Result<()> {
    let path = directory.file(COMPLETE);
    if !fs::exists(&path)? {
        return Ok(());
    }
    match was_used {
        true => fs::remove_file(&path)?,
        false => fs::rename(&path, directory.file(REFUSED))?,
    }
    directory.sync()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Opens a file of the store, all of whose checksums are verified first, or makes it.
///
/// # Errors
/// When it cannot be used.
pub fn open_or_create(path: &Path) -> Result<Database, redb::DatabaseError> {
    match fs::exists(path)? {
        true => open(path),
        false => create(path),
    }
}

/// Makes a file that the server's user alone reads.
fn create(path: &Path) -> Result<Database, redb::DatabaseError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path)?;
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(FileBackend::new(file)?)
}

/// Opens a file, all of whose checksums are verified first: the store trusts what it has written.
///
/// # Errors
/// When it cannot be used.
pub fn open(path: &Path) -> Result<Database, redb::DatabaseError> {
    let mut builder = Builder::new();
    let builder = builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(true).open(path)
}
