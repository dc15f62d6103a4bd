//! Requests with a body, and connections that are kept from one request to the next.
//!
//! While an answer is being sent, the next request is not processed: it stays in the socket, except for
//! what the last receive already brought.

use std::mem;

use super::{Actor, Stage, TakeBody, Taken, stage::Receiving};
use crate::{clock::ms, encoding::Packing};

impl Actor<'_> {
    /// Takes the body of the request, or answers at once if it has none. If a stream is made of it, that is
    /// packed in this way.
    pub(super) fn take_body(&mut self, take: TakeBody, packing: Packing) {
        let connection = &mut *self.connection;
        let out = connection.out.queue.direct();
        if !connection.protocol.take_body(out) {
            return self.taken(take(&[]), packing);
        }
        connection.stage = Stage::Receiving(Box::new(Receiving {
            deadline_ms: self.now.ms + ms(self.parts.config.timeouts.message),
            take,
            packing,
        }));
        self.queued();
    }

    /// Does what was made of a whole body.
    pub(super) fn taken(&mut self, taken: Taken, packing: Packing) {
        match taken {
            Taken::Answer(answer) => {
                let reason = answer.reason();
                self.answer(answer, reason);
            }
            Taken::Stream(streaming) => self.open_stream(*streaming, packing),
        }
    }

    /// An answer that keeps the connection has left: the next request may come.
    pub(super) fn answer_sent(&mut self) {
        let connection = &mut *self.connection;
        let out = connection.out.queue.direct();
        connection.protocol.finish_response(out);
        connection.stage = Stage::KeptAlive {
            deadline_ms: self.now.ms + ms(self.parts.config.timeouts.handshake),
        };
    }

    /// The first bytes of another request have come on a connection that was kept.
    pub(super) fn begin_next(&mut self) {
        self.connection.stage = Stage::Handshake {
            deadline_ms: self.now.ms + ms(self.parts.config.timeouts.handshake),
        };
    }
}

impl Stage {
    /// Takes out the closure that will answer the body, and leaves the connection in `Handshake` until
    /// it has answered.
    pub(super) fn take_receiver(&mut self) -> Option<(TakeBody, Packing)> {
        let Self::Receiving(receiving) = self else {
            return None;
        };
        let deadline_ms = receiving.deadline_ms;
        match mem::replace(self, Self::Handshake { deadline_ms }) {
            Self::Receiving(receiving) => Some((receiving.take, receiving.packing)),
            _ => None,
        }
    }
}
