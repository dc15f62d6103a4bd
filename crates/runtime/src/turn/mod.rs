//! The turn of a core: what it may do, who is to be attended to, how it waits and gives others way.

mod attention;
pub(crate) mod bounds;
mod meter;
mod rear;
mod share;
mod turnstile;
mod wake;

pub(crate) use attention::{Attention, Lane};
pub(crate) use meter::{Meter, Pace};
pub(crate) use rear::Rear;
pub(crate) use share::{Share, Work};
pub(crate) use turnstile::Turnstile;
pub(crate) use wake::Wake;
