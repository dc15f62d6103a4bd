//! What leaves towards one peer: its queue, and what its messages look like on the wire.

use super::Lag;
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
    /// What happens when its peer does not read as fast as it is sent to.
    pub(crate) lag: Lag,
    /// What messages to it alone refer to, if they refer to others at all.
    context: Option<Box<Context>>,
}

impl Outgoing {
    /// What was agreed on: whether messages refer to earlier ones.
    pub(crate) fn set_context(&mut self, context: Context) {
        self.context = match context {
            Context::None => None,
            context => Some(Box::new(context)),
        };
    }

    /// The queue's own bytes, and what messages among them refer to.
    pub(crate) fn direct_and_context(&mut self) -> (&mut Vec<u8>, Option<&mut Context>) {
        (self.queue.direct(), self.context.as_deref_mut())
    }
}
