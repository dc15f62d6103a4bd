//! Creates Python environments below the target directory, each from a file of pinned requirements.

use crate::install;
use crate::process::{run, run_and_keep};
use crate::report::{Counts, pytest_counts};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Creates an environment, unless it exists, is complete and has the same requirements.
pub fn environment(
    directory: &Path,
    requirements: &Path,
    make: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let wanted = std::fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    // The stamp is written last, so that an interrupted creation leaves none.
    let stamp = directory.join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    println!("-- making {}", directory.display());
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    make(directory)?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

/// An environment of the installed Python 3 with these requirements, from wheels alone.
pub fn environment_of(directory: &Path, requirements: &Path) -> Result<()> {
    environment(directory, requirements, |directory| {
        new_venv(directory)?;
        let only_wheels = ["install", "--only-binary", ":all:", "--requirement"];
        run(pip(directory, &only_wheels).arg(requirements))
    })
    .with_context(|| {
        format!(
            "the packages of {} cannot be installed",
            requirements.display()
        )
    })
}

/// Runs the pytest files of a directory against a server.
pub fn pytest(environment: &Path, directory: &Path, server: &Path) -> Result<Counts> {
    let mut tests = Command::new(environment.join("bin/python"));
    tests.args(["-B", "-m", "pytest", "-q", "--tb=short"]);
    tests.args(["-p", "no:cacheprovider", "."]);
    tests.current_dir(directory);
    tests.env("SERVER_BIN", server);
    // Colour codes would get into the line that is parsed.
    tests.env("PY_COLORS", "0");
    let (status, output) = run_and_keep(&mut tests)?;
    let counts = pytest_counts(&output);
    let note = output.lines().find_map(|line| line.strip_prefix(NOTE));
    let note = note.map(str::to_owned).or(counts.note.clone());
    Counts { note, ..counts }.judged("pytest", status.success())
}

/// What a test says for the summary begins with this.
const NOTE: &str = "note: ";

/// An empty environment of the installed Python 3.
pub fn new_venv(directory: &Path) -> Result<()> {
    let python = install::python3()?;
    run(Command::new(python)
        .args(["-m", "venv", "--clear"])
        .arg(directory))
}

/// The pip command of an environment.
pub fn pip(environment: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(environment.join("bin/python"));
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    command.args(arguments);
    // Python 2.7's pip prints a long warning that it is out of date.
    command
        .env("PYTHONWARNINGS", "ignore")
        .env("PIP_NO_PYTHON_VERSION_WARNING", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::cell::Cell;

    #[test]
    fn environment_is_made_again_only_when_requirements_change() {
        let home = tempfile::tempdir().unwrap();
        let (directory, requirements) = (home.path().join("venv"), home.path().join("pins.txt"));
        let made = Cell::new(0);
        let ensure = || {
            let make = |directory: &Path| {
                made.set(made.get() + 1);
                Ok(std::fs::create_dir(directory)?)
            };
            environment(&directory, &requirements, make).unwrap();
            made.get()
        };
        std::fs::write(&requirements, "six==1.16.0").unwrap();
        assert_eq!((ensure(), ensure()), (1, 1));
        std::fs::write(&requirements, "six==1.17.0").unwrap();
        assert_eq!((ensure(), ensure()), (2, 2));
    }

    #[test]
    fn environment_interrupted_make_is_not_taken_for_done() {
        let home = tempfile::tempdir().unwrap();
        let (directory, requirements) = (home.path().join("venv"), home.path().join("pins.txt"));
        std::fs::write(&requirements, "six==1.16.0").unwrap();
        let interrupted = |directory: &Path| {
            std::fs::create_dir(directory)?;
            bail!("no network")
        };
        assert!(environment(&directory, &requirements, interrupted).is_err());
        assert!(environment(&directory, &requirements, interrupted).is_err());
    }
}
