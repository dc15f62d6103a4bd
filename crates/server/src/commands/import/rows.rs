//! What an option of Centrifugo becomes here: the rows of the tables, and what they are made of.

use std::path::Path;

use serde_json::{Map, Value};

/// An option of Centrifugo, or a whole section of them.
pub struct Row {
    /// Its name; below `channel.namespaces[]` that within a namespace.
    pub key: &'static str,
    /// What becomes of it.
    pub becomes: Becomes,
    /// What is to be known of that, for people.
    pub remark: &'static str,
}

/// What becomes of an option.
pub enum Becomes {
    /// Settings here.
    Settings {
        /// Their names.
        here: &'static str,
        /// Makes them.
        make: fn(&Asked<'_>) -> Made,
    },
    /// It needs no setting here, because it is so anyway.
    Unneeded,
    /// There is no such thing here.
    Nothing,
}

/// An option that is set.
pub struct Asked<'d> {
    /// Its name.
    pub path: &'d str,
    pub value: &'d Value,
    /// The document, or the namespace, that it stands in.
    pub among: &'d Map<String, Value>,
    /// Where secrets are written, if they are.
    pub secrets: Option<&'d Path>,
}

/// The settings that an option comes to, or why it comes to none.
pub type Made = Result<Settings, String>;

/// Settings, and what is to be said of them.
#[derive(Default)]
pub struct Settings {
    /// Their names and values. A name with dots is below a table: `hooks.connect.url`.
    pub set: Vec<(String, toml::Value)>,
    /// Files that they name, with their contents.
    pub files: Vec<(std::path::PathBuf, String)>,
    /// How they differ from the option, if they do.
    pub note: Option<String>,
}

impl Settings {
    /// One setting.
    pub fn one(key: &str, value: impl Into<toml::Value>) -> Self {
        Self {
            set: vec![(key.to_owned(), value.into())],
            ..Self::default()
        }
    }

    /// The same, with something to be said.
    pub fn noting(self, note: impl Into<String>) -> Self {
        Self {
            note: Some(note.into()),
            ..self
        }
    }
}

/// A row whose option becomes settings.
pub const fn settings(
    key: &'static str,
    here: &'static str,
    make: fn(&Asked<'_>) -> Made,
    remark: &'static str,
) -> Row {
    Row {
        key,
        becomes: Becomes::Settings { here, make },
        remark,
    }
}

/// A row whose option needs no setting.
pub const fn unneeded(key: &'static str, remark: &'static str) -> Row {
    Row {
        key,
        becomes: Becomes::Unneeded,
        remark,
    }
}

/// A row whose option has no place here.
pub const fn nothing(key: &'static str, remark: &'static str) -> Row {
    Row {
        key,
        becomes: Becomes::Nothing,
        remark,
    }
}

impl Row {
    /// The row of an option: its own, or that of the section that it is in.
    pub fn of<'r>(rows: &[&'r [Self]], path: &str) -> Option<&'r Self> {
        let is_of = |row: &&Self| {
            let rest = path.strip_prefix(row.key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        rows.iter()
            .copied()
            .flatten()
            .filter(is_of)
            .max_by_key(|row| row.key.len())
    }

    /// The cell of the document that says what it becomes.
    pub fn here(&self) -> String {
        match self.becomes {
            Becomes::Settings { here, .. } => here.to_owned(),
            Becomes::Unneeded => "(so anyway)".to_owned(),
            Becomes::Nothing => "(nothing)".to_owned(),
        }
    }
}
