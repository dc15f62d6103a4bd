//! Raw clients: a WebSocket for one room, whose messages are the room's, without a protocol in them.
//!
//! A raw client is a client like any other: the rules of namespaces and tokens hold for it, and what they
//! come to is said before the 101.

use std::{any::Any, borrow::Cow, sync::Arc, time::Duration};

use ::centrifuge::{is_json, is_json_object};
use access::{
    Namespace, RawRefusal, RawRights, RawToken, User, may_open_raw, may_publish,
    namespace::{Form, Raw},
    token::{Payload, SubscriptionClaims, TokenError},
};
use codec::{CloseCode, Kind, Message, Request};
use hub::{Details, Member, RoomName, Terms};
use percent_encoding::percent_decode_str;
use runtime::{Outlet, Pings, Refused, Session, SessionEvent};
use tracing::debug;

use super::{Asked, Begun, Later, Refusal, Started, Way, oneshot};
use crate::{
    tokens::{Tokens, Unverified},
    users::Place,
    world::{Live, RulesChanged, Superseded, World, now_s},
};

/// The subprotocol that clients ask for beside one that carries a token.
const SUBPROTOCOL: &str = "hubbub";

/// What a subprotocol with a token begins with.
const TOKEN_PREFIX: &str = "hubbub.token.";

/// What a client is told that only listens.
pub(super) const NO_PUBLISHER: &str = "this client may not publish in this room";

/// What a client is told whose room has other rules than those under which it came in.
pub(super) const RULES_CHANGED: &str = "the rules of the room have changed: connect again";

/// What a client is told whose token is over.
pub(super) const TOKEN_OVER: &str = "the token has expired";

/// A member of a room of which nothing is to be known, in a world without rules. It takes no memory, since there
/// may be very many.
struct InOpenRoom;

/// A member of one room.
struct InRoom {
    name: RoomName,
    user: Arc<str>,
    /// The place among the user's connections.
    place: Option<Place>,
    publishes: bool,
    /// Whether its token lets it publish, whatever the namespace says.
    by_token: bool,
    /// Where the rules of rooms and connections are found.
    live: Arc<Live>,
    /// What others are told of it beside its messages.
    details: Option<Arc<Details>>,
    /// When its token is over, in seconds since 1970.
    expires_at: Option<i64>,
}

/// Who a raw client is.
#[derive(Default)]
pub(super) struct Who {
    pub(super) user: String,
    info: Option<Payload>,
    /// When the token is over, in seconds since 1970.
    pub(super) expires_at: Option<i64>,
    /// Whether the token is for this room.
    pub(super) is_for_room: bool,
    /// Whether the token lets its client publish, whatever the namespace says.
    pub(super) publishes: bool,
    /// Whether rates do not hold for it.
    is_unlimited: bool,
}

/// Lets a raw client into a room, if the rules permit it. A token is verified in the part of a turn for costly
/// work. The 101 names `own`, if the client has come by a subprotocol of its own.
pub(super) fn enter(
    asked: &Asked<'_>,
    name: RoomName,
    own: Option<&'static str>,
) -> Result<Begun, Refusal> {
    let Asked {
        request,
        world,
        live,
        ..
    } = asked;
    let subprotocol = own.or(subprotocol(request)?);
    if world.namespaces.is_one_shot(name.as_str()) {
        return oneshot::enter(asked, name, subprotocol);
    }
    // Where everybody may do everything, a token means nothing.
    let means_something = world.tokens.are_known() || !world.namespaces.is_open();
    let Some(token) = token(request).filter(|_| means_something) else {
        return let_in(live, world, name, subprotocol, None).map(Begun::Now);
    };
    let (token, live) = (token.into_owned(), Arc::clone(live));
    Ok(Begun::AtCost(Later {
        held_bytes: token.capacity(),
        open: Box::new(move || {
            let world = live.now();
            let who = who(&world.tokens, &token, &name);
            let_in(&live, &world, name, subprotocol, Some(who))
        }),
    }))
}

/// Lets a raw client in of whom it is known who it is, if it has shown a token.
fn let_in(
    live: &Arc<Live>,
    world: &World,
    name: RoomName,
    subprotocol: Option<&'static str>,
    who: Option<Result<Who, Unverified>>,
) -> Result<Started, Refusal> {
    if let Some(Err(Unverified::KeyToCome)) = who {
        return Err(Refusal::TokenKey);
    }
    let is_open = world.namespaces.is_open();
    let shown = match &who {
        None => RawToken::Missing,
        Some(Err(_)) => RawToken::Bad,
        Some(Ok(who)) if who.is_for_room => RawToken::Subscription(User::of(&who.user)),
        Some(Ok(who)) => RawToken::Connection(User::of(&who.user)),
    };
    let room = world.namespaces.of(name.as_str());
    let rights = may_open_raw(room, shown).map_err(refusal)?;
    let who = who.and_then(Result::ok);
    let is_raw_for_all = room.is_ok_and(|room| room.rules.raw == Raw::Publish);
    let by_token = who.as_ref().is_some_and(|who| who.publishes) && is_raw_for_all;
    let told = (who.is_some() || world.has_presence(name.as_str()))
        .then(|| told_of(who.as_ref().unwrap_or(&Who::default())));
    let (member, details) = told.unzip();
    if is_open && details.is_none() {
        return Ok(Started {
            room: Some(name),
            way: over(subprotocol),
            ..Started::new(InOpenRoom)
        });
    }
    let user: Arc<str> = who.as_ref().map_or("", |who| &who.user).into();
    let session = InRoom {
        name: name.clone(),
        place: place(world, live, &user)?,
        user,
        publishes: rights == RawRights::Publish || by_token,
        by_token,
        live: Arc::clone(live),
        details,
        expires_at: who.and_then(|who| who.expires_at),
    };
    Ok(Started {
        room: Some(name),
        way: over(subprotocol),
        terms: member.map(|member| {
            Box::new(Terms {
                recover: None,
                member: Some(member),
            })
        }),
        ..Started::new(session)
    })
}

/// A WebSocket whose 101 names this.
pub(super) fn over(subprotocol: Option<&'static str>) -> Way {
    Way::WebSocket {
        subprotocol,
        pings: Pings::Frames,
    }
}

/// The connection's place among those of its user, if it has one.
pub(super) fn place(
    world: &World,
    live: &Arc<Live>,
    user: &Arc<str>,
) -> Result<Option<Place>, Refusal> {
    if user.is_empty() {
        return Ok(None);
    }
    let place = live.users.enter(user, world.settled.user_connections_max);
    place.map(Some).ok_or_else(|| {
        let sentence = "You have as many connections as one user may have; close some.";
        Refusal::Other(429, sentence.to_owned(), Refused::UserConnections)
    })
}

fn refusal(refusal: RawRefusal<'_>) -> Refusal {
    debug!(reason = %refusal, "a raw client was refused");
    let status = refusal.status();
    let (sentence, refused) = match refusal {
        RawRefusal::BadToken => return bad_token(),
        RawRefusal::TokenMissing(_) => ("This room needs a token.", Refused::Token),
        RawRefusal::Forbidden(_) => ("This room is not open to you.", Refused::Right),
        RawRefusal::NoRoom(_) => ("There is no such room.", Refused::RoomName),
    };
    Refusal::Other(status, sentence.to_owned(), refused)
}

/// The answer to a token that is not believed.
pub(super) fn bad_token() -> Refusal {
    Refusal::Other(
        401,
        "The token is bad or expired.".to_owned(),
        Refused::Token,
    )
}

/// The subprotocol that the 101 names: never one with a token in it.
fn subprotocol(request: &Request<'_>) -> Result<Option<&'static str>, Refusal> {
    let offered = || offered(request);
    if offered().any(|it| it == SUBPROTOCOL) {
        return Ok(Some(SUBPROTOCOL));
    }
    match offered().any(|it| it.starts_with(TOKEN_PREFIX)) {
        false => Ok(None),
        true => Err(Refusal::Other(
            400,
            format!(
                "A token in a subprotocol needs {SUBPROTOCOL} beside it: \
                 new WebSocket(url, [\"{SUBPROTOCOL}\", \"{TOKEN_PREFIX}...\"])."
            ),
            Refused::Subprotocol,
        )),
    }
}

fn offered<'a>(request: &Request<'a>) -> impl Iterator<Item = &'a str> {
    let fields = request.fields("sec-websocket-protocol");
    let texts = fields.filter_map(|field| str::from_utf8(field).ok());
    texts.flat_map(|text| text.split(',').map(str::trim))
}

/// The token of a request: as `?token=`, as a bearer's (RFC 6750 section 2.1), or in a subprotocol.
pub(super) fn token<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    if let Some(token) = parameter(request, "token") {
        return Some(token);
    }
    let mut fields = request.fields("authorization");
    let bearer = fields.find_map(|field| str::from_utf8(field).ok()?.strip_prefix("Bearer "));
    let offered = || offered(request).find_map(|it| it.strip_prefix(TOKEN_PREFIX));
    bearer.or_else(offered).map(Cow::Borrowed)
}

/// The first parameter of this name in a request's query, decoded.
pub(super) fn parameter<'a>(request: &Request<'a>, name: &str) -> Option<Cow<'a, str>> {
    let mut parameters = request.query().unwrap_or_default().split('&');
    let value = parameters.find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
    value.map(|it| percent_decode_str(it).decode_utf8_lossy())
}

/// Who shows a token that is for connections, or for this room.
pub(super) fn who(tokens: &Tokens, token: &str, room: &RoomName) -> Result<Who, Unverified> {
    let now_s = now_s();
    let verified = match tokens.verify_connection(token, now_s) {
        Ok(claims) => Ok(Who {
            user: claims.user,
            info: claims.info,
            expires_at: claims.expires_at,
            is_for_room: false,
            publishes: false,
            is_unlimited: claims.unlimited,
        }),
        Err(why) if may_be_for_a_room(tokens, &why) => {
            match tokens.verify_subscription(token, now_s) {
                Ok(claims) if is_for(&claims, room) => Ok(Who {
                    user: claims.user,
                    info: claims.info,
                    expires_at: claims.expires_at,
                    is_for_room: true,
                    publishes: claims.publish,
                    is_unlimited: false,
                }),
                // It is a token for a room, and what is wrong with it is known.
                Err(of_room) if of_room != UNKNOWN_KEY => Err(of_room),
                Ok(_) | Err(_) => Err(why),
            }
        }
        Err(why) => Err(why),
    };
    // Anybody can cause it as often as they like, so it is not for everyday logs.
    verified.inspect_err(|why| debug!(%why, "a token was not believed"))
}

/// The keys for rooms do not have the one that a token was signed with.
const UNKNOWN_KEY: Unverified = Unverified::Refused(TokenError::UnknownKey);

/// Whether a token that is none for connections may be one for a room.
fn may_be_for_a_room(tokens: &Tokens, why: &Unverified) -> bool {
    tokens.are_separate() || matches!(why, Unverified::Refused(TokenError::BadClaim { .. }))
}

fn is_for(claims: &SubscriptionClaims, room: &RoomName) -> bool {
    claims.channel == room.as_str() && claims.client.is_none()
}

/// What others are told of a raw client.
pub(super) fn told_of(who: &Who) -> (Arc<Member>, Arc<Details>) {
    let client = uuid::Uuid::new_v4().to_string();
    let infos = (who.info.as_ref(), None);
    super::centrifuge::told_of(&client, &who.user.as_str().into(), infos, who.is_unlimited)
}

impl InRoom {
    /// Whether the room takes this message from this client, by the rules as they are now.
    fn check(&self, message: &Message<'_>) -> Result<(), (CloseCode, &'static str)> {
        let world = self.live.now();
        if world.namespaces.is_open() {
            return Ok(());
        }
        let room = world.namespaces.of(self.name.as_str());
        let room = room.map_err(|_| (CloseCode::POLICY, "the room's namespace is gone"))?;
        let publishes = || may_publish(&room, User::of(&self.user), true).is_ok();
        if room.rules.raw != Raw::Publish || !(self.by_token || publishes()) {
            return Err((CloseCode::POLICY, NO_PUBLISHER));
        }
        check_message(room.rules, message)
    }
}

/// Whether a message is what a namespace wants.
pub(super) fn check_message(
    rules: &Namespace,
    message: &Message<'_>,
) -> Result<(), (CloseCode, &'static str)> {
    let is_too_long = |max| message.payload.len() > max;
    if rules.message_bytes_max.is_some_and(is_too_long) {
        return Err((
            CloseCode::TOO_BIG,
            "the message is longer than the room permits",
        ));
    }
    match has_form(message, rules.form) {
        true => Ok(()),
        false => Err((
            CloseCode::POLICY,
            "the message has not the form of the room's",
        )),
    }
}

/// Says whose connection this is. Returns for how long its token holds.
pub(super) fn begin(
    live: &Live,
    user: &str,
    place: Option<&Place>,
    expires_at: Option<i64>,
    outlet: &mut Outlet<'_>,
) -> Option<Duration> {
    if place.is_some() {
        outlet.identify(user);
        live.came(user, outlet.id());
    }
    let left_s = expires_at.map(|at| u64::try_from((at - now_s()).max(0)).unwrap_or(0));
    left_s.map(Duration::from_secs)
}

/// Does what a client of this room is told by others: the rules of its room have changed, or another connection of
/// its user has come.
pub(super) fn obey(command: &Arc<dyn Any + Send + Sync>, room: &str, outlet: &mut Outlet<'_>) {
    let changed = command.downcast_ref::<RulesChanged>();
    if changed.is_some_and(|changed| changed.concerns(room)) {
        outlet.close(CloseCode::TRY_AGAIN_LATER, RULES_CHANGED);
    } else if let Some(Superseded { by }) = command.downcast_ref()
        && *by != outlet.id()
    {
        outlet.close(CloseCode::POLICY, "another connection of the user has come");
    }
}

/// Whether a message is what a namespace wants. A binary one is not JSON, whatever is in it, because clients
/// that speak JSON get it as base64.
fn has_form(message: &Message<'_>, form: Form) -> bool {
    let payload = message.payload;
    let is_json = || message.kind == Kind::Text && is_json(payload);
    match form {
        Form::Any => !payload.is_empty(),
        Form::Json => is_json(),
        Form::JsonObject => is_json() && is_json_object(payload),
        Form::Binary => true,
    }
}

impl Session for InOpenRoom {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        if let Some(room) = outlet.room() {
            outlet.publish(room, message.kind, message.payload);
        }
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            // There are rules now.
            SessionEvent::Command(command) if command.is::<RulesChanged>() => {
                outlet.close(CloseCode::TRY_AGAIN_LATER, RULES_CHANGED);
            }
            event => outlet.close_for(&event),
        }
    }
}

impl Session for InRoom {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        let place = self.place.as_ref();
        let left = begin(&self.live, &self.user, place, self.expires_at, outlet);
        if left.is_some() {
            outlet.set_alarm(left);
        }
    }

    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        if !self.publishes {
            return outlet.close(CloseCode::POLICY, NO_PUBLISHER);
        }
        if let Err((code, why)) = self.check(&message) {
            return outlet.close(code, why);
        }
        if let Some(room) = outlet.room() {
            let details = self.details.clone();
            outlet.publish_in(room, message.kind, message.payload, details);
        }
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Alarm => outlet.close(CloseCode::POLICY, TOKEN_OVER),
            SessionEvent::Command(command) => obey(&command, self.name.as_str(), outlet),
            event => outlet.close_for(&event),
        }
    }
}
