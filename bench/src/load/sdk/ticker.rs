//! A ticker: many keys whose values change far more often than subscribers can be told, some of whom read slowly. What
//! counts is how old the newest value is that each has seen.

use super::publications::payload;
use super::steady::{Audience, ENCODING};
use crate::centrifuge::{Command, Said};
use crate::load::check::Fault;
use crate::load::meter::{Meter, histogram};
use crate::load::wire::hexadecimal;
use crate::results::Figure;
use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Digits of a key and of an update's number.
const DIGITS: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Values that are looked at each time, of fast subscribers and of slow ones.
const LOOKED_AT: usize = 32;

/// What the first update of a publisher looked like: all others differ in their digits alone.
#[derive(Clone, Debug)]
struct Template {
    message: Vec<u8>,
    key_at: usize,
    payload_at: usize,
}

/// All updates of a run, and what each subscriber has seen of them.
#[derive(Debug)]
pub struct Ticker {
    room: String,
    filling: String,
    keys: usize,
    publishers: usize,
    /// Subscribers, of whom the last ones are slow.
    subscribers: usize,
    slow: usize,
    /// When each update was due. Update `n` is of the key `n` modulo their number.
    due: Vec<Instant>,
    templates: Vec<Option<Template>>,
    expected: Vec<u8>,
    /// For each subscriber and key the number of the newest update that it has seen, counted from 1; 0 for none.
    seen: Vec<u32>,
    delivered: u64,
    looked: Instant,
    chance: u64,
    fast_ages: Histogram<u64>,
    slow_ages: Histogram<u64>,
}

impl Ticker {
    /// No updates yet. Publishers take turns, so their number divides that of the keys: one publisher for each key.
    #[must_use]
    pub fn new(
        room: &str,
        [keys, publishers]: [usize; 2],
        [subscribers, slow]: [usize; 2],
        payload_bytes: usize,
    ) -> Self {
        debug_assert!(keys.is_multiple_of(publishers));
        let letters = payload_bytes.saturating_sub(payload(0, 0, "").len());
        Self {
            room: room.to_owned(),
            filling: "x".repeat(letters),
            keys,
            publishers,
            subscribers,
            slow,
            due: Vec::new(),
            templates: vec![None; publishers],
            expected: Vec::new(),
            seen: vec![0; subscribers * keys],
            delivered: 0,
            looked: Instant::now(),
            chance: 1,
            fast_ages: histogram(),
            slow_ages: histogram(),
        }
    }

    /// The number of the update, if it is what its publisher's first one was, but for the digits.
    fn known(&mut self, message: &[u8]) -> Option<u32> {
        // Templates of all publishers are as long and have their digits at the same places.
        let any = self.templates.iter().flatten().next()?;
        let at = any.payload_at + 1 + DIGITS;
        let number = hexadecimal(message.get(at..at + DIGITS)?)?;
        let template = self.templates[number as usize % self.publishers].as_ref()?;
        let key = key_name(number as usize % self.keys);
        let told = payload(number as usize % self.keys, number, "");
        self.expected.clone_from(&template.message);
        let (key_at, payload_at) = (template.key_at, template.payload_at);
        self.expected[key_at..key_at + key.len()].copy_from_slice(key.as_bytes());
        let digits = told.len() - 1;
        self.expected[payload_at..payload_at + digits].copy_from_slice(&told.as_bytes()[..digits]);
        (self.expected == message && (number as usize) < self.due.len()).then_some(number)
    }

    fn first(&mut self, message: &[u8]) -> Result<u32> {
        let said = ENCODING.read(message)?;
        let [Said::Publication(room, publication)] = &said[..] else {
            bail!("unexpected: {said:?}");
        };
        ensure!(**room == *self.room, "an update of {room}");
        let digits = publication.data.get(1 + DIGITS..1 + 2 * DIGITS);
        let number = digits.and_then(hexadecimal).context("no number")?;
        let key = number as usize % self.keys;
        let expected = payload(key, number, &self.filling);
        ensure!(
            publication.data == expected.as_bytes(),
            "{}",
            Fault::Content
        );
        ensure!(*publication.key == *key_name(key), "{}", Fault::Content);
        ensure!((number as usize) < self.due.len(), "{}", Fault::Unsent);
        let template = &mut self.templates[number as usize % self.publishers];
        ensure!(template.is_none(), "{}", Fault::Disagreement);
        let at = |wanted: &str| {
            let wanted = wanted.as_bytes();
            let found = message.windows(wanted.len()).position(|it| it == wanted);
            found.context("a message does not have what it says")
        };
        *template = Some(Template {
            message: message.to_vec(),
            key_at: at(&format!("\"{}\"", key_name(key)))? + 1,
            payload_at: at(&expected)?,
        });
        Ok(number)
    }

    fn chance(&mut self, below: usize) -> usize {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) as usize % below
    }

    /// How old the value is that a subscriber has of a key, if it has one.
    fn age_ns(&self, subscriber: usize, key: usize, now: Instant) -> Option<u64> {
        let seen = self.seen[subscriber * self.keys + key].checked_sub(1)?;
        let age = now.saturating_duration_since(self.due[seen as usize]);
        Some(age.as_nanos() as u64)
    }
}

/// The name of a key.
fn key_name(key: usize) -> String {
    format!("k{key:0DIGITS$x}")
}

impl Audience for Ticker {
    fn subscription(&self) -> Command<'_> {
        Command::SubscribeKeys(&self.room)
    }

    fn publish(&mut self, number: u32, due: Instant, send: &mut dyn FnMut(Command<'_>)) {
        let key = number as usize % self.keys;
        let payload = payload(key, number, &self.filling);
        send(Command::Set(&self.room, &key_name(key), payload.as_bytes()));
        self.due.push(due);
    }

    fn acknowledged(&mut self, meter: &mut Meter, now: Instant) {
        meter.record(now, now, 1);
    }

    fn take(&mut self, subscriber: usize, message: &[u8], _: &mut Meter, _: Instant) -> Result<()> {
        let number = match self.known(message) {
            Some(number) => number,
            None => self.first(message)?,
        };
        let seen = &mut self.seen[subscriber * self.keys + number as usize % self.keys];
        ensure!(
            number + 1 > *seen,
            "update {number} came behind {} of the same key",
            *seen - 1
        );
        *seen = number + 1;
        self.delivered += 1;
        Ok(())
    }

    fn look(&mut self, now: Instant) {
        if now < self.looked + LOOK_EVERY {
            return;
        }
        self.looked = now;
        let fast = self.subscribers - self.slow;
        for _ in 0..LOOKED_AT {
            let key = self.chance(self.keys);
            let subscriber = self.chance(fast);
            let age = self.age_ns(subscriber, key, now);
            age.into_iter()
                .for_each(|it| self.fast_ages.saturating_record(it));
            if self.slow > 0 {
                let subscriber = fast + self.chance(self.slow);
                let age = self.age_ns(subscriber, key, now);
                age.into_iter()
                    .for_each(|it| self.slow_ages.saturating_record(it));
            }
        }
    }

    fn lacks(&self, subscriber: usize) -> bool {
        let first = self.due.len().saturating_sub(self.keys);
        (first..self.due.len()).any(|number| {
            self.seen[subscriber * self.keys + number % self.keys] != number as u32 + 1
        })
    }

    fn delivered(&self) -> u64 {
        self.delivered
    }

    fn figures(&self) -> Vec<(Figure, f64)> {
        let us = |ages: &Histogram<u64>, quantile| ages.value_at_quantile(quantile) as f64 / 1e3;
        let mut figures = Vec::new();
        let fast = [(Figure::FastAgeP50Us, 0.5), (Figure::FastAgeP99Us, 0.99)];
        let slow = [(Figure::SlowAgeP50Us, 0.5), (Figure::SlowAgeP99Us, 0.99)];
        for (ages, wanted) in [(&self.fast_ages, fast), (&self.slow_ages, slow)] {
            if !ages.is_empty() {
                figures.extend(wanted.map(|(figure, quantile)| (figure, us(ages, quantile))));
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::meter::Window;

    /// Four keys, two publishers, a fast and a slow subscriber, and so many updates.
    fn published(count: u32) -> Ticker {
        let mut ticker = Ticker::new("t:a", [4, 2], [2, 1], 40);
        for number in 0..count {
            ticker.publish(number, Instant::now(), &mut |_| {});
        }
        ticker
    }

    fn push(key: usize, data: &str, publisher: u32) -> Vec<u8> {
        format!(
            r#"{{"push":{{"channel":"t:a","pub":{{"data":{data},"info":{{"client":"{publisher}"}},"key":"{}"}}}}}}"#,
            key_name(key)
        )
        .into_bytes()
    }

    fn right(ticker: &Ticker, number: u32) -> Vec<u8> {
        let key = number as usize % 4;
        push(key, &payload(key, number, &ticker.filling), number % 2)
    }

    fn take(ticker: &mut Ticker, subscriber: usize, message: &[u8]) -> Result<()> {
        let window = Window {
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(1),
            stays_awake: false,
        };
        let now = Instant::now();
        ticker.take(subscriber, message, &mut Meter::new(window, None), now)
    }

    #[test]
    fn older_values_may_be_passed_over_but_the_newest_of_each_key_may_not() {
        let mut ticker = published(9);
        for number in [0, 1, 2, 3, 5, 6, 7] {
            let message = right(&ticker, number);
            take(&mut ticker, 0, &message).unwrap();
        }
        assert!(ticker.lacks(0) && ticker.lacks(1));
        for (subscriber, number) in [(0, 8), (1, 8), (1, 7), (1, 6), (1, 5)] {
            let message = right(&ticker, number);
            take(&mut ticker, subscriber, &message).unwrap();
        }
        assert!(!ticker.lacks(0) && !ticker.lacks(1));
        ticker.look(Instant::now() + LOOK_EVERY);
        assert_eq!(ticker.figures().len(), 4);
        assert_eq!(ticker.delivered(), 12);
    }

    #[test]
    fn wrong_updates_are_found_by_the_first_reader_and_by_others() {
        for has_read in [false, true] {
            let check = |message: &dyn Fn(&Ticker) -> Vec<u8>| {
                let mut ticker = published(9);
                if has_read {
                    for number in [0, 1] {
                        let message = right(&ticker, number);
                        take(&mut ticker, 1, &message).unwrap();
                    }
                }
                let before = right(&ticker, 4);
                take(&mut ticker, 0, &before).unwrap();
                let message = message(&ticker);
                assert!(take(&mut ticker, 0, &message).is_err());
            };
            check(&|it| right(it, 4));
            check(&|it| right(it, 0));
            check(&|it| right(it, 9));
            check(&|it| push(0, &payload(1, 5, &it.filling), 1));
            check(&|it| push(1, &payload(0, 5, &it.filling), 1));
            check(&|it| push(1, &payload(1, 5, &it.filling.replace("xx", "xy")), 1));
            check(&|it| [&right(it, 8)[..], b" "].concat());
            check(&|_| br#"{"push":{"channel":"t:a","unsubscribe":{"code":2500}}}"#.to_vec());
        }
    }
}
