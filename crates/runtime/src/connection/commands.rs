//! What commands from outside do to a connection: close, join, leave, say, or one of the application's
//! own. `reactor/command.rs` brings them here.

use std::{any::Any, sync::Arc};

use bytes::Bytes;
use codec::{CloseCode, Kind};
use hub::{ConnectionId, RoomName};

use super::{Actor, LeftReason, SessionEvent, Stage};
use crate::end::EndReason;

/// What a connection is told to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Close, after what was sent so far, with this code and text.
    Close(CloseCode, &'static str),
    /// Ask for this room. The session is handed [`SessionEvent::Joining`] with the ticket, and the
    /// room's answer later.
    Join(RoomName),
    /// Leave this room. What was told there before is still sent, as far as the memory bound allows. The session is
    /// handed [`SessionEvent::Left`].
    Leave(RoomName),
    /// Send this message to the peer.
    Say(Kind, Bytes),
    /// Hand the session a command of the application's own.
    Hand(Arc<dyn Any + Send + Sync>),
    /// Hand the session what a peer has sent for it beside its connection. It may be anybody's, so that a connection
    /// which is not open does nothing for it.
    Relay(Arc<dyn Any + Send + Sync>),
}

/// Whom a command is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// One connection ([`Outlet::id`](super::Outlet::id)).
    Connection(ConnectionId),
    /// All connections of a user ([`Outlet::identify`](super::Outlet::identify)).
    User(Arc<str>),
    /// All connections.
    Everyone,
}

impl Actor<'_> {
    /// Does what the connection is told to do, unless it is not open. What is for its session waits for that to
    /// open: it may be about what the session was let in by.
    pub(crate) fn obey(&mut self, command: Command) {
        match (&self.connection.stage, command) {
            (Stage::Open { .. }, command) => {
                let adds_to_queue = !matches!(command, Command::Relay(_));
                self.obey_open(command);
                if adds_to_queue {
                    self.close_if_behind();
                }
            }
            (Stage::Joining(_), Command::Hand(command)) => self.keep_early(command),
            _ => {}
        }
    }

    fn keep_early(&mut self, command: Arc<dyn Any + Send + Sync>) {
        if !self.connection.rare.keep_early(command) {
            self.close(EndReason::JoinRefused);
        }
    }

    fn obey_open(&mut self, command: Command) {
        match command {
            Command::Close(code, text) => self.close(EndReason::SessionClosed(code, text)),
            Command::Join(name) => self.with_session(|session, outlet| {
                if let Ok(room) = outlet.join(name.clone()) {
                    session.handle(SessionEvent::Joining { room, name }, outlet);
                }
            }),
            Command::Leave(name) => {
                let tickets = self
                    .connection
                    .rooms
                    .in_room_named(&name, &self.parts.rooms);
                for ticket in tickets {
                    self.left(ticket, LeftReason::Commanded);
                }
            }
            Command::Say(kind, payload) => {
                self.with_session(|_, outlet| outlet.send(kind, &payload));
            }
            Command::Hand(command) | Command::Relay(command) => {
                self.handle(SessionEvent::Command(command));
                self.resume_if_answered();
            }
        }
    }

    /// Commands are not slowed down by a full queue, and neither is what a session sends because of them, except for
    /// what is relayed: that waits in the session as bytes of the connection's own do before it.
    /// So a connection whose queue exceeds its bound is closed here, like a slow subscriber.
    fn close_if_behind(&mut self) {
        let queued = self.connection.queued_bytes(&self.parts.rooms.shards);
        let is_behind = self.connection.out.queue.sending.is_behind();
        if is_behind && queued > self.parts.config.send_queue_bytes_max {
            self.close(EndReason::SendQueueFull);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, net::TcpStream, rc::Rc};

    use codec::Message;

    use super::*;
    use crate::{
        clock::RecentMs,
        connection::{
            Joining, KeepAlive, Lag, Leftover, OpeningHead, Outlet, Pings, Session, rare::EARLY_MAX,
        },
        encoding::{Packing, WireForm},
        fixture::{act, at, attend, on_each_driver, open},
        ids::ConnectionKey,
        out::Sending,
        reactor::State,
    };

    /// Notes that it has opened, and each number that it is handed.
    struct Noting(Noted);

    type Noted = Rc<RefCell<Vec<Option<usize>>>>;

    impl Session for Noting {
        fn opened(&mut self, _: &mut Outlet<'_>) {
            self.0.borrow_mut().push(None);
        }

        fn receive(&mut self, _: Message<'_>, _: &mut Outlet<'_>) {}

        fn handle(&mut self, event: SessionEvent, _: &mut Outlet<'_>) {
            if let SessionEvent::Command(command) = event {
                let number = command.downcast_ref().copied();
                self.0.borrow_mut().push(number);
            }
        }
    }

    /// A session that is joining and notes what it is handed.
    fn join_noting(state: &mut State) -> (ConnectionKey, TcpStream, Noted) {
        let noted = Noted::default();
        let (key, peer) = open(state);
        let connection = at(state, key);
        // The head of a request comes first, so that there is something to answer.
        connection.stage = Stage::Handshake { deadline_ms: 1000 };
        connection
            .rare
            .keep_leftover(Leftover::of(b"GET / HTTP/1.1\r\nHost: a\r\n"));
        attend(state, key);
        let connection = at(state, key);
        connection.stage = Stage::Joining(Box::new(Joining {
            deadline_ms: 1000,
            protocol: "noting",
            session: Box::new(Noting(Rc::clone(&noted))),
            name: None,
            room: None,
            form: WireForm {
                body: crate::encoding::BodyForm::RAW,
                packing: Packing::Bytes,
            },
            lag: Lag::Close,
            pings: Pings::Frames,
            terms: None,
            head: OpeningHead::Stream {
                status: 200,
                fields: Vec::new(),
                keep_alive: KeepAlive::Nothing,
            },
        }));
        (key, peer, noted)
    }

    /// Anybody can send such for any connection, so that it must not end one.
    #[test]
    fn what_peers_send_beside_a_connection_is_nothing_to_one_that_is_joining() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let (key, _peer, noted) = join_noting(state);
            for number in 0..=EARLY_MAX {
                act(state, key, |actor| {
                    actor.obey(Command::Relay(Arc::new(number)))
                });
            }
            act(state, key, |actor| actor.open());
            assert_eq!(at(state, key).rare.end(), None);
            act(state, key, |actor| {
                actor.obey(Command::Relay(Arc::new(7_usize)))
            });
            assert_eq!(*noted.borrow(), [None, Some(7)]);
        });
    }

    /// It waits until the session may take it, and so makes the queue no longer.
    #[test]
    fn what_peers_send_beside_a_connection_does_not_close_it_for_what_waits() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let bytes = state.parts.config.send_queue_bytes_max + 1;
            for (command, ends) in [
                (Command::Relay(Arc::new(())), false),
                (Command::Hand(Arc::new(())), true),
            ] {
                let (key, _peer) = open(state);
                let queue = &mut at(state, key).out.queue;
                *queue.direct() = vec![0x82; bytes];
                queue.sending = Sending::Blocked {
                    progress: RecentMs::at(0),
                };
                act(state, key, |actor| actor.obey(command.clone()));
                assert_eq!(at(state, key).rare.end().is_some(), ends, "{command:?}");
            }
        });
    }

    #[test]
    fn commands_for_a_session_that_is_joining_wait_until_it_opens_and_only_so_many() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            for commands in [0, EARLY_MAX, EARLY_MAX + 1] {
                let (key, _peer, noted) = join_noting(state);
                for number in 0..commands {
                    act(state, key, |actor| {
                        actor.obey(Command::Hand(Arc::new(number)))
                    });
                }
                assert!(noted.borrow().is_empty());
                act(state, key, |actor| actor.open());
                let end = at(state, key).rare.end();
                if commands > EARLY_MAX {
                    assert_eq!(end, Some(EndReason::JoinRefused));
                    assert!(noted.borrow().is_empty());
                } else {
                    let expected = std::iter::once(None).chain((0..commands).map(Some));
                    assert!(noted.borrow().iter().copied().eq(expected), "{noted:?}");
                    assert_eq!(end, None);
                }
            }
        });
    }
}
