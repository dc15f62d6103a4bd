//! An HTTP client whose answers are bounded in bytes and in time, and which follows no redirect.

use std::{error::Error as _, fmt, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};
use thiserror::Error;
use tokio::time;

/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// The most that is read of a body that means nothing, and for how long. A connection with more of it is given up.
const REST_BYTES_MAX: usize = 16 << 10;
const REST_TIME_MAX: Duration = Duration::from_millis(250);

/// What programs of the other side see of this one.
pub const USER_AGENT: &str = concat!("hubbub/", env!("CARGO_PKG_VERSION"));

/// The time for which a connection is kept that nobody uses. Some servers close theirs after five seconds, and a
/// request that meets the end of its connection is lost.
const KEPT_IDLE: Duration = Duration::from_secs(4);

type Connector = HttpsConnector<HttpConnector>;

/// A client, for `http://` and `https://`.
#[derive(Clone)]
pub struct Client(legacy::Client<Connector, Full<Bytes>>);

/// What an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes of its body.
    pub bytes_max: usize,
    /// The longest time from the request to the last byte of the answer.
    pub time: Duration,
}

/// Why there is no answer that can be used. No text of it has anything of the URL but perhaps its host.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Failure {
    /// The answer was not whole in time.
    #[error("there was no whole answer within {}", humantime::format_duration(*.0))]
    TooSlow(Duration),
    /// No connection, or it broke.
    #[error("the request failed: {0}")]
    Broken(String),
    /// It points elsewhere.
    #[error("the answer is a redirect ({0}), and none is followed: name the URL that it leads to")]
    Redirect(StatusCode),
    /// It has another status than 200.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// It has more bytes than it may have.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Client {
    /// A client that trusts the servers of these authorities.
    ///
    /// # Errors
    /// When there is no TLS 1.2 or 1.3.
    pub fn new(authorities: RootCertStore) -> anyhow::Result<Self> {
        // Its requests come minutes apart.
        Self::keeping(authorities, 0)
    }

    /// The same, which keeps this many connections for its next requests.
    ///
    /// # Errors
    /// When there is no TLS 1.2 or 1.3.
    pub fn keeping(authorities: RootCertStore, idle_max: usize) -> anyhow::Result<Self> {
        let tls = tls()?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        Ok(Self::with_tls(tls, idle_max))
    }

    /// A client that speaks TLS in this way, and keeps this many connections for its next requests.
    pub fn with_tls(tls: ClientConfig, idle_max: usize) -> Self {
        let mut plain = HttpConnector::new();
        // Otherwise it would refuse https://, which is made of its connections.
        plain.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle_max)
            .pool_idle_timeout(KEPT_IDLE)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Self(client)
    }

    /// Asks for a document. Only an answer with the status 200 is one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self, uri: &Uri, accept: &str, bounds: Bounds) -> Result<Bytes, Failure> {
        let request = Request::get(uri)
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::default())
            .map_err(|error| Failure::Broken(error.to_string()))?;
        self.document(request, bounds).await
    }

    /// Sends a request for a document, as [`get`](Self::get) does.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn document(
        &self,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
    ) -> Result<Bytes, Failure> {
        within(bounds, async {
            let answer = self.ask(request).await?;
            match answer.status() {
                StatusCode::OK => whole(answer.into_body(), bounds).await,
                status if status.is_redirection() => Err(Failure::Redirect(status)),
                status => Err(Failure::Status(status)),
            }
        })
        .await
    }

    /// Sends a document. Any answer with a status of 200 to 299 takes it; the body of the answer means nothing, and
    /// is read only as far as it takes to use the connection again.
    ///
    /// # Errors
    /// Why it is not taken, as far as anybody knows: it may have come all the same.
    pub async fn post<const FIELDS: usize>(
        &self,
        uri: &Uri,
        fields: [(HeaderName, HeaderValue); FIELDS],
        body: Bytes,
        time: Duration,
    ) -> Result<(), Failure> {
        let mut request = Request::post(uri)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(body))
            .map_err(|error| Failure::Broken(error.to_string()))?;
        request.headers_mut().extend(fields);
        let answer = time::timeout(time, self.ask(request)).await;
        let answer = answer.map_err(|_| Failure::TooSlow(time))??;
        match answer.status() {
            status if status.is_success() => {}
            status if status.is_redirection() => return Err(Failure::Redirect(status)),
            status => return Err(Failure::Status(status)),
        }
        let rest = Limited::new(answer.into_body(), REST_BYTES_MAX).collect();
        let _ = time::timeout(REST_TIME_MAX.min(time), rest).await;
        Ok(())
    }

    /// Sends a request, and returns the answer whatever its status is.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, Failure> {
        within(bounds, async {
            let (head, body) = self.ask(request).await?.into_parts();
            Ok(Response::from_parts(head, whole(body, bounds).await?))
        })
        .await
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let answer = self.0.request(request).await;
        answer.map_err(|error| Failure::Broken(with_causes(&error)))
    }
}

async fn within<T>(
    bounds: Bounds,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let answer = time::timeout(bounds.time, exchange).await;
    answer.unwrap_or(Err(Failure::TooSlow(bounds.time)))
}

async fn whole(body: Incoming, bounds: Bounds) -> Result<Bytes, Failure> {
    let body = Limited::new(body, bounds.bytes_max).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => Failure::TooLong(bounds.bytes_max),
        false => Failure::Broken(error.to_string()),
    })?;
    Ok(body.to_bytes())
}

/// The beginning of a configuration of TLS for clients.
///
/// # Errors
/// When there is no TLS 1.2 or 1.3.
pub fn tls() -> anyhow::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .context("TLS 1.2 and 1.3 are not available")
}

/// The text of an error of the client alone does not say what has happened.
fn with_causes(error: &legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
