//! The settings of the server that a subcommand is about.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;

use crate::settings::{Loaded, Settings, Sources, Stop};

/// Where the settings of the server are.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// File with the settings of the server [env: HUBBUB_CONFIG]
    ///
    /// Variables such as HUBBUB_TOKEN_SECRET take precedence over it, as they do at a start.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

impl Context {
    /// The settings that a start with this file and these variables would use.
    ///
    /// # Errors
    /// When a start would refuse them.
    pub fn load(&self, sources: &Sources<'_>) -> Result<Loaded, Stop> {
        let mut args = vec![OsString::from("hubbub")];
        args.extend(self.config.as_ref().map(|path| {
            let mut flag = OsString::from("--config=");
            flag.push(path);
            flag
        }));
        Settings::load(&Sources {
            args,
            variables: sources.variables.clone(),
            read: sources.read,
        })
    }

    /// The same, with defaults in place of what a start would refuse: for a question that has little to do with
    /// that. The second is what is wrong.
    pub fn load_sound(&self, sources: &Sources<'_>) -> (Settings, Option<Stop>) {
        match self.load(sources) {
            Ok(loaded) => (loaded.settings, None),
            Err(Stop::Refused(refusal)) => {
                let sound = refusal.sound().clone();
                (sound, Some(Stop::Refused(refusal)))
            }
            Err(stop) => (Settings::default(), Some(stop)),
        }
    }
}

/// The value of a variable that is set, and not empty.
pub fn variable<'a>(sources: &'a Sources<'_>, name: &str) -> Option<&'a OsStr> {
    let mut variables = sources.variables.iter();
    let (_, value) = variables.find(|(key, _)| key == name)?;
    (!value.is_empty()).then_some(value.as_os_str())
}
