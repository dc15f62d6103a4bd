//! Sends events, one batch after the other: a batch is sent again until the back end takes it, and the next one is
//! made only then. So the back end has all events in the order in which they came into the queue.
//!
//! *Bounded:* the queue counts a batch until it is taken; a request has a time, and nothing of its answer is kept.

use std::{pin::pin, sync::Arc, time::Duration};

use flume::Receiver;
use futures_util::future::{Either, select};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{
    batch::{Batch, Besides, Numbers},
    event::{Event, now_ms},
    sink::Sink,
};
use crate::{
    backend::{Client, Failure},
    settings::Url,
};

/// The field with the signature.
const SIGNATURE: HeaderName = HeaderName::from_static("hubbub-signature");

/// A batch takes no more events when those that it has take so many bytes of memory.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// The pause behind the first failure; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_millis(250);

/// How often a failure that lasts is told of in the log.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Where batches go.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) client: Client,
    pub(super) url: Url,
    /// The time of a request.
    pub(super) timeout: Duration,
}

/// When batches go, and how large they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The most events of a batch.
    pub(super) events_max: usize,
    /// For how long a batch waits for further events.
    pub(super) delay: Duration,
    /// The longest pause between two requests with the same batch.
    pub(super) retry_max: Duration,
}

/// The task that sends events.
pub(super) struct Sender {
    destination: Destination,
    pace: Pace,
    sink: Arc<Sink>,
    inbox: Receiver<Event>,
    numbers: Numbers,
    closing: watch::Receiver<bool>,
}

impl Sender {
    pub(super) fn new(
        destination: Destination,
        pace: Pace,
        (sink, inbox): (Arc<Sink>, Receiver<Event>),
        node: Arc<str>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self {
            destination,
            pace,
            sink,
            inbox,
            numbers: Numbers::new(node),
            closing,
        }
    }

    /// Sends a batch at once, so that the back end learns of a new process even if nothing happens; then what happens;
    /// and a last batch, by which it knows that it has everything.
    pub(super) async fn run(mut self) {
        let first = self.numbers.next(&[], &Besides::default());
        self.deliver(&first).await;
        loop {
            let events = self.gather().await;
            let besides = Besides {
                is_last: self.is_closing() && self.inbox.is_empty(),
                lost: self.sink.take_unsaid(),
            };
            let batch = self.numbers.next(&events, &besides);
            drop(events);
            self.deliver(&batch).await;
            if besides.is_last {
                return;
            }
        }
    }

    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits for something to send, and a little for more.
    async fn gather(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.sink.has_unsaid() && !self.is_closing() {
            events.extend(self.event().await);
        }
        if !self.is_closing() && self.inbox.len() < self.pace.events_max {
            self.pause(self.pace.delay).await;
        }
        let mut bytes = events.iter().map(Event::bytes).sum::<usize>();
        while events.len() < self.pace.events_max && bytes < BATCH_BYTES_MAX {
            let Ok(event) = self.inbox.try_recv() else {
                break;
            };
            bytes += event.bytes();
            events.push(event);
        }
        events
    }

    /// The next event; `None` if nothing more happens.
    async fn event(&mut self) -> Option<Event> {
        let came = pin!(self.inbox.recv_async());
        let closing = pin!(self.closing.changed());
        match select(came, closing).await {
            Either::Left((event, _)) => event.ok(),
            Either::Right(_) => None,
        }
    }

    /// Waits, but no longer than until nothing more happens.
    async fn pause(&mut self, time: Duration) {
        let over = pin!(sleep(time));
        let closing = pin!(self.closing.changed());
        select(over, closing).await;
    }

    /// Sends a batch until it is taken.
    async fn deliver(&mut self, batch: &Batch) {
        self.sink.note_sending(batch);
        let (mut failures, mut told) = (0, None);
        loop {
            let began = Instant::now();
            let outcome = self.request(batch).await;
            let took = began.elapsed();
            self.sink
                .note_request(outcome.as_ref().copied(), took, failures > 0);
            let Err(why) = outcome else {
                break;
            };
            failures += 1;
            let is_due = told.is_none_or(|at: Instant| at.elapsed() >= TOLD_EVERY);
            if is_due {
                told = Some(Instant::now());
                let (url, waiting) = (&self.destination.url, self.sink.waiting());
                warn!(%url, batch = batch.number, failures, waiting, %why, "the back end does not take events; they are sent again");
            }
            let pause = spread(backoff(failures).min(self.pace.retry_max));
            match self.is_closing() {
                true => sleep(pause.min(RETRY_MIN)).await,
                false => self.pause(pause).await,
            }
        }
        self.sink.note_taken(batch);
        if failures > 0 {
            info!(
                failures,
                batch = batch.number,
                "the back end takes events again"
            );
        }
    }

    async fn request(&self, batch: &Batch) -> Result<(), Failure> {
        let Destination {
            client,
            url,
            timeout,
        } = &self.destination;
        let signature = self.sink.sign(now_ms() / 1_000, &batch.body);
        let signature = HeaderValue::from_str(&signature)
            .map_err(|error| Failure::Broken(error.to_string()))?;
        let fields = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (SIGNATURE, signature),
        ];
        client
            .post(url.uri(), fields, batch.body.clone(), *timeout)
            .await
    }
}

/// The pause behind so many failures.
fn backoff(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << (failures - 1).min(16))
}

/// Between a half and the whole of a time, by chance: servers that have failed together do not come back together.
fn spread(time: Duration) -> Duration {
    let half = time / 2;
    // Without randomness they do.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    half + half.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_with_each_failure_and_is_spread_over_its_second_half() {
        let ms = |failures| backoff(failures).as_millis();
        assert_eq!([ms(1), ms(2), ms(3), ms(9)], [250, 500, 1_000, 64_000]);
        assert_eq!(ms(100), ms(17));
        let whole = Duration::from_secs(8);
        for _ in 0..100 {
            let pause = spread(whole);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?}");
        }
    }
}
