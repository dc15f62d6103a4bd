//! Rules about manifests: every dependency has a comment that says why it is needed, a lint is on where a
//! run must be repeatable, and fuzzing builds no cryptography.

use super::Finding;
use anyhow::Result;

/// The manifests that name dependencies of their own, and in which section.
pub const DEPENDENCIES: [(&str, &str); 2] = [
    ("Cargo.toml", "[workspace.dependencies]"),
    ("simulation/Cargo.toml", "[dependencies]"),
];

/// The workspace's manifest, and its section of clippy's lints.
const LINTS: (&str, &str) = ("Cargo.toml", "[workspace.lints.clippy]");

/// A walk over a hash table goes in an order that no seed repeats.
const LINT: &str = "iter_over_hash_type";

/// The crates whose runs are repeated from a seed, and which therefore inherit [`LINT`].
const REPEATED: [&str; 2] = ["crates/hub/Cargo.toml", "crates/runtime/Cargo.toml"];

/// Finds a manifest for which [`LINT`] is off; `read` returns the text of a manifest.
pub fn lint(read: impl Fn(&str) -> Result<String>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let (place, section) = LINTS;
    let levels = [format!("{LINT} = \"warn\""), format!("{LINT} = \"deny\"")];
    let is_level = |line: &str| levels.iter().any(|level| line.starts_with(level));
    if !lines_of(&read(place)?, section).any(is_level) {
        findings.push(Finding::of(
            place,
            format!("{section} lacks {LINT}, on which runs from a seed rely"),
        ));
    }
    for place in REPEATED {
        if !lines_of(&read(place)?, "[lints]").any(|line| line == "workspace = true") {
            findings.push(Finding::of(
                place,
                "does not inherit the lints of the workspace",
            ));
        }
    }
    Ok(findings)
}

/// Where the packages stand that `fuzz/` is built from.
pub const FUZZ_LOCK: &str = "fuzz/Cargo.lock";

/// Finds cryptography among the packages of a lock file: with instrumentation it takes many minutes to
/// build, and its own project fuzzes it.
pub fn cryptography(place: &str, lock: &str) -> Vec<Finding> {
    let has = |name: &str| {
        lock.lines()
            .any(|line| line == format!("name = \"{name}\""))
    };
    let mut findings = Vec::new();
    for name in ["aws-lc-sys", "openssl-sys", "ring"] {
        if has(name) {
            let message = format!("has {name}, which takes too long to build for fuzzing");
            findings.push(Finding::of(place, message));
        }
    }
    findings
}

/// The lines of a section.
fn lines_of<'a>(manifest: &'a str, section: &str) -> impl Iterator<Item = &'a str> {
    let lines = manifest
        .lines()
        .skip_while(move |line| line.trim() != section);
    lines.skip(1).take_while(|line| !line.starts_with('['))
}

/// Finds entries of a section without a comment on one of their lines or on the line above. Our own
/// crates need none.
pub fn reasons(place: &str, section: &str, manifest: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<_> = manifest.lines().collect();
    let Some(start) = lines.iter().position(|line| line.trim() == section) else {
        return vec![Finding::of(place, format!("has no {section}"))];
    };
    let mut index = start + 1;
    while index < lines.len() && !lines[index].starts_with('[') {
        let length = entry_length(&lines[index..]);
        let entry = &lines[index..index + length];
        let explained =
            entry.iter().any(|line| has_comment(line)) || lines[index - 1].starts_with("# ");
        let own = entry.iter().any(|line| line.contains("path = "));
        if entry[0].contains('=') && !explained && !own {
            let name = entry[0].split(['=', '.']).next().unwrap_or_default().trim();
            findings.push(Finding::at(
                place,
                index,
                format!("{name} has no reason: say in a comment why it is here"),
            ));
        }
        index += length;
    }
    findings
}

/// The number of lines of an entry, which ends where its brackets are closed.
fn entry_length(lines: &[&str]) -> usize {
    let mut depth = 0_i32;
    for (index, line) in lines.iter().enumerate() {
        let code = &line[..comment_start(line).unwrap_or(line.len())];
        for character in code.chars() {
            match character {
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                _ => {}
            }
        }
        if depth <= 0 {
            return index + 1;
        }
    }
    lines.len()
}

fn has_comment(line: &str) -> bool {
    comment_start(line).is_some_and(|start| !line[start + 1..].trim().is_empty())
}

/// The place where a comment starts, outside of strings.
fn comment_start(line: &str) -> Option<usize> {
    let mut quoted = false;
    for (index, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: &str = "[workspace.dependencies]";

    fn check(entries: &str, expected: &[&str]) {
        let manifest = format!(
            "[workspace]\nx = 1\n\n[workspace.dependencies]\n{entries}\n[profile.dev]\nlto = 1\n"
        );
        let found: Vec<_> = reasons("Cargo.toml", SECTION, &manifest)
            .iter()
            .map(|finding| finding.message.clone())
            .collect();
        let names: Vec<_> = found
            .iter()
            .map(|message| message.split(' ').next().unwrap())
            .collect();
        assert_eq!(names, expected, "{entries}");
    }

    #[test]
    fn reasons_entry_without_comment_is_found() {
        check(
            "anyhow = \"1\" # errors of the binary\nbytes = \"1\"",
            &["bytes"],
        );
        check(
            "bytes = \"1\" #\nflume = { version = \"0.12\", features = [\"async\"] }",
            &["bytes", "flume"],
        );
        check("bytes.version = \"1\"", &["bytes"]);
        check(
            "rustix = { version = \"1\", features = [\n  \"net\",\n] }\nbytes = \"1\" # why",
            &["rustix"],
        );
        check(
            "odd = { git = \"https://example.org/#no-comment\" }",
            &["odd"],
        );
    }

    #[test]
    fn reasons_comment_beside_above_or_inside_is_enough() {
        check("anyhow = \"1\" # errors of the binary", &[]);
        check("# errors of the binary\nanyhow = \"1\"\n", &[]);
        check(
            "rustix = { version = \"1\", features = [ # system calls\n  \"net\",\n] }",
            &[],
        );
        check("codec = { path = \"crates/codec\" }", &[]);
    }

    #[test]
    fn reasons_manifest_without_section_is_found() {
        assert_eq!(reasons("Cargo.toml", SECTION, "[workspace]\n").len(), 1);
    }

    #[test]
    fn reasons_of_another_manifest_are_looked_for_in_its_own_section() {
        let manifest = "[dependencies]\nbytes = \"1\"\n[lints.rust]\nx = \"warn\"\n";
        let found = reasons("simulation/Cargo.toml", "[dependencies]", manifest);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .to_string()
                .starts_with("simulation/Cargo.toml:2: bytes")
        );
    }

    #[test]
    fn lint_that_is_off_or_not_inherited_is_found() {
        let found = |level: &str, inherits: &str| {
            let read = |place: &str| {
                Ok(match place {
                    "Cargo.toml" => format!(
                        "[workspace.lints.clippy]\nall = 1\n{level}\n[other]\n{LINT} = \"warn\"\n"
                    ),
                    "crates/hub/Cargo.toml" => "[lints]\nworkspace = true\n".to_owned(),
                    _ => format!("[dependencies]\nworkspace = true\n[lints]\n{inherits}\n"),
                })
            };
            let findings = lint(read).unwrap();
            findings
                .iter()
                .map(|finding| finding.place.clone())
                .collect::<Vec<_>>()
        };
        let on = format!("{LINT} = \"warn\" # why");
        assert_eq!(found(&on, "workspace = true"), [""; 0]);
        assert_eq!(found("", "workspace = true"), ["Cargo.toml"]);
        assert_eq!(
            found(&on.replace("warn", "allow"), "workspace = true"),
            ["Cargo.toml"]
        );
        assert_eq!(found(&on, ""), ["crates/runtime/Cargo.toml"]);
    }
    #[test]
    fn cryptography_is_found_by_its_whole_name() {
        let lock = |name: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
        assert_eq!(cryptography(FUZZ_LOCK, &lock("ring")).len(), 1);
        assert_eq!(cryptography(FUZZ_LOCK, &lock("aws-lc-sys")).len(), 1);
        assert!(cryptography(FUZZ_LOCK, &lock("stringprep")).is_empty());
    }
}
