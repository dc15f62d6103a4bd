//! Raises the limit on descriptors as far as the process may, and says when it is too low: each
//! connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// How to raise the limit, wherever the server runs.
pub const REMEDY: &str =
    "raise it (ulimit -n, LimitNOFILE= of a systemd unit, --ulimit nofile= of a container)";

/// A server for fewer connections than this is most likely a mistake: 1,024 is the usual limit of a
/// shell, of which a few are for files and listeners.
const CONNECTIONS_FEW: u64 = 900;

/// Raises the soft limit to the hard one. The soft limit is low (1,024) for programs that use
/// select(2), which this one does not; and in a container only the program itself can raise it.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            info!(from = ?limit.current, to = ?limit.maximum, "descriptors: soft limit raised")
        }
        Err(error) => warn!(%error, "descriptors: the soft limit stays {:?}", limit.current),
    }
}

/// Warns if the limit on descriptors leaves too few connections: fewer than `max_connections`, or few
/// at all if that is not set. A few descriptors that a server needs beside its connections are not
/// considered.
pub fn shortage(max_connections: Option<usize>) -> Option<String> {
    shortage_under(getrlimit(Resource::Nofile).maximum?, max_connections)
}

fn shortage_under(limit: u64, max_connections: Option<usize>) -> Option<String> {
    match max_connections.map(|most| most as u64) {
        Some(most) if most > limit => Some(format!(
            "max_connections is {most}, and RLIMIT_NOFILE allows this process only {limit} \
             descriptors, one for each connection: {REMEDY}"
        )),
        None if limit < CONNECTIONS_FEW => Some(format!(
            "fewer than {limit} connections are possible, because RLIMIT_NOFILE allows this process \
             only {limit} descriptors: {REMEDY}"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortage_is_told_of_with_the_limit_and_a_remedy() {
        for (limit, max_connections, words) in [
            (20_000, Some(100_000), &["100000", "only 20000 "][..]),
            (40, None, &["fewer than 40 ", "LimitNOFILE="]),
        ] {
            let told = shortage_under(limit, max_connections).expect("it is too low");
            for word in words {
                assert!(told.contains(word), "{word} is not in: {told}");
            }
        }
        // Who asks for few connections gets few.
        for (limit, max_connections) in [(20_000, Some(20_000)), (40, Some(5)), (1024, None)] {
            assert_eq!(shortage_under(limit, max_connections), None, "{limit}");
        }
    }
}
