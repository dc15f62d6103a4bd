//! The memory for compression with context takeover is bounded; later connections go without.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use rustix::process::Signal;

use crate::{
    client::{Client, ask, scrape},
    compression::{OFFER, Peer, RSV1, chat, offering},
    harness::{Driver, Server, eventually},
    reload::Reloading,
    tls_client::Secure,
    wire::{self, BINARY, Heard, Raw, TEXT},
};

on_both_drivers![
    connection_beyond_the_bound_does_without_takeover_until_one_leaves,
    connection_beyond_the_bound_does_without_takeover_under_tls,
    servers_takeover_is_given_up_before_the_clients,
    member_of_a_room_takes_memory_for_its_own_messages_alone,
    memory_is_given_back_once_whichever_way_a_connection_ends,
    memory_is_given_back_in_a_drain,
    bound_that_a_reload_lowers_holds_for_who_comes,
];

/// What is reserved with a window of 15 bits, as docs/limits.md has it.
const CLIENT: usize = 33 << 10;
const SERVER: usize = 384 << 10;

const RESERVED: &str = "hubbub_compression_contexts_bytes";

fn flags<'a>(takeover: &'a str, bound: &'a str) -> [&'a str; 8] {
    [
        "--cores",
        "1",
        "--compression",
        "on",
        "--compression-takeover",
        takeover,
        "--compression-contexts-bytes-max",
        bound,
    ]
}

fn declined(side: &str) -> String {
    format!("hubbub_takeovers_declined_total{{side=\"{side}\"}}")
}

#[track_caller]
fn told(server: &Server, expected: &[(&str, f64)]) {
    eventually(&format!("{expected:?} are told"), || {
        let samples = scrape(server);
        expected
            .iter()
            .all(|(name, value)| samples[*name] == *value)
    });
}

#[track_caller]
fn reserved(server: &Server, bytes: usize) {
    told(server, &[(RESERVED, bytes as f64)]);
}

/// The sides whose messages may refer to earlier ones: the server, the client.
fn takeover<S: Read + Write>(peer: &Peer<S>) -> (bool, bool) {
    assert!(
        peer.has("permessage-deflate"),
        "it is compressed all the same"
    );
    let server = !peer.has("server_no_context_takeover");
    (server, !peer.has("client_no_context_takeover"))
}

/// Messages go both ways as agreed: repeated text is short only if takeover was agreed.
#[track_caller]
fn talk<S: Read + Write>(peer: &mut Peer<S>) {
    let message = chat(3000, 7);
    for is_repeated in [false, true] {
        peer.send(TEXT, &message);
        let (echoed, compressed) = peer.receive();
        assert_eq!(echoed, message);
        let bytes = compressed.expect("it is compressed");
        if is_repeated {
            assert_eq!(takeover(peer).0, bytes < 300, "{bytes} bytes");
        }
    }
}

fn leave<S: Read + Write>(mut peer: Peer<S>) {
    peer.raw.send(wire::close(1000));
    assert_eq!(peer.raw.message().close_code(), 1000);
}

/// There is room for this many.
fn fill<S: Read + Write>(server: &Server, most: usize, open: impl Fn() -> Peer<S>) {
    let mut inside: Vec<_> = (0..most).map(|_| open()).collect();
    inside.iter_mut().for_each(|peer| {
        assert_eq!(takeover(peer), (true, false));
        talk(peer);
    });
    reserved(server, most * SERVER);
    told(server, &[(&declined("server"), 0.0)]);
    let mut without = open();
    assert_eq!(takeover(&without), (false, false));
    talk(&mut without);
    inside.iter_mut().for_each(talk);
    let counted = [(&*declined("server"), 1.0), (&*declined("client"), 0.0)];
    told(server, &counted);
    reserved(server, most * SERVER);

    leave(inside.remove(0));
    reserved(server, (most - 1) * SERVER);
    let mut next = open();
    assert_eq!(takeover(&next), (true, false));
    talk(&mut next);
    talk(&mut without);
    assert_eq!(takeover(&open()), (false, false));
    reserved(server, most * SERVER);
}

fn connection_beyond_the_bound_does_without_takeover_until_one_leaves(driver: Driver) {
    for (bound, most) in [(3 * SERVER - 1, 2), (3 * SERVER, 3), (3 * SERVER + 1, 3)] {
        let server = Server::start(driver, &flags("server", &bound.to_string()));
        fill(&server, most, || Peer::open(&server, "/echo", OFFER));
    }
}

fn connection_beyond_the_bound_does_without_takeover_under_tls(driver: Driver) {
    let bound = (3 * SERVER).to_string();
    let secure = Secure::start(driver, &flags("server", &bound));
    let open = || Peer::over(secure.stream(), "/echo", OFFER);
    fill(&secure.server, 3, open);
}

fn servers_takeover_is_given_up_before_the_clients(driver: Driver) {
    let most = 3 * (SERVER + CLIENT) + 5 * CLIENT;
    for (bound, of_client) in [(most - 1, 4), (most, 5), (most + 1, 5)] {
        let server = Server::start(driver, &flags("both", &bound.to_string()));
        let mut peers: Vec<_> = (0..10)
            .map(|_| Peer::open(&server, "/echo", OFFER))
            .collect();
        let with = |server, client| {
            let all = peers.iter().map(takeover);
            all.filter(|it| *it == (server, client)).count()
        };
        assert_eq!(with(true, true), 3);
        assert_eq!(with(false, true), of_client);
        assert_eq!(with(false, false), 7 - of_client);
        peers.iter_mut().for_each(talk);
        reserved(&server, 3 * SERVER + (3 + of_client) * CLIENT);
        let expected = [
            (&*declined("server"), 7.0),
            (&*declined("client"), (7 - of_client) as f64),
            ("hubbub_deflate_agreed_total", 10.0),
        ];
        told(&server, &expected);
    }
}

fn member_of_a_room_takes_memory_for_its_own_messages_alone(driver: Driver) {
    let server = Server::start(driver, &flags("both", "1MiB"));
    let mut members: Vec<_> = (0..31)
        .map(|_| Peer::open(&server, "/rooms/many", OFFER))
        .collect();
    assert!(members.iter().all(|it| takeover(it) == (false, true)));
    reserved(&server, 31 * CLIENT);
    members.push(Peer::open(&server, "/rooms/many", OFFER));
    assert_eq!(takeover(&members[31]), (false, false));
    for n in [0, 31] {
        let message = chat(2000, n as u32);
        members[n].send(BINARY, &message);
        for member in &mut members {
            assert_eq!(member.receive().0, message);
        }
    }
    // No takeover counts as declined, because connections in rooms never have it.
    let expected = [(&*declined("server"), 0.0), (&*declined("client"), 1.0)];
    told(&server, &expected);
}

fn memory_is_given_back_once_whichever_way_a_connection_ends(driver: Driver) {
    let more = ["--rooms-max", "1", "--message-bytes-max", "4KiB"];
    let flags = [&flags("both", "1GiB")[..], &more].concat();
    let server = Server::start(driver, &flags);
    let _holds_the_room = Client::join(&server, "only");
    let status = |path| ask(&server, offering(path, OFFER)).status;
    for round in 0..5 {
        let open = |path| Peer::open(&server, path, OFFER);
        let leaving = open("/echo");
        let member = open("/rooms/only");
        let (gone, reset) = (open("/echo"), open("/echo"));
        let mut large = open("/echo");
        let mut invalid = open("/echo");
        assert_eq!(status("/rooms/another"), 503);
        assert_eq!(status("/nowhere"), 404);
        reserved(&server, 5 * SERVER + 6 * CLIENT);

        large.send(BINARY, &chat(5000, round));
        assert_eq!(large.raw.message().close_code(), 1009);
        let bytes = wire::masked(0x80 | RSV1 | BINARY, &[7; 40]);
        invalid.raw.send(bytes);
        assert_eq!(invalid.raw.message().close_code(), 1007);
        leave(leaving);
        leave(member);
        drop(gone);
        wire::reset(reset.raw.stream);
        drop((large, invalid));
        reserved(&server, 0);
    }
}

fn memory_is_given_back_in_a_drain(driver: Driver) {
    let more = ["--drain-timeout", "100ms", "--close-timeout", "10m"];
    let flags = [&flags("both", "1GiB")[..], &more].concat();
    let mut server = Server::start(driver, &flags);
    let mut answers = Peer::open(&server, "/echo", OFFER).raw;
    let mut waits = Peer::open(&server, "/echo", OFFER).raw;
    reserved(&server, 2 * (SERVER + CLIENT));
    server.signal(Signal::TERM);
    let finish = |raw: &mut Raw<TcpStream>| {
        raw.send(wire::close(1001));
        assert_eq!(raw.next(), Heard::End);
    };
    assert_eq!(answers.message().close_code(), 1001);
    assert_eq!(waits.message().close_code(), 1001);
    finish(&mut answers);
    reserved(&server, SERVER + CLIENT);
    finish(&mut waits);
    assert_eq!(server.wait().code(), Some(0));
}

fn bound_that_a_reload_lowers_holds_for_who_comes(driver: Driver) {
    let with = |bound| {
        format!(
            "compression = \"on\"\ncompression_takeover = \"server\"\n\
             compression_contexts_bytes_max = \"{bound}\""
        )
    };
    let mut it = Reloading::start(driver, &with("1GiB"));
    let open = |it: &Reloading| Peer::open(&it.server, "/echo", OFFER);
    let mut old: Vec<_> = (0..6).map(|_| open(&it)).collect();
    old.iter_mut().for_each(talk);
    it.reload(&with("1MiB"));
    // Each of the two cores has room for one.
    let mut new = Vec::new();
    eventually("who comes does without", || {
        new.push(open(&it));
        new.len() > 10 && new[new.len() - 10..].iter().all(|it| !takeover(it).0)
    });
    old.iter_mut().chain(&mut new).for_each(talk);
    it.reload(&with("1GiB"));
    eventually("takeover is agreed on again", || takeover(&open(&it)).0);
    old.iter_mut().for_each(talk);
}
