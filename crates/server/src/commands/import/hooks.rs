//! What Centrifugo asks a back end (its proxies), as the tables `[hooks.NAME]`.

use toml::Value;

use super::rows::{Asked, Made, Row, Settings, nothing, settings, unneeded};
use super::source::at;
use super::values::{flag, same_duration, text, texts};
use crate::hooks::is_forgeable;
use crate::settings::url_of;

/// All options of proxies.
pub const ROWS: &[Row] = &[
    settings(
        "client.proxy.connect",
        "hooks.connect",
        |it| hook(it, "client.proxy.connect", "connect"),
        "endpoint is url, http_headers are headers and forgeable_headers, include_connection_meta is include_meta, \
         and timeout is timeout; the others have no place here",
    ),
    settings(
        "client.proxy.refresh",
        "hooks.refresh",
        |it| hook(it, "client.proxy.refresh", "refresh"),
        "the same",
    ),
    settings(
        "channel.proxy.subscribe",
        "hooks.subscribe",
        |it| hook(it, "channel.proxy.subscribe", "subscribe"),
        "the same",
    ),
    settings(
        "channel.proxy.publish",
        "hooks.publish",
        |it| hook(it, "channel.proxy.publish", "publish"),
        "the same",
    ),
    settings(
        "channel.proxy.sub_refresh",
        "hooks.sub_refresh",
        |it| hook(it, "channel.proxy.sub_refresh", "sub_refresh"),
        "the same",
    ),
    nothing(
        "channel.proxy.subscribe_stream",
        "back ends stream nothing into rooms: let them publish",
    ),
    nothing(
        "channel.proxy.cache_empty",
        "nobody is asked for what a room does not have",
    ),
    settings(
        "rpc.proxy",
        "hooks.rpc",
        |it| hook(it, "rpc.proxy", "rpc"),
        "the same",
    ),
    unneeded(
        "rpc.without_namespace",
        "with [hooks.rpc] the back end answers every method",
    ),
    nothing(
        "rpc.namespaces",
        "methods have no namespaces: with [hooks.rpc] the back end answers every one",
    ),
    nothing("rpc", "with [hooks.rpc] the back end answers every method"),
    nothing(
        "proxies",
        "each kind of question has one back end: [hooks.NAME]",
    ),
    nothing(
        "unified_proxy",
        "each kind of question has one back end: [hooks.NAME]",
    ),
];

/// The setting of one option of the proxy that this section is about.
fn hook(asked: &Asked<'_>, section: &str, name: &str) -> Made {
    // Those of channels are asked where namespaces say so.
    let is_asked = !section.starts_with("client.") || {
        let enabled = at(asked.among, &format!("{section}.enabled"));
        enabled.is_some_and(|it| flag(it).unwrap_or_default())
    };
    if !is_asked {
        return Err("the proxy is not enabled".to_owned());
    }
    let option = asked.path.strip_prefix(section);
    let option = option
        .and_then(|rest| rest.strip_prefix('.'))
        .unwrap_or_default();
    let key = |key: &str| format!("hooks.{name}.{key}");
    match option {
        "enabled" => Ok(Settings::default()),
        "endpoint" => url(asked, &key("url"), &key("http")),
        "timeout" => same_duration(&key("timeout"), asked),
        "include_connection_meta" => Ok(Settings::one(&key("include_meta"), flag(asked.value)?)),
        "http_headers" => headers(asked, &key("headers"), &key("forgeable_headers")),
        _ => Err(
            "a back end is asked over HTTP, in JSON, and with what the client has sent".to_owned(),
        ),
    }
}

fn url(asked: &Asked<'_>, url: &str, http: &str) -> Made {
    let endpoint = text(asked.value)?;
    if endpoint.starts_with("grpc") {
        return Err("there is no gRPC: a back end is asked over HTTP".to_owned());
    }
    let parsed = url_of(endpoint)?;
    let mut made = Settings::one(url, endpoint);
    if !parsed.is_encrypted() && !parsed.is_local() {
        made.set.push((http.to_owned(), true.into()));
        made = made.noting(
            "in plain text, as before: whoever is on the way could answer, and let in anybody",
        );
    }
    Ok(made)
}

/// Fields that proxies write stand apart, since a client can write them, too.
fn headers(asked: &Asked<'_>, headers: &str, forgeable: &str) -> Made {
    let (written, sent): (Vec<_>, Vec<_>) = texts(asked.value)?
        .into_iter()
        .partition(|name| is_forgeable(&name.to_ascii_lowercase()));
    let mut made = Settings::default();
    for (key, names) in [(headers, &sent), (forgeable, &written)] {
        if !names.is_empty() {
            let names = names.iter().cloned().map(Value::from).collect();
            made.set.push((key.to_owned(), Value::Array(names)));
        }
    }
    Ok(match written.is_empty() {
        true => made,
        false => made.noting(format!(
            "{} must be overwritten by your proxy",
            written.join(", ")
        )),
    })
}
