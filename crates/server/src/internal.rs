//! The internal listener: health, metrics and what stands out, apart from the public port.
//!
//! One thread, `control`, with a runtime of its own. It asks the cores through their mailboxes and
//! waits for them; they never wait for it. Nothing here is served on the public port.
//!
//! - `cores.rs` asks all cores, each with one question at a time and a second to answer
//! - `exposition.rs` the series of `/metrics`; `families.rs` what they are made of
//! - `health.rs` `/healthz` and `/readyz`; `debug.rs` `/debug/…`
//! - `serve.rs` connections of the listener, and their bounds

mod cores;
mod debug;
mod exposition;
mod families;
mod health;
mod serve;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use axum::{Router, routing::get};
use runtime::{Monitor, Phase, Readiness};
use tokio::sync::watch;

use cores::Cores;
pub use exposition::Configured;

/// What the internal listener knows of the server: every answer is made from it.
#[derive(Clone)]
pub struct Status {
    readiness: Readiness,
    configured: watch::Sender<Configured>,
    cores: watch::Sender<Option<Arc<Cores>>>,
}

impl Status {
    /// Of a server that is about to start.
    pub fn new(configured: Configured) -> Self {
        Self {
            readiness: Readiness::default(),
            configured: watch::Sender::new(configured),
            cores: watch::Sender::new(None),
        }
    }

    /// What the server is to tell how far it is.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// The configuration has changed.
    pub fn reconfigured(&self, configured: Configured) {
        self.configured.send_replace(configured);
    }

    /// The cores run on this driver, and accept connections.
    pub fn serving(&self, monitor: Monitor, driver: String) {
        let cores = Cores::new(monitor, driver);
        self.cores.send_replace(Some(Arc::new(cores)));
    }

    fn phase(&self) -> Phase {
        self.readiness.phase()
    }

    fn configured(&self) -> Configured {
        self.configured.borrow().clone()
    }

    fn cores(&self) -> Option<Arc<Cores>> {
        self.cores.borrow().clone()
    }
}

/// Binds the address, so that a taken one is an error before anything else listens.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves on a thread of its own until the process ends.
pub fn spawn(listener: TcpListener, status: Status) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let router = router(status);
    let thread = thread::Builder::new().name("control".into());
    thread.spawn(move || {
        if let Err(error) = runtime.block_on(serve::run(listener, router)) {
            tracing::error!(%error, "the internal listener has ended");
        }
    })?;
    Ok(())
}

fn router(status: Status) -> Router {
    Router::new()
        .route("/", get(debug::index))
        .route("/metrics", get(exposition::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/debug/connections", get(debug::connections))
        .route("/debug/rooms", get(debug::rooms))
        .route("/debug/latency", get(debug::latency))
        .with_state(status)
}
