//! What one connection has for sending: its queue, the form of its messages, and what happens when its
//! peer reads too slowly.

use codec::Kind;

use super::{Lag, Pings};
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
    /// Who keeps the connection alive.
    pub(crate) pings: Pings,
    /// Whether the session is done with what it was handed.
    pub(crate) goes_on: GoesOn,
    /// The session is handed nothing before everything has left.
    pub(crate) awaits_empty: bool,
    /// The compression context of the messages for this connection alone, if context takeover was agreed
    /// on.
    context: Option<Box<Context>>,
}

/// Whether a session is done with what it was handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GoesOn {
    /// It is.
    #[default]
    No,
    /// It goes on in a later step.
    Later,
    /// It goes on in the lane for costly work.
    Costly,
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
