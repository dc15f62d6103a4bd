//! Decides which deadline of a connection has passed, and acts on it.

use codec::encode_ping;

use super::{Actor, Connection, Heartbeat, Last, Linger, Pause, Pings, SessionEvent, Stage, Wait};
use crate::{
    clock::{Now, ms},
    config::Timeouts,
    end::{EndReason, Reached},
    ids::ConnectionKey,
    jitter,
    out::Sending,
};

/// What is to be done because a deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its next ping.
    Ping,
    /// Its next heartbeat, if it is a stream.
    Beat,
    /// What its session was waiting for.
    Alarm,
    /// Its end, as its stage allows.
    Close(EndReason),
    /// Its end, at once.
    Abort,
    /// The end of its socket, for which nothing waits any more.
    Shut,
    /// Another try at sending.
    Retry,
}

/// The time of a sweep, and of the one before it, in milliseconds of deadlines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SweepTime {
    pub(crate) now_ms: u64,
    pub(crate) before_ms: u64,
    /// In nanoseconds since the process started: ages go on while a core stands still.
    pub(crate) now_ns: u64,
    /// When the age of connections was last configured, in milliseconds since the process started.
    pub(crate) age_set_ms: u64,
}

impl SweepTime {
    fn has_passed(self, deadline_ms: u64) -> bool {
        self.now_ms >= deadline_ms
    }

    /// Whether a deadline has passed. If unread input waits, the connection gets one more sweep, so that
    /// the input is processed first; a peer that always sends more gets only that one.
    fn was_silent_until(self, deadline_ms: u64, has_pending_input: bool) -> bool {
        self.has_passed(deadline_ms) && (!has_pending_input || deadline_ms <= self.before_ms)
    }
}

impl Actor<'_> {
    /// Acts on a deadline that has passed.
    pub(crate) fn carry_out(&mut self, due: Due) {
        match due {
            Due::Ping => self.ping(),
            Due::Beat => self.beat(),
            Due::Alarm => {
                self.connection.rare.set_alarm_ms(None);
                self.handle(SessionEvent::Alarm);
            }
            Due::Close(reason) => self.close(reason),
            // The reason was recorded when closing began.
            Due::Abort => self.abort(EndReason::PeerGone(Reached::WebSocket)),
            Due::Shut => self.shut(),
            Due::Retry => self.retry(),
        }
    }

    fn ping(&mut self) {
        let payload = Heartbeat::payload(self.now.ns);
        let is_frame = self.connection.out.pings == Pings::Frames;
        if is_frame {
            encode_ping(&payload, self.connection.out.queue.direct());
        }
        let heartbeat = Heartbeat::PongBy {
            deadline_ms: self.now.ms + ms(self.parts.config.timeouts.pong),
            payload,
        };
        self.connection.stage = Stage::Open { heartbeat };
        if is_frame {
            self.parts.counters.tally.frames_sent.ping += 1;
            self.queued();
        } else {
            self.with_session(|session, outlet| session.ping(outlet));
        }
    }
}

impl Connection {
    /// Holds the deadlines that stand still while the connection is not read or cannot be sent to. To be
    /// called at each sweep, before [`due`](Self::due).
    pub(crate) fn postpone_deadlines(&mut self, timeouts: &Timeouts, now: Now) {
        let is_paused = self.pause.is_some();
        let is_blocked = self.out.queue.sending.is_blocked();
        if is_paused && self.rare.message_by_ms().is_some() {
            let by_ms = now.ms + ms(timeouts.message);
            self.rare.set_message_by_ms(Some(by_ms));
        }
        if (is_paused || is_blocked)
            && let Stage::Open { heartbeat } = &mut self.stage
        {
            heartbeat.postpone(now.ms + ms(timeouts.pong));
        }
    }

    /// What the connection's time has come for, if for anything.
    pub(crate) fn due(&self, timeouts: &Timeouts, time: SweepTime) -> Option<Due> {
        match &self.stage {
            Stage::Handshake { .. } => {
                let has_pending_input = self.has_pending_input();
                self.handshake_overdue(|by_ms| time.was_silent_until(by_ms, has_pending_input))
                    .map(Due::Close)
            }
            Stage::Receiving(receiving) => time
                .was_silent_until(receiving.deadline_ms, self.has_pending_input())
                .then_some(Due::Close(EndReason::HandshakeTimeout)),
            Stage::Answering { deadline_ms } if time.has_passed(*deadline_ms) => {
                Some(Due::Close(EndReason::WriteStalled))
            }
            Stage::Answering { .. } => self.sending_due(timeouts, time.now_ms),
            Stage::KeptAlive { deadline_ms } => time
                .was_silent_until(*deadline_ms, self.has_pending_input())
                .then_some(Due::Close(EndReason::Answered)),
            Stage::Deciding(deciding) => time
                .has_passed(deciding.deadline_ms)
                .then_some(Due::Close(EndReason::HandshakeTimeout)),
            Stage::Joining(joining) => time
                .has_passed(joining.deadline_ms)
                .then_some(Due::Close(EndReason::JoinRefused)),
            Stage::Open { heartbeat } => self.open_due(heartbeat, timeouts, time),
            Stage::Finishing { deadline_ms, .. } if time.has_passed(*deadline_ms) => {
                Some(Due::Close(EndReason::RoomBusy))
            }
            Stage::Finishing { .. } => self.sending_due(timeouts, time.now_ms),
            Stage::Closing { deadline_ms, last } => {
                self.closing_due(*deadline_ms, *last, timeouts, time)
            }
            Stage::Over => None,
        }
    }

    fn open_due(&self, heartbeat: &Heartbeat, timeouts: &Timeouts, time: SweepTime) -> Option<Due> {
        let accepted_ms = self.provenance.accepted_ns / 1_000_000;
        if is_aged(self.key, accepted_ms, timeouts, time) {
            return Some(Due::Close(EndReason::Aged));
        }
        if let Some(by_ms) = self.rare.message_by_ms()
            && time.was_silent_until(by_ms, self.has_pending_input())
        {
            return Some(Due::Close(EndReason::MessageTimeout));
        }
        if let Some(at_ms) = self.rare.alarm_ms()
            && time.has_passed(at_ms)
        {
            return Some(Due::Alarm);
        }
        if self.socket.has_worn_keys() {
            return Some(Due::Close(EndReason::Aged));
        }
        let sending = self.sending_due(timeouts, time.now_ms);
        match (self.pause, sending) {
            (None, None) => heartbeat_due(heartbeat, self.has_pending_input(), time),
            (pause, sending) => sending.or_else(|| pause_due(pause?, timeouts, time.now_ms)),
        }
    }

    /// A peer that was closed for being slow has its whole time to read why.
    fn closing_due(
        &self,
        deadline_ms: u64,
        last: Last,
        timeouts: &Timeouts,
        time: SweepTime,
    ) -> Option<Due> {
        if time.has_passed(deadline_ms) {
            return Some(match last {
                Last::PeerEndAwaited(Linger::Briefly) => Due::Shut,
                _ => Due::Abort,
            });
        }
        match self.sending_due(timeouts, time.now_ms)? {
            Due::Close(_) if last != Last::PeerClose => Some(Due::Abort),
            _ => Some(Due::Retry),
        }
    }

    /// A full socket is tried again, until it has made no progress for too long.
    fn sending_due(&self, timeouts: &Timeouts, now_ms: u64) -> Option<Due> {
        match self.out.queue.sending {
            Sending::Idle | Sending::Pending | Sending::Unblocked { .. } => None,
            Sending::Blocked { progress } if progress.ago_ms(now_ms) >= ms(timeouts.write) => {
                Some(Due::Close(EndReason::WriteStalled))
            }
            Sending::Blocked { .. } => Some(Due::Retry),
        }
    }
}

/// Whether a connection has reached its age: the configured one, less a tenth, plus up to a fifth
/// by its key, so that connections that came together do not go together. Those that were past it
/// when it was set go within a fifth of it from then.
fn is_aged(key: ConnectionKey, accepted_ms: u64, timeouts: &Timeouts, time: SweepTime) -> bool {
    timeouts.connection_age.is_some_and(|age| {
        let age_ms = ms(age);
        let spread_ms = jitter::part(age_ms / 5, key.token());
        let least_ms = (accepted_ms + age_ms - age_ms / 10).max(time.age_set_ms);
        time.now_ns / 1_000_000 >= least_ms + spread_ms
    })
}

/// Only a pause that waits for rooms has a bound of its own; one for the connection's own queue ends
/// when the queue drains or sending stalls.
fn pause_due(pause: Pause, timeouts: &Timeouts, now_ms: u64) -> Option<Due> {
    let is_over = pause.since.ago_ms(now_ms) >= ms(timeouts.pause);
    let is_for_rooms = matches!(pause.wait, Wait::Window | Wait::Home | Wait::Answers);
    (is_for_rooms && is_over).then_some(Due::Close(EndReason::RoomBusy))
}

fn heartbeat_due(heartbeat: &Heartbeat, has_pending_input: bool, time: SweepTime) -> Option<Due> {
    match heartbeat {
        Heartbeat::PingAt(at_ms) => time.has_passed(*at_ms).then_some(Due::Ping),
        Heartbeat::PongBy { deadline_ms, .. } => time
            .was_silent_until(*deadline_ms, has_pending_input)
            .then_some(Due::Close(EndReason::PongTimeout)),
        Heartbeat::Beats(beats) => time.has_passed(beats.next_ms).then_some(Due::Beat),
        Heartbeat::None => None,
    }
}

#[cfg(test)]
mod tests;
