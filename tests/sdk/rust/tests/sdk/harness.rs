//! What the tests stand on: a real server, tokens, and a line to it that can be cut.

use std::{
    env, fs,
    net::{TcpListener as StdListener, TcpStream as StdStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// A wait that a machine under any load outlasts; to reach it is to fail.
pub const PATIENCE: Duration = Duration::from_secs(60);

const SECRET: &str = "a secret of these tests, which needs 32 bytes";

/// A token of this user (JWT, HS256).
pub fn token(user: &str) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"sub":"{user}","exp":{}}}"#, now.as_secs() + 3_600);
    let signed = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(&claims));
    let signature = hmac_sha256::HMAC::mac(&signed, SECRET);
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// A server with the rules of `server.toml`, which ends with this.
pub struct Server {
    child: Child,
    port: u16,
    _secret: TempDir,
}

impl Server {
    pub fn start(driver: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let server = env::var_os("SERVER_BIN").map(PathBuf::from);
        let server = server.unwrap_or_else(|| root.join("target/release/hubbub"));
        let port = StdListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, SECRET).unwrap();
        let mut command = Command::new(server);
        command
            .arg("--config")
            .arg(root.join("tests/sdk/server.toml"));
        command.arg("--token-secret").arg(secret);
        command.args(["--driver", driver, "--log-level", "warn"]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while StdStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the server has ended");
            assert!(Instant::now() < deadline, "the server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            port,
            _secret: directory,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A wire to a server that can be cut and mended.
#[derive(Clone)]
pub struct Line {
    pub port: u16,
    is_cut: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Line {
    pub async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            is_cut: Arc::default(),
            cut: Arc::default(),
        };
        let (this, target) = (line.clone(), server.port);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !this.is_cut.load(Ordering::SeqCst) {
                    let this = this.clone();
                    tokio::spawn(async move { this.carry(client, target).await });
                }
            }
        });
        line
    }

    async fn carry(&self, mut client: TcpStream, target: u16) {
        let cut = self.cut.notified();
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
            return;
        };
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            () = cut => {}
        }
    }

    /// Ends all connections without a goodbye, and lets none through until the line is mended.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.cut.notify_waiters();
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}
