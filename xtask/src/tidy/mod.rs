//! Rules of this workspace that no other tool checks. Each rule is also a test.

mod folders;
mod layers;
mod manifest;
mod sources;

use crate::report::Counts;
use crate::workspace::{metadata, root};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};

/// A broken rule, and where it is broken.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    place: String,
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn of(place: &str, message: impl Into<String>) -> Self {
        Self {
            place: place.to_owned(),
            line: None,
            message: message.into(),
        }
    }

    fn at(place: &str, line_index: usize, message: impl Into<String>) -> Self {
        Self {
            line: Some(line_index + 1),
            ..Self::of(place, message)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

/// One rule, which is checked against the files of the workspace.
struct Check {
    name: &'static str,
    run: fn() -> Result<Vec<Finding>>,
}

const CHECKS: [Check; 11] = [
    Check {
        name: "dependency direction",
        run: direction,
    },
    Check {
        name: "imports between folders",
        run: || folders::direction(root()),
    },
    Check {
        name: "forbidden dependencies",
        run: forbidden,
    },
    Check {
        name: "what fuzzing alone has, and has not",
        run: fuzzing,
    },
    Check {
        name: "reasons of dependencies",
        run: reasons,
    },
    Check {
        name: "lint of repeatable runs",
        run: lint,
    },
    Check {
        name: "module headers",
        run: || over_files(sources::header),
    },
    Check {
        name: "unfinished work",
        run: || over_files(sources::unfinished),
    },
    Check {
        name: "trailing white space",
        run: || over_files(sources::trailing_space),
    },
    Check {
        name: "file length",
        run: || over_files(sources::length),
    },
    Check {
        name: "words that belong to another crate",
        run: || over_files(sources::boundary),
    },
];

/// `cargo xtask tidy`.
pub fn chore() -> Result<bool> {
    let mut clean = true;
    for check in CHECKS {
        let findings = (check.run)().context(check.name)?;
        clean &= findings.is_empty();
        println!(
            "{}: {}",
            check.name,
            if findings.is_empty() { "ok" } else { "BROKEN" }
        );
        for finding in findings {
            println!("  {finding}");
        }
    }
    Ok(clean)
}

/// The step of `cargo xtask test`.
pub fn step() -> Result<Counts> {
    if !chore()? {
        bail!("rules are broken, see above");
    }
    Ok(Counts::default())
}

fn direction() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    // The simulation is a workspace of its own.
    for manifest in ["Cargo.toml", "simulation/Cargo.toml"] {
        findings.extend(layers::direction(&layers::Graph::new(&resolved(
            manifest,
        )?)?));
    }
    Ok(findings)
}

fn forbidden() -> Result<Vec<Finding>> {
    Ok(layers::forbidden(&layers::Graph::new(&resolved(
        "Cargo.toml",
    )?)?))
}

fn fuzzing() -> Result<Vec<Finding>> {
    let graph = layers::Graph::new(&resolved("Cargo.toml")?)?;
    let mut findings = layers::fuzzing_alone(&graph);
    let lock = text_of(manifest::FUZZ_LOCK)?;
    findings.extend(manifest::cryptography(manifest::FUZZ_LOCK, &lock));
    Ok(findings)
}

/// Resolves for this platform only. Otherwise cargo downloads crates of platforms that are never
/// built.
fn resolved(manifest: &str) -> Result<serde_json::Value> {
    let mut rustc = std::process::Command::new("rustc");
    let host = crate::process::stdout_of(rustc.args(["--print", "host-tuple"]))?;
    metadata(&[
        "--filter-platform",
        host.trim(),
        "--manifest-path",
        manifest,
    ])
}

fn reasons() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (place, section) in manifest::DEPENDENCIES {
        findings.extend(manifest::reasons(place, section, &text_of(place)?));
    }
    Ok(findings)
}

fn lint() -> Result<Vec<Finding>> {
    manifest::lint(text_of)
}

fn text_of(place: &str) -> Result<String> {
    std::fs::read_to_string(root().join(place)).with_context(|| place.to_owned())
}

/// Applies a rule to every text file; the rule gets its path from the root, and its text.
fn over_files(rule: fn(&str, &str) -> Vec<Finding>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in text_files(root())? {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let name = path.strip_prefix(root())?.to_string_lossy();
        findings.extend(rule(&name, &text));
    }
    Ok(findings)
}

/// Files that people write, without those that are built, downloaded, generated or found by
/// fuzzing.
fn text_files(directory: &Path) -> Result<Vec<PathBuf>> {
    const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "corpus", "artifacts"];
    const ENDINGS: [&str; 10] = [
        "rs", "toml", "md", "sh", "js", "mjs", "html", "py", "yml", "yaml",
    ];
    let mut files = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Cargo marks each target directory with this file, whatever the directory is called.
        if path.is_dir() && !SKIPPED.contains(&&*name) && !path.join("CACHEDIR.TAG").exists() {
            files.extend(text_files(&path)?);
        } else if path.is_file() {
            let ending = path.extension().unwrap_or_default().to_string_lossy();
            if ENDINGS.contains(&&*ending) || path.ends_with(".ci/run") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_clean(name: &str) {
        let check = CHECKS.iter().find(|check| check.name == name).unwrap();
        let findings = (check.run)().unwrap();
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{name}:\n{}", lines.join("\n"));
    }

    #[test]
    fn workspace_dependencies_point_one_way() {
        assert_clean("dependency direction");
    }

    #[test]
    fn workspace_folders_import_one_way() {
        assert_clean("imports between folders");
    }

    #[test]
    fn workspace_leaves_stay_pure() {
        assert_clean("forbidden dependencies");
    }

    #[test]
    fn workspace_and_fuzzing_are_built_apart() {
        assert_clean("what fuzzing alone has, and has not");
    }

    #[test]
    fn workspace_dependencies_have_reasons() {
        assert_clean("reasons of dependencies");
    }

    #[test]
    fn workspace_runs_are_repeatable() {
        assert_clean("lint of repeatable runs");
    }

    #[test]
    fn workspace_modules_have_headers() {
        assert_clean("module headers");
    }

    #[test]
    fn workspace_has_no_unfinished_work() {
        assert_clean("unfinished work");
    }

    #[test]
    fn workspace_has_no_trailing_space() {
        assert_clean("trailing white space");
    }

    #[test]
    fn workspace_files_are_short() {
        assert_clean("file length");
    }

    #[test]
    fn workspace_words_stay_in_their_crate() {
        assert_clean("words that belong to another crate");
    }

    #[test]
    fn text_files_built_ones_are_skipped() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "src/a.rs",
            "src/a.bin",
            "target/b.rs",
            "t/CACHEDIR.TAG",
            "t/c.rs",
            "node_modules/d.js",
            ".ci/run",
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = text_files(root.path()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(root.path()).unwrap())
            .collect();
        assert_eq!(found, [Path::new(".ci/run"), Path::new("src/a.rs")]);
    }
}
