//! Tables of origins that must pass and of those that must not.

use super::*;

fn list(entries: &[&str]) -> AllowList {
    entries
        .iter()
        .map(|entry| entry.parse::<Permit>().unwrap())
        .collect()
}

#[track_caller]
fn check(origin: &str, host: &str, entries: &[&str], expected: bool) {
    let got = allowed(Some(origin.as_bytes()), host, Scheme::Http, &list(entries));
    assert_eq!(got, expected, "{origin:?} to {host:?}, listed {entries:?}");
}

#[test]
fn origin_absent_is_accepted() {
    assert!(allowed(None, "localhost:8000", Scheme::Http, &list(&[])));
    assert!(allowed(
        None,
        "",
        Scheme::Http,
        &list(&["https://example.com"])
    ));
}

#[test]
fn origin_of_the_same_host_and_port_is_accepted() {
    for (origin, host) in [
        ("http://localhost:8000", "localhost:8000"),
        ("https://localhost:8000", "localhost:8000"),
        ("HTTP://LocalHost:8000", "localhost:8000"),
        ("http://localhost:8000", "LOCALHOST:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[::1]:8000", "[0:0:0:0:0:0:0:1]:8000"),
        ("http://[::1]", "[::1]"),
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("http://example.com", "example.com:80"),
        ("https://example.com", "example.com:443"),
        ("https://example.com:443", "example.com"),
        ("http://example.com:80", "example.com"),
        ("http://example.com.", "example.com."),
        ("http://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("http://under_score:1", "under_score:1"),
    ] {
        check(origin, host, &[], true);
    }
}

#[test]
fn origin_of_another_host_or_port_is_refused() {
    for (origin, host) in [
        ("http://evil.com", "localhost:8000"),
        ("http://evil.com:8000", "localhost:8000"),
        ("http://localhost", "localhost:8000"),
        ("http://localhost:8001", "localhost:8000"),
        ("http://localhost:80000", "localhost:8000"),
        ("http://example.com", "example.com:443"),
        ("https://example.com", "example.com:80"),
        ("https://example.com:8443", "example.com"),
        ("http://127.0.0.1:8000", "localhost:8000"),
        ("http://[::1]:8000", "localhost:8000"),
        ("http://[::ffff:127.0.0.1]:8000", "127.0.0.1:8000"),
        ("http://sub.localhost:8000", "localhost:8000"),
        ("http://localhost.:8000", "localhost:8000"),
        ("http://localhost:8000", "localhost.:8000"),
        ("http://localhost:8000", ""),
        ("http://localhost:8000", "localhost:8000, evil.com"),
    ] {
        check(origin, host, &[], false);
    }
}

#[test]
fn origin_that_is_no_origin_is_refused() {
    for origin in [
        "",
        "null",
        "NULL",
        "localhost:8000",
        "//localhost:8000",
        "://localhost:8000",
        "http:localhost:8000",
        "http:/localhost:8000",
        "http:///localhost:8000",
        "http://",
        "http://:8000",
        "http://localhost:",
        "http://localhost:8000/",
        "http://localhost:8000/path",
        "http://localhost:8000?query",
        "http://localhost:8000#fragment",
        "http://localhost:8000.evil.com",
        "http://localhost:8000@evil.com",
        "http://evil.com#localhost:8000",
        "http://evil.com?localhost:8000",
        "http://evil.com/http://localhost:8000",
        "http://evil.com@localhost:8000",
        "http://user:pass@localhost:8000",
        "http://localhost:8000 http://evil.com",
        "http://localhost:8000, http://evil.com",
        " http://localhost:8000",
        "http://localhost:8000 ",
        "http://localhost:8000\0",
        "http://local\thost:8000",
        "http://localhost:+8000",
        "http://localhost:08000",
        "http://localhost:8000:8000",
        "http://localhost\\@evil.com:8000",
        "http://[::1%lo]:8000",
        "http://[::1",
        "http://[::1]x:8000",
        "http://::1:8000",
        "1http://localhost:8000",
        "file://localhost:8000",
        "ws://localhost:8000",
        "chrome-extension://localhost:8000",
        // A Cyrillic o, fullwidth letters, a fullwidth colon, an ideographic full stop.
        "http://l\u{43e}calhost:8000",
        "http://ｌocalhost:8000",
        "http://localhost：8000",
        "http://localhost:８000",
    ] {
        check(origin, "localhost:8000", &[], false);
        check(origin, "localhost:8000", &["https://example.com"], false);
    }
    assert!(!allowed(
        Some(b"http://\xff"),
        "localhost",
        Scheme::Http,
        &list(&[])
    ));
    check("http://a。b", "a.b", &[], false);
    check("http://a..b", "a..b", &[], false);
}

#[test]
fn origin_listed_is_accepted_beside_the_own() {
    let entries = [
        "https://app.example.com",
        "dev.example.com:3000",
        "plain.example.com",
        "capacitor://localhost",
        "http://[2001:DB8::1]:9000",
    ];
    for (origin, expected) in [
        ("https://app.example.com", true),
        ("https://APP.example.com:443", true),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("https://app.example.com.evil.com", false),
        ("https://evil-app.example.com", false),
        ("https://other.example.com", false),
        ("http://dev.example.com:3000", true),
        ("https://dev.example.com:3000", true),
        ("https://dev.example.com", false),
        ("http://plain.example.com", true),
        ("https://plain.example.com", true),
        ("https://plain.example.com:444", false),
        ("capacitor://localhost", true),
        ("http://localhost", false),
        ("capacitor://localhost:1", false),
        ("http://[2001:db8:0::1]:9000", true),
        ("http://localhost:8000", true),
        ("null", false),
    ] {
        check(origin, "localhost:8000", &entries, expected);
    }
}

#[test]
fn origin_that_names_no_host_is_accepted_where_it_is_listed_exactly() {
    for (entry, origin, expected) in [
        ("null", "null", true),
        ("null", "NULL", false),
        ("null", "http://null", false),
        ("null", "file://", false),
        ("null", "null, null", false),
        ("http://null", "null", false),
        ("localhost", "null", false),
        ("file://", "file://", true),
        ("FILE://", "file://", true),
        ("file://", "null", false),
        ("file://", "file:///", false),
        ("file://", "file:///etc/passwd", false),
        ("file://", "file://server", false),
        ("file://", "files://", false),
        ("file://", "http://", false),
        ("file://server", "file://", false),
        ("app://.", "app://.", true),
        ("app://.", "app://", false),
        ("app://.", "app://a.", false),
        ("app://", "app://.", false),
        ("content://", "content://", true),
        ("tauri://localhost", "tauri://localhost", true),
        ("tauri://localhost", "ionic://localhost", false),
        ("chrome-extension://abc", "chrome-extension://abc", true),
        ("chrome-extension://abc", "chrome-extension://abcd", false),
        ("chrome-extension://abc", "chrome-extension://abc/", false),
    ] {
        check(origin, "localhost:8000", &[entry], expected);
    }
}

#[test]
fn origin_any_accepts_everything() {
    for origin in ["null", "http://evil.com", "nonsense", ""] {
        check(
            origin,
            "localhost:8000",
            &["https://example.com", "*"],
            true,
        );
    }
    assert!(list(&["*"]).accepts_any());
    assert!(!list(&["https://example.com"]).accepts_any());
}

#[test]
fn permit_displays_as_it_is_written() {
    for text in [
        "*",
        "https://example.com",
        "http://[::1]:8000",
        "example.com",
        "example.com:3000",
        "capacitor://localhost",
        "null",
        "file://",
        "app://.",
    ] {
        assert_eq!(text.parse::<Permit>().unwrap().to_string(), text);
    }
    let loud: Permit = "HTTPS://Example.COM".parse().unwrap();
    assert_eq!(loud.to_string(), "https://example.com");
    // It is no host of that name, however it is written.
    let loud: Permit = "NULL".parse().unwrap();
    assert_eq!(loud.to_string(), "null");
}

#[test]
fn permit_malformed_is_refused_with_reason_and_names_itself() {
    let not_ascii: fn(String) -> PermitError = PermitError::NotAscii;
    let wildcard: fn(String) -> PermitError = PermitError::Wildcard;
    let malformed: fn(String) -> PermitError = PermitError::Malformed;
    for (text, reason) in [
        ("https://b\u{fc}cher.example", not_ascii),
        ("", malformed),
        ("https://example.com/", malformed),
        ("https://*.example.com", wildcard),
        ("example.com:0", malformed),
        ("example.com:99999", malformed),
        ("user@example.com", malformed),
        ("**", wildcard),
        ("file:///", malformed),
        ("file:", malformed),
        ("app://..", malformed),
        ("app://:1", malformed),
        ("://", malformed),
        ("http://", malformed),
        ("https://.", malformed),
        ("ws://", malformed),
        ("null/", malformed),
    ] {
        let error = text.parse::<Permit>().unwrap_err();
        assert_eq!(error, reason(text.to_owned()));
        assert!(error.to_string().contains(&format!("{text:?} is not ")));
    }
}

#[test]
fn page_of_a_server_with_tls_is_its_own_only_over_tls() {
    for (origin, host, expected) in [
        ("https://example.com", "example.com", true),
        ("https://example.com", "example.com:443", true),
        ("https://example.com:443", "example.com", true),
        ("https://example.com:8443", "example.com:8443", true),
        ("https://example.com", "example.com:8443", false),
        ("http://example.com", "example.com", false),
        ("http://example.com:443", "example.com", false),
        ("http://example.com:8443", "example.com:8443", false),
    ] {
        let got = allowed(Some(origin.as_bytes()), host, Scheme::Https, &list(&[]));
        assert_eq!(got, expected, "{origin} to {host}");
    }
    let listed = list(&["http://example.com"]);
    let origin = Some(&b"http://example.com"[..]);
    assert!(allowed(origin, "example.com", Scheme::Https, &listed));
}
