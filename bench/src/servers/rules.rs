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

/// What rooms have in addition. Builds of before may not know it, so it is in the settings of those workloads alone
/// that need it.
fn namespace(namespaces: Namespaces) -> String {
    let (name, rules) = match namespaces {
        Namespaces::Remembering => return String::new(),
        Namespaces::Dropping => ("danmaku", "overflow = \"drop_oldest\""),
        Namespaces::Gathering => (
            "danmaku-gathered",
            "overflow = \"drop_oldest\"\nbatch_interval = \"100ms\"",
        ),
        Namespaces::Keys => ("ticker", "kind = \"latest_per_key\""),
    };
    let rights = r#"["client", "anonymous"]"#;
    format!("\n[namespaces.{name}]\nsubscribe = {rights}\npublish = {rights}\n{rules}\n")
}

/// The files of a run.
#[derive(Debug)]
pub struct Rules {
    directory: PathBuf,
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
        let signer = Signer::new()?;
        Ok(Self {
            public_key: write(directory.join("public.pem"), &signer.public_key())?,
            directory: directory.to_owned(),
            signer,
        })
    }

    /// The settings for such rooms, which are written, and the key that tokens are verified with.
    pub fn files(&self, namespaces: Namespaces) -> Result<[PathBuf; 2]> {
        let settings = format!("{SETTINGS}{}", namespace(namespaces));
        let file = format!("hubbub-{namespaces:?}.toml").to_lowercase();
        let settings = write(self.directory.join(file), &settings)?;
        Ok([settings, self.public_key.clone()])
    }
}

fn write(path: PathBuf, text: &str) -> Result<PathBuf> {
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
