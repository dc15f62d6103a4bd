//! The process around the cores: starting them, telling them what to do, asking them, ending them.

mod affinity;
mod configure;
mod control;
mod core_thread;
mod driver;
#[cfg(not(feature = "simulation"))]
mod homes;
mod monitor;
mod readiness;
#[cfg(not(feature = "simulation"))]
mod server;
#[cfg(feature = "simulation")]
pub(crate) mod simulated;

pub use configure::Configurer;
pub(crate) use control::{Control, tell};
#[cfg(test)]
pub(crate) use driver::CoreRuntime;
pub use driver::Driver;
#[cfg(not(feature = "simulation"))]
pub use homes::{Homes, NoAnswer};
pub use monitor::Monitor;
pub use readiness::{Phase, Readiness};
#[cfg(not(feature = "simulation"))]
pub use server::{Drainer, Server, StartError};
