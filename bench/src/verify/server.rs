//! Hubbub as a process of the checker's: rules that let everybody recover, kill −9, and start again.

use crate::servers::free_port;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY_TIMEOUT: Duration = Duration::from_secs(15);

/// Everybody may do everything. Rooms keep so little, and queues so few bytes, that some clients come back too
/// late and others are found to be slow within seconds. What a client is given when it comes back must leave room
/// in its queue for what is published meanwhile, or it would be found to be slow although it reads.
const SETTINGS: &str = r#"anonymous = "on"
internal_listen = "off"
log_level = "warn"
send_queue_bytes_max = "256KiB"
recovered_bytes_max = "64KiB"

[rooms]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = ["client", "anonymous"]
read_presence = ["client", "anonymous"]
history_size = 400
positions = "allowed"
recovery = "allowed"
presence = true
raw = "publish"
"#;

/// A running server.
#[derive(Debug)]
pub struct OwnServer {
    program: PathBuf,
    driver: String,
    settings: PathBuf,
    log: PathBuf,
    /// Where it listens.
    pub address: SocketAddrV4,
    child: Option<Child>,
}

impl OwnServer {
    /// Starts a server on a driver; its files are in `directory`.
    pub fn new(program: &Path, driver: &str, directory: &Path) -> Result<Self> {
        ensure!(
            program.is_file(),
            "{} is not there: build it, or name it with --server-bin",
            program.display()
        );
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let settings = directory.join("hubbub.toml");
        fs::write(&settings, SETTINGS)?;
        let mut server = Self {
            program: program.to_owned(),
            driver: driver.to_owned(),
            settings,
            log: directory.join(format!("hubbub-{driver}.log")),
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()?),
            child: None,
        };
        server.start()?;
        Ok(server)
    }

    /// Starts it, where it listened before, and waits until it accepts.
    pub fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.settings)
            .args(["--listen", &self.address.to_string()])
            .args(["--driver", &self.driver, "--cores", "2"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let child = self.child.insert(child);
        let since = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "the server ended at start ({status}); see {}",
                    self.log.display()
                );
            }
            ensure!(
                since.elapsed() < READY_TIMEOUT,
                "the server does not accept"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills it, as SIGKILL does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Fails if it has ended by itself.
    pub fn must_live(&mut self) -> Result<()> {
        let ended = self.child.as_mut().map(Child::try_wait).transpose()?;
        if let Some(Some(status)) = ended {
            bail!(
                "the server ended by itself ({status}); see {}",
                self.log.display()
            );
        }
        Ok(())
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
