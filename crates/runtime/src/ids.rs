//! The names by which a core knows its connections, in this core and beyond it.

use std::num::NonZeroU64;

use hub::{ConnectionId, CoreId};

/// How many bits of a key say in which slot the connection lies.
const INDEX_BITS: u32 = 24;

/// One connection of a core: its slot, and a serial number that is never used again. So a late event
/// for a connection that is gone meets nobody, rather than the next connection in that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey(NonZeroU64);

impl ConnectionKey {
    /// How many slots a core has at most.
    pub(crate) const SLOTS_MAX: usize = 1 << INDEX_BITS;

    /// The key of the connection with this serial number, from 1, in this slot.
    pub(crate) fn new(serial: u64, slot: usize) -> Self {
        debug_assert!(slot < Self::SLOTS_MAX);
        let token = serial.max(1) << INDEX_BITS | slot as u64;
        Self(NonZeroU64::new(token).expect("the serial number is at least 1"))
    }

    /// The key as one number, for whoever cannot look into it: the kernel, other cores, the log.
    pub(crate) fn token(self) -> u64 {
        self.0.get()
    }

    /// The key that has been such a number.
    pub(crate) fn of_token(token: u64) -> Option<Self> {
        NonZeroU64::new(token).map(Self)
    }

    /// Its slot.
    pub(crate) fn slot(self) -> usize {
        self.0.get() as usize & (Self::SLOTS_MAX - 1)
    }

    /// The connection's name beyond its core.
    pub(crate) fn on(self, core: CoreId) -> ConnectionId {
        ConnectionId {
            core,
            token: self.token(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_keeps_its_slot_and_differs_from_all_others_in_it() {
        let last = ConnectionKey::SLOTS_MAX - 1;
        for slot in [0, 1, last] {
            let one = ConnectionKey::new(1, slot);
            let next = ConnectionKey::new(2, slot);
            assert_eq!((one.slot(), next.slot()), (slot, slot));
            assert_ne!(one, next);
            assert_eq!(ConnectionKey::of_token(one.token()), Some(one));
        }
        assert_eq!(ConnectionKey::of_token(0), None);
    }
}
