//! The address of the client behind trusted proxies, as `X-Forwarded-For` names it.
//!
//! Each proxy appends the address of its own peer, so the field is read from its end. Everything
//! left of the first address that is not a trusted proxy's may be forged.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ipnet::IpNet;

/// Which peers may name the client that they forward for, and how they do.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// The networks of trusted proxies; a proxy outside them counts as the client itself.
    pub trusted: Vec<IpNet>,
    /// How the trusted proxies name their clients.
    pub header: ProxyHeader,
}

/// How a trusted proxy names its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// In the `X-Forwarded-For` fields of the request.
    #[default]
    XForwardedFor,
    /// In a PROXY protocol header of version 2, which precedes all other bytes of the connection.
    ProxyV2,
}

impl Proxies {
    /// Whether this peer is a trusted proxy.
    pub(crate) fn trust(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Whether each request names its own client, so that requests on one connection may come from
    /// different clients.
    pub(crate) fn tell_in_requests(&self) -> bool {
        !self.trusted.is_empty() && self.header == ProxyHeader::XForwardedFor
    }

    /// The client of a connection from the trusted `peer`; `values` are those of its request's
    /// `X-Forwarded-For` fields, in order. It is the first address from the right that is not a
    /// trusted proxy's, or the leftmost if all are trusted. An item that is not an address ends the
    /// search with the address to its right, or with the peer if there is none. The port is 0 if
    /// its item names none.
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

/// An address in the forms that proxies send: with or without a port, an IPv6 address with or
/// without brackets.
fn address(item: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(item).ok()?;
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)));
    let address: SocketAddr = address.ok().or_else(|| bracketed(text))?;
    // A zone identifies a network interface of the proxy and has no meaning on this machine.
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
        // All addresses are trusted: the leftmost one is the client.
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
