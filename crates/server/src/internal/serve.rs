//! Connections of the internal listener: few, and none for long.

use std::{
    convert::Infallible,
    io,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time,
};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use tracing::{debug, warn};

use super::Status;

/// At a time; others wait in the backlog. Far more than probes and scrapers need, and half of the
/// descriptors that `max_connections` leaves in reserve.
const CONNECTIONS_MAX: usize = 32;
/// For a request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// What a TLS handshake leaves of it at least, or the next head would have no time.
const HEAD_TIME_MIN: Duration = Duration::from_millis(100);
/// For a connection: one that is stuck, or reads an answer by drips, makes room for the next.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// After a failed accept, most likely for want of descriptors.
const BACKOFF: Duration = Duration::from_millis(100);

/// Serves until the listener fails for good.
pub(super) async fn run(listener: TcpListener, router: Router, status: Status) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                let tls = status.tls();
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, router, HEAD_TIME).await,
                        Some(tls) => serve_tls(stream, router, tls).await,
                    }
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

/// The handshake is part of the time for the head.
async fn serve_tls(stream: TcpStream, router: Router, tls: Arc<ServerConfig>) {
    let began = Instant::now();
    let handshake = TlsAcceptor::from(tls).accept(stream);
    match time::timeout(HEAD_TIME, handshake).await {
        Ok(Ok(stream)) => {
            let left = HEAD_TIME.saturating_sub(began.elapsed());
            serve(stream, router, left.max(HEAD_TIME_MIN)).await;
        }
        Ok(Err(error)) => debug!(%error, "a TLS handshake of the internal listener failed"),
        Err(_) => debug!("a TLS handshake of the internal listener took too long"),
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, head_time: Duration) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let answer = router.call(request.map(Body::new)).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(TokioIo::new(stream), service);
    match time::timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection of the internal listener failed"),
        Err(_) => debug!("a connection of the internal listener took too long"),
    }
}
