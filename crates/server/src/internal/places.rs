//! The places of the internal listener: few, and one for whoever comes.
//!
//! Whoever has been there the longest without asking for anything makes room for one that comes when
//! all are taken, and whoever has been served a page the longest for one more page. Health probes are
//! served in a moment: they end nobody and are not ended.

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

/// Far more than probes and scrapers need, and half of the descriptors that `max_connections` leaves
/// in reserve.
const PLACES: usize = 32;
/// Of them, for pages: the others are for those who have yet to ask, and for probes.
const PAGES_MAX: usize = 24;

/// All places.
pub(super) struct Places {
    taken: Mutex<Taken>,
    /// Somebody has left.
    left: Notify,
    /// How many were made to.
    crowded_out: Arc<AtomicU64>,
}

#[derive(Default)]
struct Taken {
    places: Vec<Place>,
    /// How many times something has begun here.
    begun: u64,
}

/// One that is taken.
struct Place {
    id: u64,
    doing: Doing,
    /// What began before has the smaller number.
    since: u64,
    task: AbortHandle,
}

/// What goes on at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// A request is awaited, or TLS before it.
    Waiting,
    /// A health probe is answered.
    Probe,
    /// Anything else is answered.
    Page,
}

/// Gives a place back when it is dropped.
pub(super) struct Seat {
    places: Arc<Places>,
    id: u64,
}

impl Places {
    /// All free. Those who have to make room are counted in `crowded_out`.
    pub(super) fn new(crowded_out: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            left: Notify::new(),
            crowded_out,
        })
    }

    /// Runs what serves a connection, at a place, as soon as there is one.
    pub(super) async fn serve<F>(self: &Arc<Self>, serve: impl FnOnce(Seat) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while !self.has_room() {
            self.left.notified().await;
        }
        let mut taken = self.lock();
        let id = taken.next();
        let places = self.clone();
        // It does not begin before this thread awaits something.
        let task = task::spawn(serve(Seat { places, id })).abort_handle();
        taken.places.push(Place {
            id,
            doing: Doing::Waiting,
            since: id,
            task,
        });
    }

    /// Makes room if there is none; without success while all are being answered.
    fn has_room(&self) -> bool {
        let mut taken = self.lock();
        taken.places.len() < PLACES || self.crowd_out(&mut taken, Doing::Waiting)
    }

    /// Ends what has been going on for the longest time, if there is any.
    fn crowd_out(&self, taken: &mut Taken, doing: Doing) -> bool {
        let places = taken.places.iter().enumerate();
        let doing_so = places.filter(|(_, place)| place.doing == doing);
        let Some((at, _)) = doing_so.min_by_key(|(_, place)| place.since) else {
            return false;
        };
        taken.places.swap_remove(at).task.abort();
        self.crowded_out.fetch_add(1, Ordering::Relaxed);
        debug!(?doing, "a connection of the internal listener made room");
        true
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing can panic while it is held.
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
    /// Something has been asked for.
    pub(super) fn begin(&self, doing: Doing) {
        let mut taken = self.places.lock();
        let pages = taken.places.iter().filter(|it| it.doing == Doing::Page);
        if doing == Doing::Page && pages.count() >= PAGES_MAX {
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

    fn run(test: impl AsyncFn(Arc<Places>)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(async { test(Places::new(Arc::default())).await });
    }

    /// So many more connections that do this for ever.
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

    /// Those who do this, the first who came first.
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
            // There is room for a probe all the same.
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
