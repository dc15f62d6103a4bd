//! A kernel that refuses io_uring: `auto` runs on epoll and says so, `io_uring` does not start.

use std::{collections::BTreeMap, env, os::unix::process::CommandExt, process::Command};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::{
    client::serves,
    harness::{Server, command, eventually, run},
};

/// This number is the same on all architectures.
const IO_URING_SETUP: i64 = 425;

/// The errors of io_uring_setup, as container profiles return them, and kernels without io_uring.
const ERRNOS: [(&str, &str); 2] = [("1", "not permitted"), ("38", "not implemented")];

/// This variable is set if this program is to become a server without io_uring.
const ERRNO: &str = "IO_URING_SETUP_ERRNO";

/// The server in a process that may not use io_uring. Only a process itself can give up a right
/// without unsafe code, so this program runs again, with the launcher below.
fn without_io_uring(errno: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env_clear().env(ERRNO, errno);
    let launcher = "fallback::launcher_becomes_a_server_without_io_uring";
    command.args(["--ignored", "--exact", launcher, "--nocapture", "--"]);
    command
}

#[test]
#[ignore = "for the tests beside it, in a process of its own"]
fn launcher_becomes_a_server_without_io_uring() {
    let Ok(errno) = env::var(ERRNO) else { return };
    let refuse = SeccompAction::Errno(errno.parse().unwrap());
    let rules = BTreeMap::from([(IO_URING_SETUP, Vec::new())]);
    let here = env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, here).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    let flags = env::args().skip_while(|arg| arg != "--").skip(1);
    panic!("not started: {}", command().args(flags).exec());
}

#[test]
fn auto_without_io_uring_runs_on_epoll_and_says_so() {
    for (errno, reason) in ERRNOS {
        let flags = ["--driver", "auto", "--cores", "2"];
        let server = Server::launch(without_io_uring(errno), &flags);
        let line = &server.start_lines[0];
        assert!(line.contains("driver: epoll"), "{line}");
        assert!(line.contains("io_uring is not available"), "{line}");
        assert!(line.contains(reason), "{line}");
        eventually("the log tells it too", || {
            server
                .log()
                .contains("INFO hubbub: io_uring is not available")
        });
        assert!(serves(&server));
    }
}

#[test]
fn auto_with_io_uring_runs_on_it() {
    let server = Server::launch(command(), &["--driver", "auto"]);
    let line = &server.start_lines[0];
    assert!(line.ends_with("driver: io_uring)"), "{line}");
}

#[test]
fn io_uring_without_io_uring_is_an_error_that_says_why() {
    for (errno, reason) in ERRNOS {
        let mut command = without_io_uring(errno);
        command.args(["--driver", "io_uring", "--listen", "127.0.0.1:0"]);
        let ended = run(command);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        assert!(!ended.stdout.contains("listens"), "{}", ended.stdout);
        assert!(ended.stderr.contains("error: "), "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    }
}
