//! What the query of a raw client's request asks for.
//!
//! Parameters that nobody knows are ignored and counted, and of one that comes twice the first counts. Neither
//! names nor values are ever shown: they are the peer's, and may be secrets.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
};

use codec::Request;
use hub::{Newest, Since};
use percent_encoding::percent_decode_str;
use runtime::Refused;
use tracing::debug;

use super::{super::epoch, Refusal};

/// The parameters that mean something.
const KNOWN: [&str; 8] = [
    "token",
    "secret",
    "echo",
    "mode",
    "last",
    "age",
    "positions",
    "since",
];

/// How many parameters of all requests meant nothing.
static UNKNOWN: AtomicU64 = AtomicU64::new(0);

/// What a query asks for.
pub struct Parameters<'a> {
    pub token: Option<Cow<'a, str>>,
    /// The secret of a one-shot room.
    pub secret: Option<Cow<'a, str>>,
    pub wishes: Wishes,
}

/// What a raw client asks for beside its room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub hears: Hears,
    /// Whether it is told the position of each message.
    pub has_positions: bool,
    /// Where it has been before.
    pub since: Option<Since>,
    /// What it wants of the history.
    pub newest: Option<Newest>,
}

/// Whose messages a client hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hears {
    /// Everybody's, its own included.
    #[default]
    All,
    /// Everybody's but its own.
    Others,
    /// Nobody's: it is not in the room.
    Nobody,
}

/// How many parameters of raw clients' requests have been ignored since the start, because nobody knows them.
pub fn ignored() -> u64 {
    UNKNOWN.load(Ordering::Relaxed)
}

impl<'a> Parameters<'a> {
    /// Reads the query of a request.
    ///
    /// # Errors
    ///
    /// A refusal with 400 if a parameter that is known has no good value, or contradicts another.
    pub fn read(request: &Request<'a>) -> Result<Self, Refusal> {
        let mut values = [None; KNOWN.len()];
        let mut unknown = 0;
        let query = request.query().unwrap_or_default();
        for parameter in query.split('&').filter(|it| !it.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match KNOWN.iter().position(|known| *known == name) {
                Some(at) => _ = values[at].get_or_insert(value),
                None => unknown += 1,
            }
        }
        if unknown > 0 {
            UNKNOWN.fetch_add(unknown, Ordering::Relaxed);
            debug!(count = unknown, "parameters that mean nothing are ignored");
        }
        let decoded =
            values.map(|value| value.map(|value| percent_decode_str(value).decode_utf8_lossy()));
        let [token, secret, echo, mode, last, age, positions, since] = decoded;
        let since = since.map(|text| since_of(&text).ok_or(SINCE)).transpose();
        let wishes = Wishes {
            hears: hears(echo.as_deref(), mode.as_deref())?,
            has_positions: switch(positions.as_deref(), POSITIONS)?.unwrap_or(false),
            since: since.map_err(refused)?,
            newest: newest(last.as_deref(), age.as_deref())?,
        };
        let wishes = wishes.settled(positions.is_some())?;
        Ok(Self {
            token,
            secret,
            wishes,
        })
    }

    /// Reads nothing but the token.
    pub fn with_token_alone(request: &Request<'a>) -> Self {
        let mut parameters = request.query().unwrap_or_default().split('&');
        let token = parameters.find_map(|it| it.strip_prefix("token="));
        Self {
            token: token.map(|token| percent_decode_str(token).decode_utf8_lossy()),
            secret: None,
            wishes: Wishes::default(),
        }
    }
}

impl Wishes {
    /// Whether it asks for more than the messages from now on, as they are.
    pub fn is_beyond_live(&self) -> bool {
        self.has_positions || self.since.is_some() || self.newest.is_some()
    }

    /// These wishes with what follows from them, if none contradicts another.
    fn settled(mut self, says_positions: bool) -> Result<Self, Refusal> {
        if self.hears == Hears::Nobody && self.is_beyond_live() {
            return Err(refused(
                "With mode=publish nothing is heard: leave out last, age, positions and since.",
            ));
        }
        if self.since.is_some() && says_positions && !self.has_positions {
            return Err(refused("Who says since must be told positions."));
        }
        // What is recovered, or not, is said in an envelope.
        self.has_positions |= self.since.is_some();
        Ok(self)
    }
}

/// A position that no room has.
pub const NOWHERE: Since = Since {
    epoch: Some(epoch::NOBODYS),
    offset: 0,
};

/// The position that a client names: `epoch:offset`.
pub fn since_of(text: &str) -> Option<Since> {
    let (epoch, offset) = text.split_once(':')?;
    Some(Since {
        epoch: Some(epoch::named(epoch)?),
        offset: number(offset)?,
    })
}

const SINCE: &str = "since is a position as this server tells it: epoch:offset.";
const POSITIONS: &str = "positions is 0 or 1.";

fn refused(sentence: &str) -> Refusal {
    Refusal::Other(400, sentence.to_owned(), Refused::Parameter)
}

fn switch(value: Option<&str>, sentence: &str) -> Result<Option<bool>, Refusal> {
    match value {
        None => Ok(None),
        Some("0") => Ok(Some(false)),
        Some("1") => Ok(Some(true)),
        Some(_) => Err(refused(sentence)),
    }
}

fn hears(echo: Option<&str>, mode: Option<&str>) -> Result<Hears, Refusal> {
    let echoes = switch(echo, "echo is 0 or 1.")?.unwrap_or(true);
    match mode {
        Some("publish") => Ok(Hears::Nobody),
        Some(_) => Err(refused("mode is publish, or is left out.")),
        None if echoes => Ok(Hears::All),
        None => Ok(Hears::Others),
    }
}

fn newest(last: Option<&str>, age: Option<&str>) -> Result<Option<Newest>, Refusal> {
    let messages =
        last.map(|last| number(last).ok_or_else(|| refused("last is a number of messages.")));
    let age_ms = age.map(|age| {
        duration_ms(age).ok_or_else(|| refused("age is a time with a unit, such as 30s or 5m."))
    });
    let (messages, age_ms) = (messages.transpose()?, age_ms.transpose()?);
    // Whatever is not bounded here is bounded by what is kept, and by what one answer may have.
    Ok((messages.is_some() || age_ms.is_some()).then(|| Newest {
        messages: messages.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX)),
        age_ms: age_ms.unwrap_or(u64::MAX),
    }))
}

/// A time with units, in milliseconds.
fn duration_ms(text: &str) -> Option<u64> {
    /// Nobody means longer texts, and humantime panics at some of those that say more than the longest time.
    const BYTES_MAX: usize = 16;
    let text = Some(text).filter(|it| it.len() <= BYTES_MAX)?;
    let duration = humantime::parse_duration(text).ok()?;
    Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A number in decimal digits; one that is too large to be counted with is the largest that is not.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use hub::Epoch;

    use super::*;

    fn wishes(query: &str) -> Result<Wishes, String> {
        let head = format!("GET /rooms/a?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut protocol = codec::Connection::new();
        let mut head = head.into_bytes();
        let mut inflater = codec::Inflater::default();
        let step = protocol.receive(&mut head, &codec::Limits::default(), &mut inflater);
        let Some(codec::Event::Request(request)) = step.event else {
            panic!("no request: {query}");
        };
        match Parameters::read(&request) {
            Ok(parameters) => Ok(parameters.wishes),
            Err(Refusal::Other(400, sentence, Refused::Parameter)) => Err(sentence),
            Err(_) => panic!("refused otherwise: {query}"),
        }
    }

    #[test]
    fn parameters_are_read_whatever_stands_between_them() {
        let plain = Wishes::default();
        let newest = |messages, age_ms| Wishes {
            newest: Some(Newest { messages, age_ms }),
            ..plain
        };
        let all = usize::MAX;
        for (query, expected) in [
            ("", plain),
            ("&&x&=&=1&echo%3D0&ECHO=0&last%20=1&lastly=2", plain),
            ("echo=1&positions=0", plain),
            (
                "echo=0",
                Wishes {
                    hears: Hears::Others,
                    ..plain
                },
            ),
            (
                "echo=%30&echo=1",
                Wishes {
                    hears: Hears::Others,
                    ..plain
                },
            ),
            (
                "mode=publish&echo=0",
                Wishes {
                    hears: Hears::Nobody,
                    ..plain
                },
            ),
            ("last=5", newest(5, u64::MAX)),
            ("last=0", newest(0, u64::MAX)),
            ("last=99999999999999999999999999", newest(all, u64::MAX)),
            ("age=30s", newest(all, 30_000)),
            ("age=1500ms&last=2", newest(2, 1_500)),
            (
                "positions=1",
                Wishes {
                    has_positions: true,
                    ..plain
                },
            ),
        ] {
            assert_eq!(wishes(query), Ok(expected), "{query}");
        }
        let since = |text: &str| wishes(text).unwrap().since.unwrap();
        let position = since("since=00000000000000ab:7");
        assert_eq!((position.epoch, position.offset), (Some(Epoch(0xab)), 7));
        assert!(wishes("since=00000000000000ab%3a7").unwrap().has_positions);
        // What no epoch of this server is comes to nothing later, and is no mistake.
        assert_ne!(since("since=x:1").epoch, None);
    }

    #[test]
    fn values_that_mean_nothing_are_refused_without_being_repeated() {
        for query in [
            "echo=2",
            "echo",
            "mode=",
            "mode=listen",
            "last=-1",
            "last=%2B1",
            "last=1e3",
            "last=",
            "age=30",
            // More than the longest time, by a nanosecond.
            "age=18446744073709551615s1000000000ns",
            "age=-1s",
            "age=forever",
            "positions=true",
            "since=",
            "since=7",
            "since=:7",
            "since=00000000000000ab:",
            "since=00000000000000ab:-1",
            "since=00000000000000ab:1&positions=0",
            "mode=publish&last=1",
            "mode=publish&since=00000000000000ab:1",
        ] {
            let sentence = wishes(query).expect_err(query);
            assert!(sentence.is_ascii() && sentence.ends_with('.'), "{sentence}");
        }
    }

    #[test]
    fn parameters_that_nobody_knows_are_counted() {
        let before = ignored();
        wishes(&"x=1&".repeat(2_000)).unwrap();
        // Other tests count at the same time.
        assert!(ignored() >= before + 2_000);
    }
}
