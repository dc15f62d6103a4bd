//! The process around the cores: starting them, telling them what to do, asking them, ending them.

mod affinity;
mod configure;
mod control;
mod core_thread;
mod driver;
mod monitor;
mod readiness;
mod server;

pub use configure::Configurer;
pub(crate) use control::{Control, tell};
#[cfg(test)]
pub(crate) use driver::CoreRuntime;
pub use driver::Driver;
pub use monitor::Monitor;
pub use readiness::{Phase, Readiness};
pub use server::{Drainer, Server, StartError};
