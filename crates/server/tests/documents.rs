//! Holds the documents against the code they speak of.

use clap::CommandFactory;
use server::settings::Settings;

/// Settings that bound nothing.
const NO_LIMITS: &[&str] = &[
    "allow_origin",
    "config",
    "cores",
    "driver",
    "help",
    "internal_listen",
    "listen",
    "log_format",
    "log_level",
    "static_dir",
    "version",
];

#[test]
fn limits_document_names_every_bound_with_its_default() {
    let document = include_str!("../../../docs/limits.md");
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let command = Settings::command();
    let bounds = command
        .get_arguments()
        .filter(|arg| !NO_LIMITS.contains(&arg.get_id().as_str()));
    let mut known = Vec::new();
    for arg in bounds {
        let key = format!("`{}`", arg.get_id());
        let row = rows.iter().find(|row| row[1] == key);
        let row = row.unwrap_or_else(|| panic!("docs/limits.md has no row for {key}"));
        if let Some(default) = arg.get_default_values().first() {
            assert_eq!(row[2], default.to_string_lossy(), "the default of {key}");
        }
        known.push(key);
    }
    for row in rows {
        assert!(
            known.contains(&row[1].to_owned()),
            "{} is no setting",
            row[1]
        );
    }
}
