//! Rules about the text of files: headers, unfinished work, white space, length, forbidden words.

use super::Finding;

const LINES_MAX: usize = 600;

/// Files that may be longer than the limit, and why.
const LONG_FILES: [(&str, &str); 2] = [
    (
        "crates/codec/tests/codec/vectors.rs",
        "one table of bytes on the wire, looked up entry by entry",
    ),
    (
        "crates/server/src/settings.rs",
        "one declaration for each setting, looked up entry by entry",
    ),
];

/// Marks of unfinished work, assembled here so that this file does not contain them.
const UNFINISHED: [&str; 4] = [
    concat!("to", "do!"),
    concat!("unimpl", "emented!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Words that the code of a crate must not contain (its tests may), where dependencies do not show
/// the violation.
const BOUNDARIES: [(&str, &[&str], &str); 7] = [
    (
        "crates/access/src/",
        &[
            "async fn",
            ".await",
            "std::net",
            "std::fs",
            "std::thread",
            "std::env",
            "Instant::now",
            "SystemTime",
        ],
        "rights and tokens are decided without I/O, and the time is an argument",
    ),
    (
        "crates/codec/src/",
        &[
            "async fn",
            "async move",
            ".await",
            "std::net",
            "std::thread",
            "Instant::now",
            "SystemTime",
        ],
        "the codec is sans-IO: no async, sockets, threads, clocks",
    ),
    (
        "crates/centrifuge/src/",
        &[
            "async fn",
            "async move",
            ".await",
            "std::net",
            "std::thread",
            "Instant::now",
            "SystemTime",
        ],
        "the protocol is sans-IO: no async, sockets, threads, clocks",
    ),
    (
        "crates/hub/src/",
        &[
            "std::net",
            "thread::spawn",
            "Instant::now",
            "SystemTime::now",
        ],
        "the hub is told the time, and others spawn it",
    ),
    (
        "crates/runtime/src/",
        &["std::env::", "env::var", "process::exit"],
        "the server alone reads the environment and exits the process",
    ),
    (
        "crates/hub/src/",
        &["std::env::", "env::var", "process::exit"],
        "the server alone reads the environment and exits the process",
    ),
    (
        "simulation/src/world/",
        &[
            "std::thread",
            "Instant::now",
            "SystemTime",
            "getrandom",
            "RandomState",
        ],
        "a run is the same each time: its time is virtual, and the seed draws all",
    ),
];

/// Rust files begin with `//!` and their duty.
pub fn header(path: &str, text: &str) -> Vec<Finding> {
    let is_ours = ["crates/", "xtask/", "simulation/"]
        .iter()
        .any(|it| path.starts_with(it));
    if !is_ours || !path.ends_with(".rs") || text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Finding::at(
        path,
        0,
        "must begin with `//! ` and the duty of the module",
    )]
}

/// Code contains no mark of unfinished work.
pub fn unfinished(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for mark in UNFINISHED {
            if has_word(line, mark) {
                findings.push(Finding::at(path, index, format!("holds `{mark}`")));
            }
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    let in_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let ends = word.ends_with('!') || !after.is_some_and(in_word);
        !before.is_some_and(in_word) && ends
    })
}

/// No line ends with a space, a tab or a carriage return.
pub fn trailing_space(path: &str, text: &str) -> Vec<Finding> {
    let lines = text.split('\n').enumerate();
    lines
        .filter(|(_, line)| line.ends_with([' ', '\t', '\r']))
        .map(|(index, _)| Finding::at(path, index, "has trailing white space"))
        .collect()
}

/// A Rust file is short enough to be read in one sitting.
pub fn length(path: &str, text: &str) -> Vec<Finding> {
    length_unless(&LONG_FILES, path, text)
}

fn length_unless(excused: &[(&str, &str)], path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().count();
    let excused = excused.iter().any(|(file, _)| *file == path);
    let message = match (lines > LINES_MAX, excused) {
        (true, false) if path.ends_with(".rs") => {
            format!(
                "has {lines} lines, more than {LINES_MAX}: divide it, or give a reason in xtask/src/tidy/sources.rs"
            )
        }
        (false, true) => {
            "is short again: take its excuse out of xtask/src/tidy/sources.rs".to_owned()
        }
        _ => return Vec::new(),
    };
    vec![Finding::of(path, message)]
}

/// Code contains no word that belongs to another crate.
pub fn boundary(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return findings;
    }
    for (directory, words, reason) in BOUNDARIES {
        if !path.starts_with(directory) {
            continue;
        }
        for (index, line) in code(text) {
            for word in words.iter().filter(|word| line.contains(**word)) {
                findings.push(Finding::at(
                    path,
                    index,
                    format!("says `{word}` ({reason})"),
                ));
            }
        }
    }
    findings
}

/// Numbered lines, without comments and without the tests at the end of the file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..tests].lines().enumerate();
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&str, &str) -> Vec<Finding>;

    fn check(rule: Rule, path: &str, text: &str, lines: &[usize]) {
        let found: Vec<_> = rule(path, text)
            .iter()
            .filter_map(|finding| finding.line)
            .collect();
        assert_eq!(found, lines, "{path}: {text:?}");
    }

    #[test]
    fn header_missing_is_found() {
        check(header, "crates/hub/src/room.rs", "//! One room.\n", &[]);
        check(
            header,
            "crates/hub/src/room.rs",
            "use std::fmt;\n//! Late.\n",
            &[1],
        );
        check(
            header,
            "crates/hub/src/room.rs",
            "// Not a doc comment.\n",
            &[1],
        );
        check(header, "crates/hub/src/room.rs", "", &[1]);
        check(header, "crates/hub/README.md", "# Hub\n", &[]);
        check(header, "simulation/src/run.rs", "use std::fmt;\n", &[1]);
        check(header, "fuzz/fuzz_targets/decode.rs", "#![no_main]\n", &[]);
    }

    #[test]
    fn unfinished_marks_are_found() {
        for mark in UNFINISHED {
            check(
                unfinished,
                "a.rs",
                &format!("fn a() {{\n    {mark}(\"x\")\n}}\n"),
                &[2],
            );
            check(unfinished, "a.md", &format!("- {mark}: later\n"), &[1]);
            check(unfinished, "a.rs", &format!("let z{mark} = 1;\n"), &[]);
        }
        check(
            unfinished,
            "a.sh",
            concat!("mktemp /tmp/a.XX", "XX", "XX\n"),
            &[],
        );
    }

    #[test]
    fn trailing_space_is_found() {
        check(trailing_space, "a.rs", "a\n b \nc\t\nd\r\n", &[2, 3, 4]);
        check(trailing_space, "a.rs", "a\n\n b\n", &[]);
    }

    #[test]
    fn length_above_limit_is_found_unless_excused() {
        let (short, long) = ("//\n".repeat(LINES_MAX), "//\n".repeat(LINES_MAX + 1));
        let excused = [("a.rs", "a table")];
        let count = |excused: &[(&str, &str)], path, text| length_unless(excused, path, text).len();
        assert_eq!(count(&[], "a.rs", &short), 0);
        assert_eq!(count(&[], "a.rs", &long), 1);
        assert_eq!(count(&excused, "a.rs", &long), 0);
        assert_eq!(count(&excused, "b.rs", &long), 1);
        assert_eq!(
            count(&excused, "a.rs", &short),
            1,
            "an excuse that is no longer needed"
        );
        assert_eq!(count(&[], "CHANGELOG.md", &long), 0);
    }

    #[test]
    fn boundary_foreign_words_are_found_in_code_alone() {
        check(
            boundary,
            "crates/codec/src/frame.rs",
            "fn a() {\n    let now = Instant::now();\n}\n",
            &[2],
        );
        check(
            boundary,
            "crates/codec/src/frame.rs",
            "// never calls Instant::now\n",
            &[],
        );
        check(
            boundary,
            "crates/runtime/src/lib.rs",
            "let a = std::time::Instant::now();\n",
            &[],
        );
        check(
            boundary,
            "crates/runtime/src/lib.rs",
            "std::process::exit(1);\n",
            &[1],
        );
        check(
            boundary,
            "crates/hub/src/room.rs",
            "\n#[cfg(test)]\nmod tests {\n    Instant::now();\n}\n",
            &[],
        );
        check(
            boundary,
            "crates/hub/src/room/tests.rs",
            "Instant::now();\n",
            &[],
        );
        check(
            boundary,
            "crates/server/src/main.rs",
            "std::env::var(\"A\");\n",
            &[],
        );
    }
}
