//! What happened, in the order in which one thread of the checker saw or did it.
//!
//! As JSONL each line is one event. Times leave out for how long the checker waited for a processor, and what
//! else held it up for more than a second at a time.

use super::promises::Checker;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// A message: who published it, and the how many of its own it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Message {
    /// The client.
    pub from: u32,
    /// Counts the client's messages from 0.
    pub number: u32,
}

impl Message {
    /// What no client sends.
    pub const NOBODYS: Self = Self {
        from: u32::MAX,
        number: u32::MAX,
    };
}

/// A place in a room's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The lifetime of the log, as the server names it.
    pub epoch: Box<str>,
    /// The latest message that is known.
    pub offset: u64,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The checker, on purpose.
    Cut,
    /// The server, with this close code; 0 without one.
    Server(u16),
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds since the beginning.
    pub at_us: u64,
    /// Whose it is; without meaning for events of the server.
    pub client: u32,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A client of the protocol is connected, under this name of the server's.
    Connected {
        /// The name.
        id: Box<str>,
    },
    /// A raw client is in its room.
    Entered {
        /// The room.
        room: u32,
    },
    /// A client is about to ask for a subscription.
    Asked {
        /// The room.
        room: u32,
        /// The position from which it wants to recover.
        from: Option<Position>,
    },
    /// The subscription exists. Recovered messages follow, and then [`What::CaughtUp`].
    Subscribed {
        /// The room.
        room: u32,
        /// The position that the server tells.
        position: Position,
        /// Whether the server says that what follows is everything that was missed.
        recovered: bool,
    },
    /// All messages of the reply to the subscription have been noted.
    CaughtUp {
        /// The room.
        room: u32,
    },
    /// The server has ended a subscription, and says so.
    Lost {
        /// The room.
        room: u32,
        /// The reason, as the protocol numbers them.
        code: u32,
    },
    /// A message is about to be sent.
    Sent {
        /// The room.
        room: u32,
        /// The message.
        message: Message,
        /// Stands for its bytes.
        digest: u64,
    },
    /// The server says that a message has its place.
    Acknowledged {
        /// The message.
        message: Message,
    },
    /// The server says that a message has no place.
    Refused {
        /// The message.
        message: Message,
        /// The error.
        code: u32,
    },
    /// A client was given a message of a room.
    Delivered {
        /// The room.
        room: u32,
        /// The message that its bytes name.
        message: Message,
        /// Stands for its bytes.
        digest: u64,
        /// Its place; none for raw clients.
        offset: Option<u64>,
        /// The epoch, where the server names it beside the message.
        epoch: Option<Box<str>>,
        /// Whether it came in the reply to a subscription.
        recovered: bool,
    },
    /// A client stops reading.
    Stalled,
    /// The client reads again.
    Resumed,
    /// A connection has ended.
    Ended {
        /// Who ended it.
        by: By,
    },
    /// The server was killed, and everything that it knew is gone.
    Killed,
    /// The server was started again.
    Restarted,
    /// Nothing is under way any more, and what follows is asked of an idle server.
    Quiet,
    /// Who is in a room, as the server says.
    Present {
        /// The room.
        room: u32,
        /// The server's names of the clients.
        ids: Vec<Box<str>>,
    },
}

/// Hands events to the checker as they come, and keeps them where somebody wants to have them.
#[derive(Debug)]
pub struct History {
    /// What verifies them.
    pub checker: Checker,
    kept: Option<Vec<Event>>,
    record: Option<BufWriter<File>>,
}

impl History {
    /// An empty history, whose events are only verified.
    #[must_use]
    pub fn new(checker: Checker) -> Self {
        Self {
            checker,
            kept: None,
            record: None,
        }
    }

    /// Keeps all events in memory.
    #[must_use]
    pub fn keeping(self) -> Self {
        Self {
            kept: Some(Vec::new()),
            ..self
        }
    }

    /// Writes all events to a file, one a line.
    pub fn recording(self, file: &Path) -> Result<Self> {
        let record =
            File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self {
            record: Some(BufWriter::new(record)),
            ..self
        })
    }

    /// Adds an event.
    pub fn note(&mut self, event: Event) -> Result<()> {
        if let Some(record) = &mut self.record {
            serde_json::to_writer(&mut *record, &event)?;
            record.write_all(b"\n")?;
        }
        self.checker.see(&event);
        if let Some(kept) = &mut self.kept {
            kept.push(event);
        }
        Ok(())
    }

    /// Ends the history: what has found its faults, and all events if they were kept.
    pub fn end(mut self) -> Result<(Checker, Vec<Event>)> {
        if let Some(record) = &mut self.record {
            record.flush()?;
        }
        self.checker.finish();
        Ok((self.checker, self.kept.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_of_json_and_read_back() {
        let delivered = What::Delivered {
            room: 3,
            message: Message { from: 1, number: 2 },
            digest: u64::MAX,
            offset: Some(7),
            epoch: Some("abc".into()),
            recovered: true,
        };
        let by = By::Server(3008);
        for what in [delivered, What::Ended { by }, What::Killed, What::Stalled] {
            let event = Event {
                at_us: 5,
                client: 1,
                what,
            };
            let line = serde_json::to_string(&event).unwrap();
            assert!(!line.contains('\n'));
            let read: Event = serde_json::from_str(&line).unwrap();
            assert_eq!(read, event, "{line}");
        }
    }
}
