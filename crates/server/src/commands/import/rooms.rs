//! The options of channels: `channel.without_namespace` and `channel.namespaces[]` of Centrifugo, which are the tables
//! `[rooms]` and `[namespaces.NAME]` here.

use access::namespace::{HISTORY_SIZE_MAX, TABLE_KEYS_MAX};
use toml::Value;

use super::rows::{Asked, Made, Row, Settings, nothing, settings, unneeded};
use super::values::{duration, flag, same_duration, same_number, text};

/// All options of channels.
pub const ROWS: &[Row] = &[
    settings("presence", "presence", |it| switch("presence", it), ""),
    settings(
        "join_leave",
        "join_leave",
        join_leave,
        "asked, or forced with force_push_join_leave; asked takes a right to read the presence",
    ),
    settings("force_push_join_leave", "join_leave", join_leave, ""),
    settings(
        "history_size",
        "history_size",
        |it| same_number("history_size", it, 0, HISTORY_SIZE_MAX.into()),
        "10000 at most; also bounded by history_bytes_max (1 MiB)",
    ),
    settings(
        "history_ttl",
        "history_ttl",
        |it| same_duration("history_ttl", it),
        "1 day at most",
    ),
    nothing(
        "history_meta_ttl",
        "positions outlive their rooms by position_ttl, the same for all",
    ),
    settings("allow_positioning", "positions", positions, "allowed"),
    settings("force_positioning", "positions", positions, "forced"),
    settings("allow_recovery", "recovery", recovery, "allowed"),
    settings("force_recovery", "recovery", recovery, "forced"),
    settings(
        "force_recovery_mode",
        "recovery_mode",
        recovery_mode,
        "stream or cache",
    ),
    nothing("auto_cache_recover", "clients ask for recovery themselves"),
    nothing(
        "allowed_delta_types",
        "there are no deltas: clients that ask for them get whole messages; see compression",
    ),
    nothing("delta_publish", "there are no deltas; see compression"),
    nothing("allow_tags_filter", "subscribers cannot filter by tags"),
    settings(
        "allow_subscribe_for_client",
        "subscribe",
        subscribe,
        "client",
    ),
    settings(
        "allow_subscribe_for_anonymous",
        "subscribe",
        subscribe,
        "anonymous, beside client",
    ),
    settings("allow_publish_for_client", "publish", publish, "client"),
    settings(
        "allow_publish_for_subscriber",
        "publish",
        publish,
        "subscriber; client includes it",
    ),
    settings(
        "allow_publish_for_anonymous",
        "publish",
        publish,
        "anonymous, beside one of these two",
    ),
    settings(
        "allow_history_for_client",
        "read_history",
        history,
        "client",
    ),
    settings(
        "allow_history_for_subscriber",
        "read_history",
        history,
        "subscriber; client includes it",
    ),
    settings(
        "allow_history_for_anonymous",
        "read_history",
        history,
        "anonymous, beside one of these two",
    ),
    settings(
        "allow_presence_for_client",
        "read_presence",
        presence,
        "client",
    ),
    settings(
        "allow_presence_for_subscriber",
        "read_presence",
        presence,
        "subscriber; client includes it",
    ),
    settings(
        "allow_presence_for_anonymous",
        "read_presence",
        presence,
        "anonymous, beside one of these two",
    ),
    settings(
        "allow_user_limited_channels",
        "user_limited",
        |it| switch("user_limited", it),
        "",
    ),
    nothing(
        "channel_regex",
        "names of rooms are bounded in length alone",
    ),
    settings(
        "publication_data_format",
        "form",
        |it| match text(it.value)? {
            form @ ("json" | "json_object" | "binary") => Ok(Settings::one("form", form)),
            other => Err(format!("there is no form {other:?}")),
        },
        "json, json_object or binary",
    ),
    settings(
        "subscription_type",
        "kind",
        |it| match text(it.value)? {
            "stream" => Ok(Settings::default()),
            "map" => Ok(Settings::one("kind", "latest_per_key")),
            other => Err(format!("there are no rooms of the type {other}")),
        },
        "map is latest_per_key; map_clients, map_users and shared_poll are not there",
    ),
    settings(
        "map.max_entries",
        "keys_max",
        |it| same_number("keys_max", it, 1, TABLE_KEYS_MAX.into()),
        "10000 at most",
    ),
    nothing(
        "map",
        "rooms with keys have keys_max, keys_bytes_max and keys_ttl",
    ),
    nothing(
        "shared_poll",
        "the server asks nobody for the state of rooms",
    ),
    nothing(
        "map_clients_presence_channel_prefix",
        "presence is asked for by the client",
    ),
    nothing(
        "map_users_presence_channel_prefix",
        "presence is asked for by the client",
    ),
    settings(
        "subscribe_proxy_enabled",
        "subscribe_hook",
        |it| switch("subscribe_hook", it),
        "the back end alone decides then",
    ),
    settings(
        "subscribe_proxy_name",
        "subscribe_hook",
        one_back_end,
        "default: each kind of question has one back end",
    ),
    settings(
        "publish_proxy_enabled",
        "publish_hook",
        |it| switch("publish_hook", it),
        "the back end alone decides then",
    ),
    settings(
        "publish_proxy_name",
        "publish_hook",
        one_back_end,
        "default: each kind of question has one back end",
    ),
    settings(
        "sub_refresh_proxy_enabled",
        "sub_refresh_hook",
        |it| switch("sub_refresh_hook", it),
        "",
    ),
    settings(
        "sub_refresh_proxy_name",
        "sub_refresh_hook",
        one_back_end,
        "default: each kind of question has one back end",
    ),
    nothing(
        "subscribe_stream_proxy_enabled",
        "back ends stream nothing into rooms: let them publish",
    ),
    nothing(
        "subscribe_stream_proxy_name",
        "back ends stream nothing into rooms: let them publish",
    ),
    nothing(
        "subscribe_stream_bidirectional",
        "back ends stream nothing into rooms: let them publish",
    ),
    unneeded("chat_mode", "rooms have one order for all"),
];

/// Whether an option of the same namespace is on.
fn has(asked: &Asked<'_>, option: &str) -> bool {
    let value = asked.among.get(option);
    value.is_some_and(|value| flag(value).unwrap_or_default())
}

fn switch(key: &str, asked: &Asked<'_>) -> Made {
    Ok(Settings::one(key, flag(asked.value)?))
}

fn word(key: &str, asked: &Asked<'_>, word: &str) -> Made {
    flag(asked.value)?;
    Ok(Settings::one(key, word))
}

fn join_leave(asked: &Asked<'_>) -> Made {
    match (
        has(asked, "join_leave"),
        has(asked, "force_push_join_leave"),
    ) {
        (false, _) => Err("nobody is told who comes and goes unless join_leave is on".to_owned()),
        (true, true) => word("join_leave", asked, "forced"),
        (true, false) => word("join_leave", asked, "asked"),
    }
}

fn positions(asked: &Asked<'_>) -> Made {
    match has(asked, "force_positioning") {
        true => word("positions", asked, "forced"),
        false => word("positions", asked, "allowed"),
    }
}

/// There, a history takes both a size and a time; without it nothing can be recovered.
fn recovery(asked: &Asked<'_>) -> Made {
    if !keeps_history(asked) {
        return Err(
            "there is no history to recover from: it takes history_size and history_ttl".to_owned(),
        );
    }
    match has(asked, "force_recovery") {
        true => word("recovery", asked, "forced"),
        false => word("recovery", asked, "allowed"),
    }
}

fn keeps_history(asked: &Asked<'_>) -> bool {
    let size = asked.among.get("history_size");
    let ttl = asked.among.get("history_ttl");
    size.is_some_and(super::source::is_set)
        && ttl.is_some_and(|ttl| duration(ttl).is_ok_and(|ttl| !ttl.is_zero()))
}

fn recovery_mode(asked: &Asked<'_>) -> Made {
    match text(asked.value)? {
        mode @ ("stream" | "cache") => Ok(Settings::one("recovery_mode", mode)),
        other => Err(format!("there is no mode {other:?}")),
    }
}

fn one_back_end(asked: &Asked<'_>) -> Made {
    match text(asked.value)? {
        "default" => Ok(Settings::default()),
        _ => Err("each kind of question has one back end: [hooks.NAME]".to_owned()),
    }
}

fn subscribe(asked: &Asked<'_>) -> Made {
    if has(asked, "subscribe_proxy_enabled") {
        return Err("the back end alone decides, there as here".to_owned());
    }
    let client = has(asked, "allow_subscribe_for_client");
    let anonymous = has(asked, "allow_subscribe_for_anonymous");
    people("subscribe", asked, client.then_some("client"), anonymous)
}

fn publish(asked: &Asked<'_>) -> Made {
    if has(asked, "publish_proxy_enabled") {
        return Err("the back end alone decides, there as here".to_owned());
    }
    who("publish", "publish", asked)
}

fn history(asked: &Asked<'_>) -> Made {
    who("read_history", "history", asked)
}

fn presence(asked: &Asked<'_>) -> Made {
    who("read_presence", "presence", asked)
}

fn who(key: &str, right: &str, asked: &Asked<'_>) -> Made {
    let client = has(asked, &format!("allow_{right}_for_client"));
    let subscriber = has(asked, &format!("allow_{right}_for_subscriber"));
    let who = client
        .then_some("client")
        .or(subscriber.then_some("subscriber"));
    let anonymous = has(asked, &format!("allow_{right}_for_anonymous"));
    people(key, asked, who, anonymous)
}

fn people(key: &str, asked: &Asked<'_>, who: Option<&str>, anonymous: bool) -> Made {
    flag(asked.value)?;
    match (who, anonymous) {
        (None, _) => Err("alone it lets in nobody, there as here".to_owned()),
        (Some(who), false) => Ok(Settings::one(key, who)),
        (Some(who), true) => {
            let words = [who, "anonymous"].map(Value::from);
            Ok(Settings::one(key, Value::Array(words.into())))
        }
    }
}
