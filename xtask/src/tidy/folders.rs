//! Within a crate, imports run one way: each folder names only itself and what lies below it.

mod imports;

use super::Finding;
use anyhow::{Context, Result};
use imports::Import;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules of a crate from low to high. A module is a folder or a file directly below `source`,
/// written without `.rs`; those of one layer do not know each other.
struct Layering<'a> {
    source: &'a str,
    layers: &'a [&'a [&'a str]],
}

/// The layerings that are checked. `lib.rs` stands above all layers and is not listed.
const LAYERINGS: [Layering<'static>; 2] = [RUNTIME, SIMULATION];

const RUNTIME: Layering<'static> = Layering {
    source: "crates/runtime/src",
    layers: &[
        &["kernel"],
        &["clock"],
        &["ids"],
        &["end"],
        &["jitter"],
        &["turn"],
        &["admission"],
        &["config"],
        &["io"],
        &["observe"],
        &["memory"],
        &["encoding"],
        &["rooms"],
        &["out"],
        &["connection"],
        &["reactor"],
        &["process"],
    ],
};

const SIMULATION: Layering<'static> = Layering {
    source: "simulation/src",
    layers: &[
        &["world", "wire", "tls", "script", "watch"],
        &["particulars"],
        &["orders", "rules"],
        &["application", "settings", "client", "desk"],
        &["count", "homes"],
        &["run"],
        &["shrink"],
        &["main"],
    ],
};

/// The root module, which may import every other and which no other may import.
const ROOT: &str = "lib";

/// Test files, which may import anything.
const EXEMPT: [&str; 2] = ["tests.rs", "fixture.rs"];

/// Checks every layering whose folders exist, and prints which others are skipped.
pub fn direction(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for layering in &LAYERINGS {
        if layering.is_in_force(root) {
            findings.extend(layering.check(root)?);
        } else {
            let source = layering.source;
            println!(
                "{source}: the order of its folders is not in force, since none of them exists"
            );
        }
    }
    Ok(findings)
}

impl Layering<'_> {
    fn is_in_force(&self, root: &Path) -> bool {
        let source = root.join(self.source);
        self.modules().any(|module| source.join(module).is_dir())
    }

    fn check(&self, root: &Path) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut seen = BTreeSet::new();
        let source = root.join(self.source);
        for path in rust_files(&source)? {
            let inside = path.strip_prefix(&source)?;
            let place = format!("{}/{}", self.source, inside.display());
            let module = top_module(inside);
            if EXEMPT.iter().any(|name| inside.ends_with(name)) {
                continue;
            }
            let is_new = seen.insert(module.clone());
            if self.rank(&module).is_none() {
                if is_new {
                    let message = "has no layer: give it one in xtask/src/tidy/folders.rs";
                    findings.push(Finding::of(&place, format!("`{module}` {message}")));
                }
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(|| place.clone())?;
            let imports = imports::of(&text, depth(inside));
            findings.extend(
                imports
                    .iter()
                    .filter_map(|import| self.judge(&place, &module, import)),
            );
        }
        let missing = self.modules().filter(|module| !seen.contains(*module));
        findings.extend(missing.map(|module| {
            Finding::of(
                self.source,
                format!("has no `{module}`: take it out of xtask/src/tidy/folders.rs"),
            )
        }));
        Ok(findings)
    }

    /// A finding, unless the import stays in its module or points to a lower layer.
    fn judge(&self, place: &str, module: &str, import: &Import) -> Option<Finding> {
        let own = self.rank(module)?;
        let target = import.target.as_str();
        if target == module || self.rank(target).is_some_and(|rank| rank < own) {
            return None;
        }
        let what = match self.rank(target) {
            Some(rank) if rank == own => "which is beside it",
            Some(_) => "which lies above it",
            None if module == ROOT => return None,
            None => "which is no module of a layer: name the module that it comes from",
        };
        let allowed = match self.below(own) {
            below if below.is_empty() => "nothing of this crate".to_owned(),
            below => below.join(", "),
        };
        let message =
            format!("`{module}` imports `crate::{target}`, {what}; it may import {allowed}");
        Some(Finding::at(place, import.line, message))
    }

    fn modules(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().flat_map(|layer| layer.iter().copied())
    }

    /// The layer's number: the lowest is 0, and the root is above all.
    fn rank(&self, module: &str) -> Option<usize> {
        if module == ROOT {
            return Some(self.layers.len());
        }
        self.layers.iter().position(|layer| layer.contains(&module))
    }

    fn below(&self, rank: usize) -> Vec<&str> {
        let layers = self.layers[..rank].iter();
        layers.flat_map(|layer| layer.iter().copied()).collect()
    }
}

/// The folder or file directly below the crate's source that holds this file.
fn top_module(inside: &Path) -> String {
    let first = inside.iter().next().unwrap_or_default().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// How many modules deep the file's own module lies: 0 for the root, 1 for `io.rs` and `io/mod.rs`.
fn depth(inside: &Path) -> usize {
    let is_own = |name: &&std::ffi::OsStr| *name != "mod.rs" && *name != "lib.rs";
    inside.iter().filter(is_own).count()
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = directory
        .read_dir()
        .with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Layering<'static> = Layering {
        source: "src",
        layers: &[&["time"], &["config", "end"], &["io"], &["rooms"]],
    };

    /// Checks a crate with these files; all modules without a file here exist and import nothing.
    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let whole = [
            "lib.rs",
            "time/ids.rs",
            "config.rs",
            "end.rs",
            "io/socket.rs",
            "rooms/log.rs",
        ];
        for (file, text) in whole
            .iter()
            .map(|file| (*file, ""))
            .chain(files.iter().copied())
        {
            let path = root.path().join("src").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert!(SMALL.is_in_force(root.path()));
        let findings = SMALL.check(root.path()).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn direction_downwards_and_within_a_folder_is_clean() {
        let files = [
            (
                "lib.rs",
                "mod io;\npub use crate::rooms::Log;\npub use end::End;\nuse crate::Own;\n",
            ),
            (
                "rooms/log.rs",
                "use crate::{config::Config, io::{self, Socket}, time};\n",
            ),
            (
                "rooms/order.rs",
                "use crate::rooms::log;\nuse super::log::Log;\n",
            ),
            ("rooms.rs", "mod log;\nuse self::log::Log;\n"),
            (
                "io/socket.rs",
                "fn now() -> crate::time::Now { crate::end::now() }\n",
            ),
        ];
        assert_eq!(findings(&files), [""; 0]);
    }

    #[test]
    fn direction_upwards_is_found_with_its_line_and_what_is_allowed() {
        let found = findings(&[(
            "io/socket.rs",
            "use crate::end::End;\n\nuse crate::rooms::Log;\n",
        )]);
        let message = "src/io/socket.rs:3: `io` imports `crate::rooms`, which lies above it; \
            it may import time, config, end";
        assert_eq!(found, [message]);
    }

    #[test]
    fn direction_circle_is_found_where_it_turns_upwards() {
        let files = [
            ("rooms/log.rs", "use crate::io::Socket;\n"),
            ("io/socket.rs", "fn log() { crate::rooms::log() }\n"),
        ];
        let found = findings(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("src/io/socket.rs:1: `io` imports `crate::rooms`"),
            "{found:?}"
        );
    }

    #[test]
    fn direction_every_way_of_writing_an_import_is_found() {
        for text in [
            "use crate::{time::Now, rooms};",
            "use crate::{\n    time,\n    rooms::{self, Log},\n};",
            "pub(crate) use crate::rooms as other;",
            "fn f(log: &crate::rooms::Log) {}",
            "use super::super::rooms::Log;",
            "mod inner {\n    use super::super::super::rooms;\n}",
            "use ::{a};\n#[cfg(not(test))]\nmod x { use crate::rooms; }",
            "#[cfg(test)]\nuse crate::rooms;\nuse crate::rooms::Log;",
            "#[cfg(test)]\nmod tests { fn f() { '}'; \"}\"; } }\nuse crate::rooms;",
            "const A: &str = r#\"\"\"#;\nuse crate::rooms;",
        ] {
            let found = findings(&[("io/socket.rs", text)]);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
        }
    }

    #[test]
    fn direction_beside_and_through_the_root_is_found() {
        let beside = findings(&[("config.rs", "use crate::end::End;\n")]);
        assert!(
            beside[0].contains("`crate::end`, which is beside it"),
            "{beside:?}"
        );
        let lowest = findings(&[("time/ids.rs", "use crate::config;\n")]);
        assert!(
            lowest[0].ends_with("it may import nothing of this crate"),
            "{lowest:?}"
        );
        let root = findings(&[("rooms/log.rs", "use crate::Exported;\nuse crate::*;\n")]);
        assert_eq!(root.len(), 2, "{root:?}");
        assert!(root[0].contains("no module of a layer"), "{root:?}");
    }

    #[test]
    fn direction_of_tests_comments_and_strings_is_free() {
        let files = [
            ("io/tests.rs", "use crate::rooms::Log;\n"),
            ("fixture.rs", "use crate::rooms::Log;\n"),
            (
                "io/socket.rs",
                "//! See [`Log`](crate::rooms::Log).\n/* crate::rooms /* crate::rooms */ crate::rooms */\n\
                 const A: &str = \"crate::rooms \\\" crate::rooms\";\nfn f<'a>(_: &'a u8) -> char { '\"' }\n\
                 #[cfg(test)]\nuse crate::rooms::{self};\n\
                 #[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use crate::rooms;\n}\n",
            ),
        ];
        assert_eq!(findings(&files), [""; 0]);
    }

    #[test]
    fn direction_module_without_a_layer_and_layer_without_a_module_are_found() {
        let found = findings(&[("jitter.rs", "")]);
        assert_eq!(
            found,
            ["src/jitter.rs: `jitter` has no layer: give it one in xtask/src/tidy/folders.rs"]
        );
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("src/io")).unwrap();
        let found = SMALL.check(root.path()).unwrap();
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(
            found[0].to_string().starts_with("src: has no `time`"),
            "{found:?}"
        );
    }

    #[test]
    fn direction_is_not_in_force_without_any_of_the_folders() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("src/other")).unwrap();
        std::fs::write(root.path().join("src/io.rs"), "").unwrap();
        assert!(!SMALL.is_in_force(root.path()));
        std::fs::create_dir(root.path().join("src/rooms")).unwrap();
        assert!(SMALL.is_in_force(root.path()));
    }
}
