//! A parsed request, and whether it may open a WebSocket (RFC 9112, RFC 6455 section 4.2).

use std::fmt;
use std::mem::MaybeUninit;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest as _, Sha1};

use crate::deflate::{self, Deflate, DeflatePolicy};
use crate::error::HandshakeError;
use crate::limits::Limits;
use crate::response::Persistence;

/// The unused bits of the last character may have any value: the example key in section 4.1 of RFC
/// 6455 sets some, and clients exist that were built after it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// A request whose head obeys every rule of HTTP. Its body, if it has one, is not read yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    parts: Target<'a>,
    version_minor: u8,
    host: &'a str,
    body_bytes: u32,
    expects_continue: bool,
    fields: Vec<httparse::Header<'a>>,
}

/// The parts of a request target, whatever its form (RFC 9112 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Target<'a> {
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

/// The result of a valid opening handshake, which may be answered with a 101.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// The value of the field `Sec-WebSocket-Accept`.
    pub accept: AcceptKey,
}

/// Proves that the server has understood the handshake (RFC 6455 section 4.2.2 item 5.4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AcceptKey([u8; 28]);

impl AcceptKey {
    /// The key as 28 characters of base64.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("base64 is ASCII")
    }

    fn of(key: &[u8]) -> Self {
        let digest = Sha1::new()
            .chain_update(key)
            .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
            .finalize();
        let mut accept = [0; 28];
        BASE64
            .encode_slice(digest, &mut accept)
            .expect("20 bytes are 28 characters in base64");
        Self(accept)
    }
}

impl fmt::Debug for AcceptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'a> Request<'a> {
    /// The method, as sent: methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The target, as sent. It contains visible ASCII characters only.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The path as sent (still percent-encoded), without the query. It is `/` for an absolute URL
    /// without a path, and `*` for a target of that form.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.parts.path
    }

    /// The query as sent (still percent-encoded), behind the first `?` of the target.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.parts.query
    }

    /// The minor version: 0 for HTTP/1.0, 1 for HTTP/1.1.
    #[must_use]
    pub fn version_minor(&self) -> u8 {
        self.version_minor
    }

    /// The length of the body that follows the head, in bytes, at most `body_bytes_max`. 0 if there
    /// is none.
    #[must_use]
    pub fn body_bytes(&self) -> u32 {
        self.body_bytes
    }

    /// The value of the first field of this name (case-insensitive), without surrounding white
    /// space.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields(name).next()
    }

    /// The values of all fields of this name (case-insensitive), in order.
    pub fn fields(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |field: &&httparse::Header<'a>| field.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|field| field.value)
    }

    /// The host and port that the request is for: those of an absolute target, otherwise the `Host`
    /// field. Empty if an HTTP/1.0 request names none.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.parts.authority.unwrap_or(self.host)
    }

    /// The origin of the page that opens the connection (RFC 6455 section 10.2). Browsers always
    /// send it, and a page cannot change it.
    #[must_use]
    pub fn origin(&self) -> Option<&'a [u8]> {
        self.field("Origin")
    }

    /// Whether an `Upgrade` field contains `websocket`, so that the request should be checked by
    /// [`Request::upgrade`].
    #[must_use]
    pub fn wants_upgrade(&self) -> bool {
        self.lists("Upgrade", "websocket")
    }

    /// Checks every rule of the opening handshake (RFC 6455 section 4.2.1).
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn upgrade(&self) -> Result<Upgrade, HandshakeError> {
        // The bytes of a body would be taken for frames.
        if self.body_bytes > 0 {
            return Err(HandshakeError::BodyUnexpected);
        }
        if self.method != "GET" {
            return Err(HandshakeError::UpgradeMethod);
        }
        // RFC 9110 section 7.8: a server must ignore Upgrade in an HTTP/1.0 request.
        if self.version_minor == 0 {
            return Err(HandshakeError::UpgradeHttpVersion);
        }
        if !self.wants_upgrade() {
            return Err(HandshakeError::UpgradeMissing);
        }
        if !self.lists("Connection", "Upgrade") {
            return Err(HandshakeError::ConnectionToken);
        }
        let version = self.only(
            "Sec-WebSocket-Version",
            HandshakeError::VersionMissing,
            HandshakeError::VersionRepeated,
        )?;
        if version != b"13" {
            return Err(HandshakeError::VersionUnsupported);
        }
        let key = self.only(
            "Sec-WebSocket-Key",
            HandshakeError::KeyMissing,
            HandshakeError::KeyRepeated,
        )?;
        // 24 characters, two of which are padding, decode to exactly 16 bytes.
        let mut nonce = [0; 18];
        match BASE64.decode_slice(key, &mut nonce) {
            Ok(16) => {}
            _ => return Err(HandshakeError::KeyInvalid),
        }
        // RFC 6455 section 9.1: a server must not ignore a malformed list of extensions.
        if !deflate::is_well_formed(self.fields(EXTENSIONS)) {
            return Err(HandshakeError::ExtensionsMalformed);
        }
        Ok(Upgrade {
            accept: AcceptKey::of(key),
        })
    }

    /// The first of the client's offers of permessage-deflate that the policy allows (RFC 7692
    /// section 7.1). For a request that [`Request::upgrade`] accepts.
    #[must_use]
    pub fn deflate(&self, policy: &DeflatePolicy) -> Option<Deflate> {
        deflate::negotiate(self.fields(EXTENSIONS), policy)
    }

    /// The subprotocols that the client offers, in its order of preference, over all fields. An
    /// item that is not a token is left out (RFC 6455 section 4.1 item 10).
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> {
        self.fields("Sec-WebSocket-Protocol")
            .flat_map(list)
            .filter(|item| is_token(item))
            .filter_map(|item| str::from_utf8(item).ok())
    }

    /// Parses a complete head, whose end and field count the scan has found, and checks the rules
    /// that hold for every request.
    pub(crate) fn parse(head: &'a [u8], limits: &Limits) -> Result<Self, HandshakeError> {
        #[cfg(test)]
        crate::work::add(head.len());
        let mut slots = [const { MaybeUninit::uninit() }; Limits::HEAD_FIELDS_CEILING];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed
            .parse_with_uninit_headers(head, &mut slots)
            .map_err(|error| refusal(error, head))?;
        let httparse::Request {
            method: Some(method),
            path: Some(target),
            version: Some(minor),
            ..
        } = parsed
        else {
            return Err(HandshakeError::RequestLineMalformed);
        };
        // The parser and the scan must agree about where the head ends.
        if status != httparse::Status::Complete(head.len()) {
            return Err(HandshakeError::FieldMalformed);
        }
        let mut request = Self {
            method,
            target,
            parts: Target::parse(target).ok_or(HandshakeError::TargetInvalid)?,
            version_minor: minor,
            host: "",
            body_bytes: 0,
            expects_continue: false,
            fields: parsed.headers.to_vec(),
        };
        request.host = request.checked_host()?;
        request.body_bytes = request.checked_body_bytes(limits)?;
        request.expects_continue = request.checked_expectation()?;
        Ok(request)
    }

    /// RFC 9112 section 3.2: exactly one valid Host in HTTP/1.1, at most one in HTTP/1.0.
    fn checked_host(&self) -> Result<&'a str, HandshakeError> {
        let host = self.only(
            "Host",
            HandshakeError::HostMissing,
            HandshakeError::HostRepeated,
        );
        match host {
            Ok(host) if host.iter().all(|byte| is_authority_byte(*byte)) => {
                str::from_utf8(host).map_err(|_| HandshakeError::HostInvalid)
            }
            Ok(_) => Err(HandshakeError::HostInvalid),
            Err(HandshakeError::HostMissing) if self.version_minor == 0 => Ok(""),
            Err(error) => Err(error),
        }
    }

    /// The end of the body must be beyond doubt: if a proxy and this server disagree about it, one
    /// takes a part of the body for the next request (RFC 9112 sections 6.3 and 11.2). Therefore a
    /// length is accepted in one form only, and a transfer coding is not accepted at all.
    fn checked_body_bytes(&self, limits: &Limits) -> Result<u32, HandshakeError> {
        if self.field("Transfer-Encoding").is_some() {
            return Err(HandshakeError::TransferEncoding);
        }
        let mut lengths = self.fields("Content-Length");
        let bytes = match (lengths.next(), lengths.next()) {
            (None, _) => 0,
            (Some(length), None) => decimal(length).ok_or(HandshakeError::ContentLength)?,
            (Some(_), Some(_)) => return Err(HandshakeError::ContentLength),
        };
        let permitted = u32::try_from(bytes).ok();
        permitted
            .filter(|bytes| *bytes <= limits.body_bytes_max)
            .ok_or(HandshakeError::BodyTooLarge)
    }

    /// Whether the sender waits for a 100 before it sends the body. No other expectation is
    /// accepted, since proxies interpret them in different ways and then disagree about where a
    /// request ends. In HTTP/1.0 the field must be ignored (RFC 9110 section 10.1.1).
    fn checked_expectation(&self) -> Result<bool, HandshakeError> {
        let mut expectations = self.fields("Expect");
        match (expectations.next(), expectations.next()) {
            (None, _) => Ok(false),
            (Some(one), None) if one.eq_ignore_ascii_case(b"100-continue") => {
                Ok(self.version_minor > 0)
            }
            _ => Err(HandshakeError::ExpectationUnknown),
        }
    }

    /// Whether the sender waits for a 100 before it sends the body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the peer allows another request after the answer, by its version and `Connection`
    /// (RFC 9112 section 9.3). HTTP/1.0 is not kept: proxies of its time forward `Connection:
    /// keep-alive` blindly (appendix C.2.2).
    pub(crate) fn persistence(&self) -> Persistence {
        match self.version_minor {
            0 => Persistence::Http10,
            _ if self.lists("Connection", "close") => Persistence::Closes,
            _ => Persistence::Keeps,
        }
    }

    fn only(
        &self,
        name: &str,
        missing: HandshakeError,
        repeated: HandshakeError,
    ) -> Result<&'a [u8], HandshakeError> {
        let mut values = self.fields(name);
        match (values.next(), values.next()) {
            (None, _) => Err(missing),
            (Some(value), None) => Ok(value),
            (Some(_), Some(_)) => Err(repeated),
        }
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        self.fields(name)
            .flat_map(list)
            .any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
    }
}

impl fmt::Debug for Request<'_> {
    /// Leaves out the values of fields, which can be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.fields.iter().map(|field| field.name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.parts.path)
            .field("fields", &names)
            .finish_non_exhaustive()
    }
}

impl<'a> Target<'a> {
    /// Parses a path, an absolute URL or `*`; the form that CONNECT uses is not accepted. `None` if
    /// the target has a character that it must not contain.
    fn parse(target: &'a str) -> Option<Self> {
        if !target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return None;
        }
        if target == "*" {
            return Some(Self {
                authority: None,
                path: target,
                query: None,
            });
        }
        let (authority, rest) = if target.starts_with('/') {
            (None, target)
        } else {
            let (scheme, rest) = target.split_once("://")?;
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let valid = !authority.is_empty() && authority.bytes().all(is_authority_byte);
            if !valid
                || !["http", "https", "ws", "wss"]
                    .iter()
                    .any(|s| scheme.eq_ignore_ascii_case(s))
            {
                return None;
            }
            (Some(authority), rest)
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Some(Self {
            authority,
            path: if path.is_empty() { "/" } else { path },
            query,
        })
    }
}

/// The subprotocol that the server prefers among those that the client offers; `supported` is in
/// the server's order of preference. `None` if they have none in common.
#[must_use]
pub fn negotiate(request: &Request<'_>, supported: &[&'static str]) -> Option<&'static str> {
    supported
        .iter()
        .copied()
        .find(|supported| request.subprotocols().any(|offered| offered == *supported))
}

/// The non-empty items of a comma-separated list (RFC 9110 section 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    #[cfg(test)]
    crate::work::add(value.len());
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// Parses a decimal number of at most 2⁶⁴ − 1 in its shortest form. A sign is refused, and so are
/// leading zeros, which some parsers read as octal.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_shortest = matches!(digits, b"0" | [b'1'..=b'9', ..]);
    let is_decimal = is_shortest && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits)
        .ok()
        .filter(|_| is_decimal)?
        .parse()
        .ok()
}

/// Whether the item is a token (RFC 9110 section 5.6.2).
fn is_token(item: &[u8]) -> bool {
    !item.is_empty() && item.iter().all(is_token_byte)
}

pub(crate) fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Whether a host and port may contain this byte (RFC 3986 section 3.2). `@` is excluded, because
/// user information is not allowed here (RFC 9110 section 4.2.4), and so is `,`, because it would
/// join two hosts.
fn is_authority_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

fn refusal(error: httparse::Error, head: &[u8]) -> HandshakeError {
    match error {
        // The parser takes everything behind the second space for a version.
        httparse::Error::Version if !names_version(head) => HandshakeError::RequestLineMalformed,
        httparse::Error::Token | httparse::Error::NewLine | httparse::Error::Status => {
            HandshakeError::RequestLineMalformed
        }
        httparse::Error::Version => HandshakeError::HttpVersion,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => {
            HandshakeError::FieldMalformed
        }
        httparse::Error::TooManyHeaders => HandshakeError::TooManyFields,
    }
}

/// Whether the request line has three parts, of which the last has the form of an HTTP version (RFC
/// 9112 section 2.3). Only then can an unsupported version be its fault (RFC 9110 section 15.6.6).
fn names_version(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|byte| *byte == b'\r').next();
    let mut parts = line.unwrap_or_default().split(|byte| *byte == b' ');
    let version = parts.nth(2);
    let digits = version.and_then(|version| version.strip_prefix(b"HTTP/"));
    parts.next().is_none() && matches!(digits, Some([b'0'..=b'9', b'.', b'0'..=b'9']))
}
