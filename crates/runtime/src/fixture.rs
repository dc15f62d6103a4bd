//! What unit tests of a core's parts work with: a core that serves nobody, and connections of it.

use std::{
    hash::RandomState,
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
};

use codec::{Event, Inflater, Kind, Limits, Message, Opcode, Request, frame::encode_masked};
use flume::Receiver;
use hub::{CoreId, Details, Epoch, Keyed, Position, RoomId, RoomName};

use crate::{
    admission::Admitted,
    clock::{Clock, Now},
    config::{Config, DriverChoice},
    connection::{
        Actor, Answer, Application, Connection, Flow, Heartbeat, Outlet, Route, Session, Stage,
    },
    encoding::{BodyEncoder, BodyForm, Delivered, RoomEvent},
    ids::ConnectionKey,
    io::Socket,
    process::CoreRuntime,
    reactor::{Core, Depths, Desk, Poller, Shared, State, Wakes},
    rooms::{Requests, Ticket},
    turn::Turnstile,
};

/// What an update of the key says beside its payload.
pub(crate) fn keyed(key: &str) -> Arc<Details> {
    let keyed = Keyed {
        key: key.into(),
        is_removed: false,
    };
    Arc::new(Details {
        keyed: Some(keyed),
        ..Details::default()
    })
}

/// Runs a test on a core of each driver, whose turns pass.
pub(crate) fn on_each_driver(test: impl AsyncFn(Rc<Core>)) {
    with_requests(async |core, _mailbox| test(core).await);
}

/// As [`on_each_driver`], with the mailbox of the core's rooms, which nobody else empties.
pub(crate) fn with_requests(test: impl AsyncFn(Rc<Core>, Receiver<Vec<hub::Request>>)) {
    for driver in [DriverChoice::IoUring, DriverChoice::Epoll] {
        let (mut runtime, _) = CoreRuntime::build(driver).unwrap();
        runtime.block_on(async {
            let (core, mailbox) = core();
            let turns = core.clone();
            monoio::spawn(async move { turns.turnstile.run().await });
            test(core, mailbox).await;
        });
    }
}

/// What the core has asked its rooms for since it was looked at last.
pub(crate) fn asked(state: &mut State, mailbox: &Receiver<Vec<hub::Request>>) -> Vec<hub::Request> {
    state.parts.rooms.requests.send();
    mailbox.try_iter().flatten().collect()
}

/// Has a connection do something at the beginning of time.
pub(crate) fn act<T>(
    state: &mut State,
    key: ConnectionKey,
    work: impl FnOnce(&mut Actor<'_>) -> T,
) -> T {
    let done = state.act(key, Now::default(), |actor, _| work(actor));
    done.expect("it is there and does not panic")
}

/// One turn of a connection.
pub(crate) fn attend(state: &mut State, key: ConnectionKey) -> Flow {
    let flow = state.act(key, Now::default(), |actor, inbound| actor.attend(inbound));
    flow.expect("it is there and does not panic")
}

/// A WebSocket whose session does so with each message, and its peer.
pub(crate) fn open_with(
    state: &mut State,
    receive: impl FnMut(Message<'_>, &mut Outlet<'_>) + 'static,
) -> (ConnectionKey, TcpStream) {
    let (key, peer) = open(state);
    let connection = at(state, key);
    upgrade(connection);
    connection.session = Some(Box::new(Scripted(receive)));
    (key, peer)
}

struct Scripted<F>(F);

impl<F: FnMut(Message<'_>, &mut Outlet<'_>)> Session for Scripted<F> {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        (self.0)(message, outlet);
    }
}

/// An open connection, and its peer.
pub(crate) fn open(state: &mut State) -> (ConnectionKey, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (connected, address) = listener.accept().unwrap();
    let socket = Socket::new(OwnedFd::from(connected).into(), None).unwrap();
    let key = state.connections.insert(|key| {
        let now = Now::default();
        let mut connection = Connection::new(key, socket, address, Admitted::Yes, now, 0);
        let heartbeat = Heartbeat::PingAt(u64::MAX);
        connection.stage = Stage::Open { heartbeat };
        connection
    });
    (key, peer)
}

/// A room of this core.
pub(crate) const ROOM: RoomId = RoomId {
    home: CoreId(0),
    token: 1,
};

/// The name of every room here.
pub(crate) fn lobby() -> RoomName {
    RoomName::new("lobby").unwrap()
}

/// Takes a connection into a room, in order, whose home's answer has come.
pub(crate) fn enter(state: &mut State, key: ConnectionKey, room: RoomId) -> Ticket {
    let rooms = &mut at(state, key).rooms;
    let ticket = rooms.room(usize::MAX).unwrap();
    rooms.unanswered += 1;
    let position = position(0);
    act(state, key, |actor| {
        actor.joined(ticket, room, &lobby(), (position, None))
    });
    ticket
}

/// A position in a room's order.
pub(crate) fn position(offset: u64) -> Position {
    Position {
        epoch: Epoch(1),
        offset,
    }
}

/// Has a room say so many bytes to all of its subscribers.
pub(crate) fn say(state: &mut State, room: RoomId, bytes: usize) {
    let mut frame = Vec::new();
    codec::encode_message(Kind::Binary, &vec![7; bytes], &mut frame);
    let shards = &mut state.parts.rooms.shards;
    shards.offer(room, 0, None, |_, _, log| log.append([&frame, &[]]));
}

/// The connection of a key, which is there.
pub(crate) fn at(state: &mut State, key: ConnectionKey) -> &mut Connection {
    state.connections.get_mut(key).expect("it is there")
}

/// Another configuration.
pub(crate) fn configure(state: &mut State, config: Config) {
    state.parts.config = Arc::new(config);
}

/// Lets a connection's protocol take frames, as after its handshake.
pub(crate) fn upgrade(connection: &mut Connection) {
    let mut request =
        *b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let (limits, mut inflater) = (Limits::default(), Inflater::default());
    let protocol = &mut connection.protocol;
    let step = protocol.receive(&mut request, &limits, &mut inflater);
    let Some(Event::Request(request)) = step.event else {
        panic!("a request");
    };
    let accept = request.upgrade().unwrap().accept;
    protocol.accept(&accept, None, None, &mut Vec::new());
}

/// A message of a client.
pub(crate) fn message(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_masked(Opcode::Text, true, [1, 2, 3, 4], payload, &mut frame);
    frame
}

/// A control frame of a client, under a mask that changes nothing.
pub(crate) fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let head = [0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    [&head[..], payload].concat()
}

/// Bodies of which a frame may have several: each message is a line, and in forms of even numbers each who comes.
pub(crate) struct Lines;

impl BodyEncoder for Lines {
    fn encode(
        &self,
        form: BodyForm,
        delivered: &Delivered<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Kind> {
        match delivered.event {
            RoomEvent::Message { payload, .. } => body.extend_from_slice(payload),
            RoomEvent::Came(member) if form.0.is_multiple_of(2) => {
                body.extend_from_slice(&member.info)
            }
            RoomEvent::Came(_) | RoomEvent::Went(_) => return None,
        }
        body.push(b'\n');
        Some(Kind::Text)
    }

    fn gathers(&self, _: BodyForm) -> bool {
        true
    }
}

/// A fixed sequence that looks random, so that a failure can be repeated.
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

struct Nobody;

impl Application for Nobody {
    fn route(&self, _: &Request<'_>) -> Route {
        Route::Answer(Answer::text(404, "nobody"))
    }

    fn protocols(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// A core without loops: the test is them. And the mailbox of its rooms, which nobody empties.
fn core() -> (Rc<Core>, Receiver<Vec<hub::Request>>) {
    let (requests, mailbox) = flume::unbounded();
    let (deliveries, _) = flume::unbounded();
    let (_, commands) = flume::unbounded();
    let shared = Shared {
        config: Arc::new(Config::default()),
        application: Arc::new(Nobody),
        admission: Arc::default(),
        clock: Clock::start(),
    };
    let wakes = Wakes::default();
    let id = CoreId(0);
    let flush = wakes.flush.clone();
    let homes = RandomState::new();
    let (_, mut inboxes) = Desk::new(1, 1, 0, homes.clone());
    let to_homes = Requests::new(id, vec![requests.clone()], homes, 0, flush);
    let (turnstile, poller) = (Turnstile::new().unwrap(), Poller::new().unwrap());
    let depths = Depths {
        requests,
        deliveries,
        commands,
        desk: inboxes.remove(0),
    };
    let core = Core::new(id, shared, to_homes, wakes, turnstile, poller, depths);
    (core, mailbox)
}
