//! Serves the connections of the internal listener: one request each, within bounded time.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::time;
use tower_service::Service;
use tracing::debug;

use super::{PROBES, Status};
use crate::{
    listening::{Listener, Stream},
    places::{Bounds, Doing, Seat},
};

/// Far more places than probes and scrapers need, and half of the descriptors that `max_connections` leaves in
/// reserve.
pub(super) const PLACES: Bounds = Bounds {
    places: 32,
    pages_max: 24,
};
/// The time for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// The time for a connection: one that is stuck, or reads its answer very slowly, is ended.
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// The internal listener.
#[derive(Clone)]
pub(super) struct Pages {
    pub(super) router: Router,
    pub(super) status: Status,
}

impl Listener for Pages {
    const NAME: &'static str = "internal";

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.status.tls()
    }

    fn head_time(&self) -> Duration {
        HEAD_TIME
    }

    async fn serve(self, stream: Box<dyn Stream>, seat: Seat, head_time: Duration) {
        let service = service_fn(|request: Request<Incoming>| {
            seat.begin(match PROBES.contains(&request.uri().path()) {
                true => Doing::Probe,
                false => Doing::Page,
            });
            let mut router = self.router.clone();
            async move {
                let answer = router.call(request.map(Body::new)).await;
                Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_time)
            // A connection kept alive could hold its place without ever sending a request.
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        match time::timeout(CONNECTION_TIME, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "a connection of the internal listener failed"),
            Err(_) => debug!("a connection of the internal listener took too long"),
        }
    }
}
