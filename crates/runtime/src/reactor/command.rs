//! Brings commands for connections from any thread to their cores; `connection/commands.rs` obeys them.
//!
//! They travel through a bounded mailbox of each core, outside of everything that waits for something
//! else: whoever sends one is told at once if there is no space for it.

use std::{any::Any, rc::Rc, sync::Arc};

use flume::{Receiver, Sender, TrySendError};
use hub::ConnectionId;

use super::{Core, State};
use crate::{
    connection::{Command, Recipient},
    ids::ConnectionKey,
    turn::bounds,
};

/// A command and whom it is for.
pub(crate) type Commanded = (Recipient, Command);

/// Gives commands to the connections of a server; from any thread.
#[derive(Clone, Debug)]
pub struct Commander {
    pub(crate) cores: Vec<Sender<Commanded>>,
}

/// A core's mailbox has no space for a command, or the core has ended: the command was not given there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a core has no space for a further command")]
pub struct CommandRefused;

impl Commander {
    /// Gives one connection a command. One that is gone, or not open, ignores it.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if its core has no space for it: more commands than
    /// [`Config::commands_max`](crate::Config::commands_max) wait there.
    pub fn connection(&self, id: ConnectionId, command: Command) -> Result<(), CommandRefused> {
        let core = self.cores.get(id.core.index()).ok_or(CommandRefused)?;
        send(core, (Recipient::Connection(id), command))
    }

    /// [Relays](Command::Relay) to one connection what a peer has sent: half of the space is kept for other
    /// commands, so that peers cannot keep those from their cores.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if the half for peers is full.
    pub fn relay(
        &self,
        id: ConnectionId,
        sent: Arc<dyn Any + Send + Sync>,
    ) -> Result<(), CommandRefused> {
        let core = self.cores.get(id.core.index()).ok_or(CommandRefused)?;
        let most = core.capacity().unwrap_or(usize::MAX).div_ceil(2);
        match core.len() < most {
            true => send(core, (Recipient::Connection(id), Command::Relay(sent))),
            false => Err(CommandRefused),
        }
    }

    /// Gives all connections of a user a command.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if a core has no space for it; the others have got it.
    pub fn user(&self, user: &str, command: Command) -> Result<(), CommandRefused> {
        let recipient = Recipient::User(user.into());
        let sent: Vec<_> = self
            .cores
            .iter()
            .map(|core| send(core, (recipient.clone(), command.clone())))
            .collect();
        sent.into_iter().collect()
    }

    /// Gives all connections a command. A core hands it on over several turns, so that connections which are
    /// made meanwhile may get it, too.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if a core has no space for it; the others have got it.
    pub fn everyone(&self, command: &Command) -> Result<(), CommandRefused> {
        let sent: Vec<_> = self
            .cores
            .iter()
            .map(|core| send(core, (Recipient::Everyone, command.clone())))
            .collect();
        sent.into_iter().collect()
    }
}

fn send(core: &Sender<Commanded>, commanded: Commanded) -> Result<(), CommandRefused> {
    core.try_send(commanded).map_err(|error| match error {
        TrySendError::Full(_) | TrySendError::Disconnected(_) => CommandRefused,
    })
}

/// Takes commands for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>, commands: Receiver<Commanded>) {
    while let Ok(first) = commands.recv_async().await {
        let mut others = commands.try_iter().take(bounds::COMMANDS - 1);
        let for_everyone = core.give_until_everyone(std::iter::once(first).chain(&mut others));
        if let Some(command) = for_everyone {
            give_everyone(&core, &command).await;
        }
        core.turnstile.pass().await;
    }
}

impl Core {
    /// Hands commands on up to one that is for everyone, which is returned: that takes several turns.
    fn give_until_everyone(&self, commands: impl Iterator<Item = Commanded>) -> Option<Command> {
        let mut state = self.state.borrow_mut();
        let now = state.begin_turn();
        for (recipient, command) in commands {
            let keys = match recipient {
                Recipient::Everyone => return Some(command),
                Recipient::Connection(id) => Vec::from_iter(ConnectionKey::of_token(id.token)),
                Recipient::User(user) => state.parts.users.connections(&user).to_vec(),
            };
            for key in keys {
                state.act(key, now, |actor, _| actor.obey(command.clone()));
            }
        }
        None
    }
}

/// Gives all connections a command, some in each turn.
async fn give_everyone(core: &Core, command: &Command) {
    let mut slot = 0;
    while core.state.borrow_mut().give_some(&mut slot, command) {
        core.turnstile.pass().await;
    }
}

impl State {
    /// Gives the connections from this slot on a command, a bounded number of them; returns whether there
    /// are others.
    fn give_some(&mut self, slot: &mut usize, command: &Command) -> bool {
        let now = self.begin_turn();
        let slots = self.connections.slots();
        let end = (*slot + bounds::COMMANDS).min(slots);
        for slot in *slot..end {
            let key = self.connections.in_slot(slot).map(|it| it.key);
            if let Some(key) = key {
                self.act(key, now, |actor, _| actor.obey(command.clone()));
            }
        }
        *slot = end;
        end < slots
    }
}

#[cfg(test)]
mod tests {
    use codec::{CloseCode, Kind};
    use hub::CoreId;

    use super::*;
    use crate::{
        connection::{Last, Stage},
        end::EndReason,
        fixture::{ROOM, act, at, enter, lobby, on_each_driver, open_with},
    };

    #[test]
    fn command_for_which_there_is_no_room_is_refused_at_once() {
        let (one, of_one) = flume::bounded(1);
        let (other, of_other) = flume::bounded(2);
        let commander = Commander {
            cores: vec![one, other],
        };
        let on = |core| ConnectionKey::new(1, 0).on(CoreId(core));
        let say = || Command::Say(Kind::Text, "hello".into());
        assert_eq!(commander.connection(on(0), say()), Ok(()));
        assert_eq!(commander.connection(on(0), say()), Err(CommandRefused));
        assert_eq!(commander.connection(on(2), say()), Err(CommandRefused));
        // One core is full, the other has got it.
        assert_eq!(commander.user("ann", say()), Err(CommandRefused));
        assert_eq!((of_one.len(), of_other.len()), (1, 1));
        drop(of_one.drain());
        assert_eq!(commander.user("ann", say()), Ok(()));
        assert_eq!((of_one.len(), of_other.len()), (1, 2));
        drop(of_one);
        assert_eq!(commander.connection(on(0), say()), Err(CommandRefused));
    }

    #[test]
    fn what_peers_send_leaves_half_of_the_space_to_others() {
        let (core, mailbox) = flume::bounded(4);
        let commander = Commander { cores: vec![core] };
        let id = ConnectionKey::new(1, 0).on(CoreId(0));
        let say = || Command::Say(Kind::Text, "hello".into());
        let sent = || Arc::new("hello");
        for expected in [Ok(()), Ok(()), Err(CommandRefused)] {
            assert_eq!(commander.relay(id, sent()), expected);
        }
        assert_eq!(commander.connection(id, say()), Ok(()));
        assert_eq!(commander.connection(id, say()), Ok(()));
        assert_eq!(commander.connection(id, say()), Err(CommandRefused));
        drop(mailbox.drain());
        assert_eq!(commander.relay(id, sent()), Ok(()));
        let elsewhere = ConnectionKey::new(1, 0).on(CoreId(1));
        let refused = commander.relay(elsewhere, sent());
        assert_eq!(refused, Err(CommandRefused));
    }

    #[test]
    fn commands_reach_the_connections_they_are_for_and_no_others() {
        on_each_driver(async |core| {
            let (commands, mailbox) = flume::unbounded();
            let commander = Commander {
                cores: vec![commands],
            };
            monoio::spawn(run(core.clone(), mailbox));
            let opened: Vec<_> = (0..4)
                .map(|_| open_with(&mut core.state.borrow_mut(), |_, _| {}))
                .collect();
            let keys: Vec<_> = opened.iter().map(|(key, _)| *key).collect();
            {
                let state = &mut *core.state.borrow_mut();
                for key in &keys[1..] {
                    act(state, *key, |actor| {
                        actor.obey(Command::Say(Kind::Text, "".into()));
                    });
                    enter(state, *key, ROOM);
                }
                for key in &keys[2..] {
                    state.parts.users.enter(&"ann".into(), *key);
                }
                let deadline_ms = u64::MAX;
                let last = Last::PeerClose;
                at(state, keys[3]).stage = Stage::Closing { deadline_ms, last };
            }
            let id = |number: usize| keys[number].on(core.id);
            let bye = Command::Close(CloseCode::NORMAL, "bye");
            commander.connection(id(0), bye.clone()).unwrap();
            commander
                .connection(id(1), Command::Leave(lobby()))
                .unwrap();
            commander
                .user("ann", Command::Say(Kind::Text, "hello".into()))
                .unwrap();
            let gone = ConnectionKey::new(99, 0).on(core.id);
            commander.connection(gone, bye).unwrap();
            while !commander.cores[0].is_empty() {
                core.turnstile.pass().await;
            }
            core.turnstile.pass().await;
            let state = &mut *core.state.borrow_mut();
            let closed = EndReason::SessionClosed(CloseCode::NORMAL, "bye");
            let ends: Vec<_> = keys.iter().map(|key| at(state, *key).rare.end()).collect();
            assert_eq!(ends, [Some(closed), None, None, None]);
            let rooms: Vec<_> = keys
                .iter()
                .map(|key| at(state, *key).rooms.subscriptions.len())
                .collect();
            assert_eq!(rooms, [0, 0, 1, 1]);
            let said = |state: &mut State, number: usize| {
                let out = at(state, keys[number]).out.queue.direct();
                out.ends_with(b"\x81\x05hello")
            };
            assert!(said(state, 2), "it is open and of that user");
            assert!(!said(state, 1) && !said(state, 3));
        });
    }

    #[test]
    fn command_for_everyone_reaches_all_in_several_turns_and_those_behind_it_wait() {
        on_each_driver(async |core| {
            let (commands, mailbox) = flume::unbounded();
            let commander = Commander {
                cores: vec![commands],
            };
            monoio::spawn(run(core.clone(), mailbox));
            let keys: Vec<_> = (0..2 * bounds::COMMANDS + 1)
                .map(|_| open_with(&mut core.state.borrow_mut(), |_, _| {}).0)
                .collect();
            let say = |text: &'static str| Command::Say(Kind::Text, text.into());
            commander.everyone(&say("all")).unwrap();
            let last = keys.last().expect("there are some").on(core.id);
            commander.connection(last, say("one")).unwrap();
            let heard = |text: &[u8]| {
                let state = &mut *core.state.borrow_mut();
                let has_heard = |key: &&ConnectionKey| {
                    let direct = at(state, **key).out.queue.direct();
                    direct.ends_with(text)
                };
                keys.iter().filter(has_heard).count()
            };
            let mut turns = Vec::new();
            while heard(b"\x81\x03one") == 0 {
                core.turnstile.pass().await;
                turns.push(heard(b"\x81\x03all"));
            }
            let first = turns.iter().find(|heard| **heard > 0);
            assert_eq!(first, Some(&bounds::COMMANDS), "{turns:?}");
            assert!(turns.contains(&keys.len()), "before the next: {turns:?}");
        });
    }
}
