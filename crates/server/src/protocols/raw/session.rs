//! The sessions of raw clients: members of one room, and those who only publish there.

use std::{any::Any, sync::Arc, time::Duration};

use ::centrifuge::{Meta, is_json, is_json_object};
use access::{
    Namespace, User, may_publish,
    namespace::{Form, Raw},
};
use codec::{CloseCode, Kind, Message};
use hub::{Details, RoomName};
use runtime::{Outlet, Session, SessionEvent};

use super::{beginning::Beginning, parameters::Hears};
use crate::{
    api::{Order, What, Whom},
    moderation::{KeptOut, Moderated, Pass},
    users::Place,
    world::{Live, RulesChanged, Superseded, World, now_s},
};

/// What a client is told that only listens.
pub const NO_PUBLISHER: &str = "this client may not publish in this room";

/// What a client is told that a back end has leave its room.
const UNSUBSCRIBED: &str = "the server has ended the subscription";

/// What a client is told whose room has other rules than those under which it came in.
const RULES_CHANGED: &str = "the rules of the room have changed: connect again";

/// What a client is told whose token is over.
pub const TOKEN_OVER: &str = "the token has expired";

/// What a client is told whose user may not be here.
const BLOCKED: &str = "the user is blocked";

/// What a client is told whose token holds no longer.
const REVOKED: &str = "the token is revoked";

/// A member of a room of which nothing is to be known, in a world without rules. It takes no memory, since there
/// may be very many.
pub struct InOpenRoom;

/// A client of one room.
pub struct InRoom {
    pub name: RoomName,
    pub user: Arc<str>,
    /// The place among the user's connections.
    pub place: Option<Place>,
    pub publishes: bool,
    /// Whether its token lets it publish, whatever the namespace says.
    pub by_token: bool,
    pub hears: Hears,
    /// What it is told first, until that has happened.
    pub beginning: Option<Box<Beginning>>,
    /// Where the rules of rooms and connections are found.
    pub live: Arc<Live>,
    /// What others are told of it beside its messages.
    pub details: Option<Arc<Details>>,
    /// When its token is over, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// The token that it has shown.
    pub pass: Pass,
}

impl InRoom {
    /// Whether the room takes this message from this client, by the rules as they are now.
    fn check(&self, message: &Message<'_>) -> Result<(), (CloseCode, &'static str)> {
        let world = self.live.now();
        check_moderation(&world, &self.user, self.pass)?;
        if world.moderation.is_muted(&self.user, self.name.as_str()) {
            return Err((CloseCode::POLICY, NO_PUBLISHER));
        }
        if world.namespaces.is_open() {
            return Ok(());
        }
        let room = world.namespaces.of(self.name.as_str());
        let room = room.map_err(|_| (CloseCode::POLICY, "the room's namespace is gone"))?;
        let is_member = self.hears != Hears::Nobody;
        let publishes = || may_publish(&room, User::of(&self.user), is_member).is_ok();
        if room.rules.raw != Raw::Publish || !(self.by_token || publishes()) {
            return Err((CloseCode::POLICY, NO_PUBLISHER));
        }
        check_message(room.rules, message)
    }
}

/// Whether a client is still to be here.
///
/// # Errors
///
/// With what it is closed.
pub fn check_moderation(
    world: &World,
    user: &str,
    pass: Pass,
) -> Result<(), (CloseCode, &'static str)> {
    match world.moderation.keeps_out(user, pass) {
        None => Ok(()),
        Some(KeptOut::Blocked) => Err((CloseCode::POLICY, BLOCKED)),
        Some(KeptOut::Revoked) => Err((CloseCode::POLICY, REVOKED)),
    }
}

/// Whether a message is what a namespace wants.
///
/// # Errors
///
/// With what its sender is closed.
pub fn check_message(
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
pub fn begin(
    live: &Live,
    (user, pass): (&str, Pass),
    place: Option<&Place>,
    expires_at: Option<i64>,
    outlet: &mut Outlet<'_>,
) -> Option<Duration> {
    // It may have been blocked while it came in.
    if let Err((code, why)) = check_moderation(&live.now(), user, pass) {
        outlet.close(code, why);
        return None;
    }
    if place.is_some() {
        outlet.identify(user);
        live.came(user, outlet.id());
    }
    let left_s = expires_at.map(|at| u64::try_from((at - now_s()).max(0)).unwrap_or(0));
    left_s.map(Duration::from_secs)
}

/// Who a raw client is, to those who command something.
#[derive(Clone, Copy)]
pub struct Me<'a> {
    /// The room of its connection; empty where rooms have no rules that could change.
    pub room: &'a str,
    /// The user; empty for nobody.
    pub user: &'a str,
    /// What it has shown.
    pub pass: Pass,
    /// What others are told of it beside its messages.
    pub details: Option<&'a Details>,
}

impl Me<'_> {
    /// Somebody of whom nothing is known.
    const NOBODY: Self = Self {
        room: "",
        user: "",
        pass: Pass::NONE,
        details: None,
    };

    /// Whether an order is for it. Its id is in what others are told of it.
    fn is_meant_by(&self, whom: &Whom) -> bool {
        let meta = self.details.map_or(&[][..], |details| &details.meta);
        let info = Meta::read(meta).ok().and_then(|meta| meta.info);
        let client = info.as_ref().map(|info| &*info.client);
        whom.means(self.user, client, None)
    }

    /// Ends, where that is ordered. Its connection is its subscription: it can neither leave its room without ending
    /// nor go into another.
    fn obey(&self, order: &Order, outlet: &mut Outlet<'_>) {
        match &order.what {
            _ if !self.is_meant_by(&order.whom) => {}
            What::Disconnect { code, reason } => outlet.close(*code, reason),
            What::Unsubscribe(room) => {
                if room.as_ref().is_none_or(|room| outlet.is_in(room)) {
                    outlet.close(CloseCode::POLICY, UNSUBSCRIBED);
                }
            }
            What::Refresh(refreshing) if refreshing.is_expired => {
                outlet.close(CloseCode::POLICY, TOKEN_OVER);
            }
            What::Subscribe(_) | What::Refresh(_) => {}
        }
    }
}

/// Does what a client of a room is told by others: the rules of its room have changed, another connection of its user
/// has come, or a back end has ordered something.
pub fn obey(
    command: &Arc<dyn Any + Send + Sync>,
    live: &Live,
    me: Me<'_>,
    outlet: &mut Outlet<'_>,
) {
    if command.is::<Moderated>() {
        if let Err((code, why)) = check_moderation(&live.now(), me.user, me.pass) {
            outlet.close(code, why);
        }
        return;
    }
    let changed = command.downcast_ref::<RulesChanged>();
    if changed.is_some_and(|changed| changed.concerns(me.room)) {
        outlet.close(CloseCode::TRY_AGAIN_LATER, RULES_CHANGED);
    } else if let Some(order) = command.downcast_ref::<Order>() {
        me.obey(order, outlet);
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
            SessionEvent::Command(command) => {
                if let Some(order) = command.downcast_ref() {
                    Me::NOBODY.obey(order, outlet);
                }
            }
            event => outlet.close_for(&event),
        }
    }
}

impl Session for InRoom {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        let place = self.place.as_ref();
        let who = (&*self.user, self.pass);
        let left = begin(&self.live, who, place, self.expires_at, outlet);
        if left.is_some() {
            outlet.set_alarm(left);
        }
        if self.hears == Hears::Others
            && let Some((room, own)) = outlet.room().zip(self.details.clone())
        {
            outlet.pass_over(room, own);
        }
    }

    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        if !self.publishes {
            return outlet.close(CloseCode::POLICY, NO_PUBLISHER);
        }
        if let Err((code, why)) = self.check(&message) {
            return outlet.close(code, why);
        }
        let (kind, payload, details) = (message.kind, message.payload, self.details.clone());
        match outlet.room() {
            Some(room) => _ = outlet.publish_in(room, kind, payload, details),
            None if self.hears == Hears::Nobody => {
                outlet.publish_with(self.name.clone(), kind, payload, details);
            }
            // It has lost its room, and is closed for that.
            None => {}
        }
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Joined {
                position,
                recovered: Some(recovered),
                ..
            } => {
                if let Some(beginning) = self.beginning.take() {
                    beginning.tell(position, &recovered, outlet);
                }
            }
            SessionEvent::Alarm => outlet.close(CloseCode::POLICY, TOKEN_OVER),
            SessionEvent::Command(command) => {
                let me = Me {
                    room: self.name.as_str(),
                    user: &self.user,
                    pass: self.pass,
                    details: self.details.as_deref(),
                };
                obey(&command, &self.live, me, outlet);
            }
            event => outlet.close_for(&event),
        }
    }
}
