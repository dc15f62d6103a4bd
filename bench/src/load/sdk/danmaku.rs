//! Comments beside a live stream: many listen to one room in which hundreds of messages are told in a second, and who
//! is too slow for all of them misses the oldest.

use super::publications::payload;
use super::steady::{Audience, ENCODING};
use crate::centrifuge::{Command, Said};
use crate::load::check::{Fault, order_fault};
use crate::load::meter::Meter;
use crate::load::wire::hexadecimal;
use crate::results::Figure;
use anyhow::{Result, anyhow, bail, ensure};
use std::time::Instant;

/// Digits of a message's number.
const DIGITS: usize = 8;

/// All messages of a run, and how far each subscriber is.
#[derive(Debug)]
pub struct Danmaku {
    room: String,
    filling: String,
    /// When each message was due, and what its first reader was told; empty before.
    messages: Vec<(Instant, Vec<u8>)>,
    /// The least number that each subscriber may be told next.
    next: Vec<u32>,
    /// Where the number lies in what subscribers are told.
    number_at: usize,
    delivered: u64,
    payload: String,
}

impl Danmaku {
    /// Nothing said yet in this room.
    #[must_use]
    pub fn new(room: &str, subscribers: usize, payload_bytes: usize) -> Self {
        let letters = payload_bytes.saturating_sub(payload(0, 0, "").len());
        Self {
            room: room.to_owned(),
            filling: "x".repeat(letters),
            messages: Vec::new(),
            next: vec![0; subscribers],
            number_at: usize::MAX - DIGITS,
            delivered: 0,
            payload: String::new(),
        }
    }

    /// The number, if this is what another subscriber was told.
    fn known(&self, message: &[u8]) -> Option<u32> {
        let number = hexadecimal(message.get(self.number_at..self.number_at + DIGITS)?)?;
        let (_, told) = self.messages.get(number as usize)?;
        (told == message).then_some(number)
    }

    /// Reads what nobody was told before, and compares it with what was published.
    fn first(&mut self, message: &[u8]) -> Result<u32> {
        let said = ENCODING.read(message)?;
        let [Said::Publication(room, publication)] = &said[..] else {
            bail!("unexpected: {said:?}");
        };
        let fault = |fault: Fault| anyhow!("{fault}");
        ensure!(**room == *self.room, "a message of {room}");
        let digits = publication.data.get(1 + DIGITS..1 + 2 * DIGITS);
        let number = digits
            .and_then(hexadecimal)
            .ok_or_else(|| fault(Fault::Content))?;
        let expected = payload(0, number, &self.filling);
        ensure!(
            publication.data == expected.as_bytes(),
            "{}",
            Fault::Content
        );
        let Some((_, told)) = self.messages.get_mut(number as usize) else {
            return Err(fault(Fault::Unsent));
        };
        ensure!(told.is_empty(), "{}", Fault::Disagreement);
        told.extend_from_slice(message);
        let found = message
            .windows(expected.len())
            .position(|it| it == expected.as_bytes());
        self.number_at = found.map_or(self.number_at, |at| at + 1 + DIGITS);
        Ok(number)
    }
}

impl Audience for Danmaku {
    fn subscription(&self) -> Command<'_> {
        Command::Subscribe(&self.room, None)
    }

    fn publish(&mut self, number: u32, due: Instant, send: &mut dyn FnMut(Command<'_>)) {
        self.payload = payload(0, number, &self.filling);
        send(Command::Publish(&self.room, self.payload.as_bytes()));
        self.messages.push((due, Vec::new()));
    }

    fn acknowledged(&mut self, _: &mut Meter, _: Instant) {}

    fn take(
        &mut self,
        subscriber: usize,
        message: &[u8],
        meter: &mut Meter,
        now: Instant,
    ) -> Result<()> {
        let number = match self.known(message) {
            Some(number) => number,
            None => self.first(message)?,
        };
        let next = &mut self.next[subscriber];
        if number < *next {
            bail!("{}", order_fault(*next, number));
        }
        *next = number + 1;
        self.delivered += 1;
        meter.record(self.messages[number as usize].0, now, 1);
        Ok(())
    }

    fn look(&mut self, _: Instant) {}

    fn lacks(&self, subscriber: usize) -> bool {
        (self.next[subscriber] as usize) < self.messages.len()
    }

    fn delivered(&self) -> u64 {
        self.delivered
    }

    fn figures(&self) -> Vec<(Figure, f64)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::meter::Window;
    use std::time::Duration;

    fn meter() -> Meter {
        let window = Window {
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(1),
            stays_awake: false,
        };
        Meter::new(window, None)
    }

    fn published(count: u32) -> Danmaku {
        let mut danmaku = Danmaku::new("live:a", 2, 64);
        for number in 0..count {
            danmaku.publish(number, Instant::now(), &mut |_| {});
        }
        danmaku
    }

    fn push(room: &str, data: &str) -> Vec<u8> {
        format!(r#"{{"push":{{"channel":"{room}","pub":{{"data":{data}}}}}}}"#).into_bytes()
    }

    fn right(danmaku: &Danmaku, number: u32) -> Vec<u8> {
        push("live:a", &payload(0, number, &danmaku.filling))
    }

    fn take(danmaku: &mut Danmaku, subscriber: usize, message: &[u8]) -> Result<()> {
        danmaku.take(subscriber, message, &mut meter(), Instant::now())
    }

    #[test]
    fn messages_may_be_passed_over_but_for_the_newest() {
        let mut danmaku = published(4);
        for (subscriber, number) in [(0, 0), (0, 2), (1, 1), (1, 2), (1, 3)] {
            let message = right(&danmaku, number);
            take(&mut danmaku, subscriber, &message).unwrap();
        }
        assert_eq!([0, 1].map(|it| danmaku.lacks(it)), [true, false]);
        let last = right(&danmaku, 3);
        take(&mut danmaku, 0, &last).unwrap();
        assert!(!danmaku.lacks(0));
        assert_eq!(danmaku.delivered(), 6);
    }

    #[test]
    fn faults_are_found_by_the_first_reader_and_by_others() {
        for has_read in [false, true] {
            let check = |message: &dyn Fn(&Danmaku) -> Vec<u8>| {
                let mut danmaku = published(3);
                if has_read {
                    let message = right(&danmaku, 1);
                    take(&mut danmaku, 1, &message).unwrap();
                }
                let first = right(&danmaku, 1);
                take(&mut danmaku, 0, &first).unwrap();
                let message = message(&danmaku);
                assert!(take(&mut danmaku, 0, &message).is_err());
            };
            check(&|it| right(it, 1));
            check(&|it| right(it, 0));
            check(&|it| right(it, 3));
            check(&|it| push("live:b", &payload(0, 2, &it.filling)));
            check(&|it| push("live:a", &payload(0, 2, &it.filling.replace("xx", "xy"))));
            check(&|_| br#"{"push":{"channel":"live:a","unsubscribe":{"code":2500}}}"#.to_vec());
        }
        let mut danmaku = published(1);
        let message = right(&danmaku, 0);
        take(&mut danmaku, 0, &message).unwrap();
        let other = [b" ", &message[..]].concat();
        assert!(
            take(&mut danmaku, 1, &other).is_err(),
            "other bytes than the first was told"
        );
    }
}
