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
use runtime::Monitor;
use tokio::sync::watch;

use cores::Cores;
pub use exposition::Configured;

/// Where the process is in its life, for `/readyz` and the metrics.
#[derive(Clone)]
pub enum Phase {
    /// Nothing is served yet.
    Starting,
    /// Connections are accepted.
    Serving,
    /// The process was told to stop.
    Draining,
}

/// What the internal listener knows of the server.
#[derive(Clone)]
pub struct Status {
    phase: watch::Sender<Phase>,
    cores: watch::Sender<Option<Arc<Cores>>>,
}

/// What every answer is made from.
struct Panel {
    status: Status,
    configured: Configured,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            cores: watch::Sender::new(None),
        }
    }
}

impl Status {
    /// The cores run on this driver, and accept connections.
    pub fn serving(&self, monitor: Monitor, driver: String) {
        let cores = Cores::new(monitor, driver);
        self.cores.send_replace(Some(Arc::new(cores)));
        self.phase.send_replace(Phase::Serving);
    }

    /// The process was told to stop.
    pub fn draining(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    fn phase(&self) -> Phase {
        self.phase.borrow().clone()
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
pub fn spawn(listener: TcpListener, status: Status, configured: Configured) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let router = router(Arc::new(Panel { status, configured }));
    let thread = thread::Builder::new().name("control".into());
    thread.spawn(move || {
        if let Err(error) = runtime.block_on(serve::run(listener, router)) {
            tracing::error!(%error, "the internal listener has ended");
        }
    })?;
    Ok(())
}

fn router(panel: Arc<Panel>) -> Router {
    Router::new()
        .route("/", get(debug::index))
        .route("/metrics", get(exposition::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/debug/connections", get(debug::connections))
        .route("/debug/rooms", get(debug::rooms))
        .route("/debug/latency", get(debug::latency))
        .with_state(panel)
}
