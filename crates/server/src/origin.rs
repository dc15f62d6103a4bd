//! Decides whether a browser's page may open a WebSocket here, from its `Origin` field alone.
//!
//! The same-origin policy does not apply to WebSocket handshakes: any page may send one, with
//! the visitor's cookies and from inside the visitor's network. A server can tell its own page from
//! another only by the `Origin` field, which scripts cannot forge (RFC 6455 sections 4.2.2 and
//! 10.2). A request without the field does not come from a browser, and is accepted. Otherwise the
//! field must name the host and port that the request was sent to, or be listed by the operator. An
//! origin without a host, `null` or `file://`, is accepted only if it is listed.
//!
//! *Invariant:* an origin that cannot be parsed is refused. The field is compared as parsed parts,
//! never as a prefix or suffix, so a look-alike (`http://localhost:8000.evil.com`) cannot pass.
//!
//! *Not covered:* if an attacker's domain name resolves to this server (DNS rebinding), `Origin` and
//! `Host` agree. Only a proxy that checks `Host` can detect that.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The value that browsers send for a page without an origin of its own.
const NULL: &str = "null";

/// Schemes whose origins always name a host (URL Standard, "special scheme"). Origins of other schemes
/// may leave it empty, and applications vary: `file://`, `app://.`.
const WEB_SCHEMES: [&str; 5] = ["http", "https", "ws", "wss", "ftp"];

/// The origins that the operator accepts in addition to the server's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    permits: Vec<Permit>,
}

impl AllowList {
    /// Whether every origin is accepted, which turns the check off.
    pub fn accepts_any(&self) -> bool {
        self.permits.contains(&Permit::Any)
    }

    fn lists(&self, origin: &Place) -> bool {
        self.permits.iter().any(|permit| match permit {
            Permit::Any => true,
            Permit::Null => false,
            Permit::Place(place) => place.covers(origin),
        })
    }
}

impl FromIterator<Permit> for AllowList {
    fn from_iter<I: IntoIterator<Item = Permit>>(permits: I) -> Self {
        Self {
            permits: permits.into_iter().collect(),
        }
    }
}

/// One entry of the [`AllowList`]: `scheme://host[:port]`, `host[:port]`, `null` or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// `*`: any origin at all, even one that cannot be parsed.
    Any,
    /// `null`, which browsers send for every page that has no origin of its own (RFC 6454 section
    /// 6.1). A sandboxed frame has none, and any page can open one.
    Null,
    /// One origin; without a scheme, this host and port under any scheme.
    Place(Place),
}

impl FromStr for Permit {
    type Err = PermitError;

    fn from_str(text: &str) -> Result<Self, PermitError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.eq_ignore_ascii_case(NULL) {
            return Ok(Self::Null);
        }
        if text.contains('*') {
            return Err(PermitError::Wildcard(text.to_owned()));
        }
        if !text.is_ascii() {
            return Err(PermitError::NotAscii(text.to_owned()));
        }
        let place = match text.split_once("://") {
            Some(_) => Place::of_origin(text),
            None => Place::of_host(text),
        };
        let malformed = || PermitError::Malformed(text.to_owned());
        place.map(Self::Place).ok_or_else(malformed)
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Null => f.write_str(NULL),
            Self::Place(place) => place.fmt(f),
        }
    }
}

/// Why a text is not a [`Permit`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    /// The text is not ASCII. Browsers send the `xn--` form, and other letters can imitate ASCII ones.
    #[error("{0:?} is not ASCII: write an international name in its xn-- form")]
    NotAscii(String),
    /// The text has a wildcard within it.
    #[error("{0:?} is not an origin: * can only stand alone, so list each origin")]
    Wildcard(String),
    /// The text is not an origin for another reason, such as a path.
    #[error(
        "{0:?} is not an origin: write scheme://host[:port] or host[:port], without a path or a \
         slash at the end, or file://, null or *"
    )]
    Malformed(String),
}

/// The scheme that this server itself speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The server speaks no TLS; a proxy in front may.
    Http,
    /// The server speaks TLS.
    Https,
}

/// Whether a handshake with this `Origin` field, if any, and this `Host` is accepted.
///
/// The caller has checked that there is at most one `Origin` field: of two, neither can be trusted.
pub fn allowed(origin: Option<&[u8]>, host: &str, served: Scheme, list: &AllowList) -> bool {
    let Some(origin) = origin else { return true };
    if list.accepts_any() {
        return true;
    }
    if origin == NULL.as_bytes() {
        return list.permits.contains(&Permit::Null);
    }
    let parsed = std::str::from_utf8(origin).ok().and_then(Place::of_origin);
    parsed.is_some_and(|origin| origin.is_own(host, served) || list.lists(&origin))
}

/// A scheme, host and port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    scheme: Option<String>,
    host: Host,
    port: Option<u16>,
}

/// A parsed host, so that all spellings of an IPv6 address are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    V6(Ipv6Addr),
    /// No host, or the dot that replaces it, in origins of local files and applications.
    Nameless(&'static str),
}

impl Place {
    /// Parses `scheme "://" host [":" port]` and nothing after it (RFC 6454 section 6.2); the host
    /// may be missing if the scheme is not one of the web's.
    fn of_origin(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = is_scheme(scheme).then(|| scheme.to_ascii_lowercase())?;
        let is_of_the_web = WEB_SCHEMES.contains(&scheme.as_str());
        let nameless = ["", "."].into_iter().find(|none| *none == authority);
        let place = match nameless {
            Some(_) if is_of_the_web => return None,
            Some(none) => Self {
                scheme: None,
                host: Host::Nameless(none),
                port: None,
            },
            None => Self::of_host(authority)?,
        };
        Some(Self {
            scheme: Some(scheme),
            ..place
        })
    }

    /// Parses `host [":" port]`, as in a `Host` field.
    fn of_host(text: &str) -> Option<Self> {
        let (host, port) = if text.starts_with('[') {
            let (address, after) = text.strip_prefix('[')?.split_once(']')?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':')?),
            };
            (Host::V6(address.parse().ok()?), port)
        } else {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let name = is_name(name).then(|| name.to_ascii_lowercase())?;
            (Host::Name(name), port)
        };
        let port = match port {
            Some(digits) => Some(parse_port(digits)?),
            None => None,
        };
        Some(Self {
            scheme: None,
            host,
            port,
        })
    }

    /// Whether this origin is a page of the host that the request names.
    ///
    /// If this server speaks TLS itself, only pages that came over TLS are its own. Otherwise the
    /// scheme is not compared, since a proxy may terminate TLS in front of this server; it only
    /// gives the default port. Only the origins of web pages name a host in the sense of `Host`;
    /// applications with their own schemes must be listed instead.
    fn is_own(&self, host: &str, served: Scheme) -> bool {
        if served == Scheme::Https && self.scheme.as_deref() != Some("https") {
            return false;
        }
        let Some(default) = self.default_port() else {
            return false;
        };
        Self::of_host(host).is_some_and(|own| {
            own.host == self.host && own.port.unwrap_or(default) == self.port.unwrap_or(default)
        })
    }

    /// Whether this entry of the list matches that origin.
    fn covers(&self, origin: &Self) -> bool {
        let default = origin.default_port();
        let scheme_agrees = self.scheme.is_none() || self.scheme == origin.scheme;
        scheme_agrees
            && self.host == origin.host
            && self.port.or(default) == origin.port.or(default)
    }

    fn default_port(&self) -> Option<u16> {
        match self.scheme.as_deref() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Nameless(none) => f.write_str(none)?,
            Host::V6(address) => write!(f, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// A DNS name or an IPv4 address; one dot at the end is part of the name.
fn is_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    labels.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// A port as browsers write it: 1 to 65535, without a sign or a leading zero.
fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
