//! Listening and accepting: one SO_REUSEPORT listener for each core and address.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    net::{SocketAddr, TcpListener},
    rc::Rc,
    time::Duration,
};

use codec::ResponseHead;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Type};
use tracing::{debug, warn};

use super::{Core, State};
use crate::{
    admission::Admitted,
    clock::ms,
    connection::Connection,
    io::{Socket, Tls},
    kernel::{Connected, Listener, Listening, Reserve, sleep},
    observe::Date,
    turn::bounds::ACCEPTS,
};

/// Connections that the kernel keeps for us while we are busy; it takes less if its own bound
/// (`net.core.somaxconn`) is lower.
const BACKLOG: i32 = 4096;

/// How long to leave the backlog alone when nobody can be let in.
const BACKOFF: Duration = Duration::from_millis(10);

/// Checks that nobody listens on an address and returns it, with the port that was found if it
/// asked for any.
///
/// SO_REUSEPORT would let a second server bind in silence and take half of the connections, so
/// the address is first bound without it.
pub(crate) fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = stream_socket(address)?;
    // Bound but not listening: nobody can connect here only to be reset.
    socket.bind(&SockAddr::from(address))?;
    let bound = socket.local_addr()?;
    bound
        .as_socket()
        .ok_or_else(|| io::Error::other("not an internet address"))
}

/// Listens on an address that other cores listen on too.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = stream_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn stream_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // A port whose last connections are still in TIME_WAIT is free.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // An IPv4 listener on the same port is another address, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Accepts connections of one listener for one core.
pub(crate) struct Acceptor {
    core: Rc<Core>,
    listener: Listener,
    /// Given up for a moment when descriptors run out, so that the backlog moves.
    reserve: RefCell<Option<Reserve>>,
    has_tls: bool,
    has_stopped: Cell<bool>,
    warn_again_ms: Cell<u64>,
}

/// What accepting came to.
enum Accepted {
    /// The backlog is empty.
    All,
    /// There is more, but others want the core.
    More,
    /// Nobody can be let in now.
    Nobody,
}

impl Acceptor {
    /// Needs a running core.
    pub(crate) fn new(core: Rc<Core>, listening: Listening) -> io::Result<Rc<Self>> {
        let has_tls = core.state.borrow().parts.config.tls.is_some();
        Ok(Rc::new(Self {
            core,
            has_tls,
            listener: Listener::new(listening)?,
            reserve: RefCell::new(Reserve::open()),
            has_stopped: Cell::new(false),
            warn_again_ms: Cell::new(0),
        }))
    }

    /// Accepts until it is stopped.
    pub(crate) async fn run(self: Rc<Self>) {
        while !self.has_stopped.get() {
            match self.accept_waiting() {
                Accepted::More => self.core.turnstile.pass().await,
                Accepted::Nobody => sleep(BACKOFF).await,
                Accepted::All => {
                    if let Err(error) = self.listener.readable().await {
                        warn!(%error, "waiting for connections failed");
                        sleep(BACKOFF).await;
                    }
                }
            }
        }
    }

    /// Accepts the backlog, as far as there are places and descriptors, then listens no longer.
    pub(crate) fn stop(&self) {
        while matches!(self.accept_waiting(), Accepted::More) {}
        self.has_stopped.set(true);
        // Wakes the task that waits for the listener. It has no connections left to reset.
        self.listener.shut();
    }

    fn accept_waiting(&self) -> Accepted {
        for _ in 0..ACCEPTS {
            let admission = self.core.state.borrow().parts.admission.clone();
            let admitted = admission.enter();
            if admitted == Admitted::Wait {
                return Accepted::Nobody;
            }
            match self.listener.accept() {
                Ok((connected, peer)) => {
                    if let Err(error) = self.start(connected, peer, admitted) {
                        debug!(%peer, %error, "connection lost before it began");
                        admission.leave(admitted);
                    }
                }
                Err(error) => {
                    admission.leave(admitted);
                    let mut state = self.core.state.borrow_mut();
                    let counters = &mut state.parts.counters;
                    let errors = &mut counters.tally.accept_errors;
                    match error {
                        Errno::WOULDBLOCK | Errno::INVAL => return Accepted::All,
                        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                            errors.descriptors += 1;
                            self.warn(error);
                            self.refuse_one(&mut counters.date);
                            return Accepted::Nobody;
                        }
                        // The peer gave up while it waited (accept(2)).
                        Errno::CONNABORTED => errors.aborted += 1,
                        Errno::INTR => {}
                        // Nothing is known of it, so it may come again at once and for ever.
                        _ => {
                            errors.other += 1;
                            self.warn(error);
                            return Accepted::Nobody;
                        }
                    }
                }
            }
        }
        Accepted::More
    }

    /// At most once a second, however many there are.
    fn warn(&self, error: Errno) {
        let now_ms = self.core.clock.ns() / 1_000_000;
        if self.warn_again_ms.get() <= now_ms {
            self.warn_again_ms.set(now_ms + 1000);
            warn!(%error, "connections cannot be accepted");
        }
    }

    fn start(&self, connected: Connected, peer: SocketAddr, admitted: Admitted) -> io::Result<()> {
        let mut state = self.core.state.borrow_mut();
        let tls = state.tls(admitted)?;
        let socket = Socket::new(connected, tls)?;
        state.admit(&self.core, socket, peer, admitted)
    }

    /// With the reserve's descriptor, accepts one connection to tell it that there is none.
    fn refuse_one(&self, date: &mut Date) {
        *self.reserve.borrow_mut() = None;
        if let Ok((connected, peer)) = self.listener.accept() {
            debug!(%peer, "connection refused: no descriptor");
            // Under TLS it would be no more than a broken record.
            if !self.has_tls {
                let answer = no_descriptor(date.at(self.core.clock.ns()));
                let _ = connected.send(&[IoSlice::new(&answer)]);
            }
            connected.shut_sending();
        }
        self.reserve.replace(Reserve::open());
    }
}

impl State {
    /// TLS for a connection that begins now, if it is configured.
    fn tls(&mut self, admitted: Admitted) -> io::Result<Option<Tls>> {
        let now = self.now();
        let config = &self.parts.config;
        let Some(tls) = config.tls.clone() else {
            return Ok(None);
        };
        let time = admitted.time(config.timeouts.tls_handshake);
        Tls::new(tls, now.ms + ms(time))
            .map(Some)
            .map_err(io::Error::other)
    }

    /// Takes a connection in.
    pub(crate) fn admit(
        &mut self,
        core: &Core,
        socket: Socket,
        peer: SocketAddr,
        admitted: Admitted,
    ) -> io::Result<()> {
        if !self.connections.has_free_slot() {
            return Err(io::Error::other(
                "the core has no slot for another connection",
            ));
        }
        let now = self.now();
        let time = ms(admitted.time(self.parts.config.timeouts.handshake));
        let key = self
            .connections
            .insert(|key| Connection::new(key, socket, peer, admitted, now, time));
        if let Some(connection) = self.connections.get(key)
            && let Err(error) = core.poller.watch(&connection.socket, key)
        {
            drop(self.connections.remove(key));
            return Err(error);
        }
        // From here on it has an end that is counted.
        self.parts.counters.tally.opened += 1;
        self.act(key, now, |actor, _| actor.meet());
        Ok(())
    }
}

/// The 503 for a peer for which no descriptor is left. It has no body, because the request was not read
/// and may be a HEAD.
fn no_descriptor(date: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    ResponseHead {
        status: 503,
        date: Some(date),
        fields: &[("Retry-After", "1")],
        content_length: Some(0),
        keep: false,
    }
    .encode(&mut answer);
    answer
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::OwnedFd};

    use super::*;
    use crate::fixture::on_each_driver;

    #[test]
    fn connection_that_cannot_be_watched_is_not_counted() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            let admitted = state.admit(&core, Socket::unwatchable(), peer, Admitted::Yes);
            assert!(admitted.is_err());
            let opened = state.parts.counters.tally.opened;
            assert_eq!((opened, state.connections.len()), (0, 0));
        });
    }

    #[test]
    fn accepting_that_always_fails_ends_a_turn_and_does_not_keep_the_core_from_stopping() {
        on_each_driver(async |core| {
            core.state.borrow().parts.admission.open(Some(10), 100);
            // Nothing can be accepted from it (EOPNOTSUPP).
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let listener = TcpListener::from(OwnedFd::from(socket));
            let acceptor = Acceptor::new(core.clone(), listener).unwrap();
            assert!(matches!(acceptor.accept_waiting(), Accepted::Nobody));
            acceptor.stop();
            assert_eq!(
                core.state.borrow().parts.counters.tally.accept_errors.other,
                2
            );
        });
    }
}
