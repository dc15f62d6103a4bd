//! What is different for a session whose messages are the body of an HTTP answer: its head, its heartbeat
//! and its end.

use codec::{Kind, Request};

use super::{
    Actor, Heartbeat, Joining, KeepAlive, Last, Linger, OpeningHead, Pings, Stage, Streaming,
};
use crate::{
    clock::ms,
    encoding::{Packing, WireForm},
    end::EndReason,
};

/// How the body of an answer to this request is packed, if it lasts.
pub(super) fn packing(request: &Request<'_>) -> Packing {
    match request.version_minor() {
        0 => Packing::Bytes,
        _ => Packing::Chunk,
    }
}

/// Whether an answer has no body (RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5).
pub(super) fn has_no_body(is_head: bool, status: u16) -> bool {
    is_head || matches!(status, 204 | 304)
}

/// A stream that is about to open.
pub(super) fn joining(packing: Packing, streaming: Streaming) -> Box<Joining> {
    Box::new(Joining {
        protocol: streaming.protocol,
        session: streaming.session,
        name: streaming.room,
        room: None,
        deadline_ms: 0,
        form: WireForm {
            body: streaming.body,
            packing,
        },
        lag: streaming.lag,
        pings: match streaming.keep_alive {
            KeepAlive::Messages => Pings::Messages,
            KeepAlive::Nothing | KeepAlive::Bytes(_) => Pings::Frames,
        },
        terms: streaming.terms,
        head: OpeningHead::Stream {
            status: streaming.status,
            fields: streaming.fields,
            keep_alive: streaming.keep_alive,
        },
    })
}

impl Actor<'_> {
    /// Answers with the head of a stream and no body.
    pub(super) fn answer_head(&mut self, streaming: &Streaming) {
        let deadline_ms = self.close_deadline_ms();
        self.respond(streaming.status, &streaming.fields, None, false);
        self.end_answered(deadline_ms, EndReason::Answered);
    }

    /// Sends a stream's heartbeat.
    pub(super) fn beat(&mut self) {
        let interval_ms = ms(self.parts.config.timeouts.ping_interval);
        let connection = &mut *self.connection;
        let Stage::Open {
            heartbeat: Heartbeat::Beats(beats),
        } = &mut connection.stage
        else {
            return;
        };
        beats.next_ms = self.now.ms + interval_ms;
        let encoder = &mut self.parts.out.encoder;
        connection.out.append(encoder, Kind::Text, &beats.bytes);
        self.queued();
    }

    /// Ends a stream. Its last chunk says that nothing is missing, so that it is left out if something may
    /// be. A peer that knows no chunks would take every end for a good one, and is told by a reset.
    pub(super) fn close_stream(&mut self, reason: EndReason) {
        let is_whole = matches!(
            reason,
            EndReason::SessionClosed(..) | EndReason::Drained | EndReason::Aged
        );
        if !is_whole && self.connection.out.form.packing == Packing::Bytes {
            return self.abort(reason);
        }
        let deadline_ms = self.close_deadline_ms();
        self.leave_rooms(&reason);
        self.say_last_words(&reason);
        let connection = &mut *self.connection;
        if is_whole {
            let out = connection.out.queue.direct();
            connection.protocol.finish_response(out);
        }
        self.end_answered(deadline_ms, reason);
    }

    /// What the session has to say of its end, behind everything that its rooms have said.
    fn say_last_words(&mut self, reason: &EndReason) {
        let connection = &mut *self.connection;
        let session = connection.session.as_mut();
        if let Some(words) = session.and_then(|session| session.last_words(reason)) {
            let encoder = &mut self.parts.out.encoder;
            connection.out.append(encoder, Kind::Text, &words);
        }
    }

    /// All of an answer is queued, and the connection ends with it.
    pub(super) fn end_answered(&mut self, deadline_ms: u64, reason: EndReason) {
        let connection = &mut *self.connection;
        connection.end(reason);
        let last = Last::PeerEnd(Linger::Fully);
        connection.stage = Stage::Closing { deadline_ms, last };
        self.raise();
        self.queued();
    }
}
