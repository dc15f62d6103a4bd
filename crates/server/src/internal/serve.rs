//! Connections of the internal listener: few, and none for long.

use std::{convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Semaphore, time};
use tower_service::Service;
use tracing::{debug, warn};

/// At a time; others wait in the backlog. Far more than probes and scrapers need, and half of the
/// descriptors that `max_connections` leaves in reserve.
const CONNECTIONS_MAX: usize = 32;
/// For a request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// For a connection: one that is stuck, or reads an answer by drips, makes room for the next.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// After a failed accept, most likely for want of descriptors.
const BACKOFF: Duration = Duration::from_millis(100);

/// Serves until the listener fails for good.
pub(super) async fn run(listener: TcpListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve(stream, router).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "the internal listener cannot accept");
                time::sleep(BACKOFF).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let answer = router.call(request.map(Body::new)).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    match time::timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection of the internal listener failed"),
        Err(_) => debug!("a connection of the internal listener took too long"),
    }
}
