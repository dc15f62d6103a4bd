//! A request and what becomes of it: an answer over HTTP, a refusal, a body to be awaited, or a session that opens
//! (`opening.rs`).

use std::{mem, net::SocketAddr};

use codec::{AcceptKey, HandshakeError, Request};
use tracing::info;

use super::{
    Actor, Answer, Joining, Opening, OpeningHead, Parts, Provenance, Route, Stage, Streaming,
    TakeBody,
    shown::Shown,
    stage::{Deciding, Decision},
    stream,
};
use crate::{
    admission::Admitted,
    encoding::{Packing, WireForm},
    end::EndReason,
    memory::{
        Account,
        contexts::{self, Agreement},
    },
};

/// What a request asks for and who asks, decided while its head can be read.
pub(super) struct Routed {
    outcome: Outcome,
    /// The client that a trusted proxy has told of in the request.
    client: Option<SocketAddr>,
}

/// A route whose upgrade was checked, and what the log shows of a request that did not get what it
/// asked for.
enum Outcome {
    /// A session, and whether its WebSocket has to do without a subprotocol.
    Open(Box<Joining>, Option<Shown>),
    /// It is costly to say whether a session opens, and which.
    Decide(Box<Deciding>),
    /// The head of a stream, of which the request does not want the body, or which has none.
    HeadAlone(Streaming),
    /// The answer is made of the request's body; if that is a stream, it is packed so.
    Body(TakeBody, Packing),
    /// The request has a body, and nobody takes it.
    BodyUnexpected,
    /// No upgrade was asked for.
    Page(Answer),
    /// An upgrade was asked for, and the application answers otherwise.
    NoUpgrade(Answer, Shown),
    Refuse(HandshakeError, Shown),
}

/// Decides what becomes of a request.
pub(super) fn route(request: &Request<'_>, provenance: &Provenance, parts: &Parts) -> Routed {
    let shown = || Shown::of(request, &*parts.application);
    let client = provenance.told(request, &parts.config.proxies);
    let outcome = match parts.application.route(request) {
        Route::Body(take) => Outcome::Body(take, stream::packing(request)),
        Route::BodyFrom(take) => {
            let client = client.unwrap_or(provenance.address.into());
            let take: TakeBody = Box::new(move |body| take(client, body));
            Outcome::Body(take, stream::packing(request))
        }
        // What is refused anyway is refused for its own reason; nothing of the body is looked at.
        Route::Answer(answer) if request.body_bytes() > 0 && answer.status >= 400 => {
            Outcome::Page(answer)
        }
        _ if request.body_bytes() > 0 => Outcome::BodyUnexpected,
        Route::Stream(streaming) => {
            let is_head = request.method() == "HEAD";
            Outcome::of_stream(streaming, stream::packing(request), is_head)
        }
        Route::StreamAtCost(streaming) => Outcome::decide(Decision::Stream {
            streaming,
            packing: stream::packing(request),
            is_head: request.method() == "HEAD",
        }),
        Route::Answer(answer) if request.wants_upgrade() => Outcome::NoUpgrade(answer, shown()),
        Route::Answer(answer) => Outcome::Page(answer),
        Route::Open(opening) => Outcome::of_web_socket(request, opening, parts),
        Route::OpenAtCost(opening) => match request.upgrade() {
            Ok(upgrade) => Outcome::decide(Decision::WebSocket {
                opening,
                accept: upgrade.accept,
                agreement: agree(request, true, parts),
                has_offered: request.subprotocols().next().is_some(),
                shown: shown(),
            }),
            Err(error) => Outcome::Refuse(error, shown()),
        },
    };
    Routed { outcome, client }
}

impl Outcome {
    fn of_web_socket(request: &Request<'_>, opening: Opening, parts: &Parts) -> Self {
        let shown = || Shown::of(request, &*parts.application);
        match request.upgrade() {
            Ok(upgrade) => {
                let is_unanswered =
                    opening.subprotocol.is_none() && request.subprotocols().next().is_some();
                let agreement = agree(request, opening.room.is_some(), parts);
                let joining = joining(opening, upgrade.accept, agreement);
                Self::Open(joining, is_unanswered.then(shown))
            }
            Err(error) => Self::Refuse(error, shown()),
        }
    }

    fn of_stream(streaming: Streaming, packing: Packing, is_head: bool) -> Self {
        match stream::has_no_body(is_head, streaming.status) {
            true => Self::HeadAlone(streaming),
            false => Self::Open(stream::joining(packing, streaming), None),
        }
    }

    /// The deadline is set when the connection begins to wait.
    fn decide(decision: Decision) -> Self {
        Self::Decide(Box::new(Deciding {
            deadline_ms: 0,
            decision,
        }))
    }
}

/// A WebSocket that is about to open.
fn joining(opening: Opening, accept: AcceptKey, agreement: Option<Agreement>) -> Box<Joining> {
    let deflate = agreement.map(|agreement| agreement.deflate);
    Box::new(Joining {
        protocol: opening.protocol,
        session: opening.session,
        name: opening.room,
        room: None,
        deadline_ms: 0,
        form: WireForm {
            body: opening.body,
            packing: Packing::agreed(deflate),
        },
        lag: opening.lag,
        pings: opening.pings,
        terms: opening.terms,
        head: OpeningHead::WebSocket {
            subprotocol: opening.subprotocol,
            accept,
            agreement,
        },
    })
}

/// What is agreed on compression. A connection in a room keeps no context for what is sent to it:
/// a room's message is compressed once for all who take it, and would not be in that context.
fn agree(request: &Request<'_>, is_in_room: bool, parts: &Parts) -> Option<Agreement> {
    let config = &parts.config;
    let mut policy = config.compression.as_ref()?.policy;
    policy.server_takeover &= !is_in_room;
    let reserved = parts.memory.held(Account::Contexts);
    contexts::agree(request, policy, contexts::free_bytes(config, reserved))
}

impl Answer {
    /// What a connection ends for that is answered so.
    pub(super) fn reason(&self) -> EndReason {
        self.refused.map_or(EndReason::Answered, EndReason::Refused)
    }
}

impl Actor<'_> {
    /// Does what was decided of a request.
    pub(super) fn follow(&mut self, routed: Routed) {
        if let Some(client) = routed.client
            && !self.identify(client)
        {
            return;
        }
        if !matches!(self.connection.stage, Stage::Handshake { .. }) {
            // It was silent for so long that its end has been said before it asked.
            return;
        }
        if let Admitted::ToRefuse(refusal) = self.connection.provenance.admitted {
            return self.close(refusal.reason());
        }
        self.act_on(routed.outcome);
    }

    /// Says what becomes of a request for which that is costly work, and does it.
    pub(super) fn decide(&mut self) {
        let stage = mem::replace(&mut self.connection.stage, Stage::Over);
        let Stage::Deciding(deciding) = stage else {
            self.connection.stage = stage;
            return;
        };
        let Deciding {
            deadline_ms,
            decision,
        } = *deciding;
        self.connection.stage = Stage::Handshake { deadline_ms };
        self.act_on(match decision {
            Decision::WebSocket {
                opening,
                accept,
                agreement,
                has_offered,
                shown,
            } => match (opening.decide)() {
                Ok(opening) => {
                    let is_unanswered = opening.subprotocol.is_none() && has_offered;
                    let joining = joining(opening, accept, agreement);
                    Outcome::Open(joining, is_unanswered.then_some(shown))
                }
                Err(answer) => Outcome::NoUpgrade(answer, shown),
            },
            Decision::Stream {
                streaming,
                packing,
                is_head,
            } => match (streaming.decide)() {
                Ok(streaming) => Outcome::of_stream(streaming, packing, is_head),
                Err(answer) => Outcome::Page(answer),
            },
        });
    }

    /// Has a request wait for the lane of costly work, until its handshake has taken too long.
    fn put_off(&mut self, mut deciding: Box<Deciding>) {
        if let Stage::Handshake { deadline_ms } = self.connection.stage {
            self.reserve_contexts(deciding.decision.agreement());
            deciding.deadline_ms = deadline_ms;
            self.connection.stage = Stage::Deciding(deciding);
        }
    }

    fn act_on(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::BodyUnexpected => self.refuse_handshake(HandshakeError::BodyUnexpected, None),
            Outcome::Body(take, packing) => self.take_body(take, packing),
            Outcome::HeadAlone(streaming) => self.answer_head(&streaming),
            Outcome::Page(answer) => {
                let reason = answer.reason();
                self.answer(answer, reason);
            }
            Outcome::NoUpgrade(answer, shown) => {
                let reason = answer.reason();
                self.tell_refused(reason, answer.status, Some(&shown));
                self.count_rejected(reason);
                self.answer(answer, reason);
            }
            Outcome::Refuse(error, shown) => {
                self.refuse_handshake(error, Some(&shown));
            }
            Outcome::Open(..) | Outcome::Decide(_) if self.parts.is_draining => {
                self.close(EndReason::Drained);
            }
            Outcome::Decide(deciding) => self.put_off(deciding),
            Outcome::Open(joining, unanswered) => {
                if let Some(shown) = unanswered {
                    self.parts.counters.tally.subprotocols_unanswered += 1;
                    self.log_unanswered(&shown);
                }
                self.join(joining);
            }
        }
    }

    /// Opens a stream that was made of a request's body.
    pub(super) fn open_stream(&mut self, streaming: Streaming, packing: Packing) {
        self.act_on(Outcome::of_stream(streaming, packing, false));
    }

    /// Tells of a request that is refused for what it says; what it shows is known once it was read.
    pub(super) fn tell_refused(&mut self, reason: EndReason, status: u16, shown: Option<&Shown>) {
        let name = reason.name();
        if self.parts.counters.notices.admit(name, self.now.ms) {
            let why = match reason {
                EndReason::Protocol(error) => Some(error.to_string()),
                _ => None,
            };
            let origin = shown.and_then(|shown| shown.origin.as_ref());
            let path = shown.map(|shown| &shown.path);
            let peer = SocketAddr::from(self.connection.provenance.address);
            info!(%peer, reason = name, status, origin, path, why, "handshake refused");
        }
    }

    /// Browsers fail a connection that is opened without any of the subprotocols that they asked for,
    /// and tell their page no more than 1006 (RFC 6455 section 4.1 leaves it to the client).
    fn log_unanswered(&mut self, shown: &Shown) {
        let reason = "subprotocol_unanswered";
        if self.parts.counters.notices.admit(reason, self.now.ms) {
            let Shown { origin, path } = shown;
            let peer = SocketAddr::from(self.connection.provenance.address);
            info!(%peer, reason, origin, path, "a WebSocket was opened without a subprotocol: none of those asked for is spoken here, and \
                 browsers end it with 1006");
        }
    }
}
