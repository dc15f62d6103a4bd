//! Commands for connections, from any thread: close, join, leave, say, or one of the application's own.
//!
//! They travel through a bounded mailbox of each core, outside of everything that waits for something
//! else: whoever sends one is told at once if there is no room for it.

use std::rc::Rc;

use flume::{Receiver, Sender, TrySendError};
use hub::ConnectionId;

use super::{Core, State};
use crate::{
    clock::Now,
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

/// A core's mailbox has no room for a command, or the core has ended: the command was not given there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a core has no room for a further command")]
pub struct CommandRefused;

impl Commander {
    /// Gives one connection a command. One that is gone, or not open, ignores it.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if its core has no room for it: more commands than
    /// [`Config::commands_max`](crate::Config::commands_max) wait there.
    pub fn connection(&self, id: ConnectionId, command: Command) -> Result<(), CommandRefused> {
        let core = self.cores.get(id.core.index()).ok_or(CommandRefused)?;
        send(core, (Recipient::Connection(id), command))
    }

    /// Gives all connections of a user a command.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if a core has no room for it; the others have got it.
    pub fn user(&self, user: &str, command: Command) -> Result<(), CommandRefused> {
        let recipient = Recipient::User(user.into());
        let sent: Vec<_> = self
            .cores
            .iter()
            .map(|core| send(core, (recipient.clone(), command.clone())))
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
        let others = commands.try_iter().take(bounds::COMMANDS - 1);
        {
            let mut state = core.state.borrow_mut();
            let now = state.begin_turn();
            for (recipient, command) in std::iter::once(first).chain(others) {
                state.give(&recipient, &command, now);
            }
        }
        core.turnstile.pass().await;
    }
}

impl State {
    fn give(&mut self, recipient: &Recipient, command: &Command, now: Now) {
        let keys = match recipient {
            Recipient::Connection(id) => ConnectionKey::of_token(id.token).into_iter().collect(),
            Recipient::User(user) => self.parts.users.connections(user).to_vec(),
        };
        for key in keys {
            self.act(key, now, |actor, _| actor.obey(command.clone()));
        }
    }
}
