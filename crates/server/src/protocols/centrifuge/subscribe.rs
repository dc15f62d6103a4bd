//! Subscribing and unsubscribing: who may, on which terms, and what has been missed.

use std::sync::Arc;

use access::{
    Asked, Denied, Granted, Namespace, NoRoom, Room, SubscriptionToken, User,
    is_for_subscribe_hook, may_subscribe,
    namespace::{Offer, Overflow, RecoveryMode, RoomKind},
    take_effect,
    token::{ServerSubscription, SubscriptionClaims},
};
use centrifuge::{
    Disconnect, ErrorCode, KIND_MAP, KIND_STREAM, PHASE_STREAM, Reply,
    SUBSCRIBE_REFUSE_UNRECOVERABLE, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest,
};
use hub::{Recover, RoomName, Since, Terms};
use runtime::{Outlet, Ticket};
use tracing::info;

use super::{
    answers::{Awaited, Wanted},
    connect::tell_unverified,
    epoch,
    hooks::{Consulted, Yes},
    identity::data_bytes,
    state::{Next, Refusal, State, Until},
    subscriptions::{Origin, Subscription, Telling},
    term::Term,
};
use crate::{
    events::Why,
    hooks::{Body, HookKind},
    moderation::Pass,
    oneshot::Seat,
    tokens::Unverified,
    world::{Live, World, now_s},
};

/// The formats of deltas that SDKs know; none is offered, and a client that offers one does without.
const KNOWN_DELTAS: [&str; 2] = ["", "fossil"];

/// The kind of subscription for which servers poll others, which this one does not.
const SHARED_POLL: i32 = 4;

/// The room that a client names, and its rules.
pub fn room_of<'w, 'r>(
    world: &'w World,
    channel: &'r str,
) -> Result<(RoomName, Room<'w, 'r>), Refusal> {
    if channel.is_empty() {
        return Err(Disconnect::BadRequest.into());
    }
    let room = world.namespaces.of(channel).map_err(|error| match error {
        NoRoom::BadName(_) => ErrorCode::BadRequest,
        NoRoom::UnknownNamespace => ErrorCode::UnknownChannel,
    })?;
    let name = RoomName::new(channel).map_err(|_| ErrorCode::BadRequest)?;
    Ok((name, room))
}

/// Tells the operator why a good subscription token does not hold for this subscription.
fn tell_not_holding(why: &str, outlet: &mut Outlet<'_>) {
    if outlet.may_tell("subscription_token") {
        info!(
            reason = why,
            "a subscription token does not hold for its client"
        );
    }
}

/// Tells the operator which setting keeps a client from what it wants; the client is only told that it may
/// not.
pub fn tell_denied(denied: &Denied<'_>, outlet: &mut Outlet<'_>) -> Refusal {
    if outlet.may_tell("permission_denied") {
        info!(reason = %denied, "a client was denied a right");
    }
    ErrorCode::PermissionDenied.into()
}

impl State {
    pub(super) fn subscribe(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        id: u32,
        request: &SubscribeRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        let (name, room) = room_of(world, &request.channel)?;
        if self.rooms.named(name.as_str()).is_some() {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        check_offers(request, room.rules)?;
        if room.rules.oneshot.is_some() {
            return self.subscribe_once(world, id, &name, request, outlet);
        }
        let is_map = room.rules.kind == RoomKind::LatestPerKey;
        if (request.recover || is_map) && self.must_wait_for_much(outlet) {
            return Ok(Next::Again(Until::Sent));
        }
        let claims = match self.claims_of(world, request, outlet)? {
            Claims::Later => return Ok(Next::Again(Until::Costly)),
            Claims::None => None,
            Claims::Some(claims) => Some(claims),
        };
        let Some(by_hook) =
            self.check_subscriber(live, world, (&room, &claims), request, outlet)?
        else {
            return Ok(Next::Again(Until::Answered));
        };
        let allowed = Allowed::by(claims.as_deref(), by_hook.as_ref());
        if allowed.expires_at.is_some_and(|at| at <= now_s()) {
            return Err(ErrorCode::Expired.into());
        }
        let is_asked =
            room.rules.sub_refresh_hook && world.hooks.of(HookKind::SubRefresh).is_some();
        let term = Term::until(allowed.expires_at, is_asked);
        let of_token = allowed.with;
        let wish = Wish {
            origin: Origin::Subscribe,
            request: Some(request),
            of_token: of_token.as_ref(),
            seat: None,
        };
        let ticket = self.join(world, &name, wish, outlet)?;
        let data = data_bytes(
            self.wire.encoding(),
            of_token.as_ref().and_then(|it| it.data.as_ref()),
        );
        let recovers = request.recover && self.is_recoverable(ticket);
        if let Some(subscription) = self.rooms.of_mut(ticket) {
            subscription.publishes = claims.as_ref().is_some_and(|claims| claims.publish);
            subscription.pass = claims
                .as_ref()
                .map_or(Pass::NONE, |it| Pass::of_token(it.issued_at));
            subscription.term = term;
        }
        let awaited = Awaited::Subscribe {
            id,
            or_error: request.flag & SUBSCRIBE_REFUSE_UNRECOVERABLE != 0,
            wanted: Wanted {
                recovers,
                is_map,
                from: if request.recover { request.offset } else { 0 },
                data,
            },
        };
        self.wait_for(ticket, awaited);
        Ok(Next::Go)
    }

    /// Whether the client may subscribe, and what a back end says beside it if that has decided; `None` if its answer
    /// is yet to come.
    fn check_subscriber(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        (room, claims): (&Room<'_, '_>, &Option<Box<SubscriptionClaims>>),
        request: &SubscribeRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Option<Option<Yes>>, Refusal> {
        let token = match claims {
            None => SubscriptionToken::Missing,
            Some(_) => SubscriptionToken::Valid,
        };
        let hook = world.hooks.of(HookKind::Subscribe);
        let Some(hook) = hook.filter(|_| is_for_subscribe_hook(room, token)) else {
            let user = self.identity().map(|it| it.user.clone());
            let user = user.unwrap_or_default();
            may_subscribe(room, User::of(&user), token)
                .map_err(|denied| tell_denied(&denied, outlet))?;
            return Ok(Some(None));
        };
        let body = Body {
            channel: Some(&request.channel),
            ..Body::default()
        };
        match self.consult(live, hook, body.with_data(request.data), outlet)? {
            Consulted::Later => Ok(None),
            Consulted::Nobody => Err(ErrorCode::PermissionDenied.into()),
            Consulted::Yes(yes) => Ok(Some(Some(yes))),
        }
    }

    /// Whether a command with an answer that may be large has to wait, such as a recovery, a table or a history: until
    /// others of this kind have been answered, and until a peer that lags has read what waits for it. So no
    /// more than one such answer waits for a peer, however many it asks for.
    pub(super) fn must_wait_for_much(&self, outlet: &Outlet<'_>) -> bool {
        let is_large = |awaited: &Awaited| match awaited {
            Awaited::Subscribe { wanted, .. }
            | Awaited::ServerSubscribe(wanted)
            | Awaited::Ordered(wanted) => wanted.recovers || wanted.is_map,
            Awaited::Question { .. } => true,
            Awaited::Publish { .. } => false,
        };
        outlet.is_behind() || self.awaited.iter().any(|(_, awaited)| is_large(awaited))
    }

    pub(super) fn is_recoverable(&mut self, ticket: Ticket) -> bool {
        self.rooms
            .of_mut(ticket)
            .is_some_and(|it| it.granted.recoverable)
    }

    /// What the subscription token says, if there is one.
    pub(super) fn claims_of(
        &mut self,
        world: &World,
        request: &SubscribeRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Claims, Refusal> {
        if request.token.is_empty() {
            return Ok(Claims::None);
        }
        if !self.may_be_costly() {
            return Ok(Claims::Later);
        }
        let verified = world.verify_subscription(&request.token, now_s());
        let claims = verified.map_err(|unverified| {
            tell_unverified(&unverified, outlet);
            match unverified {
                Unverified::KeyToCome => ErrorCode::Internal,
                Unverified::Refused(error) if error.is_expired() => ErrorCode::TokenExpired,
                Unverified::Refused(_) | Unverified::Revoked => ErrorCode::PermissionDenied,
            }
        })?;
        self.check_claims(&claims, &request.channel)
            .inspect_err(|why| tell_not_holding(why, outlet))
            .map_err(|_| ErrorCode::PermissionDenied)?;
        Ok(Claims::Some(Box::new(claims)))
    }

    /// A subscription token is for one user and one room, and perhaps for one connection.
    fn check_claims(&self, claims: &SubscriptionClaims, channel: &str) -> Result<(), &'static str> {
        let user = self.identity().map(|it| &*it.user);
        let client = claims.client.as_deref();
        if claims.channel != channel {
            Err("its `channel` is another room")
        } else if Some(claims.user.as_str()) != user {
            Err("its `sub` is another user than that of the connection's token")
        } else if client.is_some_and(|client| client != &*self.client) {
            Err("its `client` is another connection")
        } else {
            Ok(())
        }
    }

    /// Asks a room to take the client in, on the terms that its rules, the token and the request come to.
    pub(super) fn join(
        &mut self,
        world: &World,
        name: &RoomName,
        wish: Wish<'_, '_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Ticket, Refusal> {
        let Wish {
            origin,
            request,
            of_token,
            seat,
        } = wish;
        let (_, room) = room_of(world, name.as_str())?;
        if room.rules.oneshot.is_some() != seat.is_some() {
            // No token of a connection opens such a room, and neither does any other right.
            return Err(ErrorCode::PermissionDenied.into());
        }
        let Some(identity) = self.identity() else {
            return Err(ErrorCode::Unauthorized.into());
        };
        let asked = request.map_or_else(Asked::default, |request| Asked {
            positioned: request.positioned,
            recoverable: request.recoverable,
            join_leave: request.join_leave,
        });
        let overrides = of_token.map(|it| it.overrides).unwrap_or_default();
        let granted = take_effect(&room, User::of(&identity.user), asked, &overrides);
        let info = of_token.and_then(|of_token| of_token.info.as_ref());
        let (member, details) = identity.with_room_info(&self.client, info);
        let terms = Terms {
            recover: recover(request, granted, room.rules),
            member: granted.is_present.then_some(member),
        };
        let body = self.wire.form(granted.join_leave);
        let ticket = outlet
            .join_with(name.clone(), body, Some(Box::new(terms)))
            .map_err(|_| ErrorCode::LimitExceeded)?;
        self.rooms.add(Subscription {
            name: name.clone(),
            ticket,
            granted,
            origin,
            is_joined: false,
            telling: match room.rules.events {
                true => Telling::Yet,
                false => Telling::Never,
            },
            term: Term::default(),
            pass: Pass::NONE,
            details,
            publishes: false,
            skips: room.rules.overflow == Overflow::DropOldest,
            seat: seat.map(Box::new),
        });
        Ok(ticket)
    }

    pub(super) fn unsubscribe(
        &mut self,
        id: u32,
        request: &UnsubscribeRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        if request.channel.is_empty() {
            return Err(Disconnect::BadRequest.into());
        }
        if let Some(ticket) = self.rooms.named(&request.channel).map(|it| it.ticket) {
            self.rooms.remove(ticket, Why::CLIENT);
            outlet.leave(ticket);
        }
        self.reply(id, &Reply::Unsubscribe);
        Ok(())
    }

    pub(super) fn sub_refresh(
        &mut self,
        world: &World,
        id: u32,
        request: &SubRefreshRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        let (name, _) = room_of(world, &request.channel)?;
        if !self.rooms.has_joined(name.as_str()) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        if request.kind != 0 {
            return Err(ErrorCode::NotAvailable.into());
        }
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        if !self.may_be_costly() {
            return Ok(Next::Again(Until::Costly));
        }
        let now_s = now_s();
        let verified = world.verify_subscription(&request.token, now_s);
        let claims = verified.map_err(|unverified| -> Refusal {
            tell_unverified(&unverified, outlet);
            match unverified {
                Unverified::KeyToCome => ErrorCode::Internal.into(),
                Unverified::Refused(error) if error.is_expired() => ErrorCode::TokenExpired.into(),
                Unverified::Refused(_) | Unverified::Revoked => Disconnect::InvalidToken.into(),
            }
        })?;
        self.check_claims(&claims, &request.channel)
            .inspect_err(|why| tell_not_holding(why, outlet))
            .map_err(|_| Disconnect::InvalidToken)?;
        let term = Term::until(claims.expires_at, false);
        let pass = Pass::of_token(claims.issued_at);
        if let Some(subscription) = self.rooms.named_mut(name.as_str()) {
            subscription.term = term;
            subscription.pass = pass;
        }
        self.reply(id, &Reply::SubRefresh(term.expiry(now_s)));
        self.set_alarm(outlet);
        Ok(Next::Go)
    }
}

/// What a token or a back end says of a subscription.
#[derive(Default)]
struct Allowed {
    with: Option<ServerSubscription>,
    expires_at: Option<i64>,
}

impl Allowed {
    fn by(claims: Option<&SubscriptionClaims>, hook: Option<&Yes>) -> Self {
        match (claims, hook.map(Yes::verdict)) {
            (Some(claims), _) => Self {
                with: Some(ServerSubscription {
                    info: claims.info.clone(),
                    data: claims.data.clone(),
                    overrides: claims.overrides,
                }),
                expires_at: claims.expires_at,
            },
            (None, Some(verdict)) => Self {
                with: Some(ServerSubscription {
                    info: verdict.info.clone(),
                    data: verdict.data.clone(),
                    overrides: verdict.overrides,
                }),
                expires_at: verdict.expires_at,
            },
            (None, None) => Self::default(),
        }
    }
}

/// How a subscription came to be wished for.
pub struct Wish<'w, 'a> {
    pub origin: Origin,
    /// What the client has asked for.
    pub request: Option<&'w SubscribeRequest<'a>>,
    /// What a token adds.
    pub of_token: Option<&'w ServerSubscription>,
    /// The place of who comes into a one-shot room.
    pub seat: Option<Seat>,
}

/// What a subscription token comes to.
pub enum Claims {
    /// There is none.
    None,
    /// It is verified in a step for costly work.
    Later,
    /// It holds.
    Some(Box<SubscriptionClaims>),
}

/// Refuses what is not offered and must not be passed over in silence.
pub fn check_offers(request: &SubscribeRequest<'_>, rules: &Namespace) -> Result<(), Refusal> {
    match (request.kind, rules.kind) {
        (KIND_STREAM, RoomKind::Messages) => {}
        (KIND_MAP, RoomKind::LatestPerKey) if request.phase == PHASE_STREAM => {
            // Who wants to go on from a position begins anew.
            return Err(ErrorCode::UnrecoverablePosition.into());
        }
        (KIND_MAP, RoomKind::LatestPerKey) => {}
        (SHARED_POLL, _) => return Err(ErrorCode::NotAvailable.into()),
        _ => return Err(ErrorCode::PermissionDenied.into()),
    }
    if !KNOWN_DELTAS.contains(&&*request.delta) {
        return Err(Disconnect::BadRequest.into());
    }
    match request.filter {
        Some(_) => Err(ErrorCode::BadRequest.into()),
        None => Ok(()),
    }
}

/// What a client is to be given that comes back, or comes anew to a room which begins with what there is.
fn recover(
    request: Option<&SubscribeRequest<'_>>,
    granted: Granted,
    rules: &Namespace,
) -> Option<Recover> {
    let is_cache = rules.recovery_mode == RecoveryMode::Cache;
    // Whoever comes into a one-shot room comes for its one message, whether it has been there before or not.
    let is_one_shot = rules.oneshot.is_some();
    match request.filter(|it| (it.recover || is_one_shot) && granted.recoverable) {
        _ if rules.kind == RoomKind::LatestPerKey => Some(Recover::State),
        Some(request) => {
            let since = Since {
                epoch: epoch::named(&request.epoch).filter(|_| !is_one_shot),
                offset: request.offset,
            };
            Some(match is_cache {
                true => Recover::Latest(since),
                false => Recover::Missed(since),
            })
        }
        None => {
            let begins_with_latest = is_cache && rules.recovery == Offer::Forced;
            (begins_with_latest && granted.recoverable).then_some(Recover::State)
        }
    }
}
