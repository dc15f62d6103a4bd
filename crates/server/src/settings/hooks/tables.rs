//! Reads the tables `[hooks]` and `[hooks.NAME]` of a file.

use serde::Deserialize as _;
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    super::{
        namespaces::Lines,
        nearest::nearest,
        report::{Fault, Override, Place},
        url::masked,
    },
    DeclaredHooks, HOOK_OPTIONS, names, table,
};
use crate::hooks::HookKind;

/// The table of all hooks.
pub(in super::super) const HOOKS: &str = "hooks";

/// What a file says in these tables: values to check against each other, and the faults so far.
#[derive(Default)]
pub(in super::super) struct Tables {
    pub(in super::super) declared: DeclaredHooks,
    /// The options that the file sets, each with its place.
    pub(in super::super) set: Vec<Override>,
    pub(in super::super) faults: Vec<Fault>,
}

impl Tables {
    /// Reads the table of all hooks, and those within it.
    pub(in super::super) fn read(&mut self, value: Spanned<DeValue<'_>>, lines: &Lines<'_>) {
        let line = lines.of(value.span().start);
        let all = match value.into_inner() {
            DeValue::Table(all) => all,
            other => {
                let reason = format!(
                    "wrong type ({}): write a table, [hooks], or [hooks.NAME] for one hook",
                    other.type_str()
                );
                return self.refuse(HOOKS, line, reason, lines);
            }
        };
        let is_hook = |value: &Spanned<DeValue<'_>>| matches!(value.as_ref(), DeValue::Table(_));
        let (hooks, common): (Vec<_>, Vec<_>) = sorted(all)
            .into_iter()
            .partition(|(_, value)| is_hook(value));
        // What holds for all of them is known first, wherever it stands.
        if !common.is_empty() {
            self.options(None, common, lines);
        }
        for (name, value) in hooks {
            let line = lines.of(value.span().start);
            let (Some(kind), DeValue::Table(options)) =
                (HookKind::named(&name), value.into_inner())
            else {
                let reason = match nearest(&name, &names()) {
                    Some(meant) => {
                        format!("there is no such hook; did you mean [{HOOKS}.{meant}]?")
                    }
                    None => format!("there is no such hook: they are {}", names().join(", ")),
                };
                self.refuse(&format!("{HOOKS}.{name}"), line, reason, lines);
                continue;
            };
            self.options(Some(kind), sorted(options), lines);
        }
    }

    fn options(
        &mut self,
        of: Option<HookKind>,
        options: Vec<(String, Spanned<DeValue<'_>>)>,
        lines: &Lines<'_>,
    ) {
        self.declared.declare(of);
        for (option, value) in options {
            let line = lines.of(value.span().start);
            if !lines.broken.contains(&line) {
                self.option(of, &option, line, value, lines);
            }
        }
    }

    fn option(
        &mut self,
        of: Option<HookKind>,
        option: &str,
        line: usize,
        value: Spanned<DeValue<'_>>,
        lines: &Lines<'_>,
    ) {
        let key = format!("{}.{option}", table(of));
        let value = match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => value,
            Err(error) => return self.refuse(&key, line, error.message().to_owned(), lines),
        };
        let subject = format!(
            "{} = {}",
            lines.place(line, &key),
            masked(&value.to_string())
        );
        let known = HOOK_OPTIONS.iter().find(|known| known.key == option);
        let Some(known) = known else {
            let keys: Vec<_> = HOOK_OPTIONS.iter().map(|option| option.key).collect();
            let meant = nearest(option, &keys);
            let reason = match meant {
                Some(meant) => format!("there is no such option; did you mean {meant}?"),
                None => "there is no such option; 'hubbub config print' lists all".to_owned(),
            };
            let meant = format!("{}.{}", table(of), meant.unwrap_or(option));
            let fault = Fault::unread(&meant, subject, reason).at(Some(line));
            return self.faults.push(fault);
        };
        if of.is_none() && option == "url" {
            let reason = "each hook has a URL of its own: write it below [hooks.connect], [hooks.subscribe], ...";
            return self
                .faults
                .push(Fault::new(&[&key], subject, reason).at(Some(line)));
        }
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
                let fault = Fault::new(&[&key], subject, reason).at(Some(line));
                self.faults.push(fault);
            }
        }
    }

    fn refuse(&mut self, key: &str, line: usize, reason: String, lines: &Lines<'_>) {
        let fault = Fault::new(&[key], lines.place(line, key), reason);
        self.faults.push(fault.at(Some(line)));
    }
}

/// The entries of a table in the order of the file.
fn sorted<'t>(table: DeTable<'t>) -> Vec<(String, Spanned<DeValue<'t>>)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(_, value)| value.span().start);
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.into_inner().into_owned(), value))
        .collect()
}
