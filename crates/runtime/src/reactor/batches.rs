//! The end of intervals: what rooms have gathered becomes news when theirs is over.
//!
//! One timer serves all rooms of a core, and runs only while one of them has gathered something.

use std::{rc::Rc, time::Duration};

use super::{Core, State};
use crate::{
    kernel::sleep,
    rooms::BatchInterval,
    turn::{Pace, bounds},
};

/// The timer is never set for less than this, so that a core wakes at most 200 times a second for it, however many
/// rooms there are.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The timer is never set for more than this, so that no batch that begins while it runs is over before it is.
const PAUSE_MAX: Duration = BatchInterval::MIN;

/// Ends intervals for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>) {
    loop {
        core.batches.wait().await;
        loop {
            let pause = core.state.borrow_mut().pause_until_batch();
            let Some(pause) = pause else { break };
            sleep(pause).await;
            while core.state.borrow_mut().end_intervals() {
                core.turnstile.pass().await;
            }
        }
    }
}

impl State {
    /// How long to wait for the first interval to be over; `None` if nothing is gathered.
    fn pause_until_batch(&mut self) -> Option<Duration> {
        let due_ms = self.parts.rooms.shards.next_due_ms()?;
        let pause = Duration::from_millis(due_ms.saturating_sub(self.now().ms));
        Some(pause.clamp(PAUSE_MIN, PAUSE_MAX))
    }

    /// Lets go what intervals have gathered that are over, as much as a turn allows; returns whether there is
    /// more.
    pub(super) fn end_intervals(&mut self) -> bool {
        let now = self.now();
        let due_ms = self.parts.rooms.shards.next_due_ms();
        if due_ms.is_none_or(|due_ms| due_ms > now.ms) {
            return false;
        }
        let now = self.begin_turn();
        let mut pace = self.delivery_pace(now);
        self.let_batches_go(now.ms, &mut pace)
    }

    /// Makes news of the batches that are over by `by_ms`, until the time for that is used up; returns whether
    /// some are left.
    pub(super) fn let_batches_go(&mut self, by_ms: u64, pace: &mut Pace) -> bool {
        let shards = &mut self.parts.rooms.shards;
        let encoder = &mut self.parts.out.encoder;
        while !pace.is_used_up() {
            let Some(packed_bytes) = shards.let_next_go(by_ms, encoder) else {
                return false;
            };
            pace.did(bounds::DELIVERY_BYTES + packed_bytes);
        }
        shards.next_due_ms().is_some_and(|due_ms| due_ms <= by_ms)
    }
}

#[cfg(test)]
mod tests;
