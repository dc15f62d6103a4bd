//! The rooms that a session is in from the beginning: those that it is granted, and those that it asks for when it
//! connects.

use std::collections::BTreeMap;

use access::{
    SubscriptionToken, User, may_subscribe, namespace::RoomKind, token::ServerSubscription,
};
use centrifuge::{Disconnect, ErrorCode, SubscribeRequest};
use runtime::Outlet;

use super::{
    state::Refusal,
    subscribe::{check_offers, room_of, tell_denied},
};
use crate::world::World;

/// The rooms that a user is subscribed to at connect: those of the token, and its personal ones. A room that has
/// the latest message of each key is not among them, because SDKs take a table only for what they have asked for
/// themselves.
pub fn granted_rooms(
    world: &World,
    user: &str,
    of_token: BTreeMap<String, ServerSubscription>,
) -> BTreeMap<String, ServerSubscription> {
    let mut rooms = of_token;
    for personal in world.namespaces.personal_rooms(User::of(user)).flatten() {
        rooms.entry(personal).or_default();
    }
    rooms.retain(|room, _| !is_map(world, room));
    rooms
}

fn is_map(world: &World, room: &str) -> bool {
    let room = world.namespaces.of(room);
    room.is_ok_and(|room| room.rules.kind == RoomKind::LatestPerKey)
}

/// Those rooms of a connect command that the user may subscribe to without a token; the others are left out, as
/// the reference leaves them out.
pub fn permitted_rooms<'r>(
    world: &World,
    user: &str,
    asked: impl Iterator<Item = (&'r str, &'r SubscribeRequest<'r>)>,
    outlet: &mut Outlet<'_>,
) -> Result<Vec<(&'r str, &'r SubscribeRequest<'r>)>, Refusal> {
    let mut permit = |name, request| -> Result<(), Refusal> {
        let (_, room) = room_of(world, name)?;
        check_offers(request, room.rules)?;
        if is_map(world, name) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        may_subscribe(&room, User::of(user), SubscriptionToken::Missing)
            .map_err(|denied| tell_denied(&denied, outlet))
    };
    let mut permitted = Vec::new();
    for (name, request) in asked {
        match permit(name, request) {
            Ok(()) => permitted.push((name, request)),
            Err(Refusal::Error(ErrorCode::UnknownChannel)) => {
                return Err(Disconnect::BadRequest.into());
            }
            Err(Refusal::Error(_)) => {}
            Err(disconnect) => return Err(disconnect),
        }
    }
    Ok(permitted)
}
