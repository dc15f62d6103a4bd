//! Makes frames of messages, in the forms that connections have agreed on.

mod encoder;
mod form;

pub(crate) use encoder::{Context, Encoder};
pub use form::{BodyEncoder, BodyForm, Delivered};
pub(crate) use form::{Packing, WireForm};
