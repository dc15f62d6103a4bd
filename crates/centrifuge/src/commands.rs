//! Framing: the commands of one frame, one after the other, and what is left of it.

use memchr::memchr;

use crate::message::Message;
use crate::request::Command;
use crate::{Encoding, Malformed, json, protobuf};

/// The commands of a frame, in their order. After an error there are none.
///
/// A JSON frame has a command in each line, and may end with a newline. In a Protobuf frame each
/// command stands behind its length (unsigned LEB128, at most 10 bytes).
///
/// ```
/// use centrifuge::{Commands, Encoding, Malformed};
///
/// let frame = b"{\"id\":1,\"connect\":{}}\n{\"id\":2,\"publish\":{}}\n\n{}";
/// let mut commands = Commands::new(Encoding::Json, frame);
/// assert_eq!(commands.next().unwrap().unwrap().id, 1);
///
/// let mut later = Commands::resume(Encoding::Json, commands.rest());
/// assert_eq!(later.next().unwrap().unwrap().id, 2);
/// assert_eq!(later.next(), Some(Err(Malformed::EmptyLine)));
/// assert_eq!(later.next(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    encoding: Encoding,
    state: State<'a>,
}

#[derive(Clone, Copy, Debug)]
enum State<'a> {
    /// The whole frame had no bytes, and nobody was told yet.
    Empty,
    /// What no command was taken from yet.
    Rest(&'a [u8]),
}

impl<'a> Commands<'a> {
    /// The commands of a whole frame, which must not be empty.
    #[must_use]
    pub fn new(encoding: Encoding, frame: &'a [u8]) -> Self {
        let state = match frame {
            [] => State::Empty,
            _ => State::Rest(frame),
        };
        Self { encoding, state }
    }

    /// The commands that are left of a frame. `rest` is what [`rest`](Self::rest) gave, or a copy
    /// of it; the verdicts are those of the whole frame, and nothing is no error.
    #[must_use]
    pub fn resume(encoding: Encoding, rest: &'a [u8]) -> Self {
        let state = State::Rest(rest);
        Self { encoding, state }
    }

    /// The bytes behind the commands that were taken; empty after the last one and after an error.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        match self.state {
            State::Empty => &[],
            State::Rest(rest) => rest,
        }
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = match &mut self.state {
            State::Empty => Err(Malformed::EmptyFrame),
            State::Rest([]) => return None,
            State::Rest(rest) => match self.encoding {
                Encoding::Json => line(rest).and_then(json::read),
                Encoding::Protobuf => protobuf::delimited(rest).and_then(message),
            },
        };
        if taken.is_err() {
            self.state = State::Rest(&[]);
        }
        Some(taken.map(Command::classified))
    }
}

impl std::iter::FusedIterator for Commands<'_> {}

/// Takes a line and the newline behind it.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let end = memchr(b'\n', rest).unwrap_or(rest.len());
    let (line, behind) = rest.split_at(end);
    *rest = behind.get(1..).unwrap_or_default();
    match line {
        [] => Err(Malformed::EmptyLine),
        _ => Ok(line),
    }
}

fn message<'a, T: Message<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    let mut message = T::default();
    protobuf::merge(&mut message, bytes)?;
    Ok(message)
}
