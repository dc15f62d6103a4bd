//! Requests of which two readers could see different ends: each is refused by its rule, whatever is
//! behind it is no request, and the connection is over. However they are cut.

use codec::{HandshakeError, Limits, Phase};

use crate::driver::{Outcome, Seen};
use crate::http::{head, request, served, served_however_cut};

/// What an attacker hopes is taken for the next request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

pub struct Ambiguous {
    pub name: &'static str,
    pub wire: Vec<u8>,
    rule: HandshakeError,
}

/// Fields that say where the body ends, and the rule that they break.
fn fields() -> Vec<(&'static str, &'static str, HandshakeError)> {
    use HandshakeError::{
        BareLineEnding, BodyTooLarge, ContentLength, ControlCharacter, ExpectationUnknown,
        FieldMalformed, FoldedField, TransferEncoding,
    };
    vec![
        ("plus", "Content-Length: +5", ContentLength),
        ("minus", "Content-Length: -5", ContentLength),
        ("minus_zero", "Content-Length: -0", ContentLength),
        ("hexadecimal", "Content-Length: 0x5", ContentLength),
        ("exponent", "Content-Length: 5e0", ContentLength),
        ("fraction", "Content-Length: 5.0", ContentLength),
        ("octal", "Content-Length: 05", ContentLength),
        ("zeros", "Content-Length: 00", ContentLength),
        ("empty", "Content-Length:", ContentLength),
        ("space_inside", "Content-Length: 5 0", ContentLength),
        ("tab_inside", "Content-Length: 5\t0", ContentLength),
        ("word", "Content-Length: five", ContentLength),
        ("quoted", "Content-Length: \"5\"", ContentLength),
        ("parameter", "Content-Length: 5;a", ContentLength),
        ("not_ascii_digit", "Content-Length: ５", ContentLength),
        ("list_same", "Content-Length: 5, 5", ContentLength),
        ("list_empty", "Content-Length: 5,", ContentLength),
        (
            "twice_same",
            "Content-Length: 5\r\nContent-Length: 5",
            ContentLength,
        ),
        (
            "twice_other",
            "Content-Length: 0\r\ncontent-length: 5",
            ContentLength,
        ),
        (
            "twice_apart",
            "Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 6",
            ContentLength,
        ),
        (
            "overflow_64",
            "Content-Length: 18446744073709551616",
            ContentLength,
        ),
        (
            "overflow_far",
            "Content-Length: 100000000000000000000000000005",
            ContentLength,
        ),
        (
            "most_64",
            "Content-Length: 18446744073709551615",
            BodyTooLarge,
        ),
        ("overflow_32", "Content-Length: 4294967301", BodyTooLarge),
        ("beyond", "Content-Length: 1048577", BodyTooLarge),
        ("chunked", "Transfer-Encoding: chunked", TransferEncoding),
        ("identity", "Transfer-Encoding: identity", TransferEncoding),
        (
            "unknown_coding",
            "Transfer-Encoding: xchunked",
            TransferEncoding,
        ),
        (
            "coding_tab",
            "transfer-encoding:\tchunked",
            TransferEncoding,
        ),
        ("coding_empty", "Transfer-Encoding:", TransferEncoding),
        (
            "codings",
            "Transfer-Encoding: gzip, chunked",
            TransferEncoding,
        ),
        (
            "length_then_coding",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            TransferEncoding,
        ),
        (
            "coding_then_length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            TransferEncoding,
        ),
        (
            "zero_and_coding",
            "Content-Length: 0\r\nTransfer-Encoding: identity",
            TransferEncoding,
        ),
        (
            "length_space_before_colon",
            "Content-Length : 5",
            FieldMalformed,
        ),
        (
            "coding_space_before_colon",
            "Transfer-Encoding : chunked",
            FieldMalformed,
        ),
        (
            "coding_folded",
            "Transfer-Encoding:\r\n chunked",
            FoldedField,
        ),
        ("length_folded", "Content-Length: 5\r\n\t0", FoldedField),
        ("first_field_folded", " Content-Length: 5", FoldedField),
        ("bare_lf", "X: y\nContent-Length: 5", BareLineEnding),
        ("bare_cr", "X: y\rContent-Length: 5", BareLineEnding),
        ("two_cr", "X: y\r\r\nContent-Length: 5", BareLineEnding),
        ("nul_in_value", "Content-Length: 5\0", ControlCharacter),
        ("vertical_tab", "Content-Length: \x0b5", ControlCharacter),
        (
            "form_feed",
            "Transfer-Encoding: \x0cchunked",
            ControlCharacter,
        ),
        ("nul_in_name", "Content-Length\0: 5", ControlCharacter),
        ("no_colon", "Content-Length 5", FieldMalformed),
        (
            "expect_other",
            "Expect: 200-ok\r\nContent-Length: 5",
            ExpectationUnknown,
        ),
        (
            "expect_list",
            "Expect: y, 100-continue\r\nContent-Length: 5",
            ExpectationUnknown,
        ),
        (
            "expect_word_before",
            "Expect: y 100-continue\r\nContent-Length: 5",
            ExpectationUnknown,
        ),
        (
            "expect_twice",
            "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5",
            ExpectationUnknown,
        ),
    ]
}

pub fn ambiguous() -> Vec<Ambiguous> {
    let mut all: Vec<_> = fields()
        .into_iter()
        .map(|(name, fields, rule)| Ambiguous {
            name,
            wire: (head("POST /a", &format!("{fields}\r\n")) + HIDDEN).into_bytes(),
            rule,
        })
        .collect();
    // A body in chunks, in which the end of a body by length and the next request are hidden.
    let chunks = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n{HIDDEN}", HIDDEN.len());
    all.push(Ambiguous {
        name: "body_in_chunks",
        wire: (head("POST /a", "Transfer-Encoding: chunked\r\n") + &chunks).into_bytes(),
        rule: HandshakeError::TransferEncoding,
    });
    all
}

/// One event, one answer with the status of the rule, and the end.
fn check_refused(name: &str, rule: HandshakeError, seen: &[Seen], outcome: &Outcome) {
    assert_eq!(outcome.seen, seen, "{name}");
    assert_eq!(outcome.phase, Phase::Closed, "{name}");
    let sent = String::from_utf8_lossy(&outcome.sent);
    let answer = format!("HTTP/1.1 {} ", rule.status());
    let answers = sent.matches("HTTP/1.1 ").count();
    let expected = seen.iter().filter(|it| !matches!(it, Seen::Body(_)));
    assert!(sent.contains(&answer), "{name}: {sent}");
    assert_eq!(answers, expected.count(), "{name}: {sent}");
    assert_eq!(
        sent.matches("Connection: close").count(),
        1,
        "{name}: {sent}"
    );
}

#[test]
fn ambiguous_requests_however_cut_are_refused_and_hide_nothing() {
    for Ambiguous { name, wire, rule } in ambiguous() {
        let seen = [Seen::Failed(rule.into())];
        check_refused(name, rule, &seen, &served_however_cut(name, &wire));
    }
}

/// A connection that was kept is not less strict.
#[test]
fn ambiguous_requests_behind_good_ones_are_refused_all_the_same() {
    let good = head("POST /a", "Content-Length: 5\r\n") + "hello";
    for Ambiguous { name, wire, rule } in ambiguous() {
        let wire = [good.as_bytes(), &wire].concat();
        let seen = [
            request("POST", "/a"),
            Seen::Body(b"hello".into()),
            Seen::Failed(rule.into()),
        ];
        let limits = Limits::default();
        let whole = served([&wire[..]], &limits);
        assert_eq!(served(wire.chunks(1), &limits), whole, "{name}");
        check_refused(name, rule, &seen, &whole);
    }
}

/// A method without a body in mind, and an old version, are no way around.
#[test]
fn ambiguous_requests_of_any_method_and_version_are_refused() {
    for Ambiguous { name, wire, rule } in ambiguous() {
        let text = String::from_utf8(wire).unwrap();
        for method in ["GET", "DELETE", "OPTIONS", "HEAD"] {
            let wire = text.replacen("POST", method, 1);
            let outcome = served([wire.as_bytes()], &Limits::default());
            assert_eq!(
                outcome.seen,
                [Seen::Failed(rule.into())],
                "{method}, {name}"
            );
        }
        let old = text.replacen("HTTP/1.1", "HTTP/1.0", 1);
        let outcome = served([old.as_bytes()], &Limits::default());
        assert_eq!(outcome.seen, [Seen::Failed(rule.into())], "1.0, {name}");
    }
}

/// The white space that RFC 9110 section 5.5 permits around a value is no part of it.
#[test]
fn length_with_white_space_around_it_is_that_length() {
    for field in [
        "Content-Length:5",
        "Content-Length:  5 ",
        "cOnTeNt-LeNgTh:\t5\t",
    ] {
        let wire = head("POST /a", &format!("{field}\r\n")) + "hello" + HIDDEN;
        let outcome = served_however_cut(field, wire.as_bytes());
        let body = Seen::Body(b"hello".into());
        let seen = [request("POST", "/a"), body, request("GET", "/hidden")];
        assert_eq!(outcome.seen, seen, "{field}");
    }
}

/// The bytes of a body are its own, whatever they look like; so are those behind a body that was
/// refused by the application.
#[test]
fn request_inside_a_body_is_none() {
    for (target, taken) in [("/a", true), ("/a!", false)] {
        let length = format!("Content-Length: {}\r\n", HIDDEN.len());
        let wire = head(&format!("POST {target}"), &length) + HIDDEN;
        let outcome = served_however_cut(target, wire.as_bytes());
        let mut seen = vec![request("POST", target)];
        seen.extend(taken.then(|| Seen::Body(HIDDEN.into())));
        assert_eq!(outcome.seen, seen);
    }
}
