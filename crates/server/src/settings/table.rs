//! The options of a table of the file: each declared once, read, shown and explained.

use serde::Deserialize as _;
use toml::de::{DeTable, ValueDeserializer};
use toml::{Spanned, Value};

use super::namespaces::{Lines, sorted};
use super::nearest::nearest;
use super::report::{Fault, Override, Place};

/// What messages have in the place of a secret.
const NOT_SHOWN: &str = "(not shown)";

/// Options whose values are secrets, wherever they stand.
const SECRETS: [&str; 2] = ["key", "secret"];

/// An option of a table with the contents `T`.
pub struct TableOption<T> {
    /// Its key in the table.
    pub key: &'static str,
    /// What may be written.
    pub range: &'static str,
    /// What it means, in sentences.
    pub meaning: &'static str,
    pub(super) read: fn(&mut T, &Value) -> Result<(), String>,
    /// Its value, if it is set and no secret.
    pub(super) show: fn(&T) -> Option<Value>,
}

/// The options that a file sets, and what is wrong with others.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) set: Vec<Override>,
    pub(super) faults: Vec<Fault>,
}

impl Noted {
    /// Reads the options of the table of this name, as the file has it between brackets, into what it has.
    pub(super) fn read<T>(
        &mut self,
        table: &str,
        options: &[TableOption<T>],
        into: &mut T,
        entries: DeTable<'_>,
        lines: &Lines<'_>,
    ) {
        for (option, value) in sorted(entries) {
            let line = lines.of(value.span().start);
            if !lines.broken.contains(&line) {
                self.option((table, &option), options, into, (value, line), lines);
            }
        }
    }

    fn option<T>(
        &mut self,
        (table, option): (&str, &str),
        options: &[TableOption<T>],
        into: &mut T,
        (value, line): (Spanned<toml::de::DeValue<'_>>, usize),
        lines: &Lines<'_>,
    ) {
        let key = format!("{table}.{option}");
        let value = match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => value,
            Err(error) => return self.refuse(&key, line, error.message(), lines),
        };
        let shown = match SECRETS.contains(&option) {
            true => NOT_SHOWN.to_owned(),
            false => value.to_string(),
        };
        let Some(known) = options.iter().find(|known| known.key == option) else {
            let keys: Vec<_> = options.iter().map(|option| option.key).collect();
            let reason = match nearest(option, &keys) {
                Some(meant) => format!("there is no such option; did you mean {meant}?"),
                None if lines.settings.contains(&option) => {
                    "it is a setting of the whole server: write it above the first table".to_owned()
                }
                None => format!(
                    "there is no such option: those of [{table}] are {}",
                    keys.join(", ")
                ),
            };
            return self.refuse(&key, line, reason, lines);
        };
        match (known.read)(into, &value) {
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
                self.faults
                    .push(Fault::new(&[&key], subject, reason).at(Some(line)));
            }
        }
    }

    /// Refuses an entry.
    pub(super) fn refuse(
        &mut self,
        key: &str,
        line: usize,
        reason: impl Into<String>,
        lines: &Lines<'_>,
    ) {
        let fault = Fault::new(&[key], lines.place(line, key), reason);
        self.faults.push(fault.at(Some(line)));
    }
}

/// A text of the file as an error may show it: of the same length, with dots in place of what stands behind the `=`
/// of a secret.
pub(super) fn secrets_masked(text: &str) -> String {
    text.split_inclusive('\n').map(line_masked).collect()
}

fn line_masked(line: &str) -> String {
    let is_word = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    let begins = SECRETS.iter().filter_map(|secret| {
        let mut places = line.match_indices(secret);
        places.find_map(|(at, _)| {
            let (before, behind) = (&line[..at], &line[at + secret.len()..]);
            let value = behind.trim_start_matches(['"', '\'', ' ', '\t']);
            let is_alone = !before.ends_with(is_word) && value.starts_with('=');
            is_alone.then(|| line.len() - value.len() + 1)
        })
    });
    let Some(begin) = begins.min() else {
        return line.to_owned();
    };
    let end = line.trim_end_matches(['\r', '\n']).len();
    let dots = ".".repeat(end.saturating_sub(begin));
    format!("{}{dots}{}", &line[..begin], &line[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        for (text, shown) in [
            (
                "key = \"ab\"\nkey_file = \"x\"",
                "key =.....\nkey_file = \"x\"",
            ),
            ("a = { secret = é\r\n", "a = { secret =...\r\n"),
            ("\"key\"='x'", "\"key\"=..."),
            ("token_key = 1", "token_key = 1"),
            ("key", "key"),
        ] {
            assert_eq!(secrets_masked(text), shown);
            assert_eq!(secrets_masked(text).len(), text.len());
        }
    }
}
