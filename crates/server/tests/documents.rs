//! Compares the documents with the code that they describe.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use std::collections::BTreeSet;

use centrifuge::{Disconnect, ErrorCode, Unsubscribed};
use clap::CommandFactory;
use runtime::EndReason;
use server::commands::import::{Becomes, TABLES};
use server::settings::{AT_RUN_TIME, AT_START, HOOK_OPTIONS, Loaded, OPTIONS, Settings, Sources};
use strum::VariantArray;

/// Settings that bound nothing.
const NO_LIMITS: &[&str] = &[
    "allow_origin",
    "api_error_mode",
    "api_hosts",
    "api_listen",
    "api_origins",
    "api_tls_cert",
    "api_tls_client_ca",
    "api_tls_key",
    "anonymous",
    "compression",
    "compression_bytes_min",
    "compression_level",
    "compression_takeover",
    "compression_window_bits",
    "config",
    "cores",
    "dev",
    "driver",
    "events_ca",
    "events_kinds",
    "events_secret",
    "events_url",
    "help",
    "insecure",
    "internal_listen",
    "internal_tls_cert",
    "internal_tls_client_ca",
    "internal_tls_key",
    "listen",
    "moderation",
    "log_format",
    "log_level",
    "proxy_header",
    "single_connection",
    "state_dir",
    "static_dir",
    "subscription_token_audience",
    "subscription_token_issuer",
    "subscription_token_jwks",
    "subscription_token_jwks_url",
    "subscription_token_keys",
    "subscription_token_secret",
    "tls_cert",
    "tls_key",
    "token_audience",
    "token_issuer",
    "token_jwks",
    "token_jwks_ca",
    "token_jwks_http",
    "token_jwks_url",
    "token_keys",
    "token_leeway",
    "token_secret",
    "token_user_claim",
    "trusted_proxies",
    "version",
];

#[test]
fn description_of_the_api_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let served = server::api::document();
    if env::var_os("BLESS").is_some() {
        fs::write(&path, served).expect("docs/openapi.json can be written");
    } else {
        let how = "docs/openapi.json is another one: BLESS=1 cargo test -p server --test documents writes it anew";
        assert!(kept == served, "{how}");
    }
}

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

/// Each row names tests in its last cell, as `module::name`, and all of them exist.
fn check_tests_of_rows(document: &str, rows_min: usize) {
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
    let is_row = |line: &&str| line.starts_with("| ") && !line.ends_with("| Test |");
    let rows: Vec<_> = document.lines().filter(is_row).collect();
    assert!(rows.len() >= rows_min, "{} rows", rows.len());
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next();
        let tests: Vec<_> = quoted(tests.unwrap_or_default()).collect();
        assert!(!tests.is_empty(), "no test beside {row}");
        for test in tests {
            assert!(exists(test), "there is no {test}, beside {row}");
        }
    }
}

#[test]
fn limits_document_names_a_test_beside_every_bound_that_exists() {
    let (limits, _) = tables();
    check_tests_of_rows(limits, 31);
}

#[test]
fn attacks_document_names_tests_of_every_attack_that_exist() {
    let document = include_str!("../../../docs/attacks.md");
    check_tests_of_rows(document, 15);
    // The column of the bounds names settings.
    let rows = document.lines().filter(|line| line.starts_with("| "));
    for row in rows {
        let cells: Vec<_> = row.split('|').collect();
        for key in quoted(cells[3]).filter(|it| it.contains('_')) {
            let command = Settings::command();
            let mut known = command.get_arguments();
            assert!(known.any(|arg| arg.get_id() == key), "{key} is no setting");
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

#[test]
fn namespaces_document_says_of_every_option_what_is_so() {
    let document = include_str!("../../../docs/namespaces.md");
    let (_, options) = document.split_once("## Options").expect("the table");
    let rows = rows(options);
    assert_eq!(rows.len(), OPTIONS.len());
    for (row, option) in rows.iter().zip(OPTIONS) {
        let key = format!("`{}`", option.key);
        let default = option.default();
        let default = default.as_deref().unwrap_or("not set");
        let said = [default, option.range, option.meaning, option.on_reload];
        assert_eq!(row[1], key);
        assert_eq!(row[2..6], said, "{key}");
    }
}

#[test]
fn hooks_document_says_of_every_option_what_is_so() {
    let document = include_str!("../../../docs/hooks.md");
    let (_, options) = document.split_once("## Options").expect("the table");
    let options = options.split("\n#").next().expect("a section");
    let rows = rows(options);
    assert_eq!(rows.len(), HOOK_OPTIONS.len());
    for (row, option) in rows.iter().zip(HOOK_OPTIONS) {
        let default = option.default();
        let default = default.as_deref().unwrap_or("not set");
        assert_eq!(row[1], format!("`{}`", option.key));
        assert_eq!(row[2..5], [default, option.range, option.meaning]);
    }
    let (_, bounds) = document.split_once("| Bound |").expect("the table");
    let (_, bounds) = bounds.split_once('\n').expect("its rows");
    let (_, bounds) = bounds.split_once('\n').expect("its rows");
    check_tests_of_rows(bounds, 7);
}

#[test]
fn hooks_document_has_an_example_that_is_accepted() {
    let example = example(include_str!("../../../docs/hooks.md"));
    assert_eq!(example.warnings, []);
    assert!(example.settings.hooks.are_any());
}

#[test]
fn namespaces_document_has_an_example_that_is_accepted() {
    let example = example(include_str!("../../../docs/namespaces.md"));
    assert_eq!(example.warnings, []);
    assert!(example.settings.namespaces.is_any());
}

/// The settings of the first example of a document.
fn example(document: &'static str) -> Loaded {
    let (_, example) = document.split_once("```toml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let loaded = Settings::load(&Sources {
        args: ["hubbub", "--config", "example.toml"]
            .map(Into::into)
            .into(),
        variables: Vec::new(),
        read: &|_| Ok(example.to_owned()),
    });
    loaded.unwrap_or_else(|stop| panic!("{}", stop.line()))
}

/// The texts in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The first cell of each row below this heading, with each reason that the row names.
fn reasons_below(heading: &str) -> BTreeSet<(String, String)> {
    let document = include_str!("../../../docs/close-codes.md");
    let (_, section) = document.split_once(heading).expect("the heading");
    let section = section.split("\n## ").next().expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.skip(1)
        .flat_map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            quoted(cells[3]).map(move |reason| (cells[1].to_owned(), reason.to_owned()))
        })
        .collect()
}

#[test]
fn close_codes_document_says_of_each_reason_what_is_so() {
    let pair = |(said, name): (&str, &str)| (said.to_owned(), name.to_owned());
    // Reasons that carry another code, and answers of the application.
    let by_others = [
        ("the peer's own", "peer_closed"),
        ("the protocol's own", "session_closed"),
    ];
    let mut closes = BTreeSet::from(by_others.map(pair));
    let mut answers = BTreeSet::new();
    let mut silent = Vec::new();
    for reason in EndReason::all() {
        let explained = reason.explained();
        let name = explained.name;
        let code = explained
            .code
            .map(|code| (code.to_string(), name.to_owned()));
        let answer = explained
            .answer
            .map(|said| (said.status.to_string(), name.to_owned()));
        if code.is_none() && answer.is_none() {
            silent.push(name);
        }
        closes.extend(code);
        answers.extend(answer);
    }
    assert_eq!(reasons_below("## Close codes the server sends"), closes);
    assert_eq!(reasons_below("## Answers to a handshake"), answers);
    let document = include_str!("../../../docs/close-codes.md");
    for name in silent {
        assert!(quoted(document).any(|quoted| quoted == name), "{name}");
    }
    let known: BTreeSet<_> = EndReason::all().map(|reason| reason.name()).collect();
    for (_, reason) in reasons_below("## Connections that end before a request") {
        assert!(known.contains(reason.as_str()), "{reason}");
    }
}

/// The codes and texts in the table below this heading.
fn codes_below(heading: &str) -> Vec<(u16, String)> {
    let document = include_str!("../../../docs/protocol.md");
    let (_, section) = document.split_once(heading).expect("the heading");
    let section = section.split("\n## ").next().expect("a section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .filter_map(|cells| Some((cells[0].parse().ok()?, cells[1].to_owned())))
        .collect()
}

#[test]
fn protocol_document_has_every_code_with_its_text() {
    let errors = ErrorCode::VARIANTS.iter();
    let errors: Vec<_> = errors
        .map(|it| (it.code(), it.message().to_owned()))
        .collect();
    assert_eq!(codes_below("## Errors"), errors);
    let disconnects = Disconnect::VARIANTS.iter();
    let disconnects: Vec<_> = disconnects
        .map(|it| (it.code(), it.reason().to_owned()))
        .collect();
    assert_eq!(codes_below("## Disconnects"), disconnects);
    let unsubscribed = Unsubscribed::VARIANTS.iter();
    let unsubscribed: Vec<_> = unsubscribed
        .map(|it| (it.code(), it.reason().to_owned()))
        .collect();
    assert_eq!(codes_below("## Unsubscribes"), unsubscribed);
}

#[test]
fn protocol_document_names_settings_that_exist() {
    let document = include_str!("../../../docs/protocol.md");
    let (_, bounds) = document.split_once("## Bounds").expect("the table");
    let section = bounds.split("\n## ").next().expect("a section");
    let command = Settings::command();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `"));
    for row in names {
        let first = format!("`{}", row.split('|').next().expect("a cell"));
        for key in quoted(&first).filter(|it| it.contains('_')) {
            let mut known = command.get_arguments();
            let is_option = OPTIONS.iter().any(|option| option.key == key);
            let is_known = known.any(|arg| arg.get_id() == key) || is_option;
            assert!(is_known, "{key} is no setting");
        }
    }
}

/// The cells of each row of the tables below this heading, without the heads.
fn rows_below(document: &'static str, heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = document.split_once(heading).expect("the heading");
    let section = section.split("\n## ").next().expect("a section");
    rows(section)
}

#[test]
fn table_of_centrifugos_options_says_of_each_what_is_imported() {
    let document = include_str!("../../../docs/coming-from-centrifugo.md");
    for (heading, table) in TABLES {
        let found = rows_below(document, &format!("\n## {heading}\n"));
        let expected: Vec<_> = table
            .iter()
            .map(|row| format!("| `{}` | {} | {} |", row.key, row.here(), row.remark))
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|cells| format!("| {} | {} | {} |", cells[1], cells[2], cells[3]))
            .collect();
        assert_eq!(found, expected, "{heading}:\n{}", expected.join("\n"));
    }
}

#[test]
fn options_become_settings_that_exist() {
    let command = Settings::command();
    for (_, table) in TABLES {
        for row in table {
            let Becomes::Settings { here, .. } = row.becomes else {
                continue;
            };
            for here in here.split(", ").filter(|here| !here.starts_with('(')) {
                let here = here.trim_end_matches(" of the namespace");
                let is_setting = command.get_arguments().any(|arg| arg.get_id() == here);
                let is_option = OPTIONS.iter().any(|option| option.key == here);
                let is_table = here == "api_keys" || here.starts_with("hooks.");
                assert!(is_setting || is_option || is_table, "{here} of {}", row.key);
            }
        }
    }
}

#[test]
fn page_of_commands_has_all_of_them() {
    let document = include_str!("../../../docs/cli.md");
    let root = server::settings::command();
    for command in root.get_subcommands() {
        let words: Vec<_> = command
            .get_subcommands()
            .map(|below| format!("hubbub {} {}", command.get_name(), below.get_name()))
            .collect();
        let words = match words.is_empty() {
            true => vec![format!("hubbub {}", command.get_name())],
            false => words,
        };
        for word in words {
            let named = format!("| `{word}");
            assert!(
                document.contains(&named),
                "docs/cli.md has no row for {word}"
            );
        }
    }
}
