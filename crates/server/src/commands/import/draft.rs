//! The settings that a document comes to: gathered, written as a file, and tried as a start would read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use access::check_name;
use serde_json::{Map, Value};

use super::report::Report;
use super::rows::{Asked, Becomes, Row};
use super::{clients, hooks, rooms, server, source};
use crate::settings::{Settings, Sources, Stop};

/// A setting in the making.
struct Line {
    value: toml::Value,
    /// The options that it comes from.
    from: Vec<String>,
    note: Option<String>,
}

/// The settings of the table of this name, by their keys; "" is the top of the file.
type Tables = BTreeMap<String, BTreeMap<String, Line>>;

/// The settings that a document comes to.
pub struct Draft {
    tables: Tables,
    files: BTreeMap<PathBuf, String>,
}

const OF_SERVER: [&[Row]; 3] = [server::ROWS, clients::ROWS, hooks::ROWS];
const OF_CHANNELS: [&[Row]; 1] = [rooms::ROWS];

/// Each try comments out a line at least, so that there is an end; a file with more mistakes is none.
const TRIES_MAX: usize = 200;

impl Draft {
    /// Goes over all options of a document.
    pub fn of(document: &Map<String, Value>, secrets: Option<&Path>, report: &mut Report) -> Self {
        let mut draft = Self {
            tables: Tables::new(),
            files: BTreeMap::new(),
        };
        let mut global = document.clone();
        let channel = global.get_mut("channel").and_then(Value::as_object_mut);
        let taken = |name| channel.as_ref().and_then(|it| it.get(name)).cloned();
        let (plain, named) = (taken("without_namespace"), taken("namespaces"));
        if let Some(channel) = channel {
            channel.remove("without_namespace");
            channel.remove("namespaces");
        }
        draft.options(&OF_SERVER, &global, "", "", secrets, report);
        // Its port is open to other machines, and that of a server here is not unless it is said.
        draft.unless_set(
            "",
            "listen",
            toml::Value::Array(vec!["0.0.0.0:8000".into()]),
        );
        // Nobody may do what no table permits, as there.
        draft.tables.entry("rooms".to_owned()).or_default();
        let prefix = "channel.without_namespace.";
        if let Some(Value::Object(options)) = &plain {
            draft.options(&OF_CHANNELS, options, prefix, "rooms", secrets, report);
        }
        match named {
            None | Some(Value::Null) => {}
            Some(Value::Array(named)) => {
                for namespace in &named {
                    draft.namespace(namespace, secrets, report);
                }
            }
            Some(_) => report.left_out("channel.namespaces", "it is no list"),
        }
        draft
    }

    fn namespace(&mut self, namespace: &Value, secrets: Option<&Path>, report: &mut Report) {
        let options = namespace.as_object();
        let name = options.and_then(|options| options.get("name"));
        let (Some(options), Some(Value::String(name))) = (options, name) else {
            return report.left_out("channel.namespaces", "one of them has no name");
        };
        let prefix = format!("channel.namespaces[{name}].");
        if let Err(unfit) = check_name(name) {
            return report.left_out(&format!("{prefix}name"), &unfit.to_string());
        }
        let table = match name.contains('.') {
            true => format!("namespaces.\"{name}\""),
            false => format!("namespaces.{name}"),
        };
        self.tables.entry(table.clone()).or_default();
        let mut options = options.clone();
        options.remove("name");
        self.options(&OF_CHANNELS, &options, &prefix, &table, secrets, report);
    }

    /// Goes over the options of the document, or of a namespace, whose settings stand in a table.
    fn options(
        &mut self,
        rows: &[&[Row]],
        options: &Map<String, Value>,
        prefix: &str,
        table: &str,
        secrets: Option<&Path>,
        report: &mut Report,
    ) {
        for (path, value) in source::leaves(options) {
            let option = format!("{prefix}{path}");
            let Some(row) = Row::of(rows, &path) else {
                report.left_out(
                    &option,
                    "there is no such option of Centrifugo v6, or it is newer than this table",
                );
                continue;
            };
            let is_off =
                source::at(options, &format!("{}.enabled", row.key)) == Some(&Value::Bool(false));
            match &row.becomes {
                Becomes::Unneeded if source::is_set(value) && !is_off => {
                    report.unneeded(&format!("{prefix}{}", row.key), row.remark);
                }
                Becomes::Nothing if source::is_set(value) && !is_off => {
                    report.left_out(&format!("{prefix}{}", row.key), row.remark);
                }
                Becomes::Settings { make, .. } if source::is_set(value) && !is_off => {
                    let asked = Asked {
                        path: &path,
                        value,
                        among: options,
                        secrets,
                    };
                    self.put(&option, table, make(&asked), report);
                }
                _ => {}
            }
        }
    }

    fn put(
        &mut self,
        option: &str,
        table: &str,
        made: Result<super::rows::Settings, String>,
        report: &mut Report,
    ) {
        let made = match made {
            Ok(made) => made,
            Err(why) => return report.left_out(option, &why),
        };
        for (key, value) in made.set {
            let (table, key) = match key.rsplit_once('.') {
                Some((table, key)) => (table, key),
                None => (table, key.as_str()),
            };
            let here = shown(table, key);
            report.imported(option, &here, made.note.as_deref().unwrap_or_default());
            let lines = self.tables.entry(table.to_owned()).or_default();
            let line = lines.entry(key.to_owned()).or_insert_with(|| Line {
                value,
                from: Vec::new(),
                note: None,
            });
            line.from.push(option.to_owned());
            line.note = line.note.take().or(made.note.clone());
        }
        self.files.extend(made.files);
    }

    fn unless_set(&mut self, table: &str, key: &str, value: toml::Value) {
        let lines = self.tables.entry(table.to_owned()).or_default();
        lines.entry(key.to_owned()).or_insert(Line {
            value,
            from: vec!["the default".to_owned()],
            note: None,
        });
    }

    /// The files that settings name, and that are yet to be written.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        let files = self.files.iter();
        files.map(|(path, contents)| (path.as_path(), contents.as_str()))
    }

    /// The file, without what a start would refuse.
    pub fn accepted(&mut self, name: &str, report: &mut Report) -> String {
        for _ in 0..TRIES_MAX {
            let text = self.text();
            let refused = refusals(&text);
            if refused.is_empty() {
                break;
            }
            for (line, reason) in refused {
                let (table, key) = setting_at(&text, line);
                self.take_back(table, key, &reason, report);
            }
        }
        let mut file = head(name);
        file.push_str(&self.text());
        file.push_str(&tail(report));
        file
    }

    /// Takes out a setting, or a whole table.
    fn take_back(&mut self, table: &str, key: Option<&str>, reason: &str, report: &mut Report) {
        let Some(key) = key else {
            self.tables.remove(table);
            return report.taken_back(&format!("[{table}]"), reason);
        };
        if let Some(lines) = self.tables.get_mut(table) {
            lines.remove(key);
        }
        report.taken_back(&shown(table, key), reason);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (table, lines) in &self.tables {
            if !table.is_empty() {
                let _ = writeln!(text, "\n[{table}]");
            }
            for (key, line) in lines {
                let from = line.from.join(", ");
                let note = line.note.as_ref().map(|note| format!("; {note}"));
                let _ = writeln!(
                    text,
                    "# {from}{}",
                    note.unwrap_or_default().replace('\n', " ")
                );
                let _ = writeln!(text, "{key} = {}", line.value);
            }
        }
        text
    }
}

/// The table and the key of a line, or of the last one; without a key it is that of the table itself.
fn setting_at(text: &str, line: Option<usize>) -> (&str, Option<&str>) {
    let mut found = ("", None);
    for line in text.lines().take(line.unwrap_or(usize::MAX)) {
        if let Some(name) = line.strip_prefix('[') {
            found = (name.trim_end_matches(']'), None);
        } else if !line.starts_with('#')
            && let Some((key, _)) = line.split_once(" = ")
        {
            found.1 = Some(key);
        }
    }
    found
}

/// A setting with its table, as reports have it.
fn shown(table: &str, key: &str) -> String {
    match table {
        "" => key.to_owned(),
        table => format!("{table}.{key}"),
    }
}

/// What a start would refuse of a file, with lines.
fn refusals(text: &str) -> Vec<(Option<usize>, String)> {
    let loaded = Settings::load(&Sources {
        args: vec!["hubbub".into(), "--config=import".into()],
        variables: Vec::new(),
        read: &|_| Ok(text.to_owned()),
    });
    match loaded {
        Ok(_) => Vec::new(),
        Err(Stop::Refused(refusal)) => refusal.reasons().collect(),
        Err(stop) => vec![(None, stop.line())],
    }
}

fn head(name: &str) -> String {
    format!(
        "# Imported from {} by 'hubbub config import' {}. Check it with 'hubbub config check FILE', and see\n\
         # 'hubbub config print' for the settings that are not here: they have their defaults.\n\n",
        name.escape_default(),
        env!("CARGO_PKG_VERSION")
    )
}

/// What was left out, as comments.
fn tail(report: &Report) -> String {
    let mut text = String::new();
    for (option, why) in report.lines_left_out() {
        if text.is_empty() {
            text.push_str("\n# Not imported:\n#\n");
        }
        let said = format!("{option}: {why}");
        let said = crate::commands::output::visible(&said);
        let _ = writeln!(text, "# {said}");
    }
    text
}
