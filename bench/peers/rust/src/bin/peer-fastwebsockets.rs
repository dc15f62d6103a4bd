//! The peer `fastwebsockets`: echo and rooms behind hyper's upgrade, flushed once per batch.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;

use anyhow::Result;
use bytes::Bytes;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError, WebSocketWrite, upgrade,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use peers::{BATCH_MESSAGES, Endpoint, Membership, QUEUE_MESSAGES_MAX, Rooms, serve};
use tokio::io::{BufWriter, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

type Reader = FragmentCollectorRead<ReadHalf<TokioIo<Upgraded>>>;
/// The library writes each frame at once, so this buffer lets a batch leave in one call.
type Writer = WebSocketWrite<BufWriter<WriteHalf<TokioIo<Upgraded>>>>;

/// One frame to send, whose payload is shared by all receivers.
#[derive(Clone)]
struct Outgoing {
    opcode: OpCode,
    payload: Bytes,
}

impl From<Frame<'_>> for Outgoing {
    fn from(frame: Frame<'_>) -> Self {
        let payload = match frame.payload {
            Payload::Bytes(bytes) => bytes.freeze(),
            Payload::Owned(bytes) => Bytes::from(bytes),
            borrowed => Bytes::copy_from_slice(&borrowed),
        };
        Self {
            opcode: frame.opcode,
            payload,
        }
    }
}

fn main() -> Result<()> {
    let rooms = Rooms::default();
    serve(move |stream| {
        // The outcome of a connection is ignored: the load generator checks what it receives.
        tokio::spawn(http(stream, rooms.clone()));
    })
}

async fn http(stream: TcpStream, rooms: Rooms<Outgoing>) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| ready(answer(request, &rooms)));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
}

fn answer(
    mut request: Request<Incoming>,
    rooms: &Rooms<Outgoing>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let Some(endpoint) = Endpoint::from_path(request.uri().path()) else {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    };
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    // The member joins before the response is sent, so that the client misses no message of the
    // room.
    let joined = match endpoint {
        Endpoint::Room(name) => {
            let (sender, queue) = mpsc::channel(QUEUE_MESSAGES_MAX);
            Some((rooms.join(name, sender), queue))
        }
        Endpoint::Echo => None,
    };
    tokio::spawn(async move {
        let (reader, writer) = upgraded.await?.split(|stream| {
            let (reader, writer) = tokio::io::split(stream);
            (reader, BufWriter::new(writer))
        });
        let reader = FragmentCollectorRead::new(reader);
        match joined {
            None => echo(reader, writer).await,
            Some((membership, queue)) => room(reader, writer, membership, queue).await,
        }
    });
    Ok(response)
}

/// Flushes once no further frame is ready to be read.
async fn echo(mut reader: Reader, mut writer: Writer) -> Result<(), WebSocketError> {
    let (replies, mut queue) = mpsc::channel::<Outgoing>(1);
    let mut reply = |frame: Frame<'_>| ready(replies.try_send(frame.into()));
    loop {
        let frame = {
            // An unfinished read must not be dropped, because the library would lose bytes.
            let mut read = pin!(reader.read_frame(&mut reply));
            tokio::select! {
                biased;
                frame = &mut read => frame?,
                () = ready(()) => {
                    writer.flush().await?;
                    read.await?
                }
            }
        };
        while let Ok(control) = queue.try_recv() {
            writer.write_frame(frame_of(&control)).await?;
        }
        match frame.opcode {
            OpCode::Text | OpCode::Binary => writer.write_frame(frame).await?,
            OpCode::Close => return writer.flush().await,
            _ => {}
        }
    }
}

async fn room(
    reader: Reader,
    writer: Writer,
    membership: Membership<Outgoing>,
    queue: mpsc::Receiver<Outgoing>,
) -> Result<(), WebSocketError> {
    let mut writing = tokio::spawn(write_queue(writer, queue));
    tokio::select! {
        outcome = read_into_room(reader, membership) => outcome, // the writer sends what is left
        _ = &mut writing => Ok(()), // it lagged too far and was taken out of the room
    }
}

async fn read_into_room(
    mut reader: Reader,
    membership: Membership<Outgoing>,
) -> Result<(), WebSocketError> {
    let mut reply = |frame: Frame<'_>| answer_control(&membership, frame);
    loop {
        let frame = reader.read_frame(&mut reply).await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => membership.publish(&frame.into()),
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

fn answer_control(
    membership: &Membership<Outgoing>,
    frame: Frame<'_>,
) -> Ready<Result<(), Infallible>> {
    // A subscriber that has left the room is about to be closed.
    membership.reply(frame.into());
    ready(Ok(()))
}

/// Ends when the queue ends: the reader has ended, or this subscriber lagged too far.
async fn write_queue(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Outgoing>,
) -> Result<(), WebSocketError> {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MESSAGES).await > 0 {
        for outgoing in &batch {
            writer.write_frame(frame_of(outgoing)).await?;
        }
        batch.clear();
        writer.flush().await?;
    }
    Ok(())
}

fn frame_of(outgoing: &Outgoing) -> Frame<'_> {
    Frame::new(
        true,
        outgoing.opcode,
        None,
        Payload::Borrowed(&outgoing.payload),
    )
}
