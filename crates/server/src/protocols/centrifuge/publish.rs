//! Publishing: who may, what a message must be, and what others are told of its publisher.

use std::sync::Arc;

use access::{
    User, may_publish,
    namespace::{Form, KEY_BYTES_MAX, RoomKind},
};
use centrifuge::{
    Encoding, ErrorCode, KIND_MAP, KIND_STREAM, PublishRequest, is_json, is_json_object,
};
use codec::Kind;
use hub::{Details, Keyed};
use runtime::Outlet;

use super::{
    answers::Awaited,
    state::{Refusal, State},
    subscribe::{room_of, tell_denied},
};
use crate::world::World;

impl State {
    pub(super) fn publish(
        &mut self,
        world: &World,
        id: u32,
        request: &PublishRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        let (name, room) = room_of(world, &request.channel)?;
        let Some(identity) = self.identity() else {
            return Err(ErrorCode::Unauthorized.into());
        };
        let keyed = keyed_of(request, room.rules.kind)?;
        let is_removal = keyed.as_ref().is_some_and(|keyed| keyed.is_removed);
        let data = match request.data {
            _ if is_removal => &[],
            Some(data) => data,
            None => return Err(ErrorCode::BadRequest.into()),
        };
        if world.moderation.is_muted(&identity.user, name.as_str()) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        let subscription = self.rooms.named(name.as_str());
        let is_subscribed = subscription.is_some_and(|it| it.is_joined);
        if !subscription.is_some_and(|it| it.publishes) {
            may_publish(&room, User::of(&identity.user), is_subscribed)
                .map_err(|denied| tell_denied(&denied, outlet))?;
        }
        if room
            .rules
            .message_bytes_max
            .is_some_and(|max| data.len() > max)
        {
            return Err(ErrorCode::LimitExceeded.into());
        }
        let kind = match is_removal {
            true => Kind::Text,
            false => kind_of(self.wire.encoding(), data, room.rules.form)?,
        };
        let one_shot = match room.rules.oneshot {
            Some(_) => Some(self.take_the_shot(&name)?),
            None => None,
        };
        let own = subscription.and_then(|it| it.details.as_ref());
        let own = own.unwrap_or(&identity.details);
        let details = match keyed {
            None => own.clone(),
            Some(_) => Arc::new(Details {
                keyed,
                ..Details::clone(own)
            }),
        };
        let publication = outlet.publish_with(name, kind, data, Some(details));
        self.wait_for(publication, Awaited::Publish { id, one_shot });
        Ok(())
    }
}

/// Which value a message sets in a room that has the latest of each key; `None` in other rooms.
fn keyed_of(request: &PublishRequest<'_>, kind: RoomKind) -> Result<Option<Keyed>, Refusal> {
    match (request.kind, kind) {
        (KIND_STREAM, RoomKind::Messages) => Ok(None),
        (KIND_MAP, RoomKind::LatestPerKey) => match request.key.len() {
            1..=KEY_BYTES_MAX => Ok(Some(Keyed {
                key: (*request.key).into(),
                is_removed: request.removed,
            })),
            _ => Err(ErrorCode::BadRequest.into()),
        },
        (KIND_STREAM | KIND_MAP, _) => Err(ErrorCode::PermissionDenied.into()),
        _ => Err(ErrorCode::NotAvailable.into()),
    }
}

/// Whether a message is text or binary, if its form is permitted. What a JSON client sends is JSON; what a Protobuf
/// client sends may be anything.
fn kind_of(encoding: Encoding, data: &[u8], form: Form) -> Result<Kind, Refusal> {
    let json = encoding == Encoding::Json || form != Form::Binary && is_json(data);
    let is_permitted = match form {
        Form::Any => !data.is_empty(),
        Form::Json => json,
        Form::JsonObject => json && is_json_object(data),
        Form::Binary => true,
    };
    match (is_permitted, json) {
        (false, _) => Err(ErrorCode::BadRequest.into()),
        (true, true) => Ok(Kind::Text),
        (true, false) => Ok(Kind::Binary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(encoding: Encoding, data: &str, form: Form, expected: Option<Kind>) {
        assert_eq!(kind_of(encoding, data.as_bytes(), form).ok(), expected);
    }

    #[test]
    fn message_is_what_the_form_of_its_namespace_permits() {
        use Encoding::{Json, Protobuf};
        check(Json, "1", Form::Any, Some(Kind::Text));
        check(Protobuf, "{}", Form::Any, Some(Kind::Text));
        check(Protobuf, "{", Form::Any, Some(Kind::Binary));
        check(Protobuf, "", Form::Any, None);
        check(Protobuf, "{", Form::Json, None);
        check(Protobuf, "[]", Form::Json, Some(Kind::Text));
        check(Json, "[]", Form::JsonObject, None);
        check(Json, " {}", Form::JsonObject, Some(Kind::Text));
        check(Protobuf, "{}", Form::Binary, Some(Kind::Binary));
        check(Protobuf, "", Form::Binary, Some(Kind::Binary));
        check(Json, "1", Form::Binary, Some(Kind::Text));
    }
}
