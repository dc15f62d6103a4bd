//! Whose a connection is: the address of its client, and whether that may have another one.

use std::net::SocketAddr;

use codec::{Inflater, Request};
use tracing::debug;

use super::{Actor, Client, Provenance, Stage};
use crate::{
    admission::{
        Admitted, Advanced, Entered, Excess, Network, Proxies, ProxyHeader, Refusal,
        looks_like_http,
    },
    clock::ms,
    end::EndReason,
};

impl Actor<'_> {
    /// A connection has come. Unless its peer is a trusted proxy, that is the client.
    pub(crate) fn meet(&mut self) {
        let proxies = &self.parts.config.proxies;
        let peer = SocketAddr::from(self.connection.provenance.address);
        match (proxies.trust(peer.ip()), proxies.header) {
            (false, _) => drop(self.identify(peer)),
            (true, ProxyHeader::XForwardedFor) => {
                self.connection.provenance.client = Client::InRequest
            }
            (true, ProxyHeader::ProxyV2) => {
                self.connection.provenance.client = Client::InHeader;
                self.connection.rare.await_header();
            }
        }
    }

    /// Takes what has arrived of a header of the PROXY protocol that is awaited.
    pub(super) fn take_proxy_header(&mut self, received: &mut [u8], inflater: &mut Inflater) {
        let peer = SocketAddr::from(self.connection.provenance.address);
        let Some(header) = self.connection.rare.header_mut() else {
            return;
        };
        let is_first = header.is_untouched();
        match header.advance(received) {
            Ok(Advanced::Unfinished) => {}
            Ok(Advanced::Whole { client, .. }) => {
                self.connection.rare.drop_header();
                self.identify(client.unwrap_or(peer));
            }
            Err(_) if is_first && looks_like_http(received) => {
                self.connection.provenance.client = Client::Known { is_counted: false };
                self.connection.rare.drop_header();
                self.answer_as_http(received, inflater, EndReason::ProxyHeader);
            }
            Err(_) => self.abort(EndReason::ProxyHeader),
        }
    }

    /// The client's address is known: counts the connection for it. One too many is told so once
    /// its request has come, or reset if too many are being told. Returns whether it goes on.
    pub(super) fn identify(&mut self, client: SocketAddr) -> bool {
        let provenance = &mut self.connection.provenance;
        provenance.address = client.into();
        provenance.client = Client::Known { is_counted: false };
        let network = match provenance.admitted {
            Admitted::Yes => Network::of(client.ip()),
            Admitted::ToRefuse(_) | Admitted::Wait => None,
        };
        let Some(network) = network else {
            return true;
        };
        let limits = &self.parts.config.addresses;
        let addresses = &self.parts.admission.addresses;
        match addresses.enter(network, limits, self.now.ns) {
            Entered::Counted(_) => provenance.client = Client::Known { is_counted: true },
            Entered::Uncounted => self.parts.counters.tally.addresses_uncounted += 1,
            Entered::Refused(excess) => return self.turn_away(client, excess),
        }
        true
    }

    fn turn_away(&mut self, client: SocketAddr, excess: Excess) -> bool {
        let Some(admitted) = self.parts.admission.turn_away(excess) else {
            self.abort(Refusal::Address(excess).reason());
            return false;
        };
        debug!(peer = %client, ?excess, "one too many of its address");
        self.connection.provenance.admitted = admitted;
        if let Stage::Handshake { deadline_ms } = &mut self.connection.stage {
            let time = admitted.time(self.parts.config.timeouts.handshake);
            *deadline_ms = (*deadline_ms).min(self.now.ms + ms(time));
        }
        true
    }
}

impl Provenance {
    /// The client that the request of a trusted proxy names; `None` if the client is known already.
    pub(super) fn told(&self, request: &Request<'_>, proxies: &Proxies) -> Option<SocketAddr> {
        match self.client {
            Client::InRequest => {
                let peer = self.address.into();
                Some(proxies.client(peer, request.fields("x-forwarded-for")))
            }
            Client::Known { .. } | Client::InHeader => None,
        }
    }
}
