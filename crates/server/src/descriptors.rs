//! Raises the limit on descriptors as far as the process may: each connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

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
