//! The records of simulated TLS. They have the bounds and the order of real ones, and no secrecy.
//!
//! ```text
//!  kind (1)   length of the rest (2)   content (0 to 16 KiB)   number of the record (1)
//!                                      └────────── each byte is XORed with 0xA5 ──────┘
//! ```
//!
//! The content differs from what it says, so that plaintext on the wire does not pass for it. The number
//! stands for a cipher's tag: a record that is lost, or sent twice, is not accepted.

/// The first message of a client.
pub const CLIENT_HELLO: &[u8] = b"client hello";
/// The first message of a server.
pub const SERVER_HELLO: &[u8] = b"server hello";
/// The last message of a client's handshake.
pub const FINISHED: &[u8] = b"finished";
/// What a server sends once the handshake is complete.
pub const TICKET: &[u8] = b"ticket";
/// The content of the record that ends a stream; other alerts are failures.
pub const CLOSE_NOTIFY: &[u8] = &[0];

/// The longest content of a record, in bytes.
pub const CONTENT_BYTES_MAX: usize = 16 << 10;
/// What a record adds to its content, in bytes.
pub const OVERHEAD: usize = HEAD + 1;

const HEAD: usize = 3;
const PAD: u8 = 0xA5;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The end of a stream, or another alert.
    Alert = 0x15,
    /// A part of the handshake.
    Handshake = 0x16,
    /// Data of the application.
    Data = 0x17,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// There is no such kind.
    Kind(u8),
    /// It is longer than any record, or shorter.
    Length(usize),
    /// It has another number than the next record.
    Number,
}

/// Appends a record with this number, which is counted on.
///
/// # Panics
///
/// If the content is too long.
pub fn append(kind: Kind, number: &mut u8, content: &[u8], to: &mut Vec<u8>) {
    assert!(content.len() <= CONTENT_BYTES_MAX, "a record is too long");
    to.push(kind as u8);
    to.extend((content.len() as u16 + 1).to_be_bytes());
    to.extend(content.iter().map(|byte| byte ^ PAD));
    to.push(*number ^ PAD);
    *number = number.wrapping_add(1);
}

/// The kind and the length of the record that `bytes` begin with, all of it included; `None` if it is not
/// whole.
///
/// # Errors
///
/// If it cannot be the beginning of a record.
pub fn measure(bytes: &[u8]) -> Result<Option<(Kind, usize)>, Broken> {
    let kind = match bytes.first() {
        None => return Ok(None),
        Some(0x15) => Kind::Alert,
        Some(0x16) => Kind::Handshake,
        Some(0x17) => Kind::Data,
        Some(other) => return Err(Broken::Kind(*other)),
    };
    let [_, high, low, ..] = *bytes else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(1..=CONTENT_BYTES_MAX + 1).contains(&length) {
        return Err(Broken::Length(length));
    }
    let whole = HEAD + length;
    Ok((bytes.len() >= whole).then_some((kind, whole)))
}

/// Decrypts a whole record in place; returns its content. Its number must be this one, which is counted on.
///
/// # Errors
///
/// If it is not; the record is then as it was.
pub fn open<'a>(record: &'a mut [u8], number: &mut u8) -> Result<&'a [u8], Broken> {
    let end = record.len() - 1;
    if record[end] ^ PAD != *number {
        return Err(Broken::Number);
    }
    *number = number.wrapping_add(1);
    for byte in &mut record[HEAD..] {
        *byte ^= PAD;
    }
    Ok(&record[HEAD..end])
}
