//! The end of a turn: requests leave in one batch for each home, bytes in one send for each socket.
//!
//! The loop is woken by the first who has something to send and runs after everyone who was ready in
//! the same turn, so that all they queued leaves together. Connections with bytes of their own and
//! subscribers of rooms with news take turns, a slice of each; and so do the rooms, a slice of the
//! subscribers of one after another. So neither an echo nor a small room waits for a large one, nor any
//! room for a flood of echoes.

use std::rc::Rc;

use super::{Core, State};
use crate::{
    clock::Now,
    kernel::spawn,
    rooms::{Blocked, Visit},
    turn::{Meter, bounds},
};

/// Flushes at the end of every turn in which somebody asked for it.
pub(crate) async fn run(core: Rc<Core>) {
    loop {
        core.flush.wait().await;
        core.send_requests();
        while core.state.borrow_mut().flush() {
            core.turnstile.pass().await;
            core.send_requests();
            // What has arrived meanwhile joins this turn: homes on this core order it, and it is delivered.
            // Each of these steps would otherwise wait for a turn of sends.
            core.rear.reach().await;
        }
        // What this turn has asked of homes does not wait for the next.
        core.send_requests();
    }
}

impl Core {
    fn send_requests(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let (resumed, blocked) = state.parts.rooms.requests.send();
        if !resumed.is_empty() {
            let now = state.now();
            for key in resumed {
                state.act(key, now, |actor, _| actor.home_has_space());
            }
        }
        for batch in blocked {
            spawn(send_blocked(self.clone(), batch));
        }
    }
}

/// Waits for a home's mailbox with the batch that did not fit into it.
async fn send_blocked(core: Rc<Core>, blocked: Blocked) {
    // An error means that the home has stopped: nobody is left to ask.
    let _ = blocked.mailbox.send_async(blocked.batch).await;
    let requests = &mut core.state.borrow_mut().parts.rooms.requests;
    requests.unblocked(blocked.home);
}

impl State {
    /// Sends as much as a turn allows; returns whether there is more to send, or to reset for want of
    /// memory, in the next.
    pub(crate) fn flush(&mut self) -> bool {
        let now = self.now();
        let meter = Meter::since(now.ns, self.parts.clock, bounds::SENDS_NS);
        self.flush_until(&meter, now);
        let has_more = self.keep_unfinished_within_bound(now) | self.keep_queues_within_bound(now);
        let has_more = has_more || !self.has_sent_all();
        self.end_turn(has_more);
        has_more
    }

    fn flush_until(&mut self, meter: &Meter, now: Now) {
        let mut pace = self.delivery_pace(now);
        loop {
            self.unpark(&mut pace, now);
            self.visit_subscribers(meter, now);
            let is_over = match self.begins_with_news {
                true => self.send_news(meter, now) || self.send_own(meter, now),
                false => self.send_own(meter, now) || self.send_news(meter, now),
            };
            if is_over || self.has_sent_all() || meter.is_used_up() {
                break;
            }
        }
        let out = &mut self.parts.out;
        out.own.append(&mut out.later);
        // The lists take turns in going first, so that neither can starve the other.
        self.begins_with_news = !self.begins_with_news;
    }

    /// Whether nothing is left that may be sent in this turn.
    fn has_sent_all(&self) -> bool {
        // The last round of a room may have made way for what is parked.
        let shards = &self.parts.rooms.shards;
        let out = &self.parts.out;
        let lists_are_empty = out.own.is_empty() && out.news.is_empty();
        lists_are_empty && !shards.has_news() && !shards.has_relieved()
    }

    /// Notes the next subscribers of rooms with news, about one slice in all. It notes none while earlier ones
    /// are still unsent, so that latencies are recorded after each slice even on a busy core.
    pub(super) fn visit_subscribers(&mut self, meter: &Meter, now: Now) {
        if !self.parts.out.news.is_empty() {
            return;
        }
        // Reused, since it would be allotted anew for every message.
        let mut visits = std::mem::take(&mut self.visits);
        while self.parts.rooms.shards.has_news()
            && self.parts.out.news.len() < bounds::SLICE_SUBSCRIBERS
        {
            let shards = &mut self.parts.rooms.shards;
            shards.next_slice(bounds::SLICE_SUBSCRIBERS, &mut visits, &mut self.finished);
            for visit in visits.drain(..) {
                self.visit(visit, now);
            }
            // A subscriber whose socket is full is not noted, but may have to be closed.
            if meter.is_used_up() {
                break;
            }
        }
        self.visits = visits;
    }

    /// Notes that a subscriber has news. Neither its session nor the codec runs for that, so that it needs no
    /// guard against panics and no recount of memory, which would cost more than the note does.
    pub(crate) fn visit(&mut self, visit: Visit, now: Now) {
        let Some(connection) = self.connections.get_mut(visit.connection) else {
            return;
        };
        connection.rooms.subscriptions.note_news(visit.slot);
        let sending = &mut connection.out.queue.sending;
        if sending.is_blocked() {
            self.act(visit.connection, now, |actor, _| actor.fell_behind());
        } else if sending.pend() {
            self.parts.out.news.push_back(visit.connection);
        }
    }

    /// Sends to the next connections with something of their own; returns whether the turn is over.
    fn send_own(&mut self, meter: &Meter, now: Now) -> bool {
        for nth in 1..=bounds::SLICE_SUBSCRIBERS {
            let Some(key) = self.parts.out.own.pop_front() else {
                break;
            };
            self.act(key, now, |actor, _| actor.transmit());
            if nth % bounds::SENDS_PER_LOOK == 0 && meter.is_used_up() {
                return true;
            }
        }
        false
    }

    /// Sends to the subscribers that were noted; returns whether the turn is over.
    fn send_news(&mut self, meter: &Meter, now: Now) -> bool {
        let mut sends = 0;
        while let Some(key) = self.parts.out.news.pop_front() {
            self.act(key, now, |actor, _| actor.transmit());
            sends += 1;
            if sends % bounds::SENDS_PER_LOOK == 0 && meter.is_used_up() {
                return true;
            }
        }
        self.count_fanout();
        false
    }

    /// Records the latency of the messages whose round has been sent.
    fn count_fanout(&mut self) {
        if self.finished.is_empty() {
            return;
        }
        let now_ns = self.parts.clock.ns();
        for received_ns in self.finished.drain(..) {
            let took_ns = now_ns.saturating_sub(received_ns);
            self.parts.counters.tally.fanout.record(took_ns);
        }
    }

    /// A turn is over, and the next begins with what is left.
    fn end_turn(&mut self, has_more: bool) {
        let Some(began_ns) = self.turn_ns.take() else {
            return;
        };
        let now_ns = self.parts.clock.ns();
        let tally = &mut self.parts.counters.tally;
        tally.turns += 1;
        tally.turn.record(now_ns.saturating_sub(began_ns));
        self.turn_ns = has_more.then_some(now_ns);
    }
}

#[cfg(test)]
mod tests;
