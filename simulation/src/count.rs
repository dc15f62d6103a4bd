//! Scenarios that do one thing many times, for instructions to be counted: one core, calm and without
//! chance, with the bounds that are shipped and peers that write bytes made once and read without parsing.
//!
//! Twice as many times cost so much more: that is the cost of the thing itself, without the start and the
//! connecting around it.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use codec::{Message, Opcode, Request, frame::encode_masked};
use hub::RoomName;
use runtime::{
    Application, BodyForm, Config, Lag, Opening, Outlet, Pings, Route, Session, SessionEvent,
    simulation::{self, Machine, Seed},
};

use crate::world::{Character, Peer, Read, World};

/// What is done many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A message comes back before the next is sent
    EchoAlone,
    /// Sixteen messages are sent at once and come back
    #[value(name = "echo-16-deep")]
    Echo16Deep,
    /// A message goes to a room of 10
    #[value(name = "delivery-10")]
    Delivery10,
    /// A message goes to a room of 1,000
    #[value(name = "delivery-1000")]
    Delivery1000,
    /// A peer connects, opens a WebSocket and closes it
    ConnectClose,
    /// The deadlines of 1,000 idle connections are looked at
    Sweep,
}

/// The payload of an echo, in bytes.
const ECHO_BYTES: usize = 20;

/// The payload of a room's message, in bytes.
const DELIVERY_BYTES: usize = 128;

/// Connections that are idle in [`Scenario::Sweep`].
const IDLE: usize = 1_000;

/// The time between two things that a peer does, so short that no sweep runs in between.
const PACE_NS: u64 = 10_000;

/// Buffers of sockets, which never fill.
const SOCKET_BYTES: usize = 1 << 20;

/// Runs a scenario so many times. Returns how many units of its cost that makes: echoes, deliveries,
/// connections, or idle connections times sweeps.
///
/// # Errors
///
/// When the peers were not told exactly what they should have been, so that something else was counted.
pub fn count(scenario: Scenario, times: usize) -> Result<usize> {
    let mut server = Server::start();
    let units = match scenario {
        Scenario::EchoAlone => server.echo(times, 1),
        Scenario::Echo16Deep => server.echo(times, 16),
        Scenario::Delivery10 => server.deliver(times, 10),
        Scenario::Delivery1000 => server.deliver(times, 1_000),
        Scenario::ConnectClose => server.connect_and_close(times),
        Scenario::Sweep => server.sweep(times),
    };
    server.stop();
    units
}

/// A machine with one core that is served without anything by chance.
struct Server {
    world: Rc<World>,
    machine: Machine,
    peers: u16,
}

impl Server {
    fn start() -> Self {
        // Time passes only where a scenario says so, so that no work is divided because it takes long.
        let calm = Character {
            shuffles_tasks: false,
            look_ns: 0,
            step_ns: 0,
            report_ns: 0,
            timer_ns: 0,
            idle_reports: 0,
        };
        let world = World::new(1, 1, calm);
        simulation::enter(world.clone());
        let (mut machine, tasks) = Machine::new(Seed {
            config: Config {
                connections_max: Some(usize::from(u16::MAX)),
                ..Config::default()
            },
            application: Arc::new(Talk),
            listeners: vec![0],
        });
        for task in tasks {
            world.start(0, task);
        }
        while world.step() {}
        machine.open();
        let server = Self {
            world,
            machine,
            peers: 0,
        };
        server.settle();
        server
    }

    fn stop(self) {
        self.world.stop();
        drop(self.machine);
        simulation::leave();
    }

    fn echo(&mut self, times: usize, deep: usize) -> Result<usize> {
        let peer = self.connect("/")?;
        let messages = text(ECHO_BYTES).repeat(deep);
        for _ in 0..times {
            self.say(peer, &messages);
            self.hear(peer, deep * frame_bytes(ECHO_BYTES))?;
        }
        Ok(times * deep)
    }

    fn deliver(&mut self, times: usize, members: usize) -> Result<usize> {
        let members: Vec<_> = (0..members)
            .map(|_| self.connect("/room"))
            .collect::<Result<_>>()?;
        let message = text(DELIVERY_BYTES);
        for nth in 0..times {
            self.say(members[nth % members.len()], &message);
            for member in &members {
                self.hear(*member, frame_bytes(DELIVERY_BYTES))?;
            }
        }
        Ok(times * members.len())
    }

    fn connect_and_close(&mut self, times: usize) -> Result<usize> {
        let close = frame(Opcode::Close, &1000_u16.to_be_bytes());
        for _ in 0..times {
            let peer = self.connect("/")?;
            self.say(peer, &close);
            self.hear(peer, frame_bytes(2))?;
            self.world
                .with_peer(|sockets, reports| sockets.hang_up(peer, reports));
            self.settle();
            self.ensure_open(0)?;
        }
        Ok(times)
    }

    fn sweep(&mut self, times: usize) -> Result<usize> {
        for _ in 0..IDLE {
            self.connect("/")?;
        }
        let interval_ns = 250_000_000;
        // The first comes at whatever time connecting took.
        self.pass_to_timer();
        let began_ns = self.world.time_ns();
        for _ in 0..times {
            self.pass_to_timer();
        }
        let took_ns = self.world.time_ns() - began_ns;
        let expected_ns = times as u64 * interval_ns;
        ensure!(
            took_ns == expected_ns,
            "{times} sweeps took {took_ns} ns instead of {expected_ns}"
        );
        self.ensure_open(IDLE)?;
        Ok(times * IDLE)
    }

    fn pass_to_timer(&mut self) {
        let at_ns = self.world.next_ns().unwrap_or_default();
        self.world.pass(at_ns.saturating_sub(self.world.time_ns()));
        self.settle();
    }

    /// Opens a WebSocket for a peer of an address of its own, whose bounds it is therefore far below.
    fn connect(&mut self, target: &str) -> Result<Peer> {
        self.peers += 1;
        let [high, low] = self.peers.to_be_bytes();
        let address = SocketAddr::from(([10, 0, high, low], 1_000));
        let peer = self.world.connect(address, SOCKET_BYTES, SOCKET_BYTES);
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        self.settle();
        self.say(peer, request.as_bytes());
        let answer = self.read(peer);
        let is_open = answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n");
        ensure!(
            is_open,
            "no WebSocket: {:?}",
            String::from_utf8_lossy(&answer)
        );
        Ok(peer)
    }

    /// Writes these bytes and lets the core do all that follows.
    fn say(&self, peer: Peer, bytes: &[u8]) {
        self.world
            .with_peer(|sockets, reports| sockets.write(peer, bytes, reports));
        self.settle();
    }

    fn hear(&self, peer: Peer, expected: usize) -> Result<()> {
        let heard = self.read(peer).len();
        ensure!(
            heard == expected,
            "a peer was told {heard} bytes instead of {expected}"
        );
        Ok(())
    }

    fn read(&self, peer: Peer) -> Vec<u8> {
        let read = self
            .world
            .with_peer(|sockets, reports| sockets.read(peer, SOCKET_BYTES, reports));
        match read {
            Read::Bytes(bytes) => bytes,
            Read::End | Read::Reset => Vec::new(),
        }
    }

    /// Lets the core do all that it has to do now.
    fn settle(&self) {
        while self.world.step() {}
        self.world.pass(PACE_NS);
    }

    fn ensure_open(&self, expected: usize) -> Result<()> {
        let (open, _) = self.machine.monitor().connections_and_most();
        ensure!(
            open == expected,
            "{open} connections are open instead of {expected}"
        );
        Ok(())
    }
}

/// Answers each message with itself, or publishes it if the connection is in a room.
struct Talk;

impl Application for Talk {
    fn route(&self, request: &Request<'_>) -> Route {
        let name = request.path().trim_start_matches('/');
        Route::Open(Opening {
            protocol: "talk",
            subprotocol: None,
            room: RoomName::new(name).ok(),
            body: BodyForm::RAW,
            lag: Lag::Close,
            terms: None,
            pings: Pings::Frames,
            session: Box::new(Talk),
        })
    }

    fn protocols(&self) -> Vec<&'static str> {
        vec!["talk"]
    }
}

impl Session for Talk {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        match outlet.room() {
            None => outlet.send(message.kind, message.payload),
            Some(room) => {
                outlet.publish(room, message.kind, message.payload);
            }
        }
    }

    fn handle(&mut self, _: SessionEvent, _: &mut Outlet<'_>) {}
}

fn text(bytes: usize) -> Vec<u8> {
    frame(Opcode::Text, &vec![b'x'; bytes])
}

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_masked(opcode, true, [1, 2, 3, 4], payload, &mut frame);
    frame
}

/// The bytes of a frame that a server sends (RFC 6455 section 5.2).
fn frame_bytes(payload: usize) -> usize {
    match payload {
        0..=125 => 2 + payload,
        _ => 4 + payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_does_what_it_says_as_often_as_it_says() {
        for (scenario, units) in [
            (Scenario::EchoAlone, 3),
            (Scenario::Echo16Deep, 3 * 16),
            (Scenario::Delivery10, 3 * 10),
            (Scenario::Delivery1000, 3 * 1_000),
            (Scenario::ConnectClose, 3),
            (Scenario::Sweep, 3 * 1_000),
        ] {
            assert_eq!(count(scenario, 3).unwrap(), units, "{scenario:?}");
        }
    }
}
