//! Closing everyone at an even, jittered pace, so that their reconnects do not arrive as one wave.
//!
//! The drain's time is divided into as many slots as there are connections; each is closed at a
//! random time of its own slot. So the pace is even, and neither cores nor servers that began
//! together close in lockstep.

use std::{rc::Rc, time::Duration};

use super::{Core, State};
use crate::{
    clock::{Now, ms},
    config::Timeouts,
    end::EndReason,
    ids::ConnectionKey,
    jitter,
    kernel::{random, sleep},
};

/// The longest time between two looks at who is to be closed, or whether all are gone.
const LOOK_MS: u64 = 10;

/// The longest time that one look counts as passed, so that a standstill does not become a burst of
/// closes.
const STEP_MAX_MS: u64 = 2 * LOOK_MS;

/// How much faster than time a drain goes that has fallen behind, in percent.
const CATCH_UP: u64 = 10;

/// How far it falls behind at most, so that it ends in time whatever happens.
const LAG_MAX_MS: u64 = 1_000;

/// Who waits for the end of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A supervisor, which has as much time as it was told of.
    Planned,
    /// Somebody at a terminal.
    Interrupted,
}

impl Urgency {
    /// From being told to drain until it begins.
    pub(crate) fn delay(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::Planned => timeouts.drain_delay,
            Self::Interrupted => Duration::ZERO,
        }
    }

    /// From the beginning: over how long the closes are spread, and when whoever is left is reset.
    fn schedule(self, timeouts: &Timeouts) -> Schedule {
        match self {
            Self::Planned => Schedule {
                close_ms: ms(timeouts.drain),
                reset_ms: ms(timeouts.drain + timeouts.close),
            },
            // The other half is for the answers.
            Self::Interrupted => Schedule {
                close_ms: ms(timeouts.interrupt_drain / 2),
                reset_ms: ms(timeouts.interrupt_drain),
            },
        }
    }
}

struct Schedule {
    close_ms: u64,
    reset_ms: u64,
}

/// Closes all connections of a core with 1001, spread over the drain's time; returns when the
/// last is gone. Nobody comes meanwhile, because the acceptors have stopped before.
pub(crate) async fn run(core: &Rc<Core>, urgency: Urgency) {
    let mut drain = Drain::begin(&mut core.state.borrow_mut(), urgency);
    loop {
        let next = drain.go_on(&mut core.state.borrow_mut());
        let Some(pause) = next else { return };
        sleep(pause).await;
    }
}

struct Drain {
    pace: Pace,
    clock: DrainClock,
    reset_ms: u64,
    /// The connections that were open when the drain began and are not closed yet; the next is the last.
    waiting: Vec<ConnectionKey>,
}

impl Drain {
    fn begin(state: &mut State, urgency: Urgency) -> Self {
        state.parts.is_draining = true;
        let schedule = urgency.schedule(&state.parts.config.timeouts);
        let waiting = state.connections.keys();
        Self {
            pace: Pace {
                total_ms: schedule.close_ms,
                slots: waiting.len() as u64,
                // Without randomness the pace is even all the same.
                seed: random().unwrap_or_default(),
            },
            clock: DrainClock::at(state.now().ms),
            reset_ms: schedule.reset_ms,
            waiting,
        }
    }

    /// Closes the connections that are due; returns how long to wait, or nothing when all are gone.
    fn go_on(&mut self, state: &mut State) -> Option<Duration> {
        let now = state.now();
        let passed_us = self.clock.look(now.ms);
        let mut next_us = LOOK_MS * 1_000;
        while let Some(key) = self.waiting.last() {
            let due_us = self.pace.due_us(self.waiting.len() as u64);
            if due_us > passed_us {
                next_us = next_us.min(due_us - passed_us);
                break;
            }
            state.close(*key, now, EndReason::Drained);
            self.waiting.pop();
        }
        let passed_ms = passed_us / 1_000;
        if passed_ms >= self.pace.total_ms {
            self.end(state, now, passed_ms);
        }
        let pause = Duration::from_micros(next_us).max(Duration::from_millis(1));
        (!state.connections.is_empty()).then_some(pause)
    }

    /// Closes whoever is left when the drain's time is over; whoever has not closed by `reset_ms`, however
    /// much is still being sent to it, is reset.
    fn end(&self, state: &mut State, now: Now, passed_ms: u64) {
        let is_too_long = passed_ms >= self.reset_ms;
        for key in state.connections.keys() {
            state.act(key, now, |actor, _| match is_too_long {
                true => actor.abort(EndReason::Drained),
                false => actor.close(EndReason::Drained),
            });
        }
    }
}

/// When each connection is closed, from the beginning of the drain.
struct Pace {
    total_ms: u64,
    slots: u64,
    seed: u64,
}

impl Pace {
    /// The time for one when so many wait, this one included. The first is closed at once: nobody
    /// is to wait for the sake of a single connection.
    fn due_us(&self, waiting: u64) -> u64 {
        let slot = self.slots - waiting;
        if slot == 0 {
            return 0;
        }
        let total_us = self.total_ms * 1_000;
        let begin =
            |slot: u64| (u128::from(total_us) * u128::from(slot) / u128::from(self.slots)) as u64;
        let (from, to) = (begin(slot), begin(slot + 1));
        from + jitter::part(to - from, self.seed ^ slot)
    }
}

/// The drain's time. It passes as time does, but after a standstill only a little faster, until
/// it has caught up: it never runs more than a tenth faster than real time.
struct DrainClock {
    begun_ms: u64,
    looked_ms: u64,
    passed_us: u64,
}

impl DrainClock {
    fn at(now_ms: u64) -> Self {
        Self {
            begun_ms: now_ms,
            looked_ms: now_ms,
            passed_us: 0,
        }
    }

    /// How much of the drain's time has passed by now, in microseconds.
    fn look(&mut self, now_ms: u64) -> u64 {
        let step_us = (now_ms - self.looked_ms).min(STEP_MAX_MS) * 1_000;
        let true_ms = now_ms - self.begun_ms;
        self.looked_ms = now_ms;
        self.passed_us += step_us + step_us * CATCH_UP / 100;
        self.passed_us = self
            .passed_us
            .max(true_ms.saturating_sub(LAG_MAX_MS) * 1_000)
            .min(true_ms * 1_000);
        self.passed_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: u64 = 1_000;
    const TOTAL_MS: u64 = 2_000;

    fn due_times(seed: u64) -> Vec<u64> {
        let pace = Pace {
            total_ms: TOTAL_MS,
            slots: SLOTS,
            seed,
        };
        (1..=SLOTS)
            .rev()
            .map(|waiting| pace.due_us(waiting))
            .collect()
    }

    #[test]
    fn pace_closes_one_in_each_slot_and_the_first_at_once() {
        let slot_us = TOTAL_MS * 1_000 / SLOTS;
        let due = due_times(7);
        assert_eq!(due[0], 0);
        for (slot, due_us) in (0..).zip(due) {
            assert_eq!(due_us / slot_us, slot);
        }
    }

    #[test]
    fn pace_is_not_in_lockstep_with_another() {
        let slot_us = TOTAL_MS * 1_000 / SLOTS;
        let (one, other) = (due_times(7), due_times(8));
        let near = one
            .iter()
            .zip(&other)
            .filter(|(a, b)| a.abs_diff(**b) < slot_us / 10);
        let near = near.count() as u64;
        // Of two random points of a slot, one pair in five is that near.
        assert!(near < SLOTS * 3 / 10, "{near} of {SLOTS}");
        let early = one
            .iter()
            .filter(|due_us| *due_us % slot_us < slot_us / 2)
            .count() as u64;
        assert!(
            (SLOTS * 4 / 10..SLOTS * 6 / 10).contains(&early),
            "{early} of {SLOTS}"
        );
    }

    #[test]
    fn pace_of_hours_and_many_connections_does_not_overflow() {
        let pace = Pace {
            total_ms: 24 * 60 * 60 * 1_000,
            slots: 10_000_000,
            seed: u64::MAX,
        };
        assert!(pace.due_us(1) < pace.total_ms * 1_000);
    }

    #[test]
    fn clock_that_is_looked_at_in_time_is_right() {
        let mut clock = DrainClock::at(500);
        for now_ms in (500..5_000).step_by(7) {
            assert_eq!(clock.look(now_ms), (now_ms - 500) * 1_000);
        }
    }

    #[test]
    fn clock_after_a_standstill_catches_up_by_and_by() {
        let mut clock = DrainClock::at(0);
        let before_us = clock.look(10);
        let mut passed_us = clock.look(410);
        assert_eq!(passed_us, before_us + 22_000);
        let mut now_ms = 410;
        while passed_us < now_ms * 1_000 {
            now_ms += LOOK_MS;
            let next_us = clock.look(now_ms);
            assert!(next_us - passed_us <= 11_000, "at {now_ms}");
            passed_us = next_us;
        }
        assert!((3_500..4_500).contains(&now_ms), "caught up at {now_ms}");
    }

    #[test]
    fn clock_is_never_far_behind() {
        let mut clock = DrainClock::at(0);
        for now_ms in (0..60_000).step_by(100) {
            assert!(clock.look(now_ms) + LAG_MAX_MS * 1_000 >= now_ms * 1_000);
        }
    }
}
