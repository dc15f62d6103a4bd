//! One look at all of a core's deadlines, several times a second, instead of a timer for each.

use std::rc::Rc;

use codec::encode_ping;
use hub::Request;

use crate::{
    config::Timeouts,
    connection::{Connection, ConnectionKey, Heartbeat, Last, Pause, Stage, Wait},
    core::{Core, State, ms},
    end::EndReason,
    send_queue::Sending,
};

/// What a connection's time has come for.
enum Due {
    /// Its next ping.
    Ping,
    /// Its end, as its stage allows.
    Close(EndReason),
    /// Its end, at once.
    Abort,
    /// Another try at sending.
    Nudge,
}

/// Sweeps for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>) {
    let interval = core.shared.config.timeouts.sweep_interval();
    loop {
        monoio::time::sleep(interval).await;
        core.state.borrow_mut().sweep();
    }
}

impl State {
    fn sweep(&mut self) {
        let now_ms = self.shared.now_ms();
        let timeouts = &self.shared.config.timeouts;
        let shards = &self.shards;
        let mut queued_bytes = 0;
        let due: Vec<_> = self
            .connections
            .iter_mut()
            .filter_map(|(key, connection)| {
                queued_bytes += connection.queue.bytes(&connection.subscriptions, shards);
                Some((key, due(connection, timeouts, now_ms)?))
            })
            .collect();
        self.queued_bytes = queued_bytes;
        for (key, due) in due {
            self.carry_out(key, due, now_ms);
        }
        if !self.outboxes.is_full(self.id) {
            self.outboxes.push(Request::Sweep { now_ms });
        }
    }

    fn carry_out(&mut self, key: ConnectionKey, due: Due, now_ms: u64) {
        match due {
            Due::Ping => self.ping(key, now_ms),
            Due::Close(reason) => self.close(key, reason),
            // The reason was recorded when closing began.
            Due::Abort => self.abort(key, EndReason::PeerGone),
            Due::Nudge => self.nudge(key),
        }
    }

    fn ping(&mut self, key: ConnectionKey, now_ms: u64) {
        let deadline_ms = now_ms + ms(self.shared.config.timeouts.pong);
        let payload = Heartbeat::payload(self.shared.now_ns());
        if let Some(connection) = self.connections.get_mut(key) {
            encode_ping(&payload, &mut connection.queue.direct);
            let heartbeat = Heartbeat::PongBy {
                deadline_ms,
                payload,
            };
            connection.stage = Stage::Open { heartbeat };
            self.tally.frames_sent.ping += 1;
            connection.mark_dirty(key, &mut self.dirty);
        }
    }
}

fn due(connection: &mut Connection, timeouts: &Timeouts, now_ms: u64) -> Option<Due> {
    let passed = |deadline_ms: u64| now_ms >= deadline_ms;
    let sending = sending_due(connection, timeouts, now_ms);
    match &mut connection.stage {
        Stage::Handshake { deadline_ms } => {
            passed(*deadline_ms).then_some(Due::Close(EndReason::HandshakeTimeout))
        }
        Stage::Joining { deadline_ms, .. } => {
            passed(*deadline_ms).then_some(Due::Close(EndReason::JoinRefused))
        }
        Stage::Open { heartbeat } => {
            if connection.pause.is_none() && sending.is_none() {
                return heartbeat_due(heartbeat, now_ms);
            }
            heartbeat.hold(now_ms + ms(timeouts.pong));
            sending.or(connection
                .pause
                .and_then(|p| pause_due(p, timeouts, now_ms)))
        }
        Stage::Closing { deadline_ms, .. } if passed(*deadline_ms) => Some(Due::Abort),
        // A peer that was closed for being slow has its whole time to read why.
        Stage::Closing { last, .. } => match sending {
            Some(Due::Close(_)) if *last != Last::PeerClose => Some(Due::Abort),
            sending => sending.map(|_| Due::Nudge),
        },
        Stage::Over => None,
    }
}

/// A full socket is tried again, until it has made no progress for too long.
fn sending_due(connection: &Connection, timeouts: &Timeouts, now_ms: u64) -> Option<Due> {
    match connection.queue.sending {
        Sending::Idle | Sending::Dirty | Sending::Unblocked { .. } => None,
        Sending::Blocked { progress_ms } if now_ms >= progress_ms + ms(timeouts.write) => {
            Some(Due::Close(EndReason::WriteStalled))
        }
        Sending::Blocked { .. } => Some(Due::Nudge),
    }
}

/// Only rooms have a time for a pause; one for the connection's own queue ends when that has room
/// or sending stalls.
fn pause_due(pause: Pause, timeouts: &Timeouts, now_ms: u64) -> Option<Due> {
    let is_over = now_ms >= pause.since_ms + ms(timeouts.pause);
    let is_for_rooms = matches!(pause.wait, Wait::Window | Wait::Outbox);
    (is_for_rooms && is_over).then_some(Due::Close(EndReason::RoomBusy))
}

fn heartbeat_due(heartbeat: &Heartbeat, now_ms: u64) -> Option<Due> {
    match heartbeat {
        Heartbeat::PingAt(at_ms) => (now_ms >= *at_ms).then_some(Due::Ping),
        Heartbeat::PongBy { deadline_ms, .. } => {
            (now_ms >= *deadline_ms).then_some(Due::Close(EndReason::PongTimeout))
        }
    }
}
