//! Pages and files: the answers to browsers and caches.

use std::{fs, io::Read, net::Shutdown, thread, time::Duration};

use crate::{
    client::{Response, ask, get},
    harness::{Driver, Server, eventually},
    process, wire,
};

on_both_drivers![
    page_is_served_at_the_root,
    head_is_answered_like_get_without_a_body,
    tag_that_is_known_is_answered_304,
    path_that_is_nobodys_is_answered_404,
    method_that_is_not_served_is_answered_405,
    static_dir_is_served_in_place_of_the_page,
    file_that_is_large_reaches_a_slow_reader_whole,
    file_that_is_large_reaches_a_slow_reader_that_has_stopped_sending,
    reader_that_stops_reading_a_file_is_reset,
    request_of_a_peer_that_stops_sending_is_answered,
    bytes_behind_a_request_do_not_spoil_its_answer,
];

fn page_is_served_at_the_root(driver: Driver) {
    let server = Server::start(driver, &[]);
    let page = get(&server, "/");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("Connection"), Some("close"));
    assert_eq!(page.length(), page.body.len());
    let html = String::from_utf8(page.body).unwrap();
    assert!(html.trim_end().ends_with("</html>"), "{html}");
    assert_eq!(get(&server, "/?query").status, 200);
    // The page itself requests these.
    for attribute in html.split(['"', '\'']).filter(|text| text.starts_with('/')) {
        if attribute.ends_with(".js") || attribute.ends_with(".css") {
            assert_eq!(get(&server, attribute).status, 200, "{attribute}");
        }
    }
}

fn head_is_answered_like_get_without_a_body(driver: Driver) {
    let server = Server::start(driver, &[]);
    let page = get(&server, "/");
    let head = ask(&server, wire::request("HEAD", "/", &[]));
    assert_eq!((head.status, head.length()), (200, page.body.len()));
    assert!(head.body.is_empty());
    assert_eq!(head.field("ETag"), page.field("ETag"));
    let missing = ask(&server, wire::request("HEAD", "/missing", &[]));
    assert_eq!((missing.status, missing.body.len()), (404, 0));
}

fn tag_that_is_known_is_answered_304(driver: Driver) {
    let server = Server::start(driver, &[]);
    let page = get(&server, "/");
    let known = format!("If-None-Match: {}", page.field("ETag").unwrap());
    let same = ask(&server, wire::request("GET", "/", &[&known]));
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.field("ETag"), page.field("ETag"));
    let other = ask(
        &server,
        wire::request("GET", "/", &["If-None-Match: \"x\""]),
    );
    assert_eq!((other.status, other.body), (200, page.body));
}

fn path_that_is_nobodys_is_answered_404(driver: Driver) {
    let server = Server::start(driver, &[]);
    for path in ["/missing", "/rooms", "/echo/", "/ECHO", "/../etc/passwd"] {
        let missing = get(&server, path);
        assert_eq!(missing.status, 404, "{path}");
        let kind = missing.field("Content-Type");
        assert_eq!(kind, Some("text/plain; charset=utf-8"));
        let text = String::from_utf8(missing.body).unwrap();
        assert!(text.contains("/echo") && text.contains("/rooms/"), "{text}");
    }
    let missing = ask(&server, wire::upgrade("/missing"));
    assert_eq!(missing.status, 404);
}

fn method_that_is_not_served_is_answered_405(driver: Driver) {
    let server = Server::start(driver, &[]);
    let answer = ask(&server, wire::request("POST", "/", &["Content-Length: 0"]));
    assert_eq!(answer.status, 405);
    assert_eq!(answer.field("Allow"), Some("GET, HEAD"));
    let answer = ask(&server, wire::request("POST", "/echo", &wire::UPGRADE));
    assert_eq!(answer.status, 405);
    assert_eq!(answer.field("Allow"), Some("GET"));
}

fn static_dir_is_served_in_place_of_the_page(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("index.html"), "<p>mine").unwrap();
    fs::write(dir.path().join(".hidden"), "secret").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/ž.txt"), "deep").unwrap();
    let path = dir.path().to_str().unwrap();
    let server = Server::start(driver, &["--static-dir", path]);

    assert_eq!(get(&server, "/").body, b"<p>mine");
    let deep = get(&server, "/sub/%C5%BE.txt");
    assert_eq!((deep.status, &*deep.body), (200, &b"deep"[..]));
    assert_eq!(
        deep.field("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    for missing in ["/.hidden", "/page.js", "/sub/../../etc/passwd"] {
        assert_eq!(get(&server, missing).status, 404, "{missing}");
    }
    assert!(crate::client::serves(&server));
}

/// More than the kernel's buffers hold.
const LARGE: u32 = 12 << 20;

/// A server with one file of this size, and the contents of the file.
fn with_file(driver: Driver, bytes: u32, flags: &[&str]) -> (Server, Vec<u8>) {
    let content: Vec<_> = (0..bytes).map(|n| (n >> 5) as u8).collect();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("large"), &content).unwrap();
    let path = dir.path().to_str().unwrap();
    // The file is read into memory at start.
    let server = Server::start(driver, &[&["--static-dir", path], flags].concat());
    (server, content)
}

/// Reads an answer with pauses, the whole taking several times the short timeouts used here.
fn read_slowly(stream: &mut std::net::TcpStream) -> Response {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return Response::parse(&bytes),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn file_that_is_large_reaches_a_slow_reader_whole(driver: Driver) {
    let (server, content) = with_file(driver, LARGE, &["--close-timeout", "200ms"]);
    let mut stream = wire::connect_narrow(server.address(), 64 << 10);
    wire::send(&mut stream, wire::request("GET", "/large", &[]).as_bytes());
    let answer = read_slowly(&mut stream);
    assert_eq!(answer.length(), content.len());
    assert!(answer.body == content, "{} bytes", answer.body.len());
}

fn file_that_is_large_reaches_a_slow_reader_that_has_stopped_sending(driver: Driver) {
    let (server, content) = with_file(driver, LARGE, &["--close-timeout", "200ms"]);
    let mut stream = wire::connect_narrow(server.address(), 64 << 10);
    wire::send(&mut stream, wire::request("GET", "/large", &[]).as_bytes());
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_slowly(&mut stream);
    assert!(answer.body == content, "{} bytes", answer.body.len());
}

fn reader_that_stops_reading_a_file_is_reset(driver: Driver) {
    let timeouts = ["--write-timeout", "300ms", "--close-timeout", "300ms"];
    let (server, content) = with_file(driver, LARGE, &timeouts);
    let before = process::descriptors_at_rest(server.pid());
    let mut stream = wire::connect_narrow(server.address(), 64 << 10);
    wire::send(&mut stream, wire::request("GET", "/large", &[]).as_bytes());
    eventually("the connection is open", || {
        process::descriptors(server.pid()) > before
    });
    eventually("the connection is given up", || {
        process::descriptors(server.pid()) == before
    });
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received);
    assert!(end.is_err() && received.len() < content.len(), "{end:?}");
}

fn request_of_a_peer_that_stops_sending_is_answered(driver: Driver) {
    let server = Server::start(driver, &[]);
    for _ in 0..20 {
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, wire::request("GET", "/", &[]).as_bytes());
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = Response::read_from(&mut stream);
        assert_eq!((answer.status, answer.length()), (200, answer.body.len()));
    }
}

/// Closing a socket with unread bytes resets it, and a reset discards what the peer has not
/// received.
fn bytes_behind_a_request_do_not_spoil_its_answer(driver: Driver) {
    // The kernel accepts the whole answer at once, so that the server is soon done with it.
    let (server, content) = with_file(driver, 100 << 10, &[]);
    let mut stream = wire::connect_narrow(server.address(), 4096);
    let request = wire::request("GET", "/large", &[]) + "and more";
    wire::send(&mut stream, request.as_bytes());
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(10));
        wire::send(&mut stream, &[b'x'; 1000]);
    }
    let answer = Response::read_from(&mut stream);
    assert!(answer.body == content, "{} bytes", answer.body.len());
}
