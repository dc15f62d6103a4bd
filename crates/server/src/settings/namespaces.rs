//! The rules of rooms: the tables `[rooms]` and `[namespaces.NAME]`, which only the file can have.
//!
//! - `options.rs` has the table of options: how each is read, shown and explained
//! - `tables.rs` reads the tables; this file has what they come to, and checks it

mod options;
mod tables;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use access::{Label, Namespace, Namespaces, namespace::RoomKind};
use toml::Value;

pub use options::{NamespaceOption, OPTIONS};
pub(super) use options::{count, flag, text_of};
pub(super) use tables::{
    EVENTS, Lines, NAMESPACES, ROOMS, Tables, is_option, is_table, sorted, unknown_table,
};

use super::Settings;
use super::report::{Fault, Override, Place, Warning};

/// The rules of rooms, as the file declares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared(Option<Rules>);

/// The rules of the rooms without a namespace, and of the namespaces by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules {
    rooms: Namespace,
    named: BTreeMap<String, Namespace>,
}

impl Declared {
    /// Whether the file has one of the tables.
    pub fn is_any(&self) -> bool {
        self.0.is_some()
    }

    /// The rules of all rooms; `otherwise` where the file declares none.
    pub fn namespaces(&self, otherwise: Namespaces) -> Namespaces {
        let Some(Rules { rooms, named }) = self.0.clone() else {
            return otherwise;
        };
        let named = named.into_iter().map(|(name, rules)| (name.into(), rules));
        Namespaces::ruled(rooms, named.collect())
            .expect("loading has refused bad names, contradictions, and too many")
    }

    /// What differs from here to `new`, and what it does to rooms and subscribers that exist, in
    /// sentences for the log.
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let undeclared = || Namespaces::Open(Arc::new(Namespace::open()));
        let [old, new] = [self, new].map(|it| it.namespaces(undeclared()));
        let changes = Namespaces::changes(&old, &new);
        changes.iter().map(ToString::to_string).collect()
    }

    /// The name and rules of each table.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Label<'_>, &Namespace)> {
        self.0.iter().flat_map(|Rules { rooms, named }| {
            let named = named.iter();
            let named = named.map(|(name, rules)| (Label(Some(name.as_str())), rules));
            std::iter::once((Label(None), rooms)).chain(named)
        })
    }

    /// The rules of a table, which is declared with it.
    fn declare(&mut self, of: Label<'_>) -> &mut Namespace {
        let rules = self.0.get_or_insert_default();
        match of.0 {
            None => &mut rules.rooms,
            Some(name) => rules.named.entry(name.to_owned()).or_default(),
        }
    }
}

/// The name of a table, as the file has it between brackets.
pub(super) fn table(of: Label<'_>) -> String {
    match of.0 {
        None => ROOMS.to_owned(),
        Some(name) => format!("{NAMESPACES}.{}", quoted_name(name)),
    }
}

/// The name of a table within another, as it stands between brackets.
pub(super) fn quoted_name(name: &str) -> Cow<'_, str> {
    match name.contains('.') {
        true => format!("\"{name}\"").into(),
        false => name.into(),
    }
}

/// The faults between options, and between options and settings. `set` has the places of options.
pub(super) fn faults(settings: &Settings, set: &[Override]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (label, rules) in settings.namespaces.tables() {
        let of = Described { label, rules, set };
        let contradictions = rules.contradictions();
        faults.extend(contradictions.map(|contradiction| {
            let [asks, lacks] = contradiction.keys;
            let subject = format!("{} contradicts {}", of.option(asks), of.option(lacks));
            let keys = [of.key(asks), of.key(lacks)];
            let fault = Fault::new(
                &keys.each_ref().map(String::as_str),
                subject,
                contradiction.reason,
            );
            fault.at(of.line(asks))
        }));
        faults.extend(message(settings, &of));
        faults.extend(whole_table(settings, &of));
        faults.extend(nameless(&of));
    }
    faults
}

/// A message of a room must fit into a message of a peer.
fn message(settings: &Settings, of: &Described<'_>) -> Option<Fault> {
    const KEY: &str = "message_bytes_max";
    let most = settings.message_bytes_max;
    if of.rules.message_bytes_max? <= most.bytes() {
        return None;
    }
    let subject = format!("{} exceeds {KEY} ({most})", of.option(KEY));
    let reason =
        format!("no peer can send a longer message: lower it, or raise the server's {KEY}");
    Some(Fault::new(&[&of.key(KEY), KEY], subject, reason).at(of.line(KEY)))
}

/// All keys of a room must fit into one answer.
fn whole_table(settings: &Settings, of: &Described<'_>) -> Option<Fault> {
    const KEY: &str = "keys_bytes_max";
    const BOUND: &str = "recovered_bytes_max";
    let most = settings.recovered_bytes_max;
    if of.rules.kind != RoomKind::LatestPerKey || of.rules.table.bytes_max <= most.bytes() {
        return None;
    }
    let subject = format!("{} exceeds {BOUND} ({most})", of.option(KEY));
    let reason = format!(
        "who subscribes is sent all keys in one answer, which can have no more bytes than that: lower it, or \
         raise {BOUND}"
    );
    Some(Fault::new(&[&of.key(KEY), BOUND], subject, reason).at(of.line(KEY)))
}

/// One-shot rooms are made in a namespace by its name.
fn nameless(of: &Described<'_>) -> Option<Fault> {
    const KEY: &str = "oneshot";
    let is_wrong = of.label.0.is_none() && of.rules.oneshot.is_some();
    is_wrong.then(|| {
        let subject = format!("{} has no namespace", of.option(KEY));
        let reason = "one-shot rooms are made in a namespace by its name: move it to a table \
                      [namespaces.NAME]";
        Fault::new(&[&of.key(KEY)], subject, reason).at(of.line(KEY))
    })
}

/// The warnings about options that somebody has set and that change nothing.
pub(super) fn warnings(settings: &Settings, set: &[Override]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (label, rules) in settings.namespaces.tables() {
        let of = Described { label, rules, set };
        let without_history = (!rules.history.is_kept()).then_some("history_size is 0");
        let without_rate = (!rules.room_rate.is_bounded()).then_some("room_rate is 0");
        let without_keys = (rules.kind == RoomKind::Messages).then_some("kind is \"messages\"");
        let without_user_rate = (!rules.user_rate.is_bounded()).then_some("user_rate is 0");
        for (option, why) in [
            ("history_bytes_max", without_history),
            ("history_ttl", without_history),
            ("room_burst", without_rate),
            ("user_burst", without_user_rate),
            ("keys_max", without_keys),
            ("keys_bytes_max", without_keys),
            ("keys_ttl", without_keys),
        ] {
            // A printed file sets every option, and most of them to their defaults.
            let is_default = of.value(option) == shown(&Namespace::default(), option);
            if let Some(why) = why.filter(|_| !is_default) {
                let (key, why) = (of.key(option), why.to_owned());
                warnings.push(Warning::NoEffect { key, why });
            }
        }
    }
    warnings
}

/// A table whose options are described to people.
struct Described<'a> {
    label: Label<'a>,
    rules: &'a Namespace,
    set: &'a [Override],
}

impl Described<'_> {
    /// The whole key of an option.
    fn key(&self, option: &str) -> String {
        format!("{}.{option}", table(self.label))
    }

    fn value(&self, option: &str) -> Option<Value> {
        shown(self.rules, option)
    }

    fn place(&self, option: &str) -> &Place {
        let key = self.key(option);
        let set = self.set.iter().find(|set| set.key == key);
        set.map_or(&Place::Default, |set| &set.place)
    }

    fn line(&self, option: &str) -> Option<usize> {
        match self.place(option) {
            Place::File { line, .. } => Some(*line),
            _ => None,
        }
    }

    /// An option with its value and place: `rooms.recovery ("forced", hubbub.toml line 3)`.
    fn option(&self, option: &str) -> impl Display {
        let key = self.key(option);
        let place = self.place(option).of(&key);
        match self.value(option) {
            Some(value) => format!("{key} ({value}, {place})"),
            None => format!("{key} (not set)"),
        }
    }
}

/// The value of an option, if it is set.
fn shown(rules: &Namespace, option: &str) -> Option<Value> {
    let option = OPTIONS.iter().find(|known| known.key == option)?;
    (option.show)(rules)
}
