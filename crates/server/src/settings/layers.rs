//! Merges the sources: flags over environment over file over defaults.

use std::error::Error as _;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches, value_parser};

use super::environment::{self, Environment};
use super::file::{self, File};
use super::report::{Fault, Override, Place, Refusal, Stop, Warning, flag};
use super::{Settings, Switch, api_keys, help, hooks, namespaces, negative, rules, url};

/// Where settings are read from: this process, or values that a test provides.
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

/// Settings that passed all checks, and what to log about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Warnings for the operator.
    pub warnings: Vec<Warning>,
    /// The settings that differ from their defaults.
    pub overrides: Vec<Override>,
}

impl Loaded {
    /// Turns `dev` on if nothing is set: whoever starts the server just so wants to try it, on this machine.
    #[must_use]
    pub fn or_dev(mut self) -> Self {
        if self.overrides.is_empty() {
            self.settings.dev = Switch::On;
        }
        self
    }
}

/// A setting's value in one of the layers.
pub(super) struct Found {
    pub(super) key: String,
    pub(super) values: Vec<OsString>,
    pub(super) place: Place,
    /// The value with its place; messages begin with it.
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
    /// When help or the version is asked for, or with everything that is wrong: see [`Stop::report`].
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, Stop> {
        let command = help::command();
        // The flags are parsed alone first, because help must not depend on the other layers.
        let mut found = read_flags(&command, &negative::join(&sources.args))?;
        let environment = read_environment(sources, &command);
        let file = read_file(sources, &command, &found, &environment);
        found.extend(environment.found);
        found.extend(file.found);

        let mut faults = file.faults;
        let (tables, keys) = (file.tables, file.keys);
        faults.extend(tables.faults);
        faults.extend(keys.noted.faults);
        let declared = file.hooks;
        faults.extend(declared.faults);
        faults.extend(environment.faults);
        found.retain(|found| match check_alone(&command, found) {
            None => true,
            Some(fault) => {
                faults.push(fault);
                false
            }
        });
        faults.sort_by_key(|fault| fault.line);
        let sourced = Sourced::new(found);
        let mut settings = sourced.settings(&command)?;
        settings.namespaces = tables.declared;
        settings.api_keys = keys.declared;
        settings.hooks = declared.declared;
        if file.is_whole {
            let mut between = rules::faults(&settings, &sourced);
            between.extend(namespaces::faults(&settings, &tables.set));
            between.extend(api_keys::faults(&settings, &keys.noted.set));
            let all: Vec<_> = tables.set.iter().chain(&declared.set).cloned().collect();
            between.extend(hooks::faults(&settings, &all));
            between.retain(|fault| !fault.follows_from(&faults, |key| sourced.sets(key)));
            faults.append(&mut between);
        }
        if !faults.is_empty() {
            return Err(Refusal::of(faults, settings));
        }
        let mut warnings = environment.warnings;
        warnings.extend(rules::warnings(&settings));
        warnings.extend(rules::without_effect(&settings, &sourced));
        warnings.extend(namespaces::warnings(&settings, &tables.set));
        warnings.extend(api_keys::warnings(&settings));
        warnings.extend(hooks::warnings(&settings));
        let mut overrides = sourced.overrides();
        overrides.extend(tables.set);
        overrides.extend(keys.noted.set);
        overrides.extend(declared.set);
        Ok(Loaded {
            settings,
            warnings,
            overrides,
        })
    }
}

fn matches(command: &Command, args: &[OsString]) -> Result<ArgMatches, Stop> {
    let command = command.clone();
    command
        .try_get_matches_from(args)
        .map_err(Stop::CommandLine)
}

/// The layer of the command line. Its values are not checked yet, so that their faults are reported
/// together with those of the other layers.
fn read_flags(command: &Command, args: &[OsString]) -> Result<Vec<Found>, Stop> {
    let unread = |arg: Arg| arg.value_parser(value_parser!(OsString));
    let flags = match matches(&command.clone().mut_args(unread), args) {
        // Only the command itself knows which values are valid.
        Err(Stop::CommandLine(error)) if error.kind() == ErrorKind::DisplayHelp => {
            matches(command, args)?
        }
        flags => flags?,
    };
    let keys = command.get_arguments().map(|arg| arg.get_id().as_str());
    let given = keys.filter(|key| flags.value_source(key) == Some(ValueSource::CommandLine));
    let found = given.map(|key| {
        let values = flags.get_raw(key).into_iter().flatten();
        let values: Vec<_> = values.map(ToOwned::to_owned).collect();
        Found {
            key: key.to_owned(),
            shown: format!("{}={:?}", flag(key), listed(&values)),
            values,
            place: Place::Flag,
        }
    });
    Ok(found.collect())
}

/// The values of a list as one text.
fn listed(values: &[OsString]) -> String {
    let values: Vec<_> = values.iter().map(|it| it.to_string_lossy()).collect();
    values.join(",")
}

fn read_environment(sources: &Sources<'_>, command: &Command) -> Environment {
    let known: Vec<&str> = command
        .get_arguments()
        .map(|arg| arg.get_id().as_str())
        .collect();
    environment::read(&sources.variables, &known)
}

/// Reads the file that the flag names, or else the one that the variable names.
fn read_file(
    sources: &Sources<'_>,
    command: &Command,
    flags: &[Found],
    environment: &Environment,
) -> File {
    let mut higher = flags.iter().chain(&environment.found);
    let named = higher.find(|found| found.key == "config");
    let path = named.and_then(|found| found.values.first());
    let Some(path) = path.map(Path::new) else {
        return File::default();
    };
    match (sources.read)(path) {
        Ok(text) => file::parse(path, &text, command),
        Err(error) => {
            // Who has written the flag knows that it can be left out.
            let otherwise = match named.map(|found| &found.place) {
                Some(Place::Environment) => ", or leave HUBBUB_CONFIG out",
                _ => "",
            };
            let reason = format!("cannot be read ({error}): name a readable file{otherwise}");
            File::refused(path, reason)
        }
    }
}

/// Parses a value as if it stood alone on the command line, so that a fault has one place.
fn check_alone(command: &Command, found: &Found) -> Option<Fault> {
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_id() == found.key.as_str())?;
    let line = match found.place {
        Place::File { line, .. } => Some(line),
        _ => None,
    };
    let shown = match url::is_url(&found.key) {
        true => format!("{} ({})", found.key, found.place.of(&found.key)),
        false => found.shown.clone(),
    };
    let fault = |reason| Some(Fault::new(&[&found.key], shown.as_str(), reason).at(line));
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

/// The message of an argument's parser, without its words about the command line.
fn reason_of(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => format!("the values are: {}", values.join(", ")),
        _ if error.kind() == ErrorKind::InvalidUtf8 => "it is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// The place of each setting's value, for those that differ from their defaults.
pub(super) struct Sourced {
    /// The highest layer that has each setting.
    found: Vec<Found>,
}

impl Sourced {
    /// Keeps the first value of each setting, which is from the highest layer.
    fn new(all: Vec<Found>) -> Self {
        let mut found: Vec<Found> = Vec::new();
        for candidate in all {
            if found.iter().all(|higher| higher.key != candidate.key) {
                found.push(candidate);
            }
        }
        Self { found }
    }

    /// The settings, as if all values stood on the command line.
    fn settings(&self, command: &Command) -> Result<Settings, Stop> {
        let mut args = vec![OsString::from("hubbub")];
        args.extend(self.found.iter().flat_map(Found::as_flags));
        let all = matches(command, &args)?;
        Settings::from_arg_matches(&all).map_err(Stop::CommandLine)
    }

    /// Whether one of the layers sets it.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.found.iter().any(|found| found.key == key)
    }

    fn overrides(&self) -> Vec<Override> {
        let overrides = self.found.iter().map(|found| Override {
            key: found.key.clone(),
            value: listed(&found.values),
            place: found.place.clone(),
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
