//! The baseline of the bench: WebSocket echo and rooms as a bare epoll reactor, one per thread.
//!
//! ```text
//!          one thread = one listener, one epoll, its own sockets, its own rooms
//!
//!        ┌───────────────────────────────────────────────────────────────────┐
//!        ▼                                                                   │
//!   epoll_wait ──▶ listener       ──▶ accept ──▶ an item of its own, by fd   │
//!   (level-        socket, reads  ──▶ recv ──▶ codec ──┬─ echo ──▶ send      │
//!    triggered)                     (one buffer of     └─ room ──▶ its log   │
//!                                    the thread)                    ╎        │
//!                  socket, waits  ──▶ send what it had not taken    ╎        │
//!                                                                   ▼        │
//!   end of the turn:  for each room with news, for each member:              │
//!                     send its own bytes and log[cursor..], in one call ─────┘
//!
//!   item:  Handshake ──▶ Echo or Room ──▶ Ending ──▶ (Lingering) ──▶ gone
//! ```
//!
//! A socket is watched either for reading or, while it has not accepted all bytes, for writing, but
//! never for both: a peer that does not read its answers is not read from. This alone bounds the
//! bytes queued for it. A room's messages are encoded once into the log of the room. Members are
//! cursors into the log, so one run of bytes serves all members at the same position.
//!
//! Without `--coalesce` every message is a turn of its own, so each leaves in a send of its own.
//!
//! *Never* here: locks, timers, anything that threads share. Therefore the baseline lacks some
//! features. With several threads, a room of one name exists once on each, and its members meet
//! only those whose connections the kernel gave to the same thread. There are no heartbeats, and no
//! deadlines for slow handshakes.

mod item;
mod listener;
mod reactor;
mod room;

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::mpsc,
    thread,
};

use anyhow::{Context, bail};
use clap::{ArgAction, Parser};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::reactor::Reactor;

/// The bench's baseline: a WebSocket server as a bare epoll reactor.
///
/// Serves /echo (every message back) and /rooms/NAME (every message to all who are in the room,
/// the sender included).
///
/// A room lives on one thread: with --threads above 1, connections are spread over the threads by
/// the kernel, and a room of the same name exists once on each of them. Its members hear only
/// those who share their thread.
#[derive(Parser, Debug)]
#[command(version)]
struct Flags {
    /// Address to listen on; port 0 takes a free one, which the start line names
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Threads, each with its own listener (SO_REUSEPORT), epoll, sockets and rooms
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,

    /// Whether all that a turn of the loop produced for a socket leaves in one send; if not, each
    /// message leaves at once
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "true|false")]
    coalesce: bool,
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

/// Runs until a signal ends the process, or a thread fails.
fn serve(flags: &Flags) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let in_the_way = || {
        format!(
            "cannot listen on {}; choose another with --listen",
            flags.listen
        )
    };
    let address = listener::probe(flags.listen).with_context(in_the_way)?;
    let reactors = (0..flags.threads)
        .map(|_| Reactor::new(listener::listen(address)?, flags.coalesce))
        .collect::<rustix::io::Result<Vec<_>>>()
        .with_context(in_the_way)?;
    println!(
        "bench-epoll listens on http://{address} (threads: {}, coalesce: {})",
        flags.threads, flags.coalesce
    );
    // If one thread ends, the process ends: half a server is worse than none.
    let (ended, first_ended) = mpsc::channel();
    for reactor in reactors {
        let ended = ended.clone();
        thread::spawn(move || ended.send(catch_unwind(AssertUnwindSafe(|| reactor.run()))));
    }
    match first_ended.recv()? {
        Ok(error) => Err(error).context("waiting for events failed"),
        Err(_) => bail!("a thread panicked"),
    }
}

/// Raises the limit on descriptors as far as the system allows, since each connection needs one.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // If this is refused the limit stays as it was, and the reactors handle running out of
    // descriptors.
    let _ = setrlimit(Resource::Nofile, raised);
}
