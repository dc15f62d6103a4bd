//! Certificates: refusals before anything listens, changes by SIGHUP, and the internal listener's
//! TLS.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use rustix::process::Signal;
use rustls::{
    ClientConfig, HandshakeKind,
    pki_types::CertificateDer,
    version::{TLS12, TLS13},
};

use crate::{
    client::{Client, Response, get_internal},
    harness::{Driver, Server, command, eventually, run},
    tls_client::{
        Authority, EXPIRES, Pair, Secure, Stream, config, config_with, handshake, over, text,
    },
    wire,
};

on_both_drivers![
    certificate_that_is_renewed_is_served_after_sighup_and_nobody_is_dropped,
    certificate_that_is_bad_is_refused_and_the_old_stays,
    session_is_resumed_after_a_reload,
    tls_begins_and_ends_with_a_restart_alone,
    files_that_are_of_no_use_are_refused_before_anything_listens,
    internal_listener_speaks_tls,
    internal_listener_serves_clients_with_certificates_alone,
    internal_listener_takes_other_certificates_after_sighup,
    page_of_the_same_host_over_tls_may_connect,
];

impl Secure {
    fn reload_until(&self, said: &str) {
        self.server.signal(Signal::HUP);
        eventually(said, || self.server.log().contains(said));
    }

    /// The server's own certificate, as a new connection sees it.
    fn presented(&self) -> CertificateDer<'static> {
        presented(&mut self.stream())
    }
}

fn presented(stream: &mut Stream) -> CertificateDer<'static> {
    handshake(stream).unwrap();
    stream.conn.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

/// When a listener's certificate expires, according to the metrics.
fn expiry(server: &Server, listener: &str) -> String {
    let page = String::from_utf8(get_internal(server, "/metrics").body).unwrap();
    expiry_in(&page, listener)
}

fn expiry_in(page: &str, listener: &str) -> String {
    let series =
        format!("hubbub_tls_certificate_expiry_timestamp_seconds{{listener=\"{listener}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap().to_owned()
}

/// The seconds from 1970 to the beginning of a year.
fn beginning_of(year: i32) -> String {
    let days: i64 = (1970..i64::from(year))
        .map(|year| match (year % 4, year % 100, year % 400) {
            (0, 1.., _) | (_, _, 0) => 366,
            _ => 365,
        })
        .sum();
    (days * 24 * 60 * 60).to_string()
}

fn certificate_that_is_renewed_is_served_after_sighup_and_nobody_is_dropped(driver: Driver) {
    let secure = Secure::start(driver, &["--cores", "2"]);
    let old = secure.pair.chain()[0].clone();
    assert_eq!(secure.presented(), old);
    assert_eq!(expiry(&secure.server, "public"), beginning_of(EXPIRES));
    assert_eq!(expiry(&secure.server, "internal"), "0");
    let mut before: Vec<_> = (0..4).map(|_| secure.connect("/rooms/r")).collect();

    // The files keep their names, as with usual renewals.
    let renewed = secure.authority.issue_until("server", 2095);
    assert_eq!(secure.presented(), old, "files are read at a signal");
    secure.reload_until(" read again changed=0");
    // A core may apply it a moment later.
    eventually("the new one is served by all cores", || {
        (0..10).all(|_| secure.presented() == renewed.chain()[0])
    });
    // The root is part of the chain and expires with rcgen's default, far later.
    assert_eq!(expiry(&secure.server, "public"), beginning_of(2095));
    before[0].send("still here");
    for member in &mut before {
        assert_eq!(member.text(), "still here");
    }
}

fn certificate_that_is_bad_is_refused_and_the_old_stays(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let old = secure.pair.chain()[0].clone();
    let mut client = secure.connect("/echo");
    let other = secure.authority.issue("other");
    let good = (
        fs::read(&secure.pair.cert).unwrap(),
        fs::read(&secure.pair.key).unwrap(),
    );
    let mut refused = 0;
    let mut refuse = |why: &str| {
        secure.server.signal(Signal::HUP);
        refused += 1;
        eventually("it is refused", || {
            secure.server.log().matches("not reloaded").count() == refused
        });
        assert!(secure.server.log().contains(why), "{}", secure.server.log());
        assert_eq!(secure.presented(), old);
    };
    // Half renewed: the key of another certificate.
    fs::copy(&other.key, &secure.pair.key).unwrap();
    refuse("tls_key");
    fs::write(&secure.pair.key, &good.1).unwrap();
    fs::write(&secure.pair.cert, "nothing").unwrap();
    refuse("has no certificate");
    fs::remove_file(&secure.pair.cert).unwrap();
    refuse("cannot be read");
    client.send("as before");
    assert_eq!(client.text(), "as before");
    assert_eq!(expiry(&secure.server, "public"), beginning_of(EXPIRES));

    fs::write(&secure.pair.cert, &good.0).unwrap();
    secure.reload_until(" read again changed=0");
    assert!(secure.serves());
}

fn session_is_resumed_after_a_reload(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    assert!(secure.serves());
    secure.authority.issue("server");
    secure.reload_until(" read again changed=0");
    let mut client = secure.connect("/echo");
    client.send("again");
    assert_eq!(client.text(), "again");
    let kind = client.stream().conn.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Resumed));
}

fn tls_begins_and_ends_with_a_restart_alone(driver: Driver) {
    let authority = Authority::new();
    let pair = authority.issue("server");
    let file = authority.file("hubbub.toml");
    let (cert, key) = (text(&pair.cert), text(&pair.key));
    let with_tls = format!("tls_cert = \"{cert}\"\ntls_key = \"{key}\"\n");
    for (before, after, scheme) in [(&*with_tls, "", "https"), ("", &*with_tls, "http")] {
        fs::write(&file, before).unwrap();
        let mut command = command();
        command.args(["--driver", driver.name(), "--config", text(&file)]);
        let server = Server::launch(command, &[]);
        assert!(server.start_lines[0].contains(&format!(" {scheme}://")));
        fs::write(&file, format!("{after}max_connections = 77\n")).unwrap();
        server.signal(Signal::HUP);
        eventually("the rest is reloaded", || {
            server.log().contains(" read again changed=1")
        });
        for key in ["tls_cert", "tls_key"] {
            let waiting = format!("not changed before a restart: {key}");
            assert!(server.log().contains(&waiting), "{}", server.log());
        }
        let stream = wire::connect(server.address());
        match scheme {
            "https" => {
                let config = Arc::new(config(&authority, &[&TLS13]));
                handshake(&mut over(stream, &config)).unwrap();
            }
            _ => drop(Client::over(stream, "/echo", &[]).unwrap()),
        }
    }
}

#[track_caller]
fn refused(driver: Driver, flags: &[&str], words: &[&str]) {
    let mut command = command();
    command.args(["--driver", driver.name(), "--listen", "127.0.0.1:0"]);
    command.args(flags);
    let ended = run(command);
    assert!(!ended.status.success(), "{flags:?}");
    assert_eq!(ended.stdout, "", "it said that it listens");
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "{word:?} is not in:\n{}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

fn files_that_are_of_no_use_are_refused_before_anything_listens(driver: Driver) {
    let authority = Authority::new();
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let empty = authority.file("empty.pem");
    fs::write(&empty, "").unwrap();
    let garbled = authority.file("garbled.pem");
    let garbage = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    fs::write(&garbled, garbage).unwrap();
    let hollow = authority.file("hollow.pem");
    let no_x509 = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    fs::write(&hollow, no_x509).unwrap();
    let binary = authority.file("binary.der");
    fs::write(&binary, one.chain()[0].as_ref()).unwrap();
    let locked = authority.file("locked.key");
    let passphrase =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&locked, passphrase).unwrap();
    let missing = authority.file("missing.pem");
    let (cert, key) = (text(&one.cert), text(&one.key));

    let public = |cert: &Path, key: &Path, words: &[&str]| {
        refused(
            driver,
            &["--tls-cert", text(cert), "--tls-key", text(key)],
            words,
        );
    };
    refused(
        driver,
        &["--tls-cert", cert],
        &["tls_cert is set without tls_key", "leave tls_cert out"],
    );
    refused(
        driver,
        &["--tls-key", key],
        &["tls_key is set without tls_cert"],
    );
    public(
        &missing,
        &one.key,
        &[
            "tls_cert",
            "missing.pem",
            "cannot be read",
            "name an existing file",
        ],
    );
    public(
        &one.cert,
        &missing,
        &["tls_key", "missing.pem", "cannot be read"],
    );
    public(Path::new("/"), &one.key, &["tls_cert", "cannot be read"]);
    public(&empty, &one.key, &["tls_cert", "has no certificate", "PEM"]);
    public(&binary, &one.key, &["tls_cert", "PEM"]);
    public(&garbled, &one.key, &["tls_cert", "cannot be used", "PEM"]);
    public(&hollow, &one.key, &["tls_cert", "cannot be used", "X.509"]);
    public(&one.cert, &one.cert, &["tls_key", "has no private key"]);
    public(&one.cert, &locked, &["tls_key", "passphrase"]);
    public(
        &one.cert,
        &other.key,
        &["tls_key", "is not the key of", "tls_cert", "two files"],
    );
    public(&one.key, &one.key, &["tls_cert", "has no certificate"]);

    let internal = one.internal_flags();
    refused(
        driver,
        &internal[..2],
        &["internal_tls_cert is set without internal_tls_key"],
    );
    let clients = ["--internal-tls-client-ca", cert];
    refused(
        driver,
        &clients,
        &["internal_tls_client_ca is set without internal_tls_cert"],
    );
    let clients = ["--internal-tls-client-ca", text(&empty)];
    refused(
        driver,
        &[&internal[..], &clients].concat(),
        &["internal_tls_client_ca", "has no certificate"],
    );
}

fn start_internal(driver: Driver, pair: &Pair, flags: &[&str]) -> Server {
    let flags = [
        &["--driver", driver.name()],
        &pair.internal_flags()[..],
        flags,
    ]
    .concat();
    Server::launch(command(), &flags)
}

/// A page of the internal listener over TLS, or why there is none.
fn get_over(server: &Server, path: &str, config: &Arc<ClientConfig>) -> Result<Response, String> {
    let mut stream = over(wire::connect(server.internal()), config);
    let request = wire::request("GET", path, &["Connection: close"]);
    let sent = stream.write_all(request.as_bytes());
    sent.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    Ok(Response::parse(&bytes))
}

fn internal_listener_speaks_tls(driver: Driver) {
    let authority = Authority::new();
    let pair = authority.issue("internal");
    let server = start_internal(driver, &pair, &[]);
    assert!(server.start_lines[1].contains(" on https://"));
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(config(&authority, &[version]));
        assert_eq!(get_over(&server, "/healthz", &config).unwrap().status, 200);
        let metrics = get_over(&server, "/metrics", &config).unwrap();
        let page = String::from_utf8(metrics.body).unwrap();
        assert_eq!(expiry_in(&page, "internal"), beginning_of(EXPIRES));
        assert_eq!(expiry_in(&page, "public"), "0");
    }
    // The public port is unchanged.
    drop(Client::connect(&server, "/echo"));
    // A client without TLS is not served there, and keeps no other client from being served.
    let mut silent: Vec<_> = (0..20).map(|_| wire::connect(server.internal())).collect();
    let request = wire::request("GET", "/metrics", &[]);
    wire::send(&mut silent[0], request.as_bytes());
    let mut answer = Vec::new();
    let _ = silent[0].read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let config = Arc::new(config(&authority, &[&TLS13]));
    assert_eq!(get_over(&server, "/readyz", &config).unwrap().status, 200);
    // They have only the time for the head.
    for stream in &mut silent[1..] {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
}

fn internal_listener_serves_clients_with_certificates_alone(driver: Driver) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.issue("internal");
    let root = authority.root();
    let flags = ["--internal-tls-client-ca", text(&root)];
    let server = start_internal(driver, &pair, &flags);

    let known = Arc::new(config_with(&authority, &authority.issue("prometheus")));
    for _ in 0..3 {
        // No client is accepted because of an earlier check of its certificate.
        let mut stream = over(wire::connect(server.internal()), &known);
        handshake(&mut stream).unwrap();
        assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(get_over(&server, "/metrics", &known).unwrap().status, 200);
    }
    for version in [&TLS12, &TLS13] {
        let nobody = Arc::new(config(&authority, &[version]));
        let refused = get_over(&server, "/metrics", &nobody).unwrap_err();
        assert!(refused.contains("ertificate"), "{refused}");
    }
    let other = Arc::new(config_with(&authority, &stranger.issue("prometheus")));
    let refused = get_over(&server, "/metrics", &other).unwrap_err();
    assert!(refused.contains("lert"), "{refused}");
}

fn internal_listener_takes_other_certificates_after_sighup(driver: Driver) {
    let authority = Authority::new();
    let pair = authority.issue("internal");
    let server = start_internal(driver, &pair, &[]);
    let config = Arc::new(config(&authority, &[&TLS13]));
    let presented = || presented(&mut over(wire::connect(server.internal()), &config));
    assert_eq!(presented(), pair.chain()[0]);
    let renewed = authority.issue("internal");
    server.signal(Signal::HUP);
    eventually("it is reloaded", || {
        server.log().contains(" read again changed=0")
    });
    assert_eq!(presented(), renewed.chain()[0]);
}

fn page_of_the_same_host_over_tls_may_connect(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    for (origin, status) in [
        ("https://localhost", None),
        ("https://localhost:443", None),
        ("http://localhost", Some(403)),
        ("https://localhost:8443", Some(403)),
        ("https://example.com", Some(403)),
    ] {
        let got = Client::over(secure.stream(), "/rooms/r", &[("origin", origin)]);
        assert_eq!(got.map(|_| ()).err(), status, "{origin}");
    }
}
