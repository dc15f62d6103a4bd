//! The number under which a connection has asked its rooms for something.

/// What a session gets for a join or a publication, and what the answer names. The ticket of a join
/// stands for the subscription that comes of it, for as long as that lasts. A connection uses no ticket
/// twice within its last sixteen million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u32);

/// How many low bits of a join's ticket say which of the connection's rooms it is about.
const SLOT_BITS: u32 = 8;

impl Ticket {
    /// Rooms that a connection can be in, whatever is configured.
    pub(crate) const SLOTS_MAX: usize = 1 << SLOT_BITS;

    /// The ticket with this serial number, for this slot of the connection's rooms.
    pub(crate) fn new(serial: u32, slot: u8) -> Self {
        Self(serial << SLOT_BITS | u32::from(slot))
    }

    pub(crate) fn slot(self) -> u8 {
        self.0 as u8
    }

    /// Packs this ticket and a number of ours, the bytes of the window, into a ticket of the hub.
    pub(crate) fn to_hub(self, number: u32) -> hub::Ticket {
        hub::Ticket(u64::from(self.0) << 32 | u64::from(number))
    }

    /// The ticket and the number that the hub has carried.
    pub(crate) fn of(carried: hub::Ticket) -> (Self, u32) {
        (Self((carried.0 >> 32) as u32), carried.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_comes_back_as_it_was_given() {
        for (serial, slot, number) in [(0, 0, 0), (1, 255, u32::MAX), ((1 << 24) - 1, 7, 9)] {
            let ticket = Ticket::new(serial, slot);
            assert_eq!(ticket.slot(), slot);
            assert_eq!(Ticket::of(ticket.to_hub(number)), (ticket, number));
        }
    }
}
