//! Any bytes as a token, as its signed claims or header, and as keys: nothing panics, and nothing is
//! read otherwise than an ordinary parser of JSON reads it.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run token`, from the root of the repository.

#![no_main]

#[path = "../../crates/access/tests/token/driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driver::fuzz_token(bytes));
