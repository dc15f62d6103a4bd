//! The field `Sec-WebSocket-Extensions`: its grammar, and which offer is accepted
//! (RFC 6455 section 9.1, RFC 7692 sections 5 and 7.1).
//!
//! A field is parsed as a flat sequence of items. Each byte is read once, and nothing is copied.

use super::{
    CLIENT_MAX_WINDOW_BITS, CLIENT_NO_CONTEXT_TAKEOVER, Deflate, DeflatePolicy, NAME,
    SERVER_MAX_WINDOW_BITS, SERVER_NO_CONTEXT_TAKEOVER, WINDOW_BITS_MAX, WINDOW_BITS_MIN,
};
use crate::request::is_token_byte;

/// Whether the fields together are a list of extensions. An empty field is accepted, although the
/// grammar requires an element: some clients and proxies send one when they offer nothing.
pub(crate) fn is_well_formed<'a>(fields: impl Iterator<Item = &'a [u8]>) -> bool {
    fields.flat_map(Items::new).all(|item| item.is_ok())
}

/// Accepts the first offer of permessage-deflate that the policy allows.
pub(crate) fn negotiate<'a>(
    fields: impl Iterator<Item = &'a [u8]>,
    policy: &DeflatePolicy,
) -> Option<Deflate> {
    let mut offer: Option<Offer> = None;
    for item in fields.flat_map(Items::new) {
        match item.ok()? {
            Item::Extension(_) if offer.is_some() => break,
            Item::Extension(name) => offer = (name == NAME.as_bytes()).then(Offer::default),
            Item::Parameter(name, value) => offer = offer.and_then(|offer| offer.with(name, value)),
        }
    }
    offer.map(|offer| offer.accept(policy))
}

/// One offer, as far as it was read. Names are compared case-sensitively: the RFC does not say what
/// another case means, and a declined offer only costs compression.
#[derive(Clone, Copy, Default)]
struct Offer {
    no_server_takeover: bool,
    no_client_takeover: bool,
    server_window_bits: Option<u8>,
    client_window_bits: Option<u8>,
}

impl Offer {
    /// Adds a parameter. `None` means that the offer must be declined, because the parameter is not
    /// defined, has an invalid value, occurs twice, or is not supported here (RFC 7692 section
    /// 7.1).
    fn with(mut self, name: &[u8], value: Option<Value<'_>>) -> Option<Self> {
        let name = str::from_utf8(name).ok()?;
        let repeated = match (name, value) {
            (SERVER_NO_CONTEXT_TAKEOVER, None) => {
                std::mem::replace(&mut self.no_server_takeover, true)
            }
            (CLIENT_NO_CONTEXT_TAKEOVER, None) => {
                std::mem::replace(&mut self.no_client_takeover, true)
            }
            // zlib compresses with a window of 9 bits where 8 are requested, and a peer that
            // requested 8 could not decompress that.
            (SERVER_MAX_WINDOW_BITS, Some(value)) => {
                let bits = value.window_bits().filter(|bits| *bits > 8)?;
                self.server_window_bits.replace(bits).is_some()
            }
            (CLIENT_MAX_WINDOW_BITS, value) => {
                let bits = value.map_or(Some(WINDOW_BITS_MAX), Value::window_bits)?;
                self.client_window_bits.replace(bits).is_some()
            }
            _ => return None,
        };
        (!repeated).then_some(self)
    }

    fn accept(self, policy: &DeflatePolicy) -> Deflate {
        let policy_bits = policy.window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let client_takeover = policy.client_takeover && !self.no_client_takeover;
        let client_window_bits = match self.client_window_bits {
            Some(offered) if client_takeover => offered.min(policy_bits),
            Some(offered) => offered,
            None => WINDOW_BITS_MAX,
        };
        Deflate {
            server_takeover: policy.server_takeover && !self.no_server_takeover,
            client_takeover,
            server_window_bits: self
                .server_window_bits
                .unwrap_or(WINDOW_BITS_MAX)
                .min(policy_bits),
            client_window_bits,
            // A client that did not request this parameter must accept the largest window, so
            // naming ours gains nothing, although it is allowed (section 7.1.2.1), and could
            // confuse a client that does not expect it.
            names_server_window: self.server_window_bits.is_some(),
            // The response MUST NOT have it without the offer; the largest window need not be named
            // (section 7.1.2.2).
            names_client_window: self.client_window_bits.is_some()
                && client_window_bits < WINDOW_BITS_MAX,
        }
    }
}

/// One item of a field, in order: an extension, then each of its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item<'a> {
    Extension(&'a [u8]),
    Parameter(&'a [u8], Option<Value<'a>>),
}

/// The value of a parameter, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Token(&'a [u8]),
    /// Without its quotes, but with its backslashes.
    Quoted(&'a [u8]),
}

impl Value<'_> {
    /// A number from 8 to 15 "without leading zeros" (RFC 7692 section 7.1.2).
    fn window_bits(self) -> Option<u8> {
        let sent = match self {
            Self::Token(sent) | Self::Quoted(sent) => sent,
        };
        // A token contains no backslash, so each one here only escapes the next byte.
        let mut meant = sent.iter().copied().filter(|byte| *byte != b'\\');
        match (meant.next()?, meant.next(), meant.next()) {
            (digit @ (b'8' | b'9'), None, None) => Some(digit - b'0'),
            (b'1', Some(digit @ b'0'..=b'5'), None) => Some(10 + digit - b'0'),
            _ => None,
        }
    }
}

/// The field violates the grammar. No further item follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// The items of one field.
struct Items<'a> {
    rest: &'a [u8],
    /// Whether nothing was read yet, so that no separator is required.
    at_start: bool,
}

impl<'a> Items<'a> {
    fn new(field: &'a [u8]) -> Self {
        #[cfg(test)]
        crate::work::add(field.len());
        Self {
            rest: field,
            at_start: true,
        }
    }

    fn item(&mut self) -> Result<Option<Item<'a>>, Malformed> {
        self.skip_space();
        if !std::mem::take(&mut self.at_start) {
            if self.skip(b';') {
                return self.parameter().map(Some);
            }
            if !self.rest.is_empty() && !self.skip(b',') {
                return Err(Malformed);
            }
        }
        self.skip_space();
        // RFC 9110 section 5.6.1: a recipient must ignore empty list elements.
        while self.skip(b',') {
            self.skip_space();
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.token().map(Item::Extension).map(Some)
    }

    fn parameter(&mut self) -> Result<Item<'a>, Malformed> {
        self.skip_space();
        let name = self.token()?;
        self.skip_space();
        if !self.skip(b'=') {
            return Ok(Item::Parameter(name, None));
        }
        self.skip_space();
        let value = if self.skip(b'"') {
            self.quoted()?
        } else {
            Value::Token(self.token()?)
        };
        Ok(Item::Parameter(name, Some(value)))
    }

    /// Parses a quoted value behind its opening quote. Unescaped it must be a token (RFC 6455
    /// section 9.1).
    fn quoted(&mut self) -> Result<Value<'a>, Malformed> {
        let sent = self.rest;
        let mut index = 0;
        let mut meant = 0;
        loop {
            index += usize::from(sent.get(index) == Some(&b'\\'));
            match sent.get(index) {
                Some(byte) if is_token_byte(byte) => meant += 1,
                Some(b'"') if index == 0 || sent[index - 1] != b'\\' => break,
                _ => return Err(Malformed),
            }
            index += 1;
        }
        if meant == 0 {
            return Err(Malformed);
        }
        self.rest = &sent[index + 1..];
        Ok(Value::Quoted(&sent[..index]))
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self
            .rest
            .iter()
            .take_while(|byte| is_token_byte(byte))
            .count();
        let (token, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        if bytes == 0 {
            Err(Malformed)
        } else {
            Ok(token)
        }
    }

    fn skip(&mut self, separator: u8) -> bool {
        let found = self.rest.first() == Some(&separator);
        self.rest = &self.rest[usize::from(found)..];
        found
    }

    fn skip_space(&mut self) {
        while self.skip(b' ') || self.skip(b'\t') {}
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.item();
        if item.is_err() {
            self.rest = &[];
        }
        item.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work;

    fn items(field: &str) -> Result<Vec<Item<'_>>, Malformed> {
        Items::new(field.as_bytes()).collect()
    }

    #[test]
    fn items_each_form_is_read_or_malformed() {
        let x = Item::Extension(b"x");
        let named = |value| Item::Parameter(b"a", value);
        let check = |field, expected: &[Item<'_>]| {
            assert_eq!(items(field).as_deref(), Ok(expected), "{field}");
        };
        check("x", &[x]);
        check(
            " \tx ;a; a=1 ,,x , ",
            &[x, named(None), named(Some(Value::Token(b"1"))), x],
        );
        check("x;a = \"1\\0\"", &[x, named(Some(Value::Quoted(b"1\\0")))]);
        check("", &[]);
        check(" , ,", &[]);
        for field in [
            "x;",
            "x;;a",
            ";a",
            "x a",
            "x;a=",
            "x;a=,",
            "x;=1",
            "x;a=\"1",
            "x;a=\"",
            "x;a=\"\"",
            "x;a=\"1 0\"",
            "x;a=\"1\\",
            "x;a=\"1\\\"",
            "x;a=\"\\\\\"",
            "x;a=\"1\"0",
            "x=1",
            "(x)",
            "x;a=1=1",
            "x;a=\"a,b\"",
            "é",
        ] {
            assert_eq!(items(field), Err(Malformed), "{field}");
        }
    }

    #[test]
    fn fields_hostile_cost_each_byte_once() {
        let offers = format!("{NAME}; {SERVER_MAX_WINDOW_BITS}=8, ").repeat(5000);
        let parameters = format!("{NAME}{}", "; a=\"b\"".repeat(20_000));
        let quote = format!("{NAME}; a=\"{}", "\\a".repeat(50_000));
        let separators = ", ".repeat(50_000);
        let policy = DeflatePolicy {
            window_bits: 15,
            server_takeover: true,
            client_takeover: true,
        };
        for field in [&offers, &parameters, &quote, &separators] {
            let work = work::bytes_of(|| {
                assert_eq!(negotiate([field.as_bytes()].into_iter(), &policy), None);
                is_well_formed([field.as_bytes()].into_iter());
            });
            assert_eq!(work, 2 * field.len());
            // The counted work is the real work: each item advances by the bytes that it read.
            let mut items = Items::new(field.as_bytes());
            let mut before = items.rest.len();
            while items.next().is_some() {
                assert!(items.rest.len() < before);
                before = items.rest.len();
            }
        }
    }
}
