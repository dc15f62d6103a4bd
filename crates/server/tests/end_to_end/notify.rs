//! The service manager is notified when the server serves and when it stops, and delays neither.

use std::{
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as Name, UnixDatagram},
    },
    thread,
};

use rustix::process::Signal;

use crate::{
    client::Client,
    harness::{Driver, PATIENCE, Server, command, eventually},
    wire,
};

on_both_drivers![
    manager_is_told_ready_once_connections_are_answered_and_stopping_at_the_drain,
    manager_that_takes_nothing_holds_up_neither_start_nor_stop,
];

fn manager_is_told_ready_once_connections_are_answered_and_stopping_at_the_drain(driver: Driver) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let hidden = format!("hubbub-{}-{}", driver.name(), std::process::id());
    let managers = [
        (path.display().to_string(), Name::from_pathname(&path)),
        (format!("@{hidden}"), Name::from_abstract_name(&hidden)),
    ];
    for (named, name) in managers {
        let manager = UnixDatagram::bind_addr(&name.unwrap()).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = free_address();
        let listening = thread::spawn(move || {
            let said = heard(&manager);
            // This comes at once, while the harness may still wait for the start lines.
            (manager, said, answer(address))
        });
        let mut command = command();
        command.env("NOTIFY_SOCKET", named);
        let listen = address.to_string();
        let flags = ["--driver", driver.name(), "--listen", &listen];
        let mut server = Server::launch(command, &[&flags[..], &["--drain-delay", "1h"]].concat());
        let (manager, said, answer) = listening.join().unwrap();
        assert_eq!(said, "READY=1");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

        let mut client = Client::connect(&server, "/echo");
        server.signal(Signal::TERM);
        assert_eq!(heard(&manager), "STOPPING=1");
        client.send("still served");
        assert_eq!(client.text(), "still served");
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(143));
    }
}

fn manager_that_takes_nothing_holds_up_neither_start_nor_stop(driver: Driver) {
    let home = tempfile::tempdir().unwrap();
    let (full, gone) = (home.path().join("full"), home.path().join("gone"));
    let _manager = UnixDatagram::bind(&full).unwrap();
    let own = UnixDatagram::unbound().unwrap();
    own.set_nonblocking(true).unwrap();
    let refused = (0..100_000).find_map(|_| own.send_to(b"x", &full).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::WouldBlock);
    for socket in [full, gone] {
        let mut command = command();
        command.env("NOTIFY_SOCKET", &socket);
        let mut server = Server::launch(command, &["--driver", driver.name()]);
        let of = |state: &str| format!("could not be notified state=\"{state}\"");
        eventually("a warning", || server.log().contains(&of("READY=1")));
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
        eventually("a warning", || server.log().contains(&of("STOPPING=1")));
    }
}

/// An address of this machine that no other test uses.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.9", 0)).unwrap();
    listener.local_addr().unwrap()
}

fn heard(manager: &UnixDatagram) -> String {
    let mut said = [0; 4096];
    let bytes = manager.recv(&mut said).unwrap();
    String::from_utf8(said[..bytes].to_vec()).unwrap()
}

/// The answer of the page's address to a connection made now.
fn answer(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    wire::send(&mut stream, wire::request("GET", "/", &[]).as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
