//! Everything that the runtime asks of the kernel, of its driver and of chance: sockets, readiness, tasks,
//! timers, the time, random numbers. Of TLS it is what encrypts and decrypts.
//!
//! `linux/` is the real one. With the feature `simulation` the same functions ask a simulated machine
//! (`simulated/`), so that everything above this folder can run in one thread, in virtual time, and the
//! same each time. That feature is for the crate `simulation` alone: a server built with it serves nobody.

#[cfg(not(feature = "simulation"))]
mod linux;
#[cfg(feature = "simulation")]
pub mod simulated;

#[cfg(not(feature = "simulation"))]
pub(crate) use linux::*;
#[cfg(feature = "simulation")]
pub(crate) use simulated::*;
