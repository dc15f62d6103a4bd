//! `hubbub publish`, `presence` and `rooms` against a running server: what they do, what they show, and what they say
//! when they cannot.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use crate::{
    caller::{Api, KEY},
    client::Client,
    commands::{SECRET, Session, token},
    harness::{Driver, Server, command},
    terminal::{check_refused, done, hubbub, hubbub_with},
    tls_client::{Authority, Pair, text},
};

on_both_drivers![
    message_is_published_and_its_place_is_printed,
    rooms_are_listed_with_their_subscribers,
    presence_tells_who_is_in_a_room,
    key_and_address_come_from_the_settings,
];

const ROOMS: &str = "anonymous = \"on\"\n[rooms]\nsubscribe = [\"client\", \"anonymous\"]\nraw = \"publish\"\n\
                     publish = [\"client\", \"anonymous\"]\n[namespaces.chat]\nhistory_size = 10\npositions = \"allowed\"\n\
                     subscribe = [\"client\", \"anonymous\"]\npresence = true\n";

/// Runs a command against a server, with the key in the environment.
fn at(api: &Api, words: &[&str], input: &str) -> crate::harness::Ended {
    let url = format!("http://{}", api.api());
    let variables = [("HUBBUB_API_URL", url.as_str()), ("HUBBUB_API_KEY", KEY)];
    hubbub_with(words, &variables, input)
}

fn message_is_published_and_its_place_is_printed(driver: Driver) {
    let api = Api::start(driver, ROOMS, &[]);
    let mut raw = Client::connect(&api, "/rooms/lobby");
    for (words, input, heard) in [
        (&["publish", "lobby", "hello"][..], "", "hello"),
        (&["publish", "lobby"], "from a pipe\n", "from a pipe"),
        (&["publish", "lobby", "-"], "{\"a\": 1}\r\n", "{\"a\": 1}"),
        (&["publish", "lobby", "-5"], "", "-5"),
        (&["publish", "--tag", "t=x=y", "lobby", "[1]"], "", "[1]"),
    ] {
        done(at(&api, words, input));
        assert_eq!(raw.text(), heard, "{words:?}");
    }
    done(at(&api, &["publish", "lobby", "--binary"], "bytes\n"));
    assert_eq!(raw.receive(), crate::client::binary(&b"bytes\n"[..]));

    let room = "chat:a b+c#1?x=%20";
    let mut session = Session::anonymous(&api);
    let subscribe = json!({"id": 2, "subscribe": {"channel": room}}).to_string();
    let subscribed = session.ask(&subscribe);
    assert!(subscribed["subscribe"].is_object(), "{subscribed}");
    let place = done(at(&api, &["publish", room, "{}", "--tag", "k=v"], ""));
    assert_eq!(session.reply()["push"]["pub"]["tags"], json!({"k": "v"}));
    let (offset, epoch) = place.trim_end().split_once('\t').expect("two columns");
    assert_eq!(offset, "1");
    let again = ["publish", room, "2", "--json", "--idempotency-key", "once"];
    let first: Value = serde_json::from_str(&done(at(&api, &again, ""))).unwrap();
    let second: Value = serde_json::from_str(&done(at(&api, &again, ""))).unwrap();
    assert_eq!(first, json!({"offset": 2, "epoch": epoch}));
    assert_eq!(first, second);
}

fn rooms_are_listed_with_their_subscribers(driver: Driver) {
    let api = Api::start(driver, ROOMS, &["--cores", "2"]);
    assert_eq!(done(at(&api, &["rooms"], "")), "");
    let _members: Vec<_> = ["b", "a", "b", "c:1"]
        .iter()
        .filter(|room| !room.contains(':'))
        .map(|room| Client::connect(&api, &format!("/rooms/{room}")))
        .collect();
    let mut session = Session::anonymous(&api);
    session.ask(r#"{"id":2,"subscribe":{"channel":"chat:x"}}"#);
    assert_eq!(done(at(&api, &["rooms"], "")), "a\t1\nb\t2\nchat:x\t1\n");
    assert_eq!(done(at(&api, &["rooms", "chat:*"], "")), "chat:x\t1\n");
    assert_eq!(
        done(at(&api, &["rooms", "[a-c]", "--top", "1"], "")),
        "b\t2\n"
    );
    let listed: Value =
        serde_json::from_str(&done(at(&api, &["rooms", "a", "--json"], ""))).unwrap();
    assert_eq!(listed, json!({"rooms": [{"room": "a", "subscribers": 1}]}));
}

fn presence_tells_who_is_in_a_room(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let api = Api::start(driver, &format!("token_secret = {secret:?}\n{ROOMS}"), &[]);
    assert_eq!(done(at(&api, &["presence", "chat:a"], "")), "");
    let mut ada = Session::open(&api);
    let claims = json!({"sub": "ada\u{1b}[2J", "info": {"name": "Ada"}});
    let connect = json!({"id": 1, "connect": {"token": token(&claims)}});
    let client = ada.ask(&connect.to_string())["connect"]["client"].clone();
    let client = client.as_str().unwrap();
    ada.ask(r#"{"id":2,"subscribe":{"channel":"chat:a"}}"#);
    let shown = done(at(&api, &["presence", "chat:a"], ""));
    assert_eq!(
        shown,
        format!("ada\\u{{1b}}[2J\t{client}\t{{\"name\":\"Ada\"}}\n")
    );
    let told = done(at(&api, &["presence", "chat:a", "--json"], ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told["presence"][client]["conn_info"],
        json!({"name": "Ada"})
    );
    let ended = at(&api, &["presence", "lobby"], "");
    assert_eq!(ended.status.code(), Some(1));
    for part in ["who is in \"lobby\"", "(108)", "namespace"] {
        assert!(
            ended.stderr.contains(part),
            "{part} is not in {}",
            ended.stderr
        );
    }
}

fn key_and_address_come_from_the_settings(driver: Driver) {
    let authority = Authority::new();
    let Pair { cert, key } = authority.issue("one");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let file = authority.file("hubbub.toml");
    let key_file = authority.file("key");
    fs::write(&key_file, "another-key-of-the-tests\n").unwrap();
    let settings = format!(
        "api_listen = {address:?}\napi_tls_cert = {:?}\napi_tls_key = {:?}\n{ROOMS}\
         [api_keys.info]\nkey = \"0123456789abcdef\"\nmethods = [\"info\"]\n\
         [api_keys.news]\nkey = \"0123456789abcdeg\"\nnamespaces = [\"\"]\nmethods = [\"info\", \"channels\"]\n\
         [api_keys.chat]\nkey_file = {:?}\nnamespaces = [\"chat\"]\nmethods = [\"publish\", \"presence\"]\n",
        text(&cert),
        text(&key),
        text(&key_file)
    );
    fs::write(&file, settings).unwrap();
    let mut command = command();
    command.args(["--driver", driver.name(), "--config", text(&file)]);
    let server = Server::launch(command, &[]);
    let config = ["--config", text(&file)];
    // It is the certificate of the settings, though nobody knows the authority.
    done(hubbub(&[&["publish", "chat:a", "1"], &config[..]].concat()));
    done(hubbub_with(
        &["publish", "chat:a", "1"],
        &[("HUBBUB_CONFIG", text(&file))],
        "",
    ));
    let no_key = hubbub(&[&["publish", "lobby", "1"], &config[..]].concat());
    assert_eq!(no_key.status.code(), Some(1));
    for part in [
        "no key of the settings is for publish in \"lobby\"",
        "[api_keys.NAME]",
    ] {
        assert!(
            no_key.stderr.contains(part),
            "{part} is not in {}",
            no_key.stderr
        );
    }
    // Another certificate than that of the settings gets no key.
    let url = format!("https://{address}");
    let key_flag = ["--key-file", text(&key_file), "--url", &url];
    let ended = hubbub(
        &[
            &["publish", "chat:a", "1", "--ca", text(&authority.root())],
            &key_flag[..],
        ]
        .concat(),
    );
    done(ended);
    let other = Authority::new();
    let ended = hubbub(
        &[
            &["publish", "chat:a", "1", "--ca", text(&other.root())],
            &key_flag[..],
        ]
        .concat(),
    );
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);
    assert!(!server.log().contains("another-key-of-the-tests"));
    fs::write(&cert, fs::read(other.issue("other").cert).unwrap()).unwrap();
    let ended = hubbub(&[&["publish", "chat:a", "1"], &config[..]].concat());
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended
            .stderr
            .contains("another certificate than its settings name"),
        "{}",
        ended.stderr
    );
}

/// Nobody has to look for the key of a server on their own machine.
#[test]
fn key_of_a_server_in_dev_is_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = text(dir.path());
    let mut command = command();
    command.env("XDG_RUNTIME_DIR", path);
    let server = Server::launch(command, &["--dev", "--api-listen", "127.0.0.1:0"]);
    let address = server.api().to_string();
    let variables = [
        ("XDG_RUNTIME_DIR", path),
        ("HUBBUB_DEV", "on"),
        ("HUBBUB_API_LISTEN", &address),
    ];
    let mut raw = Client::connect(&server, "/rooms/lobby");
    done(hubbub_with(&["publish", "lobby", "hello"], &variables, ""));
    assert_eq!(raw.text(), "hello");
    let url = format!("http://{address}");
    done(hubbub_with(
        &["publish", "lobby", "again", "--url", &url],
        &variables[..1],
        "",
    ));
    assert_eq!(raw.text(), "again");
    // Without the file there is no key.
    let ended = hubbub_with(&["publish", "lobby", "hello"], &variables[1..], "");
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("no key to show"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_remedy() {
    let api = Api::start(Driver::Epoll, ROOMS, &["--api-error-mode", "transport"]);
    let refused = |words: &[&str], parts: &[&str]| {
        let ended = at(&api, words, "");
        assert_eq!(ended.status.code(), Some(1), "{words:?}: {}", ended.stdout);
        assert_eq!(ended.stdout, "");
        for part in parts {
            assert!(
                ended.stderr.contains(part),
                "{part:?} is not in {}",
                ended.stderr
            );
        }
        assert!(!ended.stderr.contains(KEY), "{}", ended.stderr);
    };
    refused(&["publish", "lobby"], &["no message on standard input"]);
    refused(
        &["publish", "lobby", "x", "--tag", "a=b"],
        &["in JSON", "quotes"],
    );
    refused(
        &["publish", "nowhere:a", "1"],
        &["in \"nowhere:a\"", "(102)", "no table for its namespace"],
    );
    refused(&["publish", "", "1"], &["nothing was published"]);
    refused(&["presence", "lobby"], &["(108)"]);
    refused(&["rooms", "["], &["pattern cannot be read", "(107)"]);

    let url = format!("http://{}", api.api());
    let wrong = [
        ("HUBBUB_API_URL", url.as_str()),
        ("HUBBUB_API_KEY", "a-wrong-key-of-tests"),
    ];
    let ended = hubbub_with(&["rooms"], &wrong, "");
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended
            .stderr
            .contains("does not know the key of HUBBUB_API_KEY"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("a-wrong-key"), "{}", ended.stderr);
    let public = format!("http://{}", api.address());
    let ended = hubbub_with(&["rooms", "--url", &public], &wrong[1..], "");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);

    let nowhere = [("HUBBUB_API_KEY", KEY)];
    let ended = hubbub_with(&["rooms", "--url", "http://127.0.0.1:1"], &nowhere, "");
    for part in ["http://127.0.0.1:1", "refused", "api_listen", "--url"] {
        assert!(
            ended.stderr.contains(part),
            "{part} is not in {}",
            ended.stderr
        );
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let ended = hubbub_with(
        &["rooms", "--url", &url, "--timeout", "200ms"],
        &nowhere,
        "",
    );
    assert!(ended.stderr.contains("within 200ms"), "{}", ended.stderr);
    let ended = hubbub_with(&["rooms"], &[("HUBBUB_API_LISTEN", "off")], "");
    assert!(ended.stderr.contains("no key to show"), "{}", ended.stderr);
    let off = [("HUBBUB_API_LISTEN", "off"), ("HUBBUB_API_KEY", KEY)];
    let ended = hubbub_with(&["rooms"], &off, "");
    assert!(
        ended.stderr.contains("give the server an api_listen"),
        "{}",
        ended.stderr
    );
    check_refused(&[
        (&["publish"], 2, &["ROOM"]),
        (
            &["publish", "a", "b", "--binary", "--tag", "a=b"],
            2,
            &["cannot be used with"],
        ),
        (&["publish", "a", "b", "--tag", "a"], 2, &["NAME=TEXT"]),
        (&["presence"], 2, &["ROOM"]),
        (&["rooms", "--url", "localhost"], 2, &["http://HOST:PORT"]),
        (
            &["rooms", "--url", "http://127.0.0.1:1"],
            1,
            &["no key to show", "HUBBUB_API_KEY"],
        ),
        (
            &[
                "rooms",
                "--url",
                "http://127.0.0.1:1",
                "--key-file",
                "/nowhere",
            ],
            1,
            &["--key-file (/nowhere)"],
        ),
    ]);
}

/// A server whose environment has them is not told that they are no settings.
#[test]
fn variables_of_commands_are_no_mistake_of_a_server() {
    let mut command = command();
    command.env("HUBBUB_API_URL", "http://127.0.0.1:8001");
    command.env("HUBBUB_API_KEY", KEY);
    let server = Server::launch(command, &[]);
    let log = server.log();
    assert!(!log.contains("HUBBUB_API_"), "{log}");
    assert!(!log.contains(KEY), "{log}");
}
