//! The memory that a core holds for its connections, counted in one ledger, and its bounds.

pub(crate) mod contexts;
mod ledger;

pub(crate) use ledger::{Account, Holding, Ledger, low_water};
