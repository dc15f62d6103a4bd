//! The real kernel, awaited through monoio.

mod connected;
mod listener;
mod readiness;
mod tasks;
pub(crate) mod tls;

pub(crate) use std::{
    hash::RandomState,
    time::{Instant, SystemTime},
};

pub(crate) use connected::Connected;
pub(crate) use listener::{Listener, Listening, Reserve};
pub(crate) use readiness::ReadySet;
pub(crate) use tasks::{DriverTurn, sleep, spawn};

/// Random bits; `None` if the kernel has none, which happens only while it boots.
pub(crate) fn random() -> Option<u64> {
    getrandom::u64().ok()
}
