//! What leaves towards one peer: its queue, and what its messages look like on the wire.

use codec::Kind;

use super::Lag;
use crate::{
    encoding::{Context, Encoder, WireForm},
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

    /// Queues a message for this connection alone.
    pub(crate) fn append(&mut self, encoder: &mut Encoder, kind: Kind, payload: &[u8]) {
        let mut none = Context::None;
        let context = self.context.as_deref_mut().unwrap_or(&mut none);
        let direct = self.queue.direct();
        encoder.append(self.form.packing, context, kind, payload, direct);
    }
}
