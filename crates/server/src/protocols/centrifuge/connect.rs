//! Who a session is: the connect command, its token, the rooms that the token brings, and new tokens.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use access::token::{ConnectionClaims, ServerSubscription, TokenError};
use centrifuge::{
    ConnectRequest, ConnectResult, Disconnect, ErrorCode, RefreshRequest, Reply, Unsubscribed,
};
use runtime::{Outlet, Pings};
use tracing::info;

use super::{
    answers::{Awaited, Given, Shown, Wanted},
    granted::{granted_rooms, permitted_rooms},
    hooks::Consulted,
    identity::{Identity, data_bytes},
    state::{Next, Refusal, Stage, State, Until},
    subscribe::{Wish, check_offers, room_of},
    subscriptions::Origin,
    term::Term,
    wire::Wire,
};
use crate::{
    hooks::{Body, Hook, HookKind},
    moderation::Pass,
    tokens::Unverified,
    world::{Live, Openness, World, now_s},
};

/// The version that SDKs are told, which they demand not to be empty.
const VERSION: &str = concat!("hubbub ", env!("CARGO_PKG_VERSION"));

/// A connect command that waits for the rooms which the server subscribes the client to.
pub struct Connecting {
    id: u32,
    identity: Identity,
    /// How many rooms have not answered.
    waiting: usize,
    /// What the client is handed.
    data: Box<[u8]>,
    /// What they have answered.
    subscribed: Vec<(String, Given)>,
    /// How many bytes of missed messages the answer may have yet, over all rooms.
    recovered_bytes_left: usize,
}

impl State {
    /// Whose session it is, once that is known.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match &self.stage {
            Stage::Open(identity) => Some(identity),
            Stage::Connecting(connecting) => Some(&connecting.identity),
            Stage::Fresh | Stage::Refused | Stage::Ending(_) => None,
        }
    }

    pub(super) fn connect(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        id: u32,
        request: &ConnectRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        let connected = self.begin(live, world, id, request, outlet);
        if let Err(Refusal::Error(_) | Refusal::BackEnd(_)) = connected {
            // The peer learns it from the reply and is expected to close; a moment later this side does. Until then
            // it hears nothing of the rooms that had been asked already.
            self.stage = Stage::Refused;
            self.leave_all(outlet);
            outlet.set_alarm(Some(Duration::from_secs(5)));
        }
        connected
    }

    fn begin(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        id: u32,
        request: &ConnectRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        let (mut claims, data) = match self.claims(live, world, request, outlet)? {
            Claimed::Later(until) => return Ok(Next::Again(until)),
            Claimed::Now(claims, data) => (*claims, data),
        };
        let rooms = std::mem::take(&mut claims.subscriptions);
        let has_token = !request.token.is_empty();
        let mut identity = Identity::new(&self.client, claims, has_token, &world.hooks);
        if !identity.user.is_empty() {
            self.take_place(live, world, &mut identity, outlet)?;
        }
        let user = identity.user.clone();
        let protocol = self.protocol();
        self.rooms
            .witnessed_by(live.witness(&self.client, &user, protocol));
        self.stage = Stage::Connecting(Box::new(Connecting {
            id,
            identity,
            waiting: 0,
            data,
            subscribed: Vec::new(),
            recovered_bytes_left: world.settled.recovered_bytes_max,
        }));
        let granted = granted_rooms(world, &user, rooms);
        self.subscribe_at_once(world, &user, &granted, request, outlet)?;
        self.connected_if_answered(world, outlet);
        Ok(Next::Go)
    }

    /// Subscribes the client to the rooms that it is granted, and to those of its connect command.
    fn subscribe_at_once(
        &mut self,
        world: &World,
        user: &str,
        granted: &BTreeMap<String, ServerSubscription>,
        request: &ConnectRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        let asked: BTreeMap<&str, _> = request.subs.iter().map(|(it, how)| (&**it, how)).collect();
        let others = asked.iter().filter(|(it, _)| !granted.contains_key(**it));
        let others = others.map(|(it, request)| (*it, *request));
        let others = permitted_rooms(world, user, others, outlet)?;
        if granted.len() + others.len() > world.settled.rooms_per_connection_max {
            return Err(Disconnect::ChannelLimit.into());
        }
        let granted = granted.iter().map(|(room, of_token)| {
            let wish = Wish {
                origin: Origin::Grant,
                request: asked.get(&**room).copied(),
                of_token: Some(of_token),
                seat: None,
            };
            (&**room, wish)
        });
        let others = others.into_iter().map(|(room, request)| {
            let wish = Wish {
                origin: Origin::Connect,
                request: Some(request),
                of_token: None,
                seat: None,
            };
            (room, wish)
        });
        for (room, wish) in granted.chain(others) {
            self.subscribe_from_here(world, room, wish, outlet)?;
        }
        Ok(())
    }

    /// Counts the connection as one of its user's.
    fn take_place(
        &self,
        live: &Arc<Live>,
        world: &World,
        identity: &mut Identity,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        if world.moderation.is_blocked(&identity.user) {
            if outlet.may_tell("user_blocked") {
                info!("a client was refused: its user is blocked");
            }
            return Err(Disconnect::PermissionDenied.into());
        }
        let settled = &world.settled;
        let place = live
            .users
            .enter(&identity.user, settled.user_connections_max);
        identity.place = Some(place.ok_or(Disconnect::ConnectionLimit)?);
        outlet.identify(&identity.user);
        live.came(&identity.user, outlet.id());
        Ok(())
    }

    /// Who the client is, by its token, or by what a back end says of one that has none.
    fn claims(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        request: &ConnectRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Claimed, Refusal> {
        self.keep_fields_of_command(world, request, outlet)?;
        let token = &*request.token;
        if token.is_empty() {
            return match world.hooks.of(HookKind::Connect) {
                Some(hook) => self.claims_by_hook(live, world, hook, request, outlet),
                None => claims_of_nobody(world, outlet),
            };
        }
        if !world.tokens.has_connection_keys() {
            if outlet.may_tell("centrifuge_no_keys") {
                info!(
                    "a client was refused: it has a token, and no key to verify it is configured"
                );
            }
            return Err(Disconnect::InvalidToken.into());
        }
        if !self.may_be_costly() {
            return Ok(Claimed::Later(Until::Costly));
        }
        let verified = world.verify_connection(token, now_s());
        verified.map(Claimed::of).map_err(|unverified| {
            tell_unverified(&unverified, outlet);
            match unverified {
                Unverified::KeyToCome => ErrorCode::Internal.into(),
                Unverified::Refused(error) if error.is_expired() => ErrorCode::TokenExpired.into(),
                Unverified::Refused(TokenError::GrantExpired) => ErrorCode::Expired.into(),
                Unverified::Refused(_) | Unverified::Revoked => Disconnect::InvalidToken.into(),
            }
        })
    }

    /// What a back end says of a client that has no token.
    fn claims_by_hook(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        hook: &Arc<Hook>,
        request: &ConnectRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Claimed, Refusal> {
        let body = Body {
            name: &request.name,
            version: &request.version,
            channels: request.subs.iter().map(|(it, _)| &**it).collect(),
            ..Body::default()
        };
        let yes = match self.consult(live, hook, body.with_data(request.data), outlet)? {
            Consulted::Later => {
                // The client has said what it has to say in time.
                outlet.set_alarm(None);
                return Ok(Claimed::Later(Until::Answered));
            }
            Consulted::Nobody => return claims_of_nobody(world, outlet),
            Consulted::Yes(yes) => yes,
        };
        let verdict = yes.verdict();
        if verdict.expires_at.is_some_and(|at| at <= now_s()) {
            return Err(ErrorCode::Expired.into());
        }
        let data = data_bytes(self.wire.encoding(), verdict.data.as_ref());
        let claims = ConnectionClaims {
            user: verdict.user.clone().unwrap_or_default(),
            expires_at: verdict.expires_at,
            info: verdict.info.clone(),
            meta: verdict.meta.clone(),
            subscriptions: verdict.subscriptions.clone(),
            ..anonymous()
        };
        Ok(Claimed::Now(Box::new(claims), data))
    }

    /// Subscribes the client to a room in the course of its connect command.
    fn subscribe_from_here(
        &mut self,
        world: &World,
        room: &str,
        wish: Wish<'_, '_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        let (name, of) = room_of(world, room)?;
        wish.request
            .map_or(Ok(()), |it| check_offers(it, of.rules))?;
        let data = wish.of_token.and_then(|it| it.data.as_ref());
        let (data, request) = (data_bytes(self.wire.encoding(), data), wish.request);
        let ticket = self.join(world, &name, wish, outlet)?;
        let recovers = request.is_some_and(|it| it.recover) && self.is_recoverable(ticket);
        let wanted = Wanted {
            recovers,
            is_map: false,
            from: request.filter(|it| it.recover).map_or(0, |it| it.offset),
            data,
        };
        self.wait_for(ticket, Awaited::ServerSubscribe(wanted));
        if let Stage::Connecting(connecting) = &mut self.stage {
            connecting.waiting += 1;
        }
        Ok(())
    }

    /// One of the rooms that the server subscribes the client to has answered.
    pub(super) fn subscribed_from_here(
        &mut self,
        room: &str,
        mut given: Given,
        ping_s: u32,
        outlet: &mut Outlet<'_>,
    ) {
        if let Stage::Connecting(connecting) = &mut self.stage {
            connecting.waiting -= 1;
            // The answer is one message for all rooms, so that it may have no more of their past than an answer
            // for one. The client is told which are not recovered.
            match connecting
                .recovered_bytes_left
                .checked_sub(given.recovered_bytes())
            {
                Some(left) => connecting.recovered_bytes_left = left,
                None => given.recovered = None,
            }
            connecting.subscribed.push((room.to_owned(), given));
            if connecting.waiting == 0 {
                self.connected(ping_s, outlet);
            }
        }
    }

    fn connected_if_answered(&mut self, world: &World, outlet: &mut Outlet<'_>) {
        if matches!(&self.stage, Stage::Connecting(it) if it.waiting == 0) {
            self.connected(world.settled.ping_s, outlet);
        }
    }

    /// All rooms have answered: so does the connect command.
    fn connected(&mut self, ping_s: u32, outlet: &mut Outlet<'_>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Refused);
        let Stage::Connecting(connecting) = stage else {
            self.stage = stage;
            return;
        };
        let Connecting {
            id,
            identity,
            subscribed,
            data,
            ..
        } = *connecting;
        let (ping, pong) = match (self.pings, self.wire) {
            (Pings::Messages, _) => (ping_s, true),
            (Pings::Frames, Wire::OneWayLines | Wire::OneWayEvents) => (ping_s, false),
            (Pings::Frames, _) => (0, false),
        };
        let emulated = self.emulated.as_ref();
        let (session, node) = emulated.map(|it| it.names(outlet.id())).unwrap_or_default();
        let shown: Vec<_> = subscribed
            .iter()
            .map(|(_, given)| given.shown(self.wire.encoding()))
            .collect();
        let publications: Vec<_> = shown.iter().map(Shown::publications).collect();
        let subs: Vec<_> = subscribed
            .iter()
            .zip(&publications)
            .map(|((room, given), shown)| (room.as_str(), given.result(shown)))
            .collect();
        let client = self.client.clone();
        let result = ConnectResult {
            client: &client,
            version: VERSION,
            expiry: identity.term.expiry(now_s()),
            data: &data,
            subs: &subs,
            ping,
            pong,
            session: &session,
            node: &node,
            ..ConnectResult::default()
        };
        self.stage = Stage::Open(Box::new(identity));
        self.reply(id, &Reply::Connect(result));
        self.rooms.tell_connected();
        self.set_alarm(outlet);
    }

    pub(super) fn refresh(
        &mut self,
        world: &World,
        id: u32,
        request: &RefreshRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        if request.token.is_empty() {
            return Err(Disconnect::BadRequest.into());
        }
        if !world.tokens.has_connection_keys() {
            return Err(Disconnect::InvalidToken.into());
        }
        if !self.may_be_costly() {
            return Ok(Next::Again(Until::Costly));
        }
        let now_s = now_s();
        let claims = world.verify_connection(&request.token, now_s);
        let claims = claims.map_err(|unverified| -> Refusal {
            tell_unverified(&unverified, outlet);
            match unverified {
                Unverified::KeyToCome => ErrorCode::Internal.into(),
                Unverified::Refused(TokenError::GrantExpired) => Disconnect::Expired.into(),
                Unverified::Refused(error) if error.is_expired() => Disconnect::Expired.into(),
                Unverified::Refused(_) | Unverified::Revoked => Disconnect::InvalidToken.into(),
            }
        })?;
        let Stage::Open(identity) = &mut self.stage else {
            return Err(Disconnect::BadRequest.into());
        };
        if claims.user != *identity.user {
            return Err(Disconnect::InvalidToken.into());
        }
        let is_asked = world.hooks.of(HookKind::Refresh).is_some();
        identity.term = Term::until(claims.expires_at, is_asked);
        identity.pass = Pass::of_token(claims.issued_at);
        let term = identity.term;
        let rooms = granted_rooms(world, &claims.user, claims.subscriptions);
        let are_granted = self.rooms.granted().all(|it| rooms.contains_key(it));
        if !are_granted || self.rooms.granted().count() != rooms.len() {
            // The client gets the rooms of its new token when it connects with it.
            return Err(Disconnect::InsufficientState.into());
        }
        self.reply(id, &Reply::Refresh(term.expiry(now_s)));
        self.set_alarm(outlet);
        Ok(Next::Go)
    }

    /// Has the session woken when the next of its terms is over for good, or is to be asked about.
    pub(super) fn set_alarm(&self, outlet: &mut Outlet<'_>) {
        let own = self.identity().and_then(|it| it.term.next());
        let next = own.into_iter().chain(self.rooms.next_term()).min();
        let now_s = now_s();
        let expiry = next.map(|at| {
            let left_s = u64::try_from((at - now_s).max(0)).unwrap_or(0);
            Duration::from_secs(left_s)
        });
        let over = self.rooms.next_over();
        let over = over.map(|at| at.saturating_duration_since(Instant::now()));
        outlet.set_alarm(expiry.into_iter().chain(over).min());
    }

    /// The time has come that the session was waiting for.
    pub(super) fn alarm(&mut self, live: &Arc<Live>, world: &World, outlet: &mut Outlet<'_>) {
        let now_s = now_s();
        match &self.stage {
            Stage::Fresh => return self.disconnect(Disconnect::Stale, outlet),
            Stage::Refused => return self.disconnect(Disconnect::ConnectionClosed, outlet),
            Stage::Open(identity) if identity.term.is_over(now_s) => {
                return self.disconnect(Disconnect::Expired, outlet);
            }
            Stage::Open(_) | Stage::Connecting(_) | Stage::Ending(_) => {}
        }
        self.check_terms(live, world, outlet);
        while let Some(subscription) = self.rooms.expired(now_s) {
            if subscription.is_server_side() {
                return self.disconnect(Disconnect::SubscriptionExpired, outlet);
            }
            let ticket = subscription.ticket;
            self.end(ticket, Unsubscribed::Expired, outlet);
        }
        self.end_one_shots(outlet);
        self.set_alarm(outlet);
    }
}

/// Who a client is.
enum Claimed {
    /// By these claims, and what it is handed with the answer.
    Now(Box<ConnectionClaims>, Box<[u8]>),
    /// That is known later.
    Later(Until),
}

impl Claimed {
    fn of(claims: ConnectionClaims) -> Self {
        Self::Now(Box::new(claims), Box::default())
    }
}

/// A client has no token, and no back end says who it is.
fn claims_of_nobody(world: &World, outlet: &mut Outlet<'_>) -> Result<Claimed, Refusal> {
    let settled = &world.settled;
    if settled.openness == Openness::Dev || settled.lets_anonymous_in {
        return Ok(Claimed::of(anonymous()));
    }
    if outlet.may_tell("centrifuge_no_token") {
        info!("a client was refused: it has no token, and anonymous is off");
    }
    Err(Disconnect::BadRequest.into())
}

/// Of somebody without a token.
fn anonymous() -> ConnectionClaims {
    ConnectionClaims {
        user: String::new(),
        expires_at: None,
        issued_at: None,
        token_id: None,
        info: None,
        meta: None,
        subscriptions: BTreeMap::new(),
        unlimited: false,
    }
}

/// Tells the operator why a token is not believed, which its owner is not told.
pub fn tell_unverified(why: &Unverified, outlet: &mut Outlet<'_>) {
    match why {
        Unverified::Refused(error) if outlet.may_tell("token_refused") => {
            info!(reason = error.name(), %error, "a token was refused");
        }
        Unverified::KeyToCome if outlet.may_tell("token_key_unknown") => {
            info!("a token was not believed yet: its key is not known, and keys are being fetched");
        }
        Unverified::Revoked if outlet.may_tell("token_revoked") => {
            info!("a token was refused: it is revoked");
        }
        Unverified::Refused(_) | Unverified::KeyToCome | Unverified::Revoked => {}
    }
}
