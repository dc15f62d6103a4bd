//! The connection actor: one task per socket, from its first byte to its removal.
//!
//! When its socket reports something, the actor receives once into the core's buffer and takes
//! what came as far as the connection may go now. When it may not go on, because its queue is
//! full or its rooms cannot take more, the rest of that one receive is kept and the socket is
//! not read until the wait is over. It is kept for a turn, too, when taking it costs more than the
//! connection's share of one (`cost.rs`).

use std::{
    future::poll_fn,
    io, mem,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::Poll,
    time::Instant,
};

use slotmap::Key;
use tracing::{debug, error};

use crate::{
    admission::Admitted,
    connection::{Arrival, Connection, ConnectionKey, Last, Stage, Unread, Wait},
    core::{Core, State, ms},
    cost::Share,
    end::EndReason,
    ration::Ration,
    send_queue::Sending,
    socket::{Arrived, Received, Socket},
    steps::Progress,
};

/// Where an actor stands after a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing to do until somebody asks for attention.
    Wait,
    /// There may be more to receive; others have their turn first.
    More,
    /// More was received than one turn may make of it; others have their turn first.
    Rest,
    /// Over.
    End,
}

/// How far received bytes were taken, and what follows.
struct Taken {
    bytes: usize,
    flow: Flow,
}

/// Runs a connection until it is over.
pub(crate) async fn run(core: Rc<Core>, key: ConnectionKey) {
    let mut flow = Flow::Wait;
    while flow != Flow::End {
        match flow {
            Flow::More | Flow::Rest => core.turnstile.pass().await,
            _ => core.attention(key).await,
        }
        flow = core.attend_in_turn(key).await;
        core.state.borrow_mut().count_unfinished(key);
    }
    let connection = core.state.borrow_mut().remove(key);
    core.end_session(key, connection);
}

impl Core {
    /// A panic in here closes this connection with 1011 and nothing else.
    fn guard(&self, key: ConnectionKey, work: impl FnOnce() -> Flow) -> Flow {
        // Unwind safety: `work` changes shared state only through `RefCell`s that it releases,
        // and what it leaves half done belongs to this connection, which is over.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            let connection = key.data().as_ffi();
            error!(connection, "a connection's code panicked");
            let mut state = self.state.borrow_mut();
            state.tally.panics += 1;
            state.close(key, EndReason::Panicked);
            Flow::More
        })
    }

    /// Tells the session that it is over, and drops it: its code twice more, so guarded twice more.
    fn end_session(&self, key: ConnectionKey, connection: Option<Connection>) {
        let Some(mut session) = connection.and_then(|connection| connection.session) else {
            return;
        };
        self.guard(key, || {
            session.closed();
            Flow::End
        });
        self.guard(key, || {
            drop(session);
            Flow::End
        });
    }

    /// Takes a connection in, whose actor the caller starts.
    pub(crate) fn admit(
        &self,
        socket: Socket,
        peer: SocketAddr,
        admitted: Admitted,
    ) -> io::Result<ConnectionKey> {
        let mut state = self.state.borrow_mut();
        let time = admitted.time(state.shared.config.timeouts.handshake);
        let now_ns = state.shared.now_ns();
        let connection = Connection::new(socket, peer, admitted, now_ns, ms(time));
        let State {
            connections, tally, ..
        } = &mut *state;
        let key = connections.insert(connection);
        self.poller
            .watch(&connections[key].socket, key)
            .inspect_err(|_| drop(connections.remove(key)))?;
        // From here on it has an end that is counted.
        tally.opened += 1;
        state.meet(key);
        Ok(key)
    }

    /// Waits until somebody asks for the connection's attention.
    async fn attention(&self, key: ConnectionKey) {
        poll_fn(|context| match self.state.borrow().connections.get(key) {
            Some(connection) => connection.attention.poll(context),
            None => Poll::Ready(()),
        })
        .await;
    }

    /// Attends to a connection once, when its turn has come at what is rationed.
    async fn attend_in_turn(&self, key: ConnectionKey) -> Flow {
        let Some(ration) = self.ration(key) else {
            return self.guard(key, || self.attend(key));
        };
        let has_waited = ration.enter(&self.turnstile).await;
        let began = Instant::now();
        let flow = self.guard(key, || {
            let is_over = has_waited && self.state.borrow_mut().end_overdue_handshake(key);
            match is_over {
                true => self.state.borrow().flow(key),
                false => self.attend(key),
            }
        });
        ration.spend(began.elapsed().as_nanos() as u64);
        flow
    }

    /// What is rationed of what a connection is about to do, if anything is.
    fn ration(&self, key: ConnectionKey) -> Option<&Ration> {
        let state = self.state.borrow();
        let connection = state.connections.get(key)?;
        if !connection.arrival.is_readable && !connection.has_kept() {
            None
        } else if connection.socket.is_handshaking() {
            Some(&self.handshakes)
        } else {
            connection.has_compression().then_some(&self.compression)
        }
    }

    /// Goes on with what was kept, then receives once, within the connection's share of the turn.
    fn attend(&self, key: ConnectionKey) -> Flow {
        let mut state = self.state.borrow_mut();
        let Some(connection) = state.connections.get_mut(key) else {
            return Flow::End;
        };
        let has_kept = connection.pause.is_some() || connection.has_kept();
        let mut kept = mem::take(&mut connection.kept);
        let is_measured = connection.has_compression();
        if has_kept {
            state.need_turn();
        }
        let since_ns = is_measured.then(|| state.shared.now_ns());
        let mut share = Share::new(&state.tally, since_ns);
        drop(state);
        if has_kept {
            let Taken { bytes, flow } = self.take(key, &mut share, kept.rest());
            kept.advance(bytes);
            self.keep(key, kept);
            if flow != Flow::More || share.is_used_up() {
                return flow;
            }
        }
        self.receive(key, &mut share)
    }

    fn receive(&self, key: ConnectionKey, share: &mut Share) -> Flow {
        let mut state = self.state.borrow_mut();
        state.need_turn();
        let Some(connection) = state.connections.get_mut(key) else {
            return Flow::End;
        };
        if matches!(connection.stage, Stage::Over) {
            return Flow::End;
        }
        if !connection.arrival.is_readable {
            return Flow::Wait;
        }
        let mut arrivals = self.arrivals.borrow_mut();
        let header = connection.client.header_bytes();
        let received = match header {
            None => {
                let peer = connection.arrival.peer_stream();
                connection.socket.receive(&mut arrivals, peer)
            }
            Some(bytes) => connection
                .socket
                .receive_before(&mut arrivals.plain[..bytes]),
        };
        connection.arrival.took(&received);
        state.note(key, &received);
        let Some(connection) = state.connections.get_mut(key) else {
            return Flow::End;
        };
        match received.arrived {
            Arrived::Nothing => Flow::Wait,
            Arrived::End => state.peer_ended(key),
            Arrived::Plain(bytes) if header.is_some() => {
                state.take_proxy_header(key, &mut arrivals.plain[..bytes]);
                state.flow(key)
            }
            Arrived::Plain(bytes) => {
                drop(state);
                let received = &mut arrivals.plain[..bytes];
                let Taken { bytes, flow } = self.take(key, share, received);
                if bytes < received.len() {
                    self.keep(key, Unread::of(&received[bytes..]));
                }
                flow
            }
            Arrived::PlainHttp(bytes) => {
                let request = &mut arrivals.plain[..bytes];
                state.answer_as_http(key, request, EndReason::PlainHttp);
                state.flow(key)
            }
            Arrived::TlsFailed(error) => {
                debug!(peer = %connection.peer, %error, "TLS failed");
                state.give_up(key, EndReason::TlsFailed);
                state.flow(key)
            }
            Arrived::Failed(error) => {
                debug!(peer = %connection.peer, %error, "receiving failed");
                connection.end(EndReason::SocketFailed(connection.reached()));
                Flow::End
            }
        }
    }

    /// Takes received bytes as far as the connection may go now and in this turn.
    fn take(&self, key: ConnectionKey, share: &mut Share, received: &mut [u8]) -> Taken {
        let mut bytes = 0;
        let flow = loop {
            let mut state = self.state.borrow_mut();
            let taken = match state.step(key, &mut received[bytes..]) {
                Progress::Consumed(taken) => taken,
                Progress::Exhausted => {
                    bytes = received.len();
                    break state.flow(key);
                }
                Progress::Wait(wait) => {
                    state.pause(key, wait);
                    break Flow::Wait;
                }
            };
            bytes += taken;
            let connection = state.connections.get(key);
            let is_inflating = connection.is_some_and(|it| it.protocol.is_inflating());
            share.pay(taken, is_inflating, &state.tally, || state.shared.now_ns());
            if share.is_used_up() && (bytes < received.len() || is_inflating) {
                break Flow::Rest;
            }
        };
        Taken { bytes, flow }
    }

    /// Keeps what a connection may not take now.
    fn keep(&self, key: ConnectionKey, kept: Unread) {
        if let Some(connection) = self.state.borrow_mut().connections.get_mut(key) {
            connection.kept = kept;
        }
    }
}

impl State {
    /// Counts what a receive brought, which is a sign of life. TLS may have something to say to it.
    fn note(&mut self, key: ConnectionKey, received: &Received) {
        self.tally.received_bytes += received.wire as u64;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if received.wire > 0
            && let Stage::Open { heartbeat } = &mut connection.stage
        {
            let now_ms = self.received_ns / 1_000_000;
            heartbeat.hold(now_ms + ms(self.shared.config.timeouts.pong));
        }
        if connection.socket.unsent_bytes() > 0 {
            connection.mark_dirty(key, &mut self.dirty);
        }
        self.tally.tls_steps += u64::from(received.has_shaken);
        if let Some(secured) = received.secured {
            let took_ns = self.shared.now_ns().saturating_sub(connection.accepted_ns);
            self.tally.secured(secured, took_ns);
        }
    }

    /// Ends a connection whose handshake has taken too long while it waited for its turn: nothing more
    /// is made of what it has sent. Returns whether it did.
    fn end_overdue_handshake(&mut self, key: ConnectionKey) -> bool {
        let now_ms = self.shared.now_ms();
        let connection = self.connections.get(key);
        let overdue = connection.and_then(|it| it.handshake_overdue(|by_ms| now_ms >= by_ms));
        overdue.is_some_and(|reason| {
            self.close(key, reason);
            true
        })
    }

    /// Where a connection stands that has taken all that was received.
    fn flow(&self, key: ConnectionKey) -> Flow {
        match self.connections.get(key) {
            Some(connection) if matches!(connection.stage, Stage::Over) => Flow::End,
            Some(connection) if connection.arrival.is_readable => Flow::More,
            Some(_) => Flow::Wait,
            None => Flow::End,
        }
    }

    /// The peer's stream has ended. What came before is still answered in full: it may read on.
    fn peer_ended(&mut self, key: ConnectionKey) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::End;
        };
        let reason = EndReason::PeerGone(connection.reached());
        connection.end(reason);
        connection.arrival = Arrival::default();
        let is_owed = connection.window_bytes > 0 || connection.queued_bytes(&self.shards) > 0;
        match &mut connection.stage {
            Stage::Closing { last, .. } if connection.queue.sending != Sending::Idle => {
                *last = Last::Nothing;
                Flow::Wait
            }
            Stage::Finishing { last, .. } => {
                *last = Last::Nothing;
                Flow::Wait
            }
            Stage::Open { .. } if is_owed => {
                self.finish(key, Last::Nothing, reason);
                Flow::Wait
            }
            _ => {
                // Best effort: a peer that has ended its stream may still read.
                let sent = connection.socket.say_last().unwrap_or_default();
                self.tally.sent_bytes += sent.wire as u64;
                Flow::End
            }
        }
    }

    fn pause(&mut self, key: ConnectionKey, wait: Wait) {
        let now_ms = self.shared.now_ms();
        if let Some(connection) = self.connections.get_mut(key) {
            connection.begin_pause(wait, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, sync::Arc};

    use codec::{
        Connection as Protocol, DeflatePolicy, Deflater, Event, Inflater, Kind, Limits, Message,
        Opcode, frame::encode_masked,
    };
    use hub::RoomId;

    use super::*;
    use crate::{
        config::Config,
        encoder::WireForm,
        fixture::{on_each_driver, open},
        session::{Outlet, Session},
    };

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

    /// What the codec lets a client say, and what it does not.
    const PING: u8 = 0x89;
    const TEXT: u8 = 0x81;
    const COMPRESSED: u8 = 0xc1;
    const RECEIVE_BYTES: usize = 64 << 10;

    struct Echo;

    impl Session for Echo {
        fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
            if !outlet.publish(message.kind, message.payload) {
                outlet.send(message.kind, message.payload);
            }
        }
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        encode_masked(Opcode::Text, true, [1, 2, 3, 4], payload, &mut frame);
        frame[0] = first;
        frame
    }

    fn websocket(compresses: bool) -> Protocol {
        let mut protocol = Protocol::new();
        let mut request = REQUEST.to_owned().into_bytes();
        let step = protocol.receive(&mut request, &Limits::default(), &mut Inflater::default());
        let Some(Event::Request(request)) = step.event else {
            panic!("no request but {step:?}");
        };
        let policy = DeflatePolicy {
            window_bits: 15,
            server_takeover: false,
            client_takeover: true,
        };
        let deflate = request.deflate(&policy).filter(|_| compresses);
        let accept = request.upgrade().unwrap().accept;
        protocol.accept(&accept, None, deflate, &mut Vec::new());
        protocol
    }

    /// An open echo that has received this, or a member of a room.
    fn receiving(
        core: &Core,
        compresses: bool,
        in_room: bool,
        bytes: &[u8],
    ) -> (ConnectionKey, TcpStream) {
        let state = &mut *core.state.borrow_mut();
        state.shared.config = Arc::new(Config {
            limits: Limits {
                message_fragments_max: 0,
                ..Limits::default()
            },
            publish_window_bytes: usize::MAX,
            send_queue_bytes_max: usize::MAX,
            ..Config::default()
        });
        state.outboxes.allow(usize::MAX);
        let (key, peer) = open(state);
        let room = RoomId {
            home: core.id,
            token: 1,
        };
        let subscription = in_room.then(|| state.shards.subscribe(room, WireForm::Plain, key));
        let connection = &mut state.connections[key];
        connection.subscriptions.extend(subscription);
        connection.protocol = websocket(compresses);
        connection.session = Some(Box::new(Echo));
        connection.kept = Unread::of(bytes);
        (key, peer)
    }

    /// How much of this one turn takes.
    fn taken_of(core: &Core, compresses: bool, in_room: bool, bytes: &[u8]) -> (usize, Flow) {
        let (key, _peer) = receiving(core, compresses, in_room, bytes);
        let flow = core.attend(key);
        let mut state = core.state.borrow_mut();
        let rest = state.connections[key].kept.rest().len();
        state.remove(key);
        (bytes.len() - rest, flow)
    }

    #[test]
    fn connection_that_cannot_be_watched_is_not_counted() {
        on_each_driver(async |core| {
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            let admitted = core.admit(Socket::unwatchable(), peer, Admitted::Yes);
            assert!(admitted.is_err());
            let state = core.state.borrow();
            assert_eq!((state.tally.opened, state.connections.len()), (0, 0));
        });
    }

    #[test]
    fn turn_takes_from_a_connection_what_costs_no_more_than_its_share() {
        on_each_driver(async |core| {
            let fill = |frame: Vec<u8>| {
                let times = RECEIVE_BYTES / frame.len();
                (frame.len(), frame.repeat(times))
            };
            for (what, frames_most, in_room, frame) in [
                ("messages of a byte", 127, false, frame(TEXT, b"x")),
                ("empty messages", 127, false, frame(TEXT, b"")),
                ("pings", 127, false, frame(PING, b"")),
                ("pongs", 127, false, frame(0x8a, b"")),
                ("publications of a byte", 64, true, frame(TEXT, b"x")),
                (
                    "messages of a kibibyte",
                    43,
                    false,
                    frame(TEXT, &[b'x'; 1024]),
                ),
            ] {
                let (frame_bytes, bytes) = fill(frame);
                let (taken, flow) = taken_of(&core, false, in_room, &bytes);
                assert_eq!(
                    (taken / frame_bytes, flow),
                    (frames_most, Flow::Rest),
                    "{what}"
                );
            }
            let fragments = [frame(0x01, b"x"), frame(0, b"x").repeat(9_000)].concat();
            let (taken, flow) = taken_of(&core, false, false, &fragments);
            assert_eq!((taken / 7, flow), (106 * 16, Flow::Rest));
            // A message as large as the share is one turn's, with what came behind it.
            let large = [frame(TEXT, &[b'x'; 60_000]), frame(TEXT, b"x")].concat();
            let (taken, flow) = taken_of(&core, false, false, &large);
            assert_eq!((taken, flow), (large.len(), Flow::Wait));
        });
    }

    /// Some are measured: no more of them, and one at least.
    #[test]
    fn turn_takes_of_what_came_compressed_no_more_than_its_share() {
        on_each_driver(async |core| {
            let small = frame(COMPRESSED, &[0x4a, 0x04, 0x00]);
            let small_bytes = small.len();
            let small = small.repeat(RECEIVE_BYTES / small_bytes);
            let bomb = {
                let mut of_server = Vec::new();
                let plain = [b'x'; RECEIVE_BYTES];
                Deflater::new(9, 15).encode_message(Kind::Text, &plain, &mut of_server);
                frame(COMPRESSED, &of_server[2..])
            };
            let bomb_bytes = bomb.len();
            let bombs = bomb.repeat(100);
            for (what, frames_most, frame_bytes, bytes) in [
                ("messages of a byte", 127, small_bytes, small),
                ("bombs", 1, bomb_bytes, bombs),
            ] {
                let (taken, flow) = taken_of(&core, true, false, &bytes);
                let frames = taken / frame_bytes;
                assert!((1..=frames_most).contains(&frames), "{what}: {frames}");
                assert_eq!(flow, Flow::Rest, "{what}");
            }
        });
    }

    /// Blocks without content: their message is taken at once, and inflated over many turns.
    #[test]
    fn message_that_inflates_to_nothing_takes_many_turns_and_arrives() {
        on_each_driver(async |core| {
            let blocks = [&b"\0\0\0\xff\xff".repeat(8_000)[..], &[0]].concat();
            let bytes = [frame(COMPRESSED, &blocks), frame(TEXT, b"behind it")].concat();
            let (key, _peer) = receiving(&core, true, false, &bytes);
            let mut turns = 1;
            while core.attend(key) == Flow::Rest {
                turns += 1;
            }
            // 40 kibibytes, of which a turn inflates nine at most.
            assert!(turns >= 5, "{turns}");
            let state = core.state.borrow();
            assert_eq!(state.tally.frames_received.text, 2);
            assert_eq!(state.tally.payload_received.bytes(), 9);
            assert_eq!(state.tally.message_bytes.count(), 2);
        });
    }

    /// What is kept is not copied again from turn to turn.
    #[test]
    fn rest_of_a_receive_stays_where_it_is_from_turn_to_turn() {
        on_each_driver(async |core| {
            let bytes = frame(TEXT, b"x").repeat(9_000);
            let (key, _peer) = receiving(&core, false, false, &bytes);
            let place = |core: &Core| {
                let mut state = core.state.borrow_mut();
                let rest = state.connections[key].kept.rest();
                (rest.len(), rest.as_ptr() as usize)
            };
            let (mut before, mut at) = place(&core);
            for _ in 0..3 {
                assert_eq!(core.attend(key), Flow::Rest);
                let (left, now_at) = place(&core);
                assert_eq!(before - left, now_at - at);
                (before, at) = (left, now_at);
            }
        });
    }
}
