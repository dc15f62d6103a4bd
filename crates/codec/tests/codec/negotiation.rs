//! permessage-deflate is agreed on, or not: offers, policies, and what the 101 says.

use codec::{DeflatePolicy, Limits, Phase};

use crate::driver::{Driver, TAKEOVER, offering};

const NONE: DeflatePolicy = DeflatePolicy {
    window_bits: 15,
    server_takeover: false,
    client_takeover: false,
};

const SMALL: DeflatePolicy = DeflatePolicy {
    window_bits: 10,
    ..TAKEOVER
};

/// The fields of this name in the 101.
fn answered(offer: &str, policy: &DeflatePolicy) -> Vec<String> {
    let mut driver = Driver::new(Limits {
        head_bytes_max: usize::MAX,
        ..Limits::default()
    });
    driver.policy = Some(*policy);
    driver.feed(offering(offer).as_bytes());
    assert_eq!(driver.connection.phase(), Phase::Open, "{offer}");
    let sent = String::from_utf8(driver.sent).expect("a head is ASCII");
    let fields = sent.split("\r\n");
    let values = fields.filter_map(|field| field.strip_prefix("Sec-WebSocket-Extensions: "));
    values.map(str::to_owned).collect()
}

fn check(offer: &str, policy: &DeflatePolicy, expected: Option<&str>) {
    let answered = answered(offer, policy);
    let expected: Vec<_> = expected
        .map(|parameters| format!("permessage-deflate{parameters}"))
        .into_iter()
        .collect();
    assert_eq!(answered, expected, "{offer} under {policy:?}");
}

#[test]
fn offer_each_parameter_is_answered_as_the_rfc_says() {
    let takeover = |offer, expected| check(offer, &TAKEOVER, Some(expected));
    takeover("permessage-deflate", "");
    takeover(
        "permessage-deflate; server_no_context_takeover",
        "; server_no_context_takeover",
    );
    takeover(
        "permessage-deflate; client_no_context_takeover",
        "; client_no_context_takeover",
    );
    takeover(
        "permessage-deflate; server_max_window_bits=15",
        "; server_max_window_bits=15",
    );
    takeover(
        "permessage-deflate; server_max_window_bits=9",
        "; server_max_window_bits=9",
    );
    takeover("permessage-deflate; client_max_window_bits", "");
    takeover("permessage-deflate; client_max_window_bits=15", "");
    takeover(
        "permessage-deflate; client_max_window_bits=8",
        "; client_max_window_bits=8",
    );
    takeover(
        "permessage-deflate; client_max_window_bits=\"10\"",
        "; client_max_window_bits=10",
    );
    takeover(
        "permessage-deflate;server_max_window_bits = \"1\\2\" ;\tclient_no_context_takeover",
        "; client_no_context_takeover; server_max_window_bits=12",
    );
    takeover(
        "permessage-deflate; client_max_window_bits=11; server_max_window_bits=12; \
         server_no_context_takeover; client_no_context_takeover",
        "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; \
         client_max_window_bits=11",
    );
}

#[test]
fn policy_narrows_what_is_offered() {
    let none = "; server_no_context_takeover; client_no_context_takeover";
    check("permessage-deflate", &NONE, Some(none));
    // What browsers offer. A window that nothing refers to later costs nothing.
    let browser = "permessage-deflate; client_max_window_bits";
    check(browser, &NONE, Some(none));
    check(
        browser,
        &DeflatePolicy {
            client_takeover: false,
            ..SMALL
        },
        Some("; client_no_context_takeover"),
    );
    check(browser, &SMALL, Some("; client_max_window_bits=10"));
    check(
        "permessage-deflate; client_max_window_bits=9",
        &SMALL,
        Some("; client_max_window_bits=9"),
    );
    // Neither is named to a client that did not ask.
    check("permessage-deflate", &SMALL, Some(""));
    check(
        "permessage-deflate; server_max_window_bits=12",
        &SMALL,
        Some("; server_max_window_bits=10"),
    );
    check(
        "permessage-deflate; server_max_window_bits=9",
        &SMALL,
        Some("; server_max_window_bits=9"),
    );
}

#[test]
fn agreement_is_seen_by_the_caller_while_open() {
    let mut driver = Driver::compressed(
        "permessage-deflate; server_max_window_bits=12",
        SMALL,
        Limits::default(),
    );
    let agreed = driver.connection.deflate().unwrap();
    assert!(agreed.server_takeover && agreed.client_takeover);
    assert_eq!(agreed.server_window_bits, 10);
    let narrowed = Driver::compressed("permessage-deflate", SMALL, Limits::default());
    let agreed = narrowed.connection.deflate().unwrap();
    assert_eq!(agreed.server_window_bits, 10, "kept, although unsaid");
    driver.feed(&crate::vectors::short(0x88, ""));
    assert_eq!(driver.connection.deflate(), None);
}

#[test]
fn agreement_says_what_a_connection_may_keep() {
    let check = |offer, policy: DeflatePolicy, bytes| {
        let driver = Driver::compressed(offer, policy, Limits::default());
        let agreed = driver.connection.deflate().unwrap();
        assert_eq!(agreed.contexts_bytes_max(), bytes, "{offer}, {policy:?}");
    };
    let kib = |kib: usize| kib << 10;
    let server = DeflatePolicy {
        client_takeover: false,
        ..TAKEOVER
    };
    let client = DeflatePolicy {
        server_takeover: false,
        ..TAKEOVER
    };
    let plain = "permessage-deflate";
    check(plain, NONE, 0);
    check(plain, client, kib(32 + 1));
    check(plain, server, kib(256 + 128));
    check(plain, TAKEOVER, kib(256 + 128 + 32 + 1));
    // What the client need not keep to, the server must.
    check(plain, SMALL, kib(256 + 4 + 32 + 1));
    let both = "permessage-deflate; client_max_window_bits; server_max_window_bits=9";
    check(both, SMALL, kib(256 + 2 + 1 + 1));
    let least = "permessage-deflate; client_max_window_bits=8";
    check(least, client, kib(1) + 512);
    let neither = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    check(neither, TAKEOVER, 0);
}

#[test]
fn offer_not_supported_is_declined() {
    for parameters in [
        "server_no_context_takeover=1",
        "client_no_context_takeover=\"true\"",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=8",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=09",
        "server_max_window_bits=\"0\\9\"",
        "server_max_window_bits=100",
        "server_max_window_bits=1a",
        "server_max_window_bits=-9",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=+9",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits=15; client_max_window_bits",
        "unknown",
        "client_max_window_bits; unknown=1",
        "Server_No_Context_Takeover",
    ] {
        let offer = format!("permessage-deflate; {parameters}");
        check(&offer, &TAKEOVER, None);
        // The next offer is tried, in the same field or another, whatever stands between.
        let next = format!("{offer}, x, permessage-deflate; client_no_context_takeover");
        check(&next, &TAKEOVER, Some("; client_no_context_takeover"));
        let field = format!("{offer}\r\nsec-websocket-extensions: permessage-deflate");
        check(&field, &TAKEOVER, Some(""));
    }
    check("x-webkit-deflate-frame", &TAKEOVER, None);
    check("Permessage-Deflate", &TAKEOVER, None);
    check("permessage-deflates, permessage", &TAKEOVER, None);
}

#[test]
fn offers_several_the_first_that_can_be_accepted_is() {
    check(
        "permessage-deflate; client_max_window_bits=12, permessage-deflate",
        &TAKEOVER,
        Some("; client_max_window_bits=12"),
    );
    check(
        "x; server_no_context_takeover, permessage-deflate, unknown; client_no_context_takeover",
        &TAKEOVER,
        Some(""),
    );
    let thousands = "permessage-deflate; server_max_window_bits=8, ".repeat(5000);
    check(&format!("{thousands}x"), &TAKEOVER, None);
    check(
        &format!("{thousands}permessage-deflate"),
        &TAKEOVER,
        Some(""),
    );
}

/// Clients and proxies send the field with nothing in it.
#[test]
fn offer_that_is_empty_is_none() {
    for empty in ["", " ", ",", " ,\t, "] {
        check(empty, &TAKEOVER, None);
        let field = format!("{empty}\r\nSec-WebSocket-Extensions: permessage-deflate");
        check(&field, &TAKEOVER, Some(""));
        let mut without_policy = Driver::new(Limits::default());
        without_policy.feed(offering(empty).as_bytes());
        assert_eq!(without_policy.connection.phase(), Phase::Open, "{empty:?}");
    }
}

#[test]
fn offer_without_a_policy_is_not_answered() {
    let mut driver = Driver::new(Limits::default());
    driver.feed(offering("permessage-deflate").as_bytes());
    assert_eq!(driver.connection.deflate(), None);
    let sent = String::from_utf8(driver.sent).unwrap();
    assert!(!sent.contains("Extensions"));
}
