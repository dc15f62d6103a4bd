//! Looks up the addresses of names on a thread that lasts for one lookup, since the system's lookup blocks.
//!
//! *Bounded:* one lookup at a time for each client, because one that the system does not end outlives whoever
//! has asked for it.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread,
    vec::IntoIter,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::oneshot;
use tower_service::Service;

/// Looks up names, one at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver {
    is_busy: Arc<AtomicBool>,
}

/// The one lookup that may be under way; it is over when this is dropped.
struct Lookup(Arc<AtomicBool>);

impl Resolver {
    fn begin(&self) -> io::Result<Lookup> {
        match self.is_busy.swap(true, Ordering::Relaxed) {
            false => Ok(Lookup(self.is_busy.clone())),
            true => Err(io::Error::other(
                "an earlier lookup of a name is still under way",
            )),
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Service<Name> for Resolver {
    type Response = IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookup = self.begin();
        Box::pin(async move {
            let lookup = lookup?;
            let (tell, told) = oneshot::channel();
            let thread = thread::Builder::new().name("resolver".into());
            thread.spawn(move || {
                // The client puts the port of the URL in place of this one.
                let found = (name.as_str(), 0).to_socket_addrs();
                drop(lookup);
                let _ = tell.send(found);
            })?;
            let ended = |_| io::Error::other("the thread that looks names up has ended");
            told.await.map_err(ended)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lookup_is_under_way_at_a_time() {
        let resolver = Resolver::default();
        let lookup = resolver.clone().begin().unwrap();
        assert!(resolver.begin().is_err());
        drop(lookup);
        assert!(resolver.begin().is_ok());
    }
}
