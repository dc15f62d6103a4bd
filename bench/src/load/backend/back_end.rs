//! A small back end that is asked whether clients may come in. It runs in the load's own loop, so that no other thread
//! has to be given a processor before it answers: what a hook adds is then the server's work and two ways over loopback.

use super::Event;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const EVENTS: usize = 64;
/// The number of the listener in the poll; connections have others.
const LISTENER: u64 = 0;
const RECEIVE_BYTES: usize = 16 * 1024;
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// The user that everybody is, who may connect.
const USER: &str = "asked";

/// What it does with questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    /// It lets everybody in.
    Answers,
    /// It accepts connections, reads questions, and says nothing.
    IsSilent,
}

/// What a server asks.
#[derive(Deserialize)]
struct Question {
    client: String,
    transport: String,
    #[serde(default)]
    channel: String,
}

/// The back end.
#[derive(Debug)]
pub struct BackEnd {
    event: Event,
    epoll: OwnedFd,
    address: SocketAddrV4,
    listener: Option<TcpListener>,
    connections: HashMap<u64, (TcpStream, Vec<u8>)>,
    next: u64,
    mood: Mood,
    buffer: Vec<u8>,
    /// Questions so far.
    pub asked: u64,
    /// The room of the latest question, where there was one.
    pub room: String,
}

impl BackEnd {
    /// Listens at this address, and answers what it is asked of this event.
    pub fn open(event: Event, address: SocketAddrV4) -> Result<Self> {
        let mut back_end = Self {
            event,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            address,
            listener: None,
            connections: HashMap::new(),
            next: LISTENER + 1,
            mood: Mood::Answers,
            buffer: vec![0; RECEIVE_BYTES],
            asked: 0,
            room: String::new(),
        };
        back_end.come_back()?;
        Ok(back_end)
    }

    /// Listens and answers again.
    pub fn come_back(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address)
            .with_context(|| format!("the back end cannot listen on {}", self.address))?;
        listener.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&self.epoll, &listener, data, epoll::EventFlags::IN)?;
        self.listener = Some(listener);
        self.mood = Mood::Answers;
        Ok(())
    }

    /// From now on nothing is answered.
    pub fn fall_silent(&mut self) {
        self.mood = Mood::IsSilent;
    }

    /// From now on connections are refused, and those that are there are over.
    pub fn go_away(&mut self) {
        if let Some(listener) = self.listener.take() {
            // Who is in its queue is refused, too.
            let _ = shutdown(&listener, Shutdown::Both);
        }
        self.connections.clear();
    }

    /// What reports that there is something to do.
    #[must_use]
    pub fn poll(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Serves until `is_over`, for a load that has no loop at the time.
    pub fn serve_until(&mut self, is_over: &AtomicBool) -> Result<()> {
        while !is_over.load(Ordering::Relaxed) {
            self.turn(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Does what there is to do, and waits for it so long.
    pub fn turn(&mut self, most: Duration) -> Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let timeout = Timespec::try_from(most)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            match event.data.u64() {
                LISTENER => self.accept()?,
                number => self.serve(number).context("a question of the server")?,
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        while let Some(listener) = &self.listener {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let data = epoll::EventData::new_u64(self.next);
            epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
            self.connections.insert(self.next, (stream, Vec::new()));
            self.next += 1;
        }
        Ok(())
    }

    fn serve(&mut self, number: u64) -> Result<()> {
        let Some((stream, bytes)) = self.connections.get_mut(&number) else {
            return Ok(());
        };
        match stream.read(&mut self.buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Ok(received @ 1..) => bytes.extend_from_slice(&self.buffer[..received]),
            // A server that gives up waiting ends its connection, in whatever way.
            Ok(_) | Err(_) => {
                self.connections.remove(&number);
                return Ok(());
            }
        }
        while let Some((question, length)) = read(bytes, self.event)? {
            bytes.drain(..length);
            self.asked += 1;
            self.room = question.channel;
            if self.mood == Mood::Answers {
                stream.write_all(&answer(self.event))?;
            }
        }
        Ok(())
    }
}

/// The first question, and the length of its request, if all of it has come.
fn read(bytes: &[u8], event: Event) -> Result<Option<(Question, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = head.parse(bytes)? else {
        ensure!(bytes.len() <= REQUEST_BYTES_MAX, "its head does not end");
        return Ok(None);
    };
    let (method, path) = (head.method.unwrap_or(""), head.path.unwrap_or(""));
    ensure!(
        (method, path) == ("POST", event.path()),
        "{method} {path} is not what was to be asked"
    );
    let length = head
        .headers
        .iter()
        .find(|it| it.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = length else {
        bail!("it has no length");
    };
    let length: usize = str::from_utf8(length.value)?.parse()?;
    ensure!(length <= REQUEST_BYTES_MAX, "it has {length} bytes");
    let Some(body) = bytes[head_bytes..].get(..length) else {
        return Ok(None);
    };
    let question: Question = serde_json::from_slice(body)
        .with_context(|| format!("unreadable: {}", String::from_utf8_lossy(body)))?;
    ensure!(!question.client.is_empty(), "it names no client");
    ensure!(
        question.transport == "websocket",
        "it tells the transport {}",
        question.transport
    );
    Ok(Some((question, head_bytes + length)))
}

fn answer(event: Event) -> Vec<u8> {
    let body = match event {
        Event::Connect => format!(r#"{{"result":{{"user":"{USER}"}}}}"#),
        Event::Subscribe => r#"{"result":{}}"#.to_owned(),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::backend::answers::Answers;
    use std::net::Ipv4Addr;
    use std::time::Instant;

    const QUESTION: &str = r#"{"client":"c","transport":"websocket","channel":"hooked:a"}"#;

    fn back_end() -> BackEnd {
        let port = crate::servers::free_port().unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        BackEnd::open(Event::Subscribe, address).unwrap()
    }

    fn request(path: &str, body: &str) -> String {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    /// Turns until `count` questions have come, and what was answered by then.
    fn turns(back_end: &mut BackEnd, stream: &mut TcpStream, count: u64) -> Vec<u8> {
        let since = Instant::now();
        while back_end.asked < count && since.elapsed() < Duration::from_secs(10) {
            back_end.turn(Duration::from_millis(1)).unwrap();
        }
        assert_eq!(back_end.asked, count);
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut said = vec![0; 1024];
        let length = stream.read(&mut said).unwrap_or(0);
        said.truncate(length);
        said
    }

    #[test]
    fn questions_are_answered_on_a_kept_connection_until_it_falls_silent_and_goes_away() {
        let mut back_end = back_end();
        let mut stream = TcpStream::connect(back_end.address).unwrap();
        let question = request("/subscribe", QUESTION);
        for count in [1, 2] {
            stream.write_all(question.as_bytes()).unwrap();
            let mut answers = Answers::default();
            answers.push(&turns(&mut back_end, &mut stream, count));
            let answer = answers.next().unwrap().unwrap();
            assert_eq!(answer.accepted().unwrap(), br#"{"result":{}}"#);
            assert_eq!(back_end.room, "hooked:a");
        }
        back_end.fall_silent();
        stream.write_all(question.as_bytes()).unwrap();
        assert!(turns(&mut back_end, &mut stream, 3).is_empty());
        back_end.go_away();
        assert!(TcpStream::connect(back_end.address).is_err());
        back_end.come_back().unwrap();
        assert!(TcpStream::connect(back_end.address).is_ok());
    }

    #[test]
    fn questions_are_read_however_they_arrive_and_others_are_faults() {
        let whole = request("/subscribe", QUESTION);
        let read = |bytes: &str| read(bytes.as_bytes(), Event::Subscribe);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).unwrap().is_none(), "{end}");
        }
        let (question, length) = read(&format!("{whole}POST")).unwrap().unwrap();
        assert_eq!((&*question.channel, length), ("hooked:a", whole.len()));
        let check = |request: String| assert!(read(&request).is_err(), "{request}");
        check(request("/connect", QUESTION));
        check(request("/subscribe", "{}"));
        check(request("/subscribe", &QUESTION.replace("websocket", "sse")));
        check(whole.replace("Content-Length", "Length"));
    }
}
