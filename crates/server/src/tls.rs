//! Reads certificates and keys from their files, and builds the TLS configurations with them.
//!
//! *Invariant:* a certificate and its key are used only if they work together.

use std::{
    fmt, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, bail};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{
        NoServerSessionStorage, ProducesTickets, WantsServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    version::{TLS12, TLS13},
};
use tracing::{info, warn};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, x509::X509Version};

use crate::{faults::Faults, settings::Settings};

/// The TLS of all listeners, according to the current settings.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// The TLS of the public addresses.
    pub public: Option<Secured>,
    /// The TLS of the internal listener.
    pub internal: Option<Secured>,
    /// The TLS of the API.
    pub api: Option<Secured>,
}

/// The TLS of one listener.
#[derive(Clone, Debug)]
pub struct Secured {
    /// The configuration for handshakes.
    pub config: Arc<ServerConfig>,
    /// When the first certificate of its chain expires, in seconds since 1970 (notAfter).
    pub expires: i64,
    /// The setting and the file of the certificate, for people.
    named: String,
}

/// The keys of tickets. They outlive the certificates, so that clients resume sessions after a reload.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

/// A file, and the setting that names it.
#[derive(Clone, Copy)]
struct Named<'a> {
    key: &'static str,
    path: &'a Path,
}

impl Tickets {
    /// Creates keys, which change every six hours.
    ///
    /// # Errors
    /// When the kernel provides no random bytes.
    pub fn new() -> anyhow::Result<Self> {
        let tickets = aws_lc_rs::Ticketer::new().context("cannot create keys for TLS tickets")?;
        Ok(Self(tickets))
    }
}

impl Listeners {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// When files cannot be read or used. The error lists all of them, each with the setting that
    /// names it and a remedy.
    pub fn load(settings: &Settings, tickets: &Tickets) -> Result<Self, Faults> {
        let s = settings;
        let mut faults = Faults::default();
        let pair = Pair::read(
            named("tls_cert", s.tls_cert.as_deref()),
            named("tls_key", s.tls_key.as_deref()),
            &mut faults,
        );
        let public = pair.and_then(|pair| faults.note(Secured::public(pair, tickets)));
        let mut known = |cert, key, clients| {
            let pair = Pair::read(cert, key, &mut faults);
            let clients: Option<Named<'_>> = clients;
            let verifier = clients.and_then(|clients| faults.note(verifier(clients)));
            pair.and_then(|pair| faults.note(Secured::for_known(pair, verifier)))
        };
        let internal = known(
            named("internal_tls_cert", s.internal_tls_cert.as_deref()),
            named("internal_tls_key", s.internal_tls_key.as_deref()),
            named(
                "internal_tls_client_ca",
                s.internal_tls_client_ca.as_deref(),
            ),
        );
        let api = known(
            named("api_tls_cert", s.api_tls_cert.as_deref()),
            named("api_tls_key", s.api_tls_key.as_deref()),
            named("api_tls_client_ca", s.api_tls_client_ca.as_deref()),
        );
        faults.into_result(Some(Self {
            public,
            internal,
            api,
        }))
    }

    /// The number of listeners that have a certificate.
    pub fn count(&self) -> usize {
        self.secured().count()
    }

    /// Logs when the certificates expire.
    pub fn announce(&self) {
        for (listener, tls) in self.secured() {
            match tls.expired() {
                Some(expired) => warn!(listener, "{expired}"),
                None => {
                    let expires = date(tls.expires);
                    let days = (tls.expires - now()) / (24 * 3600);
                    info!(listener, expires, days, "certificate loaded");
                }
            }
        }
    }

    /// Tells of certificates that have expired: the server still uses them, but clients refuse them.
    pub fn expired(&self) -> impl Iterator<Item = String> {
        self.secured().filter_map(|(_, tls)| tls.expired())
    }

    /// The listeners that have TLS.
    fn secured(&self) -> impl Iterator<Item = (&'static str, &Secured)> {
        let listeners = [
            ("public", &self.public),
            ("internal", &self.internal),
            ("api", &self.api),
        ];
        let listeners = listeners.into_iter();
        listeners.filter_map(|(name, tls)| Some((name, tls.as_ref()?)))
    }
}

/// The contents of the two files of a listener.
struct Pair<'a> {
    cert: Named<'a>,
    chain: Vec<CertificateDer<'static>>,
    expires: i64,
    key: Named<'a>,
    private: PrivateKeyDer<'static>,
}

impl<'a> Pair<'a> {
    /// Reads both files, even if one of them has faults, so that all faults are reported.
    fn read(cert: Option<Named<'a>>, key: Option<Named<'a>>, faults: &mut Faults) -> Option<Self> {
        let certified = cert.and_then(|cert| {
            let chain = chain(cert).and_then(|chain| Ok((expiry(cert, &chain)?, chain)));
            faults.note(chain).map(|read| (cert, read))
        });
        let private = key.and_then(|key| Some((key, faults.note(private_key(key))?)));
        let ((cert, (expires, chain)), (key, private)) = certified.zip(private)?;
        Some(Self {
            cert,
            chain,
            expires,
            key,
            private,
        })
    }

    /// The TLS with this pair, as `adapt` leaves it.
    fn with(
        self,
        builder: Builder<WantsServerCert>,
        adapt: impl FnOnce(&mut ServerConfig),
    ) -> anyhow::Result<Secured> {
        let Self { cert, key, .. } = self;
        let mut config = builder
            .with_single_cert(self.chain, self.private)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => anyhow!(
                    "{key} is not the key of the certificate in {cert}: name two files that belong \
                     together, with the server's own certificate first"
                ),
                error => anyhow!(
                    "{key} and {cert} cannot be used: {error}; \
                     keys must be RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519"
                ),
            })?;
        // The server stores no sessions: clients resume with a ticket that they keep.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        adapt(&mut config);
        Ok(Secured {
            config: Arc::new(config),
            expires: self.expires,
            named: cert.to_string(),
        })
    }
}

impl Secured {
    fn public(pair: Pair<'_>, tickets: &Tickets) -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = versions(provider)?.with_no_client_auth();
        pair.with(builder, |config| {
            // Clients without ALPN are served, too; clients that offer only other protocols are refused.
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            config.ticketer = tickets.0.clone();
        })
    }

    /// For the operator's own programs. Sessions are not resumed, because that would skip the check of the client's
    /// certificate.
    fn for_known(
        pair: Pair<'_>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> anyhow::Result<Self> {
        let builder = versions(Arc::new(aws_lc_rs::default_provider()))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        pair.with(builder, |config| {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        })
    }

    /// Says that its certificate has expired, if it has.
    fn expired(&self) -> Option<String> {
        let Self { named, expires, .. } = self;
        (*expires < now()).then(|| format!("{named} has expired, at {}", date(*expires)))
    }
}

type Builder<State> = rustls::ConfigBuilder<ServerConfig, State>;

fn versions(provider: Arc<CryptoProvider>) -> anyhow::Result<Builder<rustls::WantsVerifier>> {
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .context("TLS 1.2 and 1.3 are not available")
}

/// Verifies clients' certificates: an authority in this file must have signed them.
fn verifier(clients: Named<'_>) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    const REMEDY: &str =
        "it must be PEM: the certificates of the authorities that sign clients' certificates";
    let roots = roots(clients, REMEDY)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier
        .build()
        .map_err(|error| unfit(clients, &error, REMEDY))
}

/// The authorities in a file, for requests of the server's own.
///
/// # Errors
/// When the file cannot be read or used.
pub fn authorities(key: &'static str, path: &Path) -> anyhow::Result<RootCertStore> {
    const REMEDY: &str =
        "it must be PEM: the certificates of the authorities that sign the other server's";
    roots(Named { key, path }, REMEDY)
}

/// The authorities that this system trusts; `wanted` is the setting that needs them, and `instead` the one that
/// may name others.
///
/// # Errors
/// When there are none.
pub fn authorities_of_system(wanted: &str, instead: &str) -> anyhow::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found
            .errors
            .first()
            .map_or(String::new(), |error| format!(" ({error})"));
        bail!(
            "{wanted}: this system has no certificates of authorities{why}: install them (the package \
             ca-certificates), or name a file with them in {instead}"
        );
    }
    Ok(roots)
}

/// A certificate with its chain, and its key, for requests of the server's own or of a subcommand.
///
/// # Errors
/// When a file cannot be read or used.
pub fn identity(
    (cert, chain_path): (&'static str, &Path),
    (key, path): (&'static str, &Path),
) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let path_of_chain = Named {
        key: cert,
        path: chain_path,
    };
    Ok((chain(path_of_chain)?, private_key(Named { key, path })?))
}

/// The first certificate of a file.
///
/// # Errors
/// When the file cannot be read or used.
pub fn certificate(key: &'static str, path: &Path) -> anyhow::Result<CertificateDer<'static>> {
    let mut chain = chain(Named { key, path })?;
    Ok(chain.swap_remove(0))
}

/// A private key, to sign with.
///
/// # Errors
/// When the file cannot be read or used.
pub fn signing_key(key: &'static str, path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    private_key(Named { key, path })
}

fn roots(file: Named<'_>, remedy: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for root in chain(file)? {
        roots
            .add(root)
            .map_err(|error| unfit(file, &error, remedy))?;
    }
    Ok(roots)
}

/// The certificates of a file, in its order.
fn chain(cert: Named<'_>) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    const REMEDY: &str =
        "it must be PEM: one or more blocks of BEGIN CERTIFICATE, the server's own first";
    let text = read(cert)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| unfit(cert, &error, REMEDY))?;
    if chain.is_empty() {
        bail!("{cert} has no certificate; {REMEDY}");
    }
    Ok(chain)
}

fn private_key(key: Named<'_>) -> anyhow::Result<PrivateKeyDer<'static>> {
    const REMEDY: &str =
        "it must be PEM, without a passphrase: BEGIN PRIVATE KEY, or EC or RSA PRIVATE KEY";
    let text = read(key)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        // In the block's name, or in a line at its beginning.
        _ if String::from_utf8_lossy(&text).contains("ENCRYPTED") => anyhow!(
            "{key} is encrypted: remove its passphrase (openssl pkey -in {} -out NEW), and name the \
             new file",
            key.path.display()
        ),
        pem::Error::NoItemsFound => anyhow!("{key} has no private key; {REMEDY}"),
        error => unfit(key, &error, REMEDY),
    })
}

fn read(file: Named<'_>) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file.path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => "the server's user must be able to read it",
            _ => "name an existing file; a relative path starts at the working directory",
        };
        anyhow!("{file} cannot be read: {error}; {remedy}")
    })
}

fn unfit(file: Named<'_>, error: &dyn fmt::Display, remedy: &str) -> anyhow::Error {
    anyhow!("{file} cannot be used: {error}; {remedy}")
}

/// When the first certificate of a chain expires; clients refuse a chain with an expired one. The
/// server's own must be of version 3, because only that has names (RFC 5280 section 4.1.2.1).
fn expiry(cert: Named<'_>, chain: &[CertificateDer<'_>]) -> anyhow::Result<i64> {
    let mut earliest = i64::MAX;
    for (at, certificate) in chain.iter().enumerate() {
        let parsed = X509Certificate::from_der(certificate);
        let (_, parsed) = parsed
            .map_err(|error| unfit(cert, &error, "its certificates must be X.509, in PEM"))?;
        if at == 0 && parsed.version() != X509Version::V3 {
            bail!(
                "{cert} is a certificate of version {}, which has no names, so that browsers refuse it, \
                 too: make one of version 3 (openssl x509 -req … -extfile FILE, where FILE has the \
                 line subjectAltName=DNS:HOST)",
                parsed.version().0 + 1
            );
        }
        earliest = earliest.min(parsed.validity().not_after.timestamp());
    }
    Ok(earliest)
}

fn named<'a>(key: &'static str, path: Option<&'a Path>) -> Option<Named<'a>> {
    path.map(|path| Named { key, path })
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs().cast_signed())
}

/// A time in seconds since 1970, for people.
pub(crate) fn date(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.key, self.path.display())
    }
}
