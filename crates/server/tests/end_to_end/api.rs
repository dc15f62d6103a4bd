//! The API as such: how it says what it has come to, and what it says of itself.

use serde_json::{Value, json};

use crate::{
    caller::{Api, KEY, json as body_of},
    client::scrape,
    harness::Driver,
};

on_both_drivers![
    errors_are_told_in_either_mode,
    description_is_served_and_names_every_method,
    calls_are_counted,
];

fn errors_are_told_in_either_mode(driver: Driver) {
    let config = "[namespaces.chat]\nhistory_size = 1\n";
    let cases = [
        ("publish", json!({"channel": "a:b", "data": 1}), 102, 404),
        ("publish", json!({"channel": "chat:a"}), 107, 400),
        ("presence", json!({"channel": "chat:a"}), 108, 400),
        ("rpc", json!({"method": "a"}), 104, 404),
        (
            "history",
            json!({"channel": "chat:a", "since": {"offset": 1, "epoch": "x"}, "limit": 1}),
            112,
            416,
        ),
        (
            "publish",
            json!({"channel": "chat:a", "data": 2, "idempotency_key": "k"}),
            113,
            409,
        ),
    ];
    for (flags, is_transport) in [(&[][..], false), (&["--api-error-mode", "transport"], true)] {
        let server = Api::start(driver, config, flags);
        server.call(
            "publish",
            json!({"channel": "chat:a", "data": 1, "idempotency_key": "k"}),
        );
        for (method, request, code, status) in &cases {
            let path = format!("/api/{method}");
            let answer = server.post(&path, &[], request.to_string());
            let error = body_of(&answer);
            let error = match is_transport {
                true => {
                    assert_eq!(answer.status, *status, "{request}");
                    error
                }
                false => {
                    assert_eq!(answer.status, 200);
                    error["error"].clone()
                }
            };
            assert_eq!(error["code"], *code, "{request}");
            assert!(!error["message"].as_str().unwrap().is_empty());
            // A request can ask for it.
            let mode = ["X-Centrifugo-Error-Mode: transport"];
            assert_eq!(
                server.post(&path, &mode, request.to_string()).status,
                *status
            );
        }
        // What is answered for several is no failure as a whole.
        let mode = ["X-Centrifugo-Error-Mode: transport"];
        let several = json!({"channels": ["a:b"], "data": 1}).to_string();
        let answer = server.post("/api/broadcast", &mode, several);
        assert_eq!(answer.status, 200);
        assert_eq!(
            body_of(&answer)["result"]["responses"][0]["error"]["code"],
            102
        );
    }
}

fn description_is_served_and_names_every_method(driver: Driver) {
    let server = Api::start(driver, "", &[]);
    let key = format!("X-API-Key: {KEY}");
    let answer = server.ask("GET", "/openapi.json", &[&key], b"");
    assert_eq!(answer.status, 200);
    let document = body_of(&answer);
    assert_eq!(document["openapi"], "3.1.0");
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    assert!(paths.len() > 10, "{paths:?}");
    for path in paths {
        let Some(method) = path.strip_prefix("/api/") else {
            continue;
        };
        let answer = server.post(path, &[], "{}");
        assert_eq!(answer.status, 200, "{method}");
        let answer: Value = body_of(&answer);
        // A batch is answered with its replies alone.
        let said = ["result", "error", "replies"];
        assert!(said.iter().any(|it| answer.get(it).is_some()), "{answer}");
    }
}

fn calls_are_counted(driver: Driver) {
    let server = Api::start(driver, "", &[]);
    server.call("publish", json!({"channel": "a", "data": 1}));
    server.call(
        "batch",
        json!({"commands": [{"publish": {"channel": "a", "data": 1}}, {"publish": {}}]}),
    );
    let _ = server.ask("POST", "/api/info", &[], b"{}");
    let samples = scrape(&server);
    for (series, value) in [
        ("calls_total{method=\"publish\",outcome=\"done\"}", 2.0),
        ("calls_total{method=\"publish\",outcome=\"failed\"}", 1.0),
        ("calls_total{method=\"batch\",outcome=\"done\"}", 1.0),
        ("errors_total{code=\"107\"}", 1.0),
        ("refused_total{reason=\"no_key\"}", 1.0),
        ("request_seconds_count", 3.0),
    ] {
        assert_eq!(samples[&format!("hubbub_api_{series}")], value, "{series}");
    }
}
