//! Speaks to the homes of rooms while nobody else does: before the first connection is accepted, and when the last
//! is gone.
//!
//! Whoever calls this waits; the homes do not. They answer between two turns, and know nothing of where rooms are
//! written to.

use std::time::Instant;

use flume::{Receiver, Sender};
use hub::{PageBounds, Request, Restored, SavedRoom};

use crate::{kernel::RandomState, rooms::home_of_name};

/// The homes of all rooms.
#[derive(Clone)]
pub struct Homes {
    pub(super) mailboxes: Vec<Sender<Vec<Request>>>,
    pub(super) hashes: RandomState,
}

/// A home has not answered in time, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a core does not answer in time")]
pub struct NoAnswer;

impl Homes {
    /// Gives rooms that were saved to their homes, and waits until these have taken them.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if a home has not taken its rooms by the deadline; it may have taken them later.
    pub fn restore(&self, rooms: Vec<SavedRoom>, deadline: Instant) -> Result<Restored, NoAnswer> {
        let mut of_homes: Vec<Vec<SavedRoom>> = self.mailboxes.iter().map(|_| Vec::new()).collect();
        for room in rooms {
            let home = home_of_name(&self.hashes, of_homes.len(), &room.name);
            of_homes[home.index()].push(room);
        }
        let mut answers = Vec::new();
        for (mailbox, rooms) in self.mailboxes.iter().zip(of_homes) {
            if !rooms.is_empty() {
                let (reply, answer) = flume::bounded(1);
                send(mailbox, Request::Restore { rooms, reply }, deadline)?;
                answers.push(answer);
            }
        }
        let mut restored = Restored::default();
        for answer in answers {
            restored += receive(&answer, deadline)?;
        }
        Ok(restored)
    }

    /// Takes all rooms from their homes, some at a time. From then on the homes order nothing any more.
    ///
    /// # Errors
    ///
    /// The error of `take`, or [`NoAnswer`] if a home has not answered by the deadline.
    pub fn save<E: From<NoAnswer>>(
        &self,
        most: PageBounds,
        deadline: Instant,
        mut take: impl FnMut(Vec<SavedRoom>) -> Result<(), E>,
    ) -> Result<(), E> {
        for mailbox in &self.mailboxes {
            loop {
                let (reply, answer) = flume::bounded(1);
                send(mailbox, Request::Save { most, reply }, deadline)?;
                let page = receive(&answer, deadline)?;
                take(page.rooms)?;
                if page.is_last {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn send(
    mailbox: &Sender<Vec<Request>>,
    request: Request,
    deadline: Instant,
) -> Result<(), NoAnswer> {
    let sent = mailbox.send_deadline(vec![request], deadline);
    sent.map_err(|_| NoAnswer)
}

fn receive<T>(answer: &Receiver<T>, deadline: Instant) -> Result<T, NoAnswer> {
    answer.recv_deadline(deadline).map_err(|_| NoAnswer)
}
