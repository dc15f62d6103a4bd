//! Admission of connections: bounds on all of them and on each address, rates, and the client's
//! address behind a proxy.

mod addresses;
mod counts;
mod forwarded;
mod peer;
mod proxy_protocol;
mod rates;

pub use addresses::{AddressLimits, AddressRates};
pub(crate) use addresses::{Entered, Excess, Network};
pub(crate) use counts::{Admission, Admitted, Refusal, connections_possible};
pub use forwarded::{Proxies, ProxyHeader};
pub(crate) use peer::Peer;
pub(crate) use proxy_protocol::{Advanced, Header, looks_like_http};
pub use rates::Bucket;
pub use rates::Rate;
