//! The queue of events that are to be sent: bounded in bytes, and nobody who tells of something waits for it.
//!
//! *Invariant:* an event that is told is in the queue, in a batch that is not taken yet, taken, or counted as lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use flume::Receiver;
use runtime::Timing;

use super::{
    batch::Batch,
    event::{Event, EventKind, now_ms},
    signature::Secret,
};
use crate::backend::Failure;

/// What is told, and how much of it may wait.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The kinds that are told.
    pub kinds: Vec<EventKind>,
    /// The most bytes of memory of events that wait or are being sent.
    pub queue_bytes_max: usize,
    /// For how long a room must have been empty to be vacated.
    pub debounce: Duration,
}

/// Where events are told.
#[derive(Debug)]
pub struct Sink {
    kinds: [bool; KINDS],
    queue_bytes_max: usize,
    debounce: Duration,
    to_sender: flume::Sender<Event>,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    /// What was lost and not said yet.
    unsaid: [AtomicU64; KINDS],
    told: [AtomicU64; KINDS],
    lost: [AtomicU64; KINDS],
    secret: ArcSwap<Secret>,
    sending: Mutex<Sending>,
}

const KINDS: usize = EventKind::ALL.len();

/// What becomes of requests with batches.
pub const OUTCOMES: [&str; 5] = ["taken", "refused", "redirect", "too_slow", "broken"];

/// What the sender counts.
#[derive(Debug, Default)]
struct Sending {
    taken_events: u64,
    retries: u64,
    outcomes: [u64; OUTCOMES.len()],
    duration: Timing,
    /// When the oldest event happened of the batch that is being sent, in milliseconds since 1970.
    oldest_ms: Option<u64>,
}

/// What has been counted so far.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Events that wait or are being sent.
    pub waiting: usize,
    /// Their memory.
    pub waiting_bytes: usize,
    /// Events told, by kind.
    pub told: [u64; KINDS],
    /// Events lost, by kind.
    pub lost: [u64; KINDS],
    /// Events that the back end has taken.
    pub taken: u64,
    /// Requests that repeated a batch.
    pub retries: u64,
    /// Requests, by [outcome](OUTCOMES).
    pub outcomes: [u64; OUTCOMES.len()],
    /// How long requests took.
    pub duration: Timing,
    /// For how long the batch that is being sent has waited, in seconds.
    pub behind_s: f64,
}

impl Sink {
    /// A queue, and the end of it where events come out.
    pub(super) fn new(bounds: Bounds, secret: Secret) -> (Arc<Self>, Receiver<Event>) {
        // The bound is that of the bytes.
        let (to_sender, inbox) = flume::unbounded();
        let sink = Self {
            kinds: EventKind::ALL.map(|kind| bounds.kinds.contains(&kind)),
            queue_bytes_max: bounds.queue_bytes_max,
            debounce: bounds.debounce,
            to_sender,
            waiting: AtomicUsize::default(),
            waiting_bytes: AtomicUsize::default(),
            unsaid: Default::default(),
            told: Default::default(),
            lost: Default::default(),
            secret: ArcSwap::from_pointee(secret),
            sending: Mutex::default(),
        };
        (Arc::new(sink), inbox)
    }

    /// Whether events of this kind are told.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.kinds[kind as usize]
    }

    /// Whether anybody wants to know which rooms are occupied.
    pub fn wants_occupancy(&self) -> bool {
        self.wants(EventKind::Occupied) || self.wants(EventKind::Vacated)
    }

    /// For how long a room must have been empty to be vacated.
    pub fn debounce(&self) -> Duration {
        self.debounce
    }

    /// Signs with another secret from now on.
    pub fn sign_with(&self, secret: Secret) {
        self.secret.store(Arc::new(secret));
    }

    /// Events that wait or are being sent.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Tells an event, of a kind that is wanted. It is lost, and counted, if the queue is full.
    pub(super) fn tell(&self, event: Event) {
        let (kind, bytes) = (event.kind() as usize, event.bytes());
        self.waiting.fetch_add(1, Relaxed);
        let before = self.waiting_bytes.fetch_add(bytes, Relaxed);
        let is_told =
            before + bytes <= self.queue_bytes_max && self.to_sender.try_send(event).is_ok();
        if is_told {
            self.told[kind].fetch_add(1, Relaxed);
        } else {
            self.waiting_bytes.fetch_sub(bytes, Relaxed);
            self.waiting.fetch_sub(1, Relaxed);
            self.unsaid[kind].fetch_add(1, Relaxed);
            self.lost[kind].fetch_add(1, Relaxed);
        }
    }

    /// Whether something was lost that no batch has said.
    pub(super) fn has_unsaid(&self) -> bool {
        self.unsaid.iter().any(|count| count.load(Relaxed) > 0)
    }

    /// What was lost and not said, for the batch that says it.
    pub(super) fn take_unsaid(&self) -> BTreeMap<&'static str, u64> {
        let counts = EventKind::ALL.iter().zip(&self.unsaid);
        counts
            .map(|(kind, count)| (kind.name(), count.swap(0, Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    pub(super) fn sign(&self, now_s: u64, body: &[u8]) -> String {
        self.secret.load().sign(now_s, body)
    }

    /// A batch is about to be sent.
    pub(super) fn note_sending(&self, batch: &Batch) {
        self.sending().oldest_ms = batch.oldest_ms;
    }

    /// A request is over.
    pub(super) fn note_request(&self, outcome: Result<(), &Failure>, took: Duration, again: bool) {
        let mut sending = self.sending();
        let outcome = match outcome {
            Ok(()) => 0,
            Err(Failure::Status(_)) => 1,
            Err(Failure::Redirect(_)) => 2,
            Err(Failure::TooSlow(_)) => 3,
            Err(_) => 4,
        };
        sending.outcomes[outcome] += 1;
        sending.retries += u64::from(again);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        sending.duration.record(ns);
    }

    /// The back end has taken a batch.
    pub(super) fn note_taken(&self, batch: &Batch) {
        self.waiting.fetch_sub(batch.events, Relaxed);
        self.waiting_bytes.fetch_sub(batch.bytes, Relaxed);
        let mut sending = self.sending();
        sending.taken_events += batch.events as u64;
        sending.oldest_ms = None;
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        let each = |counts: &[AtomicU64; KINDS]| {
            let mut read = [0; KINDS];
            read.iter_mut()
                .zip(counts)
                .for_each(|(read, it)| *read = it.load(Relaxed));
            read
        };
        let sending = self.sending();
        Counts {
            waiting: self.waiting(),
            waiting_bytes: self.waiting_bytes.load(Relaxed),
            told: each(&self.told),
            lost: each(&self.lost),
            taken: sending.taken_events,
            retries: sending.retries,
            outcomes: sending.outcomes,
            duration: sending.duration.clone(),
            behind_s: sending.oldest_ms.map_or(0.0, |oldest_ms| {
                now_ms().saturating_sub(oldest_ms) as f64 / 1e3
            }),
        }
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        // Nothing can panic while the lock is held.
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::event::What, *};

    /// A queue of so many bytes for events of these kinds.
    pub fn sink(kinds: &[EventKind], queue_bytes_max: usize) -> (Arc<Sink>, Receiver<Event>) {
        let bounds = Bounds {
            kinds: kinds.to_vec(),
            queue_bytes_max,
            debounce: Duration::from_secs(5),
        };
        Sink::new(bounds, Secret::new(&[7; 32]).unwrap())
    }

    fn occupied() -> Event {
        Event::now(What::Occupied("a".into()))
    }

    #[test]
    fn what_does_not_fit_is_lost_and_said_once() {
        let bytes = occupied().bytes();
        let (sink, inbox) = sink(&EventKind::ALL, 2 * bytes + bytes / 2);
        for _ in 0..5 {
            sink.tell(occupied());
        }
        sink.tell(Event::now(What::Vacated("a".into())));
        assert_eq!((inbox.len(), sink.waiting()), (2, 2));
        assert_eq!(sink.counts().waiting_bytes, 2 * bytes);
        assert!(sink.has_unsaid());
        let lost = BTreeMap::from([("occupied", 3), ("vacated", 1)]);
        assert_eq!(sink.take_unsaid(), lost);
        assert!(!sink.has_unsaid());
        assert_eq!(sink.counts().lost, [0, 0, 0, 0, 3, 1]);
        assert_eq!(sink.counts().told, [0, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn queue_has_space_again_only_when_a_batch_is_taken() {
        let bytes = occupied().bytes();
        let (sink, inbox) = sink(&[EventKind::Occupied], bytes);
        sink.tell(occupied());
        let events = [inbox.try_recv().unwrap()];
        let mut numbers = super::super::batch::Numbers::new("n".into());
        let batch = numbers.next(&events, &super::super::batch::Besides::default());
        sink.note_sending(&batch);
        sink.tell(occupied());
        assert!(inbox.is_empty());
        sink.note_request(Err(&Failure::TooLong(1)), Duration::from_secs(1), false);
        sink.note_request(Ok(()), Duration::from_secs(1), true);
        sink.note_taken(&batch);
        sink.tell(occupied());
        assert_eq!(inbox.len(), 1);
        let counts = sink.counts();
        assert_eq!((counts.taken, counts.retries), (1, 1));
        assert_eq!(counts.outcomes, [1, 0, 0, 0, 1]);
        assert_eq!((counts.waiting, counts.duration.count()), (1, 2));
    }

    #[test]
    fn only_what_is_asked_for_is_wanted() {
        let (sink, _) = sink(&[EventKind::Connected, EventKind::Vacated], 1);
        let wanted: Vec<_> = EventKind::ALL.map(|kind| sink.wants(kind)).into();
        assert_eq!(wanted, [true, false, false, false, false, true]);
        assert!(sink.wants_occupancy());
    }
}
