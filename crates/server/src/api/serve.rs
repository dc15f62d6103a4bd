//! Serves the connections of the API: one request after the other, each within bounded time.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::time;
use tracing::debug;

use super::{Api, patience::Patient};
use crate::{
    listening::{Listener, Stream},
    places::{Doing, Seat},
};

/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// For how long a connection may wait for its next request.
const IDLE_TIME: Duration = Duration::from_secs(75);

impl Listener for Api {
    const NAME: &'static str = "api";

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        (**self.0.tls.load()).clone()
    }

    fn head_time(&self) -> Duration {
        self.rules().timeout
    }

    async fn serve(self, stream: Box<dyn Stream>, seat: Seat, head_time: Duration) {
        let has_begun = AtomicBool::new(false);
        let (api, seat) = (&self, &seat);
        let service = service_fn(|request: Request<Incoming>| {
            has_begun.store(true, Ordering::Relaxed);
            seat.begin(Doing::Page);
            async move {
                let answer = api.respond(request).await;
                seat.begin(Doing::Waiting);
                Ok::<_, Infallible>(answer)
            }
        });
        let patience = self.rules().timeout;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIME)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Patient::new(stream, patience)), service);
        let mut connection = pin!(connection);
        // The first request must come soon. Behind it the connection may be kept for others.
        let served = match time::timeout(head_time, &mut connection).await {
            Ok(served) => served,
            Err(_) if has_begun.load(Ordering::Relaxed) => connection.await,
            Err(_) => return debug!("a connection of the API has sent no request in time"),
        };
        if let Err(error) = served {
            debug!(%error, "a connection of the API failed");
        }
    }
}
