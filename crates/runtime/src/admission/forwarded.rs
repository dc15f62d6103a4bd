//! The client behind trusted proxies, as they tell it in `X-Forwarded-For`.
//!
//! Each proxy appends the address of its own peer, so the field is read from its end: what stands
//! left of the first address that is not a trusted proxy's was said by somebody unknown.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ipnet::IpNet;

/// Which peers may speak for others, and how.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// The networks of trusted proxies.
    pub trusted: Vec<IpNet>,
    /// How they name their clients.
    pub header: ProxyHeader,
}

/// How a trusted proxy names its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// In the request's fields `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// In a PROXY protocol header of version 2, before anything else on the connection.
    ProxyV2,
}

impl Proxies {
    /// Whether this peer may speak for others.
    pub(crate) fn trust(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Whether some requests say who their client is, so that the next one on a connection may be of
    /// another.
    pub(crate) fn tell_in_requests(&self) -> bool {
        !self.trusted.is_empty() && self.header == ProxyHeader::XForwardedFor
    }

    /// The client of a connection from the trusted `peer`, by the values of its request's
    /// `X-Forwarded-For` fields in order: from the right, the first address that is no trusted
    /// proxy's. If all are trusted it is the leftmost. Something that is no address ends the walk:
    /// then it is what stands right of it, or the peer. The port is 0 unless it was told.
    pub(crate) fn client<'a>(
        &self,
        peer: SocketAddr,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> SocketAddr {
        let mut client = peer;
        let lines: Vec<_> = values.collect();
        let items = lines
            .iter()
            .rev()
            .flat_map(|line| line.rsplit(|b| *b == b','));
        // A list may have empty items (RFC 9110 section 5.6.1.2).
        let items = items
            .map(<[u8]>::trim_ascii)
            .filter(|item| !item.is_empty());
        for item in items {
            let Some(address) = address(item) else {
                break;
            };
            client = address;
            if !self.trust(address.ip()) {
                break;
            }
        }
        client
    }
}

/// An address as it is seen in the wild: with or without a port, that of IPv6 with or without
/// brackets.
fn address(item: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(item).ok()?;
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)));
    let address: SocketAddr = address.ok().or_else(|| bracketed(text))?;
    // A zone means something on the proxy's own links alone.
    let has_zone = matches!(address, SocketAddr::V6(address) if address.scope_id() != 0);
    (!has_zone).then(|| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn bracketed(text: &str) -> Option<SocketAddr> {
    let ip: Ipv6Addr = text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(SocketAddrV6::new(ip, 0, 0, 0).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "10.0.0.1:5000";

    fn proxies() -> Proxies {
        let trusted = ["10.0.0.0/8", "192.0.2.1/32", "2001:db8:ffff::/48"];
        Proxies {
            trusted: trusted.map(|network| network.parse().unwrap()).into(),
            header: ProxyHeader::XForwardedFor,
        }
    }

    #[track_caller]
    fn check(lines: &[&str], client: &str) {
        let lines_read = lines.iter().map(|line| line.as_bytes());
        let found = proxies().client(PEER.parse().unwrap(), lines_read);
        assert_eq!(found.to_string(), client, "{lines:?}");
    }

    #[test]
    fn client_is_the_first_from_the_right_that_is_not_trusted() {
        check(&["203.0.113.7"], "203.0.113.7:0");
        check(&["203.0.113.7, 10.1.1.1"], "203.0.113.7:0");
        check(&["203.0.113.7,192.0.2.1 , 10.1.1.1"], "203.0.113.7:0");
        check(&["1.1.1.1, 203.0.113.7, 10.1.1.1"], "203.0.113.7:0");
        check(&["203.0.113.7", "10.1.1.1", "10.2.2.2"], "203.0.113.7:0");
        check(&["1.1.1.1", "203.0.113.7"], "203.0.113.7:0");
        check(
            &["1.1.1.1", "2001:db8::7, 2001:db8:ffff::1"],
            "[2001:db8::7]:0",
        );
        // All of them trusted: the one who began.
        check(&["10.3.3.3, 10.2.2.2"], "10.3.3.3:0");
    }

    #[test]
    fn client_may_have_a_port_and_brackets() {
        check(&["203.0.113.7:4711"], "203.0.113.7:4711");
        check(&["[2001:db8::7]:4711"], "[2001:db8::7]:4711");
        check(&["[2001:db8::7]"], "[2001:db8::7]:0");
        check(&["2001:db8::7"], "[2001:db8::7]:0");
        check(&["::ffff:203.0.113.7"], "203.0.113.7:0");
        check(&["203.0.113.7, ::ffff:10.1.1.1"], "203.0.113.7:0");
        check(&["  203.0.113.7\t"], "203.0.113.7:0");
        check(&[",, 203.0.113.7,, ,"], "203.0.113.7:0");
    }

    #[test]
    fn what_is_no_address_leaves_what_is_right_of_it_or_the_peer() {
        for nonsense in [
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.7:99999",
            "203.0.113.7:",
            "[2001:db8::7",
            "2001:db8::7]",
            "[203.0.113.7]",
            "fe80::1%1",
            "[fe80::1%1]:80",
            "\"203.0.113.7\"",
            "203.0.113.7 1.1.1.1",
            "\u{e9}",
        ] {
            check(&[nonsense], PEER);
            check(&["1.1.1.1", nonsense], PEER);
            check(&[&format!("1.1.1.1, {nonsense}, 10.1.1.1")], "10.1.1.1:0");
        }
        check(&[], PEER);
        check(&[""], PEER);
        check(&[&",".repeat(10 << 10)], PEER);
    }

    #[test]
    fn only_listed_networks_are_trusted() {
        for (peer, is_trusted) in [
            ("10.255.0.1", true),
            ("::ffff:10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8:ffff:1::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(proxies().trust(peer.parse().unwrap()), is_trusted, "{peer}");
        }
        assert!(!Proxies::default().trust("127.0.0.1".parse().unwrap()));
    }
}
