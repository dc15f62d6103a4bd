//! The options of Centrifugo for the server itself: where it listens, what it speaks, what it keeps and tells.

use toml::Value;

use super::files::{file, keep};
use super::rows::{Asked, Made, Row, Settings, nothing, settings, unneeded};
use super::source::at;
use super::values::{fixed, flag, number, same_duration, same_number, same_size, switch_on, text};

const GIB: u64 = 1 << 30;

/// All options of the server.
pub const ROWS: &[Row] = &[
    settings(
        "http_server.address",
        "listen",
        listen,
        "an IP address: names are not resolved; every interface if it is left out",
    ),
    settings("http_server.port", "listen", listen, ""),
    settings(
        "http_server.internal_address",
        "internal_listen",
        internal,
        "metrics and health; the API has a listener of its own, api_listen",
    ),
    settings("http_server.internal_port", "internal_listen", internal, ""),
    settings(
        "http_server.tls.enabled",
        "tls_cert, tls_key",
        |it| both(it, "http_server.tls", ["tls_cert", "tls_key"]),
        "files; with --secrets also what stands in the configuration itself",
    ),
    settings(
        "http_server.tls.cert_pem",
        "tls_cert",
        |it| both(it, "http_server.tls", ["tls_cert", "tls_key"]),
        "",
    ),
    settings(
        "http_server.tls.key_pem",
        "tls_key",
        |it| both(it, "http_server.tls", ["tls_cert", "tls_key"]),
        "",
    ),
    nothing(
        "http_server.tls",
        "clients show no certificates: only the internal listener and the API ask for them",
    ),
    settings(
        "http_server.internal_tls.enabled",
        "internal_tls_cert, internal_tls_key",
        |it| {
            both(
                it,
                "http_server.internal_tls",
                ["internal_tls_cert", "internal_tls_key"],
            )
        },
        "",
    ),
    settings(
        "http_server.internal_tls.cert_pem",
        "internal_tls_cert",
        |it| {
            both(
                it,
                "http_server.internal_tls",
                ["internal_tls_cert", "internal_tls_key"],
            )
        },
        "",
    ),
    settings(
        "http_server.internal_tls.key_pem",
        "internal_tls_key",
        |it| {
            both(
                it,
                "http_server.internal_tls",
                ["internal_tls_cert", "internal_tls_key"],
            )
        },
        "",
    ),
    settings(
        "http_server.internal_tls.client_ca_pem",
        "internal_tls_client_ca",
        client_ca,
        "",
    ),
    nothing(
        "http_server.internal_tls",
        "a listener has no other side of TLS",
    ),
    nothing(
        "http_server.tls_external",
        "each listener has certificates of its own, or none",
    ),
    nothing(
        "http_server.tls_autocert",
        "certificates are files: let certbot or a proxy fetch them; SIGHUP reads them again",
    ),
    nothing("http_server.http3", "there is no HTTP/3"),
    settings(
        "log.level",
        "log_level",
        log_level,
        "none is off, fatal is error",
    ),
    nothing(
        "log.file",
        "the log goes to standard error: let the service manager keep it",
    ),
    settings(
        "http_api.key",
        "api_listen, api_keys",
        api_key,
        "a file (--secrets), 16 to 256 characters; the API has a port of its own, 8001 of this machine",
    ),
    settings(
        "http_api.error_mode",
        "api_error_mode",
        |it| match text(it.value)? {
            "transport" => Ok(Settings::one("api_error_mode", "transport")),
            other => Err(format!("there is no mode {other:?}")),
        },
        "",
    ),
    unneeded("http_api.disabled", "there is no API without api_listen"),
    nothing("http_api.insecure", "each call shows a key"),
    nothing(
        "http_api.external",
        "the API has a listener of its own: api_listen",
    ),
    settings(
        "http_api.handler_prefix",
        "(fixed)",
        |it| fixed(it, "/api"),
        "/api, as by default",
    ),
    nothing("grpc_api", "there is no gRPC: the API speaks HTTP"),
    nothing(
        "consumers",
        "nothing is read from queues or databases: publish by the API",
    ),
    settings(
        "engine.type",
        "(fixed)",
        |it| fixed(it, "memory"),
        "memory; rooms do not span machines yet",
    ),
    nothing(
        "engine",
        "rooms do not span machines yet, and live in memory",
    ),
    nothing(
        "broker",
        "rooms do not span machines yet, and live in memory",
    ),
    nothing(
        "presence_manager",
        "rooms do not span machines yet, and live in memory",
    ),
    settings(
        "map_broker.type",
        "(fixed)",
        |it| fixed(it, "memory"),
        "memory",
    ),
    nothing(
        "map_broker",
        "rooms do not span machines yet, and live in memory",
    ),
    nothing("websocket.disabled", "WebSockets cannot be turned off"),
    settings(
        "websocket.handler_prefix",
        "(fixed)",
        |it| fixed(it, "/connection/websocket"),
        "/connection/websocket, as by default",
    ),
    settings(
        "websocket.compression",
        "compression",
        |it| switch_on("compression", it),
        "",
    ),
    settings(
        "websocket.compression_min_size",
        "compression_bytes_min",
        |it| same_size("compression_bytes_min", it, 0, GIB),
        "256 by default",
    ),
    settings(
        "websocket.compression_level",
        "compression_level",
        |it| same_number("compression_level", it, 1, 9),
        "",
    ),
    settings(
        "websocket.message_size_limit",
        "message_bytes_max",
        |it| same_size("message_bytes_max", it, 1, GIB),
        "",
    ),
    settings(
        "websocket.write_timeout",
        "write_timeout",
        |it| same_duration("write_timeout", it),
        "5s by default: the time without any progress",
    ),
    unneeded("websocket", "buffers are shared by all connections"),
    settings(
        "sse.handler_prefix",
        "(fixed)",
        |it| fixed(it, "/connection/sse"),
        "/connection/sse, as by default",
    ),
    unneeded("sse", "it is on; bodies have message_bytes_max"),
    settings(
        "http_stream.handler_prefix",
        "(fixed)",
        |it| fixed(it, "/connection/http_stream"),
        "/connection/http_stream, as by default",
    ),
    unneeded("http_stream", "it is on; bodies have message_bytes_max"),
    settings(
        "emulation.handler_prefix",
        "(fixed)",
        |it| fixed(it, "/emulation"),
        "/emulation, as by default",
    ),
    unneeded("emulation", "it is on; bodies have message_bytes_max"),
    settings(
        "uni_sse.handler_prefix",
        "(fixed)",
        |it| fixed(it, "/connection/uni_sse"),
        "/connection/uni_sse, as by default",
    ),
    unneeded("uni_sse", "it is on; bodies have message_bytes_max"),
    settings(
        "uni_http_stream.handler_prefix",
        "(fixed)",
        |it| fixed(it, "/connection/uni_http_stream"),
        "/connection/uni_http_stream, as by default",
    ),
    unneeded("uni_http_stream", "it is on; bodies have message_bytes_max"),
    settings(
        "uni_websocket.handler_prefix",
        "(fixed)",
        |it| fixed(it, "/connection/uni_websocket"),
        "/connection/uni_websocket, as by default",
    ),
    unneeded(
        "uni_websocket",
        "it is on; it has the bounds of other WebSockets",
    ),
    nothing("webtransport", "there is no WebTransport"),
    nothing("uni_grpc", "there is no gRPC: use uni_http_stream"),
    nothing(
        "admin",
        "there is no page for administrators: use metrics, /debug of the internal listener and hubbub rooms",
    ),
    unneeded(
        "prometheus",
        "/metrics of the internal listener is on; docs/metrics.md has the names of the series",
    ),
    unneeded(
        "health",
        "/healthz and /readyz of the internal listener are on, and hubbub health asks them",
    ),
    nothing("swagger", "the API describes itself in OpenAPI"),
    unneeded(
        "debug",
        "/debug of the internal listener shows what stands out",
    ),
    nothing("dev", "hubbub --dev opens a server on your own machine"),
    nothing("init", "there is no request before the connection"),
    nothing("opentelemetry", "there are no traces: see metrics"),
    nothing(
        "graphite",
        "metrics are for Prometheus: let a collector ask /metrics",
    ),
    unneeded("usage_stats", "nothing is sent to anybody"),
    nothing("node", "a server has no name"),
    settings(
        "shutdown.timeout",
        "drain_timeout",
        |it| same_duration("drain_timeout", it),
        "closes are spread over it",
    ),
    nothing(
        "pid_file",
        "no file is written: let the service manager know the process",
    ),
    unneeded("enable_unreleased_features", "there are none"),
];

fn address(asked: &Asked<'_>, ip: &str, port: &str, otherwise: u64) -> Result<String, String> {
    let ip = at(asked.among, ip).map_or(Ok(""), text)?;
    let port = at(asked.among, port).map_or(Ok(otherwise), |port| match port.as_str() {
        Some("") => Ok(otherwise),
        _ => number(port),
    })?;
    let ip = match ip {
        "" => "0.0.0.0",
        "localhost" => "127.0.0.1",
        ip => ip,
    };
    Ok(match ip.contains(':') && !ip.starts_with('[') {
        true => format!("[{ip}]:{port}"),
        false => format!("{ip}:{port}"),
    })
}

fn listen(asked: &Asked<'_>) -> Made {
    let address = address(asked, "http_server.address", "http_server.port", 8000)?;
    Ok(Settings::one("listen", Value::Array(vec![address.into()])))
}

fn internal(asked: &Asked<'_>) -> Made {
    if at(asked.among, "http_server.internal_port").is_none() {
        return Err("without internal_port there is no internal listener".to_owned());
    }
    let ip = match at(asked.among, "http_server.internal_address") {
        Some(_) => "http_server.internal_address",
        None => "http_server.address",
    };
    let address = address(asked, ip, "http_server.internal_port", 9000)?;
    Ok(Settings::one("internal_listen", address))
}

fn both(asked: &Asked<'_>, section: &str, keys: [&str; 2]) -> Made {
    let option = |name: &str| at(asked.among, &format!("{section}.{name}"));
    if !option("enabled").is_some_and(|it| flag(it).unwrap_or_default()) {
        return Err("TLS is not enabled".to_owned());
    }
    let mut made = Settings::default();
    for (name, key) in ["cert_pem", "key_pem"].into_iter().zip(keys) {
        let pem = option(name).map_or(Ok(""), text)?;
        if pem.is_empty() {
            return Err(format!("TLS is enabled, but {name} is not set"));
        }
        let path = file(
            asked,
            pem,
            &format!("{}.pem", key.replace('_', "-")),
            &mut made,
        )?;
        made.set.push((key.to_owned(), path.into()));
    }
    Ok(made)
}

fn client_ca(asked: &Asked<'_>) -> Made {
    let mut made = Settings::default();
    let path = file(
        asked,
        text(asked.value)?,
        "internal-client-ca.pem",
        &mut made,
    )?;
    made.set
        .push(("internal_tls_client_ca".to_owned(), path.into()));
    Ok(made)
}

fn log_level(asked: &Asked<'_>) -> Made {
    let level = match text(asked.value)? {
        "none" => "off",
        "fatal" => "error",
        level @ ("trace" | "debug" | "info" | "warn" | "error") => level,
        other => return Err(format!("there is no level {other:?}")),
    };
    Ok(Settings::one("log_level", level))
}

/// A key for everything, and a listener for it.
fn api_key(asked: &Asked<'_>) -> Made {
    if at(asked.among, "http_api.disabled").is_some_and(|it| flag(it).unwrap_or_default()) {
        return Err("the API is disabled".to_owned());
    }
    let key = text(asked.value)?;
    crate::settings::Secret::new(key)?;
    let mut made = Settings::one("api_listen", "127.0.0.1:8001");
    let path = keep(asked, key, "api-key", &mut made)?;
    made.set
        .push(("api_keys.centrifugo.key_file".to_owned(), path.into()));
    Ok(made)
}
