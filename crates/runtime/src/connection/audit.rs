//! What the simulation checks of one connection.

use super::{Connection, Stage};
use crate::{memory::Holding, out::Sending, rooms::Shards};

impl Connection {
    /// What was counted for it, if that is what it holds.
    pub(crate) fn audit(&self) -> Result<Holding, String> {
        let (counted, held) = (self.rare.counted(), self.holding());
        match counted == held {
            true => Ok(counted),
            false => Err(format!(
                "{:?} holds {held:?} and is counted as {counted:?}",
                self.key
            )),
        }
    }

    /// What nobody would ever do for it, if nothing is to happen now but timers and what peers do.
    pub(crate) fn stuck(&self) -> Option<String> {
        let key = self.key;
        let sending = self.out.queue.sending;
        let found = if self.is_listed {
            "a turn that does not come"
        } else if matches!(sending, Sending::Pending | Sending::Unblocked { .. }) {
            "a send that is not made"
        } else if self.pause.is_none() && self.has_pending_input() {
            "input that is not processed"
        } else if matches!(self.stage, Stage::Over) {
            "an end that does not come"
        } else {
            return None;
        };
        Some(format!("{key:?} has {found}"))
    }

    /// What it still waits for, or others wait for, although everything has had time enough.
    pub(crate) fn unrest(&self, shards: &Shards) -> Option<String> {
        let key = self.key;
        let found = if self.queued_bytes(shards) > 0 {
            "bytes that wait for it"
        } else if !matches!(self.out.queue.sending, Sending::Idle) {
            "a send that is not over"
        } else if self.pause.is_some() {
            "a pause"
        } else if self.is_listed || self.has_leftover_input() {
            "input that is not processed"
        } else if self.rooms.unanswered > 0 || self.rooms.has_deferred() {
            "a request without an answer"
        } else if self.rooms.window_bytes > 0 {
            "a publication without a place"
        } else if matches!(self.stage, Stage::Finishing { .. } | Stage::Over) {
            "an end that does not come"
        } else {
            return None;
        };
        Some(format!("{key:?} has {found}"))
    }
}
