//! Every setting from every source, their precedence, and what is reported about them.

mod addresses;
mod events;
mod files;
mod hooks;
mod keys;
mod namespaces;
mod refusals;
mod reload;

use super::*;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use clap::{Arg, ArgAction, Command};

const FILE: &str = "hubbub.toml";

/// Loads as `hubbub FLAGS` in an environment, with `text` as the file, if any.
fn load(flags: &[&str], variables: &[(&str, &str)], text: Option<&str>) -> Result<Loaded, Stop> {
    let mut args: Vec<OsString> = vec!["hubbub".into()];
    args.extend(flags.iter().map(OsString::from));
    if text.is_some() {
        args.extend(["--config".into(), FILE.into()]);
    }
    let variables = variables.iter();
    let read = |path: &Path| match text {
        Some(text) if path == Path::new(FILE) => Ok(text.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    Settings::load(&Sources {
        args,
        variables: variables
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        read: &read,
    })
}

#[track_caller]
fn accepted(flags: &[&str], variables: &[(&str, &str)], text: Option<&str>) -> Settings {
    match load(flags, variables, text) {
        Ok(loaded) => loaded.settings,
        Err(stop) => panic!("{}", message(&stop)),
    }
}

fn message(stop: &Stop) -> String {
    match stop {
        Stop::CommandLine(error) => error.to_string(),
        Stop::Refused(refusal) => refusal.to_string(),
    }
}

/// Checks that a file or environment is refused with all of these words.
#[track_caller]
fn refused(flags: &[&str], variables: &[(&str, &str)], text: Option<&str>, words: &[&str]) {
    let stop = load(flags, variables, text).map(|_| ()).unwrap_err();
    let message = message(&stop);
    for word in words {
        assert!(message.contains(word), "{word:?} is not in:\n{message}");
    }
}

/// A valid value for each setting that is not its default, as text.
const SAMPLES: &[(&str, &str)] = &[
    ("listen", "127.0.0.1:0"),
    ("internal_listen", "off"),
    ("api_listen", "off"),
    ("api_tls_cert", "chain.pem"),
    ("api_tls_key", "key.pem"),
    ("api_tls_client_ca", "clients.pem"),
    ("api_hosts", "hub.internal"),
    ("api_origins", "https://admin.example"),
    ("api_error_mode", "transport"),
    ("api_connections_max", "7"),
    ("api_body_bytes_max", "2MiB"),
    ("api_bodies_bytes_max", "5MiB"),
    ("api_timeout", "3s"),
    ("tls_cert", "chain.pem"),
    ("tls_key", "key.pem"),
    ("internal_tls_cert", "chain.pem"),
    ("internal_tls_key", "key.pem"),
    ("internal_tls_client_ca", "clients.pem"),
    ("cores", "3"),
    ("driver", "io_uring"),
    ("max_connections", "77"),
    ("address_connections_max", "7"),
    ("address_rate", "3"),
    ("address_burst", "9"),
    ("addresses_max", "1000"),
    ("trusted_proxies", "10.0.0.0/8"),
    ("proxy_header", "proxy-v2"),
    ("message_rate", "100"),
    ("message_burst", "20"),
    ("control_rate", "10"),
    ("control_burst", "5"),
    ("send_queues_bytes_max", "2GiB"),
    ("unfinished_bytes_max", "1GiB"),
    ("message_timeout", "3s"),
    ("static_dir", "public"),
    ("static_bytes_max", "1MiB"),
    ("allow_origin", "https://example.com"),
    ("head_bytes_max", "32KiB"),
    ("head_fields_max", "100"),
    ("sse_head_bytes_max", "32KiB"),
    ("emulation_waiting_bytes_max", "2MiB"),
    ("request_line_bytes_max", "4KiB"),
    ("message_bytes_max", "1MiB"),
    ("message_fragments_max", "5"),
    ("send_queue_bytes_max", "2MiB"),
    ("publish_window_bytes", "128KiB"),
    ("outbox_bytes_max", "8MiB"),
    ("mailbox_batches", "8"),
    ("commands_max", "1"),
    ("desk_requests_max", "1"),
    ("receive_buffer_bytes", "32KiB"),
    ("rooms_max", "10"),
    ("rooms_per_connection_max", "256"),
    ("room_idle_timeout", "5s"),
    ("position_ttl", "2h"),
    ("positions_max", "7"),
    ("history_bytes_max", "5MiB"),
    ("recovered_messages_max", "9"),
    ("recovered_bytes_max", "64KiB"),
    ("oneshot_rooms_max", "9"),
    ("oneshot_rate", "3"),
    ("oneshot_burst", "4"),
    ("state_dir", "/var/lib/hubbub"),
    ("state_bytes_max", "64MiB"),
    ("state_timeout", "2s"),
    ("moderation", "memory"),
    ("blocks_max", "5"),
    ("mutes_max", "6"),
    ("revocations_max", "7"),
    ("dev", "on"),
    ("anonymous", "on"),
    ("user_connections_max", "3"),
    ("single_connection", "on"),
    ("token_secret", "secret.txt"),
    ("token_keys", "public.pem"),
    ("token_jwks", "keys.json"),
    ("token_issuer", "https://example.com"),
    ("token_audience", "chat"),
    ("token_user_claim", "uid"),
    ("token_leeway", "5s"),
    ("token_bytes_max", "8KiB"),
    ("insecure", "on"),
    ("token_jwks_url", "https://auth.example.com/keys?tenant=1"),
    ("token_jwks_ca", "authorities.pem"),
    ("token_jwks_http", "on"),
    ("token_jwks_refresh", "1h"),
    ("token_jwks_pause", "1s"),
    ("token_jwks_timeout", "2s"),
    ("token_jwks_bytes_max", "8KiB"),
    ("token_jwks_keys_max", "5"),
    ("subscription_token_secret", "secret.txt"),
    ("subscription_token_keys", "public.pem"),
    ("subscription_token_jwks", "keys.json"),
    ("subscription_token_jwks_url", "http://127.0.0.1:8/keys"),
    ("subscription_token_issuer", "https://example.com"),
    ("subscription_token_audience", "chat"),
    ("events_url", "https://app.example.com/events?key=1"),
    ("events_secret", "secret.txt"),
    ("events_ca", "authorities.pem"),
    ("events_kinds", "occupied"),
    ("events_batch_max", "7"),
    ("events_batch_delay", "1s"),
    ("events_queue_bytes_max", "1MiB"),
    ("events_debounce", "0s"),
    ("events_timeout", "2s"),
    ("events_retry_max", "1m"),
    ("events_drain_timeout", "1s"),
    ("handshake_timeout", "2s"),
    ("tls_handshake_timeout", "3s"),
    ("ping_interval", "30s"),
    ("pong_timeout", "250ms"),
    ("close_timeout", "1s"),
    ("write_timeout", "1m"),
    ("pause_timeout", "90s"),
    ("max_connection_age", "1h"),
    ("drain_delay", "5s"),
    ("drain_timeout", "10s"),
    ("interrupt_drain_timeout", "1s"),
    ("compression", "on"),
    ("compression_level", "6"),
    ("compression_bytes_min", "1KiB"),
    ("compression_takeover", "client"),
    ("compression_window_bits", "9"),
    ("compression_contexts_bytes_max", "3GiB"),
    ("log_level", "warn,runtime=debug"),
    ("log_format", "json"),
    ("log_queue_bytes_max", "64KiB"),
];

/// The flags without which a setting is refused.
fn needs(key: &str) -> &'static [&'static str] {
    match key {
        "proxy_header" => &["--trusted-proxies=192.0.2.1"],
        "events_url" => &["--events-secret=s.txt"],
        "tls_cert" => &["--tls-key=k.pem"],
        "tls_key" => &["--tls-cert=c.pem"],
        "internal_tls_cert" => &["--internal-tls-key=k.pem"],
        "internal_tls_key" => &["--internal-tls-cert=c.pem"],
        "internal_tls_client_ca" => &["--internal-tls-cert=c.pem", "--internal-tls-key=k.pem"],
        "api_tls_cert" => &["--api-tls-key=k.pem"],
        "api_tls_key" => &["--api-tls-cert=c.pem"],
        "api_tls_client_ca" => &["--api-tls-cert=c.pem", "--api-tls-key=k.pem"],
        _ => &[],
    }
}

/// Loads with this setting and those that it needs.
fn accepted_with(key: &str, value: &str) -> Settings {
    let flag = format!("{}={value}", report::flag(key));
    accepted(&[needs(key), &[&flag]].concat(), &[], None)
}

/// Loads without this setting, or with another value if it cannot be left out.
fn accepted_before(key: &str) -> Settings {
    match key.ends_with("_cert") || key.ends_with("_key") || key.ends_with("_ca") {
        true => accepted_with(key, "old.pem"),
        false => accepted(needs(key), &[], None),
    }
}

fn arguments() -> Vec<Arg> {
    let command: Command = help::command();
    command.get_arguments().cloned().collect()
}

fn in_toml(arg: &Arg, value: &str) -> String {
    let key = arg.get_id();
    let count = value.bytes().all(|byte| byte.is_ascii_digit());
    match arg.get_action() {
        ArgAction::Append => format!("{key} = [\"{value}\"]"),
        _ if count => format!("{key} = {value}"),
        _ => format!("{key} = \"{value}\""),
    }
}

#[test]
fn every_setting_is_reached_from_every_source() {
    for arg in arguments().iter().filter(|arg| arg.get_id() != "config") {
        let key = arg.get_id().as_str();
        let sample = SAMPLES.iter().find(|(sample, _)| *sample == key);
        let (_, value) = sample.unwrap_or_else(|| panic!("no sample of {key}"));
        let variable = environment::variable(key);

        let by_flag = accepted_with(key, value);
        assert_ne!(by_flag, accepted_before(key), "{key}");
        let by_variable = accepted(needs(key), &[(&variable, value)], None);
        assert_eq!(by_variable, by_flag, "{key}");
        let by_file = accepted(needs(key), &[], Some(&in_toml(arg, value)));
        let config = by_file.config.clone();
        assert_eq!(by_file, Settings { config, ..by_flag }, "{key}");
    }
}

#[test]
fn every_setting_is_explained_in_help() {
    let long = help::command().render_long_help().to_string();
    let short = help::command().render_help().to_string();
    for arg in arguments() {
        let key = arg.get_id().as_str();
        let flag = report::flag(key);
        assert!(short.contains(&flag) && long.contains(&flag), "{key}");
        assert!(
            long.contains(&format!("[env: {}]", environment::variable(key))),
            "{key}"
        );
        assert!(
            key == "config" || long.contains(&format!("[key: {key}]")),
            "{key}"
        );
        assert!(arg.get_help_heading().is_some(), "{key} has no heading");
        assert!(
            arg.get_value_names().is_some(),
            "{key} has no name for its value"
        );
        for value in arg.get_default_values() {
            let default = format!("[default: {}]", value.to_string_lossy());
            assert!(
                long.contains(&default) && short.contains("[default:"),
                "{key}"
            );
        }
    }
}

#[test]
fn precedence_is_flag_environment_file_default() {
    let variables = [("HUBBUB_PING_INTERVAL", "21s")];
    let file = Some("ping_interval = \"22s\"");
    let seconds = |settings: Settings| settings.ping_interval.duration().as_secs();
    assert_eq!(
        seconds(accepted(&["--ping-interval", "20s"], &variables, file)),
        20
    );
    assert_eq!(seconds(accepted(&[], &variables, file)), 21);
    assert_eq!(seconds(accepted(&[], &[], file)), 22);
    assert_eq!(seconds(accepted(&[], &[], None)), 25);
}

#[test]
fn rust_log_stands_between_the_variable_of_log_level_and_the_file() {
    let rust = ("RUST_LOG", "debug");
    let own = ("HUBBUB_LOG_LEVEL", "warn");
    let file = Some("log_level = \"error\"");
    let level = |flags: &[&str], variables: &[_]| accepted(flags, variables, file).log_level;
    assert_eq!(level(&["--log-level=off"], &[rust, own]), "off");
    assert_eq!(level(&[], &[rust, own]), "warn");
    assert_eq!(level(&[], &[rust, ("HUBBUB_LOG_LEVEL", "")]), "debug");
    assert_eq!(level(&[], &[("RUST_LOG", "")]), "error");
    let loaded = load(&[], &[rust], None).unwrap();
    assert_eq!(
        loaded.overrides[0].to_string(),
        "log_level = debug (RUST_LOG)"
    );
    let words = ["RUST_LOG=\"inof\"", "HUBBUB_LOG_LEVEL", "not a level"];
    refused(&[], &[("RUST_LOG", "inof")], None, &words);
}

#[test]
fn list_of_a_higher_layer_replaces_the_lower() {
    let variables = [("HUBBUB_LISTEN", "127.0.0.1:3, [::1]:3")];
    let file = Some("listen = [\"127.0.0.1:4\", \"127.0.0.1:5\"]");
    let listen = |settings: Settings| {
        let addresses = settings.listen.iter();
        addresses
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let flags = ["--listen", "127.0.0.1:1,127.0.0.1:2", "--listen=0.0.0.0:0"];
    let by_flags = listen(accepted(&flags, &variables, file));
    assert_eq!(by_flags, "127.0.0.1:1 127.0.0.1:2 0.0.0.0:0");
    assert_eq!(
        listen(accepted(&[], &variables, file)),
        "127.0.0.1:3 [::1]:3"
    );
    assert_eq!(listen(accepted(&[], &[], file)), "127.0.0.1:4 127.0.0.1:5");
    assert_eq!(
        listen(accepted(&[], &[], Some("listen = \"[::1]:6\""))),
        "[::1]:6"
    );
    assert_eq!(listen(accepted(&[], &[], None)), "127.0.0.1:8000");
}

#[test]
fn config_is_named_by_variable_too() {
    let sources = Sources {
        args: vec!["hubbub".into()],
        variables: vec![("HUBBUB_CONFIG".into(), FILE.into())],
        read: &|_| Ok("cores = 7".to_owned()),
    };
    let loaded = Settings::load(&sources).unwrap();
    assert_eq!(loaded.settings.cores.map(NonZeroUsize::get), Some(7));
    assert_eq!(loaded.settings.config.as_deref(), Some(Path::new(FILE)));
}

#[test]
fn defaults_are_what_their_notation_says() {
    let settings = Settings::default();
    assert_eq!(settings.message_bytes_max.bytes(), 65_536);
    assert_eq!(settings.room_idle_timeout.duration().as_secs(), 60);
    assert_eq!(
        settings,
        accepted(&[], &[], Some("# nothing\n")).without_config()
    );
}

impl Settings {
    fn without_config(self) -> Self {
        Self {
            config: None,
            ..self
        }
    }
}

#[test]
fn settings_that_are_risky_are_reported() {
    let flags = [
        "--allow-origin=https://a.example,*",
        "--message-fragments-max=0",
        "--address-connections-max=0",
        "--address-rate=0",
        "--oneshot-rate=0",
        "--trusted-proxies=::/0",
    ];
    let loaded = load(&flags, &[], None).unwrap();
    let unbounded = |key| Warning::AddressUnbounded { key };
    assert_eq!(
        loaded.warnings,
        [
            Warning::AnyOrigin,
            Warning::FragmentsUnbounded,
            unbounded("address_connections_max"),
            unbounded("address_rate"),
            unbounded("oneshot_rate"),
            Warning::AnyProxy,
        ]
    );
    assert!(loaded.settings.allow_list().accepts_any());
}

#[test]
fn overrides_tell_value_and_place() {
    let text = Some("rooms_max = 5\ncores = 2");
    let loaded = load(&["--cores=3"], &[("HUBBUB_DRIVER", "epoll")], text).unwrap();
    let mut overrides: Vec<_> = loaded.overrides.iter().map(ToString::to_string).collect();
    overrides.sort();
    assert_eq!(
        overrides,
        [
            "config = hubbub.toml (--config)",
            "cores = 3 (--cores)",
            "driver = epoll (HUBBUB_DRIVER)",
            "rooms_max = 5 (hubbub.toml line 1)",
        ]
    );
}

#[test]
fn units_are_written_back_as_they_are_read() {
    let parse = size(1, GIB);
    for (text, bytes, shown) in [
        ("64KiB", 65_536, "64KiB"),
        ("65536", 65_536, "64KiB"),
        ("64 kib", 65_536, "64KiB"),
        ("64kB", 64_000, "64000"),
        ("1.5MiB", 1_572_864, "1536KiB"),
        ("1GiB", 1 << 30, "1GiB"),
        ("1", 1, "1"),
    ] {
        let size = parse(text).unwrap();
        assert_eq!(
            (size.bytes(), size.to_string().as_str()),
            (bytes, shown),
            "{text}"
        );
        assert_eq!(parse(shown), Ok(size));
    }
    for text in ["10s", "250ms", "1m 30s", "1day"] {
        assert_eq!(period(text).unwrap().to_string(), text);
    }
}

#[test]
fn nearest_is_the_setting_that_was_meant() {
    let keys = arguments();
    let keys: Vec<&str> = keys.iter().map(|arg| arg.get_id().as_str()).collect();
    for (name, expected) in [
        ("listne", Some("listen")),
        ("LISTEN", Some("listen")),
        ("allow_origins", Some("allow_origin")),
        ("timeout_ping", None),
        ("bytes_max", None),
        ("interval_ping", Some("ping_interval")),
        ("message_bytes", Some("message_bytes_max")),
        ("room_max", Some("rooms_max")),
        ("port", None),
        ("", None),
    ] {
        assert_eq!(nearest::nearest(name, &keys), expected, "{name}");
    }
}
