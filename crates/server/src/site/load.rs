//! Takes the snapshot: reads a directory once, within a bound.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{DIRECTORY_POLICY, Site};

/// The bytes that a name and its bookkeeping count as, so that empty files are bounded, too.
const ENTRY_BYTES: usize = 256;

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Something in it cannot be read.
    #[error(
        "static_dir: cannot read {}: {error}; name a directory in which the server's user can \
         read everything",
        path.display()
    )]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The path is a file.
    #[error("static_dir: {} is not a directory; name the directory with the page's files", path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// The files exceed the bound; they are bounded because they are held in memory.
    #[error(
        "static_dir: the files of {} are held in memory and exceed static_bytes_max ({bytes_max} \
         bytes): raise static_bytes_max or serve fewer files",
        path.display()
    )]
    TooLarge {
        /// The directory.
        path: PathBuf,
        /// The bound.
        bytes_max: usize,
    },
}

impl LoadError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Read { path, error }
    }
}

/// An entry that is left out, or is missing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    path: PathBuf,
    why: Why,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Hidden,
    NotUtf8,
    Outside,
    Dangling,
    Circle,
    Irregular,
    NoStartPage,
}

impl Skipped {
    /// Whether such an entry is usual, such as `.git`, so that nobody misses it.
    pub fn is_usual(&self) -> bool {
        self.why == Why::Hidden
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let why = match self.why {
            Why::NoStartPage => {
                return write!(
                    f,
                    "static_dir: {path} has no index.html, so / is answered 404"
                );
            }
            Why::Hidden => "its name begins with a dot",
            Why::NotUtf8 => "its name is not UTF-8",
            Why::Outside => "it leads out of the directory",
            Why::Dangling => "it leads nowhere",
            Why::Circle => "it leads in a circle",
            Why::Irregular => "it is not a regular file",
        };
        write!(f, "static_dir: {path} is not served: {why}")
    }
}

pub(super) fn load(dir: &Path, bytes_max: usize) -> Result<Site, LoadError> {
    let root = fs::canonicalize(dir).map_err(LoadError::read(dir))?;
    if !root.is_dir() {
        let path = dir.to_owned();
        return Err(LoadError::NotADirectory { path });
    }
    let mut walk = Walk {
        site: Site::empty(DIRECTORY_POLICY),
        trail: vec![root.clone()],
        root,
        bytes_max,
        bytes_left: bytes_max,
    };
    walk.directory("/")?;
    if !walk.site.has_start_page() {
        walk.skip(dir, Why::NoStartPage);
    }
    walk.site.skipped.sort();
    Ok(walk.site)
}

struct Walk {
    site: Site,
    root: PathBuf,
    /// The real directories from the root to the current one, to detect a circle of links.
    trail: Vec<PathBuf>,
    bytes_max: usize,
    bytes_left: usize,
}

impl Walk {
    /// Reads the directory at the trail's end, whose paths begin with `prefix`.
    fn directory(&mut self, prefix: &str) -> Result<(), LoadError> {
        let Some(dir) = self.trail.last().cloned() else {
            return Ok(());
        };
        for entry in fs::read_dir(&dir).map_err(LoadError::read(&dir))? {
            let entry = entry.map_err(LoadError::read(&dir))?;
            let name = entry.file_name();
            self.charge(ENTRY_BYTES + name.len())?;
            match name.to_str() {
                Some(name) if !name.starts_with('.') || name == ".well-known" => {
                    self.entry(&entry, format!("{prefix}{name}"))?;
                }
                Some(_) => self.skip(&entry.path(), Why::Hidden),
                None => self.skip(&entry.path(), Why::NotUtf8),
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &fs::DirEntry, served: String) -> Result<(), LoadError> {
        let path = &entry.path();
        let linked = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let real = match fs::canonicalize(path) {
            Ok(real) if real.starts_with(&self.root) => real,
            Ok(_) => {
                self.skip(path, Why::Outside);
                return Ok(());
            }
            Err(_) if linked => {
                self.skip(path, Why::Dangling);
                return Ok(());
            }
            Err(error) => return Err(LoadError::read(path)(error)),
        };
        let kind = fs::metadata(&real).map_err(LoadError::read(path))?;
        if kind.is_file() {
            let content = self.file(&real)?;
            self.site.insert(served, content);
        } else if !kind.is_dir() {
            self.skip(path, Why::Irregular);
        } else if self.trail.contains(&real) {
            self.skip(path, Why::Circle);
        } else {
            self.trail.push(real);
            self.directory(&format!("{served}/"))?;
            self.trail.pop();
        }
        Ok(())
    }

    /// Reads no more than the bound leaves, whatever length the file claims or grows to.
    fn file(&mut self, path: &Path) -> Result<Bytes, LoadError> {
        let file = fs::File::open(path).map_err(LoadError::read(path))?;
        let mut content = Vec::new();
        let limit = (self.bytes_left as u64).saturating_add(1);
        file.take(limit)
            .read_to_end(&mut content)
            .map_err(LoadError::read(path))?;
        self.charge(content.len())?;
        Ok(Bytes::from(content))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), LoadError> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            let path = self.root.clone();
            let bytes_max = self.bytes_max;
            LoadError::TooLarge { path, bytes_max }
        })?;
        Ok(())
    }

    fn skip(&mut self, path: &Path, why: Why) {
        let path = path.to_owned();
        self.site.skipped.push(Skipped { path, why });
    }
}
