//! Finds the programs that the tests need, and installs through apt those that are missing.

use crate::process::{answers, run};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Finds a Chromium that starts: `CHROMIUM`, otherwise one on PATH; otherwise installs one.
pub fn chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        let path = PathBuf::from(named);
        if !is_chromium(&path) {
            bail!("CHROMIUM={} does not start", path.display());
        }
        return Ok(path);
    }
    find_or_install(
        &["chromium", "chromium-browser", "google-chrome"],
        is_chromium,
        &["chromium"],
    )
    .context("the browser test needs Chromium: install it and set CHROMIUM to its path")
}

fn is_chromium(path: &Path) -> bool {
    answers(path, &["--version"], |version| version.contains("Chrom"))
}

/// OpenSSL's program. It is a client in the end-to-end tests, and makes the certificates of other
/// tests.
pub fn openssl() -> Result<PathBuf> {
    find_or_install(
        &["openssl"],
        |openssl| answers(openssl, &["version"], |_| true),
        &["openssl"],
    )
    .context("the tests need the program openssl")
}

/// Node.js 20 or later, which has a complete test runner, and npm.
pub fn node() -> Result<()> {
    find_or_install(&["node"], is_node, &["nodejs", "npm"])
        .context("the browser test needs Node.js 20 or later, with npm (nodejs.org has it where the distribution's is older)")?;
    find_or_install(
        &["npm"],
        |npm| answers(npm, &["--version"], |_| true),
        &["npm"],
    )
    .context("the browser test needs npm")?;
    Ok(())
}

fn is_node(path: &Path) -> bool {
    answers(path, &["--version"], |version| {
        node_major(version) >= Some(20)
    })
}

fn node_major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// A Python 3 that can create virtual environments with pip.
pub fn python3() -> Result<PathBuf> {
    let names = [
        "python3",
        "python3.13",
        "python3.12",
        "python3.11",
        "python3.10",
    ];
    find_or_install(&names, is_python3, &["python3", "python3-venv"])
        .context("the tests need Python 3.10 or later with its venv module")
}

fn is_python3(path: &Path) -> bool {
    // Debian's python3 package lacks `ensurepip`, which has a package of its own.
    let script = "import sys, venv, ensurepip; print(sys.version_info >= (3, 10))";
    answers(path, &["-c", script], |stdout| stdout.trim() == "True")
}

/// A Python 2.7, if there is one, from pyenv or on PATH. It cannot be installed from packages any
/// more.
pub fn python27() -> Option<PathBuf> {
    let mut candidates = pyenv_pythons();
    candidates.extend(on_path("python2.7"));
    candidates.extend(on_path("python2"));
    candidates.into_iter().find(|path| is_python27(path))
}

fn pyenv_pythons() -> Vec<PathBuf> {
    let root = match (std::env::var_os("PYENV_ROOT"), std::env::var_os("HOME")) {
        (Some(root), _) => PathBuf::from(root),
        (None, Some(home)) => Path::new(&home).join(".pyenv"),
        (None, None) => return Vec::new(),
    };
    let Ok(versions) = root.join("versions").read_dir() else {
        return Vec::new();
    };
    let mut pythons: Vec<_> = versions
        .flatten()
        .filter(|version| version.file_name().to_string_lossy().starts_with("2.7"))
        .map(|version| version.path().join("bin/python2.7"))
        .collect();
    pythons.sort();
    pythons
}

fn is_python27(path: &Path) -> bool {
    // pyenv puts a shim on PATH even for a version that is not selected, so the program must be
    // run.
    answers(
        path,
        &["-c", "import sys; print(sys.version_info[:2] == (2, 7))"],
        |stdout| stdout.trim() == "True",
    )
}

/// Prometheus' tool that checks rules and runs their tests.
pub fn promtool() -> Result<PathBuf> {
    find_or_install(
        &["promtool"],
        |promtool| answers(promtool, &["--version"], |_| true),
        &["prometheus"],
    )
    .context("the checks of deploy/ need promtool, which comes with Prometheus")
}

/// Prometheus, which scrapes a server under load in the checks.
pub fn prometheus() -> Result<PathBuf> {
    find_or_install(
        &["prometheus"],
        |prometheus| answers(prometheus, &["--version"], |_| true),
        &["prometheus"],
    )
    .context("the checks of deploy/ need Prometheus")
}

/// HAProxy, which checks the example configuration of a load balancer.
pub fn haproxy() -> Result<PathBuf> {
    find_or_install(
        &["haproxy"],
        |haproxy| answers(haproxy, &["-v"], |version| version.contains("HAProxy")),
        &["haproxy"],
    )
    .context("the checks of deploy/ need HAProxy")
}

/// nginx, as a proxy that people put before a server.
pub fn nginx() -> Result<PathBuf> {
    find_or_install(
        &["nginx"],
        |nginx| answers(nginx, &["-v"], |_| true),
        &["nginx-light"],
    )
    .context("the checks of deploy/ need nginx")
}

/// Go's toolchain, if it is installed.
pub fn go() -> Option<PathBuf> {
    on_path("go")
        .into_iter()
        .find(|go| answers(go, &["version"], |_| true))
}

/// Maven, with a JDK, if both are installed.
pub fn maven() -> Option<PathBuf> {
    on_path("mvn")
        .into_iter()
        .find(|maven| answers(maven, &["--version"], |_| true))
}

/// A C++ compiler, which builds libFuzzer.
pub fn cxx() -> Result<PathBuf> {
    find_or_install(
        &["c++", "g++", "clang++"],
        |compiler| answers(compiler, &["--version"], |_| true),
        &["g++"],
    )
    .context("fuzzing needs a C++ compiler")
}

/// Valgrind, whose callgrind counts instructions.
pub fn valgrind() -> Result<PathBuf> {
    find_or_install(
        &["valgrind"],
        |valgrind| answers(valgrind, &["--tool=callgrind", "--version"], |_| true),
        &["valgrind"],
    )
    .context("counting instructions needs valgrind")
}

fn find_or_install(
    names: &[&str],
    works: impl Fn(&Path) -> bool,
    packages: &[&str],
) -> Result<PathBuf> {
    let candidates = || names.iter().flat_map(|name| on_path(name));
    let find = || candidates().find(|path| works(path));
    if let Some(found) = find() {
        return Ok(found);
    }
    apt_install(packages)?;
    find().with_context(|| format!("apt installed {packages:?}, but none of {names:?} works"))
}

/// The files of this name in the directories of PATH, in their order, and where Debian puts
/// servers, which is not on the PATH of ordinary users.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let files = directories.map(|directory| directory.join(name));
    files.filter(|file| file.is_file()).collect()
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let remedy = || {
        format!(
            "install it by hand: `apt-get install {}`",
            packages.join(" ")
        )
    };
    println!("-- installing {}", packages.join(" "));
    run(apt()?.arg("update")).with_context(remedy)?;
    let mut install = apt()?;
    install.args(["install", "--yes", "--no-install-recommends"]);
    install.args(packages);
    run(&mut install).with_context(remedy)
}

/// `apt-get` as root, directly or through a sudo that needs no password.
fn apt() -> Result<Command> {
    let is_root = answers(Path::new("id"), &["-u"], |id| id.trim() == "0");
    let mut command = if is_root {
        Command::new("apt-get")
    } else if answers(Path::new("sudo"), &["-n", "true"], |_| true) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        sudo
    } else {
        bail!(
            "packages are missing, and neither root nor a sudo without password is there to install them"
        );
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_major_is_read_from_version() {
        assert_eq!(node_major("v20.20.2\n"), Some(20));
        assert!(node_major("v18.19.0") < Some(20));
        assert!(node_major("nonsense") < Some(20));
    }

    #[test]
    fn on_path_gives_whole_paths_of_files() {
        let found = on_path("sh");
        assert!(!found.is_empty());
        assert!(
            found
                .iter()
                .all(|path| path.is_absolute() && path.ends_with("sh"))
        );
        assert!(on_path("no-such-program-anywhere").is_empty());
    }

    #[test]
    fn is_python27_other_program_is_false() {
        assert!(!is_python27(Path::new("/bin/true")));
        assert!(!is_python27(Path::new("/no/such/python2.7")));
    }
}
