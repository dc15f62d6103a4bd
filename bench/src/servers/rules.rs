//! What servers are told for clients of the Centrifuge protocol: the rules of rooms, and the key of tokens.

use crate::load::sdk::Signer;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Hubbub's settings. Rooms of the namespace `bench` remember their last messages and let everybody recover; raw rooms
/// beside them remember nothing. Centrifugo is told the same of `bench` by its own file among the peers.
const SETTINGS: &str = r#"anonymous = "on"

[rooms]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
raw = "publish"

[namespaces.bench]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
history_size = 100
history_ttl = "5m"
recovery = "forced"
"#;

/// The files of a run.
#[derive(Debug)]
pub struct Rules {
    /// Hubbub's settings.
    settings: PathBuf,
    /// The key that tokens are verified with, in PEM.
    pub public_key: PathBuf,
    /// The key that signs tokens.
    pub signer: Signer,
}

impl Rules {
    /// Writes the files, with a new key.
    pub fn make(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        let signer = Signer::new()?;
        Ok(Self {
            settings: file("hubbub.toml", SETTINGS)?,
            public_key: file("public.pem", &signer.public_key())?,
            signer,
        })
    }

    /// The settings and the key that tokens are verified with.
    #[must_use]
    pub fn files(&self) -> [&Path; 2] {
        [&self.settings, &self.public_key]
    }
}
