//! Closing everyone at an even pace, so that their reconnects do not arrive as one wave.

use std::{rc::Rc, time::Duration};

use crate::{
    connection::ConnectionKey,
    core::{Core, State, ms},
    end::EndReason,
};

/// How often connections are closed while draining.
const PACE: Duration = Duration::from_millis(10);

/// Closes all connections of a core with 1001, spread over the drain's time; returns when the
/// last is gone. Those that come meanwhile are closed at the end of that time.
pub(crate) async fn run(core: &Rc<Core>) {
    let mut drain = Drain::begin(&mut core.state.borrow_mut());
    while !drain.go_on(&mut core.state.borrow_mut()) {
        monoio::time::sleep(PACE).await;
    }
}

struct Drain {
    begun_ms: u64,
    total_ms: u64,
    /// How many connections there were when it began.
    connections: u64,
    /// Those of them that were not closed yet; the next is the last.
    waiting: Vec<ConnectionKey>,
}

impl Drain {
    fn begin(state: &mut State) -> Self {
        state.is_draining = true;
        let waiting: Vec<_> = state.connections.keys().collect();
        Self {
            begun_ms: state.shared.now_ms(),
            total_ms: ms(state.shared.config.timeouts.drain),
            connections: waiting.len() as u64,
            waiting,
        }
    }

    /// Closes those whose time has come; returns whether all are gone.
    fn go_on(&mut self, state: &mut State) -> bool {
        let elapsed_ms = state.shared.now_ms() - self.begun_ms;
        let is_over = elapsed_ms >= self.total_ms;
        // The first closes at once: nobody is to wait for the sake of a single connection.
        let closed = match is_over {
            true => self.connections,
            false => self.connections * elapsed_ms / self.total_ms + 1,
        };
        let left = self.connections.saturating_sub(closed);
        while self.waiting.len() as u64 > left
            && let Some(key) = self.waiting.pop()
        {
            state.close(key, EndReason::Drained);
        }
        if is_over {
            self.end(state, elapsed_ms);
        }
        state.connections.is_empty()
    }

    /// Latecomers are closed at once; whoever has not closed by now, however much is still being
    /// sent to it, is reset.
    fn end(&self, state: &mut State, elapsed_ms: u64) {
        let keys: Vec<_> = state.connections.keys().collect();
        let is_too_long = elapsed_ms >= self.total_ms + ms(state.shared.config.timeouts.close);
        for key in keys {
            match is_too_long {
                true => state.abort(key, EndReason::Drained),
                false => state.close(key, EndReason::Drained),
            }
        }
    }
}
