//! Which addresses may be listened on, alone and together.

use super::*;

#[test]
fn addresses_that_overlap_are_refused_by_name() {
    for (listen, internal, words) in [
        (
            "0.0.0.0:8000,127.0.0.1:8000",
            "off",
            &["listen", "0.0.0.0:8000", "127.0.0.1:8000", "every IPv4"][..],
        ),
        (
            "127.0.0.1:8000,[::1]:8000,0.0.0.0:8000",
            "off",
            &["127.0.0.1:8000", "0.0.0.0:8000", "every IPv4"],
        ),
        (
            "[::]:8000,[::1]:8000",
            "off",
            &["[::]:8000", "[::1]:8000", "every IPv6"],
        ),
        (
            "[fe80::1%2]:8000,[::]:8000",
            "off",
            &["[fe80::1%2]:8000", "[::]:8000"],
        ),
        ("[::1]:1,[0:0::1]:1", "off", &["listen has [::1]:1 twice"]),
        (
            "127.0.0.1:8000",
            "127.0.0.1:8000",
            &[
                "internal_listen (127.0.0.1:8000, --internal-listen)",
                "listen (127.0.0.1:8000, --listen)",
                "another port",
            ],
        ),
        (
            "0.0.0.0:9000",
            "127.0.0.1:9000",
            &["internal_listen (127.0.0.1:9000", "listen (0.0.0.0:9000"],
        ),
        (
            "127.0.0.1:1,127.0.0.1:2",
            "0.0.0.0:2",
            &["internal_listen (0.0.0.0:2", "listen (127.0.0.1:2"],
        ),
        (
            "[::1]:9000",
            "[::]:9000",
            &["internal_listen ([::]:9000", "listen ([::1]:9000"],
        ),
        // The internal listener is not for IPv6 alone.
        (
            "127.0.0.1:9000",
            "[::]:9000",
            &["internal_listen ([::]:9000", "listen (127.0.0.1:9000"],
        ),
    ] {
        let flags = [
            &format!("--listen={listen}")[..],
            &format!("--internal-listen={internal}"),
        ];
        refused(&flags, &[], None, words);
    }
    // Where the other one has its default.
    refused(
        &["--listen=0.0.0.0:9000"],
        &[],
        None,
        &["internal_listen (127.0.0.1:9000, the default)"],
    );
    // All of them at once.
    refused(
        &["--listen=0.0.0.0:1,127.0.0.1:1,127.0.0.2:1,0.0.0.0:9000"],
        &[],
        None,
        &[
            "3 settings",
            "127.0.0.1:1",
            "127.0.0.2:1",
            "internal_listen",
        ],
    );
}

#[test]
fn addresses_that_do_not_overlap_are_accepted() {
    for (listen, internal) in [
        ("0.0.0.0:8000,[::]:8000", "127.0.0.1:9000"),
        ("127.0.0.1:8000,[::1]:8000,127.0.0.2:8000", "off"),
        ("0.0.0.0:8000,127.0.0.1:8001", "127.0.0.1:8002"),
        ("127.0.0.1:0,127.0.0.1:0,0.0.0.0:0", "127.0.0.1:0"),
        ("[fe80::1%2]:8000,[fe80::1%3]:8000", "off"),
        ("[::]:9000", "127.0.0.1:9000"),
        ("[::]:9000", "0.0.0.0:9000"),
        ("0.0.0.0:9000", "[::1]:9000"),
        ("0.0.0.0:9000", "off"),
    ] {
        let flags = [
            &format!("--listen={listen}")[..],
            &format!("--internal-listen={internal}"),
        ];
        accepted(&flags, &[], None);
    }
}

#[test]
fn address_that_the_kernel_would_not_take_is_refused_with_what_to_write() {
    for (address, words) in [
        ("[::ffff:127.0.0.1]:8000", &["write 127.0.0.1:8000"][..]),
        ("[::ffff:0.0.0.0]:8000", &["write 0.0.0.0:8000"]),
        ("[fe80::1]:8000", &["interface", "[fe80::1%2]:8000"]),
        ("[ff02::1]:8000", &["multicast or broadcast"]),
        ("224.0.0.1:8000", &["multicast or broadcast"]),
        ("255.255.255.255:8000", &["multicast or broadcast"]),
    ] {
        for key in ["listen", "internal_listen"] {
            let flag = report::flag(key);
            let words = [&[flag.as_str(), address], words].concat();
            refused(&[&flag, address], &[], None, &words);
            let line = format!("{key} = \"{address}\"");
            refused(&[], &[], Some(&line), &words[1..]);
        }
    }
}
