//! The memory that connections may keep for compression with context takeover, and its bound.
//!
//! A handshake reserves what its agreement may come to take, before the 101 promises it, and the end
//! of the connection gives it back. Each core has an even share of the bound. Where the rest of it
//! is too little, takeover is given up and not the connection: its messages are longer, that is all.

use codec::{Deflate, DeflatePolicy, Request};

use crate::{config::Config, observe::Takeovers};

/// What is agreed with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) deflate: Deflate,
    /// What it would have, too, if there were memory for it.
    pub(crate) declined: Takeovers,
}

/// What is left of this core's share when so many bytes are reserved: nothing, if a reload has made
/// the share less than that.
pub(crate) fn free_bytes(config: &Config, reserved_bytes: usize) -> usize {
    let share = config.compression_contexts_bytes_max / config.cores;
    share.saturating_sub(reserved_bytes)
}

/// Agrees on one of the client's offers, as far as so many bytes go. "A server MAY include" the
/// parameters that give takeover up, whatever was offered (RFC 7692 sections 7.1.1.1 and 7.1.1.2).
/// The server's goes first: it takes ten times as much memory, or more.
pub(crate) fn agree(
    request: &Request<'_>,
    mut policy: DeflatePolicy,
    free_bytes: usize,
) -> Option<Agreement> {
    let wanted = request.deflate(&policy)?;
    let mut deflate = wanted;
    for give_up in [without_server_takeover, without_client_takeover] {
        if deflate.contexts_bytes_max() > free_bytes {
            give_up(&mut policy);
            deflate = request.deflate(&policy)?;
        }
    }
    let has_lost = |wanted: bool, agreed: bool| u64::from(wanted && !agreed);
    let declined = Takeovers {
        server: has_lost(wanted.server_takeover, deflate.server_takeover),
        client: has_lost(wanted.client_takeover, deflate.client_takeover),
    };
    Some(Agreement { deflate, declined })
}

fn without_server_takeover(policy: &mut DeflatePolicy) {
    policy.server_takeover = false;
}

fn without_client_takeover(policy: &mut DeflatePolicy) {
    policy.client_takeover = false;
}

#[cfg(test)]
mod tests {
    use codec::{Connection, Event, Inflater, Limits};

    use super::*;

    const BOTH: DeflatePolicy = DeflatePolicy {
        window_bits: 15,
        server_takeover: true,
        client_takeover: true,
    };
    const CLIENT: usize = 33 << 10;
    const SERVER: usize = 384 << 10;

    fn agreed(offer: &str, policy: DeflatePolicy, free_bytes: usize) -> Agreement {
        let mut request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: permessage-deflate{offer}\r\n\r\n"
        )
        .into_bytes();
        let mut connection = Connection::new();
        let mut inflater = Inflater::default();
        let step = connection.receive(&mut request, &Limits::default(), &mut inflater);
        let Some(Event::Request(request)) = step.event else {
            panic!("no request but {:?}", step.event);
        };
        agree(&request, policy, free_bytes).unwrap()
    }

    #[test]
    fn takeover_is_given_up_as_far_as_memory_does_not_reach() {
        let check = |offer, free_bytes, (server, client), lost| {
            let agreement = agreed(offer, BOTH, free_bytes);
            let deflate = agreement.deflate;
            let has = (deflate.server_takeover, deflate.client_takeover);
            assert_eq!(has, (server, client), "{offer} with {free_bytes} bytes");
            let (server, client) = lost;
            let declined = Takeovers { server, client };
            assert_eq!(agreement.declined, declined, "{offer}, {free_bytes}");
            assert!(deflate.contexts_bytes_max() <= free_bytes);
        };
        check("", SERVER + CLIENT, (true, true), (0, 0));
        check("", SERVER + CLIENT - 1, (false, true), (1, 0));
        check("", CLIENT, (false, true), (1, 0));
        check("", CLIENT - 1, (false, false), (1, 1));
        check("", 0, (false, false), (1, 1));
        // What nobody asked for is not missed.
        let server = "; client_no_context_takeover";
        check(server, SERVER, (true, false), (0, 0));
        check(server, SERVER - 1, (false, false), (1, 0));
        let client = "; server_no_context_takeover";
        check(client, CLIENT, (false, true), (0, 0));
        check(client, CLIENT - 1, (false, false), (0, 1));
        let neither = "; server_no_context_takeover; client_no_context_takeover";
        check(neither, 0, (false, false), (0, 0));
    }

    #[test]
    fn window_is_not_narrowed_for_a_takeover_that_is_given_up() {
        let policy = DeflatePolicy {
            window_bits: 10,
            ..BOTH
        };
        let said = |free_bytes| {
            let agreement = agreed("; client_max_window_bits", policy, free_bytes);
            agreement.deflate.to_string()
        };
        assert!(said(SERVER).ends_with("client_max_window_bits=10"));
        assert!(said(0).ends_with("client_no_context_takeover"));
    }

    #[test]
    fn share_of_a_core_is_what_others_leave_of_it() {
        let mut config = Config {
            cores: 2,
            compression_contexts_bytes_max: 4 * SERVER,
            ..Config::default()
        };
        assert_eq!(free_bytes(&config, 0), 2 * SERVER);
        assert_eq!(free_bytes(&config, SERVER), SERVER);
        config.compression_contexts_bytes_max = SERVER;
        assert_eq!(free_bytes(&config, SERVER), 0, "more is reserved already");
        assert_eq!(free_bytes(&config, 0), SERVER / 2);
    }
}
