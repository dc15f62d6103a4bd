//! Any bytes as a frame of commands in either encoding: the same commands at once or one by one, and
//! payloads that are spliced as they came.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run centrifuge`, from the root of the repository.

#![no_main]

#[path = "../../crates/centrifuge/tests/centrifuge/driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driver::fuzz_centrifuge(bytes));
