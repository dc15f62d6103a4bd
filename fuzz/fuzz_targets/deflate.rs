//! Any bytes as frames of a connection with compression: the same events in any pieces, and no
//! message longer than is allowed.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run deflate`, from the root of the repository.

#![no_main]

#[allow(dead_code, reason = "the other targets' bodies")]
#[path = "../../crates/codec/tests/codec/driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driver::fuzz_deflate(bytes));
