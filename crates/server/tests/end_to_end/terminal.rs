//! Subcommands run as at a terminal: with arguments, an environment and standard input.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
};

use crate::harness::{Ended, program};

/// Runs a subcommand without an environment.
pub fn hubbub(words: &[&str]) -> Ended {
    hubbub_with(words, &[], "")
}

/// Runs a subcommand with these variables and this text on standard input.
pub fn hubbub_with(words: &[&str], variables: &[(&str, &str)], input: &str) -> Ended {
    let mut command = Command::new(program());
    command.env_clear().args(words);
    command.envs(variables.iter().copied());
    piped(command, input)
}

/// Runs a program with this text on standard input.
pub fn piped(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end without having read all of it.
    let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What a subcommand prints that does what it is to do.
#[track_caller]
pub fn done(ended: Ended) -> String {
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    ended.stdout
}

/// Each command line is refused with this exit code and these words, and prints nothing.
#[track_caller]
pub fn check_refused(lines: &[(&[&str], i32, &[&str])]) {
    for (words, code, parts) in lines {
        let Ended {
            status,
            stdout,
            stderr,
        } = hubbub(words);
        assert_eq!(status.code(), Some(*code), "{words:?}: {stderr}");
        assert_eq!(stdout, "", "{words:?}");
        for part in *parts {
            assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
        }
    }
}
