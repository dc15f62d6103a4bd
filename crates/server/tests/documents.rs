//! Holds the documents against the code they speak of.

use clap::CommandFactory;
use server::settings::{AT_RUN_TIME, AT_START, Settings};

/// Settings that bound nothing.
const NO_LIMITS: &[&str] = &[
    "allow_origin",
    "config",
    "cores",
    "driver",
    "help",
    "internal_listen",
    "internal_tls_cert",
    "internal_tls_client_ca",
    "internal_tls_key",
    "listen",
    "log_format",
    "log_level",
    "static_dir",
    "tls_cert",
    "tls_key",
    "version",
];

/// The limits, and the settings that bound nothing.
fn tables() -> (&'static str, &'static str) {
    let document = include_str!("../../../docs/limits.md");
    document
        .split_once("## Other settings")
        .expect("two tables")
}

/// The cells of each row; the first is empty.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn limits_document_names_every_bound_with_its_default() {
    let (limits, _) = tables();
    let rows = rows(limits);
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

#[test]
fn limits_document_says_which_settings_change_at_run_time() {
    let (limits, others) = tables();
    let rows = [rows(limits), rows(others)].concat();
    for (settings, word) in [(AT_RUN_TIME, "reload"), (AT_START, "restart")] {
        for setting in settings {
            let key = format!("`{}`", setting.key);
            let row = rows.iter().find(|row| row[1] == key);
            let row = row.unwrap_or_else(|| panic!("docs/limits.md has no row for {key}"));
            assert_eq!(row[3], word, "{key}");
        }
    }
    assert_eq!(rows.len(), AT_RUN_TIME.len() + AT_START.len());
}
