//! The keys of the API: the tables `[api_keys.NAME]`, which only the file can have.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use access::{Name, check_name};
use toml::de::DeValue;
use toml::{Spanned, Value};

use super::Settings;
use super::file::{Kind, wrong_type};
use super::namespaces::{Lines, count, sorted};
use super::nearest::nearest;
use super::report::{Fault, Override, Place, Warning};
use super::table::{Noted, TableOption};
use crate::api;

/// The table of the tables of keys.
pub(super) const API_KEYS: &str = "api_keys";

/// The most keys.
const KEYS_MAX: usize = 256;

/// The fewest and the most characters of a key.
const CHARACTERS: std::ops::RangeInclusive<usize> = 16..=256;

/// The keys that a file declares, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeys(BTreeMap<String, ApiKey>);

/// A key, and what it lets do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The key itself.
    pub key: Option<Secret>,
    /// The file that it stands in.
    pub key_file: Option<PathBuf>,
    /// The methods that it may call; `None` for all.
    pub methods: Option<Vec<String>>,
    /// The namespaces whose rooms it may name, "" for the rooms without one; `None` for all.
    pub namespaces: Option<Vec<String>>,
    /// Calls per second; 0 means no bound.
    pub rate: u32,
    /// Calls at once.
    pub burst: u32,
}

/// A text that nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// This text, if it can be a key.
    ///
    /// # Errors
    /// What is wrong with it, and a remedy.
    pub fn new(text: &str) -> Result<Self, String> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        match CHARACTERS.contains(&text.len()) && is_visible {
            true => Ok(Self(text.to_owned())),
            false => Err(
                "a key has 16 to 256 visible characters of ASCII and no space: make one with \
                 `openssl rand -base64 24`"
                    .to_owned(),
            ),
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Default for ApiKey {
    fn default() -> Self {
        Self {
            key: None,
            key_file: None,
            methods: None,
            namespaces: None,
            rate: 0,
            burst: 100,
        }
    }
}

impl ApiKeys {
    /// Whether there is one.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The names and contents of the tables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ApiKey)> {
        self.0.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// What differs from here to `new`, in sentences for the log.
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let gone = self.0.keys().filter(|name| !new.0.contains_key(*name));
        let gone = gone.map(|name| format!("the key {name} of the API is gone"));
        let others = new
            .0
            .iter()
            .filter_map(|(name, key)| match self.0.get(name) {
                Some(before) if before == key => None,
                Some(_) => Some(format!(
                    "the key {name} of the API is another, or has other rights"
                )),
                None => Some(format!("the API has the new key {name}")),
            });
        gone.chain(others).collect()
    }
}

/// All options of a key.
pub const KEY_OPTIONS: &[TableOption<ApiKey>] = &[
    TableOption {
        key: "key",
        range: "16 to 256 visible characters of ASCII",
        meaning: "The key itself. Rather name a file, so that this one has no secret.",
        read: |to, value| {
            to.key = Some(Secret::new(text(value)?)?);
            Ok(())
        },
        show: |_| None,
    },
    TableOption {
        key: "key_file",
        range: "a path",
        meaning: "File with the key; a newline at the end is no part of it. It is read again on SIGHUP.",
        read: |to, value| {
            to.key_file = Some(text(value)?.into());
            Ok(())
        },
        show: |key| Some(key.key_file.as_deref()?.to_str()?.into()),
    },
    TableOption {
        key: "methods",
        range: "an array of methods of the API",
        meaning: "The methods that may be called with it; not set, all.",
        read: |to, value| {
            to.methods = Some(texts(value, known_method)?);
            Ok(())
        },
        show: |key| shown(key.methods.as_ref()?),
    },
    TableOption {
        key: "namespaces",
        range: "an array of namespaces, with \"\" for the rooms without one",
        meaning: "The namespaces of the rooms that may be named with it; not set, all rooms. A key with this \
                  option may call no method that is about all rooms, or about connections in all their rooms.",
        read: |to, value| {
            to.namespaces = Some(texts(value, |name| match name {
                "" => Ok(()),
                name => check_name(name).map_err(|unfit| unfit.to_string()),
            })?);
            Ok(())
        },
        show: |key| shown(key.namespaces.as_ref()?),
    },
    TableOption {
        key: "rate",
        range: "0 to 1000000",
        meaning: "Calls per second that may be made with it; 0 means no bound. Each command of a batch and each \
                  room of a broadcast is one.",
        read: |to, value| {
            to.rate = count(value, 0, 1_000_000)?;
            Ok(())
        },
        show: |key| Some(i64::from(key.rate).into()),
    },
    TableOption {
        key: "burst",
        range: "1 to 1000000",
        meaning: "Calls that may be made with it at once, before rate applies.",
        read: |to, value| {
            to.burst = count(value, 1, 1_000_000)?;
            Ok(())
        },
        show: |key| Some(i64::from(key.burst).into()),
    },
];

/// What a file says in these tables.
#[derive(Default)]
pub(super) struct KeyTables {
    pub(super) declared: ApiKeys,
    pub(super) noted: Noted,
}

impl KeyTables {
    /// Reads the table of tables.
    pub(super) fn read(&mut self, value: Spanned<DeValue<'_>>, lines: &Lines<'_>) {
        const TABLES: &str = "write a table for each key: [api_keys.NAME]";
        let line = lines.of(value.span().start);
        let DeValue::Table(tables) = value.into_inner() else {
            return self.noted.refuse(API_KEYS, line, TABLES, lines);
        };
        if tables.len() > KEYS_MAX {
            let reason = format!(
                "there are {} keys, and at most 256 are possible",
                tables.len()
            );
            self.noted.refuse(API_KEYS, line, reason, lines);
        }
        for (name, value) in sorted(tables) {
            let line = lines.of(value.span().start);
            let table = format!("{API_KEYS}.{name}");
            let DeValue::Table(options) = value.into_inner() else {
                self.noted.refuse(&table, line, TABLES, lines);
                continue;
            };
            if let Err(unfit) = check_name(&name) {
                let reason = unfit
                    .to_string()
                    .replace("a namespace's name", "the name of a key");
                self.noted.refuse(&table, line, reason, lines);
                continue;
            }
            let key = self.declared.0.entry(name).or_default();
            self.noted.read(&table, KEY_OPTIONS, key, options, lines);
        }
    }
}

/// What is wrong with keys in the light of other settings. `set` has the places of options.
pub(super) fn faults(settings: &Settings, set: &[Override]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if matches!(settings.api_listen, Some(super::Internal::At(_)))
        && !settings.api_keys.is_any()
        && !settings.dev.is_on()
    {
        let reason = "nobody can call an API without a key: add a table [api_keys.NAME] with key_file to the \
                      file of --config, or leave api_listen out";
        faults.push(Fault::new(
            &["api_listen", API_KEYS],
            "api_listen without a key",
            reason,
        ));
    }
    for (name, key) in settings.api_keys.iter() {
        let table = format!("{API_KEYS}.{name}");
        let line = |option: &str| line_of(set, &format!("{table}.{option}"));
        let is_in_file = [key.key.is_some(), key.key_file.is_some()];
        let reason = match is_in_file {
            [true, true] => Some("it has both key and key_file: leave key out"),
            [false, false] => Some("it has no key: write key_file, or key"),
            _ => None,
        };
        if let Some(reason) = reason {
            let options = ["key", "key_file"].map(|option| format!("{table}.{option}"));
            let fault = Fault::new(&options.each_ref().map(String::as_str), &*table, reason);
            faults.push(fault.at(line("key")));
        }
        for unknown in key
            .namespaces
            .iter()
            .flatten()
            .filter(|it| !is_known(settings, it))
        {
            let option = format!("{table}.namespaces");
            let subject = format!("{option} has \"{unknown}\"");
            let reason = format!(
                "there is no such namespace: add a table [namespaces.{unknown}], or leave it out here"
            );
            faults.push(Fault::new(&[&option], subject, reason).at(line("namespaces")));
        }
    }
    faults
}

/// Keys that nobody can use.
pub(super) fn warnings(settings: &Settings) -> Vec<Warning> {
    let is_useless = settings.api_keys.is_any() && settings.api_address().is_none();
    let warning = Warning::NoEffect {
        key: API_KEYS.to_owned(),
        why: "api_listen is not set".to_owned(),
    };
    is_useless.then_some(warning).into_iter().collect()
}

/// Whether there are rooms of this namespace. Where no table declares any, names have no namespaces.
fn is_known(settings: &Settings, namespace: &str) -> bool {
    let mut tables = settings.namespaces.tables();
    namespace.is_empty() || tables.any(|(label, _)| label.0 == Some(namespace))
}

/// The namespace of a room as keys name it; rooms without one have "".
pub fn namespace_of(room: &str) -> &str {
    Name::parse(room)
        .ok()
        .and_then(|it| it.namespace)
        .unwrap_or("")
}

fn line_of(set: &[Override], key: &str) -> Option<usize> {
    match set.iter().find(|set| set.key == key)?.place {
        Place::File { line, .. } => Some(line),
        _ => None,
    }
}

/// The key in a file.
///
/// # Errors
/// What is wrong, with the option that names the file and a remedy.
pub fn read_key_file(name: &str, path: &Path) -> anyhow::Result<Secret> {
    let named = format!("{API_KEYS}.{name}.key_file ({})", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| {
        anyhow::anyhow!("{named} cannot be read: {error}; name a readable file")
    })?;
    let text = text.trim_end_matches(['\r', '\n']);
    Secret::new(text).map_err(|reason| anyhow::anyhow!("{named}: {reason}"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| wrong_type(Kind::Text, value))
}

fn texts(value: &Value, check: fn(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
    let items = value
        .as_array()
        .ok_or_else(|| wrong_type(Kind::List, value))?;
    let texts = items.iter().map(|item| {
        let text = item.as_str().ok_or_else(|| wrong_type(Kind::List, item))?;
        check(text)?;
        Ok(text.to_owned())
    });
    match texts.collect::<Result<Vec<_>, String>>() {
        Ok(texts) if texts.is_empty() => Err("it is empty: leave it out for all".to_owned()),
        texts => texts,
    }
}

fn known_method(name: &str) -> Result<(), String> {
    let known: Vec<_> = api::method_names().collect();
    match (known.contains(&name), nearest(name, &known)) {
        (true, _) => Ok(()),
        (false, Some(meant)) => Err(format!("there is no method {name}; did you mean {meant}?")),
        (false, None) => Err(format!("there is no method {name}: {}", known.join(", "))),
    }
}

fn shown(texts: &[String]) -> Option<Value> {
    Some(Value::Array(
        texts.iter().map(|text| text.as_str().into()).collect(),
    ))
}
