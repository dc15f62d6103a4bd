//! Reads the layer of environment variables: `HUBBUB_` and a setting's name in capitals.
//!
//! An empty variable counts as not set, since `X=${X:-}` in a compose file leaves it empty. A
//! variable with the prefix that is not a setting is refused if it looks like a typo of one.
//! Otherwise it is only reported, because Kubernetes puts the addresses of a service called `hubbub`
//! into `HUBBUB_SERVICE_HOST`, `HUBBUB_PORT` and others.
//!
//! `RUST_LOG`, which most Rust programs read to set their log level, is used for `log_level` if the
//! setting's own variable is not set.

use std::ffi::OsString;

use super::layers::Found;
use super::nearest::nearest;
use super::report::{Fault, Place, Warning};
use crate::commands::api as commands;

pub(super) const PREFIX: &str = "HUBBUB_";

pub(super) const RUST_LOG: &str = "RUST_LOG";

/// The name of a setting's variable.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

/// The settings in the environment.
#[derive(Default)]
pub(super) struct Environment {
    pub(super) found: Vec<Found>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Warning>,
}

pub(super) fn read(variables: &[(OsString, OsString)], known: &[&str]) -> Environment {
    let mut environment = Environment::default();
    for (name, value) in variables {
        // A name that is not Unicode cannot be one of ours.
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = strip_prefix(name) else {
            continue;
        };
        if commands::VARIABLES.contains(&name) {
            continue;
        }
        match known.iter().find(|key| variable(key) == name) {
            Some(_) if value.is_empty() => {}
            Some(key) => environment.found.push(Found {
                key: (*key).to_owned(),
                values: vec![value.clone()],
                place: Place::Environment,
                shown: format!("{name}={:?}", value.to_string_lossy()),
            }),
            None => environment.unknown(name, rest, known),
        }
    }
    environment.rust_log(variables);
    environment
}

impl Environment {
    fn rust_log(&mut self, variables: &[(OsString, OsString)]) {
        const KEY: &str = "log_level";
        let set = variables.iter().find(|(name, _)| name == RUST_LOG);
        let set = set.filter(|(_, value)| !value.is_empty());
        let is_outranked = self.found.iter().any(|found| found.key == KEY);
        let Some((_, value)) = set.filter(|_| !is_outranked) else {
            return;
        };
        self.found.push(Found {
            key: KEY.to_owned(),
            values: vec![value.clone()],
            place: Place::RustLog,
            shown: format!(
                "{RUST_LOG}={:?}, which is read because {} is not set",
                value.to_string_lossy(),
                variable(KEY)
            ),
        });
    }

    fn unknown(&mut self, name: &str, rest: &str, known: &[&str]) {
        match nearest(rest, known) {
            Some(key) if !is_injected(rest) => {
                let meant = variable(key);
                let reason = format!("there is no such setting; did you mean {meant}?");
                self.faults.push(Fault::unread(key, name, reason));
            }
            _ => self.warnings.push(Warning::UnknownVariable {
                name: name.to_owned(),
            }),
        }
    }
}

/// Removes the prefix in upper or lower case, so that `hubbub_listen` is noticed, too.
fn strip_prefix(name: &str) -> Option<&str> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(rest)
}

/// Whether Kubernetes creates such a name for a service whose name begins with `hubbub`.
fn is_injected(rest: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    words.windows(2).any(|pair| {
        matches!(pair, ["SERVICE", "HOST" | "PORT"])
            || (pair[0] == "PORT" && pair[1].bytes().all(|byte| byte.is_ascii_digit()))
    }) || words.last() == Some(&"PORT")
}
