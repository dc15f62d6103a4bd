//! A copy of the sources that the simulation is built from, in which faults can be planted.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the simulation is built from, from the root of the workspace.
const COPIED: [&str; 4] = ["crates/codec", "crates/hub", "crates/runtime", "simulation"];

/// The manifest that the copied crates inherit from.
const MANIFEST: &str = "Cargo.toml";

/// The files' contents by their path from the root of the workspace.
pub type Sources = BTreeMap<String, Vec<u8>>;

/// Reads what the simulation is built from.
pub fn read(root: &Path) -> Result<Sources> {
    let mut sources = Sources::new();
    for directory in COPIED {
        for path in files(&root.join(directory))? {
            let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            sources.insert(name, content);
        }
    }
    let manifest = std::fs::read_to_string(root.join(MANIFEST))?;
    let manifest = of_crates_alone(&manifest)?.into_bytes();
    sources.insert(MANIFEST.to_owned(), manifest);
    Ok(sources)
}

/// Writes the files that differ and removes the files that are no longer there, so that cargo
/// rebuilds what has changed and nothing else.
pub fn write(sources: &Sources, tree: &Path) -> Result<()> {
    std::fs::create_dir_all(tree)?;
    for path in files(tree)? {
        let name = path.strip_prefix(tree)?.to_string_lossy();
        if !sources.contains_key(&*name) {
            std::fs::remove_file(&path)?;
        }
    }
    for (name, content) in sources {
        let path = tree.join(name);
        if std::fs::read(&path).is_ok_and(|written| written == *content) {
            continue;
        }
        let directory = path.parent().context("a source lies in a directory")?;
        std::fs::create_dir_all(directory)?;
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The workspace's manifest without the members that are not copied.
fn of_crates_alone(manifest: &str) -> Result<String> {
    let starts = |line: &&str| line.starts_with("members = [") && line.ends_with(']');
    let members = manifest.lines().find(starts);
    let members = members.context("Cargo.toml does not name its members in one line")?;
    Ok(manifest.replacen(members, "members = [\"crates/*\"]", 1))
}

/// The files below a directory, without those that are built.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = directory.read_dir();
    for entry in entries.with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path)?);
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_is_written_where_it_differs_alone() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("planted");
        let of = |pairs: &[(&str, &str)]| -> Sources {
            let owned = |(name, text): &(&str, &str)| (name.to_string(), text.as_bytes().to_vec());
            pairs.iter().map(owned).collect()
        };
        write(
            &of(&[("src/a.rs", "a"), ("b/b.rs", "b"), ("c.rs", "c")]),
            &tree,
        )
        .unwrap();
        let written_at = |name: &str| tree.join(name).metadata().unwrap().modified().unwrap();
        let before = written_at("src/a.rs");
        std::thread::sleep(std::time::Duration::from_millis(50));
        write(&of(&[("src/a.rs", "a"), ("c.rs", "changed")]), &tree).unwrap();
        assert_eq!(written_at("src/a.rs"), before);
        assert_eq!(
            std::fs::read_to_string(tree.join("c.rs")).unwrap(),
            "changed"
        );
        assert!(!tree.join("b/b.rs").exists());
    }

    #[test]
    fn manifest_of_the_copy_has_the_crates_alone() {
        let manifest = "[workspace]\nmembers = [\"crates/*\", \"xtask\"]\ndefault-members = []\n";
        let expected = "[workspace]\nmembers = [\"crates/*\"]\ndefault-members = []\n";
        assert_eq!(of_crates_alone(manifest).unwrap(), expected);
        assert!(of_crates_alone("[workspace]\ndefault-members = [\"a\"]\n").is_err());
    }

    #[test]
    fn sources_of_the_workspace_are_whole() {
        let sources = read(crate::workspace::root()).unwrap();
        for name in [
            "Cargo.toml",
            "crates/hub/Cargo.toml",
            "simulation/src/main.rs",
        ] {
            assert!(sources.contains_key(name), "{name}");
        }
        assert!(sources.keys().all(|name| !name.contains("/target/")));
    }
}
