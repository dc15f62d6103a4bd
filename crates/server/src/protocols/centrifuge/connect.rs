//! Who a session is: the connect command, its token, the rooms that the token brings, and new tokens.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use access::token::{ConnectionClaims, Payload, ServerSubscription, TokenError};
use bytes::Bytes;
use centrifuge::{
    ClientInfo, ConnectRequest, ConnectResult, Disconnect, Encoding, ErrorCode, Expiry,
    Publication, RefreshRequest, Reply, Unsubscribed, is_json,
};
use codec::Kind;
use hub::{Details, Member};
use runtime::{Outlet, Pings};
use tracing::info;

use super::{
    answers::{Awaited, Given, Shown, Wanted},
    granted::{granted_rooms, permitted_rooms},
    state::{Next, Refusal, Stage, State, Until},
    subscribe::{Wish, check_offers, room_of},
    subscriptions::Origin,
    wire::{Wire, data_of},
};
use crate::{
    moderation::Pass,
    tokens::Unverified,
    users::Place,
    world::{Live, Openness, World, now_s, publisher},
};

/// The version that SDKs are told, which they demand not to be empty.
const VERSION: &str = concat!("hubbub ", env!("CARGO_PKG_VERSION"));

/// For how long after its end a token may still be exchanged for a new one, in seconds.
const GRACE_S: i64 = 25;

/// Whose session it is.
pub struct Identity {
    /// The user's id; empty for nobody.
    pub user: Arc<str>,
    /// What others see of this connection.
    info: Option<Payload>,
    /// The same, as a member of rooms.
    pub member: Arc<Member>,
    /// The same, beside each message that it publishes.
    pub details: Arc<Details>,
    /// When the connection needs a new token, in seconds since 1970.
    expires_at: Option<i64>,
    /// What it has come in with, or shown since.
    pub pass: Pass,
    /// Whether rates do not hold for it.
    pub is_unlimited: bool,
    /// The place among the user's connections.
    place: Option<Place>,
}

/// A connect command that waits for the rooms which the server subscribes the client to.
pub struct Connecting {
    id: u32,
    identity: Identity,
    /// How many rooms have not answered.
    waiting: usize,
    /// What they have answered.
    subscribed: Vec<(String, Given)>,
    /// How many bytes of missed messages the answer may have yet, over all rooms.
    recovered_bytes_left: usize,
}

impl Identity {
    fn new(client: &str, claims: ConnectionClaims, has_token: bool) -> Self {
        let ConnectionClaims {
            user,
            info,
            expires_at,
            issued_at,
            unlimited: is_unlimited,
            ..
        } = claims;
        let user: Arc<str> = user.into();
        let (member, details) = told_of(client, &user, (info.as_ref(), None), is_unlimited);
        Self {
            user,
            info,
            member,
            details,
            expires_at,
            pass: match has_token {
                true => Pass::Token { issued_at },
                false => Pass::None,
            },
            is_unlimited,
            place: None,
        }
    }

    /// What others are told of this connection in a room for which there is more to say.
    pub fn with_room_info(
        &self,
        client: &str,
        info: Option<&Payload>,
    ) -> (Arc<Member>, Option<Arc<Details>>) {
        match info {
            None => (self.member.clone(), None),
            Some(room) => {
                let infos = (self.info.as_ref(), Some(room));
                let (member, details) = told_of(client, &self.user, infos, self.is_unlimited);
                (member, Some(details))
            }
        }
    }
}

/// What others are told of a client: as a member of rooms, and beside its messages.
pub fn told_of(
    client: &str,
    user: &Arc<str>,
    (info, of_room): (Option<&Payload>, Option<&Payload>),
    is_unlimited: bool,
) -> (Arc<Member>, Arc<Details>) {
    // All subscribers get the same, and those of JSON need JSON.
    let (info, of_room) = (info.map(json_of), of_room.map(json_of));
    let info = ClientInfo {
        user: (&**user).into(),
        client: client.into(),
        conn_info: info.as_deref(),
        chan_info: of_room.as_deref(),
    };
    let member = Member {
        user: user.clone(),
        info: info.to_protobuf().into(),
    };
    let details = Details {
        meta: Bytes::from(Publication::meta(Some(&info), &[])),
        publisher: publisher(user, is_unlimited),
        ..Details::default()
    };
    (Arc::new(member), Arc::new(details))
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
        if let Err(Refusal::Error(_)) = connected {
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
        let Some(mut claims) = self.claims(world, &request.token, outlet)? else {
            return Ok(Next::Again(Until::Costly));
        };
        let rooms = std::mem::take(&mut claims.subscriptions);
        let has_token = !request.token.is_empty();
        let mut identity = Identity::new(&self.client, claims, has_token);
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

    /// What the token says; `None` if it can only be verified in a step for costly work.
    fn claims(
        &mut self,
        world: &World,
        token: &str,
        outlet: &mut Outlet<'_>,
    ) -> Result<Option<ConnectionClaims>, Refusal> {
        if token.is_empty() {
            let is_open =
                world.settled.openness == Openness::Dev || world.settled.lets_anonymous_in;
            if is_open {
                return Ok(Some(anonymous()));
            }
            if outlet.may_tell("centrifuge_no_token") {
                info!("a client was refused: it has no token, and anonymous is off");
            }
            return Err(Disconnect::BadRequest.into());
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
            return Ok(None);
        }
        let verified = world.verify_connection(token, now_s());
        verified.map(Some).map_err(|unverified| {
            tell_unverified(&unverified, outlet);
            match unverified {
                Unverified::KeyToCome => ErrorCode::Internal.into(),
                Unverified::Refused(error) if error.is_expired() => ErrorCode::TokenExpired.into(),
                Unverified::Refused(TokenError::GrantExpired) => ErrorCode::Expired.into(),
                Unverified::Refused(_) | Unverified::Revoked => Disconnect::InvalidToken.into(),
            }
        })
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
            expiry: expiry(identity.expires_at, now_s()),
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
        identity.expires_at = claims.expires_at;
        identity.pass = Pass::Token {
            issued_at: claims.issued_at,
        };
        let rooms = granted_rooms(world, &claims.user, claims.subscriptions);
        let are_granted = self.rooms.granted().all(|it| rooms.contains_key(it));
        if !are_granted || self.rooms.granted().count() != rooms.len() {
            // The client gets the rooms of its new token when it connects with it.
            return Err(Disconnect::InsufficientState.into());
        }
        let expiry = expiry(claims.expires_at, now_s);
        self.reply(id, &Reply::Refresh(expiry));
        self.set_alarm(outlet);
        Ok(Next::Go)
    }

    /// Has the session woken when the next of its tokens is over for good.
    pub(super) fn set_alarm(&self, outlet: &mut Outlet<'_>) {
        let own = self.identity().and_then(|it| it.expires_at);
        let next = own.into_iter().chain(self.rooms.next_expiry()).min();
        let now_s = now_s();
        let expiry = next.map(|at| {
            let left_s = u64::try_from((at + GRACE_S - now_s).max(0)).unwrap_or(0);
            Duration::from_secs(left_s)
        });
        let over = self.rooms.next_over();
        let over = over.map(|at| at.saturating_duration_since(Instant::now()));
        outlet.set_alarm(expiry.into_iter().chain(over).min());
    }

    /// The time has come that the session was waiting for.
    pub(super) fn alarm(&mut self, outlet: &mut Outlet<'_>) {
        let over_s = now_s() - GRACE_S;
        match &self.stage {
            Stage::Fresh => return self.disconnect(Disconnect::Stale, outlet),
            Stage::Refused => return self.disconnect(Disconnect::ConnectionClosed, outlet),
            Stage::Open(identity) if identity.expires_at.is_some_and(|at| at <= over_s) => {
                return self.disconnect(Disconnect::Expired, outlet);
            }
            Stage::Open(_) | Stage::Connecting(_) | Stage::Ending(_) => {}
        }
        while let Some(subscription) = self.rooms.expired(over_s) {
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

/// A payload of a token as JSON: one that is none is a string in base64.
fn json_of(payload: &Payload) -> Cow<'_, [u8]> {
    let bytes = payload.as_bytes();
    let kind = match is_json(bytes) {
        true => Kind::Text,
        false => Kind::Binary,
    };
    data_of(Encoding::Json, kind, bytes)
}

/// What a client is handed with a subscription.
pub fn data_bytes(encoding: Encoding, data: Option<&Payload>) -> Box<[u8]> {
    match (encoding, data) {
        (_, None) => Box::default(),
        (Encoding::Json, Some(data)) => json_of(data).into(),
        (Encoding::Protobuf, Some(data)) => data.as_bytes().into(),
    }
}

/// When a new token is needed, as clients are told.
pub fn expiry(at: Option<i64>, now_s: i64) -> Expiry {
    at.map_or(Expiry::Never, |at| {
        Expiry::After(u32::try_from((at - now_s).max(1)).unwrap_or(u32::MAX))
    })
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
