//! What servers are told for clients of the Centrifuge protocol: the rules of rooms, and the key of tokens.

use crate::load::sdk::{Namespaces, Signer};
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

/// What rooms need in which messages come faster than they can be told. Builds of before know nothing of it, so it is
/// in a file of its own.
const PASSING_OVER: &str = r#"
[namespaces.danmaku]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
overflow = "drop_oldest"

[namespaces.danmaku-gathered]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
overflow = "drop_oldest"
batch_interval = "100ms"

[namespaces.ticker]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
kind = "latest_per_key"
"#;

/// The files of a run.
#[derive(Debug)]
pub struct Rules {
    /// Hubbub's settings.
    settings: PathBuf,
    /// The same with rooms that pass over messages.
    passing_over: PathBuf,
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
            passing_over: file(
                "hubbub-passing-over.toml",
                &format!("{SETTINGS}{PASSING_OVER}"),
            )?,
            public_key: file("public.pem", &signer.public_key())?,
            signer,
        })
    }

    /// The settings for such rooms, and the key that tokens are verified with.
    #[must_use]
    pub fn files(&self, namespaces: Namespaces) -> [&Path; 2] {
        let settings = match namespaces {
            Namespaces::Remembering => &self.settings,
            Namespaces::PassingOver => &self.passing_over,
        };
        [settings, &self.public_key]
    }
}
