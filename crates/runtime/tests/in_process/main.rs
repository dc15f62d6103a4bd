//! The runtime in this process, with applications that misbehave in ways the server's never should.
//!
//! Each test starts a server of its own and drains it at the end. One runs at a time: they count
//! the descriptors of the process that they share.

#![allow(clippy::unwrap_used)]

/// Makes two tests of each function, one for each driver: `module::driver::function`.
macro_rules! on_both_drivers {
    ($($test:ident),+ $(,)?) => {
        mod io_uring {
            $(#[test]
            fn $test() {
                super::$test(runtime::DriverChoice::IoUring);
            })+
        }
        mod epoll {
            $(#[test]
            fn $test() {
                super::$test(runtime::DriverChoice::Epoll);
            })+
        }
    };
}

mod harness;
mod pages;
mod told;

mod at_length;
mod batches;
mod bodies;
mod busy;
mod commands;
mod controls;
mod desks;
mod lag;
mod many_rooms;
mod panics;
mod publications;
mod sessions;
mod streams;
mod tickers;
mod traffic;
