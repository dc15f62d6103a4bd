//! The options of Centrifugo for clients, and those of all channels together.

use toml::Value;

use super::files::{public, secret};
use super::rows::{Asked, Made, Row, Settings, nothing, settings, unneeded};
use super::source::at;
use super::values::{
    fixed, flag, number, same_duration, same_number, same_size, same_text, switch_on, text, texts,
};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// All options of clients.
pub const ROWS: &[Row] = &[
    settings(
        "client.allowed_origins",
        "allow_origin",
        origins,
        "each origin by itself: * stands alone, and not within a name",
    ),
    settings(
        "client.token.hmac_secret_key",
        "token_secret",
        |it| secret(it, "token_secret", "token-secret"),
        "a file (--secrets); at least 32 bytes",
    ),
    settings(
        "client.token.rsa_public_key",
        "token_keys",
        |it| public(it, "token_keys", "client.token", "token"),
        "a file (--secrets)",
    ),
    settings(
        "client.token.ecdsa_public_key",
        "token_keys",
        |it| public(it, "token_keys", "client.token", "token"),
        "a file (--secrets)",
    ),
    settings(
        "client.token.jwks_public_endpoint",
        "token_jwks_url",
        jwks,
        "https://, unless it is on this machine",
    ),
    settings(
        "client.token.issuer",
        "token_issuer",
        |it| same_text("token_issuer", it),
        "",
    ),
    settings(
        "client.token.audience",
        "token_audience",
        |it| same_text("token_audience", it),
        "",
    ),
    settings(
        "client.token.user_id_claim",
        "token_user_claim",
        |it| same_text("token_user_claim", it),
        "",
    ),
    nothing(
        "client.token.issuer_regex",
        "an issuer is compared to the letter: token_issuer",
    ),
    nothing(
        "client.token.audience_regex",
        "an audience is compared to the letter: token_audience",
    ),
    nothing(
        "client.token.hmac_previous_secret_key",
        "there is one secret at a time: replace it when no old token is around, or use token_keys, of which there may be several",
    ),
    nothing(
        "client.token.hmac_previous_secret_key_valid_until",
        "there is one secret at a time",
    ),
    unneeded(
        "client.subscription_token.enabled",
        "keys of their own are enough",
    ),
    settings(
        "client.subscription_token.hmac_secret_key",
        "subscription_token_secret",
        |it| {
            own(it, |it| {
                secret(it, "subscription_token_secret", "subscription-token-secret")
            })
        },
        "a file (--secrets); at least 32 bytes",
    ),
    settings(
        "client.subscription_token.rsa_public_key",
        "subscription_token_keys",
        |it| {
            own(it, |it| {
                public(
                    it,
                    "subscription_token_keys",
                    "client.subscription_token",
                    "subscription-token",
                )
            })
        },
        "a file (--secrets)",
    ),
    settings(
        "client.subscription_token.ecdsa_public_key",
        "subscription_token_keys",
        |it| {
            own(it, |it| {
                public(
                    it,
                    "subscription_token_keys",
                    "client.subscription_token",
                    "subscription-token",
                )
            })
        },
        "a file (--secrets)",
    ),
    settings(
        "client.subscription_token.jwks_public_endpoint",
        "subscription_token_jwks_url",
        |it| own(it, |it| same_text("subscription_token_jwks_url", it)),
        "",
    ),
    settings(
        "client.subscription_token.issuer",
        "subscription_token_issuer",
        |it| own(it, |it| same_text("subscription_token_issuer", it)),
        "",
    ),
    settings(
        "client.subscription_token.audience",
        "subscription_token_audience",
        |it| own(it, |it| same_text("subscription_token_audience", it)),
        "",
    ),
    nothing(
        "client.subscription_token",
        "subscription tokens have the other settings of all tokens",
    ),
    settings(
        "client.allow_anonymous_connect_without_token",
        "anonymous",
        |it| switch_on("anonymous", it),
        "",
    ),
    nothing(
        "client.disallow_anonymous_connection_tokens",
        "a token without a user is good: do not sign any",
    ),
    settings(
        "client.insecure",
        "insecure",
        |it| switch_on("insecure", it),
        "",
    ),
    nothing(
        "client.insecure_skip_token_signature_verify",
        "no token is believed without its signature",
    ),
    nothing(
        "client.user_id_http_header",
        "users come from tokens, or from the connect hook",
    ),
    settings(
        "client.ping_interval",
        "ping_interval",
        |it| same_duration("ping_interval", it),
        "",
    ),
    settings(
        "client.pong_timeout",
        "pong_timeout",
        |it| same_duration("pong_timeout", it),
        "10s by default, and not 8s",
    ),
    unneeded("client.expired_close_delay", "it is 25 seconds"),
    unneeded("client.expired_sub_close_delay", "it is 25 seconds"),
    nothing(
        "client.stale_close_delay",
        "handshake_timeout bounds the time to the connect command, too",
    ),
    settings(
        "client.channel_limit",
        "rooms_per_connection_max",
        |it| same_number("rooms_per_connection_max", it, 1, 256),
        "256 at most",
    ),
    settings(
        "client.queue_max_size",
        "send_queue_bytes_max",
        |it| same_size("send_queue_bytes_max", it, KIB, GIB),
        "",
    ),
    unneeded(
        "client.presence_update_interval",
        "who is in a room is known when they come and go",
    ),
    unneeded(
        "client.concurrency",
        "the commands of a client are carried out in their order, and nobody waits for another client",
    ),
    unneeded(
        "client.channel_position_check_delay",
        "positions cannot drift: a client learns of each message it misses",
    ),
    unneeded(
        "client.channel_position_max_time_lag",
        "positions cannot drift",
    ),
    settings(
        "client.connection_limit",
        "max_connections",
        |it| same_number("max_connections", it, 1, 100_000_000),
        "",
    ),
    settings(
        "client.user_connection_limit",
        "user_connections_max",
        |it| same_number("user_connections_max", it, 0, 1_000_000),
        "",
    ),
    nothing(
        "client.connection_rate_limit",
        "the rate is that of each address: address_rate",
    ),
    nothing(
        "client.connect_include_server_time",
        "the answer to connect has no time",
    ),
    settings(
        "client.history_max_publication_limit",
        "recovered_messages_max",
        limit,
        "one bound for both: the larger of the two",
    ),
    settings(
        "client.recovery_max_publication_limit",
        "recovered_messages_max",
        limit,
        "",
    ),
    nothing(
        "client.allowed_delta_types",
        "there are no deltas; see compression",
    ),
    settings(
        "client.subscribe_to_user_personal_channel.enabled",
        "personal of the namespace",
        personal,
        "in [rooms], or in the namespace of personal_channel_namespace",
    ),
    settings(
        "client.subscribe_to_user_personal_channel.personal_channel_namespace",
        "personal of the namespace",
        personal,
        "",
    ),
    settings(
        "client.subscribe_to_user_personal_channel.single_connection",
        "single_connection",
        |it| switch_on("single_connection", it),
        "",
    ),
    nothing(
        "client.connect_code_to_unidirectional_disconnect",
        "codes are those of docs/close-codes.md",
    ),
    settings(
        "channel.history_meta_ttl",
        "position_ttl",
        |it| same_duration("position_ttl", it),
        "1 day at most; 1h by default",
    ),
    unneeded("channel.max_length", "names of rooms have up to 255 bytes"),
    settings(
        "channel.private_prefix",
        "(fixed)",
        |it| fixed(it, "$"),
        "$, as by default",
    ),
    settings(
        "channel.namespace_boundary",
        "(fixed)",
        |it| fixed(it, ":"),
        ":, as by default",
    ),
    settings(
        "channel.user_boundary",
        "(fixed)",
        |it| fixed(it, "#"),
        "#, as by default",
    ),
    settings(
        "channel.user_separator",
        "(fixed)",
        |it| fixed(it, ","),
        "a comma, as by default",
    ),
    nothing(
        "channel.publication_data_format",
        "each table of rooms says it for itself: form",
    ),
];

fn own(asked: &Asked<'_>, make: fn(&Asked<'_>) -> Made) -> Made {
    let enabled = at(asked.among, "client.subscription_token.enabled");
    match enabled.is_some_and(|it| flag(it).unwrap_or_default()) {
        true => make(asked),
        false => Err("subscription_token is not enabled".to_owned()),
    }
}

fn jwks(asked: &Asked<'_>) -> Made {
    let url = text(asked.value)?;
    match url.contains("{{") {
        true => Err(
            "it depends on what a token says, before anybody knows who made that: name one URL"
                .to_owned(),
        ),
        false => Ok(Settings::one("token_jwks_url", url)),
    }
}

fn origins(asked: &Asked<'_>) -> Made {
    let (good, bad): (Vec<_>, Vec<_>) = texts(asked.value)?
        .into_iter()
        .partition(|origin| origin.parse::<crate::origin::Permit>().is_ok());
    if good.is_empty() {
        return Err(format!(
            "none of them is an origin by itself: {}",
            bad.join(", ")
        ));
    }
    let made = Settings::one(
        "allow_origin",
        Value::Array(good.into_iter().map(Value::from).collect()),
    );
    Ok(match bad.is_empty() {
        true => made,
        false => made.noting(format!(
            "without {}, which is no origin by itself",
            bad.join(", ")
        )),
    })
}

fn limit(asked: &Asked<'_>) -> Made {
    let value = |name: &str| at(asked.among, &format!("client.{name}_max_publication_limit"));
    let limits = [value("history"), value("recovery")];
    let limits: Vec<_> = limits
        .into_iter()
        .flatten()
        .map(number)
        .collect::<Result<_, _>>()?;
    let most = serde_json::Value::from(limits.into_iter().max().unwrap_or_default());
    let asked = Asked {
        value: &most,
        ..*asked
    };
    same_number("recovered_messages_max", &asked, 1, 10_000)
}

fn personal(asked: &Asked<'_>) -> Made {
    const SECTION: &str = "client.subscribe_to_user_personal_channel";
    let enabled = at(asked.among, &format!("{SECTION}.enabled"));
    if !enabled.is_some_and(|it| flag(it).unwrap_or_default()) {
        return Err("it is not enabled".to_owned());
    }
    let name = at(
        asked.among,
        &format!("{SECTION}.personal_channel_namespace"),
    );
    Ok(match name.map_or(Ok(""), text)? {
        "" => Settings::one("rooms.personal", true),
        name if name.contains('.') => {
            Settings::one(&format!("namespaces.\"{name}\".personal"), true)
        }
        name => Settings::one(&format!("namespaces.{name}.personal"), true),
    })
}
