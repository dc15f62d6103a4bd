//! The PROXY protocol's header, version 2, with which a trusted proxy begins each connection.
//!
//! The parser is pure and incremental. It keeps only the fixed part and the addresses (at most 36
//! bytes); it counts and skips the extensions behind them.
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>, section 2.2.)

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length, in bytes.
const FIXED_BYTES: usize = 16;

/// Longest accepted rest of a header in bytes: section 2.2 has 216 bytes for the longest addresses,
/// and the extensions in use fit into the other 320.
const LENGTH_MAX: u16 = 536;

/// Two IPv6 addresses with their ports, in bytes.
const ADDRESSES_BYTES_MAX: usize = 36;

/// A header of which only a part may have arrived.
#[derive(Debug, Default)]
pub(crate) struct Header {
    kept: Kept,
    /// The number of its bytes that have arrived, including those that are not kept.
    come: usize,
}

#[derive(Debug)]
struct Kept([u8; FIXED_BYTES + ADDRESSES_BYTES_MAX]);

impl Default for Kept {
    fn default() -> Self {
        Self([0; FIXED_BYTES + ADDRESSES_BYTES_MAX])
    }
}

/// The state of a header after more input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advanced {
    /// All of the input belongs to the header, and more must follow.
    Unfinished,
    /// The header is complete.
    Whole {
        /// The number of input bytes that belong to the header.
        consumed: usize,
        /// The client that the proxy names. `None` if the proxy speaks for itself, or if its client
        /// has no IP address and port over TCP.
        client: Option<SocketAddr>,
    },
}

/// The bytes are not a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Header {
    /// Whether none of its bytes has arrived.
    pub(crate) fn is_untouched(&self) -> bool {
        self.come == 0
    }

    /// How many bytes may be read without reading past the header's end; at least 1.
    pub(crate) fn missing_bytes(&self) -> usize {
        self.needed().map_or(1, |needed| needed - self.come)
    }

    /// Consumes the input up to the end of the header.
    ///
    /// # Errors
    /// [`Malformed`], as soon as the bytes so far cannot begin a valid header.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Result<Advanced, Malformed> {
        let mut consumed = 0;
        loop {
            let needed = self.needed()?;
            if self.come == needed {
                break;
            }
            let taken = (needed - self.come).min(input.len() - consumed);
            if taken == 0 {
                return Ok(Advanced::Unfinished);
            }
            self.keep(&input[consumed..consumed + taken]);
            consumed += taken;
        }
        let client = self.client()?;
        Ok(Advanced::Whole { consumed, client })
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.kept.0.get_mut(self.come..).unwrap_or_default();
        let kept = bytes.len().min(room.len());
        room[..kept].copy_from_slice(&bytes[..kept]);
        self.come += bytes.len();
    }

    /// The header's length in bytes, or that of the fixed part until it is complete. Checks the
    /// bytes that have arrived.
    fn needed(&self) -> Result<usize, Malformed> {
        let fixed = &self.kept.0[..self.come.min(FIXED_BYTES)];
        let signed = fixed.len().min(SIGNATURE.len());
        let is_signed = fixed[..signed] == SIGNATURE[..signed];
        // Version 2, with the command LOCAL or PROXY, is the only one supported.
        let is_known = matches!(fixed.get(12), None | Some(0x20 | 0x21));
        if !is_signed || !is_known {
            return Err(Malformed);
        }
        if fixed.len() < FIXED_BYTES {
            return Ok(FIXED_BYTES);
        }
        match u16::from_be_bytes(part(&self.kept.0, 14)) {
            length @ ..=LENGTH_MAX => Ok(FIXED_BYTES + usize::from(length)),
            _ => Err(Malformed),
        }
    }

    /// The client that a complete header names.
    fn client(&self) -> Result<Option<SocketAddr>, Malformed> {
        let bytes = &self.kept.0;
        let has = self.come - FIXED_BYTES;
        let client = match (bytes[12], bytes[13]) {
            // With LOCAL the proxy speaks for itself, and the addresses must be ignored.
            (0x20, _) => None,
            (_, 0x11) if has >= 12 => {
                let address: [u8; 4] = part(bytes, 16);
                let port = u16::from_be_bytes(part(bytes, 24));
                Some((Ipv4Addr::from(address), port).into())
            }
            (_, 0x21) if has >= 36 => {
                let address: [u8; 16] = part(bytes, 16);
                let port = u16::from_be_bytes(part(bytes, 48));
                let address = Ipv6Addr::from(address).to_canonical();
                Some((address, port).into())
            }
            // The length is too short for the addresses of this family.
            (_, 0x11 | 0x21) => return Err(Malformed),
            // Unspecified, datagram and Unix families are valid, but they name no client of a TCP
            // connection.
            (_, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => None,
            _ => return Err(Malformed),
        };
        Ok(client)
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let part = bytes[at..].first_chunk();
    *part.expect("the addresses end where the kept bytes do")
}

/// Whether bytes in place of a header look like an HTTP request, so that an HTTP answer makes sense
/// to the peer. Version 1 of the PROXY protocol does not look like one.
pub(crate) fn looks_like_http(bytes: &[u8]) -> bool {
    let v1 = b"PROXY ";
    let is_v1 = bytes[..bytes.len().min(v1.len())] == v1[..bytes.len().min(v1.len())];
    bytes.first().is_some_and(u8::is_ascii_uppercase) && !is_v1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend((rest.len() as u16).to_be_bytes());
        header.extend(rest);
        header
    }

    /// The addresses 203.0.113.7:4711 to 192.0.2.1:443.
    const TCP4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187];

    fn tcp6() -> Vec<u8> {
        let one: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let other: Ipv6Addr = "2001:db8::1".parse().unwrap();
        [&one.octets()[..], &other.octets(), &[0x12, 0x67, 1, 187]].concat()
    }

    type Outcome = Result<(usize, Option<SocketAddr>), Malformed>;

    /// Parses `bytes` in pieces that end at `cuts`; `None` if the header is incomplete.
    fn read(bytes: &[u8], cuts: &[usize]) -> Option<Outcome> {
        let mut header = Header::default();
        let mut from = 0;
        for to in cuts.iter().copied().chain([bytes.len()]) {
            match header.advance(&bytes[from..to]) {
                Ok(Advanced::Unfinished) => from = to,
                Ok(Advanced::Whole { consumed, client }) => {
                    return Some(Ok((from + consumed, client)));
                }
                Err(malformed) => return Some(Err(malformed)),
            }
        }
        None
    }

    #[track_caller]
    fn check(bytes: &[u8], outcome: Option<Outcome>) {
        assert_eq!(read(bytes, &[]), outcome);
        for cut in 0..=bytes.len() {
            assert_eq!(read(bytes, &[cut]), outcome, "cut at {cut}");
        }
        let everywhere: Vec<_> = (0..bytes.len()).collect();
        assert_eq!(read(bytes, &everywhere), outcome, "cut everywhere");
    }

    fn whole(bytes: usize, client: &str) -> Option<Outcome> {
        Some(Ok((bytes, client.parse().ok())))
    }

    #[test]
    fn header_names_the_client_however_it_is_split() {
        let v4 = header(0x21, 0x11, &TCP4);
        check(&v4, whole(28, "203.0.113.7:4711"));
        let more = [&v4[..], b"GET / HTTP/1.1\r\n"].concat();
        check(&more, whole(28, "203.0.113.7:4711"));
        let v6 = header(0x21, 0x21, &tcp6());
        check(&v6, whole(52, "[2001:db8::7]:4711"));
        let mapped: Ipv6Addr = "::ffff:203.0.113.7".parse().unwrap();
        let mapped = [&mapped.octets()[..], &tcp6()[16..]].concat();
        check(&header(0x21, 0x21, &mapped), whole(52, "203.0.113.7:4711"));
    }

    #[test]
    fn extensions_are_skipped_up_to_their_bound() {
        for extra in [1, 3, 24, 500, 524] {
            let rest = [&TCP4[..], &vec![0xab; extra]].concat();
            let bytes = 28 + extra;
            check(&header(0x21, 0x11, &rest), whole(bytes, "203.0.113.7:4711"));
        }
        let rest = [&TCP4[..], &[0; 525]].concat();
        check(&header(0x21, 0x11, &rest), Some(Err(Malformed)));
    }

    #[test]
    fn proxy_that_speaks_for_itself_or_nobody_known_names_no_client() {
        check(&header(0x20, 0x00, &[]), whole(16, ""));
        check(&header(0x20, 0x11, &TCP4), whole(28, ""));
        check(&header(0x21, 0x00, &[1, 2, 3]), whole(19, ""));
        check(&header(0x21, 0x12, &TCP4), whole(28, ""));
        check(&header(0x21, 0x31, &[0; 216]), whole(232, ""));
    }

    #[test]
    fn header_that_no_proxy_may_send_is_malformed() {
        for (command, family, rest) in [
            (0x11, 0x11, &TCP4[..]),
            (0x22, 0x11, &TCP4),
            (0x31, 0x11, &TCP4),
            (0x21, 0x11, &TCP4[..11]),
            (0x21, 0x21, &TCP4),
            (0x21, 0x41, &TCP4),
            (0x21, 0x13, &TCP4),
        ] {
            check(&header(command, family, rest), Some(Err(Malformed)));
        }
        for other in ["PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n", "GET / ", "\0"] {
            check(other.as_bytes(), Some(Err(Malformed)));
        }
        let mut unsigned = header(0x21, 0x11, &TCP4);
        unsigned[11] = b'\r';
        check(&unsigned, Some(Err(Malformed)));
    }

    #[test]
    fn header_that_has_not_ended_is_unfinished() {
        let v4 = header(0x21, 0x11, &TCP4);
        (0..v4.len()).for_each(|bytes| check(&v4[..bytes], None));
    }

    #[test]
    fn request_in_place_of_a_header_is_told_from_other_things() {
        for (bytes, is_http) in [
            (&b"GET / HTTP/1.1"[..], true),
            (b"PUT", true),
            (b"POST /", true),
            (b"PROXY TCP4", false),
            (b"PRO", false),
            (b"\x16\x03\x01", false),
            (b"\r\n", false),
            (b"", false),
        ] {
            assert_eq!(looks_like_http(bytes), is_http, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_come_to_the_same(
            valid in any::<bool>(),
            command in prop_oneof![Just(0x20_u8), Just(0x21), any::<u8>()],
            family in prop_oneof![Just(0x11_u8), Just(0x21), any::<u8>()],
            rest in proptest::collection::vec(any::<u8>(), 0..700),
            noise in proptest::collection::vec(any::<u8>(), 0..64),
            mut cuts in proptest::collection::vec(0_usize..700, 0..8),
        ) {
            let bytes = if valid { header(command, family, &rest) } else { noise };
            cuts.retain(|cut| *cut <= bytes.len());
            cuts.sort_unstable();
            let outcome = read(&bytes, &[]);
            prop_assert_eq!(read(&bytes, &cuts), outcome);
            if let Some(Ok((consumed, _))) = outcome {
                prop_assert!(consumed <= FIXED_BYTES + usize::from(LENGTH_MAX));
                prop_assert_eq!(consumed, bytes.len());
            }
        }
    }
}
