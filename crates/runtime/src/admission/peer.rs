//! The address of a peer in a compact form.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IP address and a port in 18 bytes, where [`SocketAddr`] takes 32. The scope of a link-local
/// address is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// An IPv4 address is mapped into IPv6 (RFC 4291 section 2.5.5.2).
    ip: [u8; 16],
    port: [u8; 2],
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            ip: ip.octets(),
            port: address.port().to_be_bytes(),
        }
    }
}

impl From<Peer> for SocketAddr {
    fn from(peer: Peer) -> Self {
        let ip = IpAddr::V6(Ipv6Addr::from(peer.ip)).to_canonical();
        (ip, u16::from_be_bytes(peer.port)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_comes_back_as_it_was() {
        for address in [
            "192.0.2.7:80",
            "[2001:db8::7]:65535",
            "[::1]:1",
            "0.0.0.0:0",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(SocketAddr::from(Peer::from(address)), address);
        }
    }
}
