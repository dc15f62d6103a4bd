//! Hooks: the tables `[hooks]` and `[hooks.NAME]`, which only the file can have.
//!
//! - `options.rs` has the table of options: how each is read, shown and explained
//! - `tables.rs` reads the tables; this file has what they come to, and checks it

mod options;
mod tables;

use std::{collections::BTreeMap, path::PathBuf};

use hyper::header::HeaderName;
use strum::VariantArray;
use toml::Value;

use super::{
    Period, Settings, Size, Url,
    namespaces::table as table_of_rooms,
    report::{Fault, Override, Place, Warning},
    units::{KIB, MIB},
};
use crate::hooks::{HookKind, OnFailure};

pub use options::{HOOK_OPTIONS, HookOption};
pub(super) use tables::{HOOKS, Tables};

/// The hooks, as the file declares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredHooks {
    /// What the table `[hooks]` says of all of them.
    common: Option<HookSettings>,
    named: BTreeMap<HookKind, HookSettings>,
}

/// The settings of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// Where the back end is asked.
    pub url: Option<Url>,
    /// The time from the question to the last byte of the answer.
    pub timeout: Period,
    /// Most requests under way.
    pub in_flight_max: usize,
    /// Most that wait for others to be answered.
    pub waiting_max: usize,
    /// Most bytes of all of them.
    pub waiting_bytes_max: Size,
    /// Most bytes of an answer.
    pub answer_bytes_max: Size,
    /// Fields of the client's request that go along.
    pub headers: Vec<HeaderName>,
    /// Those among them that a client can forge unless a proxy overwrites them.
    pub forgeable_headers: Vec<HeaderName>,
    /// Fields of the client's connect command that go along.
    pub emulated_headers: Vec<HeaderName>,
    /// What holds when the back end is slow or gone.
    pub on_failure: OnFailure,
    /// Whether the back end is told what a token says for it.
    pub include_meta: bool,
    /// A file with the authorities of the back end.
    pub ca: Option<PathBuf>,
    /// Whether the URL may be http:// to another machine.
    pub http: bool,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            url: None,
            timeout: Period::of(std::time::Duration::from_secs(1)),
            in_flight_max: 64,
            waiting_max: 1024,
            waiting_bytes_max: Size::of(16 * MIB),
            answer_bytes_max: Size::of(64 * KIB),
            headers: Vec::new(),
            forgeable_headers: Vec::new(),
            emulated_headers: Vec::new(),
            on_failure: OnFailure::Refuse,
            include_meta: false,
            ca: None,
            http: false,
        }
    }
}

impl HookSettings {
    /// Those of a hook about which nothing is said but what holds for all.
    fn begin(kind: HookKind, common: Option<&Self>) -> Self {
        let common = common.cloned().unwrap_or_default();
        match kind {
            // There is nothing that a method could return.
            HookKind::Rpc => Self {
                on_failure: OnFailure::Refuse,
                ..common
            },
            _ => common,
        }
    }
}

impl DeclaredHooks {
    /// Each hook that the file has.
    pub fn named(&self) -> impl Iterator<Item = (HookKind, &HookSettings)> {
        self.named.iter().map(|(kind, hook)| (*kind, hook))
    }

    /// Whether the file has any hooks.
    pub fn are_any(&self) -> bool {
        !self.named.is_empty()
    }

    /// Whether the file has this hook.
    pub fn has(&self, kind: HookKind) -> bool {
        self.named.contains_key(&kind)
    }

    /// The name of each table, and what it says; `None` is the table of all hooks.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Option<HookKind>, &HookSettings)> {
        let common = self.common.iter().map(|common| (None, common));
        common.chain(self.named().map(|(kind, hook)| (Some(kind), hook)))
    }

    /// The settings of a table, which is declared with it.
    fn declare(&mut self, of: Option<HookKind>) -> &mut HookSettings {
        match of {
            None => self.common.get_or_insert_default(),
            Some(kind) => {
                let common = &self.common;
                let made = || HookSettings::begin(kind, common.as_ref());
                self.named.entry(kind).or_insert_with(made)
            }
        }
    }
}

/// The name of a table, as the file has it between brackets.
pub(super) fn table(of: Option<HookKind>) -> String {
    match of {
        None => HOOKS.to_owned(),
        Some(kind) => format!("{HOOKS}.{}", kind.name()),
    }
}

/// The faults between options, and between options and settings. `set` has the places of options.
pub(super) fn faults(settings: &Settings, set: &[Override]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (kind, hook) in settings.hooks.named() {
        let of = Described { kind, hook, set };
        faults.extend(without_url(&of));
        faults.extend(in_plain_text(&of));
        faults.extend(longer_than_a_pause(settings, &of));
        faults.extend(headers(&of));
        faults.extend(answer_from_nothing(&of));
    }
    faults.extend(wanted(settings, set));
    faults
}

fn without_url(of: &Described<'_>) -> Option<Fault> {
    of.hook.url.is_none().then(|| {
        let table = table(Some(of.kind));
        let reason =
            format!("nobody can be asked: write url = \"https://...\" below [{table}], or leave the table out");
        let subject = format!("[{table}] has no url");
        Fault::new(&[&of.key("url")], subject, reason)
    })
}

fn in_plain_text(of: &Described<'_>) -> Option<Fault> {
    let url = of.hook.url.as_ref()?;
    let is_wrong = !url.is_encrypted() && !url.is_local() && !of.hook.http;
    is_wrong.then(|| {
        let (key, http) = (of.key("url"), of.key("http"));
        let reason = "whoever is on the way could answer in place of your back end, and let in anybody: write \
                      https://, or http = true if nobody is on the way";
        Fault::new(&[&key, &http], of.option("url"), reason).at(of.line("url"))
    })
}

/// A client that waits is not read, which has a bound of its own.
fn longer_than_a_pause(settings: &Settings, of: &Described<'_>) -> Option<Fault> {
    const BOUND: &str = "pause_timeout";
    let most = settings.pause_timeout;
    (of.hook.timeout >= most).then(|| {
        let subject = format!("{} is not below {BOUND} ({most})", of.option("timeout"));
        let reason = format!(
            "a client that waits for its answer is closed after {BOUND}: lower timeout, or raise {BOUND}"
        );
        Fault::new(&[&of.key("timeout"), BOUND], subject, reason).at(of.line("timeout"))
    })
}

/// What a client may say by itself must not be taken for what its request says.
fn headers(of: &Described<'_>) -> Option<Fault> {
    let HookSettings {
        headers,
        forgeable_headers,
        emulated_headers,
        ..
    } = of.hook;
    let name = emulated_headers
        .iter()
        .find(|name| headers.contains(name) || forgeable_headers.contains(name))?;
    let subject = format!(
        "{} has {name}, which is listed for requests, too",
        of.option("emulated_headers")
    );
    let reason = format!(
        "a back end could not tell whether a client has put {name} into its connect command by itself: leave \
         it out of headers and forgeable_headers, or of emulated_headers"
    );
    Some(
        Fault::new(&[&of.key("emulated_headers")], subject, reason).at(of.line("emulated_headers")),
    )
}

fn answer_from_nothing(of: &Described<'_>) -> Option<Fault> {
    let is_said =
        of.kind == HookKind::Rpc && of.set.iter().any(|set| set.key == of.key("on_failure"));
    (is_said && of.hook.on_failure == OnFailure::Allow).then(|| {
        let reason = "a method has nothing to return then: leave on_failure out, and the client is told an error";
        Fault::new(&[&of.key("on_failure")], of.option("on_failure"), reason).at(of.line("on_failure"))
    })
}

/// The option of a namespace by which a hook decides about its rooms, and that hook.
const DECIDED: [(&str, HookKind); 3] = [
    ("subscribe_hook", HookKind::Subscribe),
    ("publish_hook", HookKind::Publish),
    ("sub_refresh_hook", HookKind::SubRefresh),
];

/// Whether the rules of a room say that a hook decides.
fn is_decided(rules: &access::Namespace, by: HookKind) -> bool {
    match by {
        HookKind::Subscribe => rules.subscribe_hook,
        HookKind::Publish => rules.publish_hook,
        HookKind::SubRefresh => rules.sub_refresh_hook,
        HookKind::Connect | HookKind::Refresh | HookKind::Rpc => false,
    }
}

/// The namespaces about which a hook decides that nobody has configured.
fn wanted(settings: &Settings, set: &[Override]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (label, rules) in settings.namespaces.tables() {
        for (option, kind) in DECIDED {
            if !is_decided(rules, kind) || settings.hooks.has(kind) {
                continue;
            }
            let key = format!("{}.{option}", table_of_rooms(label));
            let place = place_of(set, &key);
            let subject = format!("{key} (true, {}) has nobody to ask", place.of(&key));
            let table = table(Some(kind));
            let reason = format!(
                "the back end has no URL: write [{table}] with its url, or set {option} to false"
            );
            let url = format!("{table}.url");
            faults.push(Fault::new(&[&key, &url], subject, reason).at(line_of(place)));
        }
    }
    faults
}

/// The warnings about hooks that change nothing, or that others can answer.
pub(super) fn warnings(settings: &Settings) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (option, kind) in DECIDED {
        let mut tables = settings.namespaces.tables();
        if settings.hooks.has(kind) && !tables.any(|(_, rules)| is_decided(rules, kind)) {
            let key = table(Some(kind));
            let why = format!("no namespace says {option} = true");
            warnings.push(Warning::NoEffect { key, why });
        }
    }
    for (kind, hook) in settings.hooks.named() {
        let url = hook.url.as_ref();
        if url.is_some_and(|url| !url.is_encrypted() && !url.is_local()) {
            let key = format!("{}.url", table(Some(kind)));
            warnings.push(Warning::PlainHook { key });
        }
    }
    warnings
}

/// A hook whose options are described to people.
struct Described<'a> {
    kind: HookKind,
    hook: &'a HookSettings,
    set: &'a [Override],
}

impl Described<'_> {
    /// The whole key of an option.
    fn key(&self, option: &str) -> String {
        format!("{}.{option}", table(Some(self.kind)))
    }

    /// Where it stands: in the table of its hook, or in that of all hooks.
    fn place(&self, option: &str) -> &Place {
        match place_of(self.set, &self.key(option)) {
            Place::Default => place_of(self.set, &format!("{HOOKS}.{option}")),
            place => place,
        }
    }

    fn line(&self, option: &str) -> Option<usize> {
        line_of(self.place(option))
    }

    /// An option with its value and place: `hooks.rpc.timeout ("1m", hubbub.toml line 3)`.
    fn option(&self, option: &str) -> String {
        let key = self.key(option);
        let place = self.place(option).of(&key);
        match shown(self.hook, option) {
            Some(value) => format!(
                "{key} ({}, {place})",
                super::url::masked(&value.to_string())
            ),
            None => format!("{key} (not set)"),
        }
    }
}

fn place_of<'a>(set: &'a [Override], key: &str) -> &'a Place {
    let set = set.iter().find(|set| set.key == key);
    set.map_or(&Place::Default, |set| &set.place)
}

fn line_of(place: &Place) -> Option<usize> {
    match place {
        Place::File { line, .. } => Some(*line),
        _ => None,
    }
}

/// The value of an option, if it is set.
fn shown(hook: &HookSettings, option: &str) -> Option<Value> {
    let option = HOOK_OPTIONS.iter().find(|known| known.key == option)?;
    (option.show)(hook)
}

/// The names of all hooks.
fn names() -> Vec<&'static str> {
    HookKind::VARIANTS.iter().map(|kind| kind.name()).collect()
}
