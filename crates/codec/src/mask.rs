//! Masking of payloads (RFC 6455 section 5.3).

/// A frame's masking key, rotated so that its first byte applies to the next payload byte.
pub(crate) type Key = [u8; 4];

/// Masks or unmasks `payload` in place; returns the key for the bytes that follow in the frame.
pub(crate) fn apply(mut key: Key, payload: &mut [u8]) -> Key {
    let [a, b, c, d] = key;
    let key_twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ key_twice).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
    key.rotate_left(tail.len() % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apply_every_length_in_two_pieces_equals_the_rfc_formula() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).map(|i: u8| i.wrapping_mul(7)).collect();
            let expected: Vec<u8> = plain
                .iter()
                .enumerate()
                .map(|(i, b)| b ^ key[i % 4])
                .collect();
            for cut in 0..=plain.len() {
                let mut bytes = plain.clone();
                let next = apply(key, &mut bytes[..cut]);
                apply(next, &mut bytes[cut..]);
                assert_eq!(bytes, expected, "length {length}, cut {cut}");
            }
        }
    }
}
