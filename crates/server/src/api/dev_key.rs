//! The key of a server in dev: made at each start, and told to whoever has started it and nobody else.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::Keys;
use crate::{secret::random_text, settings::Secret};

/// The key, and where it can be read.
pub struct DevKey {
    secret: Secret,
    shown: Shown,
}

/// Where somebody finds it.
enum Shown {
    /// In the start lines, which only a terminal has.
    Terminal,
    /// In a file that only the server's user can read.
    File(PathBuf),
}

impl DevKey {
    /// Makes one for the API at this address.
    ///
    /// # Errors
    /// When there is nothing to draw it from, or its file cannot be written.
    pub fn make(address: SocketAddr) -> anyhow::Result<Self> {
        let text = random_text().context("the operating system gives no random numbers")?;
        let secret = Secret::new(&text).map_err(anyhow::Error::msg)?;
        if io::stdout().is_terminal() {
            let shown = Shown::Terminal;
            return Ok(Self { secret, shown });
        }
        let path = path(address.port());
        write(&path, &text).with_context(|| {
            let path = path.display();
            format!("the key of the API cannot be written to {path}: set TMPDIR to a directory of yours, or api_listen to off")
        })?;
        let shown = Shown::File(path);
        Ok(Self { secret, shown })
    }

    /// The keys of a server that has no others.
    pub fn keys(&self) -> Keys {
        Keys::only(&self.secret)
    }

    /// The file that it stands in, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.shown {
            Shown::Terminal => None,
            Shown::File(path) => Some(path),
        }
    }

    /// Leaves no file behind, as the key is of no use any more.
    pub fn forget(&self) {
        if let Shown::File(path) = &self.shown {
            let _ = fs::remove_file(path);
        }
    }

    /// The key itself, for a terminal.
    pub fn for_terminal(&self) -> Option<&str> {
        match &self.shown {
            Shown::Terminal => Some(self.secret.text()),
            Shown::File(_) => None,
        }
    }
}

/// The file of the key of an API on this port: in the directory that the system gives each user for such things, or
/// in that for temporary files.
pub fn path(port: u16) -> PathBuf {
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let directory = own.filter(|it| it.is_dir()).unwrap_or_else(env::temp_dir);
    directory.join(format!("hubbub-{port}.api-key"))
}

/// Writes a file that nobody else can read. It is made anew, so that nobody who made one before has it open.
fn write(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{text}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn file_is_new_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("key"), directory.path().join("other"));
        fs::write(&other, "mine").unwrap();
        symlink(&other, &path).unwrap();
        write(&path, "abc").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "abc\n");
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }
}
