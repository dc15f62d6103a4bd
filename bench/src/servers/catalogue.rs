//! The servers of the comparison.

use super::{Origin, Server, Start};
use crate::load::backend::Page;
use crate::load::wire::Framing;
use anyhow::{Context as _, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The paths of programs and scripts.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Hubbub's program.
    pub server: PathBuf,
    /// Another build of Hubbub, for comparison.
    pub before: Option<PathBuf>,
    /// The program of the epoll version.
    pub epoll: PathBuf,
    /// The program of the epoll version in C.
    pub epoll_c: PathBuf,
    /// The server whose connections are in many rooms.
    pub many_rooms: PathBuf,
    /// This program, which contains the floor.
    pub bench: PathBuf,
    /// The directory `bench/peers`.
    pub peers: PathBuf,
    /// The target directory, which holds the results unless another directory is given.
    pub target: PathBuf,
    /// The root of the workspace.
    root: PathBuf,
}

/// Programs that are taken in place of those that are built here.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Hubbub.
    pub server: Option<PathBuf>,
    /// An earlier build of Hubbub: a program or the directory that it lies in.
    pub before: Option<PathBuf>,
    /// The epoll version.
    pub epoll: Option<PathBuf>,
    /// The server whose connections are in many rooms.
    pub many_rooms: Option<PathBuf>,
}

impl Binaries {
    /// Asks cargo for the paths that are not given.
    pub fn find(named: Named) -> Result<Self> {
        let Named {
            server,
            before,
            epoll,
            many_rooms,
        } = named;
        let (root, target) = workspace()?;
        let release = target.join("release");
        Ok(Self {
            server: server.map_or_else(|| release.join("hubbub"), |it| program_of_build(&it)),
            before: before.map(|it| program_of_build(&it)),
            epoll: epoll.unwrap_or_else(|| release.join("bench-epoll")),
            many_rooms: many_rooms.unwrap_or_else(|| release.join("bench-many-rooms")),
            epoll_c: release.join("bench-epoll-c"),
            bench: std::env::current_exe().context("cannot find this program's own file")?,
            peers: root.join("bench/peers"),
            target,
            root,
        })
    }

    /// Builds our own programs that these servers need, in cargo's target directory.
    pub fn build(&self, servers: &[Server]) -> Result<()> {
        let release = self.target.join("release");
        let programs = [
            ("server", &self.server),
            ("bench-epoll", &self.epoll),
            ("bench-many-rooms", &self.many_rooms),
        ];
        for (package, program) in programs {
            if is_needed(servers, program) && program.parent() == Some(&release) {
                cargo_build(&self.root, package)?;
            }
        }
        Ok(())
    }

    /// Builds the epoll version in C, if these servers need it. Without a compiler, an earlier
    /// build is removed, so that the version is skipped rather than measured out of date.
    pub fn compile(&self, servers: &[Server]) -> Result<()> {
        if is_needed(servers, &self.epoll_c) && !compile_c(&self.root, &self.epoll_c)? {
            eprintln!("there is no C compiler (cc), without which epoll-c cannot be built");
            let _ = std::fs::remove_file(&self.epoll_c);
        }
        Ok(())
    }
}

fn is_needed(servers: &[Server], wanted: &Path) -> bool {
    servers
        .iter()
        .any(|server| matches!(&server.start, Start::Program { program, .. } if program == wanted))
}

/// Hubbub's program in a directory of builds, under its present name or its former one. A path that
/// is not a directory is the program itself.
fn program_of_build(path: &Path) -> PathBuf {
    let names = ["hubbub", "server"].map(|name| path.join(name));
    let found = names.into_iter().find(|program| program.is_file());
    found.unwrap_or_else(|| path.to_owned())
}

/// Builds the epoll version in C. It takes a second, so it is done in each run. Returns whether
/// there is a compiler.
pub fn compile_c(root: &Path, program: &Path) -> Result<bool> {
    let sources = root.join("bench/epoll-c");
    if let Some(directory) = program.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let status = Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(program)
        .args(["server.c", "protocol.c"].map(|file| sources.join(file)))
        .status();
    match status {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("cannot run cc"),
        Ok(status) => {
            anyhow::ensure!(status.success(), "cc cannot build {}", sources.display());
            Ok(true)
        }
    }
}

fn workspace() -> Result<(PathBuf, PathBuf)> {
    let output = Command::new("cargo")
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--manifest-path",
        ])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .context("cannot run cargo, which says where the workspace is")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })?;
    let path = |key: &str| {
        let path = metadata[key].as_str().map(PathBuf::from);
        path.with_context(|| format!("cargo metadata does not tell `{key}`"))
    };
    Ok((path("workspace_root")?, path("target_directory")?))
}

fn cargo_build(root: &Path, package: &str) -> Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--package", package])
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    anyhow::ensure!(
        status.success(),
        "cannot build {package}: mend it, or use what is built with --no-build"
    );
    Ok(())
}

/// All servers. One that is not installed is reported when it is started.
#[must_use]
pub fn catalogue(binaries: &Binaries) -> Vec<Server> {
    let mut all = ours(binaries);
    all.extend(peers(binaries));
    all.extend(floors(binaries));
    all
}

fn program(program: &Path, arguments: &[&str]) -> Start {
    Start::Program {
        program: program.to_owned(),
        arguments: arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect(),
    }
}

fn server(name: &str, about: &str, origin: Origin, start: Start) -> Server {
    Server {
        name: name.to_owned(),
        about: about.to_owned(),
        origin,
        start,
        framing: Framing::WebSocket,
        echo: true,
        rooms_max: usize::MAX,
        takes_commands: false,
        shares_rooms: false,
        tls: false,
        compression: false,
        sdk: false,
        passes_over: false,
        api: false,
        asks: false,
        pages: &[],
    }
}

/// Hubbub's pages of health and metrics.
pub const PAGES: &[(Page, &str)] = &[
    (Page::Health, "/healthz"),
    (Page::Ready, "/readyz"),
    (Page::Metrics, "/metrics"),
];

const CENTRIFUGO_PAGES: &[(Page, &str)] = &[(Page::Health, "/health"), (Page::Metrics, "/metrics")];

const DRIVERS: [&str; 2] = ["io_uring", "epoll"];

fn ours(binaries: &Binaries) -> Vec<Server> {
    let hubbub = |binary: &Path, driver: &str, suffix: &str| {
        let arguments = [
            "--listen",
            "127.0.0.1:{port}",
            "--cores",
            "{threads}",
            "--driver",
            driver,
        ];
        let quiet = ["--log-level", "warn", "--internal-listen", "{internal}"];
        let arguments = [&arguments[..], &quiet].concat();
        let name = match driver {
            "epoll" => format!("hubbub-epoll{suffix}"),
            _ => format!("hubbub{suffix}"),
        };
        let about = format!("Hubbub on monoio's {driver} driver");
        let start = program(binary, &arguments);
        Server {
            shares_rooms: true,
            tls: true,
            compression: true,
            sdk: true,
            passes_over: true,
            api: true,
            asks: true,
            pages: PAGES,
            ..server(&name, &about, Origin::Hubbub, start)
        }
    };
    let epoll = |name: &str, about: &str, coalesce: &str| {
        let arguments = [
            "--listen",
            "127.0.0.1:{port}",
            "--threads",
            "{threads}",
            "--coalesce",
        ];
        let arguments = [&arguments[..], &[coalesce]].concat();
        let start = program(&binaries.epoll, &arguments);
        server(name, about, Origin::Baseline, start)
    };
    let both = |binary, suffix| DRIVERS.map(|driver| hubbub(binary, driver, suffix));
    let mut ours = Vec::from(both(&binaries.server, ""));
    ours.extend(binaries.before.iter().flat_map(|it| both(it, "-before")));
    ours.extend(DRIVERS.map(|driver| many_rooms(binaries, driver)));
    ours.extend([
        epoll(
            "epoll",
            "the epoll version, one send for each socket and turn",
            "true",
        ),
        epoll(
            "epoll-plain",
            "the epoll version, one send for each message",
            "false",
        ),
        server(
            "epoll-c",
            "the epoll version in C, one send for each socket and turn",
            Origin::Baseline,
            program(&binaries.epoll_c, &["--listen", "127.0.0.1:{port}"]),
        ),
    ]);
    ours
}

fn many_rooms(binaries: &Binaries, driver: &str) -> Server {
    let arguments = [
        "--listen",
        "127.0.0.1:{port}",
        "--cores",
        "{threads}",
        "--driver",
        driver,
    ];
    let name = match driver {
        "epoll" => "hubbub-rooms-epoll",
        _ => "hubbub-rooms",
    };
    let about = format!("Hubbub's runtime on the {driver} driver, told by commands what to join");
    let start = program(&binaries.many_rooms, &arguments);
    Server {
        echo: false,
        takes_commands: true,
        shares_rooms: true,
        ..server(name, &about, Origin::Hubbub, start)
    }
}

fn peers(binaries: &Binaries) -> Vec<Server> {
    let peer = |name: &str, about: &str| {
        let start = Start::Peer {
            scripts: binaries.peers.clone(),
        };
        server(name, about, Origin::Peer, start)
    };
    vec![
        Server {
            tls: true,
            compression: true,
            ..peer("bun", "Bun (uWebSockets inside)")
        },
        Server {
            tls: true,
            compression: true,
            ..peer("ws", "npm ws on Node")
        },
        Server {
            echo: false,
            ..peer("nchan", "nginx with nchan; rooms only")
        },
        Server {
            echo: false,
            rooms_max: 0,
            sdk: true,
            api: true,
            asks: true,
            pages: CENTRIFUGO_PAGES,
            ..peer("centrifugo", "Centrifugo, Go; the Centrifuge protocol only")
        },
        peer("libwebsockets", "libwebsockets, C"),
        peer(
            "fastwebsockets",
            "the crate fastwebsockets, on one tokio thread",
        ),
        peer(
            "tokio-tungstenite",
            "the crate tokio-tungstenite, on one tokio thread",
        ),
    ]
}

fn floors(binaries: &Binaries) -> Vec<Server> {
    let floor = |name: &str, about: &str, mode: &str, echo: bool| {
        let arguments = ["floor", "--mode", mode, "--listen", "127.0.0.1:{port}"];
        let start = program(&binaries.bench, &arguments);
        Server {
            framing: Framing::Raw,
            echo,
            rooms_max: usize::from(!echo),
            ..server(name, about, Origin::Floor, start)
        }
    };
    vec![
        floor(
            "floor-echo",
            "raw TCP: what is received is sent back, epoll",
            "echo",
            true,
        ),
        floor(
            "floor-send",
            "raw TCP: one send() for each socket in a loop",
            "send",
            false,
        ),
        floor(
            "floor-uring",
            "raw TCP: one io_uring send for each socket, in batches",
            "uring",
            false,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_is_found_by_either_name_and_as_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(program_of_build(path), path);
        std::fs::write(path.join("server"), "").unwrap();
        assert_eq!(program_of_build(path), path.join("server"));
        std::fs::write(path.join("hubbub"), "").unwrap();
        assert_eq!(program_of_build(path), path.join("hubbub"));
        let other = path.join("server");
        assert_eq!(program_of_build(&other), other);
    }

    #[test]
    fn c_version_is_compiled_and_says_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("new/bench-epoll-c");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(compile_c(&root, &program).unwrap());
        let output = Command::new(&program).arg("--version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("bench-epoll-c, compiler "), "{text}");
    }
}
