//! Wire bytes and what must come of them: one entry for each rule and each edge of it.

use codec::{CloseCode, FrameError, HandshakeError, Kind};

use crate::driver::{HANDSHAKE, Seen};

pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Frames given to an open connection.
pub struct Frames {
    pub name: &'static str,
    pub wire: Vec<u8>,
    pub seen: Vec<Seen>,
    /// The index of the byte upon which the rule must be found broken.
    pub fails_at: Option<usize>,
}

/// A request head given to a new connection.
pub struct Head {
    pub name: &'static str,
    pub wire: Vec<u8>,
    /// What the scan or the parser, or else the check for an upgrade, says.
    pub refused: Option<HandshakeError>,
}

/// A frame from its first byte, the bytes of its length as sent, and the payload that follows.
pub fn frame(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let masked = payload
        .iter()
        .zip(KEY.iter().cycle())
        .map(|(byte, key)| byte ^ key);
    let mut wire = vec![first];
    wire.extend_from_slice(length);
    wire.extend_from_slice(&KEY);
    wire.extend(masked);
    wire
}

/// A frame with a payload of up to 125 bytes.
pub fn short(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    frame(
        first,
        &[0x80 | u8::try_from(payload.len()).expect("a short payload")],
        payload,
    )
}

fn text(payload: &str) -> Seen {
    Seen::Message(Kind::Text, payload.into())
}

fn binary(length: usize) -> Seen {
    Seen::Message(Kind::Binary, vec![7; length])
}

fn ping(payload: &str) -> Seen {
    Seen::Ping(payload.into())
}

/// Frames that keep the rules.
pub fn good_frames() -> Vec<Frames> {
    let good = |name, frames: &[Vec<u8>], seen: &[Seen]| Frames {
        name,
        wire: frames.concat(),
        seen: seen.to_vec(),
        fails_at: None,
    };
    let close = |code: u16| Seen::Close(CloseCode::from_wire(code));
    let sized = |first, length: &[u8], bytes: usize| frame(first, length, &vec![7; bytes]);
    vec![
        good(
            "text_short_whole",
            &[short(0x81, "Hello")],
            &[text("Hello")],
        ),
        good("text_empty_whole", &[short(0x81, "")], &[text("")]),
        good(
            "text_multibyte_whole",
            &[short(0x81, "κόσμε 😀")],
            &[text("κόσμε 😀")],
        ),
        good(
            "binary_125_whole",
            &[sized(0x82, &[0x80 | 125], 125)],
            &[binary(125)],
        ),
        good(
            "binary_126_whole",
            &[sized(0x82, &[0xfe, 0, 126], 126)],
            &[binary(126)],
        ),
        good(
            "binary_127_whole",
            &[sized(0x82, &[0xfe, 0, 127], 127)],
            &[binary(127)],
        ),
        good(
            "messages_two_in_order",
            &[short(0x81, "one"), short(0x82, [7, 7])],
            &[text("one"), binary(2)],
        ),
        good(
            "fragments_three_joined",
            &[short(0x01, "a"), short(0x00, "b"), short(0x80, "c")],
            &[text("abc")],
        ),
        good(
            "fragments_empty_joined",
            &[short(0x01, ""), short(0x00, ""), short(0x80, "")],
            &[text("")],
        ),
        good(
            "fragments_inside_a_character_joined",
            &[
                short(0x01, b"\xf0\x9f"),
                short(0x00, b"\x98"),
                short(0x80, b"\x80!"),
            ],
            &[text("😀!")],
        ),
        good(
            "binary_not_utf8_joined",
            &[short(0x02, b"\xff"), short(0x80, b"\xfe")],
            &[Seen::Message(Kind::Binary, b"\xff\xfe".to_vec())],
        ),
        good(
            "fragments_with_controls_between_joined",
            &[
                short(0x01, "a"),
                short(0x89, "p"),
                short(0x8a, "q"),
                short(0x80, "b"),
            ],
            &[ping("p"), Seen::Pong(b"q".to_vec()), text("ab")],
        ),
        good("ping_empty_answered", &[short(0x89, "")], &[ping("")]),
        good(
            "ping_125_answered",
            &[short(0x89, "x".repeat(125))],
            &[ping(&"x".repeat(125))],
        ),
        good(
            "pong_unasked_seen",
            &[short(0x8a, "hi")],
            &[Seen::Pong(b"hi".to_vec())],
        ),
        good(
            "close_empty_echoed",
            &[short(0x88, "")],
            &[Seen::Close(None)],
        ),
        good(
            "close_1000_echoed",
            &[short(0x88, b"\x03\xe8")],
            &[close(1000)],
        ),
        good(
            "close_1014_echoed",
            &[short(0x88, b"\x03\xf6")],
            &[close(1014)],
        ),
        good(
            "close_4999_reason_echoed",
            &[short(0x88, b"\x13\x87caf\xc3\xa9")],
            &[close(4999)],
        ),
        good(
            "close_inside_message_echoed",
            &[short(0x01, "a"), short(0x88, b"\x03\xe9")],
            &[close(1001)],
        ),
        good(
            "close_then_anything_ignored",
            &[short(0x88, ""), short(0x81, "late"), b"\xff\xff".to_vec()],
            &[Seen::Close(None)],
        ),
    ]
}

/// Frames that break a rule with their last byte but those in `fails_at`.
pub fn bad_frames() -> Vec<Frames> {
    use FrameError as E;
    let bad = |name, wire: &[Vec<u8>], error: E, fails_at: usize| Frames {
        name,
        wire: wire.concat(),
        seen: vec![Seen::Failed(error.into())],
        fails_at: Some(fails_at),
    };
    let length = |length: u64| [&[0xff][..], &length.to_be_bytes()].concat();
    let long = |first, bytes: u64| frame(first, &length(bytes), b"");
    let fragment = short(0x01, "a");
    vec![
        bad("rsv1_set_refused", &[short(0xc1, "a")], E::ReservedBits, 0),
        bad("rsv2_set_refused", &[short(0xa1, "a")], E::ReservedBits, 0),
        bad("rsv3_set_refused", &[short(0x91, "a")], E::ReservedBits, 0),
        bad(
            "rsv_on_control_refused",
            &[short(0xc9, "a")],
            E::ReservedBits,
            0,
        ),
        bad(
            "opcode_3_refused",
            &[short(0x83, "a")],
            E::ReservedOpcode,
            0,
        ),
        bad(
            "opcode_7_refused",
            &[short(0x07, "a")],
            E::ReservedOpcode,
            0,
        ),
        bad(
            "opcode_11_refused",
            &[short(0x8b, "a")],
            E::ReservedOpcode,
            0,
        ),
        bad(
            "opcode_15_refused",
            &[short(0x8f, "a")],
            E::ReservedOpcode,
            0,
        ),
        bad(
            "ping_fragmented_refused",
            &[short(0x09, "a")],
            E::ControlFragmented,
            0,
        ),
        bad(
            "pong_fragmented_refused",
            &[short(0x0a, "a")],
            E::ControlFragmented,
            0,
        ),
        bad(
            "close_fragmented_refused",
            &[short(0x08, "")],
            E::ControlFragmented,
            0,
        ),
        bad(
            "ping_126_refused",
            &[frame(0x89, &[0xfe, 0, 126], b"")],
            E::ControlTooLong,
            1,
        ),
        bad(
            "ping_length_127_refused",
            &[long(0x89, 1 << 20)],
            E::ControlTooLong,
            1,
        ),
        bad(
            "close_126_refused",
            &[frame(0x88, &[0xfe, 0, 126], b"")],
            E::ControlTooLong,
            1,
        ),
        bad(
            "continuation_first_refused",
            &[short(0x80, "a")],
            E::ContinuationWithoutStart,
            0,
        ),
        bad(
            "continuation_open_first_refused",
            &[short(0x00, "a")],
            E::ContinuationWithoutStart,
            0,
        ),
        bad(
            "text_inside_message_refused",
            &[fragment.clone(), short(0x81, "b")],
            E::MessageInterleaved,
            7,
        ),
        bad(
            "binary_inside_message_refused",
            &[fragment.clone(), short(0x02, "b")],
            E::MessageInterleaved,
            7,
        ),
        bad(
            "unmasked_text_refused",
            &[b"\x81\x01a".to_vec()],
            E::Unmasked,
            1,
        ),
        bad(
            "unmasked_ping_refused",
            &[b"\x89\x00".to_vec()],
            E::Unmasked,
            1,
        ),
        bad(
            "unmasked_long_ping_refused",
            &[b"\x89\x7e".to_vec()],
            E::Unmasked,
            1,
        ),
        bad(
            "length16_of_125_refused",
            &[frame(0x82, &[0xfe, 0, 125], b"")],
            E::LengthNotMinimal,
            3,
        ),
        bad(
            "length16_of_0_refused",
            &[frame(0x82, &[0xfe, 0, 0], b"")],
            E::LengthNotMinimal,
            3,
        ),
        bad(
            "length64_of_65535_refused",
            &[long(0x82, 65535)],
            E::LengthNotMinimal,
            9,
        ),
        bad(
            "length64_of_5_refused",
            &[long(0x82, 5)],
            E::LengthNotMinimal,
            9,
        ),
        bad(
            "length64_of_2_63_refused",
            &[long(0x82, 1 << 63)],
            E::LengthHighestBit,
            2,
        ),
        bad(
            "length64_of_2_64_refused",
            &[long(0x82, u64::MAX)],
            E::LengthHighestBit,
            2,
        ),
        bad(
            "message_of_65537_refused",
            &[long(0x82, 65537)],
            E::MessageTooBig,
            13,
        ),
        bad(
            "message_of_2_31_refused",
            &[long(0x82, 1 << 31)],
            E::MessageTooBig,
            13,
        ),
        bad(
            "message_of_2_62_refused",
            &[long(0x82, 1 << 62)],
            E::MessageTooBig,
            13,
        ),
        bad(
            "message_of_2_63_less_1_refused",
            &[long(0x82, (1 << 63) - 1)],
            E::MessageTooBig,
            13,
        ),
        bad(
            "message_of_2_63_in_fragments_refused",
            &[fragment, long(0x80, (1 << 63) - 1)],
            E::MessageTooBig,
            20,
        ),
        bad(
            "text_bad_byte_refused",
            &[short(0x81, b"ab\xffcd")],
            E::TextUtf8,
            8,
        ),
        bad(
            "text_surrogate_refused",
            &[short(0x81, b"\xed\xa0\x80")],
            E::TextUtf8,
            7,
        ),
        bad(
            "text_overlong_refused",
            &[short(0x81, b"\xc0\xaf")],
            E::TextUtf8,
            6,
        ),
        bad(
            "text_above_unicode_refused",
            &[short(0x81, b"\xf4\x90\x80\x80")],
            E::TextUtf8,
            7,
        ),
        bad(
            "text_cut_in_character_refused",
            &[short(0x81, b"a\xe2\x82")],
            E::TextUtf8,
            8,
        ),
        bad(
            "fragments_bad_across_refused",
            &[short(0x01, b"\xe2\x82"), short(0x80, b"(b")],
            E::TextUtf8,
            14,
        ),
        bad(
            "fragments_cut_in_character_refused",
            &[short(0x01, b"a"), short(0x80, b"\xe2")],
            E::TextUtf8,
            13,
        ),
        bad(
            "fragments_cut_by_empty_last_refused",
            &[short(0x01, b"\xe2"), short(0x80, b"")],
            E::TextUtf8,
            12,
        ),
        bad(
            "close_of_1_byte_refused",
            &[short(0x88, b"\x03")],
            E::CloseTruncated,
            6,
        ),
        bad(
            "close_0_refused",
            &[short(0x88, b"\0\0")],
            E::CloseCodeInvalid,
            7,
        ),
        bad(
            "close_999_refused",
            &[short(0x88, b"\x03\xe7")],
            E::CloseCodeInvalid,
            7,
        ),
        bad(
            "close_1004_refused",
            &[short(0x88, b"\x03\xec")],
            E::CloseCodeInvalid,
            7,
        ),
        bad(
            "close_1005_refused",
            &[short(0x88, b"\x03\xed")],
            E::CloseCodeInvalid,
            7,
        ),
        bad(
            "close_1006_refused",
            &[short(0x88, b"\x03\xee")],
            E::CloseCodeInvalid,
            7,
        ),
        bad(
            "close_1015_refused",
            &[short(0x88, b"\x03\xf7")],
            E::CloseCodeInvalid,
            7,
        ),
        bad(
            "close_2999_refused",
            &[short(0x88, b"\x0b\xb7")],
            E::CloseCodeInvalid,
            7,
        ),
        bad(
            "close_5000_refused",
            &[short(0x88, b"\x13\x88")],
            E::CloseCodeInvalid,
            7,
        ),
        bad(
            "close_reason_bad_refused",
            &[short(0x88, b"\x03\xe8\xff")],
            E::CloseReasonUtf8,
            8,
        ),
        bad(
            "close_reason_cut_refused",
            &[short(0x88, b"\x03\xe8\xe2")],
            E::CloseReasonUtf8,
            8,
        ),
    ]
}

/// The good handshake with one text in place of another.
fn with(from: &str, to: &str) -> Vec<u8> {
    assert!(HANDSHAKE.contains(from), "{from:?} is not in the handshake");
    HANDSHAKE.replacen(from, to, 1).into_bytes()
}

fn plus(lines: &str) -> Vec<u8> {
    with("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"))
}

/// Heads of every kind.
pub fn heads() -> Vec<Head> {
    [
        accepted_heads(),
        refused_lines(),
        refused_fields(),
        refused_upgrades(),
    ]
    .into_iter()
    .flatten()
    .map(|(name, wire, refused)| Head {
        name,
        wire,
        refused,
    })
    .collect()
}

type Row = (&'static str, Vec<u8>, Option<HandshakeError>);

fn accepted_heads() -> Vec<Row> {
    let lower = HANDSHAKE
        .to_lowercase()
        .replacen("get", "GET", 1)
        .replacen("http/", "HTTP/", 1);
    let lower = lower.replacen("dghlihnhbxbszsbub25jzq==", "dGhlIHNhbXBsZSBub25jZQ==", 1);
    vec![
        ("handshake_plain_accepted", HANDSHAKE.into(), None),
        ("handshake_lower_case_accepted", lower.into(), None),
        (
            "handshake_upper_tokens_accepted",
            with("websocket", "WEBSOCKET"),
            None,
        ),
        (
            "handshake_after_empty_lines_accepted",
            [b"\r\n\r\n", HANDSHAKE.as_bytes()].concat(),
            None,
        ),
        (
            "upgrade_in_list_accepted",
            with("websocket", "h2c, ,websocket"),
            None,
        ),
        (
            "connection_in_two_fields_accepted",
            with("keep-alive, ", "a\r\nConnection: "),
            None,
        ),
        (
            "spaces_around_value_accepted",
            with(": websocket", ":\t websocket \t"),
            None,
        ),
        ("content_length_0_accepted", plus("Content-Length: 0"), None),
        (
            "target_absolute_accepted",
            with("/room?", "http://other.example/room?"),
            None,
        ),
        ("value_latin1_accepted", plus("X: \u{e9}"), None),
        (
            "extensions_unknown_accepted",
            plus("Sec-WebSocket-Extensions: x-webkit; mode=\"a\\b\", , y"),
            None,
        ),
        (
            "extensions_deflate_accepted",
            plus("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
            None,
        ),
        (
            "extensions_empty_accepted",
            plus("Sec-WebSocket-Extensions:"),
            None,
        ),
        (
            "extensions_commas_accepted",
            plus("Sec-WebSocket-Extensions: , \t,"),
            None,
        ),
        (
            "extensions_empty_and_one_accepted",
            plus("Sec-WebSocket-Extensions:\r\nSec-WebSocket-Extensions: permessage-deflate"),
            None,
        ),
        (
            "key_stray_bits_accepted",
            with("dGhlIHNhbXBsZSBub25jZQ==", STRAY_BITS_KEY),
            None,
        ),
    ]
}

/// The key of the example in RFC 6455 section 4.1: its last character has bits that are of none of the
/// sixteen bytes.
pub const STRAY_BITS_KEY: &str = "AQIDBAUGBwgJCgsMDQ4PEC==";

fn refused_lines() -> Vec<Row> {
    use HandshakeError as E;
    let no = |name, wire: Vec<u8>, error| (name, wire, Some(error));
    let line = |line: &str| with("GET /room?a=b HTTP/1.1", line);
    vec![
        no(
            "lines_bare_lf_refused",
            HANDSHAKE.replace('\r', "").into(),
            E::BareLineEnding,
        ),
        no(
            "end_bare_lf_refused",
            with("\r\n\r\n", "\n\n"),
            E::BareLineEnding,
        ),
        no(
            "line_bare_lf_refused",
            plus("A: b\nC: d"),
            E::BareLineEnding,
        ),
        no(
            "line_bare_cr_refused",
            plus("A: b\rC: d"),
            E::BareLineEnding,
        ),
        no(
            "line_cr_cr_lf_refused",
            plus("A: b\r\r\nC: d"),
            E::BareLineEnding,
        ),
        no("value_nul_refused", plus("A: b\0"), E::ControlCharacter),
        no(
            "value_escape_refused",
            plus("A: \x1b[31m"),
            E::ControlCharacter,
        ),
        no("value_delete_refused", plus("A: \x7f"), E::ControlCharacter),
        no(
            "tls_hello_refused",
            b"\x16\x03\x01\x02\0".to_vec(),
            E::TlsHello,
        ),
        no("fold_space_refused", plus("A: b\r\n c"), E::FoldedField),
        no("fold_tab_refused", plus("A: b\r\n\tc"), E::FoldedField),
        no(
            "fold_first_refused",
            with("\r\nHost", "\r\n Host"),
            E::FoldedField,
        ),
        no(
            "line_without_version_refused",
            line("GET /"),
            E::RequestLineMalformed,
        ),
        no(
            "line_two_spaces_refused",
            line("GET  / HTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "line_space_first_refused",
            line(" GET / HTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "line_bad_method_refused",
            line("G(T / HTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "line_tab_refused",
            line("GET /\ta HTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "line_trailing_refused",
            line("GET / HTTP/1.1 "),
            E::RequestLineMalformed,
        ),
        no(
            "target_relative_refused",
            line("GET room HTTP/1.1"),
            E::TargetInvalid,
        ),
        no(
            "target_authority_refused",
            line("CONNECT a:80 HTTP/1.1"),
            E::TargetInvalid,
        ),
        no(
            "target_fragment_refused",
            line("GET /a#b HTTP/1.1"),
            E::TargetInvalid,
        ),
        no(
            "target_not_ascii_refused",
            line("GET /é HTTP/1.1"),
            E::TargetInvalid,
        ),
        no(
            "target_user_refused",
            line("GET http://u@h/ HTTP/1.1"),
            E::TargetInvalid,
        ),
        no(
            "target_scheme_refused",
            line("GET ftp://h/ HTTP/1.1"),
            E::TargetInvalid,
        ),
        no(
            "target_no_host_refused",
            line("GET http:///a HTTP/1.1"),
            E::TargetInvalid,
        ),
        no("version_2_refused", line("GET / HTTP/2.0"), E::HttpVersion),
        no(
            "version_1_2_refused",
            line("GET / HTTP/1.2"),
            E::HttpVersion,
        ),
        no("version_3_refused", line("GET / HTTP/3.0"), E::HttpVersion),
        no(
            "version_0_9_refused",
            line("GET / HTTP/0.9"),
            E::HttpVersion,
        ),
        no(
            "version_of_no_method_known_refused",
            line("PRI * HTTP/2.0"),
            E::HttpVersion,
        ),
        no(
            "version_after_an_empty_line_refused",
            with("GET /room?a=b HTTP/1.1", "\r\nGET / HTTP/2.0"),
            E::HttpVersion,
        ),
        no(
            "version_lower_refused",
            line("GET / http/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "version_without_minor_refused",
            line("GET / HTTP/2"),
            E::RequestLineMalformed,
        ),
        no(
            "version_two_digits_refused",
            line("GET / HTTP/1.10"),
            E::RequestLineMalformed,
        ),
        no(
            "version_major_two_digits_refused",
            line("GET / HTTP/11.1"),
            E::RequestLineMalformed,
        ),
        no(
            "version_no_digit_refused",
            line("GET / HTTP/x.1"),
            E::RequestLineMalformed,
        ),
        no(
            "version_of_another_protocol_refused",
            line("GET / RTSP/1.0"),
            E::RequestLineMalformed,
        ),
        no(
            "version_empty_refused",
            line("GET / "),
            E::RequestLineMalformed,
        ),
        no(
            "version_2_trailing_refused",
            line("GET / HTTP/2.0 "),
            E::RequestLineMalformed,
        ),
        no(
            "version_twice_in_line_refused",
            line("GET / HTTP/1.1 HTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "version_after_two_spaces_refused",
            line("GET /  HTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "version_after_tab_refused",
            line("GET /\tHTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "target_space_refused",
            line("GET /rooms/a b HTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "target_spaces_refused",
            line("GET /rooms/a b c d HTTP/1.1"),
            E::RequestLineMalformed,
        ),
        no(
            "target_space_version_2_refused",
            line("GET /rooms/a b HTTP/2.0"),
            E::RequestLineMalformed,
        ),
    ]
}

fn refused_fields() -> Vec<Row> {
    use HandshakeError as E;
    let no = |name, wire: Vec<u8>, error| (name, wire, Some(error));
    let host = |host: &str| with("Host: example.com:80\r\n", host);
    vec![
        no(
            "field_space_before_colon_refused",
            plus("A : b"),
            E::FieldMalformed,
        ),
        no(
            "field_without_colon_refused",
            plus("Abc"),
            E::FieldMalformed,
        ),
        no("field_empty_name_refused", plus(": b"), E::FieldMalformed),
        no("field_bad_name_refused", plus("A(b): c"), E::FieldMalformed),
        no("host_missing_refused", host(""), E::HostMissing),
        no(
            "host_repeated_refused",
            plus("host: example.com:80"),
            E::HostRepeated,
        ),
        no("host_list_refused", host("Host: a,b\r\n"), E::HostInvalid),
        no("host_space_refused", host("Host: a b\r\n"), E::HostInvalid),
        no("host_path_refused", host("Host: a/b\r\n"), E::HostInvalid),
        no("host_user_refused", host("Host: u@a\r\n"), E::HostInvalid),
        no(
            "host_not_ascii_refused",
            host("Host: é\r\n"),
            E::HostInvalid,
        ),
        no(
            "length_5_refused",
            plus("Content-Length: 5"),
            E::BodyUnexpected,
        ),
        no(
            "length_beyond_the_limit_refused",
            plus("Content-Length: 1048577"),
            E::BodyTooLarge,
        ),
        no(
            "length_that_overflows_refused",
            plus("Content-Length: 18446744073709551616"),
            E::ContentLength,
        ),
        no(
            "expectation_refused",
            plus("Expect: 200-ok"),
            E::ExpectationUnknown,
        ),
        no(
            "length_plus_5_refused",
            plus("Content-Length: +5"),
            E::ContentLength,
        ),
        no(
            "length_00_refused",
            plus("Content-Length: 00"),
            E::ContentLength,
        ),
        no(
            "length_empty_refused",
            plus("Content-Length:"),
            E::ContentLength,
        ),
        no(
            "length_list_refused",
            plus("Content-Length: 0, 0"),
            E::ContentLength,
        ),
        no(
            "length_twice_refused",
            plus("Content-Length: 0\r\ncontent-length: 0"),
            E::ContentLength,
        ),
        no(
            "chunked_refused",
            plus("Transfer-Encoding: chunked"),
            E::TransferEncoding,
        ),
        no(
            "encoding_identity_refused",
            plus("Transfer-Encoding: identity"),
            E::TransferEncoding,
        ),
        no(
            "length_and_encoding_refused",
            plus("Content-Length: 0\r\nTransfer-Encoding: chunked"),
            E::TransferEncoding,
        ),
    ]
}

fn refused_upgrades() -> Vec<Row> {
    use HandshakeError as E;
    let no = |name, wire: Vec<u8>, error| (name, wire, Some(error));
    let key = |key: &str| with("dGhlIHNhbXBsZSBub25jZQ==", key);
    let version = |line: &str| with("Sec-WebSocket-Version: 13\r\n", line);
    vec![
        no(
            "upgrade_post_refused",
            with("GET", "POST"),
            E::UpgradeMethod,
        ),
        no(
            "upgrade_get_lower_refused",
            with("GET", "get"),
            E::UpgradeMethod,
        ),
        no(
            "upgrade_http10_refused",
            with("HTTP/1.1", "HTTP/1.0"),
            E::UpgradeHttpVersion,
        ),
        no(
            "upgrade_field_missing_refused",
            with("Upgrade: websocket\r\n", ""),
            E::UpgradeMissing,
        ),
        no(
            "upgrade_other_refused",
            with("websocket", "websockets"),
            E::UpgradeMissing,
        ),
        no(
            "connection_missing_refused",
            with("keep-alive, Upgrade", "close"),
            E::ConnectionToken,
        ),
        no(
            "connection_joined_refused",
            with("alive, Up", "alive Up"),
            E::ConnectionToken,
        ),
        no(
            "key_missing_refused",
            with("Sec-WebSocket-Key", "X"),
            E::KeyMissing,
        ),
        no(
            "key_twice_refused",
            plus("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
            E::KeyRepeated,
        ),
        no("key_empty_refused", key(""), E::KeyInvalid),
        no(
            "key_15_bytes_refused",
            key("dGhlIHNhbXBsZSBub25j"),
            E::KeyInvalid,
        ),
        no(
            "key_17_bytes_refused",
            key("dGhlIHNhbXBsZSBub25jZSE="),
            E::KeyInvalid,
        ),
        no(
            "key_18_bytes_refused",
            key("dGhlIHNhbXBsZSBub25jZSEh"),
            E::KeyInvalid,
        ),
        no(
            "key_not_padded_refused",
            key("dGhlIHNhbXBsZSBub25jZQ"),
            E::KeyInvalid,
        ),
        no(
            "key_not_base64_refused",
            key("dGhlIHNhbXBsZSBub25j!Q=="),
            E::KeyInvalid,
        ),
        no(
            "key_padded_once_refused",
            key("AQIDBAUGBwgJCgsMDQ4PEC="),
            E::KeyInvalid,
        ),
        no(
            "key_stray_bits_not_padded_refused",
            key("AQIDBAUGBwgJCgsMDQ4PEC"),
            E::KeyInvalid,
        ),
        no(
            "key_url_alphabet_refused",
            key("_-hlIHNhbXBsZSBub25jZQ=="),
            E::KeyInvalid,
        ),
        no("key_long_refused", key(&"A".repeat(4096)), E::KeyInvalid),
        no(
            "extensions_quote_open_refused",
            plus("Sec-WebSocket-Extensions: a; b=\"c"),
            E::ExtensionsMalformed,
        ),
        no(
            "extensions_quoted_space_refused",
            plus("Sec-WebSocket-Extensions: a; b=\"c d\""),
            E::ExtensionsMalformed,
        ),
        no(
            "extensions_second_field_refused",
            plus("Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b;"),
            E::ExtensionsMalformed,
        ),
        no("version_missing_refused", version(""), E::VersionMissing),
        no(
            "version_8_refused",
            version("Sec-WebSocket-Version: 8\r\n"),
            E::VersionUnsupported,
        ),
        no(
            "version_list_refused",
            version("Sec-WebSocket-Version: 13, 8\r\n"),
            E::VersionUnsupported,
        ),
        no(
            "version_013_refused",
            version("Sec-WebSocket-Version: 013\r\n"),
            E::VersionUnsupported,
        ),
        no(
            "version_twice_refused",
            plus("Sec-WebSocket-Version: 13"),
            E::VersionRepeated,
        ),
    ]
}
