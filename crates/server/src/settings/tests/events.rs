//! Settings of events: in their table and at the top of the file, and what is refused of them.

use super::*;
use crate::events::EventKind;

const URL: &str = "https://app.example.com/events?key=canary";

#[test]
fn table_of_events_has_the_same_settings_as_the_top_of_the_file() {
    let top = format!(
        "rooms_max = 7\nevents_url = {URL:?}\nevents_secret = \"s\"\nevents_kinds = [\"occupied\", \"vacated\"]\n\
         events_batch_max = 9\nevents_debounce = \"1s\"\n[rooms]\npresence = true\n"
    );
    let table = format!(
        "rooms_max = 7\n[events]\nurl = {URL:?}\nsecret = \"s\"\nkinds = [\"occupied\", \"vacated\"]\n\
         batch_max = 9\ndebounce = \"1s\"\n[rooms]\npresence = true\n"
    );
    let settings = accepted(&[], &[], Some(&table));
    assert_eq!(settings, accepted(&[], &[], Some(&top)));
    assert_eq!(
        settings.events_kinds,
        [EventKind::Occupied, EventKind::Vacated]
    );
    // A flag is above the file.
    let over = accepted(&["--events-batch-max=8"], &[], Some(&table));
    assert_eq!(over.events_batch_max, 8);
    let all = accepted(&[], &[], None).events_kinds;
    assert_eq!(all, EventKind::ALL);
    for kind in EventKind::ALL {
        let value = clap::ValueEnum::to_possible_value(&kind).unwrap();
        assert_eq!(value.get_name(), kind.name());
    }
}

#[test]
fn what_is_wrong_with_events_is_named_with_its_line_and_a_remedy() {
    let table = |lines: &str| format!("[events]\n{lines}\n");
    for (text, words) in [
        (
            table(&format!("url = {URL:?}")),
            &[
                "events_url is set without events_secret",
                "openssl rand -hex 32",
            ][..],
        ),
        (
            table("url = \"app.example.com\"\nsecret = \"s\""),
            &["line 2", "neither https:// nor http://", "app.example.com"],
        ),
        (
            table("kinds = [\"occupied\", \"vacant\"]"),
            &["events_kinds", "connected, disconnected, subscribed"],
        ),
        (table("kinds = []"), &["events_kinds", "it is empty"]),
        (table("batch_max = 0"), &["events_batch_max", "1 to 10000"]),
        (
            table("queue_bytes_max = \"1\""),
            &["events_queue_bytes_max", "1KiB to 1GiB"],
        ),
        (
            table("retry_max = \"1ms\""),
            &["events_retry_max", "100ms to 1day"],
        ),
        (
            table("debonce = \"1s\""),
            &["line 2", "did you mean events_debounce?"],
        ),
        (table("url = 1"), &["events_url", "text in quotes"]),
        (
            "events_timeout = \"1s\"\n[events]\ntimeout = \"2s\"\n".to_owned(),
            &["line 3: events_timeout", "it is set twice"],
        ),
        (
            "[event]\nurl = \"a\"".to_owned(),
            &["did you mean [events]?"],
        ),
        (
            "[events.more]\nurl = \"a\"".to_owned(),
            &["there is no such table"],
        ),
    ] {
        refused(&[], &[], Some(&text), words);
        let told = message(&load(&[], &[], Some(&text)).unwrap_err());
        assert!(!told.contains("canary"), "{told}");
    }
}

#[test]
fn events_that_can_be_read_on_the_way_or_are_not_sent_are_warned_of() {
    let of = |url: &str| format!("[events]\nurl = {url:?}\nsecret = \"s\"\n");
    let warnings = |text: &str| load(&[], &[], Some(text)).unwrap().warnings;
    assert_eq!(warnings(&of(URL)), []);
    assert_eq!(warnings(&of("http://127.0.0.1:8080/events")), []);
    assert_eq!(
        warnings(&of("http://app.example.com/")),
        [Warning::PlainEvents]
    );
    let warned = warnings("[events]\nsecret = \"s\"\nca = \"c\"\n");
    let warned: Vec<_> = warned.iter().map(ToString::to_string).collect();
    assert!(warned[0].starts_with("events_secret has no effect"));
    assert!(warned[1].starts_with("events_ca has no effect"));
    let told = load(&[], &[], Some(&of(URL))).unwrap().overrides;
    assert!(told.iter().all(|it| !it.to_string().contains("canary")));
}
