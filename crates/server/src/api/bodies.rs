//! The memory of the bodies of all calls that are being read or carried out, and of the answers to calls.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many bytes there are, of bodies or of answers.
#[derive(Debug, Default)]
pub(super) struct Bodies(AtomicUsize);

/// The bytes of one call, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    bodies: Arc<Bodies>,
    bytes: usize,
}

impl Bodies {
    /// Begins with nothing.
    pub(super) fn begin(self: &Arc<Self>) -> Held {
        Held {
            bodies: self.clone(),
            bytes: 0,
        }
    }

    /// How many bytes there are now.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Whether there is space beside all others.
    pub(super) fn has_space(&self, most: usize) -> bool {
        self.bodies.bytes() < most
    }

    /// Counts so many bytes in place of those before.
    pub(super) fn set(&mut self, bytes: usize) {
        self.bodies.0.fetch_add(bytes, Ordering::Relaxed);
        self.bodies.0.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// Counts further bytes; returns whether all bodies together have no more than `most`.
    pub(super) fn add(&mut self, bytes: usize, most: usize) -> bool {
        self.bytes += bytes;
        self.bodies.0.fetch_add(bytes, Ordering::Relaxed) + bytes <= most
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bodies.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_fit_up_to_the_bound_and_not_a_byte_beyond() {
        let bodies = Arc::<Bodies>::default();
        let (mut one, mut other) = (bodies.begin(), bodies.begin());
        assert!(one.add(6, 10) && other.add(4, 10));
        assert!(!other.add(1, 10));
        drop(other);
        assert_eq!(bodies.bytes(), 6);
        assert!(one.has_space(7) && !one.has_space(6));
        one.set(9);
        assert_eq!(bodies.bytes(), 9);
        one.set(6);
        assert!(one.add(4, 10));
        drop(one);
        assert_eq!(bodies.bytes(), 0);
    }
}
