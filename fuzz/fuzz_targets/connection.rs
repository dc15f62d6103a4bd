//! Any bytes, in any pieces: the events and what is owed for them stay the same.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run connection`, from the root of the repository.

#![no_main]

#[allow(dead_code, reason = "the other targets' bodies")]
#[path = "../../crates/codec/tests/codec/driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driver::fuzz_connection(bytes));
