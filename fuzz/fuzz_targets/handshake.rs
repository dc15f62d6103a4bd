//! Any bytes as a request head: the same verdict in any pieces, and no head that others would
//! read otherwise.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run handshake`, from the root of the repository.

#![no_main]

#[allow(dead_code, reason = "the other targets' bodies")]
#[path = "../../crates/codec/tests/codec/driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driver::fuzz_handshake(bytes));
