//! Which settings are refused, and with which words.

use super::*;

#[test]
fn file_that_is_wrong_is_refused_with_place_and_remedy() {
    for (text, words) in [
        // Misspelt.
        (
            "\n\nmessage_byte_max = 1",
            &["hubbub.toml line 3", "message_bytes_max?"][..],
        ),
        ("ping-interval = \"1s\"", &["did you mean ping_interval?"]),
        (
            "max_message_bytes = 1",
            &["did you mean message_bytes_max?"],
        ),
        (
            "send_queue_max = 1",
            &["did you mean send_queue_bytes_max?"],
        ),
        (
            "frobnicate = 1",
            &["no such setting; 'hubbub config print' lists all"],
        ),
        (
            "[limits]\nrooms_max = 1",
            &["limits", "there is no such table", "[namespaces.NAME]"],
        ),
        ("config = \"x\"", &["a file cannot name another one"]),
        // Of the wrong type.
        (
            "rooms_max = \"5\"",
            &["rooms_max = \"5\"", "wrong type (string)", "without quotes"],
        ),
        ("rooms_max = 5.5", &["wrong type (float)"]),
        ("cores = true", &["wrong type (boolean)"]),
        ("cores = \"2\"", &["wrong type (string)"]),
        ("static_dir = 3", &["text in quotes"]),
        (
            "ping_interval = [\"1s\"]",
            &["wrong type (array)", "\"10s\""],
        ),
        (
            "listen = 8000",
            &["wrong type (integer)", "an array of texts"],
        ),
        ("listen = [8000]", &["wrong type (integer)"]),
        (
            "driver = 1",
            &["the values are: \"auto\", \"io_uring\", \"epoll\""],
        ),
        (
            "compression = true",
            &["wrong type (boolean): the values are: \"off\", \"on\""],
        ),
        // Without quotes.
        (
            "rooms_max = 5\nlisten = 0.0.0.0:8000",
            &["line 2", "text needs quotes: listen = \"0.0.0.0:8000\""],
        ),
        (
            "ping_interval = 5s",
            &["text needs quotes: ping_interval = \"5s\""],
        ),
        // Not a value.
        (
            "ping_interval = 25",
            &["ping_interval = 25", "needs a unit", "10s"],
        ),
        ("ping_interval = \"25\"", &["needs a unit"]),
        (
            "ping_interval = \"25 potatoes\"",
            &["not a duration", "250ms"],
        ),
        (
            "message_bytes_max = \"64 potatoes\"",
            &["not a size", "64KiB"],
        ),
        ("message_bytes_max = \"\"", &["it is empty"]),
        ("listen = []", &["it is empty"]),
        ("listen = [\"localhost:8000\"]", &["names are not resolved"]),
        ("listen = [\"127.0.0.1\"]", &["127.0.0.1:8000"]),
        (
            "driver = \"kqueue\"",
            &["the values are: auto, io_uring, epoll"],
        ),
        ("log_level = \"inof\"", &["\"inof\" is not a level"]),
        (
            "allow_origin = [\"https://a.example/\"]",
            &["without a path"],
        ),
        ("allow_origin = [\"http://\"]", &["without a path", "null"]),
        (
            "trusted_proxies = [\"10.0.0.0/33\"]",
            &["not a network", "10.0.0.0/8"],
        ),
        ("trusted_proxies = [\"proxy\"]", &["not a network"]),
        (
            "trusted_proxies = [\"192.0.2.1:80\"]",
            &["not a network", "without a port"],
        ),
        (
            "trusted_proxies = [\"10.1.2.3/8\"]",
            &["beyond its prefix", "write 10.0.0.0/8"],
        ),
        (
            "proxy_header = \"forwarded\"",
            &["the values are: x-forwarded-for, proxy-v2"],
        ),
        // Out of range.
        ("addresses_max = 15", &["out of range: 16 to 10000000"]),
        ("message_rate = 1000001", &["out of range: 0 to 1000000"]),
        (
            "send_queues_bytes_max = \"1KiB\"",
            &["out of range: 1MiB to 64TiB"],
        ),
        (
            "unfinished_bytes_max = \"1023KiB\"",
            &["out of range: 1MiB to 64TiB"],
        ),
        (
            "compression_contexts_bytes_max = 1048575",
            &["out of range: 1MiB to 64TiB"],
        ),
        ("message_bytes_max = 0", &["out of range: 1 to 1GiB"]),
        ("message_bytes_max = \"2GiB\"", &["out of range"]),
        ("message_bytes_max = -1", &["not a size"]),
        ("head_bytes_max = 255", &["out of range: 256 to 1MiB"]),
        ("head_fields_max = 257", &["out of range: 1 to 256"]),
        ("head_fields_max = 0", &["out of range"]),
        ("rooms_max = -1", &["out of range"]),
        (
            "rooms_per_connection_max = 257",
            &["rooms_per_connection_max", "out of range: 1 to 256"],
        ),
        ("rooms_per_connection_max = 0", &["out of range: 1 to 256"]),
        ("commands_max = 0", &["out of range: 1 to 1000000"]),
        ("desk_requests_max = 0", &["out of range: 1 to 1000000"]),
        ("position_ttl = \"25h\"", &["out of range: 0s to 1day"]),
        ("position_ttl = 60", &["needs a unit"]),
        ("cores = 0", &["out of range: 1 to 256"]),
        ("mailbox_batches = 0", &["out of range"]),
        ("ping_interval = \"0s\"", &["out of range: 1ms to 1day"]),
        ("ping_interval = \"25h\"", &["out of range"]),
        (
            "max_connection_age = \"0s\"",
            &["out of range: 1ms to 1day"],
        ),
        ("drain_delay = \"25h\"", &["out of range: 0s to 1day"]),
        ("drain_delay = 5", &["needs a unit"]),
        // Not TOML.
        (
            "rooms_max = 1\nrooms_max = 2",
            &["config hubbub.toml", "line 2", "duplicate key"],
        ),
        ("rooms_max", &["line 1"]),
    ] {
        let mut words = words.to_vec();
        words.push("hubbub.toml");
        refused(&[], &[], Some(text), &words);
    }
}

#[test]
fn file_missing_is_refused() {
    refused(
        &["--config", "x.toml"],
        &[],
        None,
        &["config x.toml", "cannot be read"],
    );
    refused(
        &[],
        &[("HUBBUB_CONFIG", "x.toml")],
        None,
        &["config x.toml"],
    );
}

#[test]
fn environment_that_is_wrong_is_refused_with_name_and_remedy() {
    for (name, value, words) in [
        (
            "HUBBUB_PING_INTERVAL",
            "25",
            &["HUBBUB_PING_INTERVAL=\"25\"", "needs a unit"][..],
        ),
        ("HUBBUB_CORES", "many", &["not a count"]),
        ("HUBBUB_CORES", "+3", &["out of range"]),
        (
            "HUBBUB_DRIVER",
            "EPOLL",
            &["the values are: auto, io_uring, epoll"],
        ),
        (
            "HUBBUB_LISTEN",
            "127.0.0.1:1,,127.0.0.1:2",
            &["not an address"],
        ),
        (
            "HUBBUB_CORE",
            "3",
            &["HUBBUB_CORE\n", "did you mean HUBBUB_CORES?"],
        ),
        (
            "HUBBUB_MAX_MESSAGE_BYTES",
            "3",
            &["did you mean HUBBUB_MESSAGE_BYTES_MAX?"],
        ),
        (
            "HUBBUB_PING_INTERVALL",
            "1s",
            &["did you mean HUBBUB_PING_INTERVAL?"],
        ),
        (
            "hubbub_listen",
            "127.0.0.1:1",
            &["did you mean HUBBUB_LISTEN?"],
        ),
        ("Hubbub_Cores", "1", &["did you mean HUBBUB_CORES?"]),
    ] {
        refused(&[], &[(name, value)], None, words);
    }
}

#[test]
fn environment_of_kubernetes_is_only_reported() {
    let names = [
        "HUBBUB_SERVICE_HOST",
        "HUBBUB_SERVICE_PORT",
        "HUBBUB_SERVICE_PORT_HTTP",
        "HUBBUB_PORT",
        "HUBBUB_PORT_8000_TCP",
        "HUBBUB_PORT_8000_TCP_PROTO",
        "HUBBUB_PORT_8000_TCP_ADDR",
        "HUBBUB_ROOMS_PORT",
        "HUBBUB_LISTEN_PORT_80_TCP",
        "HUBBUB_SOMETHING_ELSE",
    ];
    let variables: Vec<_> = names
        .iter()
        .map(|name| (*name, "tcp://10.0.0.1:8000"))
        .collect();
    let loaded = load(&[], &variables, None).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), names.len(), "{warnings:?}");
    assert!(
        warnings
            .iter()
            .zip(names)
            .all(|(warning, name)| warning.contains(name))
    );
    assert_eq!(loaded.settings, Settings::default());
}

#[test]
fn environment_that_is_empty_or_of_others_is_ignored() {
    let variables = [
        ("HUBBUB_STATIC_DIR", ""),
        ("HUBBUB_LISTEN", ""),
        ("HUBBUBCORES", "x"),
        ("HUB", "x"),
        ("", "x"),
        ("H\u{fc}bbub_LISTEN", "x"),
    ];
    let loaded = load(&[], &variables, None).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.warnings, []);
}

#[test]
fn several_faults_are_told_at_once() {
    let variables = [("HUBBUB_CORES", "none")];
    let text = Some("rooms_max = 0\nping_interval = 3");
    refused(
        &[],
        &variables,
        text,
        &["3 settings", "rooms_max", "ping_interval", "HUBBUB_CORES"],
    );
}

#[test]
fn value_that_a_higher_layer_hides_is_still_checked() {
    refused(
        &["--cores=2"],
        &[("HUBBUB_CORES", "none")],
        None,
        &["HUBBUB_CORES=\"none\""],
    );
}

#[test]
fn flag_that_is_wrong_ends_with_code_two() {
    for flags in [
        &["--cores", "0"][..],
        &["--cores=1", "--cores=2"],
        &["--cors=2"],
        &["stray"],
        &["--listen", ""],
        &["--message-bytes-max", "64 potatoes"],
    ] {
        let stop = load(flags, &[], None).unwrap_err();
        assert_eq!(stop.code(), 2, "{flags:?}");
    }
}

#[test]
fn help_and_version_end_with_code_zero_despite_other_layers() {
    for flag in ["--help", "-h", "--version", "-V"] {
        let stop = load(&[flag], &[("HUBBUB_CORES", "none")], None).unwrap_err();
        let Stop::CommandLine(error) = stop else {
            panic!("{flag} is asked for on the command line");
        };
        assert_eq!(error.exit_code(), 0, "{flag}");
    }
}

#[test]
fn settings_that_disagree_are_refused_with_both_places() {
    refused(
        &[],
        &[("HUBBUB_REQUEST_LINE_BYTES_MAX", "9KiB")],
        Some("\nhead_bytes_max = \"8KiB\""),
        &[
            "request_line_bytes_max (9KiB, HUBBUB_REQUEST_LINE_BYTES_MAX)",
            "head_bytes_max (8KiB, hubbub.toml line 2)",
        ],
    );
    refused(
        &["--send-queues-bytes-max=1MiB"],
        &[],
        Some("send_queue_bytes_max = \"2MiB\""),
        &[
            "send_queue_bytes_max (2MiB, hubbub.toml line 1)",
            "send_queues_bytes_max (1MiB, --send-queues-bytes-max)",
            "part of the queues of all",
        ],
    );
    refused(
        &["--unfinished-bytes-max=3MiB"],
        &[],
        Some("message_bytes_max = \"4MiB\""),
        &[
            "message_bytes_max (4MiB, hubbub.toml line 1)",
            "unfinished_bytes_max (3MiB, --unfinished-bytes-max)",
            "part of the unfinished input of all",
        ],
    );
    for rate in ["address", "message", "control"] {
        refused(
            &[],
            &[],
            Some(&format!("{rate}_rate = 5\n{rate}_burst = 0")),
            &[
                &format!("{rate}_burst (0, hubbub.toml line 2)"),
                &format!("{rate}_rate (5, hubbub.toml line 1)"),
                &format!("raise {rate}_burst to 1"),
            ],
        );
        let unbounded = format!("{rate}_rate = 0\n{rate}_burst = 0");
        accepted(&[], &[], Some(&unbounded));
    }
    refused(
        &["--proxy-header=proxy-v2"],
        &[],
        None,
        &[
            "proxy_header (proxy-v2, --proxy-header) without trusted_proxies",
            "list the proxies' networks",
        ],
    );
    let twice = ["--listen=127.0.0.1:1,127.0.0.1:1"];
    refused(&twice, &[], None, &["listen has 127.0.0.1:1 twice"]);
}

/// The result of these flags: the settings, or everything that is wrong.
fn outcome(flags: &[&str]) -> Result<Settings, String> {
    let loaded = load(flags, &[], None);
    loaded
        .map(|loaded| loaded.settings)
        .map_err(|stop| message(&stop))
}

/// The command line's parser treats a word that begins with a hyphen as a flag.
#[test]
fn negative_number_is_a_wrong_value_of_every_flag() {
    for arg in arguments() {
        let key = arg.get_id().as_str();
        let flag = report::flag(key);
        let is_named = |name| matches!(arg.get_value_names(), Some([it]) if it == name);
        let value = if is_named("DURATION") { "-5s" } else { "-1" };
        let joined = format!("{flag}={value}");
        let apart = outcome(&[&flag, value]);
        assert_eq!(apart, outcome(&[&joined]), "{joined}");
        match &apart {
            // These are names of files and of a host, or texts.
            Ok(_) => assert!(
                ["static_dir", "state_dir", "allow_origin", "api_origins"].contains(&key)
                    || key.contains("token_")
                    || ["events_secret", "events_ca"].contains(&key),
                "{joined}"
            ),
            Err(text) => {
                let words = if is_named("PATH") { key } else { &flag };
                assert!(text.contains(words), "{words} is not in:\n{text}");
                assert!(!text.contains("unexpected"), "{joined}:\n{text}");
            }
        }
        // But a flag is not a value, so this one has none, which only a switch permits.
        if ["dev", "insecure"].contains(&key) {
            continue;
        }
        let text = outcome(&[&flag, "--version"]).unwrap_err();
        assert!(text.contains("a value is required"), "{flag}:\n{text}");
    }
    let text = outcome(&["--rooms-max", "-1"]).unwrap_err();
    assert!(text.contains("out of range: 1 to 100000000"), "{text}");
    let text = outcome(&["--drain-delay", "-5s"]).unwrap_err();
    assert!(text.contains("250ms, 10s or 5m"), "{text}");
}

#[test]
fn faults_of_all_layers_and_between_them_are_told_at_once() {
    let text = "ping_intervall = \"1s\"\nlog_level = \"inof\"\nrequest_line_bytes_max = \"32KiB\"\n\
                tls_key = \"k\"\n";
    refused(
        &[
            "--cores",
            "0",
            "--drain-delay",
            "-5s",
            "--listen=0.0.0.0:9000,x",
        ],
        &[("HUBBUB_ROOMS_MAX", "0")],
        Some(text),
        &[
            "8 settings",
            "--cores=\"0\"",
            "--drain-delay=\"-5s\"",
            "\"x\" is not an address",
            "HUBBUB_ROOMS_MAX",
            "ping_intervall",
            "inof",
            "request_line_bytes_max (32KiB, hubbub.toml line 3)",
            "tls_key is set without tls_cert",
        ],
    );
}

/// A refused value causes no complaint about the settings that it must agree with.
#[test]
fn fault_that_may_follow_from_another_is_not_told() {
    for (text, faults) in [
        ("tls_cert = 5\ntls_key = \"k\"", "a setting is"),
        ("tls_crt = \"c\"\ntls_key = \"k\"", "a setting is"),
        (
            "listen = [\"x\"]\ninternal_listen = \"127.0.0.1:8000\"",
            "a setting is",
        ),
        (
            "proxy_header = \"proxy-v2\"\ntrusted_proxies = [\"x\"]",
            "a setting is",
        ),
        ("tls_cert = 5\ninternal_tls_key = \"k\"", "2 settings are"),
    ] {
        refused(&[], &[], Some(text), &[&format!("{faults} refused")]);
    }
    // A key that the file seems to lack may be in the line that cannot be read.
    let text = Some("tls_cert = chain.pem\ntls_key = \"k\"");
    let head = "error: the configuration file cannot be used\n";
    refused(&[], &[], text, &[head]);
}

#[test]
fn key_that_is_misspelt_hides_no_fault_of_what_is_set_elsewhere() {
    const OVERLAP: &str = "listen = [\"0.0.0.0:18123\", \"127.0.0.1:18123\"]\n";
    let two = &["2 settings are refused", "did you mean", "127.0.0.1:18123"][..];
    let text = format!("{OVERLAP}lissten = 5\n");
    refused(&[], &[], Some(&text), two);
    let variables = [("HUBBUB_LISTENN", "127.0.0.1:1")];
    refused(&[], &variables, Some(OVERLAP), two);
    // Nor does a value of the wrong type.
    let flags = ["--listen=0.0.0.0:18123,127.0.0.1:18123"];
    let words = ["2 settings are refused", "wrong type", "127.0.0.1:18123"];
    refused(&flags, &[], Some("listen = 5"), &words);
}

#[test]
fn refusal_says_apart_what_is_wrong_with_the_file_and_with_settings() {
    for (text, head) in [
        ("rooms_max = \n", "the configuration file cannot be used"),
        (
            "rooms_max = \nrooms_mix = 1\ncores = 0\n",
            "the configuration file cannot be used, and 2 settings are refused",
        ),
        ("cores = 0\n", "a setting is refused"),
    ] {
        refused(&[], &[], Some(text), &[&format!("error: {head}\n")]);
    }
}

#[test]
fn file_that_is_no_toml_in_several_places_is_told_of_all() {
    let text = "rooms_max = \nping_interval = 10s\nlog_level = \"inof\"\nrooms_mix = 1\n\
                cores = 99999999999999999999\n";
    let words = ["line 1", "line 2", "line 3", "line 4", "line 5"];
    refused(&[], &[], Some(text), &words);
    // A file that is not TOML at all is not reported line by line.
    let prose = "It is no list of keys.\n".repeat(1000);
    let words = ["file cannot be used\n", "this is no TOML", "line 1,"];
    refused(&[], &[], Some(&prose), &words);
}

#[test]
fn setting_without_effect_is_told_where_somebody_has_set_it() {
    for (text, warning) in [
        (
            "tls_handshake_timeout = \"30s\"",
            "tls_handshake_timeout has no effect: it is part of handshake_timeout (10s, the default)",
        ),
        (
            "compression_takeover = \"both\"",
            "compression_takeover has no effect: compression is off",
        ),
        (
            "internal_listen = \"off\"\ninternal_tls_cert = \"c\"\ninternal_tls_key = \"k\"",
            "internal_tls_cert has no effect: internal_listen is off",
        ),
        (
            "token_jwks_ca = \"a\"",
            "token_jwks_ca has no effect: no keys are fetched",
        ),
        (
            "token_jwks_url = \"https://a.example\"\ntoken_jwks = \"a\"",
            "token_jwks has no effect: token_jwks_url is set, and no other key is used then",
        ),
        (
            "subscription_token_jwks = \"a\"\nsubscription_token_keys = [\"a\"]",
            "subscription_token_keys has no effect: subscription_token_jwks is set",
        ),
    ] {
        let warnings = load(&[], &[], Some(text)).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].to_string().starts_with(warning), "{warnings:?}");
    }
    // A shorter handshake leaves a default without effect, and nobody has to do anything about it.
    for text in [
        "handshake_timeout = \"2s\"",
        "compression_takeover = \"none\"",
        "compression = \"on\"\ncompression_takeover = \"both\"",
        "token_jwks_url = \"https://a.example\"\ntoken_jwks_ca = \"a\"\ntoken_keys = []",
        "token_jwks_http = \"off\"",
    ] {
        assert_eq!(load(&[], &[], Some(text)).unwrap().warnings, [], "{text}");
    }
}

#[test]
fn faults_of_a_file_are_told_in_the_order_of_its_lines() {
    let text = "rooms_max = 0\nping_intervall = 1\ncores = 0\ndriver = 1\nlisten = 1.2.3.4:5";
    let told = load(&[], &[], Some(text)).unwrap_err().line();
    let places: Vec<_> = (1..=5)
        .map(|line| told.find(&format!("line {line}")).unwrap_or(usize::MAX))
        .collect();
    assert!(places.is_sorted() && places[4] < usize::MAX, "{told}");
}

#[test]
fn address_that_is_only_a_port_or_a_name_is_refused_with_that_port() {
    for text in ["8100", ":8100", "localhost:8100"] {
        let words = ["127.0.0.1:8100, [::1]:8100 or 0.0.0.0:8100"];
        refused(&["--listen", text], &[], None, &words);
    }
}
