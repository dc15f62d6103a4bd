//! Which header fields of a client a back end is told: those that are listed, and no others.
//!
//! A field of a client's request is what its sender says. Of some, back ends take for granted that a proxy has written
//! them (`X-Forwarded-For`), and a client that reaches this server without one writes them itself. So these have a
//! list of their own, and the values that a client puts into its connect command, which no proxy ever sees, another.

use codec::Request;
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use thiserror::Error;

/// The names that each list has, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Of the client's request, those that proxies do not write and the forgeable ones.
    pub request: Vec<HeaderName>,
    /// Of its connect command.
    pub command: Vec<HeaderName>,
}

/// A field that a session keeps for back ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    name: HeaderName,
    value: HeaderValue,
    of: Origin,
}

/// Where a field is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The request that opened the connection.
    Request,
    /// The connect command.
    Command,
}

/// Why fields of a connect command cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadersError {
    /// A value has characters that a field must not have (RFC 9110 section 5.5).
    #[error("a header of the connect command is no value of a header")]
    Value,
    /// They are longer than `COMMAND_BYTES_MAX`.
    #[error("the headers of the connect command that back ends are told are longer than 4 KiB")]
    TooLong,
}

/// Most bytes of the fields that are kept of a connect command.
const COMMAND_BYTES_MAX: usize = 4096;

impl Lists {
    fn names(&self, of: Origin) -> &[HeaderName] {
        match of {
            Origin::Request => &self.request,
            Origin::Command => &self.command,
        }
    }

    /// The fields that go along, of those that were kept.
    pub fn choose(&self, kept: &[Field]) -> HeaderMap {
        let mut chosen = HeaderMap::new();
        for field in kept {
            if self.names(field.of).contains(&field.name) {
                chosen.append(field.name.clone(), field.value.clone());
            }
        }
        chosen
    }
}

/// The fields of a request that one of these lists has.
pub fn of_request<'l>(lists: impl Iterator<Item = &'l Lists>, request: &Request<'_>) -> Vec<Field> {
    let mut kept = Vec::new();
    for name in listed(lists, Origin::Request) {
        let values = request.fields(name.as_str());
        // What the codec has taken for a field is one.
        let values = values.filter_map(|value| HeaderValue::from_bytes(value).ok());
        kept.extend(values.map(|value| Field {
            name: name.clone(),
            value: secret(value),
            of: Origin::Request,
        }));
    }
    kept
}

/// The fields of a connect command that one of these lists has.
pub fn of_command<'l, 'a>(
    lists: impl Iterator<Item = &'l Lists>,
    fields: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Field>, HeadersError> {
    let names = listed(lists, Origin::Command);
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for (name, value) in fields {
        let Some(name) = names
            .iter()
            .copied()
            .find(|it| it.as_str().eq_ignore_ascii_case(name))
        else {
            continue;
        };
        bytes += name.as_str().len() + value.len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(HeadersError::TooLong);
        }
        kept.push(Field {
            name: name.clone(),
            value: secret(HeaderValue::from_str(value).map_err(|_| HeadersError::Value)?),
            of: Origin::Command,
        });
    }
    Ok(kept)
}

/// Cookies and keys are among them, so that none is ever shown.
fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Each name once.
fn listed<'l>(lists: impl Iterator<Item = &'l Lists>, of: Origin) -> Vec<&'l HeaderName> {
    let mut names: Vec<_> = lists.flat_map(|lists| lists.names(of)).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    names.dedup();
    names
}

/// Whether a back end may take the field for one that a proxy has written.
pub fn is_forgeable(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "forwarded",
        "via",
        "host",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-rewrite-url",
        "x-remote-user",
    ];
    const PREFIXES: [&str; 6] = [
        "x-forwarded-",
        "x-original-",
        "x-real-",
        "x-envoy-",
        "cf-",
        "fastly-",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the field belongs to the connection or the body of one request, so that it must not be sent with another.
pub fn is_of_connection(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ];
    NAMES.contains(&name) || name.starts_with("sec-websocket-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<HeaderName> {
        let names = names.iter().map(|name| name.parse().unwrap());
        names.collect()
    }

    #[test]
    fn command_can_say_nothing_that_is_listed_for_requests_only() {
        let lists = Lists {
            request: names(&["authorization", "cookie"]),
            command: names(&["x-tenant"]),
        };
        let said = [
            ("Authorization", "forged"),
            ("X-TENANT", "a"),
            ("other", "b"),
        ];
        let kept = of_command([&lists].into_iter(), said.into_iter()).unwrap();
        assert_eq!(kept.len(), 1);
        let mut chosen = lists.choose(&kept);
        assert_eq!(chosen.remove("x-tenant").unwrap(), "a");
        assert!(chosen.is_empty());
        let others = Lists {
            request: names(&["x-tenant"]),
            command: Vec::new(),
        };
        assert!(others.choose(&kept).is_empty(), "it is from the command");
    }

    #[test]
    fn value_that_would_be_another_field_or_is_too_long_is_refused() {
        let lists = Lists {
            request: Vec::new(),
            command: names(&["x-a"]),
        };
        let of = |value: &str| of_command([&lists].into_iter(), [("x-a", value)].into_iter());
        assert_eq!(of("a\r\nx-b: c"), Err(HeadersError::Value));
        assert_eq!(
            of(&"a".repeat(COMMAND_BYTES_MAX)),
            Err(HeadersError::TooLong)
        );
        assert!(of(&"a".repeat(COMMAND_BYTES_MAX - 3)).is_ok());
        let shown = format!("{:?}", of("secret").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn what_proxies_write_is_forgeable() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-proto",
            "forwarded",
            "x-real-ip",
            "via",
            "host",
        ] {
            assert!(is_forgeable(name), "{name}");
        }
        for name in [
            "cookie",
            "authorization",
            "user-agent",
            "origin",
            "x-tenant",
        ] {
            assert!(!is_forgeable(name) && !is_of_connection(name), "{name}");
        }
        assert!(is_of_connection("sec-websocket-key") && is_of_connection("content-length"));
    }
}
