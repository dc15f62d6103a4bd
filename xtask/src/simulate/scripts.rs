//! Runs the scripts that are kept, each of which once showed a fault.

use super::planted::files_of;
use super::program::Program;
use crate::report::Counts;
use crate::workspace::root;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Runs each script of `simulation/scripts`; each counts as one test.
pub fn run(program: &Program) -> Result<Counts> {
    let scripts = kept(&root().join("simulation/scripts"))?;
    let mut counts = Counts::default();
    for script in &scripts {
        let name = script.strip_prefix(root()).unwrap_or(script).display();
        let log = program.file("script", "log");
        let mut command = program.command();
        command.arg("script").arg(script);
        match crate::process::run_into(&mut command, &log)?.success() {
            true => counts.passed += 1,
            false => {
                let said = std::fs::read_to_string(&log)?;
                counts.failed += 1;
                counts.failures.push(format!("{name}: {}", said.trim()));
                println!("{name}: {}", said.trim());
            }
        }
    }
    println!(
        "-- {} of {} kept scripts pass",
        counts.passed,
        scripts.len()
    );
    Ok(counts)
}

/// The scripts in the order of their names; none as long as there is no directory for them.
fn kept(directory: &Path) -> Result<Vec<PathBuf>> {
    match directory.try_exists().context("simulation/scripts")? {
        true => files_of(directory, "script"),
        false => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_scripts_are_those_with_their_ending() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.script", "a.script", "README.md"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let found = kept(directory.path()).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.script", "b.script"]);
        assert!(kept(&directory.path().join("none")).unwrap().is_empty());
    }
}
