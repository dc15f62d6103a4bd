//! Raw clients: one room for each connection, whose messages are the room's, without a protocol in them.
//!
//! ```text
//!  request ─▶ parameters.rs  what it asks for ─┐
//!          └▶ who.rs         who it is ────────┴▶ let_in ─▶ beginning.rs  what it is told first, and in which form
//!                                                      └──▶ session.rs    what it says, and how it ends
//!
//!  request for a one-shot room ─▶ oneshot.rs: the page that waits, or who publishes
//!
//!  rooms' messages ─▶ forms.rs: once for each form and core
//! ```
//!
//! It comes as a WebSocket, or as a stream of server-sent events that only hears. A raw client is a client like any
//! other: the rules of namespaces and tokens hold for it, and what they come to is said in the head of the answer.

mod beginning;
mod forms;
mod oneshot;
mod parameters;
mod session;
mod who;

use std::sync::Arc;

use access::{
    NoRoom, RawRefusal, RawRights, RawToken, Room, User, may_only_publish_raw, may_open_raw,
    namespace::Raw, token::Overrides,
};
use bytes::Bytes;
use codec::Request;
use hub::{Details, Member, RoomName, Since, Terms};
use runtime::{KeepAlive, Pings, Refused};
use tracing::debug;

pub use forms::Form;
pub use parameters::ignored;

use self::{
    beginning::Beginning,
    parameters::{Hears, NOWHERE, Parameters, Wishes, since_of},
    session::{InOpenRoom, InRoom},
    who::Who,
};
use super::{Asked, Begun, Head, Later, Refusal, Started, http, local, witnessed::Whose};
use crate::{
    tokens::Unverified,
    users::Place,
    world::{Live, Openness, World},
};

/// What a raw client asks for, whoever it is.
struct Entering {
    name: RoomName,
    wishes: Wishes,
    carrier: Carrier,
}

/// What carries the messages of a raw client.
enum Carrier {
    /// A WebSocket, whose 101 names this subprotocol.
    WebSocket(Option<&'static str>),
    /// A stream, whose answer has these fields, after the event with this position.
    Stream(http::Fields, Option<Since>),
}

/// A line that means nothing (HTML Standard, section 9.2.6, "event stream interpretation"), so that nobody on the
/// way takes the connection for dead.
const HEARTBEAT: &[u8] = b":\n\n";

/// Lets a raw client into a room, if the rules permit it. A token is verified in the part of a turn for costly
/// work. The 101 names `own`, if the client has come by a subprotocol of its own.
pub(super) fn enter(
    asked: &Asked<'_>,
    name: RoomName,
    own: Option<&'static str>,
) -> Result<Begun, Refusal> {
    let parameters = match own {
        None => Parameters::read(asked.request)?,
        // Its address means nothing else, and may have whatever its page has there.
        Some(_) => Parameters::with_token_alone(asked.request),
    };
    let wishes = parameters.wishes;
    // What rooms do not have without rules is for this machine alone.
    if asked.world.settled.openness == Openness::Dev && wishes.is_beyond_live() {
        local::check(asked.request)?;
    }
    let carrier = Carrier::WebSocket(own.or(who::subprotocol(asked.request)?));
    begin(asked, parameters, name, carrier)
}

/// Lets a raw client listen to a room by a stream of server-sent events.
pub(super) fn listen(asked: &Asked<'_>, name: RoomName) -> Result<Begun, Refusal> {
    let parameters = Parameters::read(asked.request)?;
    let wishes = parameters.wishes;
    if asked.world.settled.openness == Openness::Dev {
        local::check(asked.request)?;
    }
    if wishes.hears == Hears::Nobody {
        let sentence = "A stream only hears: with mode=publish ask for a WebSocket.";
        return Err(Refusal::Other(400, sentence.to_owned(), Refused::Parameter));
    }
    let fields = asked.cors().of_stream("text/event-stream");
    let carrier = Carrier::Stream(fields, latest(asked.request));
    begin(asked, parameters, name, carrier)
}

/// The id of the latest event that a client has had, if it comes back. One that is none of this server's is a
/// position that no room has.
fn latest(request: &Request<'_>) -> Option<Since> {
    let id = request.field("last-event-id").filter(|id| !id.is_empty())?;
    let since = str::from_utf8(id).ok().and_then(since_of);
    Some(since.unwrap_or(NOWHERE))
}

fn begin(
    asked: &Asked<'_>,
    parameters: Parameters<'_>,
    name: RoomName,
    carrier: Carrier,
) -> Result<Begun, Refusal> {
    if asked.world.namespaces.is_one_shot(name.as_str()) {
        return oneshot::enter(asked, parameters, name, carrier);
    }
    let Parameters { token, wishes, .. } = parameters;
    let entering = Entering {
        name,
        wishes,
        carrier,
    };
    let Asked {
        request,
        world,
        live,
        ..
    } = asked;
    // Where everybody may do everything, a token means nothing.
    let means_something = world.tokens.are_known() || !world.namespaces.is_open();
    let token = token.or_else(|| who::token(request));
    let Some(token) = token.filter(|_| means_something) else {
        return let_in(live, world, entering, None).map(Begun::Now);
    };
    let (token, live) = (token.into_owned(), Arc::clone(live));
    Ok(Begun::AtCost(Later {
        held_bytes: token.capacity(),
        open: Box::new(move || {
            let world = live.now();
            let who = Who::shows(&world, &token, &entering.name);
            let_in(&live, &world, entering, Some(who))
        }),
    }))
}

/// Lets a raw client in of whom it is known who it is, if it has shown a token.
fn let_in(
    live: &Arc<Live>,
    world: &World,
    entering: Entering,
    who: Option<Result<Who, Unverified>>,
) -> Result<Started, Refusal> {
    if let Some(Err(Unverified::KeyToCome)) = who {
        return Err(Refusal::TokenKey);
    }
    let permitted = Permitted::of(world, &entering, who.as_ref())?;
    let who = who.and_then(Result::ok);
    let is_told_of = who.is_some() || world.has_presence(entering.name.as_str());
    if world.namespaces.is_open() && !is_told_of && entering.is_plain_web_socket() {
        return Ok(Started {
            whose: Whose::of(live, None, &"".into(), Some(&entering.name)),
            room: Some(entering.name),
            head: entering.carrier.head(),
            ..Started::new(InOpenRoom)
        });
    }
    let who = who.unwrap_or_default();
    let client = (is_told_of || live.events().is_some()).then(who::new_client);
    let client = client.as_deref();
    let told = client.filter(|_| is_told_of).map(|client| who.told(client));
    let (member, mut details) = told.unzip();
    if entering.wishes.hears == Hears::Others {
        // By these it knows its own messages.
        details.get_or_insert_default();
    }
    let user: Arc<str> = who.user.as_str().into();
    let whose = Whose::of(live, client, &user, Some(&entering.name));
    let started = in_room(live, world, entering, permitted, who, (member, details))?;
    Ok(Started { whose, ..started })
}

/// A client of one room, which it enters unless it hears nobody.
fn in_room(
    live: &Arc<Live>,
    world: &World,
    entering: Entering,
    permitted: Permitted,
    who: Who,
    (member, details): (Option<Arc<Member>>, Option<Arc<Details>>),
) -> Result<Started, Refusal> {
    let Entering {
        name,
        wishes,
        carrier,
    } = entering;
    let beginning = permitted.beginning;
    let recover = beginning.recover();
    let user: Arc<str> = who.user.into();
    let session = InRoom {
        name: name.clone(),
        place: place(world, live, &user)?,
        user,
        publishes: permitted.publishes,
        by_token: permitted.by_token,
        hears: wishes.hears,
        beginning: recover.map(|_| Box::new(beginning)),
        live: Arc::clone(live),
        details,
        expires_at: who.expires_at,
        pass: who.pass,
    };
    Ok(Started {
        room: (wishes.hears != Hears::Nobody).then_some(name),
        head: carrier.head(),
        body: beginning.form.body(),
        terms: (recover.is_some() || member.is_some()).then(|| Box::new(Terms { recover, member })),
        ..Started::new(session)
    })
}

impl Entering {
    /// Whether it asks for the messages from now on as they are, and may publish: all that an open room has.
    fn is_plain_web_socket(&self) -> bool {
        self.wishes == Wishes::default() && matches!(self.carrier, Carrier::WebSocket(_))
    }
}

/// What a raw client may do that comes in.
struct Permitted {
    publishes: bool,
    /// Whether its token lets it publish, whatever the namespace says.
    by_token: bool,
    beginning: Beginning,
}

impl Permitted {
    fn of(
        world: &World,
        entering: &Entering,
        who: Option<&Result<Who, Unverified>>,
    ) -> Result<Self, Refusal> {
        let Entering {
            name,
            wishes,
            carrier,
        } = entering;
        let shown = match who {
            None => RawToken::Missing,
            Some(Err(_)) => RawToken::Bad,
            Some(Ok(who)) if who.is_for_room => RawToken::Subscription(User::of(&who.user)),
            Some(Ok(who)) => RawToken::Connection(User::of(&who.user)),
        };
        let room = world.namespaces.of(name.as_str());
        let by_token = matches!(who, Some(Ok(who)) if who.publishes);
        Ok(Self {
            publishes: may_publish(room, shown, by_token, wishes.hears)?,
            by_token,
            beginning: beginning(room, shown, who, wishes, carrier)?,
        })
    }
}

/// Whether a client may publish, if it may come in at all.
fn may_publish(
    room: Result<Room<'_, '_>, NoRoom>,
    shown: RawToken<'_>,
    by_token: bool,
    hears: Hears,
) -> Result<bool, Refusal> {
    if hears == Hears::Nobody {
        may_only_publish_raw(room, shown, by_token).map_err(refusal)?;
        return Ok(true);
    }
    let rights = may_open_raw(room, shown).map_err(refusal)?;
    let is_for_all = room.is_ok_and(|room| room.rules.raw == Raw::Publish);
    Ok(rights == RawRights::Publish || by_token && is_for_all)
}

/// What the client is told first, and in which form it gets everything.
fn beginning(
    room: Result<Room<'_, '_>, NoRoom>,
    shown: RawToken<'_>,
    who: Option<&Result<Who, Unverified>>,
    wishes: &Wishes,
    carrier: &Carrier,
) -> Result<Beginning, Refusal> {
    let room = room.map_err(|why| refusal(RawRefusal::NoRoom(why)))?;
    let (user, overrides) = match who {
        Some(Ok(who)) => (User::of(&who.user), who.overrides),
        Some(Err(_)) | None => (User::Anonymous, Overrides::default()),
    };
    let beginning = match carrier {
        Carrier::WebSocket(_) => Beginning::of_web_socket(&room, user, &overrides, wishes),
        Carrier::Stream(_, latest) => {
            Beginning::of_stream(&room, user, &overrides, wishes, *latest)
        }
    };
    beginning.map_err(|why| why.refusal(shown != RawToken::Missing))
}

impl Carrier {
    fn head(self) -> Head {
        match self {
            Self::WebSocket(subprotocol) => Head::WebSocket {
                subprotocol,
                pings: Pings::Frames,
            },
            Self::Stream(fields, _) => Head::Stream {
                fields,
                keep_alive: KeepAlive::Bytes(Bytes::from_static(HEARTBEAT)),
            },
        }
    }
}

/// The connection's place among those of its user, if it has one.
fn place(world: &World, live: &Arc<Live>, user: &Arc<str>) -> Result<Option<Place>, Refusal> {
    if user.is_empty() {
        return Ok(None);
    }
    if world.moderation.is_blocked(user) {
        debug!("a raw client was refused: its user is blocked");
        return Err(Refusal::Other(403, NOT_OPEN.to_owned(), Refused::Right));
    }
    let place = live.users.enter(user, world.settled.user_connections_max);
    place.map(Some).ok_or_else(|| {
        let sentence = "You have as many connections as one user may have; close some.";
        Refusal::Other(429, sentence.to_owned(), Refused::UserConnections)
    })
}

/// Whoever may not come in is told nothing that others could use; the log knows more.
const NOT_OPEN: &str =
    "This room is not open to you; at log_level debug the server's log says why.";

const NO_ROOM: &str = "There is no such room: its namespace, the text before the colon, is not configured, or the name is not ASCII.";

const TOKEN_MISSING: &str = "This room needs a token: ?token=, or Authorization: Bearer, or a second subprotocol beside hubbub.";

fn refusal(refusal: RawRefusal<'_>) -> Refusal {
    debug!(reason = %refusal, "a raw client was refused");
    let status = refusal.status();
    let (sentence, refused) = match refusal {
        RawRefusal::BadToken => return bad_token(),
        RawRefusal::TokenMissing(_) => (TOKEN_MISSING, Refused::Token),
        RawRefusal::Forbidden(_) => (NOT_OPEN, Refused::Right),
        RawRefusal::NoRoom(_) => (NO_ROOM, Refused::RoomName),
    };
    Refusal::Other(status, sentence.to_owned(), refused)
}

/// The answer to a token that is not believed.
fn bad_token() -> Refusal {
    let sentence = "The token is bad or expired; at log_level debug the server's log says why.";
    Refusal::Other(401, sentence.to_owned(), Refused::Token)
}
