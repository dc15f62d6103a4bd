//! Serves the connections of the internal listener: one request each, within bounded time.

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
    task, time,
};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use tracing::{debug, warn};

use super::{
    PROBES, Status,
    places::{Doing, Places, Seat},
};

/// The time for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// The least that a TLS handshake leaves of that time, so that the head has some, too.
const HEAD_TIME_MIN: Duration = Duration::from_millis(100);
/// The time for a connection: one that is stuck, or reads its answer very slowly, is ended.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// The pause after a failed accept, whose cause is most likely a lack of descriptors.
const BACKOFF: Duration = Duration::from_millis(100);

/// Serves until the listener fails for good.
pub(super) async fn run(listener: TcpListener, router: Router, status: Status) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Places::new(status.crowded_out.clone());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = |seat| begin(stream, seat, router.clone(), status.tls());
                places.serve(serving).await;
                // The new connection reads what has arrived before others can crowd it out.
                task::yield_now().await;
            }
            Err(error) => {
                warn!(%error, "the internal listener cannot accept");
                time::sleep(BACKOFF).await;
            }
        }
    }
}

async fn begin(stream: TcpStream, seat: Seat, router: Router, tls: Option<Arc<ServerConfig>>) {
    match tls {
        None => serve(stream, seat, router, HEAD_TIME).await,
        Some(tls) => serve_tls(stream, seat, router, tls).await,
    }
}

/// Does the TLS handshake, whose time is part of the time for the head.
async fn serve_tls(stream: TcpStream, seat: Seat, router: Router, tls: Arc<ServerConfig>) {
    let began = Instant::now();
    let handshake = TlsAcceptor::from(tls).accept(stream);
    match time::timeout(HEAD_TIME, handshake).await {
        Ok(Ok(stream)) => {
            let left = HEAD_TIME.saturating_sub(began.elapsed());
            serve(stream, seat, router, left.max(HEAD_TIME_MIN)).await;
        }
        Ok(Err(error)) => debug!(%error, "a TLS handshake of the internal listener failed"),
        Err(_) => debug!("a TLS handshake of the internal listener took too long"),
    }
}

async fn serve<S>(stream: S, seat: Seat, router: Router, head_time: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        seat.begin(match PROBES.contains(&request.uri().path()) {
            true => Doing::Probe,
            false => Doing::Page,
        });
        let mut router = router.clone();
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
