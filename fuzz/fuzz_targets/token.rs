//! Any bytes as a token, as its claims or as its header, under several rules: nothing is read otherwise
//! than an ordinary parser of JSON reads it. No signature is looked at, so that no cryptography is built.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run token`, from the root of the repository.

#![no_main]

#[path = "../../crates/access/src/token/unverified/tests/driver.rs"]
mod driver;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driver::fuzz_token(bytes));
