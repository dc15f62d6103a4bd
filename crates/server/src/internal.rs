//! The internal listener: health, metrics and debug pages, separate from the public port.
//!
//! One thread, `control`, has a runtime of its own. It asks the cores through their mailboxes and
//! waits for them; they never wait for it. Nothing here is served on the public port.
//!
//! - `cores.rs` asks all cores, each with one question at a time and a second to answer
//! - `exposition.rs` builds the series of `/metrics`, with `one_shots.rs`, `moderated.rs` and `hooks.rs`; `families.rs`
//!   builds their families
//! - `health.rs` answers `/healthz` and `/readyz`; `debug.rs` answers `/debug/…`
//! - `api.rs` builds the series of the API
//! - `serve.rs` serves the listener's connections

mod api;
mod cores;
mod debug;
mod events;
mod exposition;
mod families;
mod health;
mod hooks;
mod moderated;
mod one_shots;
mod serve;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    thread,
    time::Duration,
};

use axum::{Router, routing::get};
use runtime::{Monitor, Phase, Readiness};
use rustls::ServerConfig;

use crate::{api::Api, listening, places::Places, state::Outcome, tls::Secured, world::Live};

use cores::Cores;
pub use exposition::Configured;
use serve::Pages;

/// The pages that have reserved places, whatever else is requested.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// What the internal listener knows about the server; every answer is built from it.
#[derive(Clone)]
pub struct Status {
    readiness: Readiness,
    configured: Arc<Mutex<Arc<Configured>>>,
    tls: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    cores: Arc<OnceLock<Cores>>,
    live: Arc<OnceLock<Arc<Live>>>,
    /// What became of the rooms that a process before this one has left.
    restored: Arc<OnceLock<Outcome>>,
    api: Arc<OnceLock<Api>>,
    /// The number of connections of the internal listener that were ended to make room for others.
    crowded_out: Arc<AtomicU64>,
}

impl Status {
    /// The status of a server that is about to start.
    pub fn new(configured: Configured) -> Self {
        Self {
            readiness: Readiness::default(),
            configured: Arc::new(Mutex::new(Arc::new(configured))),
            tls: Arc::default(),
            cores: Arc::default(),
            live: Arc::default(),
            restored: Arc::default(),
            api: Arc::default(),
            crowded_out: Arc::default(),
        }
    }

    /// Where the server records whether it is starting, ready or draining.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Records that the configuration has changed.
    pub fn reconfigured(&self, configured: Configured) {
        *self.lock_configured() = Arc::new(configured);
    }

    /// Sets the TLS that the internal listener speaks with new connections from now on.
    pub fn secured(&self, tls: Option<&Secured>) {
        let config = tls.map(|tls| tls.config.clone());
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        tls.clone()
    }

    /// Records that the cores run on this driver and accept connections. Only the first call counts.
    pub fn serving(&self, monitor: Monitor, driver: String) {
        self.cores.get_or_init(|| Cores::new(monitor, driver));
    }

    /// Records what sessions share. Only the first call counts.
    pub fn shows(&self, live: Arc<Live>) {
        let _ = self.live.set(live);
    }

    /// Records what became of the rooms that a process before this one has left. Only the first call counts.
    pub fn restored(&self, outcome: Outcome) {
        let _ = self.restored.set(outcome);
    }

    /// Records the API of back ends. Only the first call counts.
    pub fn shows_api(&self, api: Api) {
        let _ = self.api.set(api);
    }

    /// How the server stands; `None` before the cores run.
    pub(crate) async fn standing(&self) -> Option<cores::Sum> {
        Some(self.cores()?.sum().await)
    }

    /// The sum of these settings, which are times.
    pub fn time_of(&self, keys: &[&str]) -> Duration {
        let configured = self.configured();
        let limits = configured.limits.iter();
        let times = limits.filter(|(key, _)| keys.contains(key));
        Duration::from_secs_f64(times.map(|(_, seconds)| seconds).sum())
    }

    fn phase(&self) -> Phase {
        self.readiness.phase()
    }

    fn configured(&self) -> Arc<Configured> {
        self.lock_configured().clone()
    }

    fn lock_configured(&self) -> MutexGuard<'_, Arc<Configured>> {
        // Nothing can panic while the lock is held.
        self.configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn cores(&self) -> Option<&Cores> {
        self.cores.get()
    }
}

/// Binds the address, so that an address in use is an error before anything else listens.
///
/// # Errors
/// When it cannot be listened on.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listening::bind(address)
}

/// Serves on a thread of its own until the process ends.
pub fn spawn(listener: TcpListener, status: Status) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let router = router(status.clone());
    let thread = thread::Builder::new().name("control".into());
    thread.spawn(move || {
        let places = Places::new("internal", serve::PLACES, status.crowded_out.clone());
        let serving = listening::run(listener, places, Pages { router, status });
        if let Err(error) = runtime.block_on(serving) {
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
        .fallback(debug::nowhere)
        .with_state(status)
}
