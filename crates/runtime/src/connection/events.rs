//! Handles each event that the codec reports: routes requests, hands messages to the session, answers
//! pings, closes.

use codec::{Error, Event, Inflater};

use super::{
    Actor, GoesOn, Last, Linger, Outlet, Session, Stage, Wait, actor::Progress, handshake,
    outlet::Wishes,
};
use crate::{clock::ms, end::EndReason};

impl Actor<'_> {
    /// Processes received bytes up to the next event, and handles that.
    pub(super) fn step(&mut self, input: &mut [u8], inflater: &mut Inflater) -> Progress {
        if let Some(outcome) = self.prepare(!input.is_empty()) {
            return outcome;
        }
        let connection = &mut *self.connection;
        let input_bytes = input.len();
        let limits = &self.parts.config.limits;
        let step = connection.protocol.receive(input, limits, inflater);
        let consumed = step.consumed;
        let Some(event) = step.event else {
            return self.no_event(consumed, input_bytes);
        };
        self.parts.counters.tally.took(&event);
        let config = &self.parts.config;
        let has_rates = config.message_rate.is_some() || config.control_rate.is_some();
        let is_counted_elsewhere = matches!(event, Event::Message(_))
            && connection
                .session
                .as_ref()
                .is_some_and(|it| it.counts_messages());
        if has_rates
            && !is_counted_elsewhere
            && let Some(reason) = connection.rare.rates().take(&event, config, self.now.ns)
        {
            self.close(reason);
            return Progress::Consumed(consumed);
        }
        match event {
            Event::Body(body) => {
                if let Some((take, packing)) = connection.stage.take_receiver() {
                    let taken = take(body);
                    self.taken(taken, packing);
                }
            }
            Event::Request(request) => {
                let provenance = &connection.provenance;
                let routed = handshake::route(&request, provenance, self.parts);
                self.follow(routed);
            }
            Event::Message(message) => {
                self.parts.out.spare.lend(connection.out.queue.direct());
                let (out, rooms) = (&mut connection.out, &mut connection.rooms);
                let mut outlet = Outlet::new(connection.key, out, rooms, self.parts, self.now);
                if let Some(session) = &mut connection.session {
                    session.receive(message, &mut outlet);
                }
                let wishes = outlet.wishes;
                self.after_session(wishes);
            }
            Event::Ping(_) => self.owe_pong(),
            Event::Pong(payload) => {
                let payload: Option<[u8; 4]> = payload.try_into().ok();
                self.ponged(|ping| Some(*ping) == payload);
            }
            Event::Close(code) => {
                let last = Last::PeerEnd(Linger::Briefly);
                self.finish(last, EndReason::PeerClosed(code));
            }
            Event::Failed(Error::Handshake(error)) => self.refuse_handshake(error, None),
            Event::Failed(error @ Error::Frame(_)) => {
                let last = Last::PeerEnd(Linger::Fully);
                self.finish(last, EndReason::Protocol(error));
            }
        }
        Progress::Consumed(consumed)
    }

    /// Ends a pause that is over, and begins the next request with its first bytes. Returns what the step
    /// comes to if the codec is not to be asked.
    fn prepare(&mut self, has_input: bool) -> Option<Progress> {
        if let Some(wait) = self.must_wait() {
            return Some(Progress::Wait(wait));
        }
        match self.connection.stage {
            Stage::Over => return Some(Progress::Exhausted),
            Stage::KeptAlive { .. } if has_input => self.begin_next(),
            _ => {}
        }
        let connection = &mut *self.connection;
        connection.pause = None;
        if has_input && !connection.protocol.is_within_message() {
            connection.rare.set_message_by_ms(None);
        }
        match connection.goes_on() {
            GoesOn::No => None,
            GoesOn::Later => {
                self.go_on();
                Some(Progress::Consumed(0))
            }
            GoesOn::Costly => Some(Progress::Later),
        }
    }

    /// The session goes on with what it was handed, or it is decided which session opens.
    pub(super) fn go_on(&mut self) {
        if matches!(self.connection.stage, Stage::Deciding(_)) {
            return self.decide();
        }
        self.connection.out.goes_on = GoesOn::No;
        self.with_session(|session, outlet| session.go_on(outlet));
    }

    /// The peer has sent a pong; it answers the latest ping if that had such a payload.
    fn ponged(&mut self, answers: impl FnOnce(&[u8; 4]) -> bool) {
        let next_ms = self.now.ms + ms(self.parts.config.timeouts.ping_interval);
        let took_us = self.connection.stage.pong(answers, self.now.ns, next_ms);
        if let Some(us) = took_us {
            self.parts.counters.tally.ping.record(u64::from(us) * 1000);
        }
    }

    /// The codec has consumed so many of the input's bytes without an event.
    fn no_event(&mut self, consumed: usize, input_bytes: usize) -> Progress {
        // The codec stops after so many fragments without an event, so that they can be charged for;
        // the rest of the input follows in the next step.
        if consumed > 0 && consumed < input_bytes {
            return Progress::Consumed(consumed);
        }
        if self.connection.protocol.is_inflating() {
            // The whole message has arrived, so its deadline no longer applies: only our own inflating is
            // left.
            self.connection.rare.set_message_by_ms(None);
            return Progress::Consumed(consumed);
        }
        let by_ms = self.now.ms + ms(self.parts.config.timeouts.message);
        self.connection.note_unfinished(by_ms);
        Progress::Exhausted
    }

    /// What keeps this connection from taking another message now.
    pub(super) fn must_wait(&mut self) -> Option<Wait> {
        // Deferred requests are handed over first, because the window opens only when they are ordered.
        let is_held_up = self.hand_over();
        match self.connection.stage {
            Stage::Joining(_) => return Some(Wait::Answers),
            Stage::Answering { .. } => return Some(Wait::Queue),
            Stage::Open { .. } => {}
            Stage::Handshake { .. }
            | Stage::Receiving(_)
            | Stage::KeptAlive { .. }
            | Stage::Finishing { .. }
            | Stage::Closing { .. }
            | Stage::Deciding(_)
            | Stage::Over => return None,
        }
        if !self.has_space() {
            // Perhaps only because this turn has not sent yet.
            self.transmit();
            if !self.has_space() {
                return Some(Wait::Queue);
            }
        }
        let out = &mut self.connection.out;
        if out.awaits_empty {
            if out.queue.sending.is_behind() || out.queue.direct_bytes() > 0 {
                return Some(Wait::Queue);
            }
            out.awaits_empty = false;
        }
        let rooms = &self.connection.rooms;
        if rooms.is_window_full(self.parts.config.publish_window_bytes) {
            return Some(Wait::Window);
        }
        if rooms.waits_for_answers {
            return Some(Wait::Answers);
        }
        is_held_up.then_some(Wait::Home)
    }

    /// Hands deferred requests to their homes. Returns true if a home has no space: the connection then
    /// has a turn when it has.
    fn hand_over(&mut self) -> bool {
        let rooms = &mut self.connection.rooms;
        if !rooms.has_deferred() {
            return false;
        }
        let home = rooms.hand_over(&mut self.parts.rooms.requests);
        if let Some(home) = home
            && rooms.begins_to_await_home()
        {
            self.parts.rooms.requests.wait(home, self.connection.key);
        }
        home.is_some()
    }

    /// Whether the queue could take the largest answer that a message may have: itself.
    pub(crate) fn has_space(&self) -> bool {
        let config = &self.parts.config;
        let queued = self.connection.out.queue.direct_bytes();
        queued == 0 || queued + config.limits.message_bytes_max <= config.send_queue_bytes_max
    }

    /// Lets the session speak outside of a message.
    pub(super) fn with_session(&mut self, speak: impl FnOnce(&mut dyn Session, &mut Outlet<'_>)) {
        let connection = &mut *self.connection;
        let Some(session) = &mut connection.session else {
            return;
        };
        self.parts.out.spare.lend(connection.out.queue.direct());
        let (out, rooms) = (&mut connection.out, &mut connection.rooms);
        let mut outlet = Outlet::new(connection.key, out, rooms, self.parts, self.now);
        speak(&mut **session, &mut outlet);
        let wishes = outlet.wishes;
        self.after_session(wishes);
        // Perhaps nothing more arrives from the peer, so that no turn would hand over deferred requests; and
        // the connection may be paused for the answers to just these.
        let is_reading = match self.connection.stage {
            Stage::Open { .. } => self.connection.pause.is_none(),
            Stage::Finishing { .. } => false,
            _ => return,
        };
        if self.hand_over() && is_reading {
            self.connection.begin_pause(Wait::Home, self.now);
        }
    }

    /// The session has said what it has to say, and what is to be done.
    pub(super) fn after_session(&mut self, wishes: Wishes) {
        let Wishes {
            end,
            goes_on,
            is_ponged,
            alarm_ms,
        } = wishes;
        let queue = &mut self.connection.out.queue;
        self.parts.out.spare.take_back(queue.direct());
        if is_ponged {
            self.ponged(|_| true);
        }
        if let Some(at_ms) = alarm_ms {
            self.connection.rare.set_alarm_ms(at_ms);
        }
        if goes_on != GoesOn::No {
            self.connection.out.goes_on = goes_on;
            self.raise();
        }
        if let Some(reason) = end {
            self.close(reason);
        } else if self.connection.out.queue.direct_bytes() > 0 {
            self.queued();
        }
    }

    /// While the socket takes what is sent each ping gets its pong; behind a full one only the
    /// latest is owed (RFC 6455 section 5.5.3).
    fn owe_pong(&mut self) {
        let connection = &mut *self.connection;
        if !connection.out.queue.sending.is_blocked() {
            let owed = connection.protocol.transmit(connection.out.queue.direct());
            self.parts.counters.tally.transmitted(owed, true);
            self.queued();
        }
    }
}

#[cfg(test)]
mod tests;
