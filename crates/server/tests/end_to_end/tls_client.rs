//! Servers and clients with TLS: an authority for tests, and the certificates that it signs.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;

use crate::{
    client::{Client, Response, get_internal},
    harness::{Driver, Server, command},
    wire::{self, Raw},
};

/// A stream under TLS.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The year at whose beginning certificates expire, unless a test says otherwise.
pub const EXPIRES: i32 = 2090;

/// An authority, with a directory for what it signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
    dir: TempDir,
}

/// A certificate and its key, in files.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority of tests");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("root.pem"), &root).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            root,
            dir,
        }
    }

    /// The authority's own certificate, in a file.
    pub fn root(&self) -> PathBuf {
        self.file("root.pem")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Signs a pair for localhost, in files of this name, which are replaced if they exist.
    pub fn issue(&self, name: &str) -> Pair {
        self.issue_until(name, EXPIRES)
    }

    pub fn issue_until(&self, name: &str, year: i32) -> Pair {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            cert: self.file(&format!("{name}.pem")),
            key: self.file(&format!("{name}.key")),
        };
        // The whole chain, as authorities hand it out.
        fs::write(&pair.cert, signed.pem() + &self.root).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    /// The trust store of a client that trusts this authority.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap();
        roots.add(root).unwrap();
        roots
    }
}

impl Pair {
    /// The flags to serve with it.
    pub fn flags(&self) -> [&str; 4] {
        [
            "--tls-cert",
            self.cert.to_str().unwrap(),
            "--tls-key",
            self.key.to_str().unwrap(),
        ]
    }

    /// The same for the internal listener.
    pub fn internal_flags(&self) -> [&str; 4] {
        [
            "--internal-tls-cert",
            self.cert.to_str().unwrap(),
            "--internal-tls-key",
            self.key.to_str().unwrap(),
        ]
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = CertificateDer::pem_file_iter(&self.cert).unwrap();
        chain.map(Result::unwrap).collect()
    }

    pub fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).unwrap()
    }
}

/// A server with TLS, and the authority of its certificate.
pub struct Secure {
    pub server: Server,
    pub authority: Authority,
    pub pair: Pair,
    /// The configuration of a good client, whose sessions are resumed.
    pub config: Arc<ClientConfig>,
}

impl Secure {
    pub fn start(driver: Driver, flags: &[&str]) -> Self {
        Self::launch(command(), driver, flags)
    }

    /// Starts it with this command.
    pub fn launch(command: Command, driver: Driver, flags: &[&str]) -> Self {
        let authority = Authority::new();
        let pair = authority.issue("server");
        let flags = [&["--driver", driver.name()], &pair.flags()[..], flags].concat();
        let server = Server::launch(command, &flags);
        let config = Arc::new(config(&authority, &[&TLS13, &TLS12]));
        Self {
            server,
            authority,
            pair,
            config,
        }
    }

    pub fn stream(&self) -> Stream {
        self.over(wire::connect(self.server.address()))
    }

    pub fn over(&self, stream: TcpStream) -> Stream {
        over(stream, &self.config)
    }

    pub fn connect(&self, path: &str) -> Client<Stream> {
        Client::over(self.stream(), path, &[]).expect("101")
    }

    pub fn raw(&self, path: &str) -> Raw<Stream> {
        Raw::over(self.stream(), wire::upgrade(path))
    }

    /// A connection with a small receive buffer, which shows soon that its peer does not read.
    pub fn narrow(&self, path: &str) -> Raw<Stream> {
        let stream = wire::connect_narrow(self.server.address(), 4096);
        Raw::over(self.over(stream), wire::upgrade(path))
    }

    pub fn get(&self, path: &str) -> Response {
        let mut stream = self.stream();
        stream
            .write_all(wire::request("GET", path, &[]).as_bytes())
            .unwrap();
        Response::read_from(&mut stream)
    }

    /// Whether a new connection echoes.
    pub fn serves(&self) -> bool {
        let mut client = self.connect("/echo");
        client.send("are you there?");
        client.text() == "are you there?"
    }

    /// How many connections have ended for this reason.
    pub fn ended(&self, reason: &str) -> u64 {
        ended(&self.server, reason)
    }
}

/// How many connections have ended for this reason, or for any (`""`).
pub fn ended(server: &Server, reason: &str) -> u64 {
    let label = match reason {
        "" => "reason=".to_owned(),
        reason => format!("reason=\"{reason}\""),
    };
    sum(server, "hubbub_connections_ended_total{", &label)
}

/// The sum of all series that begin with this text and contain that one.
pub fn sum(server: &Server, series: &str, label: &str) -> u64 {
    let page = String::from_utf8(get_internal(server, "/metrics").body).unwrap();
    let lines = page.lines().filter(|line| line.starts_with(series));
    let values = lines
        .filter(|line| line.contains(label))
        .filter_map(|line| line.rsplit_once(' '));
    values.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

/// A client's configuration.
pub fn config(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth()
}

/// A client that trusts this authority and shows this certificate.
pub fn config_with(authority: &Authority, shown: &Pair) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_client_auth_cert(shown.chain(), shown.private())
        .unwrap()
}

/// TLS over this stream; the handshake begins with the first byte that is written or read.
pub fn over(stream: TcpStream, config: &Arc<ClientConfig>) -> Stream {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), stream)
}

/// Completes the handshake, or returns how it failed.
pub fn handshake(stream: &mut Stream) -> Result<(), std::io::Error> {
    stream.conn.complete_io(&mut stream.sock).map(|_| ())
}

/// All records that the server sends until it stops or resets, without decrypting them.
pub fn records(stream: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("receiving failed: {error}"),
        }
    }
    let mut records = Vec::new();
    let mut rest = &bytes[..];
    while let [kind, _, _, high, low, content @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        records.push((*kind, content[..length].to_vec()));
        rest = &content[length..];
    }
    assert!(rest.is_empty(), "half a record: {rest:?}");
    records
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
