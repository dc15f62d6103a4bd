//! The server: settings, the table of protocols, the page, and their wiring to the runtime.
//!
//! ```text
//!  settings ─▶ wiring ─▶ runtime::Server ◀─ reload (SIGHUP)
//!                          │ every request
//!                          ▼
//!                 application ─┬─▶ protocols (path, then subprotocol) ─▶ a session
//!                              └─▶ site (the built-in page, or the operator's files)
//!
//!  internal: metrics, health, debug pages; on a listener and a thread of its own
//!  api: what back ends push, ask and order over HTTP, on a listener of its own and the thread `backend`
//!  backend: what has to do with other servers, such as requests for keys of tokens, on a thread of its own
//!  signals: received from the start, on a thread of its own
//!  commands: what subcommands do, beside a server or in place of one
//! ```
//!
//! Only this crate reads the environment and ends the process. *Never* here: frames and handshakes.

// `println!` panics on a closed pipe and blocks on a full one, so it is forbidden here.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod api;
pub mod application;
pub mod backend;
pub mod commands;
mod control_group;
pub mod descriptors;
pub mod events;
pub mod faults;
pub mod hooks;
mod idempotency;
pub mod internal;
mod listening;
pub mod logging;
pub mod memory;
pub mod moderation;
pub mod notify;
mod oneshot;
pub mod origin;
mod places;
pub mod protocols;
pub mod reasons;
pub mod reload;
pub mod remedy;
mod secret;
pub mod settings;
pub mod signals;
pub mod site;
pub mod state;
pub mod threads;
pub mod tls;
pub mod tokens;
mod users;
pub mod wiring;
pub mod world;
