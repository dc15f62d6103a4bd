//! Looks at all of a core's deadlines, several times a second, instead of a timer for each.
//!
//! A sweep is a walk over the slots of connections, some in each turn. Connections with a deadline that
//! has passed are noted, and dealt with in turns of their own, after what has arrived by then was read.

use std::{mem, rc::Rc};

use hub::Request;
use tracing::warn;

use super::{Core, State};
use crate::{
    clock::{Now, ms, wall_ms},
    connection::SweepTime,
    ids::ConnectionKey,
    kernel::{SystemTime, sleep},
    turn::bounds,
};

/// A walk over all connections.
struct Sweep {
    time: SweepTime,
    next_slot: usize,
    due: Vec<ConnectionKey>,
    queued_bytes: usize,
}

/// Sweeps for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>) {
    let mut before_ms = core.state.borrow_mut().now().ms;
    loop {
        let timeouts = core.state.borrow().parts.config.timeouts.clone();
        sleep(timeouts.sweep_interval()).await;
        let now = core.state.borrow_mut().now();
        let before_ms = mem::replace(&mut before_ms, now.ms);
        core.sweep(now, before_ms).await;
    }
}

impl Core {
    async fn sweep(&self, now: Now, before_ms: u64) {
        while self.state.borrow_mut().compact_room() {
            self.turnstile.pass().await;
        }
        let mut sweep = self.state.borrow_mut().begin_sweep(now, before_ms);
        while self.state.borrow_mut().look(&mut sweep, now) {
            self.turnstile.pass().await;
        }
        if sweep.due.is_empty() {
            return;
        }
        // Input that has arrived is noticed first, so that no peer is closed for want of bytes that
        // already lie in its socket.
        if let Err(error) = self.look_at_sockets() {
            warn!(%error, "looking at sockets failed");
        }
        self.turnstile.pass().await;
        for some in sweep.due.chunks(bounds::DUE) {
            self.state.borrow_mut().carry_out(some, sweep.time);
            self.turnstile.pass().await;
        }
    }
}

impl State {
    fn begin_sweep(&mut self, now: Now, before_ms: u64) -> Sweep {
        self.clear_tables(now);
        Sweep {
            time: SweepTime {
                now_ms: now.ms,
                before_ms,
                now_ns: now.ns,
                age_set_ms: self.age_set_ms,
            },
            next_slot: 0,
            due: Vec::new(),
            queued_bytes: 0,
        }
    }

    /// Looks at the next connections: notes those with a deadline that has passed, and sums up what waits.
    /// Returns whether there are others.
    fn look(&mut self, sweep: &mut Sweep, now: Now) -> bool {
        let slots = self.connections.slots();
        let end = (sweep.next_slot + bounds::SWEPT_SLOTS).min(slots);
        for slot in sweep.next_slot..end {
            let Some(connection) = self.connections.in_slot(slot) else {
                continue;
            };
            connection.postpone_deadlines(&self.parts.config.timeouts, now);
            sweep.queued_bytes += connection.queued_bytes(&self.parts.rooms.shards);
            if connection
                .due(&self.parts.config.timeouts, sweep.time)
                .is_some()
            {
                sweep.due.push(connection.key);
            }
        }
        sweep.next_slot = end;
        if end == slots {
            self.queued_bytes = sweep.queued_bytes;
        }
        end < slots
    }

    /// Compacts the table of a room that most of its subscribers have left; returns whether there was one.
    fn compact_room(&mut self) -> bool {
        let Some(moved) = self.parts.rooms.shards.compact_next() else {
            return false;
        };
        for it in moved {
            if let Some(connection) = self.connections.get_mut(it.connection) {
                let subscriptions = &mut connection.rooms.subscriptions;
                subscriptions.moved(it.slot, it.subscription);
            }
        }
        true
    }

    /// What is to be done from time to time beside connections: tables are cleared of what is over.
    fn clear_tables(&mut self, now: Now) {
        let parts = &mut self.parts;
        let wall = SystemTime::now();
        parts.counters.date.set(wall, now.ns);
        parts.counters.notices.tell_left_out(now.ms);
        parts.admission.addresses.clear_next(now.ns);
        if !parts.rooms.requests.is_full(parts.id) {
            let timeouts = &parts.config.timeouts;
            parts.rooms.requests.push(Request::Sweep {
                now_ms: now.ms,
                wall_ms: wall_ms(wall),
                idle_ms: ms(timeouts.room_idle),
                position_ttl_ms: ms(timeouts.position),
            });
        }
    }

    /// Acts on passed deadlines. Each is checked again, because turns have passed since the look and input
    /// may have been processed. This is a turn like any other, at whose end the bounds on memory are kept:
    /// another try at a full socket may just have queued a pong there.
    fn carry_out(&mut self, connections: &[ConnectionKey], time: SweepTime) {
        let now = self.begin_turn();
        for key in connections {
            self.act(*key, now, |actor, _| {
                let timeouts = &actor.parts.config.timeouts;
                if let Some(due) = actor.connection.due(timeouts, time) {
                    actor.carry_out(due);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
