//! Whose a connection is: the address of its client, and whether that may have another one.

use std::net::SocketAddr;

use codec::Request;
use tracing::debug;

use crate::{
    addresses::{Entered, Excess, Network},
    admission::{Admitted, Refusal},
    connection::{Client, ConnectionKey, Stage},
    core::{State, ms},
    end::EndReason,
    forwarded::{Proxies, ProxyHeader},
    proxy_protocol::{Advanced, Header, looks_like_http},
};

impl State {
    /// A connection has come. Unless its peer is a trusted proxy, that is the client.
    pub(crate) fn meet(&mut self, key: ConnectionKey) {
        let proxies = &self.shared.config.proxies;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let peer = connection.peer;
        match (proxies.trust(peer.ip()), proxies.header) {
            (false, _) => drop(self.identify(key, peer)),
            (true, ProxyHeader::XForwardedFor) => connection.client = Client::InRequest,
            (true, ProxyHeader::ProxyV2) => {
                connection.client = Client::InHeader(Box::<Header>::default());
            }
        }
    }

    /// Takes what has arrived of a header of the PROXY protocol that is awaited.
    pub(crate) fn take_proxy_header(&mut self, key: ConnectionKey, received: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let peer = connection.peer;
        let Client::InHeader(header) = &mut connection.client else {
            return;
        };
        let is_first = header.is_untouched();
        match header.advance(received) {
            Ok(Advanced::Unfinished) => {}
            Ok(Advanced::Whole { client, .. }) => {
                self.identify(key, client.unwrap_or(peer));
            }
            Err(_) if is_first && looks_like_http(received) => {
                connection.client = Client::Known(None);
                self.answer_as_http(key, received, EndReason::ProxyHeader);
            }
            Err(_) => self.abort(key, EndReason::ProxyHeader),
        }
    }

    /// The client's address is known: counts the connection for it. One too many is told so once
    /// its request has come, or reset if too many are being told. Returns whether it goes on.
    pub(crate) fn identify(&mut self, key: ConnectionKey, client: SocketAddr) -> bool {
        let now_ns = self.shared.now_ns();
        let admission = &self.shared.admission;
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        connection.peer = client;
        connection.client = Client::Known(None);
        let network = match connection.admitted {
            Admitted::Yes => Network::of(client.ip()),
            Admitted::ToRefuse(_) | Admitted::Wait => None,
        };
        let Some(network) = network else {
            return true;
        };
        let limits = &self.shared.config.addresses;
        match admission.addresses.enter(network, limits, now_ns) {
            Entered::Counted(network) => connection.client = Client::Known(Some(network)),
            Entered::Uncounted => self.tally.addresses_uncounted += 1,
            Entered::Refused(excess) => return self.turn_away(key, excess),
        }
        true
    }

    fn turn_away(&mut self, key: ConnectionKey, excess: Excess) -> bool {
        let now_ms = self.shared.now_ms();
        let handshake = self.shared.config.timeouts.handshake;
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let Some(told) = self.shared.admission.turn_away(excess) else {
            self.abort(key, Refusal::Address(excess).reason());
            return false;
        };
        debug!(peer = %connection.peer, ?excess, "one too many of its address");
        connection.admitted = told;
        if let Stage::Handshake { deadline_ms } = &mut connection.stage {
            *deadline_ms = (*deadline_ms).min(now_ms + ms(told.time(handshake)));
        }
        true
    }
}

impl Client {
    /// How many bytes of a header of the PROXY protocol are to be received next. It comes before
    /// everything else, TLS included, and is received without a byte of what follows it.
    pub(crate) fn header_bytes(&self) -> Option<usize> {
        match self {
            Self::InHeader(header) => Some(header.missing_bytes()),
            Self::Known(_) | Self::InRequest => None,
        }
    }

    /// Whether a header of the PROXY protocol has begun that is not whole yet.
    pub(crate) fn has_header_begun(&self) -> bool {
        match self {
            Self::InHeader(header) => !header.is_untouched(),
            Self::Known(_) | Self::InRequest => false,
        }
    }

    /// Whom the request of a trusted `peer` names as its client; `None` if that is known already.
    pub(crate) fn told(
        &self,
        peer: SocketAddr,
        request: &Request<'_>,
        proxies: &Proxies,
    ) -> Option<SocketAddr> {
        match self {
            Self::InRequest => Some(proxies.client(peer, request.fields("x-forwarded-for"))),
            Self::Known(_) | Self::InHeader(_) => None,
        }
    }
}
