//! Accepts the connections of a listener beside the cores, with or without TLS, each as soon as there is a place.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task, time,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::places::{Places, Seat};

/// The least that a TLS handshake leaves of the time for a request's head.
const HEAD_TIME_MIN: Duration = Duration::from_millis(100);
/// The pause after a failed accept, whose cause is most likely a lack of descriptors.
const BACKOFF: Duration = Duration::from_millis(100);

/// What a connection is read from and written to.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A listener, and how its connections are served.
pub(crate) trait Listener: Clone + Send + Sync + 'static {
    /// Its name in the log, such as `internal`.
    const NAME: &'static str;

    /// The TLS that new connections speak from now on.
    fn tls(&self) -> Option<Arc<ServerConfig>>;

    /// The time for a TLS handshake and a request's head.
    fn head_time(&self) -> Duration;

    /// Serves a connection, whose first head must be whole within this time.
    fn serve(
        self,
        stream: Box<dyn Stream>,
        seat: Seat,
        head_time: Duration,
    ) -> impl Future<Output = ()> + Send;
}

/// Binds the address, so that an address in use is an error before anything else listens.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the listener fails for good.
pub(crate) async fn run<L: Listener>(
    socket: TcpListener,
    places: Arc<Places>,
    listener: L,
) -> io::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket)?;
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let listener = listener.clone();
                places.serve(|seat| begin(stream, seat, listener)).await;
                // The new connection reads what has arrived before others can crowd it out.
                task::yield_now().await;
            }
            Err(error) => {
                warn!(%error, listener = L::NAME, "a listener cannot accept");
                time::sleep(BACKOFF).await;
            }
        }
    }
}

/// Does the TLS handshake, if there is one. Its time is part of the time for the head.
async fn begin<L: Listener>(stream: TcpStream, seat: Seat, listener: L) {
    // Answers are written whole, and would otherwise wait for the peer's acknowledgement of the last one.
    let _ = stream.set_nodelay(true);
    let head_time = listener.head_time();
    let Some(tls) = listener.tls() else {
        return listener.serve(Box::new(stream), seat, head_time).await;
    };
    let began = Instant::now();
    let handshake = TlsAcceptor::from(tls).accept(stream);
    match time::timeout(head_time, handshake).await {
        Ok(Ok(stream)) => {
            let left = head_time.saturating_sub(began.elapsed());
            let left = left.max(HEAD_TIME_MIN);
            listener.serve(Box::new(stream), seat, left).await;
        }
        Ok(Err(error)) => debug!(%error, listener = L::NAME, "a TLS handshake failed"),
        Err(_) => debug!(listener = L::NAME, "a TLS handshake took too long"),
    }
}
