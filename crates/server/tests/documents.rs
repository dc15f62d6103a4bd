//! Holds the documents against the code they speak of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use server::settings::{AT_RUN_TIME, AT_START, Settings};

/// Settings that bound nothing.
const NO_LIMITS: &[&str] = &[
    "allow_origin",
    "compression",
    "compression_bytes_min",
    "compression_level",
    "compression_takeover",
    "compression_window_bits",
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
    "proxy_header",
    "static_dir",
    "trusted_proxies",
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

/// All sources of the workspace's crates, with their paths.
fn sources(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            found.push((path, text));
        }
    }
}

#[test]
fn limits_document_names_a_test_beside_every_bound_that_exists() {
    let mut found = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        &mut found,
    );
    let exists = |test: &str| {
        let (module, name) = test.split_once("::").expect("module::name");
        let definition = format!("fn {name}(");
        let mut of_module = found.iter().filter(|(path, _)| {
            let mut parts = path.iter().filter_map(|part| part.to_str());
            parts.any(|part| part.trim_end_matches(".rs") == module)
        });
        of_module.any(|(_, text)| text.contains(&definition))
    };
    let (limits, _) = tables();
    let is_row = |line: &&str| line.starts_with("| ") && !line.ends_with("| Test |");
    let rows: Vec<_> = limits.lines().filter(is_row).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next();
        let tests: Vec<_> = tests.unwrap_or_default().split('`').collect();
        let tests: Vec<_> = tests.iter().skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test beside {row}");
        for test in tests {
            assert!(exists(test), "there is no {test}, beside {row}");
        }
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
            assert_eq!(row[3].split(',').next(), Some(word), "{key}");
        }
    }
    assert_eq!(rows.len(), AT_RUN_TIME.len() + AT_START.len());
}
