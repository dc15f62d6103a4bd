//! `POST /oneshot/{namespace}`: who may make one-shot rooms, how many and how fast.

use crate::{
    client::{ask, scrape},
    commands::Configured,
    harness::Driver,
    internal::check,
    oneshot_rooms::{RULES, make, post},
    wire::{self, UPGRADE},
};

on_both_drivers![
    rooms_beyond_the_most_are_answered_503_and_too_fast_ones_429,
    page_of_another_origin_makes_a_room_only_where_it_is_listed,
    pages_of_all_origins_make_rooms_where_all_are_permitted_and_without_credentials,
    request_for_a_room_is_answered_by_what_it_is,
    dev_makes_rooms_for_this_machine_alone,
];

fn rooms_beyond_the_most_are_answered_503_and_too_fast_ones_429(driver: Driver) {
    let flags = [
        "--oneshot-rooms-max",
        "5",
        "--oneshot-rate",
        "1",
        "--oneshot-burst",
        "2",
        "--trusted-proxies",
        "127.0.0.1",
        "--address-rate",
        "0",
    ];
    let configured = Configured::start(driver, "", RULES, &flags);
    let server = &configured.server;
    let by = |client: u8| {
        post(
            server,
            "login",
            &[&format!("X-Forwarded-For: 198.51.100.{client}")],
        )
    };
    let mut made = 0;
    let mut make_until_429 = |client| loop {
        let answer = by(client);
        match answer.status {
            200 => made += 1,
            status => {
                assert_eq!(
                    (status, answer.field("Retry-After")),
                    (429, Some("1")),
                    "{answer:?}"
                );
                break made;
            }
        }
    };
    // A slow machine may be given another one meanwhile.
    let first = make_until_429(1);
    assert!((2..5).contains(&first), "{first}");
    // Another address has a rate of its own.
    assert_eq!(by(2).status, 200);
    let made = first + 1;
    let full = (3..).take(6 - made).map(by).last().unwrap();
    assert_eq!(full.status, 503, "{full:?}");
    let seconds: u64 = full.field("Retry-After").unwrap().parse().unwrap();
    assert!((1..=601).contains(&seconds), "{seconds}");
    let samples = scrape(server);
    check(
        &samples,
        &[
            ("hubbub_oneshot_rooms", 5.0),
            (r#"hubbub_oneshot_refused_total{reason="full"}"#, 1.0),
            (r#"hubbub_limit{key="oneshot_rooms_max"}"#, 5.0),
        ],
    );
    assert!(samples[r#"hubbub_oneshot_refused_total{reason="rate"}"#] >= 1.0);
}

fn page_of_another_origin_makes_a_room_only_where_it_is_listed(driver: Driver) {
    let listed = "https://app.example";
    let flags = ["--allow-origin", listed];
    let configured = Configured::start(driver, "", RULES, &flags);
    let server = &configured.server;
    let with = |method: &str, path: &str, fields: &[&str]| {
        ask(server, wire::request(method, path, fields))
    };
    let origin = format!("Origin: {listed}");
    let made = with("POST", "/oneshot/login", &[&origin]);
    assert_eq!(made.status, 200);
    for (name, value) in [
        ("Access-Control-Allow-Origin", listed),
        ("Vary", "Origin"),
        ("Cache-Control", "no-store"),
        ("Content-Type", "application/json"),
    ] {
        assert_eq!(made.field(name), Some(value), "{name}");
    }
    let own = with("POST", "/oneshot/login", &["Origin: http://localhost"]);
    assert_eq!(own.status, 200);
    let preflight = with(
        "OPTIONS",
        "/oneshot/login",
        &[
            &origin,
            "Access-Control-Request-Method: POST",
            "Connection: close",
        ],
    );
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.field("Access-Control-Allow-Origin"), Some(listed));
    assert_eq!(
        preflight.field("Access-Control-Allow-Methods"),
        Some("POST, OPTIONS")
    );
    // A foreign page is refused before anything is looked at, with a body or without one.
    for path in ["/oneshot/login", "/oneshot/nowhere"] {
        for (method, body) in [
            ("POST", "Content-Length: 0"),
            ("OPTIONS", "X: y"),
            ("GET", "X: y"),
        ] {
            let refused = with(method, path, &["Origin: https://elsewhere.example", body]);
            assert_eq!(refused.status, 403, "{method} {path}");
            assert_eq!(refused.field("Access-Control-Allow-Origin"), None);
        }
    }
}

fn pages_of_all_origins_make_rooms_where_all_are_permitted_and_without_credentials(driver: Driver) {
    let any = Configured::start(driver, "", RULES, &["--allow-origin", "*"]);
    let made = ask(
        &any.server,
        wire::request("POST", "/oneshot/login", &["Origin: https://app.example"]),
    );
    assert_eq!(made.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(made.field("Access-Control-Allow-Credentials"), None);
}

fn request_for_a_room_is_answered_by_what_it_is(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &[]);
    let server = &configured.server;
    let with = |method: &str, path: &str, fields: &[&str]| {
        ask(server, wire::request(method, path, fields))
    };
    let mut request = wire::request("POST", "/oneshot/login", &["Content-Length: 7"]);
    request += "ignored";
    assert_eq!(ask(server, request).status, 200);
    let large = with("POST", "/oneshot/login", &["Content-Length: 132097"]);
    assert_eq!(large.status, 413);
    for path in [
        "/oneshot/nowhere",
        "/oneshot/chat",
        "/oneshot/",
        "/oneshot/login/x",
    ] {
        assert_eq!(with("POST", path, &[]).status, 404, "{path}");
    }
    let get = with("GET", "/oneshot/login", &[]);
    assert_eq!(
        (get.status, get.field("Allow")),
        (405, Some("POST, OPTIONS"))
    );
    let samples = scrape(server);
    check(
        &samples,
        &[
            ("hubbub_oneshot_rooms_created_total", 1.0),
            (r#"hubbub_oneshot_refused_total{reason="namespace"}"#, 4.0),
        ],
    );
}

fn dev_makes_rooms_for_this_machine_alone(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &["--dev"]);
    let server = &configured.server;
    let shot = make(server, "login");
    let via = "Via: 1.1 proxy";
    assert_eq!(post(server, "login", &[via]).status, 403);
    let path = format!("/rooms/{}?secret={}", shot.room, shot.secret);
    let fields: Vec<_> = UPGRADE.into_iter().chain([via]).collect();
    assert_eq!(
        ask(server, wire::request("GET", &path, &fields)).status,
        403
    );
    drop(shot.raw_page(server));
}
