//! Single rules of the pure rooms.

#![allow(clippy::unwrap_used)]

mod asking;
mod harness;
mod lifetimes;
mod occupancy;
mod outliving;
mod particulars;
mod publishing;
mod remembering;
mod restarts;
mod tables;
mod wishes;
