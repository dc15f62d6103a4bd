//! The sessions of raw clients: members of one room, and those who only publish there.

use std::{sync::Arc, time::Duration};

use ::centrifuge::{is_json, is_json_object};
use access::{
    User, may_publish,
    namespace::{Form, Raw},
};
use codec::{CloseCode, Kind, Message};
use hub::{Details, RoomName};
use runtime::{Outlet, Session, SessionEvent};

use super::{beginning::Beginning, parameters::Hears};
use crate::{
    users::Place,
    world::{Live, RulesChanged, Superseded, now_s},
};

/// What a client is told that only listens.
const NO_PUBLISHER: &str = "this client may not publish in this room";

/// What a client is told whose room has other rules than those under which it came in.
const RULES_CHANGED: &str = "the rules of the room have changed: connect again";

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
    pub beginning: Beginning,
    /// Where the rules of rooms and connections are found.
    pub live: Arc<Live>,
    /// What others are told of it beside its messages.
    pub details: Option<Arc<Details>>,
    /// When its token is over, in seconds since 1970.
    pub expires_at: Option<i64>,
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
        let rules = room.rules;
        let is_member = self.hears != Hears::Nobody;
        let publishes = || may_publish(&room, User::of(&self.user), is_member).is_ok();
        if rules.raw != Raw::Publish || !(self.by_token || publishes()) {
            return Err((CloseCode::POLICY, NO_PUBLISHER));
        }
        if rules
            .message_bytes_max
            .is_some_and(|max| message.payload.len() > max)
        {
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
        if self.place.is_some() {
            outlet.identify(&self.user);
            self.live.came(&self.user, outlet.id());
        }
        if let Some(at) = self.expires_at {
            let left_s = u64::try_from((at - now_s()).max(0)).unwrap_or(0);
            outlet.set_alarm(Some(Duration::from_secs(left_s)));
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
            } => self.beginning.tell(position, &recovered, outlet),
            SessionEvent::Alarm => outlet.close(CloseCode::POLICY, "the token has expired"),
            SessionEvent::Command(command) => {
                let changed = command.downcast_ref::<RulesChanged>();
                if changed.is_some_and(|changed| changed.concerns(self.name.as_str())) {
                    outlet.close(CloseCode::TRY_AGAIN_LATER, RULES_CHANGED);
                } else if let Some(Superseded { by }) = command.downcast_ref()
                    && *by != outlet.id()
                {
                    outlet.close(CloseCode::POLICY, "another connection of the user has come");
                }
            }
            event => outlet.close_for(&event),
        }
    }
}
