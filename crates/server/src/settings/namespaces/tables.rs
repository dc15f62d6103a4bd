//! Reads the tables `[rooms]` and `[namespaces.NAME]` of a file.

use std::path::Path;

use access::{Label, NAMESPACES_MAX, check_name};
use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::super::api_keys::API_KEYS;
use super::super::hooks::HOOKS;
use super::super::nearest::nearest;
use super::super::report::{Fault, Override, Place};
use super::{Declared, OPTIONS, table};

/// The table of the rooms without a namespace.
pub(in super::super) const ROOMS: &str = "rooms";

/// The table of tables of namespaces.
pub(in super::super) const NAMESPACES: &str = "namespaces";

/// The table of settings that begin with its name.
pub(in super::super) const EVENTS: &str = "events";

/// Whether a key at the top of the file is one of the tables of rules.
pub(in super::super) fn is_table(key: &str) -> bool {
    [ROOMS, NAMESPACES].contains(&key)
}

/// Whether these tables have an option of this key.
pub(in super::super) fn is_option(key: &str) -> bool {
    keys().contains(&key)
}

/// Why there is no table of this name, with a remedy.
pub(in super::super) fn unknown_table(key: &str) -> String {
    match nearest(key, &[ROOMS, NAMESPACES, EVENTS, API_KEYS, HOOKS]) {
        Some(NAMESPACES) => "there is no such table; did you mean [namespaces.NAME]?".to_owned(),
        Some(API_KEYS) => "there is no such table; did you mean [api_keys.NAME]?".to_owned(),
        Some(meant) => format!("there is no such table; did you mean [{meant}]?"),
        None => "there is no such table: only [rooms] and [namespaces.NAME] are, for the rules of \
                 rooms, [events], [hooks.NAME], and [api_keys.NAME], for the keys of the API; all other keys \
                 stand above them, at the top of the file"
            .to_owned(),
    }
}

/// The lines of a file, for messages.
pub(in super::super) struct Lines<'a> {
    pub(in super::super) path: &'a Path,
    pub(in super::super) text: &'a str,
    /// Lines that are no TOML, whose contents are not read.
    pub(in super::super) broken: &'a [usize],
    /// The keys that may stand at the top of the file.
    pub(in super::super) settings: &'a [&'a str],
}

impl Lines<'_> {
    /// The line of a place in the text, from 1.
    pub(in super::super) fn of(&self, at: usize) -> usize {
        self.text
            .get(..at)
            .unwrap_or_default()
            .matches('\n')
            .count()
            + 1
    }

    pub(in super::super) fn place(&self, line: usize, key: &str) -> String {
        format!("{} line {line}: {key}", self.path.display())
    }
}

/// What a file says in these tables: values to check against each other, and the faults so far.
#[derive(Default)]
pub(in super::super) struct Tables {
    pub(in super::super) declared: Declared,
    /// The options that the file sets, each with its place.
    pub(in super::super) set: Vec<Override>,
    pub(in super::super) faults: Vec<Fault>,
}

impl Tables {
    /// Reads one of the tables.
    pub(in super::super) fn read(
        &mut self,
        key: &str,
        value: Spanned<DeValue<'_>>,
        lines: &Lines<'_>,
    ) {
        let line = lines.of(value.span().start);
        let value = match value.into_inner() {
            DeValue::Table(table) if key == ROOMS => {
                return self.options(Label(None), table, lines);
            }
            DeValue::Table(table) => return self.namespaces(table, lines),
            other => other,
        };
        let written = match key {
            ROOMS => "[rooms]",
            _ => "[namespaces.NAME], one for each namespace",
        };
        let reason = format!(
            "wrong type ({}): write a table, {written}",
            value.type_str()
        );
        self.refuse(key, line, reason, lines);
    }

    fn namespaces(&mut self, table: DeTable<'_>, lines: &Lines<'_>) {
        let names = table.len();
        for (name, value) in sorted(table) {
            let line = lines.of(value.span().start);
            let key = super::table(Label(Some(&name)));
            let DeValue::Table(options) = value.into_inner() else {
                let reason =
                    "a namespace is a table: write [namespaces.NAME], and its options below";
                self.refuse(&key, line, reason, lines);
                continue;
            };
            match check_name(&name) {
                Ok(()) => self.options(Label(Some(&name)), options, lines),
                Err(unfit) => self.refuse(&key, line, unfit.to_string(), lines),
            }
        }
        if names > NAMESPACES_MAX {
            let reason = format!(
                "there are {names} namespaces, and at most {NAMESPACES_MAX} are possible: merge \
                 those with equal rules"
            );
            let subject = format!("{}: {NAMESPACES}", lines.path.display());
            self.faults.push(Fault::new(&[NAMESPACES], subject, reason));
        }
    }

    fn options(&mut self, of: Label<'_>, options: DeTable<'_>, lines: &Lines<'_>) {
        self.declared.declare(of);
        for (option, value) in sorted(options) {
            let line = lines.of(value.span().start);
            if !lines.broken.contains(&line) {
                self.option(of, &option, line, value, lines);
            }
        }
    }

    fn option(
        &mut self,
        of: Label<'_>,
        option: &str,
        line: usize,
        value: Spanned<DeValue<'_>>,
        lines: &Lines<'_>,
    ) {
        let key = format!("{}.{option}", table(of));
        let value = match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => value,
            Err(error) => return self.refuse(&key, line, error.message(), lines),
        };
        let Some(known) = OPTIONS.iter().find(|known| known.key == option) else {
            let reason = unknown_option(of, option, &value, lines);
            let meant = nearest(option, &keys()).unwrap_or(option);
            let meant = format!("{}.{meant}", table(of));
            let shown = format!("{} = {value}", lines.place(line, &key));
            let fault = Fault::unread(&meant, shown, reason).at(Some(line));
            return self.faults.push(fault);
        };
        let shown = value.to_string();
        match (known.read)(self.declared.declare(of), value) {
            Ok(()) => self.set.push(Override {
                key,
                value: shown,
                place: Place::File {
                    path: lines.path.to_owned(),
                    line,
                },
            }),
            Err(reason) => {
                let subject = format!("{} = {shown}", lines.place(line, &key));
                let fault = Fault::new(&[&key], subject, reason).at(Some(line));
                self.faults.push(fault);
            }
        }
    }

    fn refuse(&mut self, key: &str, line: usize, reason: impl Into<String>, lines: &Lines<'_>) {
        let fault = Fault::new(&[key], lines.place(line, key), reason);
        self.faults.push(fault.at(Some(line)));
    }
}

/// Why a table has no such option, with a remedy.
fn unknown_option(of: Label<'_>, option: &str, value: &Value, lines: &Lines<'_>) -> String {
    if let (Some(name), true) = (of.0, value.is_table()) {
        return format!("a name with a dot needs quotes: write [{NAMESPACES}.\"{name}.{option}\"]");
    }
    if let Some(meant) = nearest(option, &keys()) {
        return format!("there is no such option; did you mean {meant}?");
    }
    match lines.settings.contains(&option) {
        true => "it is a setting of the whole server: write it above the first table".to_owned(),
        false => "there is no such option; 'hubbub config print' lists all".to_owned(),
    }
}

fn keys() -> Vec<&'static str> {
    OPTIONS.iter().map(|option| option.key).collect()
}

/// The entries of a table in the order of the file.
pub(in super::super) fn sorted<'t>(table: DeTable<'t>) -> Vec<(String, Spanned<DeValue<'t>>)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(_, value)| value.span().start);
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.into_inner().into_owned(), value))
        .collect()
}
