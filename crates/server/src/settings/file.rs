//! Reads the layer of the file: TOML with flat keys, and tables for the rules of rooms.

use std::any::TypeId;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::api_keys::{API_KEYS, KeyTables};
use super::hooks;
use super::layers::Found;
use super::namespaces::{EVENTS, Lines, Tables, is_option, is_table, unknown_table};
use super::nearest::nearest;
use super::report::{Fault, Place};
use super::table::secrets_masked;
use super::units::{Period, Size};
use super::url::masked;

/// A file with more syntax errors than this is probably not TOML at all, so only the first error is
/// reported. 20 fill a terminal, and are more than anybody makes by mistake.
const ERRORS_MAX: usize = 20;

/// The contents of a file: values to check, and the faults found so far.
pub(super) struct File {
    pub(super) found: Vec<Found>,
    pub(super) faults: Vec<Fault>,
    /// The rules of rooms.
    pub(super) tables: Tables,
    /// The keys of the API.
    pub(super) keys: KeyTables,
    /// The hooks.
    pub(super) hooks: hooks::Tables,
    /// Whether the whole file could be read. If not, it may set keys that seem to be missing.
    pub(super) is_whole: bool,
}

impl Default for File {
    /// No file.
    fn default() -> Self {
        Self {
            found: Vec::new(),
            faults: Vec::new(),
            tables: Tables::default(),
            keys: KeyTables::default(),
            hooks: hooks::Tables::default(),
            is_whole: true,
        }
    }
}

pub(super) fn parse(path: &Path, text: &str, command: &Command) -> File {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    // They show the line that they are about.
    let shown = secrets_masked(&masked(text));
    errors
        .iter_mut()
        .for_each(|error| error.set_input(Some(&shown)));
    if errors.len() > ERRORS_MAX {
        let reason = format!("this is no TOML; first of all, {}", errors[0]);
        return File::refused(path, reason);
    }
    let mut file = File {
        is_whole: errors.is_empty(),
        ..File::default()
    };
    let settings = known(command);
    let mut lines = Lines {
        path,
        text,
        broken: &[],
        settings: &settings,
    };
    let mut broken: Vec<usize> = Vec::new();
    for error in errors {
        let line = error.span().map(|span| lines.of(span.start));
        // Further errors on the same line may only follow from the first.
        if line.is_none_or(|line| !broken.contains(&line)) {
            let wrong = line.and_then(|line| text.lines().nth(line - 1));
            let hint = wrong.and_then(|wrong| quotes_missing(wrong, command));
            let reason = error.to_string() + &hint.unwrap_or_default();
            file.faults.push(Fault::of_file(path, reason).at(line));
        }
        broken.extend(line);
    }
    lines.broken = &broken;
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(_, value)| value.span().start);
    for (key, value) in entries {
        let (key, line) = (key.into_inner(), lines.of(value.span().start));
        match &*key {
            _ if broken.contains(&line) => {}
            API_KEYS => file.keys.read(value, &lines),
            hooks::HOOKS => file.hooks.read(value, &lines),
            EVENTS if matches!(value.get_ref(), DeValue::Table(_)) => {
                file.section(&key, value, &lines, command);
            }
            key if is_table(key) => file.tables.read(key, value, &lines),
            key => file.entry(path, line, key, value, command),
        }
    }
    file
}

/// A remedy, if a line that is no TOML gives a setting a text without quotes.
fn quotes_missing(line: &str, command: &Command) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let arg = command.get_arguments().find(|arg| arg.get_id() == key)?;
    let is_bare = !value.is_empty() && !value.contains(['"', '\'', '[', '{', '#']);
    (is_bare && Kind::of(arg) != Kind::Count)
        .then(|| format!("text needs quotes: {key} = \"{}\"", masked(value)))
}

impl File {
    /// A file that could not be read at all.
    pub(super) fn refused(path: &Path, reason: String) -> Self {
        Self {
            found: Vec::new(),
            faults: vec![Fault::of_file(path, reason)],
            tables: Tables::default(),
            keys: KeyTables::default(),
            hooks: hooks::Tables::default(),
            is_whole: false,
        }
    }

    /// A table with settings whose names begin with its own.
    fn section(
        &mut self,
        name: &str,
        table: Spanned<DeValue<'_>>,
        lines: &Lines<'_>,
        command: &Command,
    ) {
        let DeValue::Table(table) = table.into_inner() else {
            return;
        };
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(_, value)| value.span().start);
        for (key, value) in entries {
            let line = lines.of(value.span().start);
            if !lines.broken.contains(&line) {
                let key = format!("{name}_{}", key.into_inner());
                self.entry(lines.path, line, &key, value, command);
            }
        }
    }

    fn entry(
        &mut self,
        path: &Path,
        line: usize,
        key: &str,
        value: Spanned<DeValue<'_>>,
        command: &Command,
    ) {
        let place = format!("{} line {line}: {key}", path.display());
        let value = match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => value,
            Err(error) => {
                let reason = error.message();
                let fault = Fault::new(&[key], place, reason);
                return self.faults.push(fault.at(Some(line)));
            }
        };
        let shown = format!("{place} = {}", masked(&value.to_string()));
        if self.found.iter().any(|found| found.key == key) {
            let reason = "it is set twice, at the top of the file and in a table: leave one out";
            let fault = Fault::new(&[key], shown, reason);
            return self.faults.push(fault.at(Some(line)));
        }
        match read(key, value, command) {
            Ok(values) => self.found.push(Found {
                key: key.to_owned(),
                values,
                place: Place::File {
                    path: path.to_owned(),
                    line,
                },
                shown,
            }),
            Err(reason) => {
                let meant = nearest(key, &known(command)).unwrap_or(key);
                let fault = Fault::unread(meant, shown, reason);
                self.faults.push(fault.at(Some(line)));
            }
        }
    }
}

/// Turns a key's value into the form that it would have on the command line.
fn read(key: &str, value: Value, command: &Command) -> Result<Vec<OsString>, String> {
    if key == "config" {
        return Err("a file cannot name another one: remove the key".to_owned());
    }
    let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == key) else {
        return Err(unknown(key, &value, command));
    };
    let kind = Kind::of(arg);
    match (kind, value) {
        (Kind::List, Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text.into()),
                item => Err(wrong_type(kind, &item)),
            })
            .collect(),
        (Kind::Text | Kind::List | Kind::Unit, Value::String(text)) => Ok(vec![text.into()]),
        // The parser of durations reports a missing unit.
        (Kind::Count | Kind::Unit, Value::Integer(count)) => Ok(vec![count.to_string().into()]),
        (_, value) => Err(wrong_type_for(arg, kind, &value)),
    }
}

/// How a setting's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    List,
    Count,
    Unit,
}

impl Kind {
    pub(super) fn of(arg: &Arg) -> Self {
        let parsed = arg.get_value_parser().type_id();
        let is = |wanted: &[TypeId]| wanted.iter().any(|wanted| parsed == *wanted);
        if matches!(arg.get_action(), ArgAction::Append) {
            Self::List
        } else if is(&[TypeId::of::<usize>(), TypeId::of::<NonZeroUsize>()]) {
            Self::Count
        } else if is(&[TypeId::of::<Size>(), TypeId::of::<Period>()]) {
            Self::Unit
        } else {
            Self::Text
        }
    }
}

/// The same as [`wrong_type`], but lists the values if the setting has only a few.
fn wrong_type_for(arg: &Arg, kind: Kind, value: &Value) -> String {
    let values = arg.get_possible_values();
    let values: Vec<_> = values
        .iter()
        .map(|it| format!("\"{}\"", it.get_name()))
        .collect();
    match values.is_empty() {
        true => wrong_type(kind, value),
        false => format!(
            "wrong type ({}): the values are: {}",
            value.type_str(),
            values.join(", ")
        ),
    }
}

pub(super) fn wrong_type(kind: Kind, value: &Value) -> String {
    let wanted = match kind {
        Kind::Text => "text in quotes",
        Kind::List => "an array of texts, such as [\"a\", \"b\"]",
        Kind::Count => "a whole number without quotes",
        Kind::Unit => "text in quotes with a unit, such as \"10s\" or \"64KiB\"",
    };
    format!("wrong type ({}): write {wanted}", value.type_str())
}

fn unknown(key: &str, value: &Value, command: &Command) -> String {
    if value.is_table() {
        return unknown_table(key);
    }
    if is_option(key) {
        return "it is an option of rooms: write it below [rooms] or [namespaces.NAME]".to_owned();
    }
    match nearest(key, &known(command)) {
        Some(key) => format!("there is no such setting; did you mean {key}?"),
        None => "there is no such setting; 'hubbub config print' lists all".to_owned(),
    }
}

/// The keys that a file may have.
fn known(command: &Command) -> Vec<&str> {
    let keys = command.get_arguments().map(|arg| arg.get_id().as_str());
    keys.filter(|key| *key != "config").collect()
}
