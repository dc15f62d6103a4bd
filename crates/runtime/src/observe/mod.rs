//! What operators see of a core: counters, distributions, rate-limited log lines, and the date of
//! responses.

mod date;
mod distribution;
mod notices;
mod tally;

pub(crate) use date::Date;
pub use distribution::{Sizes, Timing};
pub(crate) use notices::Notices;
pub use tally::{
    AcceptErrors, Batches, Compressed, Frames, Payload, Recoveries, RoomsLost, Takeovers, Tally,
    TlsHandshakes, Unpublished,
};
