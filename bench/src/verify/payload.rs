//! What is published: JSON that names its message, so that every form of a room passes the same bytes.

use super::history::Message;

const FILL: &[u8] = b"the quick brown fox jumps over the lazy dog 0123456789 ";

/// The payload of a message, with about `fill` bytes that mean nothing.
#[must_use]
pub fn make(message: Message, fill: usize) -> Vec<u8> {
    let Message { from, number } = message;
    let mut payload = format!("{{\"from\":{from},\"number\":{number},\"fill\":\"").into_bytes();
    let start = number as usize % FILL.len();
    payload.extend(FILL.iter().cycle().skip(start).take(fill));
    payload.extend_from_slice(b"\"}");
    payload
}

/// The message that a payload names; one that nobody can send if it names none.
#[must_use]
pub fn read(payload: &[u8]) -> Message {
    named(payload).unwrap_or(Message::NOBODYS)
}

fn named(payload: &[u8]) -> Option<Message> {
    let rest = payload.strip_prefix(b"{\"from\":")?;
    let (from, rest) = number(rest)?;
    let rest = rest.strip_prefix(b",\"number\":")?;
    let (number, _) = number(rest)?;
    Some(Message { from, number })
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let digits = bytes.iter().take_while(|it| it.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(digits);
    Some((str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// Stands for the bytes of a payload, which differ if their digests do. Eight bytes at a time, because
/// the checker runs without optimisation in tests.
#[must_use]
pub fn digest(payload: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut digest = payload.len() as u64;
    let mut rest = payload;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        digest = (digest ^ u64::from_le_bytes(*eight)).wrapping_mul(ODD);
        digest ^= digest >> 32;
        rest = behind;
    }
    for byte in rest {
        digest = (digest ^ u64::from(*byte)).wrapping_mul(ODD);
        digest ^= digest >> 32;
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_differs_for_every_changed_bit_and_length() {
        let payload = make(Message { from: 1, number: 2 }, 40);
        let mut digests = std::collections::BTreeSet::from([digest(&payload)]);
        for bit in 0..payload.len() * 8 {
            let mut changed = payload.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(digests.insert(digest(&changed)), "bit {bit}");
        }
        assert!(digests.insert(digest(&payload[1..])));
        assert!(digests.insert(digest(&[&payload[..], &[0]].concat())));
    }

    #[test]
    fn payload_is_json_and_names_its_message() {
        let message = Message {
            from: 12,
            number: 345,
        };
        let payload = make(message, 100);
        assert!(payload.len() > 100);
        let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(json["number"], 345);
        assert_eq!(read(&payload), message);
        assert_eq!(
            read(b"{\"from\":99999999999,\"number\":1}"),
            Message::NOBODYS
        );
        assert_eq!(read(b"hello"), Message::NOBODYS);
    }
}
