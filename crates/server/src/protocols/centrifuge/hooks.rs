//! What a session asks a back end: about a command of its client, which waits for the answer with all that came
//! behind it, and by itself when a time is over.
//!
//! A command that needs an answer is tried again when that has come, as one is that needs a costly step. So its
//! request is read where it lies, nothing of the same client comes before it, and the session keeps no more of it.

use std::{mem, sync::Arc};

use access::token::Payload;
use centrifuge::{
    ConnectRequest, Disconnect, Encoding, ErrorCode, Reply, RpcRequest, Unsubscribed,
};
use codec::Request;
use runtime::{IfReset, Outlet, Ticket};
use tracing::{info, warn};

use super::{
    identity::data_bytes,
    state::{Next, Refusal, Stage, State, Until},
    wire::Wire,
};
use crate::{
    hooks::{Answered, Ask, Body, Failed, Field, Hook, HookKind, OnFailure, Said, Verdict},
    world::{Live, World, now_s},
};

/// What a session has to do with back ends.
#[derive(Default)]
pub struct Asking {
    /// What back ends are told of the client's header fields.
    fields: Vec<Field>,
    /// The number of the latest question.
    number: u32,
    /// What the command is asked about that waits.
    command: Option<Question>,
    /// What the session has asked by itself.
    checks: Vec<(u32, Check)>,
    /// Gone with the session.
    session: Arc<()>,
}

struct Question {
    number: u32,
    answer: Option<Arc<Answered>>,
}

/// What goes on, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Connection,
    Subscription(Ticket),
}

impl Check {
    fn kind(self) -> HookKind {
        match self {
            Self::Connection => HookKind::Refresh,
            Self::Subscription(_) => HookKind::SubRefresh,
        }
    }
}

/// What a question of a command has come to.
pub enum Consulted {
    /// The answer is yet to come: the command is tried again then.
    Later,
    /// The back end does not know the client.
    Nobody,
    /// Yes, and this beside it.
    Yes(Yes),
}

/// That something may be done, and what a back end says beside it.
pub struct Yes(Option<Arc<Answered>>);

impl Yes {
    /// What the back end says; nothing if it has failed and that means yes.
    pub fn verdict(&self) -> &Verdict {
        static NOTHING: Verdict = Verdict::NOTHING;
        match self.0.as_ref().map(|answered| &answered.outcome) {
            Some(Ok(Said::Result(verdict))) => verdict,
            _ => &NOTHING,
        }
    }
}

/// What a session that opens keeps for back ends of the request that opened it.
pub fn asking_of(world: &World, request: &Request<'_>) -> Option<Box<Asking>> {
    let fields = world.hooks.fields_of(request);
    (!fields.is_empty()).then(|| {
        Box::new(Asking {
            fields,
            ..Asking::default()
        })
    })
}

impl State {
    /// Asks a back end about the command that is carried out, unless it has answered already.
    pub(super) fn consult(
        &mut self,
        live: &Arc<Live>,
        hook: &Arc<Hook>,
        body: Body<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Consulted, Refusal> {
        let question = self.asking().command.as_ref();
        match question.map(|question| question.answer.clone()) {
            Some(None) => Ok(Consulted::Later),
            Some(Some(answered)) => settle(hook, answered, outlet),
            None => match self.put(live, hook, body, outlet) {
                Ok(number) => {
                    let answer = None;
                    self.asking().command = Some(Question { number, answer });
                    // Before it is somebody, nobody else is owed anything by the client.
                    outlet.ask_outsider(match hook.kind() {
                        HookKind::Connect => IfReset::Ends,
                        _ => IfReset::Waits,
                    });
                    Ok(Consulted::Later)
                }
                Err(failed) => without_answer(hook, &failed, outlet),
            },
        }
    }

    /// Puts a question, and returns its number.
    fn put(
        &mut self,
        live: &Arc<Live>,
        hook: &Arc<Hook>,
        body: Body<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<u32, Failed> {
        let asking = self.asking();
        asking.number = asking.number.wrapping_add(1);
        let (number, session) = (asking.number, Arc::downgrade(&asking.session));
        let fields = hook.fields(&asking.fields);
        let identity = self.identity();
        let encoding = self.wire.encoding();
        let body = Body {
            client: &self.client,
            transport: self.transport(),
            protocol: match encoding {
                Encoding::Json => "json",
                Encoding::Protobuf => "protobuf",
            },
            encoding: match encoding {
                Encoding::Json => "json",
                Encoding::Protobuf => "binary",
            },
            user: identity.map(|identity| &*identity.user),
            ..body
        };
        let meta = identity.and_then(|identity| identity.meta.as_deref());
        let body = body.with_meta(meta.filter(|_| hook.includes_meta()));
        let ask = Ask {
            body: body.to_bytes(),
            fields,
            from: outlet.id(),
            number,
            session,
        };
        hook.ask(live, ask).map(|()| number)
    }

    fn asking(&mut self) -> &mut Asking {
        self.asking.get_or_insert_default()
    }

    /// The transport, as back ends are told.
    fn transport(&self) -> &'static str {
        match self.wire {
            Wire::Protobuf if self.emulated.is_some() => "http_stream",
            Wire::Json | Wire::Protobuf => "websocket",
            Wire::Lines => "http_stream",
            Wire::Events => "sse",
            Wire::OneWay => "uni_websocket",
            Wire::OneWayLines => "uni_http_stream",
            Wire::OneWayEvents => "uni_sse",
        }
    }

    /// The command that waited is carried out, or never will be.
    pub(super) fn forget_question(&mut self) {
        if let Some(asking) = &mut self.asking {
            asking.command = None;
        }
    }

    /// Keeps what back ends are told of the header fields in a connect command.
    pub(super) fn keep_fields_of_command(
        &mut self,
        world: &World,
        request: &ConnectRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        let is_first = self.asking.as_ref().is_none_or(|it| it.command.is_none());
        if request.headers.is_empty() || !is_first {
            return Ok(());
        }
        let fields = request.headers.iter();
        let fields = fields.map(|(name, value)| (&**name, &**value));
        match world.hooks.fields_of_command(fields) {
            Ok(fields) if fields.is_empty() => Ok(()),
            Ok(fields) => {
                self.asking().fields.extend(fields);
                Ok(())
            }
            Err(why) => {
                if outlet.may_tell("hook_headers") {
                    info!(%why, "a client was refused");
                }
                Err(ErrorCode::BadRequest.into())
            }
        }
    }

    /// A back end has answered.
    pub(super) fn hook_answered(
        &mut self,
        world: &World,
        answered: Arc<Answered>,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(asking) = &mut self.asking else {
            return;
        };
        if let Some(question) = &mut asking.command
            && question.number == answered.number
            && question.answer.is_none()
        {
            question.answer = Some(answered);
            return outlet.outsider_answered();
        }
        let checks = &mut asking.checks;
        if let Some(at) = checks
            .iter()
            .position(|(number, _)| *number == answered.number)
        {
            let (_, check) = checks.swap_remove(at);
            self.checked(world, check, &answered.outcome, outlet);
            self.set_alarm(outlet);
        }
    }

    /// Calls a method of the application.
    pub(super) fn rpc(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        id: u32,
        request: &RpcRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        let Some(hook) = world.hooks.of(HookKind::Rpc) else {
            return Err(ErrorCode::NotAvailable.into());
        };
        let body = Body {
            method: Some(&request.method),
            ..Body::default()
        };
        let yes = match self.consult(live, hook, body.with_data(request.data), outlet)? {
            Consulted::Later => return Ok(Next::Again(Until::Answered)),
            Consulted::Nobody => return Err(ErrorCode::Internal.into()),
            Consulted::Yes(yes) => yes,
        };
        let data = data_bytes(self.wire.encoding(), yes.verdict().data.as_ref());
        self.reply(id, &Reply::Rpc { data: &data });
        Ok(Next::Go)
    }

    /// Asks whether the connection and its subscriptions go on whose time is over.
    pub(super) fn check_terms(&mut self, live: &Arc<Live>, world: &World, outlet: &mut Outlet<'_>) {
        let now_s = now_s();
        if let Stage::Open(identity) = &mut self.stage
            && identity.term.is_to_be_asked(now_s)
        {
            self.ask_about(live, world, Check::Connection, outlet);
        }
        while let Some(ticket) = self.rooms.to_be_asked(now_s) {
            self.ask_about(live, world, Check::Subscription(ticket), outlet);
        }
    }

    fn ask_about(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        check: Check,
        outlet: &mut Outlet<'_>,
    ) {
        let now_s = now_s();
        let Some(hook) = world.hooks.of(check.kind()) else {
            // A reload has taken it away.
            return self.with_term(check, |term| term.cannot_be_asked());
        };
        self.with_term(check, |term| term.asked(now_s));
        let name = match check {
            Check::Connection => None,
            Check::Subscription(ticket) => self.rooms.of(ticket).map(|it| it.name.clone()),
        };
        let body = Body {
            channel: name.as_ref().map(|name| name.as_str()),
            ..Body::default()
        };
        match self.put(live, hook, body, outlet) {
            Ok(number) => self.asking().checks.push((number, check)),
            Err(failed) => self.checked(world, check, &Err(failed), outlet),
        }
    }

    fn with_term(&mut self, check: Check, change: impl FnOnce(&mut super::term::Term)) {
        match (check, &mut self.stage) {
            (Check::Connection, Stage::Open(identity)) => change(&mut identity.term),
            (Check::Connection, _) => {}
            (Check::Subscription(ticket), _) => {
                if let Some(subscription) = self.rooms.of_mut(ticket) {
                    change(&mut subscription.term);
                }
            }
        }
    }

    /// The back end has said whether something goes on.
    fn checked(
        &mut self,
        world: &World,
        check: Check,
        outcome: &Result<Said, Failed>,
        outlet: &mut Outlet<'_>,
    ) {
        let now_s = now_s();
        let is_over = |verdict: &Verdict| {
            verdict.is_expired || verdict.expires_at.is_some_and(|at| at <= now_s)
        };
        match outcome {
            Ok(Said::Result(verdict)) if !is_over(verdict) => self.renew(check, verdict),
            Ok(Said::Result(_) | Said::Nothing | Said::Error { .. }) => self.is_over(check, outlet),
            Ok(Said::Disconnect(to)) => self.close_with((to.code, to.reason), outlet),
            Err(failed) => {
                let hook = world.hooks.of(check.kind());
                tell_failed(check.kind(), failed, outlet);
                let mut is_over = false;
                self.with_term(check, |term| {
                    match hook.map_or(OnFailure::Refuse, |hook| hook.on_failure()) {
                        OnFailure::Refuse => is_over = term.refused(now_s),
                        OnFailure::Allow => term.allowed(now_s),
                    }
                });
                if is_over {
                    self.is_over(check, outlet);
                }
            }
        }
    }

    fn renew(&mut self, check: Check, verdict: &Verdict) {
        let term = super::term::Term::until(verdict.expires_at, true);
        self.with_term(check, |of| *of = term);
        match (check, &mut self.stage) {
            (Check::Connection, Stage::Open(identity)) => identity.renew(&self.client, verdict),
            (Check::Subscription(ticket), Stage::Open(identity)) => {
                if let Some(info) = &verdict.info
                    && let Some(subscription) = self.rooms.of_mut(ticket)
                {
                    let (_, details) = identity.with_room_info(&self.client, Some(info));
                    subscription.details = details;
                }
            }
            _ => {}
        }
    }

    fn is_over(&mut self, check: Check, outlet: &mut Outlet<'_>) {
        match check {
            Check::Connection => self.disconnect(Disconnect::Expired, outlet),
            Check::Subscription(ticket) => match self.rooms.of(ticket) {
                Some(subscription) if subscription.is_server_side() => {
                    self.disconnect(Disconnect::SubscriptionExpired, outlet);
                }
                Some(_) => self.end(ticket, Unsubscribed::Expired, outlet),
                None => {}
            },
        }
    }
}

fn settle(
    hook: &Hook,
    answered: Arc<Answered>,
    outlet: &mut Outlet<'_>,
) -> Result<Consulted, Refusal> {
    match &answered.outcome {
        Ok(Said::Result(_)) => Ok(Consulted::Yes(Yes(Some(answered)))),
        Ok(Said::Nothing) => Ok(Consulted::Nobody),
        Ok(Said::Error { .. }) => Err(Refusal::BackEnd(answered)),
        Ok(Said::Disconnect(to)) => Err(Refusal::Close((to.code, to.reason))),
        Err(failed) => without_answer(hook, failed, outlet),
    }
}

/// What holds when the back end has failed.
fn without_answer(
    hook: &Hook,
    failed: &Failed,
    outlet: &mut Outlet<'_>,
) -> Result<Consulted, Refusal> {
    tell_failed(hook.kind(), failed, outlet);
    match hook.on_failure() {
        OnFailure::Refuse => Err(ErrorCode::Internal.into()),
        OnFailure::Allow => Ok(Consulted::Yes(Yes(None))),
    }
}

fn tell_failed(kind: HookKind, failed: &Failed, outlet: &mut Outlet<'_>) {
    if outlet.may_tell("hook_failed") {
        warn!(hook = kind.name(), why = %failed, "a back end has not decided");
    }
}

/// What a back end gives in place of a message, with what it is said to be in.
pub fn replaced(data: &Payload) -> (Encoding, &[u8]) {
    match data {
        Payload::Json(text) => (Encoding::Json, text.as_bytes()),
        Payload::Bytes(bytes) => (Encoding::Protobuf, bytes),
    }
}

const _: () = assert!(mem::size_of::<Option<Box<Asking>>>() == mem::size_of::<usize>());
