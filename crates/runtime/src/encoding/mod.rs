//! From messages to bytes on the wire: the forms that there are, and the encoder of a core.

mod encoder;
mod form;

pub(crate) use encoder::{Context, Encoded, Encoder};
pub use form::{BodyEncoder, BodyForm, Delivered, RoomEvent};
pub(crate) use form::{Packing, WireForm};
