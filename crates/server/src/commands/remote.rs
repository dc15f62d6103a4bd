//! A server that runs, asked over HTTP: how it is trusted, and what is said when it does not answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::{Request, Response};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::backend::{self, Bounds, Client, Failure};
use crate::settings::Url;
use crate::tls;

/// How the server is trusted, and what it is shown, where it speaks TLS.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// File with the authorities that sign the server's certificate, in PEM; the system's by default
    #[arg(long, value_name = "PATH")]
    pub ca: Option<PathBuf>,

    /// File with the certificate to show to the server, and its chain, in PEM
    #[arg(long, value_name = "PATH", requires = "client_key")]
    pub client_cert: Option<PathBuf>,

    /// File with the key of client_cert, in PEM
    #[arg(long, value_name = "PATH", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

/// Which certificates of a server are good without an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// None.
    No,
    /// The one that its settings name.
    This(CertificateDer<'static>),
    /// Any: it is on this machine, and nothing that it must not know is sent.
    Any,
}

impl Trust {
    /// A client for the server of this URL.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn client(&self, url: &Url, known: Known) -> anyhow::Result<Client> {
        let tls = backend::tls()?;
        let tls = match (known, &self.ca, url.is_encrypted()) {
            (_, Some(path), _) => tls.with_root_certificates(tls::authorities("--ca", path)?),
            (_, None, false) => tls.with_root_certificates(RootCertStore::empty()),
            (Known::No, None, true) => {
                tls.with_root_certificates(tls::authorities_of_system("--url", "--ca")?)
            }
            (known, None, true) => {
                let verifier = Pinned {
                    known,
                    provider: aws_lc_rs::default_provider(),
                };
                tls.dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        Ok(Client::with_tls(self.shown(tls)?, 0))
    }

    fn shown(
        &self,
        tls: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> anyhow::Result<ClientConfig> {
        let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) else {
            return Ok(tls.with_no_client_auth());
        };
        let (chain, key) = tls::identity(("--client-cert", cert), ("--client-key", key))?;
        tls.with_client_auth_cert(chain, key)
            .context("--client-cert and --client-key do not belong together")
    }
}

/// Accepts a certificate by itself, and demands that the server has its key.
#[derive(Debug)]
struct Pinned {
    known: Known,
    provider: CryptoProvider,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_good = match &self.known {
            Known::No => false,
            Known::This(known) => known == end_entity,
            Known::Any => true,
        };
        match is_good {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General(
                "the server has another certificate than its settings name: reload it, or name the \
                 authority of that one with --ca"
                    .to_owned(),
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Sends a request, and returns the answer whatever its status is.
///
/// # Errors
/// Why there is none.
pub fn exchange(
    client: &Client,
    request: Request<Full<Bytes>>,
    bounds: Bounds,
) -> anyhow::Result<Result<Response<Bytes>, Failure>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for a request can be started")?;
    let answer = runtime.block_on(client.exchange(request, bounds));
    // A lookup of a name that takes its time must not keep the process.
    runtime.shutdown_background();
    Ok(answer)
}

/// What a request may take.
pub fn bounds(time: Duration) -> Bounds {
    Bounds {
        bytes_max: ANSWER_BYTES_MAX,
        time,
    }
}

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A URL and a path behind it.
///
/// # Errors
/// When they make no URL together.
pub fn at(url: &Url, path: &str) -> anyhow::Result<Url> {
    let base = url.uri().to_string();
    let base = base.split(['?', '#']).next().unwrap_or_default();
    let whole = format!("{}{path}", base.trim_end_matches('/'));
    crate::settings::url_of(&whole).map_err(|error| anyhow!("{whole}: {error}"))
}

/// Reads the value of `--url`.
///
/// # Errors
/// When it is none.
pub fn url(text: &str) -> Result<Url, String> {
    let url = crate::settings::url_of(text);
    url.map_err(|_| "not a whole URL: write http://HOST:PORT or https://HOST:PORT".to_owned())
}
