//! The tables of rules: what they come to, what is refused, and that they are printed and read back.

use std::sync::Arc;

use access::namespace::{Effect, Offer, Raw, Subscribers, Users, Who, changed};
use access::{Label, Namespace, Namespaces};

use super::*;

/// A value of each option that is not its default, and with which no other option is contradicted.
const OTHERS: &[(&str, &str)] = &[
    ("kind", "\"latest_per_key\""),
    ("keys_max", "7"),
    ("keys_bytes_max", "\"64KiB\""),
    ("keys_ttl", "\"1h\""),
    ("subscribe", "[\"client\", \"anonymous\"]"),
    ("publish", "\"subscriber\""),
    ("read_history", "\"client\""),
    ("read_presence", "[\"subscriber\", \"anonymous\"]"),
    ("user_limited", "true"),
    ("personal", "true"),
    ("history_size", "1000"),
    ("history_bytes_max", "\"64KiB\""),
    ("history_ttl", "\"1h\""),
    ("positions", "\"forced\""),
    ("recovery", "\"allowed\""),
    ("recovery_mode", "\"cache\""),
    ("presence", "true"),
    ("join_leave", "\"asked\""),
    ("events", "false"),
    ("message_bytes_max", "\"1KiB\""),
    ("form", "\"json_object\""),
    ("room_rate", "50"),
    ("room_burst", "51"),
    ("user_rate", "5"),
    ("user_burst", "6"),
    ("batch_interval", "\"100ms\""),
    ("overflow", "\"drop_oldest\""),
    ("raw", "\"publish\""),
    ("oneshot", "\"1m\""),
    ("subscribe_hook", "true"),
    ("publish_hook", "true"),
    ("sub_refresh_hook", "true"),
];

/// All of them but those that exclude others, and what only one of these has.
fn every_option() -> String {
    let lines = OTHERS.iter().filter(|(key, _)| {
        let is_left_out = matches!(*key, "overflow" | "oneshot" | "kind");
        !is_left_out && !key.starts_with("keys_") && !key.ends_with("_hook")
    });
    lines
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect()
}

#[track_caller]
fn rules(text: &str) -> Namespaces {
    let nothing = Namespaces::Open(Arc::new(Namespace::open()));
    accepted(&[], &[], Some(text))
        .namespaces
        .namespaces(nothing)
}

#[test]
fn every_option_is_read_in_every_table() {
    for option in OPTIONS {
        let other = OTHERS.iter().find(|(key, _)| *key == option.key);
        let (key, value) = other.unwrap_or_else(|| panic!("no value of {}", option.key));
        for table in ["rooms", "namespaces.chat"] {
            let text = format!("[{table}]\n{key} = {value}\n");
            // Some of them contradict the defaults of others, so they are only read here.
            let file = file::parse(Path::new(FILE), &text, &help::command());
            assert_eq!(file.tables.faults, [], "{text}");
            let declared = file.tables.declared;
            let label = Label((table != "rooms").then_some("chat"));
            let (_, rules) = declared.tables().find(|(of, _)| *of == label).unwrap();
            let shown = (option.show)(rules).map(|value| value.to_string());
            assert_eq!(shown.as_deref(), Some(*value), "{key}");
            assert_ne!(option.default().as_deref(), Some(*value), "{key}");
        }
    }
    assert_eq!(OTHERS.len(), OPTIONS.len());
}

#[test]
fn options_are_those_that_a_reload_tells_of() {
    let one = accepted(&[], &[], Some("[rooms]\n"));
    for option in OPTIONS {
        let (key, value) = OTHERS.iter().find(|(key, _)| *key == option.key).unwrap();
        let text = format!("[rooms]\n{key} = {value}\n");
        let file = file::parse(Path::new(FILE), &text, &help::command());
        let (_, new) = file.tables.declared.tables().next().unwrap();
        let (_, old) = one.namespaces.tables().next().unwrap();
        let changes = [changed(old, new), changed(new, old)].concat();
        let keys: Vec<_> = changes.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [*key, *key]);
        // What is said of the change is what the change does.
        let does = |effect| changes.iter().any(|(_, known)| *known == effect);
        let says = |words: &[&str]| words.iter().any(|it| option.on_reload.contains(it));
        assert_eq!(
            does(Effect::Unsubscribed),
            says(&["unsubscribed", "closed"]),
            "{key}"
        );
        assert_eq!(does(Effect::Trimmed), says(&["drop"]), "{key}");
    }
}

#[test]
fn tables_say_what_holds_for_which_room() {
    let text = "rooms_max = 5\n[rooms]\npresence = true\n[namespaces.chat]\nraw = \"subscribe\"\n\
                [namespaces.\"a.b\"]\nhistory_size = 3\n";
    let rules = rules(text);
    let room = |name| rules.of(name).map(|room| room.rules.clone());
    assert!(room("lobby").unwrap().presence);
    assert_eq!(room("chat:x").unwrap().raw, Raw::Subscribe);
    assert!(!room("chat:x").unwrap().presence);
    assert_eq!(room("a.b:x").unwrap().history.size, 3);
    assert!(room("other:x").is_err());
}

#[test]
fn names_mean_nothing_without_tables_and_something_with_any() {
    for (text, is_open) in [
        ("rooms_max = 5", true),
        ("[namespaces]\n", true),
        ("[rooms]\n", false),
        ("[namespaces.chat]\n", false),
    ] {
        let is_found = rules(text).is_open();
        assert_eq!(is_found, is_open, "{text}");
    }
    // Where there are tables, rooms without one have the safe defaults.
    let rules = rules("[namespaces.chat]\n");
    let room = rules.of("lobby").unwrap();
    assert_eq!(**room.rules, Namespace::default());
}

#[test]
fn people_are_one_word_or_several() {
    for (text, who) in [
        ("\"nobody\"", Who::Nobody),
        ("[\"nobody\"]", Who::Nobody),
        ("\"subscriber\"", Who::Subscriber(Users::Named)),
        (
            "[\"anonymous\", \"client\"]",
            Who::Client(Users::AnonymousToo),
        ),
    ] {
        let rules = rules(&format!("[rooms]\npublish = {text}\n"));
        assert_eq!(rules.of("x").unwrap().rules.publish, who, "{text}");
    }
    let rules = rules("[rooms]\nsubscribe = \"client\"\n");
    let subscribe = rules.of("x").unwrap().rules.subscribe;
    assert_eq!(subscribe, Subscribers::Client(Users::Named));
}

#[test]
fn table_that_is_wrong_is_refused_with_place_and_remedy() {
    for (text, words) in [
        // Misspelt.
        (
            "[rooms]\n\nhistory_sizes = 1",
            &[
                "hubbub.toml line 3: rooms.history_sizes = 1",
                "did you mean history_size?",
            ][..],
        ),
        (
            "[namespaces.chat]\nhistroy_ttl = \"1m\"",
            &[
                "line 2: namespaces.chat.histroy_ttl",
                "did you mean history_ttl?",
            ],
        ),
        (
            "[rooms]\nfrobnicate = 1",
            &["no such option; 'hubbub config print' lists all"],
        ),
        (
            "[rooms]\nping_interval = \"5s\"",
            &["a setting of the whole server", "above the first table"],
        ),
        (
            "history_size = 5",
            &["an option of rooms", "below [rooms] or [namespaces.NAME]"],
        ),
        ("[room]\npresence = true", &["did you mean [rooms]?"]),
        ("[namespace.chat]\n", &["did you mean [namespaces.NAME]?"]),
        (
            "rooms = 5",
            &[
                "line 1: rooms",
                "wrong type (integer)",
                "write a table, [rooms]",
            ],
        ),
        (
            "[[namespaces]]\nname = \"chat\"",
            &["wrong type (array)", "[namespaces.NAME]"],
        ),
        ("[namespaces]\npresence = true", &["a namespace is a table"]),
        // Names.
        (
            "\n[namespaces.x]\n",
            &["line 2: namespaces.x", "at least 2"],
        ),
        ("[namespaces.\"a:b\"]\n", &["leave ':' out"]),
        (
            "[namespaces.chat.b]\npresence = true",
            &["a name with a dot needs quotes: write [namespaces.\"chat.b\"]"],
        ),
        // Values.
        (
            "[rooms]\nhistory_size = 10001",
            &["rooms.history_size = 10001", "out of range: 0 to 10000"],
        ),
        ("[rooms]\nhistory_size = -1", &["out of range: 0 to 10000"]),
        (
            "[rooms]\nhistory_size = \"5\"",
            &["wrong type (string)", "without quotes"],
        ),
        (
            "[rooms]\nhistory_ttl = 5",
            &["history_ttl = 5", "needs a unit"],
        ),
        (
            "[rooms]\nhistory_ttl = \"2days\"",
            &["out of range: 1ms to 1day"],
        ),
        (
            "[rooms]\nhistory_ttl = true",
            &["wrong type (boolean)", "with a unit"],
        ),
        (
            "[rooms]\nbatch_interval = \"19ms\"",
            &[
                "batch_interval = \"19ms\"",
                "out of range: 20ms to 500ms, or 0s",
            ],
        ),
        (
            "[rooms]\nbatch_interval = \"501ms\"",
            &["out of range: 20ms to 500ms, or 0s"],
        ),
        (
            "[rooms]\nbatch_interval = 100",
            &["batch_interval = 100", "needs a unit"],
        ),
        (
            "[rooms]\nbatch_interval = false",
            &["wrong type (boolean)", "with a unit"],
        ),
        ("[rooms]\nhistory_bytes_max = \"1MiBB\"", &["not a size"]),
        (
            "[rooms]\nhistory_bytes_max = 5",
            &["out of range: 1KiB to 1GiB"],
        ),
        ("[rooms]\nuser_burst = 0", &["out of range: 1 to 1000000"]),
        (
            "[rooms]\npresence = \"yes\"",
            &["wrong type (string): write true or false"],
        ),
        (
            "[rooms]\nrecovery = \"force\"",
            &["the values are: \"off\", \"allowed\", \"forced\""],
        ),
        (
            "[rooms]\nrecovery = true",
            &["wrong type (boolean)", "\"allowed\""],
        ),
        (
            "[rooms]\npublish = \"anonymous\"",
            &["[\"client\", \"anonymous\"]"],
        ),
        (
            "[rooms]\npublish = [\"client\", 5]",
            &["wrong type (integer)", "an array such as"],
        ),
        (
            "[rooms]\npublish = []",
            &["it names nobody: write \"nobody\""],
        ),
        (
            "[rooms]\npublish = \"token\"",
            &["say who may subscribe, and nothing else"],
        ),
        (
            "[rooms]\nsubscribe = \"subscriber\"",
            &["write \"client\" or \"token\""],
        ),
        ("[rooms]\nsubscribe = \"nobody\"", &["write \"token\""]),
        (
            "[rooms]\nsubscribe = [\"token\", \"client\"]",
            &["\"token\" excludes all others"],
        ),
        // Between options, and between options and settings.
        (
            "[namespaces.chat]\n\nrecovery = \"forced\"",
            &[
                "namespaces.chat.recovery (\"forced\", hubbub.toml line 3) contradicts",
                "namespaces.chat.history_size (0, the default)",
                "set history_size, for example to 1000",
            ],
        ),
        (
            "message_bytes_max = \"1KiB\"\n[rooms]\nmessage_bytes_max = \"2KiB\"",
            &[
                "rooms.message_bytes_max (\"2KiB\", hubbub.toml line 3) exceeds message_bytes_max \
                 (1KiB)",
                "lower it",
            ],
        ),
        (
            "recovered_bytes_max = \"64KiB\"\n[namespaces.prices]\nkind = \"latest_per_key\"",
            &[
                "namespaces.prices.keys_bytes_max (\"512KiB\", the default) exceeds recovered_bytes_max \
                 (64KiB)",
                "lower it",
            ],
        ),
        (
            "[rooms]\noneshot = \"1m\"",
            &[
                "rooms.oneshot (\"1m\", hubbub.toml line 2) has no namespace",
                "move it to a table [namespaces.NAME]",
            ],
        ),
        (
            "[namespaces.login]\noneshot = \"4s\"",
            &["namespaces.login.oneshot", "out of range: 5s to 10m"],
        ),
        (
            "[namespaces.login]\noneshot = \"11m\"",
            &["out of range: 5s to 10m"],
        ),
        (
            "[namespaces.login]\noneshot = \"0s\"",
            &["out of range: 5s to 10m; leave it out"],
        ),
        ("[namespaces.login]\noneshot = 60", &["unit"]),
        ("[namespaces.login]\noneshot = true", &["wrong type"]),
    ] {
        refused(&[], &[], Some(text), words);
    }
}

#[test]
fn every_contradiction_is_refused_with_both_options() {
    for (options, keys) in [
        ("recovery = \"allowed\"", ["recovery", "history_size"]),
        (
            "recovery_mode = \"cache\"",
            ["recovery_mode", "history_size"],
        ),
        (
            "history_size = 1\nrecovery_mode = \"cache\"",
            ["recovery_mode", "recovery"],
        ),
        (
            "overflow = \"drop_oldest\"\npositions = \"allowed\"",
            ["overflow", "positions"],
        ),
        (
            "history_size = 1\nrecovery = \"forced\"\noverflow = \"drop_oldest\"",
            ["overflow", "recovery"],
        ),
        (
            "read_history = \"client\"",
            ["read_history", "history_size"],
        ),
        ("read_presence = \"client\"", ["read_presence", "presence"]),
        ("join_leave = \"asked\"", ["join_leave", "read_presence"]),
        (
            "kind = \"latest_per_key\"\nhistory_size = 1",
            ["history_size", "kind"],
        ),
        (
            "kind = \"latest_per_key\"\npositions = \"forced\"",
            ["positions", "kind"],
        ),
        (
            "kind = \"latest_per_key\"\njoin_leave = \"forced\"",
            ["join_leave", "kind"],
        ),
        (
            "kind = \"latest_per_key\"\noverflow = \"drop_oldest\"",
            ["overflow", "kind"],
        ),
        (
            "kind = \"latest_per_key\"\npersonal = true",
            ["personal", "kind"],
        ),
        (
            "kind = \"latest_per_key\"\nraw = \"subscribe\"",
            ["raw", "kind"],
        ),
        (
            "oneshot = \"1m\"\nsubscribe = \"client\"",
            ["subscribe", "oneshot"],
        ),
        (
            "oneshot = \"1m\"\npublish = \"client\"",
            ["publish", "oneshot"],
        ),
        (
            "oneshot = \"1m\"\nhistory_size = 1",
            ["history_size", "oneshot"],
        ),
        ("oneshot = \"1m\"\npresence = true", ["presence", "oneshot"]),
        (
            "oneshot = \"1m\"\njoin_leave = \"forced\"",
            ["join_leave", "oneshot"],
        ),
        ("oneshot = \"1m\"\npersonal = true", ["personal", "oneshot"]),
        (
            "oneshot = \"1m\"\nuser_limited = true",
            ["user_limited", "oneshot"],
        ),
        (
            "oneshot = \"1m\"\noverflow = \"drop_oldest\"",
            ["overflow", "oneshot"],
        ),
    ] {
        for table in ["rooms", "namespaces.chat"] {
            let words = keys.map(|key| format!("{table}.{key} ("));
            let words = [words[0].as_str(), words[1].as_str(), "contradicts"];
            refused(&[], &[], Some(&format!("[{table}]\n{options}\n")), &words);
        }
    }
}

#[test]
fn table_with_a_line_that_is_no_toml_is_refused_for_that_line_alone() {
    for text in [
        "[rooms]\nrecovery = \"forced\"\nraw =\n",
        "rooms =\n",
        "[rooms\nraw = 5\n",
    ] {
        let stop = load(&[], &[], Some(text)).unwrap_err();
        let message = message(&stop);
        assert!(
            message.contains("the configuration file cannot be used"),
            "{message}"
        );
        assert!(!message.contains("setting is refused"), "{message}");
    }
}

#[test]
fn contradiction_that_follows_from_a_bad_value_is_not_told() {
    let text = "[rooms]\nhistory_size = -5\nrecovery = \"forced\"\n";
    let stop = load(&[], &[], Some(text)).unwrap_err();
    let message = message(&stop);
    assert!(message.contains("a setting is refused"), "{message}");
    let misspelt = "[rooms]\nhistory_sise = 5\nrecovery = \"forced\"\n";
    let stop = load(&[], &[], Some(misspelt)).unwrap_err();
    assert!(!super::message(&stop).contains("contradicts"));
}

#[test]
fn namespaces_up_to_the_most_are_taken_and_one_more_is_refused() {
    let text = |count| -> String {
        let tables = (0..count).map(|number| format!("[namespaces.n{number}]\n"));
        tables.collect()
    };
    accepted(&[], &[], Some(&text(256)));
    let words = ["there are 257 namespaces", "at most 256", "merge"];
    refused(&[], &[], Some(&text(257)), &words);
}

#[test]
fn option_without_effect_is_warned_of() {
    let text = "[rooms]\nhistory_ttl = \"1h\"\n[namespaces.chat]\nuser_burst = 7\nkeys_max = 9\n";
    let loaded = load(&[], &[], Some(text)).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "rooms.history_ttl has no effect: history_size is 0",
            "namespaces.chat.user_burst has no effect: user_rate is 0",
            "namespaces.chat.keys_max has no effect: kind is \"messages\"",
        ]
    );
}

#[test]
fn options_that_are_set_are_told_with_their_places() {
    let text = "[namespaces.chat]\n\nsubscribe = \"client\"\n";
    let loaded = load(&[], &[], Some(text)).unwrap();
    let told: Vec<_> = loaded.overrides.iter().map(ToString::to_string).collect();
    let expected = "namespaces.chat.subscribe = \"client\" (hubbub.toml line 3)";
    assert!(told.iter().any(|it| it == expected), "{told:?}");
}

/// What `config print` prints for this file.
fn printed(text: &str) -> String {
    let sources = Sources {
        args: ["hubbub", "--config", FILE].map(Into::into).into(),
        variables: Vec::new(),
        read: &|_| Ok(text.to_owned()),
    };
    Settings::print(&sources).unwrap_or_else(|stop| panic!("{}", message(&stop)))
}

#[test]
fn print_of_tables_loads_back_to_them() {
    let all = every_option();
    for text in [
        format!("[rooms]\n{all}[namespaces.chat]\n{all}[namespaces.\"a.b\"]\n"),
        "[namespaces.chat]\noverflow = \"drop_oldest\"\n".to_owned(),
        "[rooms]\nkind = \"latest_per_key\"\nkeys_max = 7\nkeys_ttl = \"1h\"\n".to_owned(),
        "[namespaces.login]\noneshot = \"90s\"\nraw = \"publish\"\n".to_owned(),
        "[rooms]\n".to_owned(),
        "rooms_max = 5\n".to_owned(),
    ] {
        let printed = printed(&text);
        let again = load(&[], &[], Some(&printed)).unwrap();
        assert_eq!(again.settings, accepted(&[], &[], Some(&text)), "{printed}");
        assert_eq!(again.warnings, [], "{printed}");
        assert!(printed.lines().all(|line| line.len() <= 100), "{printed}");
        for option in OPTIONS {
            let word = option.meaning.split(' ').next().unwrap();
            assert!(printed.contains(word), "{}", option.key);
            let entry = format!("{} = ", option.key);
            assert!(printed.contains(&entry), "{}", option.key);
        }
    }
}

#[test]
fn print_tells_where_an_option_is_from_and_proposes_tables_that_hold() {
    let text = "[namespaces.chat]\nsubscribe = \"client\"\n";
    let lines = "# This value is from hubbub.toml line 2.\nsubscribe = \"client\"\n";
    assert!(printed(text).contains(lines));
    // Without tables there are some in comments; without the hashes they are accepted.
    let printed = printed("");
    let (_, tables) = printed.split_once("# [rooms]\n").unwrap();
    let (tables, _) = tables.split_once("\n# Hooks\n").unwrap();
    let is_entry = |line: &&str| {
        let entry = line.trim_start_matches("# ");
        let is_option = |known: &&NamespaceOption| entry.starts_with(&format!("{} = ", known.key));
        entry.starts_with('[') || OPTIONS.iter().any(|known| is_option(&known))
    };
    let entries = tables.lines().filter(is_entry);
    let entries = entries.filter(|line| !line.ends_with("= SIZE"));
    let proposed: Vec<_> = entries.map(|line| line.trim_start_matches("# ")).collect();
    assert!(proposed.len() > OPTIONS.len(), "{proposed:?}");
    let text = format!("[rooms]\n{}\n", proposed.join("\n"));
    let rules = rules(&text);
    assert_eq!(**rules.of("x").unwrap().rules, Namespace::default());
    assert_eq!(rules.of("chat:x").unwrap().rules.recovery, Offer::Allowed);
}

#[test]
fn reload_takes_the_rules_and_tells_what_each_change_does() {
    let old = accepted(
        &[],
        &[],
        Some("[rooms]\nhistory_size = 5\n[namespaces.chat]\n"),
    );
    let text = "[rooms]\nhistory_size = 4\nsubscribe = \"client\"\n[namespaces.news]\n";
    let new = accepted(&[], &[], Some(text));
    assert_eq!(
        old.namespaces.changes(&new.namespaces),
        [
            "`[rooms]`: history_size has changed: what rooms keep beyond it is dropped",
            "`[rooms]`: subscribe has changed: rooms and subscribers stay as they are",
            "namespace `chat` is gone: its subscribers are unsubscribed",
            "namespace `news` is new",
        ]
    );
    let mut settings = old.clone();
    let (changed, waiting) = settings.reload(new.clone());
    assert_eq!((changed, waiting), (vec!["namespaces"], vec![]));
    assert_eq!(settings.namespaces, new.namespaces);
    assert_eq!(new.namespaces.changes(&new.namespaces), [""; 0]);
}
