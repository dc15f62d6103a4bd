//! The API of back ends: they push, ask and give orders over plain HTTP, on a listener of its own.
//!
//! ```text
//!  a back end ─▶ serve.rs ─▶ gate.rs ────────▶ call.rs ───────▶ methods.rs ─▶ methods/…
//!                (connection) (host, origin,    (body, errors)   (one table)    │
//!                              key, rate)                                       ├─▶ rooms.rs: homes of rooms
//!                                                                               └─▶ orders.rs: connections
//!                                                                               └─▶ orders.rs: connections
//! ```
//!
//! It is served on the thread `backend`, which no core and no health probe ever waits for.
//!
//! - `serve.rs` serves connections, `patience.rs` ends those that take no answers; `routes.rs` says what each request is for
//! - `gate.rs` lets requests in, by `keys.rs`; `dev_key.rs` makes the key of a server in dev
//! - `body.rs` reads bodies, within `bodies.rs`; `refused.rs` answers what is refused before it is a call
//! - `call.rs` carries out a call and answers it; `failure.rs` has the errors, `json.rs` values as they came
//! - `methods.rs` is the table of methods, which are in `methods/`; `rooms.rs` asks homes of rooms for them
//! - `orders.rs` has what connections are told to do; their sessions carry it out
//! - `openapi.rs` describes all of it; `counts.rs` counts it
//!
//! *Bounded:* connections by `api_connections_max`, bodies by `api_body_bytes_max` and together by
//! `api_bodies_bytes_max`, which is also as much as answers may take for batches to go on, times by `api_timeout`, calls by the rate of each key.

mod bodies;
mod body;
mod call;
mod counts;
mod dev_key;
mod failure;
mod gate;
mod json;
mod keys;
mod methods;
mod openapi;
mod orders;
mod patience;
mod refused;
mod rooms;
mod routes;
mod serve;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tracing::error;

use crate::{
    backend::{Backend, Task},
    internal::Status,
    listening,
    origin::AllowList,
    places::{self, Places},
    settings::{ErrorMode, HostName, Settings},
    tls::Secured,
    world::Live,
};

use bodies::Bodies;
pub use counts::Counted;
use counts::Counts;
pub use dev_key::{DevKey, path as dev_key_file};
pub use keys::Keys;
pub use openapi::document;
pub use orders::{Order, Refreshing, Subscribing, What, Whom};
use rooms::Rooms;

/// The API of one server.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    rules: ArcSwap<Rules>,
    tls: ArcSwap<Option<Arc<ServerConfig>>>,
    /// The key of a server in dev, which a reload leaves alone.
    dev_key: Option<DevKey>,
    live: Arc<Live>,
    status: Status,
    rooms: Rooms,
    bodies: Arc<Bodies>,
    /// Answers that are being made, or have not left.
    answers: Arc<Bodies>,
    counts: Counts,
    places: Arc<Places>,
    /// Connections that were ended to make room for others.
    crowded_out: Arc<AtomicU64>,
    began: Instant,
}

/// What the settings of now say of the API.
struct Rules {
    /// Who may call it.
    keys: Keys,
    hosts: Hosts,
    origins: AllowList,
    error_mode: ErrorMode,
    body_bytes_max: usize,
    bodies_bytes_max: usize,
    timeout: Duration,
}

/// By which hosts it may be called.
enum Hosts {
    Any,
    /// `localhost` and addresses of this machine, against pages whose name leads here.
    ThisMachine,
    Listed(Vec<HostName>),
}

impl Rules {
    /// What these settings say, with these keys.
    fn new(settings: &Settings, keys: Keys) -> Self {
        let s = settings;
        Self {
            keys,
            hosts: match (s.api_hosts.is_empty(), s.dev.is_on()) {
                (false, _) => Hosts::Listed(s.api_hosts.clone()),
                (true, true) => Hosts::ThisMachine,
                (true, false) => Hosts::Any,
            },
            origins: s.api_origins.iter().cloned().collect(),
            error_mode: s.api_error_mode,
            body_bytes_max: s.api_body_bytes_max.bytes(),
            bodies_bytes_max: s.api_bodies_bytes_max.bytes(),
            timeout: s.api_timeout.duration(),
        }
    }
}

impl Api {
    /// The API of a server that is about to start, with the keys of its files, or with one that it has made.
    pub fn new(
        settings: &Settings,
        keys: Keys,
        dev_key: Option<DevKey>,
        live: Arc<Live>,
        status: Status,
    ) -> Self {
        let crowded_out = Arc::default();
        // Each call matters, so that none is ended for another.
        let bounds = places::Bounds {
            places: settings.api_connections_max,
            pages_max: settings.api_connections_max,
        };
        let rules = Rules::new(settings, or_made(keys, dev_key.as_ref()));
        let api = Self(Arc::new(Shared {
            places: Places::new("api", bounds, Arc::clone(&crowded_out)),
            rules: ArcSwap::from_pointee(rules),
            tls: ArcSwap::default(),
            dev_key,
            rooms: Rooms::new(live.clone(), settings.desk_requests_max.div_ceil(2)),
            live,
            status,
            bodies: Arc::default(),
            answers: Arc::default(),
            counts: Counts::default(),
            crowded_out,
            began: Instant::now(),
        }));
        api.0.status.shows_api(api.clone());
        api
    }

    /// Goes on with these settings, and the keys of their files.
    pub fn replace(&self, settings: &Settings, keys: Keys) {
        let keys = or_made(keys, self.0.dev_key.as_ref());
        self.0.rules.store(Arc::new(Rules::new(settings, keys)));
    }

    /// Sets the TLS that new connections speak from now on.
    pub fn secured(&self, tls: Option<&Secured>) {
        let config = tls.map(|tls| tls.config.clone());
        self.0.tls.store(Arc::new(config));
    }

    /// The key of a server in dev, if it has made one.
    pub fn dev_key(&self) -> Option<&DevKey> {
        self.0.dev_key.as_ref()
    }

    /// Serves this listener on the thread for back ends, as the cores run from now on.
    ///
    /// # Errors
    /// When that thread cannot be started.
    pub fn serve(&self, listener: TcpListener, backend: &Backend) -> io::Result<Task> {
        let (api, places) = (self.clone(), self.0.places.clone());
        backend.spawn(async move {
            if let Err(error) = listening::run(listener, places, api).await {
                error!(%error, "the API has ended");
            }
        })
    }

    /// What has been counted, for the metrics.
    pub fn counted(&self) -> Counted {
        self.0.counts.counted(&self.0)
    }

    fn rules(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.0.rules.load()
    }
}

/// The keys of a server: those of its files, or else the one that it has made.
fn or_made(keys: Keys, made: Option<&DevKey>) -> Keys {
    match made {
        Some(made) if keys.is_empty() => made.keys(),
        _ => keys,
    }
}

/// Binds the address, so that an address in use is an error before anything else listens.
///
/// # Errors
/// When it cannot be listened on.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listening::bind(address)
}

/// The names of all methods.
pub fn method_names() -> impl Iterator<Item = &'static str> {
    methods::METHODS.iter().map(|method| method.name)
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}
