//! Whose a connection is: the address of its client, and whether that may have another one.

use std::net::SocketAddr;

use codec::{Inflater, Request};
use tracing::debug;

use super::{Actor, Client, Stage};
use crate::{
    admission::{
        Admitted, Advanced, Entered, Excess, Header, Network, Proxies, ProxyHeader, Refusal,
        looks_like_http,
    },
    clock::ms,
    end::EndReason,
};

impl Actor<'_> {
    /// A connection has come. Unless its peer is a trusted proxy, that is the client.
    pub(crate) fn meet(&mut self) {
        let proxies = &self.parts.config.proxies;
        let peer = self.connection.origin.peer;
        match (proxies.trust(peer.ip()), proxies.header) {
            (false, _) => drop(self.identify(peer)),
            (true, ProxyHeader::XForwardedFor) => self.connection.origin.client = Client::InRequest,
            (true, ProxyHeader::ProxyV2) => {
                self.connection.origin.client = Client::InHeader(Box::<Header>::default());
            }
        }
    }

    /// Takes what has arrived of a header of the PROXY protocol that is awaited.
    pub(super) fn take_proxy_header(&mut self, received: &mut [u8], inflater: &mut Inflater) {
        let peer = self.connection.origin.peer;
        let Client::InHeader(header) = &mut self.connection.origin.client else {
            return;
        };
        let is_first = header.is_untouched();
        match header.advance(received) {
            Ok(Advanced::Unfinished) => {}
            Ok(Advanced::Whole { client, .. }) => {
                self.identify(client.unwrap_or(peer));
            }
            Err(_) if is_first && looks_like_http(received) => {
                self.connection.origin.client = Client::Known(None);
                self.answer_as_http(received, inflater, EndReason::ProxyHeader);
            }
            Err(_) => self.abort(EndReason::ProxyHeader),
        }
    }

    /// The client's address is known: counts the connection for it. One too many is told so once
    /// its request has come, or reset if too many are being told. Returns whether it goes on.
    pub(super) fn identify(&mut self, client: SocketAddr) -> bool {
        let origin = &mut self.connection.origin;
        origin.peer = client;
        origin.client = Client::Known(None);
        let network = match origin.admitted {
            Admitted::Yes => Network::of(client.ip()),
            Admitted::ToRefuse(_) | Admitted::Wait => None,
        };
        let Some(network) = network else {
            return true;
        };
        let limits = &self.parts.config.addresses;
        let addresses = &self.parts.admission.addresses;
        match addresses.enter(network, limits, self.now.ns) {
            Entered::Counted(network) => origin.client = Client::Known(Some(network)),
            Entered::Uncounted => self.parts.counters.tally.addresses_uncounted += 1,
            Entered::Refused(excess) => return self.turn_away(excess),
        }
        true
    }

    fn turn_away(&mut self, excess: Excess) -> bool {
        let Some(admitted) = self.parts.admission.turn_away(excess) else {
            self.abort(Refusal::Address(excess).reason());
            return false;
        };
        debug!(peer = %self.connection.origin.peer, ?excess, "one too many of its address");
        self.connection.origin.admitted = admitted;
        if let Stage::Handshake { deadline_ms } = &mut self.connection.stage {
            let time = admitted.time(self.parts.config.timeouts.handshake);
            *deadline_ms = (*deadline_ms).min(self.now.ms + ms(time));
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
