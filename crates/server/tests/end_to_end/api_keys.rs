//! Who may call the API: keys and their rights, rates, hosts and origins, TLS, and the key that dev makes.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use rustix::process::Signal;
use rustls::version::TLS13;
use serde_json::json;

use crate::{
    caller::{Api, KEY, ask_over, json as body_of},
    harness::{Driver, Server, command, eventually, run},
    tls_client::{Authority, config, config_with, handshake, over},
    wire,
};

on_both_drivers![
    key_is_always_needed_and_taken_from_each_place,
    key_opens_methods_and_namespaces_that_it_is_for,
    calls_beyond_the_rate_of_a_key_are_answered_429_until_they_may_come,
    keys_follow_a_reload,
    pages_and_foreign_hosts_are_refused_unless_they_are_listed,
    dev_makes_a_key_that_only_its_user_can_read,
    tls_and_clients_certificates_are_asked_for,
    settings_of_the_api_are_refused_with_a_remedy,
];

fn key_is_always_needed_and_taken_from_each_place(driver: Driver) {
    let server = Api::start(driver, "", &[]);
    let status = |path: &str, fields: &[&str]| server.ask("POST", path, fields, b"{}").status;
    for (fields, query, expected) in [
        (&[][..], "", 401),
        (&["X-API-Key: a-key-of-the-test"], "", 401),
        (&["X-API-Key: a-key-of-the-tests"], "", 200),
        (&["authorization: apikey a-key-of-the-tests"], "", 200),
        (&["Authorization: Bearer a-key-of-the-tests"], "", 401),
        (&[], "?api_key=a-key-of-the-tests", 200),
        (&[], "?api_key=a-key-of-the-tests2", 401),
        (&[], "?api_key=", 401),
    ] {
        assert_eq!(
            status(&format!("/api/info{query}"), fields),
            expected,
            "{fields:?} {query}"
        );
    }
    // Who has no key learns nothing of what there is.
    for path in ["/", "/api/nothing", "/rooms/a", "/openapi.json"] {
        let answer = server.ask("POST", path, &[], b"{}");
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.field("WWW-Authenticate"), Some("apikey"));
    }
    assert!(!server.log().contains(KEY));
}

fn key_opens_methods_and_namespaces_that_it_is_for(driver: Driver) {
    let config = r#"
[namespaces.chat]
raw = "subscribe"
subscribe = ["client", "anonymous"]
[namespaces.news]
raw = "subscribe"
subscribe = ["client", "anonymous"]
[api_keys.some]
key = "some-key-of-tests"
methods = ["publish", "batch", "broadcast", "channels", "info"]
namespaces = ["chat"]
"#;
    let server = Api::start(driver, config, &[]);
    let ask = |path: &str, body: serde_json::Value| {
        let fields = [
            "X-API-Key: some-key-of-tests",
            "X-Centrifugo-Error-Mode: transport",
        ];
        server.ask("POST", path, &fields, body.to_string().as_bytes())
    };
    for (path, body, status) in [
        ("/api/publish", json!({"channel": "chat:a", "data": 1}), 200),
        ("/api/publish", json!({"channel": "news:a", "data": 1}), 403),
        ("/api/publish", json!({"channel": "a", "data": 1}), 403),
        ("/rooms/chat:a", json!(1), 200),
        ("/rooms/news:a", json!(1), 403),
        ("/api/history", json!({"channel": "chat:a"}), 403),
        ("/api/info", json!({}), 403),
        ("/api/nothing", json!({}), 404),
    ] {
        assert_eq!(ask(path, body.clone()).status, status, "{path} {body}");
    }
    let commands = json!([
        {"publish": {"channel": "chat:a", "data": 1}},
        {"publish": {"channel": "news:a", "data": 1}},
        {"history": {"channel": "chat:a"}},
        {"info": {}},
        {"broadcast": {"channels": ["news:a"], "data": 1}},
    ]);
    let replies = body_of(&ask("/api/batch", json!({"commands": commands})))["replies"].clone();
    let codes: Vec<_> = (1..4)
        .map(|at| replies[at]["error"]["code"].clone())
        .collect();
    assert_eq!(codes, [103, 103, 103]);
    assert_eq!(
        replies[4]["broadcast"]["responses"][0]["error"]["code"],
        103
    );
    let _inside = [
        crate::client::Client::connect(&server, "/rooms/chat:seen"),
        crate::client::Client::connect(&server, "/rooms/news:seen"),
    ];
    let rooms = body_of(&ask("/api/channels", json!({})))["result"]["channels"].clone();
    assert_eq!(rooms, json!({"chat:seen": {"num_clients": 1}}));
}

fn calls_beyond_the_rate_of_a_key_are_answered_429_until_they_may_come(driver: Driver) {
    let config = r#"
[api_keys.slow]
key = "slow-key-of-tests"
rate = 1
burst = 3
"#;
    let server = Api::start(driver, config, &[]);
    let ask = |body: &str| {
        let fields = ["X-API-Key: slow-key-of-tests"];
        server.ask("POST", "/api/batch", &fields, body.as_bytes())
    };
    // It is one call, and the two others of its commands are paid for behind it.
    let commands = json!({"commands": [{"info": {}}, {"info": {}}, {"info": {}}]});
    assert_eq!(ask(&commands.to_string()).status, 200);
    let mut refused = 0;
    eventually("it may be called again", || {
        let answer = ask("{}");
        if answer.status == 429 {
            refused += 1;
            let seconds: u64 = answer.field("Retry-After").unwrap().parse().unwrap();
            assert!((1..=3).contains(&seconds), "{seconds}");
        }
        answer.status == 200 && refused > 0
    });
    // Others are not concerned.
    assert_eq!(server.post("/api/info", &[], "{}").status, 200);
}

fn keys_follow_a_reload(driver: Driver) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "first-key-of-a-file\n").unwrap();
    let config = format!("[api_keys.filed]\nkey_file = {:?}\n", file.path());
    let server = Api::start(driver, &config, &[]);
    let status = |key: &str| {
        let field = format!("X-API-Key: {key}");
        server.ask("POST", "/api/info", &[&field], b"{}").status
    };
    assert_eq!(status("first-key-of-a-file"), 200);
    fs::write(file.path(), "second-key-of-a-file").unwrap();
    server.signal(Signal::HUP);
    eventually("the new key is known", || {
        status("second-key-of-a-file") == 200
    });
    assert_eq!(status("first-key-of-a-file"), 401);
    server.rewrite("");
    server.signal(Signal::HUP);
    eventually("it is gone", || status("second-key-of-a-file") == 401);
    assert_eq!(status(KEY), 200);
    server.logs("the key filed of the API is gone");
    let log = server.log();
    assert!(!log.contains("key-of-a-file") && !log.contains(KEY));
}

fn pages_and_foreign_hosts_are_refused_unless_they_are_listed(driver: Driver) {
    let flags = [
        "--api-origins",
        "https://admin.example",
        "--api-hosts",
        "localhost,hub.internal",
    ];
    let server = Api::start(driver, "", &flags);
    let ask = |verb: &str, fields: &[&str]| {
        let key = format!("X-API-Key: {KEY}");
        server.ask(verb, "/api/info", &[&[&*key], fields].concat(), b"{}")
    };
    assert_eq!(ask("POST", &[]).status, 200);
    assert_eq!(ask("POST", &["Origin: https://other.example"]).status, 403);
    assert_eq!(ask("POST", &["Origin: null"]).status, 403);
    assert_eq!(
        ask("OPTIONS", &["Origin: https://other.example"]).status,
        403
    );
    let allowed = ask("POST", &["Origin: https://admin.example"]);
    assert_eq!(allowed.status, 200);
    let origin = "access-control-allow-origin";
    assert_eq!(allowed.field(origin), Some("https://admin.example"));
    let preflight = ask("OPTIONS", &["Origin: https://admin.example"]);
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.field(origin), Some("https://admin.example"));
    let mut stream = server.connect();
    let request = "POST /api/info HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n";
    wire::send(&mut stream, request.as_bytes());
    assert_eq!(crate::client::Response::read_from(&mut stream).status, 403);
}

fn dev_makes_a_key_that_only_its_user_can_read(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command();
    command.env("TMPDIR", dir.path());
    let flags = [
        "--driver",
        driver.name(),
        "--dev",
        "--api-listen=127.0.0.1:0",
    ];
    let mut server = Server::launch(command, &flags);
    let path = dir
        .path()
        .join(format!("hubbub-{}.api-key", server.api().port()));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let key = fs::read_to_string(&path).unwrap();
    let key = key.trim();
    let shown = path.to_str().unwrap();
    eventually("it is told where", || server.log().contains(shown));
    assert!(!server.log().contains(key) && !server.start_lines.concat().contains(key));
    let ask = |host: &str, key: &str| {
        let mut stream = wire::connect(server.api());
        let request = format!(
            "POST /api/info HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nConnection: close\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        wire::send(&mut stream, request.as_bytes());
        crate::client::Response::read_from(&mut stream).status
    };
    assert_eq!(ask("localhost:8001", key), 200);
    assert_eq!(ask("127.0.0.1", key), 200);
    assert_eq!(ask("localhost", "another-key-of-somebody"), 401);
    // A page whose name leads here cannot use a key that it has guessed.
    assert_eq!(ask("rebound.example", key), 403);
    server.signal(Signal::INT);
    server.wait();
    assert!(!path.exists(), "nobody can use it any more");
}

fn tls_and_clients_certificates_are_asked_for(driver: Driver) {
    let authority = Authority::new();
    let (own, client) = (authority.issue("localhost"), authority.issue("client"));
    let root = authority.root();
    let text = crate::tls_client::text;
    let flags = [
        "--api-tls-cert",
        text(&own.cert),
        "--api-tls-key",
        text(&own.key),
    ];
    let server = Api::start(driver, "", &flags);
    let key = format!("X-API-Key: {KEY}");
    let known = Arc::new(config(&authority, &[&TLS13]));
    let mut stream = over(server.connect(), &known);
    let answer = ask_over(&mut stream, "POST", "/api/info", &[&key], b"{}");
    assert_eq!(answer.status, 200);
    drop(server);
    let flags = [&flags[..], &["--api-tls-client-ca", text(&root)]].concat();
    let server = Api::start(driver, "", &flags);
    let mut stream = over(
        server.connect(),
        &Arc::new(config_with(&authority, &client)),
    );
    let answer = ask_over(&mut stream, "POST", "/api/info", &[&key], b"{}");
    assert_eq!(answer.status, 200);
    let mut stranger = over(server.connect(), &known);
    let refused = handshake(&mut stranger).is_err() || {
        use std::io::Read as _;
        stranger.read(&mut [0; 1]).is_err()
    };
    assert!(refused, "a client without a certificate");
}

fn settings_of_the_api_are_refused_with_a_remedy(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hubbub.toml");
    let refused = |text: &str, words: &[&str]| {
        fs::write(&path, text).unwrap();
        let mut command = command();
        command.args(["--driver", driver.name(), "--listen", "127.0.0.1:0"]);
        command.arg("--config").arg(&path);
        let ended = run(command);
        assert!(!ended.status.success(), "{text}");
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "{word} is not in: {}",
                ended.stderr
            );
        }
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    };
    let listen = "api_listen = \"127.0.0.1:0\"\n";
    for (text, words) in [
        (listen, &["api_listen without a key", "[api_keys.NAME]"][..]),
        ("[api_keys]\na = 1\n", &["[api_keys.NAME]"]),
        ("[api_keys.x]\n", &["api_keys.x", "at least 2"]),
        ("[api_keys.one]\n", &["it has no key: write key_file"]),
        (
            "[api_keys.one]\nkey = \"canary\"\n",
            &["16 to 256", "openssl rand"],
        ),
        (
            "[api_keys.one]\nkey = \"canary canary canary\"\n",
            &["no space"],
        ),
        (
            "[api_keys.one]\nkey = canary-of-many-letters\n",
            &["hubbub.toml"],
        ),
        (
            "[api_keys.one]\nkey_file = \"/nowhere\"\n",
            &["api_keys.one.key_file (/nowhere)"],
        ),
        (
            "[api_keys.one]\nkye = \"canary-of-many-letters\"\n",
            &["did you mean key?"],
        ),
        (
            "[api_keys.one]\nkey = \"canary-of-many-letters\"\nmethods = [\"publsh\"]\n",
            &["did you mean publish?"],
        ),
        (
            "[api_keys.one]\nkey = \"canary-of-many-letters\"\nnamespaces = [\"chat\"]\n",
            &["api_keys.one.namespaces has \"chat\"", "[namespaces.chat]"],
        ),
        (
            "[api_keys.one]\nkey = \"canary-of-many-letters\"\n[api_keys.two]\nkey = \"canary-of-many-letters\"\n",
            &["api_keys.two is the same key as api_keys.one"],
        ),
    ] {
        refused(text, words);
    }
}
