//! What servers are told for clients of the Centrifuge protocol: the rules of rooms, and the key of tokens.

use crate::load::backend::{API_KEY, Beside, Event, HOOK_TIMEOUT};
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

/// The keys of the API, and the back end that is asked; each only in the settings of those workloads that need it.
fn back_ends(beside: Beside) -> String {
    let mut text = String::new();
    if beside.api.is_some() {
        text.push_str(&format!("\n[api_keys.bench]\nkey = \"{API_KEY}\"\n"));
    }
    if let Some((event, address)) = beside.hook {
        let (name, timeout) = (event.name(), HOOK_TIMEOUT.as_millis());
        let url = format!("http://{address}{}", event.path());
        text.push_str(&format!(
            "\n[hooks.{name}]\nurl = \"{url}\"\ntimeout = \"{timeout}ms\"\n"
        ));
        if event == Event::Subscribe {
            text.push_str(HOOKED);
        }
    }
    text
}

/// Rooms of whose subscribers a back end decides; all else is as in `bench`.
const HOOKED: &str = r#"
[namespaces.hooked]
subscribe_hook = true
publish = ["client", "anonymous"]
history_size = 100
history_ttl = "5m"
recovery = "forced"
"#;

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

    /// The settings for such rooms and back ends, which are written, and the key that tokens are verified with.
    pub fn files(&self, namespaces: Namespaces, beside: Beside) -> Result<[PathBuf; 2]> {
        let more = [namespace(namespaces), back_ends(beside)].concat();
        let settings = format!("{SETTINGS}{more}");
        let asks = beside.hook.map_or("", |(event, _)| event.name());
        let file = format!("hubbub-{namespaces:?}{asks}.toml").to_lowercase();
        let settings = write(self.directory.join(file), &settings)?;
        Ok([settings, self.public_key.clone()])
    }
}

fn write(path: PathBuf, text: &str) -> Result<PathBuf> {
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
