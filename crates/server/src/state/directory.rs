//! The directory of the state: found, writable, and this process's alone.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::anyhow;

use crate::{faults::Faults, settings::Settings};

/// How often a directory that another process has is tried again, and after how long each time: a second in all.
/// The kernel gives up the lock of a process that was killed only when it has taken all of it down.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// A directory that no other process has.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Whoever has this file locked has the directory. The lock ends with the process, however that ends.
    _lock: File,
}

impl Directory {
    /// Claims it.
    pub(super) fn claim(path: &Path) -> anyhow::Result<Self> {
        check_path(path)?;
        let file = path.join("lock");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options
            .open(&file)
            .map_err(|error| unwritable(path, &error))?;
        for tries_left in (0..TRIES).rev() {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries_left > 0 => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(anyhow!(
                        "state_dir: {} belongs to another process that runs: give each server a directory of its \
                         own, or stop the other one first (`fuser {}` names it)",
                        path.display(),
                        file.display()
                    ));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(anyhow!(
                        "state_dir: {} cannot be locked: {error}; it must be on a file system with locks, such as a \
                         local one",
                        path.display()
                    ));
                }
            }
        }
        let path = path.to_owned();
        Ok(Self { path, _lock: lock })
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes names in it last: those that files were given, and those that are gone.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Checks the directory that the settings name without claiming it, since a server that runs may have it.
pub fn check(settings: &Settings) -> Result<(), Faults> {
    let mut faults = Faults::default();
    let checked = settings.state_dir.as_deref().map_or(Ok(()), check_path);
    let checked = faults.note(checked);
    faults.into_result(checked)
}

fn check_path(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let remedy = "make it for the server's user (install -d -m 0700 -o hubbub DIRECTORY, or StateDirectory= of a \
                  systemd unit, or a volume of a container), or leave state_dir out";
    match fs::metadata(path) {
        Err(error) => Err(anyhow!(
            "state_dir: {shown} cannot be used: {error}; {remedy}"
        )),
        Ok(found) if !found.is_dir() => {
            Err(anyhow!("state_dir: {shown} is not a directory; {remedy}"))
        }
        Ok(_) => rustix::fs::access(
            path,
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
        )
        .map_err(|error| unwritable(path, &error.into())),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow!(
        "state_dir: {} cannot be written: {error}; give it to the server's user (chown, or StateDirectory= of a \
         systemd unit, whose file system is read-only otherwise), or leave state_dir out",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_one_claimants_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::claim(dir.path()).unwrap();
        let refused = Directory::claim(dir.path()).unwrap_err().to_string();
        for word in ["state_dir: ", "another process", "of its own"] {
            assert!(refused.contains(word), "{word} is not in: {refused}");
        }
        drop(first);
        Directory::claim(dir.path()).unwrap();
    }

    #[test]
    fn directory_that_is_none_is_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [&file, &dir.path().join("missing")] {
            let refused = Directory::claim(path).unwrap_err().to_string();
            for word in ["state_dir: ", "StateDirectory=", "leave state_dir out"] {
                assert!(refused.contains(word), "{word} is not in: {refused}");
            }
        }
    }
}
