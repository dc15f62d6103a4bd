//! `hubbub config import`: what it prints is accepted, says what it leaves out, and has no secret.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    commands::{Session, token},
    harness::{Driver, Ended, Server, command},
    terminal::{check_refused, done, hubbub},
};

on_both_drivers![server_with_imported_settings_has_the_same_rules];

const SECRET: &str = crate::commands::SECRET;

/// A configuration with something of everything.
fn configuration() -> Value {
    json!({
        "http_server": {"address": "127.0.0.1", "port": 8123, "internal_port": "9123", "tls_autocert": {"enabled": true}},
        "log": {"level": "none"},
        "client": {
            "allowed_origins": ["https://app.example.com", "https://*.example.com"],
            "token": {"hmac_secret_key": SECRET, "issuer_regex": "a.*"},
            "subscription_token": {"enabled": false, "hmac_secret_key": "of no use"},
            "allow_anonymous_connect_without_token": true,
            "ping_interval": "12s",
            "channel_limit": 1000,
            "queue_max_size": 2_097_152,
            "proxy": {
                "connect": {
                    "enabled": true, "endpoint": "http://backend:3000/connect", "timeout": "2s",
                    "http_headers": ["Cookie", "X-Real-IP"], "include_connection_meta": true,
                    "http": {"static_headers": {"X-Secret": "a password"}},
                },
                "refresh": {"enabled": false, "endpoint": "http://backend:3000/refresh"},
            },
            "subscribe_to_user_personal_channel": {"enabled": true, "personal_channel_namespace": "user"},
        },
        "channel": {
            "private_prefix": "$",
            "proxy": {
                "subscribe": {"endpoint": "https://backend.example.com/subscribe"},
                "publish": {"endpoint": "grpc://backend:4000"},
            },
            "user_boundary": "!",
            "without_namespace": {"presence": true},
            "namespaces": [
                {
                    "name": "chat", "presence": true, "join_leave": true, "force_push_join_leave": true,
                    "history_size": 100, "history_ttl": "720h", "force_recovery": true,
                    "allow_subscribe_for_client": true, "allow_publish_for_subscriber": true,
                    "allow_publish_for_anonymous": true, "allow_history_for_subscriber": true,
                    "allow_presence_for_client": true, "allow_presence_for_subscriber": true,
                },
                {"name": "user"},
                {"name": "x"},
                {"name": "news", "allow_history_for_client": true, "delta_publish": true, "bogus": 1},
                {
                    "name": "asked", "subscribe_proxy_enabled": true, "subscribe_proxy_name": "default",
                    "allow_subscribe_for_client": true, "publish_proxy_enabled": true,
                },
                {"name": "cells", "subscription_type": "map", "history_size": 5, "history_ttl": "1m"},
            ],
        },
        "http_api": {"key": "a-key-of-the-tests", "error_mode": "transport", "external": true},
        "admin": {"enabled": true, "password": "a password"},
        "engine": {"type": "redis", "redis": {"address": "redis://user:pass@x"}},
        "grpc_api": {"enabled": false, "port": 10_000},
        "prometheus": {"enabled": true},
        "websocket": {"compression": true},
    })
}

struct Imported {
    dir: TempDir,
    settings: String,
    report: String,
}

impl Imported {
    #[track_caller]
    fn of(name: &str, text: &str, with_secrets: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        let (file, secrets) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
        let flags = ["--secrets", secrets];
        let flags: &[&str] = if with_secrets { &flags } else { &[] };
        let ended = hubbub(&[&["config", "import", file], flags].concat());
        let report = ended.stderr.clone();
        let settings = done(ended);
        let imported = Self {
            dir,
            settings,
            report,
        };
        fs::write(imported.path("hubbub.toml"), &imported.settings).unwrap();
        let checked = hubbub(&["config", "check", &imported.path("hubbub.toml")]);
        assert!(done(checked).ends_with("hubbub.toml is good\n"));
        imported
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn sets(&self, line: &str) {
        let is_there = self.settings.lines().any(|it| it == line);
        assert!(is_there, "{line} is not in\n{}", self.settings);
    }

    /// The option is reported as left out with these words, and the file says it, too.
    #[track_caller]
    fn leaves_out(&self, option: &str, words: &str) {
        let (_, left_out) = self
            .report
            .split_once("Not imported:\n")
            .expect("some are left out");
        let line = left_out
            .lines()
            .find(|line| line.split_whitespace().next() == Some(option));
        let line = line.unwrap_or_else(|| panic!("{option} is not in {left_out}"));
        assert!(line.contains(words), "{words} is not in {line}");
        assert!(
            self.settings.contains(&format!("# {option}: ")),
            "{option}: {}",
            self.settings
        );
    }
}

#[test]
fn settings_are_accepted_and_what_has_no_place_is_said() {
    let imported = Imported::of("centrifugo.json", &configuration().to_string(), true);
    for line in [
        "listen = [\"127.0.0.1:8123\"]",
        "internal_listen = \"127.0.0.1:9123\"",
        "log_level = \"off\"",
        "allow_origin = [\"https://app.example.com\"]",
        "anonymous = \"on\"",
        "ping_interval = \"12s\"",
        "rooms_per_connection_max = 256",
        "send_queue_bytes_max = \"2097152\"",
        "compression = \"on\"",
        "api_listen = \"127.0.0.1:8001\"",
        "api_error_mode = \"transport\"",
        "[api_keys.centrifugo]",
        "[namespaces.chat]",
        "join_leave = \"forced\"",
        "history_ttl = \"1day\"",
        "recovery = \"forced\"",
        "subscribe = \"client\"",
        "publish = [\"subscriber\", \"anonymous\"]",
        "read_history = \"subscriber\"",
        "read_presence = \"client\"",
        "[hooks.connect]",
        "url = \"http://backend:3000/connect\"",
        "http = true",
        "timeout = \"2s\"",
        "headers = [\"Cookie\"]",
        "forgeable_headers = [\"X-Real-IP\"]",
        "include_meta = true",
        "[hooks.subscribe]",
        "subscribe_hook = true",
        "[namespaces.user]",
        "personal = true",
        "[namespaces.news]",
        "kind = \"latest_per_key\"",
        "[rooms]",
    ] {
        imported.sets(line);
    }
    for (option, words) in [
        ("http_server.tls_autocert", "certbot"),
        ("client.token.issuer_regex", "token_issuer"),
        ("client.subscription_token.hmac_secret_key", "not enabled"),
        ("channel.user_boundary", "it is # here"),
        ("channel.namespaces[x].name", "at least 2"),
        (
            "client.proxy.connect.http.static_headers.X-Secret",
            "over HTTP, in JSON",
        ),
        ("channel.proxy.publish.endpoint", "no gRPC"),
        (
            "channel.namespaces[asked].allow_subscribe_for_client",
            "the back end alone decides",
        ),
        (
            "channel.namespaces[asked].publish_proxy_enabled",
            "hooks.publish",
        ),
        ("channel.namespaces[news].delta_publish", "no deltas"),
        ("channel.namespaces[news].bogus", "no such option"),
        (
            "channel.namespaces[news].allow_history_for_client",
            "no history to read",
        ),
        (
            "channel.namespaces[cells].history_size",
            "latest message of each key",
        ),
        ("http_api.external", "a listener of its own"),
        ("admin", "administrators"),
        ("engine.type", "memory"),
        ("engine", "do not span machines"),
    ] {
        imported.leaves_out(option, words);
    }
    assert!(
        !imported.report.contains("grpc_api"),
        "what is off needs no word"
    );
    assert!(imported.report.contains("without https://*.example.com"));

    // The secret is in a file of its own, and nowhere else.
    let file = imported.path("token-secret");
    assert_eq!(fs::read_to_string(&file).unwrap(), SECRET);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    imported.sets(&format!("token_secret = {file:?}"));
    imported.sets(&format!("key_file = {:?}", imported.path("api-key")));
    for secret in [
        SECRET,
        "a-key-of-the-tests",
        "a password",
        "user:pass",
        "of no use",
    ] {
        assert!(!imported.settings.contains(secret) && !imported.report.contains(secret));
    }
}

#[test]
fn without_a_directory_secrets_are_left_out() {
    let text = configuration().to_string();
    let imported = Imported::of("centrifugo.json", &text, false);
    imported.leaves_out("client.token.hmac_secret_key", "--secrets DIR");
    imported.leaves_out("http_api.key", "--secrets DIR");
    assert!(!imported.settings.contains("\napi_listen"));
    assert!(!fs::exists(imported.path("token-secret")).unwrap());
    // A file that is there is not written over, unless it is the same.
    let there = Imported::of("centrifugo.json", &text, true);
    let again = |secret: &str| {
        fs::write(there.path("token-secret"), secret).unwrap();
        let (file, dir) = (there.path("centrifugo.json"), there.path(""));
        hubbub(&["config", "import", &file, "--secrets", &dir])
    };
    assert_eq!(done(again(SECRET)), there.settings);
    let Ended { status, stderr, .. } = again("another one");
    assert_eq!(status.code(), Some(1));
    assert!(
        stderr.contains("token-secret cannot be written"),
        "{stderr}"
    );
    assert_eq!(
        fs::read_to_string(there.path("token-secret")).unwrap(),
        "another one"
    );
}

#[test]
fn the_three_languages_say_the_same() {
    let value = configuration();
    let json = Imported::of("c.json", &value.to_string(), false);
    // JSON is YAML.
    let yaml = Imported::of(
        "c.yaml",
        &serde_json::to_string_pretty(&value).unwrap(),
        false,
    );
    let toml = Imported::of("c.toml", &toml::to_string(&value).unwrap(), false);
    let body = |imported: &Imported| imported.settings.split_once("\n\n").unwrap().1.to_owned();
    assert_eq!(body(&json), body(&yaml));
    assert_eq!(body(&json), body(&toml));
    let block = "channel:\n  namespaces:\n    - name: chat\n      presence: true\n";
    Imported::of("c.yml", block, false).sets("[namespaces.chat]");
}

#[test]
fn configuration_that_says_nothing_permits_nothing() {
    let imported = Imported::of("c.json", "{}", false);
    imported.sets("[rooms]");
    imported.sets("listen = [\"0.0.0.0:8000\"]");
    assert_eq!(imported.report, "\n");
}

#[test]
fn keys_and_certificates_are_files_or_become_some() {
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    let value = json!({"client": {
        "token": {"rsa_public_key": pem, "user_id_claim": "uid"},
        "subscription_token": {"enabled": true, "hmac_secret_key": "short", "ecdsa_public_key": pem},
    }});
    let imported = Imported::of("c.json", &value.to_string(), true);
    imported.sets(&format!(
        "token_keys = [{:?}]",
        imported.path("token-rsa.pem")
    ));
    imported.sets(&format!(
        "subscription_token_keys = [{:?}]",
        imported.path("subscription-token-ecdsa.pem")
    ));
    imported.sets("token_user_claim = \"uid\"");
    imported.leaves_out("client.subscription_token.hmac_secret_key", "5 bytes");
}

#[test]
fn file_that_is_no_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let old = file(
        "old.json",
        r#"{"token_hmac_secret_key": "s", "namespaces": []}"#,
    );
    let broken = file("broken.json", "{");
    let list = file("list.yaml", "- a\n");
    check_refused(&[
        (&["config", "import"], 2, &["FILE"]),
        (
            &["config", "import", "/nowhere"],
            1,
            &["/nowhere cannot be read"],
        ),
        (
            &["config", "import", &old],
            1,
            &["before version 6", "converter"],
        ),
        (
            &["config", "import", &broken],
            1,
            &["broken.json cannot be read", ".json, .yaml"],
        ),
        (&["config", "import", &list], 1, &["no object"]),
    ]);
}

fn server_with_imported_settings_has_the_same_rules(driver: Driver) {
    let mut value = configuration();
    value["http_server"] = json!({});
    value["log"] = json!({});
    value["http_api"] = json!({});
    let imported = Imported::of("centrifugo.json", &value.to_string(), true);
    let mut command = command();
    command.args([
        "--driver",
        driver.name(),
        "--config",
        &imported.path("hubbub.toml"),
    ]);
    let server = Server::launch(command, &["--listen", "127.0.0.1:0"]);
    let mut ada = Session::open(&server);
    let connect = json!({"id": 1, "connect": {"token": token(&json!({"sub": "ada"}))}});
    let reply = ada.ask(&connect.to_string());
    assert!(reply["connect"]["subs"]["user:#ada"].is_object(), "{reply}");
    let subscribed = ada.ask(r#"{"id":2,"subscribe":{"channel":"chat:a"}}"#);
    assert_eq!(subscribed["subscribe"]["recoverable"], true, "{subscribed}");
    let published = ada.ask(r#"{"id":3,"publish":{"channel":"chat:a","data":1}}"#);
    assert_eq!(published["publish"], json!({}), "{published}");
    for (id, room) in [(4, "news:a"), (5, "a")] {
        let refused = ada.ask(&json!({"id": id, "subscribe": {"channel": room}}).to_string());
        assert_eq!(refused["error"]["code"], 103, "{refused}");
    }
}
