//! `hubbub config` prints a file with every setting, and checks a file without serving.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    client::Client,
    harness::{Driver, Ended, Server, command, eventually, program, run},
    tls_client::{Authority, Pair, text},
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
    for (origin, words) in [
        ("*", "every page on the web"),
        ("null", "any page in a sandbox"),
        ("file://", "any file"),
    ] {
        fs::write(&file, format!("allow_origin = [\"{origin}\"]\n")).unwrap();
        let Ended { status, stderr, .. } = run(config(&["check", file.to_str().unwrap()]));
        assert_eq!(status.code(), Some(0));
        assert!(stderr.contains(words), "{words} is not in {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

/// A file of settings that names this certificate and key, for the public addresses or for the
/// internal listener (`internal_`).
fn naming(authority: &Authority, listener: &str, cert: &Path, key: &Path, more: &str) -> PathBuf {
    let file = authority.file("hubbub.toml");
    let (cert, key) = (text(cert), text(key));
    let settings = format!(
        "listen = [\"127.0.0.1:0\"]\n{listener}tls_cert = \"{cert}\"\n{listener}tls_key = \"{key}\"\n"
    );
    fs::write(&file, settings + more).unwrap();
    file
}

fn without_log(mut command: Command) -> Command {
    command.env("HUBBUB_LOG_LEVEL", "off");
    command
}

/// The exit code and the text are those of a start, with these words; the file is not called good.
#[track_caller]
fn check_refused_like_a_start(file: &Path, words: &[&str]) {
    let mut start = command();
    start.args(["--config", text(file)]);
    let start = run(without_log(start));
    let checked = run(config(&["check", text(file)]));
    assert_eq!(checked.status.code(), Some(1), "{}", checked.stderr);
    assert_eq!(checked.status, start.status);
    assert_eq!(checked.stderr, start.stderr);
    assert_eq!(checked.stdout, "");
    for word in words {
        let stderr = &checked.stderr;
        assert!(stderr.contains(word), "{word} is not in {stderr}");
    }
}

#[test]
fn check_of_certificates_that_are_of_no_use_is_refused_like_a_start() {
    let authority = Authority::new();
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let missing = authority.file("missing.pem");
    let damaged = authority.file("damaged.pem");
    let garbage = |kind| format!("-----BEGIN {kind}-----\n!!!\n-----END {kind}-----\n");
    fs::write(&damaged, garbage("CERTIFICATE") + &garbage("PRIVATE KEY")).unwrap();
    let Pair { cert, key } = &one;
    for listener in ["", "internal_"] {
        let of_cert = format!("{listener}tls_cert (");
        let of_key = format!("{listener}tls_key (");
        for (cert, key, words) in [
            (
                &missing,
                key,
                [&of_cert, "cannot be read", "name an existing file"],
            ),
            (
                cert,
                &missing,
                [&of_key, "cannot be read", "name an existing file"],
            ),
            (&damaged, key, [&of_cert, "cannot be used", "PEM"]),
            (cert, &damaged, [&of_key, "cannot be used", "PEM"]),
            (
                cert,
                &other.key,
                [&of_key, "is not the key of", "two files"],
            ),
        ] {
            let file = naming(&authority, listener, cert, key, "");
            check_refused_like_a_start(&file, &words);
        }
    }
    for (clients, words) in [
        (&missing, ["cannot be read", "name an existing file"]),
        (&damaged, ["cannot be used", "PEM"]),
        (key, ["has no certificate", "PEM"]),
    ] {
        let clients = format!("internal_tls_client_ca = \"{}\"\n", text(clients));
        let file = naming(&authority, "internal_", cert, key, &clients);
        let words = [&words[..], &["internal_tls_client_ca ("]].concat();
        check_refused_like_a_start(&file, &words);
    }
}

/// Runs the program `openssl` in the authority's directory.
fn openssl(authority: &Authority, line: &str) {
    let mut command = Command::new("openssl");
    command
        .args(line.split(' '))
        .current_dir(authority.file(""));
    let ended = command.output().expect("openssl runs");
    assert!(ended.status.success(), "{line}: {ended:?}");
}

#[test]
fn check_of_what_openssl_makes_by_mistake_is_refused_with_the_right_command() {
    let authority = Authority::new();
    let Pair { cert, key } = authority.issue("one");
    for line in [
        "req -new -key one.key -subj /CN=localhost -out old.csr",
        "x509 -req -in old.csr -signkey one.key -out old.pem",
        "pkcs8 -topk8 -in one.key -passout pass:x -out pkcs8.key",
        "ec -in one.key -aes256 -passout pass:x -out ec.key",
    ] {
        openssl(&authority, line);
    }
    let file = |name| authority.file(name);
    let encrypted = ["tls_key (", "is encrypted", "openssl pkey -in "];
    for (cert, key, words) in [
        (
            file("old.pem"),
            key,
            ["tls_cert (", "of version 1", "-extfile"],
        ),
        (cert.clone(), file("pkcs8.key"), encrypted),
        (cert, file("ec.key"), encrypted),
    ] {
        check_refused_like_a_start(&naming(&authority, "", &cert, &key, ""), &words);
    }
}

#[test]
fn check_with_few_descriptors_warns() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    for (setting, warning) in [
        ("", "warning: fewer than 100 connections are possible"),
        (
            "max_connections = 5000\n",
            "warning: max_connections is 5000",
        ),
    ] {
        fs::write(&file, setting).unwrap();
        let mut shell = Command::new("/bin/sh");
        let script = "ulimit -n 100; exec \"$0\" \"$@\"";
        shell.args(["-c", script]).arg(program());
        shell.args(["config", "check", text(&file)]);
        let Ended { status, stderr, .. } = run(shell);
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(stderr.starts_with(warning), "{stderr}");
        assert!(stderr.contains("LimitNOFILE="), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn check_of_a_directory_that_cannot_be_served_is_refused_like_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    fs::write(dir.path().join("page.html"), [0; 2 << 10]).unwrap();
    let page = dir.path().join("page.html");
    for (settings, words) in [
        (
            "static_dir = \"/nowhere\"\n".to_owned(),
            ["static_dir: cannot read /nowhere", "name a directory"],
        ),
        (
            format!("static_dir = \"{}\"\n", text(&page)),
            ["page.html is not a directory", "name the directory"],
        ),
        (
            format!(
                "static_dir = \"{}\"\nstatic_bytes_max = \"1KiB\"\n",
                text(dir.path())
            ),
            ["static_bytes_max", "serve fewer files"],
        ),
    ] {
        fs::write(&file, settings).unwrap();
        check_refused_like_a_start(&file, &words);
    }
}

/// A file of settings that names only unusable files, and words of each fault.
fn of_no_use(authority: &Authority) -> (String, Vec<&'static str>) {
    let one = authority.issue("one");
    let damaged = authority.file("damaged.pem");
    fs::write(&damaged, "-----BEGIN PRIVATE KEY-----\n!!!\n-----END").unwrap();
    let settings = [
        ("tls_cert", "/nowhere/chain.pem"),
        ("tls_key", text(&damaged)),
        ("internal_tls_cert", text(&one.key)),
        ("internal_tls_key", "/nowhere/key.pem"),
        ("internal_tls_client_ca", text(&one.key)),
        ("static_dir", "/nowhere/public"),
    ];
    let lines = settings.map(|(key, value)| format!("{key} = \"{value}\"\n"));
    let words = vec![
        "tls_cert (/nowhere/chain.pem) cannot be read",
        "damaged.pem) cannot be used",
        "  internal_tls_cert (",
        "has no certificate",
        "internal_tls_key (/nowhere/key.pem) cannot be read",
        "internal_tls_client_ca (",
        "static_dir: cannot read /nowhere/public",
    ];
    (lines.concat(), words)
}

#[test]
fn check_tells_all_faults_of_all_files_at_once_like_a_start() {
    let authority = Authority::new();
    let (settings, words) = of_no_use(&authority);
    let file = authority.file("hubbub.toml");
    fs::write(&file, &settings).unwrap();
    let all = [&["6 files"], &words[..]].concat();
    check_refused_like_a_start(&file, &all);

    let wrong = "rooms_mix = 5\nlog_level = \"inof\"\nrequest_line_bytes_max = \"32KiB\"\n";
    fs::write(&file, wrong.to_owned() + &settings).unwrap();
    let mut start = command();
    start.args(["--config", text(&file)]);
    let start = run(start);
    let checked = run(config(&["check", text(&file)]));
    assert_eq!(checked.status.code(), Some(2), "{}", checked.stderr);
    assert_eq!(
        (checked.status, &checked.stderr),
        (start.status, &start.stderr)
    );
    let more = [
        "3 settings",
        "6 files",
        "rooms_mix",
        "inof",
        "head_bytes_max",
    ];
    for word in [&more, &words[..]].concat() {
        let stderr = &checked.stderr;
        assert!(stderr.contains(word), "{word} is not in {stderr}");
    }
}

/// A check must disturb nothing, least of all the server that will use the file.
#[test]
fn check_of_good_files_needs_no_port() {
    let authority = Authority::new();
    let Pair { cert, key } = authority.issue("one");
    let (public, internal) = (taken(), taken());
    let file = authority.file("hubbub.toml");
    let hidden = authority.file(".hidden");
    fs::write(&hidden, "not to be served").unwrap();
    fs::write(authority.file("index.html"), "to be served").unwrap();
    let (cert, key, root) = (text(&cert), text(&key), authority.root());
    let settings = [
        (
            "internal_listen",
            internal.local_addr().unwrap().to_string(),
        ),
        ("tls_cert", cert.to_owned()),
        ("tls_key", key.to_owned()),
        ("internal_tls_cert", cert.to_owned()),
        ("internal_tls_key", key.to_owned()),
        ("internal_tls_client_ca", text(&root).to_owned()),
        ("static_dir", text(hidden.parent().unwrap()).to_owned()),
    ];
    let mut lines = settings
        .map(|(key, value)| format!("{key} = \"{value}\"\n"))
        .concat();
    lines += &format!("listen = [\"{}\"]\n", public.local_addr().unwrap());
    fs::write(&file, lines).unwrap();

    let mut check = config(&["check", text(&file)]);
    check.env_remove("HUBBUB_INTERNAL_LISTEN");
    let checked = run(check);
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    assert_eq!(checked.stdout, format!("{} is good\n", text(&file)));
    let warning = format!("warning: static_dir: {}", text(&hidden));
    assert!(checked.stderr.starts_with(&warning), "{}", checked.stderr);
    assert_eq!(checked.stderr.lines().count(), 1, "{}", checked.stderr);
}

/// A port that is in use.
fn taken() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn check_of_a_certificate_that_has_expired_warns() {
    let authority = Authority::new();
    let Pair { cert, key } = authority.issue_until("old", 2020);
    for listener in ["", "internal_"] {
        let file = naming(&authority, listener, &cert, &key, "");
        let checked = run(config(&["check", text(&file)]));
        assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
        let warning = format!(
            "warning: {listener}tls_cert ({}) has expired, at 2020-01-01T00:00:00Z\n",
            text(&cert)
        );
        assert_eq!(checked.stderr, warning);
    }
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
    for words in [&["--help"][..], &["help"], &["config", "--help"]] {
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
