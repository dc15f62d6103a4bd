//! End to end: the real binary on real sockets, on both drivers, against independent clients.
//!
//! Each test starts a server of its own on a free port and kills it when it ends. A test that
//! fails shows the server's log. No test asserts how long something takes, other than by bounds
//! that only a hang exceeds, and that nothing comes before its time or faster than its pace.

#![allow(clippy::unwrap_used)]

/// Makes two tests of each function, one for each driver: `module::driver::function`.
macro_rules! on_both_drivers {
    ($($test:ident),+ $(,)?) => {
        mod io_uring {
            $(#[test]
            fn $test() {
                super::$test(crate::harness::Driver::IoUring);
            })+
        }
        mod epoll {
            $(#[test]
            fn $test() {
                super::$test(crate::harness::Driver::Epoll);
            })+
        }
    };
}

mod back_end;
mod baseline;
mod caller;
mod cases;
mod client;
mod commands;
mod event_receiver;
mod harness;
mod key_server;
mod listener;
mod oneshot_rooms;
mod process;
mod streamed;
mod terminal;
mod tls_client;
mod wire;

mod addresses;
mod age;
mod answers;
mod api;
mod api_commands;
mod api_floods;
mod api_keys;
mod api_orders;
mod api_rooms;
mod batches;
mod bounds;
mod budget;
mod churn;
mod claims;
mod compression;
mod config;
mod contexts;
mod dev;
mod drain;
mod echo;
mod endings;
mod events;
mod events_certain;
mod fallback;
mod floods;
mod flow;
mod handshake;
mod health_command;
mod heartbeat;
mod hook_failures;
mod hook_terms;
mod hooks;
mod http;
mod idle;
mod import;
mod internal;
mod isolation;
mod joins;
mod limits;
mod logs;
mod lws_minimal;
mod moderated;
mod notify;
mod one_way;
mod oneshot;
mod oneshot_requests;
mod order;
mod origin;
mod output;
mod pace;
mod pages;
mod pressure;
mod protocol;
mod protocol_attacks;
mod protocol_cases;
mod protocol_maps;
mod protocol_rules;
mod protocol_secrets;
mod protocol_sessions;
mod proxies;
mod raw_clients;
mod raw_rooms;
mod raw_streams;
mod refusals;
mod reload;
mod remote_keys;
mod restarts;
mod rooms;
mod signals;
mod silence;
mod slow;
mod smuggling;
mod standstill;
mod start;
mod storms;
mod stream_attacks;
mod stream_requests;
mod tls;
mod tls_handshake;
mod tls_reload;
mod token_command;
mod transports;
mod unfinished;
mod verdicts;
