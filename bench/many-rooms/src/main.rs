//! The bench's server of many rooms: Hubbub's runtime with a session that is told by text what to join.
//!
//! ```text
//!   flags (main) ──▶ runtime ──▶ a request (application) ──▶ a session (session)
//!                                                              ▲
//!                          join, leave, publish (command) ─────┘
//! ```

mod application;
mod command;
mod session;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::{Context, anyhow};
use application::ManyRooms;
use clap::{Parser, ValueEnum};
use runtime::{Config, DriverChoice, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The bench's server of many rooms: Hubbub's runtime, and text commands to join and leave rooms.
///
/// A connection sends `join ROOM`, `leave ROOM` and `publish ROOM TEXT`. It is answered `joined ROOM`
/// and `left ROOM`; all members of a room are sent its publications as they stand; whatever is no
/// command is answered with `error: ` and the reason.
#[derive(Parser, Debug)]
#[command(version)]
struct Flags {
    /// Address to listen on; port 0 takes a free one, which the start line names
    #[arg(long, default_value = "127.0.0.1:9002", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Cores to run on, each a thread with its own connections and rooms
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    cores: u16,

    /// What a core waits with; `auto` is io_uring where the kernel grants it
    #[arg(long, default_value = "auto", value_name = "NAME")]
    driver: Driver,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Driver {
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

impl From<Driver> for DriverChoice {
    fn from(driver: Driver) -> Self {
        match driver {
            Driver::Auto => Self::Auto,
            Driver::IoUring => Self::IoUring,
            Driver::Epoll => Self::Epoll,
        }
    }
}

fn main() -> ExitCode {
    match serve(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until a signal ends the process, or a core fails.
fn serve(flags: &Flags) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let config = Config {
        listen: vec![flags.listen],
        cores: usize::from(flags.cores),
        driver: flags.driver.into(),
        ..Config::default()
    };
    let server = Server::start(config, Arc::new(ManyRooms)).context("cannot start")?;
    let address = server.addresses().first().context("it listens nowhere")?;
    let driver = server.drivers().first().context("it has no core")?;
    println!(
        "bench-many-rooms listens on http://{address} (cores: {}, driver: {driver})",
        flags.cores
    );
    server.wait().map_err(|cause| anyhow!(cause))
}

/// As many descriptors as the system grants: one per connection.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // If it is refused, the limit stays as it was, and the runtime takes fewer connections.
    let _ = setrlimit(Resource::Nofile, raised);
}
