//! Publishing: who may, what a message must be, and what others are told of its publisher.

use std::sync::Arc;

use access::{
    Namespace, Room, User, is_for_publish_hook, may_publish,
    namespace::{Form, KEY_BYTES_MAX, RoomKind},
};
use centrifuge::{
    Encoding, ErrorCode, KIND_MAP, KIND_STREAM, Publication, PublishRequest, is_json,
    is_json_object,
};
use codec::Kind;
use hub::{Details, Keyed, RoomName, Version};
use runtime::Outlet;

use super::{
    answers::Awaited,
    hooks::{Consulted, Yes, replaced},
    state::{Next, Refusal, State, Until},
    subscribe::{room_of, tell_denied},
};
use crate::{
    hooks::{Body, HookKind, Verdict},
    idempotency,
    world::{Live, World},
};

impl State {
    pub(super) fn publish(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        id: u32,
        request: &PublishRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        let (name, room) = room_of(world, &request.channel)?;
        let keyed = keyed_of(request, room.rules.kind)?;
        let is_removal = keyed.as_ref().is_some_and(|keyed| keyed.is_removed);
        if !is_removal && request.data.is_none() {
            return Err(ErrorCode::BadRequest.into());
        }
        let hook = world.hooks.of(HookKind::Publish);
        let hook = hook.filter(|_| is_for_publish_hook(&room));
        self.check_publisher(world, (&name, &room), hook.is_some(), outlet)?;
        let sent = match request.data {
            Some(data) if !is_removal => checked(room.rules, self.wire.encoding(), data)?,
            _ => (Kind::Text, &[][..]),
        };
        let mut decided = None;
        if let Some(hook) = hook {
            decided = match self.consult(live, hook, asked(request, is_removal), outlet)? {
                Consulted::Later => return Ok(Next::Again(Until::Answered)),
                Consulted::Nobody => return Err(ErrorCode::PermissionDenied.into()),
                Consulted::Yes(yes) => Some(yes),
            };
        }
        let verdict = decided.as_ref().map(Yes::verdict);
        let instead = verdict.and_then(|verdict| verdict.data.as_ref());
        let (kind, data) = match instead.filter(|_| !is_removal).map(replaced) {
            None => sent,
            Some((encoding, instead)) => checked(room.rules, encoding, instead)?,
        };
        let one_shot = match room.rules.oneshot {
            Some(_) => Some(self.take_the_shot(&name)?),
            None => None,
        };
        let details = self.details_of(&name, keyed, verdict, data);
        let publication = outlet.publish_with(name, kind, data, details);
        self.wait_for(publication, Awaited::Publish { id, one_shot });
        Ok(Next::Go)
    }

    /// Whether the client may publish in the room, as far as no back end decides that.
    fn check_publisher(
        &self,
        world: &World,
        (name, room): (&RoomName, &Room<'_, '_>),
        is_asked_about: bool,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        let Some(identity) = self.identity() else {
            return Err(ErrorCode::Unauthorized.into());
        };
        if world.moderation.is_muted(&identity.user, name.as_str()) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        let subscription = self.rooms.named(name.as_str());
        let is_subscribed = subscription.is_some_and(|it| it.is_joined);
        if !is_asked_about && !subscription.is_some_and(|it| it.publishes) {
            may_publish(room, User::of(&identity.user), is_subscribed)
                .map_err(|denied| tell_denied(&denied, outlet))?;
        }
        Ok(())
    }

    /// What is told and kept beside a message, by its publisher and by what a back end says.
    fn details_of(
        &self,
        name: &RoomName,
        keyed: Option<Keyed>,
        verdict: Option<&Verdict>,
        data: &[u8],
    ) -> Option<Arc<Details>> {
        let subscription = self.rooms.named(name.as_str());
        let own = subscription.and_then(|it| it.details.as_ref());
        let own = own.or(self.identity().map(|identity| &identity.details))?;
        let verdict = verdict.filter(|it| it.says_more_of_a_message());
        if keyed.is_none() && verdict.is_none() {
            return Some(own.clone());
        }
        let details = Details {
            keyed,
            ..Details::clone(own)
        };
        Some(Arc::new(match verdict {
            None => details,
            Some(verdict) => decided(details, verdict, data),
        }))
    }
}

/// What a back end is asked about a message.
fn asked<'r>(request: &'r PublishRequest<'_>, is_removal: bool) -> Body<'r> {
    let body = Body {
        channel: Some(&request.channel),
        key: (request.kind == KIND_MAP).then_some(&*request.key),
        removed: is_removal,
        ..Body::default()
    };
    body.with_data(request.data.filter(|_| !is_removal))
}

/// The same, with what a back end says of the message.
fn decided(own: Details, verdict: &Verdict, data: &[u8]) -> Details {
    let tags = verdict.tags.iter();
    let tags: Vec<_> = tags
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let tags = Publication::meta(None, &tags);
    let key = verdict.idempotency_key.as_deref();
    let version = verdict.version.as_ref();
    Details {
        // Messages of proto3 concatenate.
        meta: [&own.meta[..], &tags].concat().into(),
        idempotency: key.map(|key| idempotency::of(key, data, &tags, own.keyed.as_ref())),
        skips_history: verdict.skips_history,
        version: version.map(|(epoch, version)| Version {
            epoch: epoch.as_str().into(),
            version: *version,
        }),
        ..own
    }
}

/// A message, and whether it is text or binary, if the room takes it.
fn checked<'d>(
    rules: &Namespace,
    encoding: Encoding,
    data: &'d [u8],
) -> Result<(Kind, &'d [u8]), Refusal> {
    if rules.message_bytes_max.is_some_and(|max| data.len() > max) {
        return Err(ErrorCode::LimitExceeded.into());
    }
    Ok((kind_of(encoding, data, rules.form)?, data))
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
