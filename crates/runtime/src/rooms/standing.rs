//! How far a subscriber is with its room.

/// How far a subscriber is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the log, at the position of the first byte that has not been sent to it.
    Log(u64),
    /// It has left the log and is given the latest frame of each key; it has this number among those who are.
    Latest(usize),
    /// What it lacks is not kept any more: it has to leave the room.
    Lost,
}

/// A [`Standing`] in eight bytes, since every subscriber of every room has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed(u64);

/// A log counts bytes, and never has so many.
const NOT_IN_LOG: u64 = 1 << 63;

impl From<Standing> for Packed {
    fn from(standing: Standing) -> Self {
        Self(match standing {
            Standing::Log(position) => position,
            Standing::Latest(number) => NOT_IN_LOG | number as u64,
            Standing::Lost => u64::MAX,
        })
    }
}

impl Packed {
    /// What is packed.
    pub(super) fn get(self) -> Standing {
        match self.0 {
            u64::MAX => Standing::Lost,
            position if position < NOT_IN_LOG => Standing::Log(position),
            number => Standing::Latest((number & !NOT_IN_LOG) as usize),
        }
    }

    /// Whether its connection is to be visited when the log has this head. Who has left the log is given more when
    /// its socket takes more, and who is lost has to be told.
    pub(super) fn has_news(self, head: u64) -> bool {
        match self.get() {
            Standing::Log(position) => position < head,
            Standing::Latest(_) => false,
            Standing::Lost => true,
        }
    }

    /// Its position in a log with this head. Who has left the log is behind in nothing that is there.
    pub(super) fn cursor(self, head: u64) -> u64 {
        match self.get() {
            Standing::Log(position) => position,
            Standing::Latest(_) | Standing::Lost => head,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_is_read_back_as_it_was_written() {
        for standing in [
            Standing::Log(0),
            Standing::Log(NOT_IN_LOG - 1),
            Standing::Latest(0),
            Standing::Latest(u32::MAX as usize),
            Standing::Lost,
        ] {
            assert_eq!(Packed::from(standing).get(), standing);
        }
    }

    #[test]
    fn who_has_left_the_log_stands_at_its_head() {
        for (standing, cursor) in [
            (Standing::Log(3), 3),
            (Standing::Latest(3), 9),
            (Standing::Lost, 9),
        ] {
            assert_eq!(Packed::from(standing).cursor(9), cursor);
        }
    }
}
