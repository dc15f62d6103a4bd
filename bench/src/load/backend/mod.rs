//! A back end's side of a server: what it publishes over HTTP, what it is asked, and whether somebody who asks after
//! the server's health is answered meanwhile.
//!
//! ```text
//!   calls:   kept connections ──▶ API ──▶ rooms ──▶ subscribers (checked by `sdk`)
//!   health:  the same, as a flood, beside pages of the internal listener
//!   hooks:   clients that come ──▶ server ──▶ back end (in the load's own loop)
//!            first without a hook, then with it, then while the back end is silent, then while it is gone
//! ```

mod answers;
mod back_end;
mod calls;
mod health;
mod hooks;

pub use calls::Calls;
pub use health::Page;
pub use hooks::{Hook, TIMEOUT as HOOK_TIMEOUT};

use super::meter::{Measured, Window};
use crate::workload::Subject;
use anyhow::{Context as _, Result};
use std::net::SocketAddrV4;

/// The key of the API: servers are started for one run on loopback, and take it from the bench.
pub const API_KEY: &str = "the-key-that-the-bench-gives-to-its-own-servers";

/// What a back end does, or is asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Task {
    /// It publishes.
    Publish(Calls),
    /// It is asked whether clients may come in.
    Hook(Hook),
    /// It publishes as fast as it can, and pages of health are asked for meanwhile.
    Health(Calls),
}

/// What a server is asked before a client may do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Whether it may connect.
    Connect,
    /// Whether it may subscribe.
    Subscribe,
}

impl Event {
    /// Its name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
        }
    }

    /// The path at which the back end is asked.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Connect => "/connect",
            Self::Subscribe => "/subscribe",
        }
    }
}

/// What a server has beside its public listener; each only where a workload needs it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Beside {
    /// Where back ends call it.
    pub api: Option<SocketAddrV4>,
    /// Where its health is asked for.
    pub internal: Option<SocketAddrV4>,
    /// What it asks, and whom.
    pub hook: Option<(Event, SocketAddrV4)>,
}

impl Task {
    /// Connections of clients that are open at the same time, and those of back ends.
    #[must_use]
    pub fn connections(&self) -> usize {
        match self {
            Self::Publish(calls) | Self::Health(calls) => calls.subscribers() + calls.connections,
            Self::Hook(hook) => hook.connections(),
        }
    }

    /// Reduces connections and messages for a smoke run.
    pub fn shrink(&mut self) {
        match self {
            Self::Publish(calls) | Self::Health(calls) => calls.shrink(),
            Self::Hook(hook) => hook.shrink(),
        }
    }
}

/// Drives a server.
pub fn measure(server: &Subject<'_>, window: Window, task: Task) -> Result<Measured> {
    match task {
        Task::Publish(calls) => calls::measure(server, window, calls),
        Task::Hook(hook) => hooks::measure(server, window, hook),
        Task::Health(calls) => health::measure(server, window, calls),
    }
}

/// Where a server's API is.
fn api_of(server: &Subject<'_>) -> Result<SocketAddrV4> {
    let api = server.beside.api;
    api.context("this needs the server's API: give --api and --api-key")
}
