//! One client that comes: handshake, connect command, subscription; each step when the one before is answered. Over a
//! stream both commands are in its request, as SDKs do it.

use super::inbox::{Inbox, append};
use crate::centrifuge::{Command, Encoding, Frame, Reply, Said, Stream, Subscribed, Transport};
use crate::load::dial::{Target, prepare, read_answer};
use crate::load::link::{Buffers, Link, Received};
use crate::load::transport::Compression;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::epoll;
use rustix::fd::OwnedFd;

const CONNECT: u32 = 1;
const SUBSCRIBE: u32 = 2;

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The token of its connect command.
    pub token: Option<&'a str>,
    /// The room, and the epoch and offset from which it recovers; nothing if it only connects.
    pub room: Option<(&'a str, Option<(&'a str, u64)>)>,
}

/// How far a client is.
#[derive(Debug)]
enum Stage {
    /// The request is sent; this part of the answer has arrived.
    Handshake(Vec<u8>),
    /// It may send its connect command.
    Ready,
    Connecting,
    /// It is connected, and has not asked for more yet.
    Connected,
    Subscribing,
    Done,
}

/// What a client is sent.
#[derive(Debug)]
enum Inflow {
    Frames(Inbox),
    Stream(Stream),
}

/// What follows what a client has received.
#[derive(PartialEq, Eq, Debug)]
pub enum Progress {
    /// It waits for an answer.
    Waits,
    /// The handshake is over, and the client was told to stop there.
    Ready,
    /// It has what it wanted; said once.
    Done,
    /// It was refused, for this reason.
    Refused(String),
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its connection.
    pub link: Link,
    index: usize,
    encoding: Encoding,
    stage: Stage,
    inflow: Inflow,
    /// Whether it connects as soon as the handshake is over.
    connects: bool,
}

impl Client {
    /// A client whose request is sent.
    pub fn dial(target: &Target, encoding: Encoding, index: usize, connects: bool) -> Result<Self> {
        let link = target.ask(encoding.path(), index)?;
        prepare(link.socket())?;
        rustix::io::ioctl_fionbio(link.socket(), true)?;
        Ok(Self {
            link,
            index,
            encoding,
            stage: Stage::Handshake(Vec::new()),
            inflow: Inflow::Frames(Inbox::new(encoding, 1)),
            connects,
        })
    }

    /// A client of a stream whose request, with all that it wishes, is sent.
    pub fn dial_stream(
        target: &Target,
        transport: Transport,
        index: usize,
        wish: &Wish<'_>,
    ) -> Result<Self> {
        let encoding = Encoding::Json;
        let mut commands = Vec::new();
        encoding.append(CONNECT, Command::Connect(wish.token), &mut commands);
        if let Some((room, from)) = wish.room {
            encoding.append(SUBSCRIBE, Command::Subscribe(room, from), &mut commands);
        }
        let host = target.address.to_string();
        let request = transport.request(encoding, &host, "", &commands);
        let link = target.open_with(&request.context("a WebSocket is no stream")?, index)?;
        prepare(link.socket())?;
        rustix::io::ioctl_fionbio(link.socket(), true)?;
        Ok(Self {
            link,
            index,
            encoding,
            stage: Stage::Connecting,
            inflow: Inflow::Stream(Stream::new(transport, encoding)),
            connects: true,
        })
    }

    /// Has the poll report this client with this number.
    pub fn watch(&self, epoll: &OwnedFd, number: usize) -> Result<()> {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(epoll, self.link.socket(), data, epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Sends the connect command.
    pub fn connect(&mut self, wish: &Wish<'_>) -> Result<()> {
        self.stage = Stage::Connecting;
        self.send(CONNECT, Command::Connect(wish.token))
    }

    fn send(&mut self, id: u32, command: Command<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        append(self.encoding, id, command, &mut bytes);
        self.link.send(&bytes)?;
        Ok(())
    }

    /// Reads what has arrived and goes on. `subscribed` judges the answer to the subscription: its errors are the
    /// server's faults, whereas a client that is refused may come again.
    pub fn advance(
        &mut self,
        buffers: &mut Buffers,
        wish: &Wish<'_>,
        mut subscribed: impl FnMut(&Subscribed<'_>) -> Result<()>,
    ) -> Result<Progress> {
        let refused = |why: &str| Ok(Progress::Refused(why.to_owned()));
        let bytes = match self.link.receive(buffers) {
            Ok(Received::Nothing) => return Ok(Progress::Waits),
            Ok(Received::End) => return refused("the server ended the connection"),
            Err(error) => return refused(&format!("{error:#}")),
            Ok(Received::Bytes(bytes)) => bytes,
        };
        if let Stage::Handshake(head) = &mut self.stage {
            head.extend_from_slice(bytes);
            match read_answer(head, Compression::Off, self.index) {
                Err(error) => return refused(&format!("{error:#}")),
                Ok(None) => return Ok(Progress::Waits),
                Ok(Some(answer)) => ensure!(
                    answer.bytes == head.len(),
                    "the server sent a message that nobody asked for"
                ),
            }
            self.stage = Stage::Ready;
            if !self.connects {
                return Ok(Progress::Ready);
            }
            self.connect(wish)?;
            return Ok(Progress::Waits);
        }
        let was_done = matches!(self.stage, Stage::Done);
        let mut fault = None;
        let mut next = Progress::Waits;
        let (encoding, stage) = (self.encoding, &mut self.stage);
        let asked_for_all = matches!(self.inflow, Inflow::Stream(_)) && wish.room.is_some();
        let taken = self.inflow.take(bytes, encoding, |one| {
            for said in encoding.read(one)? {
                match (&*stage, said) {
                    (Stage::Connecting, Said::Reply(CONNECT, Reply::Connected(_))) => {
                        *stage = match asked_for_all {
                            true => Stage::Subscribing,
                            false => Stage::Connected,
                        };
                    }
                    (Stage::Subscribing, Said::Reply(SUBSCRIBE, Reply::Subscribed(it))) => {
                        fault = subscribed(&it).err();
                        *stage = Stage::Done;
                    }
                    (_, Said::Reply(_, Reply::Failed(code))) => {
                        next = Progress::Refused(format!("error {code}"));
                    }
                    (_, other) => anyhow::bail!("unexpected: {other:?}"),
                }
            }
            Ok(())
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        if let Err(error) = taken {
            return refused(&format!("{error:#}"));
        }
        let next = self.go_on(next, wish)?;
        Ok(match next {
            Progress::Done if was_done => Progress::Waits,
            next => next,
        })
    }

    /// Subscribes as soon as the client is connected.
    fn go_on(&mut self, next: Progress, wish: &Wish<'_>) -> Result<Progress> {
        if let Inflow::Frames(inbox) = &self.inflow
            && !inbox.owed.is_empty()
        {
            self.link.send(&inbox.owed)?;
        }
        if let Stage::Connected = self.stage {
            self.stage = match wish.room {
                None => Stage::Done,
                Some((room, from)) => {
                    self.send(SUBSCRIBE, Command::Subscribe(room, from))?;
                    Stage::Subscribing
                }
            };
        }
        Ok(match self.stage {
            Stage::Done if next == Progress::Waits => Progress::Done,
            _ => next,
        })
    }
}

impl Inflow {
    /// Calls `each` for everything that the server says with these bytes and those before, one at a time, pings aside.
    /// Those of a stream are not answered: no client here stays for two of them.
    fn take(
        &mut self,
        bytes: &[u8],
        encoding: Encoding,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let stream = match self {
            Self::Frames(inbox) => return inbox.take(0, bytes, each),
            Self::Stream(stream) => stream,
        };
        stream.push(bytes);
        while let Some(frame) = stream.next()? {
            let Frame::Message(message) = frame else {
                bail!("the server ended the stream");
            };
            let mut rest = &message[..];
            while !rest.is_empty() {
                match encoding.split_first(&mut rest)? {
                    b"{}" => {}
                    one => each(one)?,
                }
            }
        }
        Ok(())
    }
}
