//! The places of a listener beside the cores: a bounded number, with room for every new connection.
//!
//! When all places are taken, the connection that has gone longest without a request is ended for a
//! new one. When all places for pages are taken, the page that has been served for the longest time is
//! ended for another page. Health probes take only a moment: they end no other connection, and no
//! connection ends them. Where each request matters, all places may be for pages: then none is ended, and a new
//! connection waits.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::Notify,
    task::{self, AbortHandle},
};
use tracing::debug;

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The number of places.
    pub(crate) places: usize,
    /// Those for pages; the others are for connections without a request yet, and for probes.
    pub(crate) pages_max: usize,
}

/// All places.
pub(crate) struct Places {
    bounds: Bounds,
    /// Whose places they are, for the log.
    listener: &'static str,
    taken: Mutex<Taken>,
    /// Signals that a place has become free.
    left: Notify,
    /// The number of connections that were ended to make room.
    crowded_out: Arc<AtomicU64>,
}

#[derive(Default)]
struct Taken {
    places: Vec<Place>,
    /// The number of activities that have begun so far.
    begun: u64,
}

/// A place that is taken.
struct Place {
    id: u64,
    doing: Doing,
    /// The number of its activity; an earlier activity has a smaller number.
    since: u64,
    task: AbortHandle,
}

/// The activity at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// The connection waits for its request, or for its TLS handshake.
    Waiting,
    /// A health probe is being answered.
    Probe,
    /// Another page is being served.
    Page,
}

/// Frees its place when it is dropped.
pub(crate) struct Seat {
    places: Arc<Places>,
    id: u64,
}

impl Places {
    /// All places are free. `crowded_out` counts the connections that are ended to make room.
    pub(crate) fn new(
        listener: &'static str,
        bounds: Bounds,
        crowded_out: Arc<AtomicU64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            listener,
            taken: Mutex::default(),
            left: Notify::new(),
            crowded_out,
        })
    }

    /// Runs the future that serves a connection as soon as there is a place for it.
    pub(crate) async fn serve<F>(self: &Arc<Self>, serve: impl FnOnce(Seat) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while !self.has_room() {
            self.left.notified().await;
        }
        let mut taken = self.lock();
        let id = taken.next();
        let places = self.clone();
        // The task does not begin before this thread awaits something.
        let task = task::spawn(serve(Seat { places, id })).abort_handle();
        taken.places.push(Place {
            id,
            doing: Doing::Waiting,
            since: id,
            task,
        });
    }

    /// Makes room if there is none. This fails while all connections are being answered.
    fn has_room(&self) -> bool {
        let mut taken = self.lock();
        taken.places.len() < self.bounds.places || self.crowd_out(&mut taken, Doing::Waiting)
    }

    /// Ends the activity of this kind that has lasted longest, if there is one.
    fn crowd_out(&self, taken: &mut Taken, doing: Doing) -> bool {
        let places = taken.places.iter().enumerate();
        let doing_so = places.filter(|(_, place)| place.doing == doing);
        let Some((at, _)) = doing_so.min_by_key(|(_, place)| place.since) else {
            return false;
        };
        taken.places.swap_remove(at).task.abort();
        self.crowded_out.fetch_add(1, Ordering::Relaxed);
        let listener = self.listener;
        debug!(?doing, listener, "a connection was ended to make room");
        true
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.lock().places.len()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing can panic while the lock is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn next(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }
}

impl Seat {
    /// Records what the connection does from now on.
    pub(crate) fn begin(&self, doing: Doing) {
        let mut taken = self.places.lock();
        let pages = taken.places.iter().filter(|it| it.doing == Doing::Page);
        if doing == Doing::Page && pages.count() >= self.places.bounds.pages_max {
            self.places.crowd_out(&mut taken, Doing::Page);
        }
        let since = taken.next();
        let own = taken.places.iter_mut().find(|it| it.id == self.id);
        if let Some(place) = own {
            (place.doing, place.since) = (doing, since);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.lock().places.retain(|it| it.id != self.id);
        self.places.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    const PLACES: usize = 32;
    const PAGES_MAX: usize = 24;

    fn run(test: impl AsyncFn(Arc<Places>)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(async { test(places(PAGES_MAX)).await });
    }

    fn places(pages_max: usize) -> Arc<Places> {
        let bounds = Bounds {
            places: PLACES,
            pages_max,
        };
        Places::new("test", bounds, Arc::default())
    }

    /// Adds this many connections that do this for ever.
    async fn come(places: &Arc<Places>, count: usize, doing: Doing) {
        for _ in 0..count {
            let stay = |seat: Seat| async move {
                if doing != Doing::Waiting {
                    seat.begin(doing);
                }
                pending::<()>().await;
            };
            places.serve(stay).await;
            task::yield_now().await;
        }
    }

    /// The connections that do this, the earliest first.
    fn doing(places: &Places, doing: Doing) -> Vec<u64> {
        let taken = places.lock();
        let so = taken.places.iter().filter(|it| it.doing == doing);
        let mut ids: Vec<_> = so.map(|it| it.id).collect();
        ids.sort_unstable();
        ids
    }

    fn crowded_out(places: &Places) -> u64 {
        places.crowded_out.load(Ordering::Relaxed)
    }

    #[test]
    fn connection_that_comes_ends_the_one_that_has_waited_the_longest() {
        run(async |places| {
            come(&places, 8, Doing::Page).await;
            come(&places, PLACES - 8, Doing::Waiting).await;
            let (pages, waiting) = (doing(&places, Doing::Page), doing(&places, Doing::Waiting));
            assert_eq!(crowded_out(&places), 0);
            come(&places, 3, Doing::Waiting).await;
            assert_eq!(doing(&places, Doing::Page), pages);
            assert_eq!(doing(&places, Doing::Waiting)[..PLACES - 11], waiting[3..]);
            assert_eq!(crowded_out(&places), 3);
        });
    }

    #[test]
    fn page_beyond_the_most_ends_the_longest_and_no_probe() {
        run(async |places| {
            come(&places, 4, Doing::Probe).await;
            come(&places, PAGES_MAX, Doing::Page).await;
            let (probes, pages) = (doing(&places, Doing::Probe), doing(&places, Doing::Page));
            assert_eq!(crowded_out(&places), 0);
            come(&places, 2, Doing::Page).await;
            assert_eq!(doing(&places, Doing::Page)[..PAGES_MAX - 2], pages[2..]);
            assert_eq!(doing(&places, Doing::Page).len(), PAGES_MAX);
            assert_eq!(doing(&places, Doing::Probe), probes);
            // A probe still finds room.
            come(&places, 1, Doing::Probe).await;
            assert_eq!(crowded_out(&places), 2);
        });
    }

    #[test]
    fn connection_that_comes_while_all_are_answered_waits_until_one_leaves() {
        run(async |places| {
            come(&places, PAGES_MAX, Doing::Page).await;
            come(&places, PLACES - PAGES_MAX, Doing::Probe).await;
            let one_more = places.clone();
            let waits = task::spawn(async move { come(&one_more, 1, Doing::Waiting).await });
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!waits.is_finished());
            assert_eq!(crowded_out(&places), 0);
            places.lock().places[0].task.abort();
            waits.await.unwrap();
            assert_eq!(doing(&places, Doing::Waiting).len(), 1);
        });
    }
}
