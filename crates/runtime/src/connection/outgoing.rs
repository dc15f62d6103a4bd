//! What leaves towards one peer: its queue, and what its messages look like on the wire.

use crate::{
    encoding::{Context, WireForm},
    out::SendQueue,
};

/// One connection's way out.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) queue: SendQueue,
    /// What messages to it look like.
    pub(crate) form: WireForm,
    /// What messages to it alone refer to.
    pub(crate) context: Context,
    /// Whether it leaves a room for lagging, rather than being closed.
    pub(crate) lag: super::Lag,
}
