//! The verdicts over raw clients: those that open a WebSocket or a stream for one room, and speak no protocol
//! within it.

use crate::namespace::Raw;
use crate::rights::{Cause, Denied, SubscriptionToken, User, may_publish, may_subscribe};
use crate::{NoRoom, Room};

/// The token that came with the request, already verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawToken<'a> {
    /// None came.
    Missing,
    /// One that is bad or expired.
    Bad,
    /// A connection token, with its user, which may be nobody.
    Connection(User<'a>),
    /// A subscription token that holds for this room, with its user.
    Subscription(User<'a>),
}

/// What a raw client may do with its WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawRights {
    /// Receive the room's messages.
    Subscribe,
    /// Receive the room's messages, and send some.
    Publish,
}

/// Why a raw client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawRefusal<'n> {
    /// The token is bad or expired.
    #[error("the token is bad or expired")]
    BadToken,
    /// No token came, and one could help.
    #[error(transparent)]
    TokenMissing(Denied<'n>),
    /// A right is lacking.
    #[error(transparent)]
    Forbidden(Denied<'n>),
    /// There is no such room.
    #[error(transparent)]
    NoRoom(NoRoom),
}

impl RawRefusal<'_> {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadToken | Self::TokenMissing(_) => 401,
            Self::Forbidden(_) => 403,
            Self::NoRoom(_) => 404,
        }
    }
}

/// What a raw client may do in the room for which it asks.
///
/// # Errors
/// Why it may not come in.
pub fn may_open_raw<'n>(
    room: Result<Room<'n, '_>, NoRoom>,
    token: RawToken<'_>,
) -> Result<RawRights, RawRefusal<'n>> {
    let room = room.map_err(RawRefusal::NoRoom)?;
    let (user, subscription) = match token {
        RawToken::Bad => return Err(RawRefusal::BadToken),
        RawToken::Missing => (User::Anonymous, SubscriptionToken::Missing),
        RawToken::Connection(user) => (user, SubscriptionToken::Missing),
        RawToken::Subscription(user) => (user, SubscriptionToken::Valid),
    };
    if room.rules.raw == Raw::None {
        return Err(RawRefusal::Forbidden(Denied::new(&room, Cause::RawOff)));
    }
    may_subscribe(&room, user, subscription).map_err(|denied| match token {
        RawToken::Missing => RawRefusal::TokenMissing(denied),
        _ => RawRefusal::Forbidden(denied),
    })?;
    let publishes = room.rules.raw == Raw::Publish && may_publish(&room, user, true).is_ok();
    Ok(match publishes {
        true => RawRights::Publish,
        false => RawRights::Subscribe,
    })
}

/// Whether a raw client may publish in a room without being in it. `is_granted`: its subscription token lets it.
///
/// # Errors
/// Why it may not.
pub fn may_only_publish_raw<'n>(
    room: Result<Room<'n, '_>, NoRoom>,
    token: RawToken<'_>,
    is_granted: bool,
) -> Result<(), RawRefusal<'n>> {
    let room = room.map_err(RawRefusal::NoRoom)?;
    let user = match token {
        RawToken::Bad => return Err(RawRefusal::BadToken),
        RawToken::Missing => User::Anonymous,
        RawToken::Connection(user) | RawToken::Subscription(user) => user,
    };
    let cause = match room.rules.raw {
        Raw::None => Some(Cause::RawOff),
        Raw::Subscribe => Some(Cause::RawListens),
        Raw::Publish => None,
    };
    if let Some(cause) = cause {
        return Err(RawRefusal::Forbidden(Denied::new(&room, cause)));
    }
    match may_publish(&room, user, false) {
        Err(_) if is_granted => Ok(()),
        verdict => verdict.map_err(|denied| match token {
            RawToken::Missing => RawRefusal::TokenMissing(denied),
            _ => RawRefusal::Forbidden(denied),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::namespace::{Subscribers, Users, Who};
    use crate::{Namespace, Namespaces};

    const NAMED: User<'_> = User::Named("42");

    fn world(rules: Namespace) -> Namespaces {
        Namespaces::ruled(rules, Vec::new()).unwrap()
    }

    fn open(rules: &Namespace, room: &str, token: RawToken<'_>) -> Result<RawRights, u16> {
        let world = world(rules.clone());
        may_open_raw(world.of(room), token).map_err(|refusal| refusal.status())
    }

    fn rules(raw: Raw, subscribe: Subscribers, publish: Who) -> Namespace {
        Namespace {
            raw,
            subscribe,
            publish,
            user_limited: true,
            ..Namespace::default()
        }
    }

    #[test]
    fn raw_client_is_refused_with_the_status_of_its_cause() {
        let users = Subscribers::Client(Users::Named);
        let publish = Who::Subscriber(Users::Named);
        let rules = rules(Raw::Publish, users, publish);
        let anonymous_token = RawToken::Connection(User::Anonymous);
        for (room, token, status) in [
            ("é", RawToken::Missing, 404),
            ("", RawToken::Connection(NAMED), 404),
            ("none:x", RawToken::Connection(NAMED), 404),
            ("x", RawToken::Bad, 401),
            ("x", RawToken::Missing, 401),
            ("x", anonymous_token, 403),
            ("$x", RawToken::Missing, 401),
            ("$x", RawToken::Connection(NAMED), 403),
            ("d#43", RawToken::Missing, 401),
            ("d#43", RawToken::Connection(NAMED), 403),
        ] {
            assert_eq!(open(&rules, room, token), Err(status), "{room} {token:?}");
        }
        for (room, token) in [
            ("x", RawToken::Connection(NAMED)),
            ("d#42", RawToken::Connection(NAMED)),
            ("$x", RawToken::Subscription(NAMED)),
        ] {
            assert_eq!(open(&rules, room, token), Ok(RawRights::Publish), "{room}");
        }
        let subscription = RawToken::Subscription(User::Anonymous);
        assert_eq!(open(&rules, "x", subscription), Ok(RawRights::Subscribe));
    }

    #[test]
    fn raw_client_that_is_not_in_the_room_publishes_where_others_may_who_are_not() {
        use RawToken::{Bad, Connection, Missing, Subscription};
        let check = |raw, publish, token, is_granted, expected| {
            let world = world(rules(raw, Subscribers::Token, publish));
            let verdict = may_only_publish_raw(world.of("x"), token, is_granted);
            let status = verdict.map_err(|refusal| refusal.status());
            assert_eq!(
                status, expected,
                "{raw:?} {publish:?} {token:?} {is_granted}"
            );
        };
        let named = Who::Client(Users::Named);
        let members = Who::Subscriber(Users::AnonymousToo);
        check(Raw::Publish, named, Connection(NAMED), false, Ok(()));
        check(Raw::Publish, named, Missing, false, Err(401));
        check(Raw::Publish, named, Bad, false, Err(401));
        check(
            Raw::Publish,
            named,
            Connection(User::Anonymous),
            false,
            Err(403),
        );
        check(Raw::Subscribe, named, Connection(NAMED), true, Err(403));
        check(Raw::None, named, Connection(NAMED), true, Err(403));
        check(Raw::Publish, members, Connection(NAMED), false, Err(403));
        check(Raw::Publish, members, Subscription(NAMED), false, Err(403));
        check(Raw::Publish, members, Subscription(NAMED), true, Ok(()));
        let world = world(rules(Raw::Publish, Subscribers::Token, named));
        let nowhere = may_only_publish_raw(world.of("no:x"), Connection(NAMED), true);
        assert_eq!(nowhere.map_err(|refusal| refusal.status()), Err(404));
    }

    #[test]
    fn raw_client_has_no_more_than_the_namespace_gives_to_raw_clients() {
        let everybody = Subscribers::Client(Users::AnonymousToo);
        let publish = Who::Client(Users::Named);
        let named = RawToken::Connection(NAMED);
        for (raw, expected) in [
            (Raw::None, Err(403)),
            (Raw::Subscribe, Ok(RawRights::Subscribe)),
            (Raw::Publish, Ok(RawRights::Publish)),
        ] {
            assert_eq!(open(&rules(raw, everybody, publish), "x", named), expected);
        }
        // No token would help where raw clients have no access.
        let off = rules(Raw::None, everybody, publish);
        assert_eq!(open(&off, "x", RawToken::Missing), Err(403));
        let wide = rules(Raw::Publish, everybody, publish);
        assert_eq!(
            open(&wide, "x", RawToken::Missing),
            Ok(RawRights::Subscribe)
        );
    }

    #[test]
    fn raw_client_publishes_in_any_room_of_an_open_world() {
        for rules in [Namespace::open(), Namespace::dev()] {
            let world = Namespaces::Open(Arc::new(rules));
            for room in ["lobby", "a:b", "$x", "#42", "café"] {
                let opened = may_open_raw(world.of(room), RawToken::Missing);
                assert_eq!(opened, Ok(RawRights::Publish), "{room}");
            }
        }
    }

    #[test]
    fn refusal_tells_the_setting() {
        let world = world(rules(Raw::None, Subscribers::Token, Who::Nobody));
        let refusal = may_open_raw(world.of("x"), RawToken::Missing).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "`[rooms]` has no raw clients (raw = \"none\")"
        );
    }
}
