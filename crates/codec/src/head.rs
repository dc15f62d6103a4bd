//! Finds the end of a request head, byte by byte as it arrives, within limits.
//!
//! Line endings are checked strictly here. Parsers that tolerate a bare LF, a bare CR or a folded
//! line disagree about where a request ends, which enables request smuggling (RFC 9112 sections
//! 2.2, 5.2 and 11.2). Each byte is read once.

use std::mem;

use crate::error::HandshakeError;
use crate::input::{Cursor, Place};
use crate::limits::Limits;

/// A request head, as far as it has arrived.
#[derive(Default)]
pub(crate) struct Head {
    /// The bytes of a head that arrives in several pieces; empty before its first piece.
    bytes: Vec<u8>,
    scanner: Scanner,
}

impl Head {
    /// Continues the kept head, or begins a new one, and keeps it while it is incomplete. Returns
    /// the place of a complete head; if it arrived in several pieces, the kept bytes are the head.
    pub(crate) fn read(
        kept: &mut Option<Box<Self>>,
        cursor: &mut Cursor<'_>,
        limits: &Limits,
    ) -> Result<Option<Place>, HandshakeError> {
        if let Some(head) = kept {
            return head.advance(cursor, limits);
        }
        let mut head = Self::default();
        let found = head.advance(cursor, limits);
        if !head.bytes.is_empty() {
            *kept = Some(Box::new(head));
        }
        found
    }

    fn advance(
        &mut self,
        cursor: &mut Cursor<'_>,
        limits: &Limits,
    ) -> Result<Option<Place>, HandshakeError> {
        let permitted = self.permitted(cursor.rest(), limits);
        let end = self.scanner.scan(cursor.rest(), &permitted)?;
        if self.bytes.is_empty()
            && let Some(end) = end
        {
            return Ok(cursor.take_whole(end as u64).map(Place::Input));
        }
        let piece_bytes = end.unwrap_or(cursor.rest().len());
        self.bytes
            .extend_from_slice(cursor.take(piece_bytes as u64));
        Ok(end.map(|_| Place::Lent))
    }

    /// What is permitted to this head. Its target is looked at only where that matters.
    fn permitted(&self, more: &[u8], limits: &Limits) -> Permitted {
        let ordinary = Permitted {
            head_bytes: limits.head_bytes_max,
            line_bytes: limits.request_line_bytes_max,
            fields: limits.head_fields_max.min(Limits::HEAD_FIELDS_CEILING),
        };
        let bytes = self.scanner.head_bytes + more.len();
        if bytes <= ordinary.line_bytes.min(ordinary.head_bytes)
            || !self.has_long_target(more, limits)
        {
            return ordinary;
        }
        Permitted {
            head_bytes: ordinary.head_bytes.max(limits.long_head_bytes_max),
            line_bytes: ordinary.line_bytes.max(limits.long_head_bytes_max),
            ..ordinary
        }
    }

    /// Whether the bytes so far, followed by `more`, ask for one of the targets that may be long. This is asked for
    /// each piece, so that no more than two empty lines are skipped before: heads of many would be read again and again.
    fn has_long_target(&self, more: &[u8], limits: &Limits) -> bool {
        let line = || {
            let begin = self.bytes.iter().chain(more).enumerate();
            begin.skip_while(|(at, byte)| *at < 4 && matches!(byte, b'\r' | b'\n'))
        };
        limits.long_targets.iter().any(|target| {
            let asked = b"GET ".iter().chain(target.as_bytes());
            let bytes = line().inspect(|_| {
                #[cfg(test)]
                crate::work::add(1);
            });
            let bytes = bytes.map(|(_, byte)| byte);
            bytes.take(4 + target.len()).eq(asked)
        })
    }

    /// The bytes that have arrived.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether the bytes so far, followed by `more`, begin a request with the method HEAD. Bytes beyond
    /// `bytes_max` do not count: whether they have arrived with the others is chance.
    pub(crate) fn is_to_head(kept: Option<&Self>, more: &[u8], bytes_max: usize) -> bool {
        let bytes = kept.map_or(&[][..], |head| &head.bytes);
        is_to_head(bytes.iter().chain(more).take(bytes_max))
    }

    /// Heap held, in bytes, including the box of this head.
    pub(crate) fn buffered_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }
}

/// Whether these bytes begin a request with the method HEAD, even if the rest breaks the rules. Its
/// sender expects no body in the answer (RFC 9110 section 9.3.2). Nothing is a method behind a CR or
/// an LF that stands alone: it is refused at once, whether or not more bytes have arrived with it.
pub(crate) fn is_to_head<'a>(mut bytes: impl Iterator<Item = &'a u8> + Clone) -> bool {
    while bytes.clone().take(2).eq(b"\r\n") {
        bytes.nth(1);
    }
    bytes.take(5).eq(b"HEAD ")
}

/// The first byte of a TLS client, the content type of a handshake's record (RFC 8446 section 5.1). No
/// request begins with it.
const TLS_HANDSHAKE: u8 = 22;

/// How much one head may have.
struct Permitted {
    head_bytes: usize,
    line_bytes: usize,
    fields: usize,
}

#[derive(Default)]
struct Scanner {
    head_bytes: usize,
    section: Section,
    /// The bytes of the current line, without its ending.
    line_bytes: usize,
    after_cr: bool,
}

#[derive(Default)]
enum Section {
    /// RFC 9112 section 2.2 asks servers to ignore at least one empty line before the request line.
    /// Any number of them that fits into the head is ignored.
    #[default]
    RequestLine,
    Fields {
        begun: usize,
    },
}

impl Scanner {
    /// The number of bytes of `input` up to the end of the head, if it ends here. Ordinary bytes
    /// are scanned in whole runs: they are most of a head, and they change no state.
    fn scan(
        &mut self,
        input: &[u8],
        permitted: &Permitted,
    ) -> Result<Option<usize>, HandshakeError> {
        let bytes_left = permitted.head_bytes.saturating_sub(self.head_bytes);
        let window = &input[..input.len().min(bytes_left)];
        let mut index = 0;
        while let Some(&byte) = window.get(index) {
            if !self.after_cr && is_of_line(&byte) {
                let run = run_bytes(&window[index..]);
                self.line_goes_on(byte, run, permitted)?;
                index += run;
                continue;
            }
            index += 1;
            match (self.after_cr, byte) {
                (true, b'\n') => {
                    if self.line_ends() {
                        return Ok(Some(self.seen(index)));
                    }
                }
                (true, _) | (false, b'\n') => return Err(HandshakeError::BareLineEnding),
                (false, b'\r') => self.after_cr = true,
                (false, TLS_HANDSHAKE) if self.head_bytes + index == 1 => {
                    return Err(HandshakeError::TlsHello);
                }
                (false, _) => return Err(HandshakeError::ControlCharacter),
            }
        }
        self.seen(index);
        if window.len() < input.len() {
            return Err(HandshakeError::HeadTooLarge);
        }
        Ok(None)
    }

    /// Counts `bytes` more scanned bytes of the head.
    fn seen(&mut self, bytes: usize) -> usize {
        #[cfg(test)]
        crate::work::add(bytes);
        self.head_bytes += bytes;
        bytes
    }

    /// Whether the head ends with this line.
    fn line_ends(&mut self) -> bool {
        let empty = mem::take(&mut self.line_bytes) == 0;
        self.after_cr = false;
        match self.section {
            Section::RequestLine if empty => false,
            Section::RequestLine => {
                self.section = Section::Fields { begun: 0 };
                false
            }
            Section::Fields { .. } => empty,
        }
    }

    /// Continues a line with `run` bytes, of which `byte` is the first.
    fn line_goes_on(
        &mut self,
        byte: u8,
        run: usize,
        permitted: &Permitted,
    ) -> Result<(), HandshakeError> {
        let first = self.line_bytes == 0;
        self.line_bytes += run;
        match &mut self.section {
            Section::RequestLine if self.line_bytes > permitted.line_bytes => {
                Err(HandshakeError::RequestLineTooLong)
            }
            Section::Fields { .. } if first && matches!(byte, b' ' | b'\t') => {
                Err(HandshakeError::FoldedField)
            }
            Section::Fields { begun } if first => {
                *begun += 1;
                if *begun > permitted.fields {
                    Err(HandshakeError::TooManyFields)
                } else {
                    Ok(())
                }
            }
            Section::RequestLine | Section::Fields { .. } => Ok(()),
        }
    }
}

/// Whether a line may contain this byte: any but control characters, and the tab.
fn is_of_line(byte: &u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// The number of bytes at the beginning of `bytes` that a line may contain.
fn run_bytes(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<16>();
    // The loop over a block has no branch, so that the compiler can vectorise it.
    let is_whole = |block: &&[u8; 16]| block.iter().fold(true, |all, byte| all & is_of_line(byte));
    let whole = 16 * blocks.iter().take_while(is_whole).count();
    let rest = &bytes[whole..];
    whole + rest.iter().take_while(|byte| is_of_line(byte)).count()
}

#[cfg(test)]
mod tests {
    use crate::{Connection, Event, Inflater, Limits, negotiate, work};

    /// The bytes read until a head, cut into pieces of this length, was parsed and its upgrade
    /// checked.
    fn work_bytes(head: &str, piece_bytes: usize) -> usize {
        let limits = Limits {
            head_bytes_max: usize::MAX,
            ..Limits::default()
        };
        let mut connection = Connection::new();
        let mut upgrades = 0;
        let work = work::bytes_of(|| {
            for piece in head.as_bytes().chunks(piece_bytes) {
                let mut input = piece.to_vec();
                let event = connection
                    .receive(&mut input, &limits, &mut Inflater::default())
                    .event;
                if let Some(Event::Request(request)) = event {
                    upgrades += usize::from(request.upgrade().is_ok());
                    assert_eq!(negotiate(&request, &["chat"]), None);
                }
            }
        });
        assert_eq!(upgrades, 1);
        work
    }

    /// An upgrade request with these additional fields.
    fn upgrade(fields: &str) -> String {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             {fields}\r\n"
        )
    }

    /// The scan and the parser each read a byte once. Lists are read once more, and that in
    /// `Connection` twice more, for the upgrade and for persistence. A scan that began anew with
    /// each piece would be quadratic.
    fn check_linear(head: &str) {
        for piece_bytes in [1, 1000, head.len()] {
            let work = work_bytes(head, piece_bytes);
            assert!(
                (2 * head.len()..=4 * head.len()).contains(&work),
                "{work} of {}",
                head.len()
            );
        }
    }

    /// To see whether a target may be long costs no more than that.
    #[test]
    fn head_behind_many_empty_lines_byte_by_byte_is_linear() {
        let limits = Limits {
            head_bytes_max: 32 * 1024,
            long_targets: &["/stream?"],
            ..Limits::default()
        };
        let head = format!("{}GET /stream?a", "\r\n".repeat(15_000));
        let mut connection = Connection::new();
        let work = work::bytes_of(|| {
            for byte in head.as_bytes() {
                connection.receive(&mut [*byte], &limits, &mut Inflater::default());
            }
        });
        assert!(work < 4 * head.len(), "{work} of {}", head.len());
    }

    #[test]
    fn handshake_of_many_tokens_byte_by_byte_is_linear() {
        let tokens = "keep-alive, ".repeat(10_000);
        let head = upgrade("")
            .replace("Upgrade: w", &format!("Upgrade: {tokens}w"))
            .replace("Connection: U", &format!("Connection: {tokens}U"));
        check_linear(&head);
    }

    #[test]
    fn handshake_of_many_subprotocols_byte_by_byte_is_linear() {
        let protocols = "cha, ".repeat(20_000);
        let spaces = " ".repeat(100_000);
        let quotes = "\"cha, \\".repeat(10_000);
        for value in [&protocols, &spaces, &quotes] {
            check_linear(&upgrade(&format!("Sec-WebSocket-Protocol: a{value}b\r\n")));
        }
    }

    #[test]
    fn handshake_of_the_most_fields_byte_by_byte_is_linear() {
        check_linear(&upgrade(&"Upgrade: x\r\n".repeat(58)));
        check_linear(&upgrade(&"Sec-WebSocket-Protocol: x\r\n".repeat(58)));
    }
}
