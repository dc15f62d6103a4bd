//! `hubbub token`: what it makes is accepted by a server, and it says of any token what that is worth.

use std::{fs, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::Client,
    commands::{PATH, SECRET, Session, in_seconds, token},
    harness::{Driver, Server, command},
    key_server::{Answer, KeyServer, Signer, jwks},
    terminal::{check_refused, done, hubbub, hubbub_with},
};

on_both_drivers![
    tokens_of_every_algorithm_are_accepted_by_a_server,
    subscription_token_opens_its_room_for_its_user_alone,
];

/// Private keys as openssl writes them, and their algorithms.
const KEYS: &[(&str, &[&str], &str)] = &[
    ("RS256", &["RS384", "RS512"], "genrsa -out rsa.key 2048"),
    ("RS256", &[], "rsa -in rsa.key -traditional -out pkcs1.key"),
    (
        "ES256",
        &[],
        "ecparam -name prime256v1 -genkey -noout -out p256.key",
    ),
    (
        "ES384",
        &[],
        "ecparam -name secp384r1 -genkey -noout -out p384.key",
    ),
    (
        "ES512",
        &[],
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.key",
    ),
    ("EdDSA", &[], "genpkey -algorithm ed25519 -out ed.key"),
];

/// A directory with a secret, with all of these keys, and with settings that verify with them.
struct Keyring {
    dir: TempDir,
}

impl Keyring {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let keyring = Self { dir };
        let mut public = Vec::new();
        for (.., line) in KEYS {
            keyring.openssl(line);
            let key = written(line);
            if key != "pkcs1.key" {
                let file = key.replace(".key", ".pub");
                keyring.openssl(&format!("pkey -in {key} -pubout -out {file}"));
                public.push(keyring.path(&file));
            }
        }
        let settings = format!(
            "token_secret = {:?}\ntoken_keys = {public:?}\n[rooms]\nsubscribe = \"client\"\n\
             publish = \"client\"\nraw = \"publish\"\n",
            keyring.path("secret")
        );
        fs::write(keyring.path("hubbub.toml"), settings).unwrap();
        keyring
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, line: &str) {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(self.dir.path());
        let ended = command.output().expect("openssl runs");
        assert!(ended.status.success(), "{line}: {ended:?}");
    }

    fn server(&self, driver: Driver) -> Server {
        let mut command = command();
        command.args([
            "--driver",
            driver.name(),
            "--config",
            &self.path("hubbub.toml"),
        ]);
        Server::launch(command, &[])
    }
}

/// The file that a line of openssl writes.
fn written(line: &str) -> &str {
    let words: Vec<_> = line.split(' ').collect();
    let out = words.iter().position(|word| *word == "-out").unwrap();
    words[out + 1]
}

#[track_caller]
fn make(words: &[&str]) -> String {
    let ended = hubbub(&[&["token", "make"], words].concat());
    assert_eq!(ended.stderr, "");
    let token = done(ended);
    assert_eq!(token.lines().count(), 1, "{token}");
    token.trim_end().to_owned()
}

/// A session with this token says who its client is.
#[track_caller]
fn check_user(server: &Server, token: &str, user: &str) {
    let mut session = Session::open(server);
    let connect = json!({"id": 1, "connect": {"token": token}});
    let reply = session.ask(&connect.to_string());
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    let published = session.ask(r#"{"id":2,"publish":{"channel":"r","data":1}}"#);
    assert_eq!(published["publish"], json!({}), "{user}: {published}");
}

fn tokens_of_every_algorithm_are_accepted_by_a_server(driver: Driver) {
    let keyring = Keyring::new();
    let server = keyring.server(driver);
    let secret = keyring.path("secret");
    let mut all = Vec::new();
    for algorithm in ["HS256", "HS384", "HS512"] {
        let flags = ["--secret-file", &secret, "--algorithm", algorithm];
        all.push((algorithm, make(&[&["--user", "ada"], &flags[..]].concat())));
    }
    for (first, others, line) in KEYS {
        let key = keyring.path(written(line));
        all.push((first, make(&["--user", "ada", "--key-file", &key])));
        for algorithm in *others {
            let flags = [
                "--user",
                "ada",
                "--key-file",
                &key,
                "--algorithm",
                algorithm,
            ];
            all.push((algorithm, make(&flags)));
        }
    }
    for (algorithm, token) in &all {
        check_user(&server, token, "ada");
        let mut raw = Client::connect(&server, &format!("/rooms/r?token={token}"));
        raw.send("hello");
        assert_eq!(raw.text(), "hello", "{algorithm}");
        let config = keyring.path("hubbub.toml");
        let words = ["token", "explain", "--json", "--config", &config];
        let explained: Value =
            serde_json::from_str(&done(hubbub_with(&words, &[], token))).unwrap();
        assert_eq!(explained["verified"], true, "{algorithm}: {explained}");
        assert_eq!(explained["header"]["alg"], *algorithm);
        assert_eq!(explained["user"], "ada");
    }
}

fn subscription_token_opens_its_room_for_its_user_alone(driver: Driver) {
    let keyring = Keyring::new();
    let server = keyring.server(driver);
    let config = keyring.path("hubbub.toml");
    let connection = make(&["--user", "ada", "--config", &config, "--subscribe", "r"]);
    let room = make(&[
        "--user",
        "ada",
        "--config",
        &config,
        "--room",
        "$q",
        "--publish",
    ]);
    let other = make(&["--user", "bob", "--config", &config, "--room", "$q"]);
    let mut session = Session::over(Client::connect(&server, PATH));
    let connect = json!({"id": 1, "connect": {"token": connection}});
    let reply = session.ask(&connect.to_string());
    assert!(reply["connect"]["subs"]["r"].is_object(), "{reply}");
    let subscribe = |id, token: &str| {
        json!({"id": id, "subscribe": {"channel": "$q", "token": token}}).to_string()
    };
    assert_eq!(session.ask(&subscribe(2, &other))["error"]["code"], 103);
    let reply = session.ask(&subscribe(3, &room));
    assert_eq!(reply["subscribe"]["expires"], true, "{reply}");
    let publish = r#"{"id":4,"publish":{"channel":"$q","data":1}}"#;
    assert_eq!(session.ask(publish)["publish"], json!({}));
}

#[test]
fn token_has_the_claims_that_flags_and_settings_say() {
    let keyring = Keyring::new();
    let settings = format!(
        "token_secret = {:?}\ntoken_issuer = \"us\"\ntoken_audience = \"them\"\ntoken_user_claim = \"uid\"\n",
        keyring.path("secret")
    );
    let file = keyring.path("other.toml");
    fs::write(&file, settings).unwrap();
    let claims = |words: &[&str]| -> Value {
        let token = make(&[&["--config", &file], words].concat());
        let explained = hubbub_with(
            &["token", "explain", "--json", "--config", &file],
            &[],
            &token,
        );
        let explained: Value = serde_json::from_str(&done(explained)).unwrap();
        assert_eq!(explained["verified"], true, "{explained}");
        let mut claims = explained["claims"].clone();
        let iat = claims["iat"].as_i64().unwrap();
        if let Some(exp) = claims["exp"].as_i64() {
            claims["exp"] = (exp - iat).into();
        }
        claims.as_object_mut().unwrap().remove("iat");
        claims
    };
    assert_eq!(
        claims(&[
            "--user",
            "ada",
            "--info",
            "{\"n\":1}",
            "--meta",
            "[1]",
            "--unlimited"
        ]),
        json!({"uid": "ada", "exp": 3600, "iss": "us", "aud": "them", "info": {"n": 1}, "meta": [1],
               "unlimited": true})
    );
    assert_eq!(
        claims(&[
            "--ttl",
            "7days",
            "--subs",
            "{\"r\":{\"data\":1}}",
            "--issuer",
            "us",
            "--claim",
            "jti=\"j\""
        ]),
        json!({"uid": "", "exp": 604_800, "iss": "us", "aud": "them", "subs": {"r": {"data": 1}}, "jti": "j"})
    );
    assert_eq!(
        claims(&[
            "--ttl",
            "never",
            "--room",
            "r",
            "--client",
            "c",
            "--data",
            "\"d\"",
            "--publish"
        ]),
        json!({"uid": "", "iss": "us", "aud": "them", "channel": "r", "client": "c", "data": "d", "publish": true})
    );
}

#[test]
fn token_that_cannot_be_made_is_refused_with_the_remedy() {
    let keyring = Keyring::new();
    let path = |name: &str| keyring.path(name);
    fs::write(path("short"), "short").unwrap();
    let public_only = format!("token_keys = [{:?}]\n", path("ed.pub"));
    fs::write(path("public.toml"), public_only).unwrap();
    let (secret, short, ed, public) = (
        path("secret"),
        path("short"),
        path("ed.key"),
        path("ed.pub"),
    );
    let (missing, toml) = (path("missing"), path("public.toml"));
    let make = |words: &[&'static str]| [&["token", "make"], words].concat();
    let with = |flag: &'static str, path: &str, more: &[&str]| -> Vec<String> {
        let words = [&["token", "make", flag, path], more].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    let check = |words: Vec<String>, code, parts: &[&str]| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        check_refused(&[(&words, code, parts)]);
    };
    check_refused(&[
        (
            &make(&[]),
            1,
            &["no key to sign with", "openssl rand", "--config"],
        ),
        (&make(&["--ttl", "5"]), 2, &["--ttl", "unit"]),
        (&make(&["--ttl", "900days"]), 2, &["1s to 365days"]),
        (
            &make(&["--info", "ada"]),
            2,
            &["--info", "no JSON", "quotes"],
        ),
        (&make(&["--subs", "[]"]), 2, &["must be an object"]),
        (&make(&["--claim", "a"]), 2, &["NAME=JSON"]),
        (&make(&["--publish"]), 2, &["--room"]),
        (
            &make(&["--room", "a", "--meta", "1"]),
            2,
            &["cannot be used with"],
        ),
        (
            &make(&["--algorithm", "none"]),
            2,
            &["possible values", "EdDSA"],
        ),
        (
            &make(&["--secret-file", "a", "--key-file", "b"]),
            2,
            &["cannot be used with"],
        ),
        (&["token"], 2, &["make", "explain"]),
        (&["token", "mkae"], 2, &["make"]),
    ]);
    check(
        with("--secret-file", &missing, &[]),
        1,
        &["--secret-file (", "cannot be read", "openssl rand"],
    );
    check(
        with("--secret-file", &short, &[]),
        1,
        &["5 bytes", "at least 32"],
    );
    check(
        with("--key-file", &missing, &[]),
        1,
        &["--key-file (", "cannot be read"],
    );
    check(with("--key-file", &public, &[]), 1, &["no private key"]);
    check(
        with("--key-file", &secret, &[]),
        1,
        &["--key-file (", "PEM"],
    );
    check(
        with("--config", &toml, &[]),
        1,
        &["public keys only", "--key-file"],
    );
    check(with("--config", &missing, &[]), 2, &["cannot be read"]);
    check(
        with("--key-file", &ed, &["--algorithm", "ES256"]),
        1,
        &["does not sign with ES256", "EdDSA"],
    );
    check(
        with("--secret-file", &secret, &["--claim", "unlimited=1"]),
        1,
        &["would refuse it", "unlimited"],
    );
    let long = "x".repeat(5_000);
    check(
        with("--secret-file", &secret, &["--user", &long]),
        1,
        &["token_bytes_max"],
    );
}

#[test]
fn token_is_explained_with_its_verdict() {
    let keyring = Keyring::new();
    let secret = keyring.path("secret");
    let with_secret = [("HUBBUB_TOKEN_SECRET", secret.as_str())];
    let soon = in_seconds(3600);
    let explain = |claims: &Value, variables: &[(&str, &str)]| {
        hubbub_with(&["token", "explain"], variables, &token(claims))
    };
    let good =
        json!({"sub": "ada", "exp": soon, "iat": 1, "subs": {}, "role": "x", "publish": true});
    let said = done(explain(&good, &with_secret));
    for part in [
        "Connection token of the user \"ada\"",
        "\nEnds 2",
        "\nGood: ",
        "\"HS256\"",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let line = |name: &str| {
        let mut lines = said.lines();
        lines
            .find(|line| line.starts_with(&format!("  {name} ")))
            .unwrap()
            .to_owned()
    };
    assert!(line("role").ends_with("means nothing here"));
    assert!(
        line("publish").ends_with("means nothing here"),
        "it is for subscriptions alone"
    );
    assert!(line("sub").ends_with("the user"));
    assert!(line("iat").contains("1970-01-01T00:00:01Z"));

    for (claims, verdict) in [
        (
            json!({"sub": "ada", "exp": 1}),
            "Refused: the token has expired",
        ),
        (json!({"nbf": soon}), "Refused: the token is not yet valid"),
        (json!({"sub": 7}), "\"sub\" must be a string"),
        (json!({"channel": ""}), "Refused: "),
    ] {
        let ended = explain(&claims, &with_secret);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
        assert!(
            ended.stdout.contains(verdict),
            "{verdict} is not in {}",
            ended.stdout
        );
    }
    // Keys that belong to somebody else, and none at all.
    let other = keyring.path("other");
    fs::write(&other, "another-secret-of-32-bytes-at-least").unwrap();
    let ended = explain(&good, &[("HUBBUB_TOKEN_SECRET", &other)]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.stdout.contains("signature is wrong"),
        "{}",
        ended.stdout
    );
    let unknown = done(explain(&good, &[]));
    assert!(
        unknown.contains("Not verified: ") && unknown.contains("--config"),
        "{unknown}"
    );
    for shown in [said, ended.stdout, ended.stderr] {
        assert!(!shown.contains(SECRET));
    }
}

#[test]
fn token_on_the_command_line_is_explained_with_a_warning() {
    let token = token(&json!({"sub": "eve\u{1b}[2J"}));
    let ended = hubbub(&["token", "explain", &token]);
    assert!(
        ended.stderr.contains("others on this machine can see"),
        "{}",
        ended.stderr
    );
    let said = done(ended);
    assert!(said.contains("eve") && !said.contains('\u{1b}'), "{said:?}");
    let bearer = done(hubbub_with(
        &["token", "explain", "-"],
        &[],
        &format!(" Bearer {token}\n"),
    ));
    assert_eq!(bearer, said);
}

#[test]
fn what_is_no_token_is_refused_with_the_reason() {
    for (input, words) in [
        ("", "no token on standard input"),
        ("abc", "this has 1"),
        ("a.b.c.d.e", "this has 5"),
        ("!.e30.a", "header is not base64url"),
        ("e30.W10.a", "payload is not an object"),
    ] {
        let ended = hubbub_with(&["token", "explain"], &[], input);
        assert_eq!(ended.status.code(), Some(1), "{input:?}");
        assert_eq!(ended.stdout, "");
        assert!(
            ended.stderr.contains(words),
            "{words} is not in {}",
            ended.stderr
        );
    }
}

#[test]
fn token_is_verified_with_the_keys_of_a_url() {
    let (signer, stranger) = (Signer::new("one"), Signer::new("two"));
    let server = KeyServer::start(Answer::Body(jwks(&[&signer]).into_bytes()));
    let url = server.url();
    let explain = |token: &str, url: &str| {
        hubbub_with(
            &["token", "explain"],
            &[("HUBBUB_TOKEN_JWKS_URL", url)],
            token,
        )
    };
    let claims = json!({"sub": "ada"});
    assert!(done(explain(&signer.token(&claims), &url)).contains("Good: "));
    let refused = explain(&stranger.token(&claims), &url);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stdout.contains("names a key that is not known"),
        "{}",
        refused.stdout
    );
    let nowhere = explain(&signer.token(&claims), "http://127.0.0.1:1/keys");
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(
        nowhere.stderr.contains("token_jwks_url gives no keys"),
        "{}",
        nowhere.stderr
    );
}
