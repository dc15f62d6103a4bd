//! Whether a request comes from a program on this machine, as far as a request can tell: for `dev`.
//!
//! It stops pages of other sites and proxies that name themselves. It cannot stop a program behind a proxy
//! that hides itself.

use std::net::IpAddr;

use codec::Request;
use runtime::Refused;

use super::Refusal;

/// The fields by which proxies name themselves or their clients.
const OF_PROXIES: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "via",
    "x-real-ip",
];

/// Refuses a request that is not from this machine. Whether its Origin is the server's own was checked
/// before.
pub fn check(request: &Request<'_>) -> Result<(), Refusal> {
    let names_a_proxy = OF_PROXIES
        .iter()
        .any(|name| request.fields(name).next().is_some());
    match (is_loopback(request.host()), names_a_proxy) {
        (true, false) => Ok(()),
        (false, _) => refused("your request names a Host other than localhost"),
        (true, true) => refused("a proxy has forwarded your request"),
    }
}

fn refused(why: &str) -> Result<(), Refusal> {
    let sentence = format!(
        "This server is in dev, where only programs of its own machine may do this, and {why}. Start it with \
         settings of its own to serve others: docs/operations.md."
    );
    Err(Refusal::Other(403, sentence, Refused::Right))
}

/// Whether a Host is `localhost` or a loopback address, with or without a port.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_of_this_machine_only_by_its_whole_name() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.example.com",
            "10.0.0.1",
            "127.0.0.1.nip.io:80",
            "[::2]",
            "::1x",
            "[::1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
