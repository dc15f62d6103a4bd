//! The listening sockets: one SO_REUSEPORT socket and one current-thread runtime per thread.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

const BACKLOG: i32 = 4096;

/// The pause in accepting after an error: without free descriptors it would only fail again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The endpoint that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Every message is returned to its sender.
    Echo,
    /// Every message is sent to all members of the room of this name.
    Room(String),
}

impl Endpoint {
    /// The endpoint of a request path, if it is one.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        match path.strip_prefix("/rooms/") {
            Some(name) if !name.is_empty() => Some(Self::Room(name.to_owned())),
            _ => (path == "/echo").then_some(Self::Echo),
        }
    }
}

/// Serves `PORT THREADS` of the command line: `connect` starts the task of one connection.
///
/// # Errors
/// When the arguments are no numbers, or the port cannot be listened on.
pub fn serve(connect: impl Fn(TcpStream) + Clone + Send + 'static) -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: PORT THREADS";
    let port: u16 = arguments.next().context(usage)?.parse().context(usage)?;
    let threads: usize = arguments.next().context(usage)?.parse().context(usage)?;
    for _ in 1..threads {
        let socket = listening_socket(port)?;
        let connect = connect.clone();
        thread::spawn(move || run(socket, connect));
    }
    run(listening_socket(port)?, connect)
}

fn listening_socket(port: u16) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket
        .bind(&address.into())
        .with_context(|| format!("cannot listen on {address}"))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn run(socket: Socket, connect: impl Fn(TcpStream)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(socket.into())?;
        loop {
            match listener.accept().await {
                // A socket that has already ended refuses the option; its task will notice.
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    connect(stream);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    })
}
