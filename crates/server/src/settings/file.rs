//! Reads the layer of the file: TOML with flat keys.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use toml::{Spanned, Value};

use super::layers::Found;
use super::nearest::nearest;
use super::report::{Fault, Place};
use super::units::{Period, Size};

/// What a file holds: values to check, and what is wrong already.
#[derive(Default)]
pub(super) struct File {
    pub(super) found: Vec<Found>,
    pub(super) faults: Vec<Fault>,
}

pub(super) fn parse(path: &Path, text: &str, command: &Command) -> File {
    let table: BTreeMap<String, Spanned<Value>> = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => return File::refused(path, error.to_string()),
    };
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(_, value)| value.span().start);
    let mut file = File::default();
    for (key, value) in entries {
        let before = text.get(..value.span().start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let place = Place::File {
            path: path.to_owned(),
            line,
        };
        let value = value.into_inner();
        let shown = format!("{} line {line}: {key} = {value}", path.display());
        match read(&key, value, command) {
            Ok(values) => file.found.push(Found {
                key,
                values,
                place,
                shown,
            }),
            Err(reason) => file.faults.push(Fault {
                subject: shown,
                reason,
            }),
        }
    }
    file
}

impl File {
    /// A file of which nothing could be read.
    pub(super) fn refused(path: &Path, reason: String) -> Self {
        let subject = format!("config {}", path.display());
        Self {
            found: Vec::new(),
            faults: vec![Fault { subject, reason }],
        }
    }
}

/// Turns a key's value into what would stand on the command line.
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
        // A duration without a unit is left to its parser, which says what is missing.
        (Kind::Count | Kind::Unit, Value::Integer(count)) => Ok(vec![count.to_string().into()]),
        (_, value) => Err(wrong_type(kind, &value)),
    }
}

/// What a setting is written as.
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

fn wrong_type(kind: Kind, value: &Value) -> String {
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
        return "there are no tables: all keys stand at the top of the file".to_owned();
    }
    let mut known: Vec<&str> = command
        .get_arguments()
        .map(|arg| arg.get_id().as_str())
        .filter(|key| *key != "config")
        .collect();
    if let Some(key) = nearest(key, &known) {
        return format!("there is no such setting; did you mean {key}?");
    }
    known.sort_unstable();
    let list = known.join(", ");
    format!("there is no such setting; there are: {list}")
}
