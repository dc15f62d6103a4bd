//! Merges the sources: flags over environment over file over defaults.

use std::error::Error as _;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};

use super::environment::{self, Environment};
use super::file::{self, File};
use super::report::{Fault, Override, Place, Refusal, Stop, Warning, flag};
use super::{Settings, help, rules};

/// Where settings are read from: the process, or what a test makes up.
pub struct Sources<'a> {
    /// The command line, beginning with the program's name.
    pub args: Vec<OsString>,
    /// Names and values of all environment variables.
    pub variables: Vec<(OsString, OsString)>,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Sources<'_> {
    /// The arguments, environment and files of this process.
    pub fn of_process() -> Self {
        Self {
            args: std::env::args_os().collect(),
            variables: std::env::vars_os().collect(),
            read: &|path| std::fs::read_to_string(path),
        }
    }
}

/// Settings that hold together, and what there is to log about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What should be known.
    pub warnings: Vec<Warning>,
    /// What is not left at its default.
    pub overrides: Vec<Override>,
}

/// A setting's value in one of the layers.
pub(super) struct Found {
    pub(super) key: String,
    pub(super) values: Vec<OsString>,
    pub(super) place: Place,
    /// The value in its place, to begin a message with.
    pub(super) shown: String,
}

impl Found {
    /// The value as it would stand on the command line.
    fn as_flags(&self) -> Vec<OsString> {
        let flags = self.values.iter().map(|value| {
            let mut text = OsString::from(format!("{}=", flag(&self.key)));
            text.push(value);
            text
        });
        flags.collect()
    }
}

impl Settings {
    /// Reads all sources and checks each value, then the values against each other.
    ///
    /// # Errors
    /// When help or the version is asked for, or anything is wrong: see [`Stop::report`].
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, Stop> {
        let command = help::command();
        // The flags alone come first: help and wrong flags must not depend on the other layers.
        let flags = matches(&command, &sources.args)?;
        let environment = read_environment(sources, &command);
        let file = read_file(sources, &command, &flags, &environment);

        let mut faults = file.faults;
        faults.extend(environment.faults);
        let mut found = environment.found;
        found.extend(file.found);
        faults.extend(
            found
                .iter()
                .filter_map(|found| check_alone(&command, found)),
        );
        Refusal::of(faults)?;

        let sourced = Sourced::new(&command, &flags, found);
        let all = matches(&command, &sourced.complete(&sources.args))?;
        let settings = Self::from_arg_matches(&all).map_err(Stop::CommandLine)?;
        Refusal::of(rules::faults(&settings, &sourced))?;

        let mut warnings = environment.warnings;
        warnings.extend(rules::warnings(&settings));
        Ok(Loaded {
            settings,
            warnings,
            overrides: sourced.overrides(),
        })
    }
}

fn matches(command: &Command, args: &[OsString]) -> Result<ArgMatches, Stop> {
    let command = command.clone();
    command
        .try_get_matches_from(args)
        .map_err(Stop::CommandLine)
}

fn read_environment(sources: &Sources<'_>, command: &Command) -> Environment {
    let known: Vec<&str> = command
        .get_arguments()
        .map(|arg| arg.get_id().as_str())
        .collect();
    environment::read(&sources.variables, &known)
}

/// Reads the file that the flag names, or else the variable.
fn read_file(
    sources: &Sources<'_>,
    command: &Command,
    flags: &ArgMatches,
    environment: &Environment,
) -> File {
    let by_flag = flags.get_one::<PathBuf>("config").cloned();
    let by_variable = || {
        let found = environment.found.iter().find(|found| found.key == "config");
        found
            .and_then(|found| found.values.first())
            .map(PathBuf::from)
    };
    let Some(path) = by_flag.or_else(by_variable) else {
        return File::default();
    };
    match (sources.read)(&path) {
        Ok(text) => file::parse(&path, &text, command),
        Err(error) => {
            let remedy = "name a readable file, or leave --config and HUBBUB_CONFIG out";
            File::refused(&path, format!("cannot be read ({error}): {remedy}"))
        }
    }
}

/// Tries a value as if it alone stood on the command line, so that a fault has one place.
fn check_alone(command: &Command, found: &Found) -> Option<Fault> {
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_id() == found.key.as_str())?;
    let fault = |reason| {
        Some(Fault {
            subject: found.shown.clone(),
            reason,
        })
    };
    let nothing = found.values.is_empty() && !arg.get_default_values().is_empty();
    if nothing || found.values.iter().any(|value| value.is_empty()) {
        return fault("it is empty: write a value or leave it out".to_owned());
    }
    let alone = Command::new("hubbub")
        .no_binary_name(true)
        .arg(Arg::clone(arg));
    match alone.try_get_matches_from(found.as_flags()) {
        Ok(_) => None,
        Err(error) => fault(reason_of(&error)),
    }
}

/// What an argument's parser says, without the words about the command line around it.
fn reason_of(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => format!("there are: {}", values.join(", ")),
        _ if error.kind() == ErrorKind::InvalidUtf8 => "it is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// Where each setting has its value from, for those that are not left at their default.
pub(super) struct Sourced {
    /// The highest layer of each setting.
    found: Vec<Found>,
}

impl Sourced {
    /// Keeps the highest layer of each: the flag, else the first in `lower`.
    fn new(command: &Command, flags: &ArgMatches, lower: Vec<Found>) -> Self {
        let mut found = Vec::new();
        for arg in command.get_arguments() {
            let key = arg.get_id().as_str();
            if flags.value_source(key) == Some(ValueSource::CommandLine) {
                let values = flags.get_raw(key).into_iter().flatten();
                found.push(Found {
                    key: key.to_owned(),
                    values: values.map(ToOwned::to_owned).collect(),
                    place: Place::Flag,
                    shown: flag(key),
                });
            }
        }
        for candidate in lower {
            if found.iter().all(|higher| higher.key != candidate.key) {
                found.push(candidate);
            }
        }
        Self { found }
    }

    /// The command line, completed by a flag for each value that only a lower layer has.
    fn complete(&self, args: &[OsString]) -> Vec<OsString> {
        let (program, flags) = args.split_at(args.len().min(1));
        let lower = self.found.iter().filter(|found| found.place != Place::Flag);
        let mut complete = program.to_vec();
        complete.extend(lower.flat_map(Found::as_flags));
        complete.extend_from_slice(flags);
        complete
    }

    fn overrides(&self) -> Vec<Override> {
        let overrides = self.found.iter().map(|found| {
            let values: Vec<_> = found
                .values
                .iter()
                .map(|value| value.to_string_lossy())
                .collect();
            Override {
                key: found.key.clone(),
                value: values.join(","),
                place: found.place.clone(),
            }
        });
        overrides.collect()
    }

    /// A setting with its value and place: `pong_timeout (30s, --pong-timeout)`.
    pub(super) fn describe(&self, key: &str, value: &dyn std::fmt::Display) -> String {
        let found = self.found.iter().find(|found| found.key == key);
        let place = found.map_or(&Place::Default, |found| &found.place);
        format!("{key} ({value}, {})", place.of(key))
    }
}
