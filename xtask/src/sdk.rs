//! Runs unmodified SDKs of the Centrifuge protocol against an optimised server (`tests/sdk`).

use crate::process::{run, run_and_keep};
use crate::python::{environment_of, pytest};
use crate::report::{Counts, go_counts, libtest_counts, maven_counts, node_counts};
use crate::{
    install,
    workspace::{self, Optimised},
};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The SDK of one language: runs its tests against a server.
struct Sdk {
    language: &'static str,
    run: fn(&Path) -> Result<Counts>,
}

/// The SDKs whose languages every machine has, or gets.
const ALWAYS: [Sdk; 2] = [
    Sdk {
        language: "JavaScript",
        run: javascript,
    },
    Sdk {
        language: "Python",
        run: python,
    },
];

/// The SDK that takes minutes to build.
const RUST: Sdk = Sdk {
    language: "Rust",
    run: rust,
};

/// Runs the tests of all SDKs, with `is_full` also of the one that takes minutes to build and of those whose
/// toolchains are used where they are installed.
pub fn step(server: Optimised, is_full: bool) -> Result<Counts> {
    let server = workspace::server(server)?;
    let mut all = Counts::default();
    let mut told = Vec::new();
    for sdk in ALWAYS.into_iter().chain(is_full.then_some(RUST)) {
        println!("-- {}", sdk.language);
        told.push(noted(sdk.language, (sdk.run)(&server), &mut all));
    }
    if is_full {
        for (language, toolchain, run) in [
            (
                "Go",
                install::go(),
                go as fn(&Path, &Path) -> Result<Counts>,
            ),
            ("Java", install::maven(), java),
        ] {
            println!("-- {language}");
            told.push(match toolchain {
                Some(toolchain) => noted(language, run(&toolchain, &server), &mut all),
                None => format!("{language} skipped: its toolchain is not installed"),
            });
        }
    }
    all.note = Some(told.join(", "));
    Ok(all)
}

/// Adds what the tests of an SDK came to, and says it in words.
fn noted(language: &str, counts: Result<Counts>, all: &mut Counts) -> String {
    let counts = counts.unwrap_or_else(|error| {
        println!("{language}: {error:#}");
        Counts {
            failures: vec![format!("{language}: {error:#}")],
            ..Counts::of(0, 1)
        }
    });
    all.add(&counts);
    all.failures.extend(counts.failures);
    format!("{language} {}", counts.passed)
}

/// Installs what [`step`] needs.
pub fn tools() -> Result<()> {
    node_packages()?;
    python_environment().map(drop)
}

fn directory(of: &str) -> PathBuf {
    workspace::root().join("tests/sdk").join(of)
}

fn javascript(server: &Path) -> Result<Counts> {
    node_packages()?;
    let mut tests = Command::new("npm");
    tests.args(["test", "--silent", "--", "--test-reporter=tap"]);
    tests.current_dir(directory("node"));
    tests.env("SERVER_BIN", server);
    let (status, output) = run_and_keep(&mut tests)?;
    node_counts(&output).judged("npm test", status.success())
}

fn node_packages() -> Result<()> {
    if !directory("node").join("package-lock.json").exists() {
        bail!("tests/sdk/node has no package-lock.json: it must be in the repository");
    }
    install::node()?;
    let mut packages = Command::new("npm");
    packages.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    packages.current_dir(directory("node"));
    run(&mut packages).context("the packages of tests/sdk/node cannot be installed")
}

fn python(server: &Path) -> Result<Counts> {
    pytest(&python_environment()?, &directory("python"), server)
}

fn python_environment() -> Result<PathBuf> {
    let home = workspace::target_directory()?.join("sdk/python");
    let requirements = directory("python").join("requirements.txt");
    environment_of(&home, &requirements)?;
    Ok(home)
}

fn rust(server: &Path) -> Result<Counts> {
    let mut tests = workspace::cargo();
    tests.args(["test", "--locked", "--manifest-path"]);
    tests.arg(directory("rust").join("Cargo.toml"));
    tests.arg("--target-dir");
    tests.arg(workspace::target_directory()?.join("sdk/rust"));
    tests.env("SERVER_BIN", server);
    let (status, output) = run_and_keep(&mut tests)?;
    libtest_counts(&output).judged("cargo test", status.success())
}

fn go(go: &Path, server: &Path) -> Result<Counts> {
    let mut tests = Command::new(go);
    tests.args(["test", "-count=1", "-v", "./..."]);
    tests.current_dir(directory("go"));
    tests.env("SERVER_BIN", server);
    let (status, output) = run_and_keep(&mut tests)?;
    go_counts(&output).judged("go test", status.success())
}

fn java(maven: &Path, server: &Path) -> Result<Counts> {
    let mut tests = Command::new(maven);
    tests.args(["--batch-mode", "--no-transfer-progress", "test"]);
    tests.arg(format!(
        "-DbuildDirectory={}",
        workspace::target_directory()?.join("sdk/java").display()
    ));
    tests.current_dir(directory("java"));
    tests.env("SERVER_BIN", server);
    let (status, output) = run_and_keep(&mut tests)?;
    maven_counts(&output).judged("mvn test", status.success())
}
