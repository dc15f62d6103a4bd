//! The peer `tokio-tungstenite`: echo and rooms, one task per connection, flushed once per batch.

use anyhow::Result;
use futures_util::{FutureExt, SinkExt, StreamExt};
use peers::{BATCH_MESSAGES, Endpoint, QUEUE_MESSAGES_MAX, Rooms, serve};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// The default, 128 KiB, is allocated for each connection; the library's documentation advises a
/// small buffer for servers of many connections. It grows for a larger message.
const READ_BUFFER_BYTES: usize = 8 * 1024;

type Socket = WebSocketStream<TcpStream>;

fn main() -> Result<()> {
    let rooms = Rooms::default();
    serve(move |stream| {
        let rooms = rooms.clone();
        // The outcome of a connection is ignored: the load generator checks what it receives.
        tokio::spawn(async move {
            let _ = connection(stream, rooms).await;
        });
    })
}

async fn connection(stream: TcpStream, rooms: Rooms<Message>) -> Result<(), Error> {
    let mut endpoint = None;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    #[expect(
        clippy::result_large_err,
        reason = "the library's callback has this type"
    )]
    let choose = |request: &Request, response| {
        endpoint = Endpoint::from_path(request.uri().path());
        accepted(endpoint.is_some(), response)
    };
    let socket = accept_hdr_async_with_config(stream, choose, Some(config)).await?;
    match endpoint {
        Some(Endpoint::Room(name)) => room(socket, name, &rooms).await,
        _ => echo(socket).await,
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the library's callback has this type"
)]
fn accepted(known: bool, response: Response) -> Result<Response, ErrorResponse> {
    if known {
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = StatusCode::NOT_FOUND;
    Err(refusal)
}

/// Flushes once no further message is ready to be read. An unfinished `next` can be dropped without
/// loss.
async fn echo(mut socket: Socket) -> Result<(), Error> {
    loop {
        let next = match socket.next().now_or_never() {
            Some(next) => next,
            None => {
                socket.flush().await?;
                socket.next().await
            }
        };
        match next.transpose()? {
            Some(message @ (Message::Text(_) | Message::Binary(_))) => socket.feed(message).await?,
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

/// One task both reads and writes: cheaper than `split`, whose halves share a lock.
async fn room(mut socket: Socket, name: String, rooms: &Rooms<Message>) -> Result<(), Error> {
    let (sender, mut queue) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let membership = rooms.join(name, sender);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            next = socket.next() => match next.transpose()? {
                Some(message @ (Message::Text(_) | Message::Binary(_))) => membership.publish(&message),
                Some(_) => {}
                None => return Ok(()),
            },
            count = queue.recv_many(&mut batch, BATCH_MESSAGES) => {
                if count == 0 {
                    return Ok(()); // it lagged too far and was taken out of the room
                }
                for message in batch.drain(..) {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
        }
    }
}
