//! The key of a server in dev: made at each start, and told to the user who has started it and nobody else.

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
    /// A file that only the server's user can read: commands such as `hubbub publish` find the key there.
    file: Option<PathBuf>,
    /// Whether the start lines are for a person, who is told it.
    is_told: bool,
}

impl DevKey {
    /// Makes one for the API at this address.
    ///
    /// # Errors
    /// When there is nothing to draw it from, or its file cannot be written.
    pub fn make(address: SocketAddr) -> anyhow::Result<Self> {
        let text = random_text().context("the operating system gives no random numbers")?;
        let secret = Secret::new(&text).map_err(anyhow::Error::msg)?;
        let is_told = io::stdout().is_terminal();
        let path = path(address.port());
        let file = match write(&path, &text) {
            Ok(()) => Some(path),
            // Whoever sits there has the key all the same.
            Err(_) if is_told => None,
            Err(error) => {
                let path = path.display();
                return Err(error).context(format!(
                    "the key of the API cannot be written to {path}: set TMPDIR to a directory of yours, or api_listen to off"
                ));
            }
        };
        Ok(Self {
            secret,
            file,
            is_told,
        })
    }

    /// The keys of a server that has no others.
    pub fn keys(&self) -> Keys {
        Keys::only(&self.secret)
    }

    /// The file that it stands in, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Leaves no file behind, as the key is of no use any more.
    pub fn forget(&self) {
        if let Some(path) = &self.file {
            let _ = fs::remove_file(path);
        }
    }

    /// The key itself, for a terminal.
    pub fn for_terminal(&self) -> Option<&str> {
        self.is_told.then(|| self.secret.text())
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

    /// The tests' standard output may be a terminal or not: commands find the key either way.
    #[test]
    fn key_is_in_its_file_until_it_is_forgotten() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let key = DevKey::make(socket.local_addr().unwrap()).unwrap();
        let file = key.file().unwrap();
        assert_eq!(fs::read_to_string(file).unwrap().trim(), key.secret.text());
        key.forget();
        assert!(!file.exists());
    }

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
