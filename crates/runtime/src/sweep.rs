//! One look at all of a core's deadlines, several times a second, instead of a timer for each. What
//! the look finds is done over several turns if it is much.

use std::{mem, rc::Rc};

use codec::encode_ping;
use hub::Request;
use slotmap::Key;
use tracing::warn;

use crate::{
    config::Timeouts,
    connection::{Connection, ConnectionKey, Heartbeat, Last, Linger, Pause, Stage, Wait},
    core::{Core, State, ms},
    end::{EndReason, Reached},
    jitter,
    send_queue::Sending,
};

/// Connections whose time has come for which something is done before others get the core. Resetting
/// one is what takes the longest: the kernel takes down a full socket in some 50 microseconds, so all
/// together take a few milliseconds. A room's laggards, evicted in one turn, come here together.
const DUE_PER_TURN: usize = 64;

/// A core that has done nothing for so long, no turn and no sweep, has stood still: the machine was
/// suspended, or the process stopped. However busy a core is, a turn takes a fraction of that.
const STANDSTILL_NS: u64 = 1_000_000_000;

/// What a connection's time has come for.
enum Due {
    /// Its next ping.
    Ping,
    /// Its end, as its stage allows.
    Close(EndReason),
    /// Its end, at once.
    Abort,
    /// The end of its socket, which nobody waits for any more.
    Shut,
    /// Another try at sending.
    Nudge,
}

/// Sweeps for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>) {
    let mut moment = Moment::at(core.now_ms());
    loop {
        let interval = core.state.borrow().shared.config.timeouts.sweep_interval();
        monoio::time::sleep(interval).await;
        moment.go_on(core.now_ms());
        core.sweep(moment).await;
    }
}

/// The time of a sweep, and of the one before it, in milliseconds since the process started.
#[derive(Clone, Copy)]
struct Moment {
    now_ms: u64,
    before_ms: u64,
}

impl Moment {
    fn at(now_ms: u64) -> Self {
        Self {
            now_ms,
            before_ms: now_ms,
        }
    }

    /// The next sweep comes.
    fn go_on(&mut self, now_ms: u64) {
        self.before_ms = mem::replace(&mut self.now_ms, now_ms);
    }

    fn has_passed(self, deadline_ms: u64) -> bool {
        self.now_ms >= deadline_ms
    }

    /// Whether a deadline has passed until which the peer has sent nothing that is still unread. What
    /// is unread is read first, but a peer that always sends more is spared only once.
    fn was_silent_until(self, deadline_ms: u64, has_unread: bool) -> bool {
        self.has_passed(deadline_ms) && (!has_unread || deadline_ms <= self.before_ms)
    }
}

impl Core {
    async fn sweep(&self, moment: Moment) {
        {
            let state = &mut *self.state.borrow_mut();
            state.runs(state.shared.now_ns());
            state.clear_tables(moment.now_ms);
        }
        let due = self.state.borrow_mut().look(moment);
        if due.is_empty() {
            return;
        }
        // What has come by now is read before anyone is said not to have sent it.
        if let Err(error) = self.look_at_sockets() {
            warn!(%error, "looking at sockets failed");
        }
        self.turnstile.pass().await;
        self.carry_out(&due, moment).await;
    }

    async fn carry_out(&self, due: &[ConnectionKey], moment: Moment) {
        for some in due.chunks(DUE_PER_TURN) {
            self.state.borrow_mut().carry_out(some, moment);
            self.turnstile.pass().await;
        }
    }
}

impl State {
    /// The core runs now. If it has stood still before, all deadlines are put off.
    pub(crate) fn runs(&mut self, now_ns: u64) {
        let before_ns = mem::replace(&mut self.ran_ns, now_ns);
        let stood_still_ns = now_ns.saturating_sub(before_ns);
        if stood_still_ns >= STANDSTILL_NS && before_ns > 0 {
            self.put_off(stood_still_ns / 1_000_000);
        }
    }

    /// Puts off whatever was to happen by now: the time in which the core stood still is nobody's.
    fn put_off(&mut self, by_ms: u64) {
        warn!(
            core = self.id.0,
            by_ms,
            "this core did not run for a while (a suspended machine, a stopped process, or no \
             processor time): all its deadlines move by as much"
        );
        let connections = self.connections.values_mut();
        connections.for_each(|connection| connection.put_off(by_ms));
    }

    /// Returns the connections whose time has come, and sums up what waits for all of them.
    fn look(&mut self, moment: Moment) -> Vec<ConnectionKey> {
        let timeouts = &self.shared.config.timeouts;
        let shards = &self.shards;
        let age_set_ms = self.age_set_ms;
        let mut queued_bytes = 0;
        let due: Vec<_> = self
            .connections
            .iter_mut()
            .filter_map(|(key, connection)| {
                queued_bytes += connection.queued_bytes(shards);
                due(key, connection, timeouts, age_set_ms, moment).map(|_| key)
            })
            .collect();
        self.queued_bytes = queued_bytes;
        due
    }

    /// What is to be done from time to time beside connections: tables are cleared of what is over.
    fn clear_tables(&mut self, now_ms: u64) {
        self.notices.tell_left_out(now_ms);
        let now_ns = self.shared.now_ns();
        self.shared.admission.addresses.clear_next(now_ns);
        if !self.outboxes.is_full(self.id) {
            let idle_ms = ms(self.shared.config.timeouts.room_idle);
            self.outboxes.push(Request::Sweep { now_ms, idle_ms });
        }
    }

    /// Does what the time of these connections had come for at the look, if it still has: some turns
    /// have passed since.
    fn carry_out(&mut self, connections: &[ConnectionKey], moment: Moment) {
        let now_ms = self.shared.now_ms();
        for key in connections {
            let timeouts = &self.shared.config.timeouts;
            let connection = self.connections.get_mut(*key);
            let due = connection.and_then(|it| due(*key, it, timeouts, self.age_set_ms, moment));
            if let Some(due) = due {
                self.carry_out_one(*key, due, now_ms);
            }
        }
    }

    fn carry_out_one(&mut self, key: ConnectionKey, due: Due, now_ms: u64) {
        match due {
            Due::Ping => self.ping(key, now_ms),
            Due::Close(reason) => self.close(key, reason),
            // The reason was recorded when closing began.
            Due::Abort => self.abort(key, EndReason::PeerGone(Reached::WebSocket)),
            Due::Shut => {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.shut();
                }
            }
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

fn due(
    key: ConnectionKey,
    connection: &mut Connection,
    timeouts: &Timeouts,
    age_set_ms: u64,
    moment: Moment,
) -> Option<Due> {
    let now_ms = moment.now_ms;
    let has_unread = connection.has_unread();
    let sending = sending_due(connection, timeouts, now_ms);
    let message = message_due(connection, timeouts, moment);
    match &mut connection.stage {
        Stage::Handshake { .. } => connection
            .handshake_overdue(|by_ms| moment.was_silent_until(by_ms, has_unread))
            .map(Due::Close),
        Stage::Joining { deadline_ms, .. } => moment
            .has_passed(*deadline_ms)
            .then_some(Due::Close(EndReason::JoinRefused)),
        Stage::Open { .. }
            if is_aged(
                key,
                connection.accepted_ns / 1_000_000,
                timeouts,
                age_set_ms,
                now_ms,
            ) =>
        {
            Some(Due::Close(EndReason::Aged))
        }
        Stage::Open { .. } if message.is_some() => message,
        Stage::Open { .. } if connection.socket.is_worn() => Some(Due::Close(EndReason::Aged)),
        Stage::Open { heartbeat } => {
            if connection.pause.is_none() && sending.is_none() {
                return heartbeat_due(heartbeat, has_unread, moment);
            }
            heartbeat.hold(now_ms + ms(timeouts.pong));
            sending.or(connection
                .pause
                .and_then(|p| pause_due(p, timeouts, now_ms)))
        }
        Stage::Finishing { deadline_ms, .. } if moment.has_passed(*deadline_ms) => {
            Some(Due::Close(EndReason::RoomBusy))
        }
        Stage::Finishing { .. } => sending,
        Stage::Closing { deadline_ms, last } if moment.has_passed(*deadline_ms) => match last {
            Last::PeerEndAwaited(Linger::Briefly) => Some(Due::Shut),
            _ => Some(Due::Abort),
        },
        // A peer that was closed for being slow has its whole time to read why.
        Stage::Closing { last, .. } => match sending {
            Some(Due::Close(_)) if *last != Last::PeerClose => Some(Due::Abort),
            sending => sending.map(|_| Due::Nudge),
        },
        Stage::Over => None,
    }
}

/// Whether a connection has reached its age: the configured one, less a tenth, plus up to a fifth
/// by its token, so that connections that came together do not go together. Those that were past it
/// when it was set, `age_set_ms`, go within a fifth of it from then.
fn is_aged(
    key: ConnectionKey,
    accepted_ms: u64,
    timeouts: &Timeouts,
    age_set_ms: u64,
    now_ms: u64,
) -> bool {
    timeouts.connection_age.is_some_and(|age| {
        let age_ms = ms(age);
        let spread_ms = jitter::part(age_ms / 5, key.data().as_ffi());
        let least_ms = (accepted_ms + age_ms - age_ms / 10).max(age_set_ms);
        now_ms >= least_ms + spread_ms
    })
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

/// While the peer is not read, the time of its message stands still.
fn message_due(connection: &mut Connection, timeouts: &Timeouts, moment: Moment) -> Option<Due> {
    let has_unread = connection.has_unread();
    let by_ms = connection.message_by_ms.as_mut()?;
    if connection.pause.is_some() {
        *by_ms = moment.now_ms + ms(timeouts.message);
    }
    moment
        .was_silent_until(*by_ms, has_unread)
        .then_some(Due::Close(EndReason::MessageTimeout))
}

/// Only rooms have a time for a pause; one for the connection's own queue ends when that has room
/// or sending stalls.
fn pause_due(pause: Pause, timeouts: &Timeouts, now_ms: u64) -> Option<Due> {
    let is_over = now_ms >= pause.since_ms + ms(timeouts.pause);
    let is_for_rooms = matches!(pause.wait, Wait::Window | Wait::Outbox);
    (is_for_rooms && is_over).then_some(Due::Close(EndReason::RoomBusy))
}

fn heartbeat_due(heartbeat: &Heartbeat, has_unread: bool, moment: Moment) -> Option<Due> {
    match heartbeat {
        Heartbeat::PingAt(at_ms) => moment.has_passed(*at_ms).then_some(Due::Ping),
        Heartbeat::PongBy { deadline_ms, .. } => moment
            .was_silent_until(*deadline_ms, has_unread)
            .then_some(Due::Close(EndReason::PongTimeout)),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use slotmap::SlotMap;

    use super::*;
    use crate::{
        actor,
        fixture::{control, on_each_driver, open, upgrade},
    };

    #[test]
    fn many_whose_time_has_come_are_reset_over_several_turns() {
        const MANY: usize = 2 * DUE_PER_TURN + 1;
        on_each_driver(async |core| {
            let due: Vec<_> = (0..MANY)
                .map(|_| {
                    let state = &mut *core.state.borrow_mut();
                    let (key, _) = open(state);
                    state.connections[key].stage = Stage::Closing {
                        deadline_ms: 0,
                        last: Last::PeerClose,
                    };
                    key
                })
                .collect();
            let sweeping = core.clone();
            monoio::spawn(async move { sweeping.carry_out(&due, Moment::at(1)).await });
            let over = || {
                let state = core.state.borrow();
                let all = state.connections.values();
                all.filter(|it| matches!(it.stage, Stage::Over)).count()
            };
            let mut before = 0;
            for _ in 0..MANY {
                core.turnstile.pass().await;
                let in_turn = over() - before;
                assert!(in_turn <= DUE_PER_TURN, "{in_turn} in one turn");
                before += in_turn;
            }
            assert_eq!(before, MANY);
        });
    }

    /// Sweeps when the time of a pong has come that has arrived, or not, and was not read yet.
    async fn sweep_at_the_deadline(core: &Rc<Core>, has_arrived: bool) -> Option<EndReason> {
        let payload = *b"ping";
        let (key, mut peer) = open(&mut core.state.borrow_mut());
        {
            let state = &mut *core.state.borrow_mut();
            let connection = &mut state.connections[key];
            upgrade(connection);
            let deadline_ms = 1000;
            connection.stage = Stage::Open {
                heartbeat: Heartbeat::PongBy {
                    deadline_ms,
                    payload,
                },
            };
            core.poller.watch(&connection.socket, key).unwrap();
        }
        // Waits for attention.
        monoio::spawn(actor::run(core.clone(), key));
        core.turnstile.pass().await;
        if has_arrived {
            peer.write_all(&control(10, &payload)).unwrap();
        }
        let moment = Moment {
            now_ms: 1000,
            before_ms: 999,
        };
        core.sweep(moment).await;
        let state = core.state.borrow();
        state.connections.get(key).and_then(|it| it.end)
    }

    #[test]
    fn what_has_arrived_is_read_before_a_deadline_is_acted_on() {
        on_each_driver(async |core| {
            assert_eq!(sweep_at_the_deadline(&core, true).await, None);
            let end = sweep_at_the_deadline(&core, false).await;
            assert_eq!(end, Some(EndReason::PongTimeout));
        });
    }

    #[test]
    fn peer_that_always_sends_more_is_spared_once() {
        let moment = Moment {
            now_ms: 100,
            before_ms: 90,
        };
        for (deadline_ms, is_silent, has_more) in [
            (101, false, false),
            (100, true, false),
            (91, true, false),
            (90, true, true),
        ] {
            let judged =
                [false, true].map(|has_unread| moment.was_silent_until(deadline_ms, has_unread));
            assert_eq!(judged, [is_silent, has_more], "{deadline_ms}");
        }
    }

    #[test]
    fn deadlines_are_put_off_only_by_time_in_which_nothing_ran() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let (key, _peer) = open(state);
            state.connections[key].stage = Stage::Handshake { deadline_ms: 5_000 };
            for (now_ms, expected_ms) in [
                (10_000, 5_000),
                (10_999, 5_000),
                (11_998, 5_000),
                (12_998, 6_000),
                (13_997, 6_000),
            ] {
                state.runs(now_ms * 1_000_000);
                let Stage::Handshake { deadline_ms } = state.connections[key].stage else {
                    panic!("it went on");
                };
                assert_eq!(deadline_ms, expected_ms, "{now_ms}");
            }
        });
    }

    #[test]
    fn connection_whose_time_was_put_off_since_the_look_stays() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let (key, _peer) = open(state);
            state.connections[key].stage = Stage::Handshake { deadline_ms: 0 };
            let timeouts = Timeouts::default();
            let moment = Moment::at(1);
            assert!(due(key, &mut state.connections[key], &timeouts, 0, moment).is_some());
            let heartbeat = Heartbeat::PingAt(u64::MAX);
            state.connections[key].stage = Stage::Open { heartbeat };
            state.carry_out(&[key], moment);
            let connection = &state.connections[key];
            assert!(matches!(connection.stage, Stage::Open { .. }));
            assert_eq!(connection.end, None);
        });
    }

    /// A thousand connections, and the age of ten seconds.
    fn thousand_of_ten_seconds() -> (Vec<ConnectionKey>, Timeouts) {
        let timeouts = Timeouts {
            connection_age: Some(Duration::from_secs(10)),
            ..Timeouts::default()
        };
        let mut slots = SlotMap::<ConnectionKey, ()>::with_key();
        let keys = (0..1_000).map(|_| slots.insert(())).collect();
        (keys, timeouts)
    }

    #[test]
    fn age_is_reached_from_nine_to_eleven_tenths_spread_over_connections() {
        let (keys, timeouts) = thousand_of_ten_seconds();
        let aged = |accepted_ms: u64, age_ms: u64| {
            let aged = |key: &&_| is_aged(**key, accepted_ms, &timeouts, 0, accepted_ms + age_ms);
            keys.iter().filter(aged).count()
        };
        for accepted_ms in [0, 12_345] {
            assert_eq!(aged(accepted_ms, 8_999), 0);
            for (age_ms, expected) in [(9_500, 250), (10_000, 500), (10_500, 750)] {
                let count = aged(accepted_ms, age_ms);
                assert!(count.abs_diff(expected) < 100, "{count} after {age_ms} ms");
            }
            assert_eq!(aged(accepted_ms, 11_000), 1_000);
        }
    }

    #[test]
    fn age_that_is_set_late_is_spread_from_then_on() {
        let (keys, timeouts) = thousand_of_ten_seconds();
        let aged = |now_ms| {
            let aged = |key: &&_| is_aged(**key, 0, &timeouts, 60_000, now_ms);
            keys.iter().filter(aged).count()
        };
        assert!(aged(60_010) < 50, "{} at once", aged(60_010));
        assert!(aged(61_000).abs_diff(500) < 100);
        assert_eq!(aged(62_000), 1_000);
    }

    #[test]
    fn age_is_no_reason_unless_it_is_configured() {
        let mut slots = SlotMap::<ConnectionKey, ()>::with_key();
        let key = slots.insert(());
        assert!(!is_aged(key, 0, &Timeouts::default(), 0, u64::MAX));
    }
}
