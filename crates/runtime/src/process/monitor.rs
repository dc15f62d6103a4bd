//! Asking the cores how they are: questions through their control mailboxes, answers as copies.
//!
//! A core answers between two turns, so that asking costs it nothing while nobody asks and no
//! atomic ever. Whoever asks must bound the answers that it waits for: a core that stands still
//! answers late.

use std::sync::Arc;

use flume::{Receiver, Sender};
use hub::{Kept, RoomBudget, RoomView};

use super::Control;
use crate::{
    admission::Admission,
    reactor::{ConnectionsView, Question, Snapshot},
};

/// Asks the cores of a server; from any thread.
#[derive(Clone)]
pub struct Monitor {
    cores: Arc<[Sender<Control>]>,
    rooms: Arc<RoomBudget>,
    admission: Arc<Admission>,
}

impl Monitor {
    pub(crate) fn new(
        cores: &[Sender<Control>],
        rooms: Arc<RoomBudget>,
        admission: Arc<Admission>,
    ) -> Self {
        Self {
            cores: cores.into(),
            rooms,
            admission,
        }
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// How many rooms there are, over all cores.
    pub fn rooms(&self) -> usize {
        self.rooms.rooms()
    }

    /// What all rooms keep of their past, some hundred milliseconds old at most.
    pub fn kept(&self) -> Kept {
        self.rooms.kept()
    }

    /// How many addresses connections are counted for, over all cores.
    pub fn addresses(&self) -> usize {
        self.admission.addresses.len()
    }

    /// How many connections there are, over all cores, and how many there may be.
    pub fn connections_and_most(&self) -> (usize, usize) {
        (
            self.admission.connections(),
            self.admission.connections_max(),
        )
    }

    /// Asks whether a core (from 0) answers. The answer never comes if the core has ended.
    pub fn alive(&self, core: usize) -> Receiver<()> {
        self.ask(core, Question::Alive)
    }

    /// Asks how a core stands.
    pub fn snapshot(&self, core: usize) -> Receiver<Box<Snapshot>> {
        self.ask(core, Question::Snapshot)
    }

    /// Asks for the connections of a core that stand out, `top` of each kind.
    pub fn connections(&self, core: usize, top: usize) -> Receiver<ConnectionsView> {
        self.ask(core, |reply| Question::Connections { top, reply })
    }

    /// Asks for the rooms of a home core that stand out, `top` of each kind.
    pub fn rooms_of(&self, core: usize, top: usize) -> Receiver<RoomView> {
        self.ask(core, |reply| Question::Rooms { top, reply })
    }

    fn ask<T>(&self, core: usize, question: impl FnOnce(Sender<T>) -> Question) -> Receiver<T> {
        let (reply, answer) = flume::bounded(1);
        // An error means that the core has ended: then the answer's sender is gone with it.
        let _ = self.cores[core].send(Control::Answer(question(reply)));
        answer
    }
}
