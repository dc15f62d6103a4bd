//! The certificates of a run, and the load's TLS configuration, which trusts only them.

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The name in certificates: all servers are on this machine.
const NAME: &str = "localhost";
/// Most stored tickets, more than connections are in progress at a time.
const TICKETS_MAX: usize = 1024;

/// Files of the server's certificate, and of the authority that issued it.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The server's certificate, in PEM.
    pub certificate: PathBuf,
    /// The server's key, in PEM.
    pub key: PathBuf,
    /// The authority's certificate, in PEM.
    pub authority: PathBuf,
}

impl Certificates {
    /// Makes new certificates (ECDSA, P-256) for this run only.
    pub fn make(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let root = authority.self_signed(&authority_key)?;
        let key = KeyPair::generate()?;
        let names = vec![NAME.to_owned(), "127.0.0.1".to_owned()];
        let issuer = Issuer::new(authority, authority_key);
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let file = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        Ok(Self {
            certificate: file("certificate.pem", certificate.pem())?,
            key: file("key.pem", key.serialize_pem())?,
            authority: file("authority.pem", root.pem())?,
        })
    }
}

/// The load's TLS configuration; clones share the sessions that may be resumed.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    resumes: bool,
}

impl Client {
    /// A configuration that trusts only the authority in this file.
    pub fn trusting(authority: &Path, resumes: bool) -> Result<Self> {
        let named = || authority.display().to_string();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority).with_context(named)? {
            roots
                .add(certificate.with_context(named)?)
                .with_context(named)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = match resumes {
            true => Resumption::store(Arc::new(Tickets::default())),
            false => Resumption::disabled(),
        };
        Ok(Self {
            config: Arc::new(config),
            resumes,
        })
    }

    /// Whether connections resume the sessions of earlier ones.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// The TLS state of a new connection.
    pub fn connection(&self) -> Result<ClientConnection> {
        let name = ServerName::try_from(NAME).expect("the name is a valid one");
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        // The load itself bounds the bytes that it has in flight.
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}

/// Tickets of TLS 1.3, each for one connection. The store that rustls has keeps eight for each
/// server, too few for a load in which many connections end at the same time.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() < TICKETS_MAX {
            tickets.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    // The hint is not needed: rustls offers the server's preferred key exchange first anyway, and
    // TLS 1.2 sessions are not resumed.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::link::{Buffers, Link, Received};
    use rustix::fd::OwnedFd;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    /// Accepts this many connections; each echoes one message and closes in order.
    fn echo(certificates: &Certificates, connections: usize) -> SocketAddr {
        let chain = vec![CertificateDer::from_pem_file(&certificates.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&certificates.key).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for _ in 0..connections {
                let (socket, _) = listener.accept().unwrap();
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(tls, socket);
                let mut said = [0; 5];
                if stream.read_exact(&mut said).is_ok() {
                    stream.write_all(&said).unwrap();
                    stream.conn.send_close_notify();
                    stream.flush().unwrap();
                    // Waits until the client ends the connection too.
                    let _ = stream.sock.read_to_end(&mut Vec::new());
                }
            }
        });
        address
    }

    /// Sends a greeting; returns whether it came back, and whether the session was resumed.
    fn hello(client: &Client, address: SocketAddr) -> Result<bool> {
        let socket = OwnedFd::from(TcpStream::connect(address)?);
        let mut link = Link::new(socket, Some(client.connection()?));
        link.send(b"hello")?;
        let (mut buffers, mut heard) = (Buffers::new(), Vec::new());
        loop {
            match link.receive(&mut buffers)? {
                Received::Nothing => {}
                Received::Bytes(bytes) => heard.extend_from_slice(bytes),
                Received::End => break,
            }
        }
        assert_eq!(heard, b"hello");
        Ok(link.was_resumed())
    }

    #[test]
    fn client_trusts_the_authority_of_the_run_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let own = Certificates::make(&directory.path().join("own")).unwrap();
        let other = Certificates::make(&directory.path().join("other")).unwrap();
        let address = echo(&own, 2);
        let stranger = Client::trusting(&other.authority, false).unwrap();
        let refused = format!("{:#}", hello(&stranger, address).unwrap_err());
        assert!(refused.contains("certificate"), "{refused}");
        let client = Client::trusting(&own.authority, false).unwrap();
        assert!(!hello(&client, address).unwrap());
    }

    #[test]
    fn client_resumes_only_when_it_shall() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(directory.path()).unwrap();
        for resumes in [true, false] {
            let address = echo(&certificates, 2);
            let client = Client::trusting(&certificates.authority, resumes).unwrap();
            let resumed = [(); 2].map(|()| hello(&client, address).unwrap());
            assert_eq!(resumed, [false, resumes]);
        }
    }
}
