//! What a peer knows of rooms with a table: the keys, and what it may be told of each.

use std::collections::BTreeMap;

use super::{Client, is_padded, past::number_in};

/// Publications in rooms with a table have ids from here on: a removal that removes nothing has no place of its
/// own.
pub const TICKS: u64 = 1 << 50;

/// A table as a peer has it.
#[derive(Default)]
pub(super) struct Ticker {
    /// How many keys of the answer are still to come.
    left: u64,
    epoch: Option<u64>,
    /// The offset up to which it knows each key, and whether the key is there.
    keys: BTreeMap<String, (u64, bool)>,
}

impl Client {
    /// Sets a key of a table, or removes it.
    pub fn set(&mut self, ticker: u8, key: u8, id: u64, bytes: Option<usize>) {
        if self.may_say() {
            self.awaited.insert(id, 1);
            let text = match bytes {
                Some(bytes) => {
                    let padding = "x".repeat(bytes);
                    format!("set t{ticker} k{key} {id} {bytes} {padding}")
                }
                None => format!("unset t{ticker} k{key} {id}"),
            };
            self.say(&text, 1);
        }
    }

    pub(super) fn hear_ticker(&mut self, words: &[&str], text: &str) -> Result<(), String> {
        let number = |nth| number_in(words, nth, text);
        let room = ticker_in(words, text)?;
        if words[0] == "watching" {
            let left = number(2)?;
            let ticker = Ticker {
                left,
                ..Ticker::default()
            };
            return match self.tickers.insert(room, ticker) {
                None => Ok(()),
                Some(_) => Err(format!("it watches t{room} twice")),
            };
        }
        let ticker = self.tickers.get_mut(&room);
        let ticker = ticker.ok_or_else(|| format!("it does not watch the room: {text:?}"))?;
        let (epoch, offset) = (number(2)?, number(3)?);
        let is_there = words.len() > 5;
        if is_there {
            is_padded(&words[6..], text)?;
        }
        ticker.left = ticker.left.saturating_sub(1);
        if *ticker.epoch.get_or_insert(epoch) != epoch {
            return Err(format!("the table is of another epoch: {text:?}"));
        }
        let key = words.get(4).copied().unwrap_or_default().to_owned();
        match ticker.keys.insert(key, (offset, is_there)) {
            Some((before, _)) if before >= offset => {
                Err(format!("behind offset {before} of the key comes {text:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A table of which not all keys have come.
    pub(super) fn unfinished_table(&self) -> Option<u8> {
        let mut tickers = self.tickers.iter();
        let unfinished = tickers.find(|(_, ticker)| ticker.left > 0);
        unfinished.map(|(room, _)| *room)
    }

    /// The tables that it has if it has had everything: the offset of the latest message of each key.
    pub fn tables(&self) -> impl Iterator<Item = (u8, BTreeMap<&str, u64>)> {
        let is_here = self.end.is_none() && self.is_good && !self.has_closed;
        let tickers = self.tickers.iter().filter(move |_| is_here);
        tickers.map(|(room, ticker)| {
            let there = ticker.keys.iter().filter(|(_, (_, is_there))| *is_there);
            let there = there.map(|(key, (offset, _))| (key.as_str(), *offset));
            (*room, there.collect())
        })
    }
}

/// The number of the room with a table that is named.
pub(super) fn ticker_in(words: &[&str], text: &str) -> Result<u8, String> {
    let name = words.get(1).and_then(|name| name.strip_prefix('t'));
    let number = name.and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("no room with a table: {text:?}"))
}
