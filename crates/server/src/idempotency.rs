//! What makes a message the repetition of another: the key that a back end gives it, and what it says.

use aws_lc_rs::digest;
use hub::{Idempotency, Keyed};

/// Most bytes of a key.
pub const KEY_BYTES_MAX: usize = 255;

/// Of a message with this key. `tags` are what is told beside it, but for its publisher: who comes back to say the
/// same again is another connection.
pub fn of(key: &str, payload: &[u8], tags: &[u8], keyed: Option<&Keyed>) -> Idempotency {
    Idempotency {
        key: hash(&[key.as_bytes()]),
        body: match keyed {
            None => hash(&[payload, tags]),
            Some(Keyed { key, is_removed }) => {
                hash(&[payload, tags, key.as_bytes(), &[u8::from(*is_removed)]])
            }
        },
    }
}

/// A hash of parts, each with its length.
fn hash(parts: &[&[u8]]) -> u128 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let half = digest.as_ref().first_chunk();
    u128::from_be_bytes(*half.expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_says_which_message_it_is_and_the_rest_what_it_says() {
        let one = of("k", b"ab", b"c", None);
        assert_eq!(of("k", b"ab", b"c", None), one);
        let moved = of("k", b"a", b"bc", None);
        assert_eq!(moved.key, one.key);
        assert_ne!(moved.body, one.body, "parts are told apart");
        assert_ne!(of("l", b"ab", b"c", None).key, one.key);
        let keyed = Keyed {
            key: "usd".into(),
            is_removed: false,
        };
        assert_ne!(of("k", b"ab", b"c", Some(&keyed)).body, one.body);
    }
}
