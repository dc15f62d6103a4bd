//! The subprotocol `lws-minimal` or `chat`: one room, on any path that no other protocol has.

use crate::{
    client::Client,
    harness::{Driver, Server},
};

const FIELD: &str = "sec-websocket-protocol";

on_both_drivers![
    subprotocol_leads_to_the_one_room_on_every_other_path,
    subprotocol_is_chosen_by_the_servers_preference,
    path_of_another_protocol_wins,
    room_of_the_same_name_is_another_room,
    subprotocol_that_is_unknown_is_answered_404,
];

fn open(server: &Server, path: &str, offers: &[&str]) -> Client {
    let fields: Vec<_> = offers.iter().map(|offer| (FIELD, *offer)).collect();
    Client::with_fields(server, path, &fields).expect("101")
}

fn subprotocol_leads_to_the_one_room_on_every_other_path(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let mut members = [
        open(&server, "/", &["lws-minimal"]),
        open(&server, "/xxx", &["lws-minimal"]),
        open(&server, "/a/b?mode=dark&last=week", &["lws-minimal"]),
        open(&server, "/", &["chat"]),
        open(&server, "/index.html", &["chat"]),
    ];
    let chosen: Vec<_> = members.iter().map(|m| m.subprotocol()).collect();
    let (minimal, chat) = (Some("lws-minimal"), Some("chat"));
    assert_eq!(chosen, [minimal, minimal, minimal, chat, chat]);
    for n in 0..members.len() {
        members[n].send(format!("from {n}"));
        for member in &mut members {
            assert_eq!(member.text(), format!("from {n}"));
        }
    }
}

fn subprotocol_is_chosen_by_the_servers_preference(driver: Driver) {
    let server = Server::start(driver, &[]);
    // In one field or several, after others: the client's order does not matter.
    for offers in [
        &["chat, lws-minimal"][..],
        &["other,chat,\tlws-minimal"],
        &["chat", "lws-minimal"],
        &["x", "y, lws-minimal", "chat"],
    ] {
        let subprotocols = crate::wire::upgrade("/").replace(
            "\r\n\r\n",
            &offers.iter().fold("\r\n".to_owned(), |fields, offer| {
                fields + "Sec-WebSocket-Protocol: " + offer + "\r\n"
            }),
        ) + "\r\n";
        let mut stream = crate::wire::connect(server.address());
        crate::wire::send(&mut stream, subprotocols.as_bytes());
        crate::wire::send(&mut stream, &crate::wire::close(1000));
        let opened = crate::client::Response::read_from(&mut stream);
        assert_eq!(opened.status, 101, "{offers:?}");
        let chosen = opened.field("Sec-WebSocket-Protocol");
        assert_eq!(chosen, Some("lws-minimal"), "{offers:?}");
    }
}

fn path_of_another_protocol_wins(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut listener = open(&server, "/", &["lws-minimal"]);
    // Rooms have no subprotocols, so the 101 names none: a strict client would refuse this itself.
    let fields = format!("{FIELD}: lws-minimal");
    for path in ["/echo", "/rooms/other"] {
        let fields = [&crate::wire::UPGRADE[..], &[fields.as_str()]].concat();
        let request = crate::wire::request("GET", path, &fields);
        let mut raw = crate::wire::Raw::over(crate::wire::connect(server.address()), request);
        raw.send(crate::wire::frame(crate::wire::TEXT, b"mine"));
        assert_eq!(raw.frame().payload, b"mine");
    }
    listener.send("nobody else's");
    assert_eq!(listener.text(), "nobody else's");
}

fn room_of_the_same_name_is_another_room(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut minimal = open(&server, "/", &["lws-minimal"]);
    let mut named = Client::join(&server, "lws-minimal");
    minimal.send("in lws-minimal");
    assert_eq!(minimal.text(), "in lws-minimal");
    named.send("in the room");
    assert_eq!(named.text(), "in the room");
    minimal.send("again");
    assert_eq!(minimal.text(), "again");
    // A client cannot ask for the room by its internal name.
    let inside = Client::with_fields(&server, "/rooms/%2Flws-minimal", &[]);
    assert_eq!(inside.err(), Some(404));
}

fn subprotocol_that_is_unknown_is_answered_404(driver: Driver) {
    let server = Server::start(driver, &[]);
    for fields in [&[][..], &[(FIELD, "other")], &[(FIELD, "LWS-MINIMAL")]] {
        let refused = Client::with_fields(&server, "/xxx", fields);
        assert_eq!(refused.err(), Some(404), "{fields:?}");
    }
}
