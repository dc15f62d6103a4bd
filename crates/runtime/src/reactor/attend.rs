//! Attends to the connections that ask for it, first come, first served.
//!
//! Whoever has more to do after its share comes back at the end of the list, in the next turn. TLS
//! handshakes and compressed input cost far more than anything else, so they have lanes of their own,
//! each with its own part of the turn.

use std::rc::Rc;

use super::{Core, State};
use crate::{
    clock::Now,
    connection::Flow,
    ids::ConnectionKey,
    turn::{Lane, Meter, bounds},
};

/// Attends to connections for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>) {
    loop {
        core.attention.wait().await;
        let is_left_over = core.state.borrow_mut().parts.attention.take_left_over();
        if is_left_over {
            core.turnstile.pass().await;
        }
        while core.state.borrow_mut().attend() {
            core.turnstile.pass().await;
        }
    }
}

impl State {
    /// One turn of the list; returns whether somebody waits for the next.
    pub(crate) fn attend(&mut self) -> bool {
        let now = self.begin_turn();
        self.attend_from(now)
    }

    /// The same in a turn that has begun at `now`.
    pub(super) fn attend_from(&mut self, now: Now) -> bool {
        let clock = self.parts.clock;
        let waited = self.parts.attention.len(Lane::Handshake);
        let meter = Meter::since(now.ns, clock, bounds::RECEIVES_NS);
        for _ in 0..self.parts.attention.len(Lane::Plain) {
            let Some(key) = self.parts.attention.pop(Lane::Plain) else {
                break;
            };
            match self.act(key, now, |actor, _| actor.lane()) {
                Some(Lane::Plain) => self.attend_to(key, now, false),
                Some(lane) => self.parts.attention.push(key, lane),
                None => {}
            }
            if meter.is_used_up() {
                break;
            }
        }
        self.attend_lane(Lane::Handshake, waited, bounds::HANDSHAKES_NS);
        self.attend_lane(Lane::Compression, 0, bounds::COMPRESSION_NS);
        !self.parts.attention.is_empty()
    }

    /// Attends to those who wait for costly work, until that has cost so much. The last of them may
    /// exceed it, because a piece of work cannot be split. The first `waited` of them have waited since
    /// an earlier turn.
    fn attend_lane(&mut self, lane: Lane, waited: usize, limit_ns: u64) {
        let mut spent_ns = 0;
        for nth in 0..self.parts.attention.len(lane) {
            if spent_ns >= limit_ns {
                break;
            }
            let Some(key) = self.parts.attention.pop(lane) else {
                break;
            };
            let now = self.now();
            let meter = Meter::since(now.ns, self.parts.clock, limit_ns);
            self.attend_to(key, now, nth < waited);
            spent_ns += match lane {
                Lane::Handshake => meter.spent_ns().max(bounds::HANDSHAKE_NS_MIN),
                Lane::Plain | Lane::Compression => meter.spent_ns(),
            };
        }
    }

    /// One turn of a connection. If it `has_waited` since an earlier turn and its handshake deadline has
    /// passed, it is closed without being read, because reading would cost a signature.
    pub(crate) fn attend_to(&mut self, key: ConnectionKey, now: Now, has_waited: bool) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.is_listed = false;
        let flow = self.act(key, now, |actor, inbound| {
            match has_waited && actor.end_overdue_handshake() {
                true => actor.flow(),
                false => actor.attend(inbound),
            }
        });
        match flow {
            Some(Flow::More | Flow::ShareUsedUp) => {
                self.act(key, now, |actor, _| actor.raise());
            }
            Some(Flow::End) => self.remove(key, now),
            Some(Flow::Wait) | None => {}
        }
    }
}

#[cfg(test)]
mod tests;
