//! Tests of the tables of hooks: what they come to, what is refused, and how they are printed.

use super::*;
use crate::hooks::{HookKind, OnFailure};

const URL: &str = "url = \"https://back.example/x\"\n";

/// A value of each option that is not its default.
const OTHERS: &[(&str, &str)] = &[
    ("url", "\"https://back.example/x?key=1\""),
    ("timeout", "\"2s\""),
    ("in_flight_max", "7"),
    ("waiting_max", "0"),
    ("waiting_bytes_max", "\"1MiB\""),
    ("answer_bytes_max", "\"1KiB\""),
    ("headers", "[\"cookie\", \"x-tenant\"]"),
    ("forgeable_headers", "[\"x-forwarded-for\", \"host\"]"),
    ("emulated_headers", "[\"x-device\"]"),
    ("on_failure", "\"allow\""),
    ("include_meta", "true"),
    ("ca", "\"ca.pem\""),
    ("http", "true"),
];

fn hook(settings: &Settings, kind: HookKind) -> &HookSettings {
    let mut named = settings.hooks.named();
    named.find(|(of, _)| *of == kind).expect("it is declared").1
}

#[test]
fn every_option_is_read_shown_and_printed() {
    assert_eq!(OTHERS.len(), HOOK_OPTIONS.len());
    let all: String = OTHERS
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    let text = format!("[hooks.publish]\n{all}[namespaces.chat]\npublish_hook = true\n");
    let settings = accepted(&[], &[], Some(&text));
    let publish = hook(&settings, HookKind::Publish);
    for option in HOOK_OPTIONS {
        let (_, value) = OTHERS.iter().find(|(key, _)| *key == option.key).unwrap();
        let shown = (option.show)(publish).map(|value| value.to_string());
        assert_eq!(shown.as_deref(), Some(*value), "{}", option.key);
        assert_ne!(option.default().as_deref(), Some(*value), "{}", option.key);
    }
    let printed = printed(&text);
    let again = load(&[], &[], Some(&printed)).unwrap();
    assert_eq!(again.settings, settings, "{printed}");
}

#[track_caller]
fn printed(text: &str) -> String {
    let sources = Sources {
        args: ["hubbub", "--config", FILE].map(Into::into).into(),
        variables: Vec::new(),
        read: &|_| Ok(text.to_owned()),
    };
    Settings::print(&sources).unwrap_or_else(|stop| panic!("{}", message(&stop)))
}

#[test]
fn table_of_all_hooks_holds_where_a_hook_says_nothing_wherever_it_stands() {
    let connect = format!("[hooks.connect]\n{URL}timeout = \"3s\"\n");
    let common = "[hooks]\ntimeout = \"2s\"\nin_flight_max = 5\non_failure = \"allow\"\n";
    let rpc = format!("[hooks.rpc]\n{URL}");
    for text in [
        format!("{common}{connect}{rpc}"),
        format!("{connect}{rpc}{common}"),
    ] {
        let settings = accepted(&[], &[], Some(&text));
        let of = |kind| {
            let hook = hook(&settings, kind);
            (hook.timeout.to_string(), hook.in_flight_max)
        };
        assert_eq!(of(HookKind::Connect), ("3s".to_owned(), 5));
        assert_eq!(of(HookKind::Rpc), ("2s".to_owned(), 5));
        assert_eq!(
            hook(&settings, HookKind::Connect).on_failure,
            OnFailure::Allow
        );
        assert_eq!(hook(&settings, HookKind::Rpc).on_failure, OnFailure::Refuse);
        let again = accepted(&[], &[], Some(&printed(&text)));
        assert_eq!(again, settings, "{}", printed(&text));
    }
    assert!(printed("").contains("# [hooks.connect]"));
}

#[test]
fn hook_that_cannot_be_used_is_refused_with_its_key_and_a_remedy() {
    let connect = |options: &str| format!("[hooks.connect]\n{URL}{options}");
    for (text, words) in [
        ("hooks = 1", &["wrong type (integer)", "[hooks.NAME]"][..]),
        (
            "[hooks.conect]\n",
            &["line 1: hooks.conect", "did you mean [hooks.connect]?"],
        ),
        ("[hooks.x]\n", &["they are connect, refresh, subscribe"]),
        ("[hook.connect]\n", &["did you mean [hooks]?"]),
        (
            "[hooks.connect]\ntimeout = \"1s\"",
            &["[hooks.connect] has no url", "leave the table out"],
        ),
        (
            "[hooks]\nurl = \"https://a.example/\"",
            &["hooks.url", "[hooks.connect]"],
        ),
        (
            "[hooks.connect]\nurl = \"a.example\"",
            &["line 2: hooks.connect.url", "neither https:// nor http://"],
        ),
        (
            "[hooks.connect]\nurl = \"http://a.example/?key=1\"",
            &["hooks.connect.url", "http = true", "?..."],
        ),
        (&connect("tiemout = \"1s\""), &["did you mean timeout?"]),
        (&connect("potatoes = 1"), &["there is no such option"]),
        (&connect("timeout = 1"), &["needs a unit"]),
        (&connect("in_flight_max = 0"), &["out of range: 1 to 10000"]),
        (
            &connect("on_failure = \"maybe\""),
            &["\"refuse\", \"allow\""],
        ),
        (&connect("headers = \"cookie\""), &["an array of texts"]),
        (
            &connect("headers = [\"a b\"]"),
            &["no name of a header field"],
        ),
        (
            &connect("headers = [\"X-Forwarded-For\"]"),
            &["forgeable_headers", "overwrites it"],
        ),
        (
            &connect("headers = [\"Content-Length\"]"),
            &["is never sent on"],
        ),
        (
            &connect("headers = [\"Sec-WebSocket-Key\"]"),
            &["is never sent on"],
        ),
        (
            &connect("forgeable_headers = [\"cookie\"]"),
            &["move it to headers"],
        ),
        (
            &connect("emulated_headers = [\"via\"]"),
            &["forgeable_headers"],
        ),
        (
            &connect("headers = [\"x-a\"]\nemulated_headers = [\"x-a\"]"),
            &["hooks.connect.emulated_headers", "x-a", "line 4"],
        ),
        (
            &format!("pause_timeout = \"1s\"\n{}", connect("timeout = \"2s\"")),
            &[
                "hooks.connect.timeout (\"2s\", hubbub.toml line 4)",
                "pause_timeout (1s)",
            ],
        ),
        (
            &format!("[hooks.rpc]\n{URL}on_failure = \"allow\""),
            &["hooks.rpc.on_failure", "nothing to return"],
        ),
        (
            "[namespaces.chat]\nsubscribe_hook = true",
            &[
                "namespaces.chat.subscribe_hook (true, hubbub.toml line 2) has nobody to ask",
                "write [hooks.subscribe] with its url",
            ],
        ),
        (
            "[rooms]\npublish_hook = true",
            &["rooms.publish_hook", "[hooks.publish]"],
        ),
        (
            "[rooms]\nsub_refresh_hook = true",
            &["rooms.sub_refresh_hook", "[hooks.sub_refresh]"],
        ),
        (
            &format!("[hooks.subscribe]\n{URL}[rooms]\nsubscribe_hook = true\nraw = \"subscribe\""),
            &[
                "rooms.raw (\"subscribe\", hubbub.toml line 5) contradicts rooms.subscribe_hook",
                "set raw to \"none\"",
            ],
        ),
        (
            &format!(
                "[hooks.subscribe]\n{URL}[rooms]\nsubscribe_hook = true\nsubscribe = \"client\""
            ),
            &["rooms.subscribe (\"client\"", "the back end alone decides"],
        ),
    ] {
        refused(&[], &[], Some(text), words);
    }
}

#[test]
fn hook_that_nobody_uses_and_one_in_plain_text_are_warned_of() {
    let text = format!(
        "[hooks.subscribe]\n{URL}[hooks.rpc]\nurl = \"http://a.example/?key=1\"\nhttp = true\n"
    );
    let warnings = load(&[], &[], Some(&text)).unwrap().warnings;
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("hooks.subscribe") && warnings[0].contains("subscribe_hook"));
    assert!(
        warnings[1].contains("hooks.rpc.url is http://"),
        "{warnings:?}"
    );
    let local = "[hooks.rpc]\nurl = \"http://127.0.0.1:3000/rpc\"\n";
    assert_eq!(load(&[], &[], Some(local)).unwrap().warnings, []);
}

#[test]
fn url_of_a_hook_is_told_without_its_query() {
    let text = "[hooks.rpc]\nurl = \"https://a.example/?key=secret\"\n";
    let overrides = load(&[], &[], Some(text)).unwrap().overrides;
    let told: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    assert!(!told.concat().contains("secret"), "{told:?}");
    for wrong in [
        "[hooks.rpc]\nurl = \"ftp://a.example/?key=secret\"\n",
        "[hooks.rpc]\nuri = \"https://a.example/?key=secret\"\n",
        "[hooks.rpc]\nurl = \"https://a.example/?key=secret\n",
    ] {
        let stop = load(&[], &[], Some(wrong)).map(|_| ()).unwrap_err();
        assert!(!message(&stop).contains("secret"), "{}", message(&stop));
    }
}
