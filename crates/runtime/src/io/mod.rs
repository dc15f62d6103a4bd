//! Sockets: nonblocking receive and send, with or without TLS.

mod socket;
mod tls;

pub(crate) use socket::{Arrivals, Arrived, Received, Sealing, Socket};
pub(crate) use tls::{PeerStream, Secured, Tls, Version};
