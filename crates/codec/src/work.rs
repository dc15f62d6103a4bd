//! Counts bytes looked at, so that tests judge the cost of a handshake without a clock.

use std::cell::Cell;

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// `bytes` bytes were looked at.
pub(crate) fn add(bytes: usize) {
    BYTES.set(BYTES.get() + bytes);
}

/// The bytes this thread looked at while `run` ran.
pub(crate) fn bytes_of(run: impl FnOnce()) -> usize {
    let before = BYTES.get();
    run();
    BYTES.get() - before
}
