//! `server config`: a file with every setting, and whether a file is good, without serving.

use std::{fs, process::Command};

use crate::{
    client::Client,
    harness::{Driver, Ended, Server, command, eventually, run},
};

on_both_drivers![file_that_was_printed_can_be_served_with];

fn config(words: &[&str]) -> Command {
    let mut command = command();
    command.arg("config").args(words);
    command
}

fn file_that_was_printed_can_be_served_with(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    let flags = ["--listen", "127.0.0.1:0", "--message-bytes-max", "5"];
    let mut print = config(&["print", "--driver", driver.name()]);
    print.args(flags).env("HUBBUB_LOG_LEVEL", "debug");
    let printed = run(print);
    assert_eq!(printed.status.code(), Some(0), "{}", printed.stderr);
    fs::write(&file, printed.stdout).unwrap();
    let file = file.to_str().unwrap();

    let checked = run(config(&["check", file]));
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    assert_eq!(checked.stdout, format!("{file} is good\n"));

    let mut command = command();
    command.args(["--config", file]);
    let server = Server::launch_quietly(command, &["--listen", "127.0.0.1:0"]);
    let mut client = Client::connect(&server, "/echo");
    client.send("small");
    assert_eq!(client.text(), "small");
    client.send("larger");
    assert_eq!(client.closed(), 1009);
    eventually("it is logged", || {
        server.log().contains("connection opened")
    });
}

#[test]
fn check_of_a_bad_file_is_refused_like_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    fs::write(&file, "rooms_max = 5\nping_intervall = \"5s\"\n").unwrap();
    let file = file.to_str().unwrap();
    let mut start = command();
    start.args(["--config", file]);
    let at_start = run(start);
    for (file, words) in [
        (file, &["line 2", "did you mean ping_interval"][..]),
        ("/nowhere/hubbub.toml", &["cannot be read"]),
    ] {
        let Ended {
            status,
            stdout,
            stderr,
        } = run(config(&["check", file]));
        assert_eq!(status.code(), Some(2), "{stderr}");
        assert_eq!(stdout, "");
        for word in words {
            assert!(stderr.contains(word), "{word} is not in {stderr}");
        }
    }
    assert_eq!(at_start.status.code(), Some(2));
    assert_eq!(run(config(&["check", file])).stderr, at_start.stderr);
}

#[test]
fn check_of_a_risky_file_warns() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    fs::write(&file, "allow_origin = [\"*\"]\n").unwrap();
    let checked = run(config(&["check", file.to_str().unwrap()]));
    assert_eq!(checked.status.code(), Some(0));
    assert!(
        checked.stderr.contains("every page on the web"),
        "{}",
        checked.stderr
    );
}

#[test]
fn command_that_is_wrong_is_refused_and_help_explains_the_right_ones() {
    for words in [
        &["prnt"][..],
        &["check"],
        &["print", "--rooms-max", "0"],
        &[],
    ] {
        let ended = run(config(words));
        assert_eq!(ended.status.code(), Some(2), "{words:?}: {}", ended.stdout);
        assert_eq!(ended.stdout, "");
    }
    for words in [&["--help"][..], &["config", "--help"]] {
        let mut command = command();
        command.args(words);
        let help = run(command);
        assert_eq!(help.status.code(), Some(0));
        for word in ["config", "print", "check"] {
            assert!(
                help.stdout.contains(word),
                "{word} is not in {}",
                help.stdout
            );
        }
    }
}
