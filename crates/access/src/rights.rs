//! The verdicts: who may subscribe, publish and read in a room, and why not.

use std::fmt;

use crate::namespace::{
    Choice as _, JoinLeave, Offer, Overflow, RoomKind, Subscribers, Users, Who,
};
use crate::token::Overrides;
use crate::{Audience, BadName, Label, Name, Namespace, Room};

/// On whose behalf a client acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User<'a> {
    /// Nobody's.
    Anonymous,
    /// This user's; the text is not empty.
    Named(&'a str),
}

impl<'a> User<'a> {
    /// The user of this id; the empty one means nobody.
    pub fn of(id: &'a str) -> Self {
        match id {
            "" => Self::Anonymous,
            id => Self::Named(id),
        }
    }

    /// The id; empty for nobody.
    pub fn id(self) -> &'a str {
        match self {
            Self::Anonymous => "",
            Self::Named(id) => id,
        }
    }

    fn is_in(self, users: Users) -> bool {
        self != Self::Anonymous || users == Users::AnonymousToo
    }
}

/// The subscription token that came with a wish to subscribe, already verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionToken {
    /// None came.
    Missing,
    /// It holds for this room, user and client.
    Valid,
    /// It does not.
    Invalid,
}

/// Whether a client may subscribe.
///
/// The first of these that applies decides: a one-shot room is opened by its secret, which is not looked at
/// here, and by nothing else; a private room needs a token; a token alone decides; a
/// room whose name lists users is for them; then the namespace.
///
/// # Errors
/// Why not.
pub fn may_subscribe<'n>(
    room: &Room<'n, '_>,
    user: User<'_>,
    token: SubscriptionToken,
) -> Result<(), Denied<'n>> {
    if room.rules.oneshot.is_some() {
        return Err(Denied::new(room, Cause::OneShot));
    }
    if is_for_subscribe_hook(room, token) {
        return Err(Denied::new(room, Cause::Hook(Right::Subscribe)));
    }
    let cause = match (token, room.audience, room.rules.subscribe) {
        (SubscriptionToken::Valid, _, _) => return Ok(()),
        (SubscriptionToken::Invalid, _, _) => Cause::TokenInvalid,
        (SubscriptionToken::Missing, Audience::Private, _) => Cause::Private,
        (_, audience @ (Audience::Listed(_) | Audience::Owner(_)), _) => {
            match (audience.names(user.id()), audience) {
                (true, _) => return Ok(()),
                (false, Audience::Owner(_)) => Cause::NotOwner,
                (false, _) => Cause::NotListed,
            }
        }
        (_, Audience::Anyone, Subscribers::Token) => Cause::TokensOnly,
        (_, Audience::Anyone, Subscribers::Client(users)) => match user.is_in(users) {
            true => return Ok(()),
            false => Cause::NoUser(Right::Subscribe),
        },
    };
    Err(Denied::new(room, cause))
}

/// Whether a back end decides who may subscribe, and not [`may_subscribe`]: where the namespace says so, unless a token
/// came or the room's name says whom it is for.
pub fn is_for_subscribe_hook(room: &Room<'_, '_>, token: SubscriptionToken) -> bool {
    room.rules.subscribe_hook
        && room.rules.oneshot.is_none()
        && token == SubscriptionToken::Missing
        && room.audience == Audience::Anyone
}

/// Whether a back end decides what clients publish, and not [`may_publish`].
pub fn is_for_publish_hook(room: &Room<'_, '_>) -> bool {
    room.rules.publish_hook && room.rules.oneshot.is_none()
}

/// Whether a client may publish.
///
/// # Errors
/// Why not.
pub fn may_publish<'n>(
    room: &Room<'n, '_>,
    user: User<'_>,
    is_subscribed: bool,
) -> Result<(), Denied<'n>> {
    if is_for_publish_hook(room) {
        return Err(Denied::new(room, Cause::Hook(Right::Publish)));
    }
    permit(room, Right::Publish, user, is_subscribed)
}

/// Whether a client may read the history.
///
/// # Errors
/// Why not; first of all that there is none.
pub fn may_read_history<'n>(
    room: &Room<'n, '_>,
    user: User<'_>,
    is_subscribed: bool,
) -> Result<(), Denied<'n>> {
    if !room.rules.history.is_kept() && room.rules.oneshot.is_none() {
        return Err(Denied::new(room, Cause::HistoryOff));
    }
    permit(room, Right::ReadHistory, user, is_subscribed)
}

/// Whether a client may read the presence.
///
/// # Errors
/// Why not; first of all that there is none.
pub fn may_read_presence<'n>(
    room: &Room<'n, '_>,
    user: User<'_>,
    is_subscribed: bool,
) -> Result<(), Denied<'n>> {
    if !room.rules.presence {
        return Err(Denied::new(room, Cause::PresenceOff));
    }
    permit(room, Right::ReadPresence, user, is_subscribed)
}

fn permit<'n>(
    room: &Room<'n, '_>,
    right: Right,
    user: User<'_>,
    is_subscribed: bool,
) -> Result<(), Denied<'n>> {
    let cause = match right.who(room.rules) {
        _ if room.rules.oneshot.is_some() => Cause::OneShot,
        Who::Nobody => Cause::Nobody(right),
        Who::Subscriber(_) if !is_subscribed => Cause::NotSubscribed(right),
        Who::Subscriber(users) | Who::Client(users) if user.is_in(users) => return Ok(()),
        Who::Subscriber(_) | Who::Client(_) => Cause::NoUser(right),
    };
    Err(Denied::new(room, cause))
}

/// What a subscriber asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The position of each message.
    pub positioned: bool,
    /// What it has missed when it returns.
    pub recoverable: bool,
    /// Who comes and goes.
    pub join_leave: bool,
}

/// What a subscription has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Others see it in the presence, and are told when it comes and goes, if the room has that.
    pub is_present: bool,
    /// The position of each message. Recovery brings it along.
    pub positioned: bool,
    /// What it has missed when it returns.
    pub recoverable: bool,
    /// Who comes and goes.
    pub join_leave: bool,
}

/// What a client that may subscribe gets of what it asks for.
///
/// Positions and recovery are also for those who may read the history, and joins and leaves only for
/// those who may read the presence, unless the namespace forces them on everybody. Where the oldest
/// messages are dropped for a slow subscriber, or all but the latest of each key, there are no positions;
/// where there is no history,
/// there is no recovery. A token may set some of this for its subscription: `overrides` are those of
/// the subscription token, or of the connection token for a subscription that it brought.
pub fn take_effect(
    room: &Room<'_, '_>,
    user: User<'_>,
    asked: Asked,
    overrides: &Overrides,
) -> Granted {
    let rules = room.rules;
    let may = |right| permit(room, right, user, true).is_ok();
    let reads_history = rules.history.is_kept() && may(Right::ReadHistory);
    let has = |offer, forced: Option<bool>, is_asked| {
        let may_ask = offer != Offer::Off || reads_history;
        forced.unwrap_or(offer == Offer::Forced) || is_asked && may_ask
    };
    let has_keys = rules.kind == RoomKind::LatestPerKey;
    let has_positions = rules.overflow != Overflow::DropOldest && !has_keys;
    let recoverable = has_positions
        && rules.history.is_kept()
        && has(rules.recovery, overrides.force_recovery, asked.recoverable);
    let positioned = has(
        rules.positions,
        overrides.force_positioning,
        asked.positioned,
    );
    let is_told = overrides.force_push_join_leave;
    let is_told = is_told.unwrap_or(rules.join_leave == JoinLeave::Forced);
    let has_join_leave = rules.join_leave != JoinLeave::Off;
    let asks_join_leave = asked.join_leave && has_join_leave && may(Right::ReadPresence);
    Granted {
        is_present: overrides.presence.unwrap_or(rules.presence),
        recoverable,
        positioned: recoverable || has_positions && positioned,
        join_leave: !has_keys && (is_told || asks_join_leave),
    }
}

/// The name of a user's personal room in a namespace.
///
/// # Errors
/// When the user's id is such that the room would not be the user's alone.
pub fn personal_room(of: Label<'_>, user: User<'_>) -> Result<String, NoPersonalRoom> {
    let User::Named(id) = user else {
        return Err(NoPersonalRoom::NoUser);
    };
    let room = match of.0 {
        Some(namespace) => format!("{namespace}:#{id}"),
        None => format!("#{id}"),
    };
    // A comma would make it a room of two users, `#` one of another user, and `:` one of another
    // namespace.
    let name = Name::parse(&room)?;
    let is_own = name.namespace == of.0 && !id.contains(['#', ',']);
    is_own.then_some(room).ok_or(NoPersonalRoom::Separator)
}

/// Why a user has no personal room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPersonalRoom {
    /// There is no user.
    #[error("there is no user")]
    NoUser,
    /// The user's id has a character with a meaning in names of rooms.
    #[error(
        "the user's id has a `#` or a `,`, or without a namespace a `:`, which would make the \
         personal room another user's"
    )]
    Separator,
    /// No room can have such a name.
    #[error("the user's id makes no name of a room: {0}")]
    BadName(#[from] BadName),
}

/// Something that one may do in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Subscribe.
    Subscribe,
    /// Publish.
    Publish,
    /// Read the history.
    ReadHistory,
    /// Read the presence.
    ReadPresence,
}

impl Right {
    /// The key of the option that gives it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::ReadHistory => "read_history",
            Self::ReadPresence => "read_presence",
        }
    }

    /// Those who have it.
    fn people(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribers",
            Self::Publish => "publishers",
            Self::ReadHistory => "readers of the history",
            Self::ReadPresence => "readers of the presence",
        }
    }

    fn who(self, rules: &Namespace) -> Who {
        match self {
            Self::Subscribe => match rules.subscribe {
                Subscribers::Token => Who::Nobody,
                Subscribers::Client(users) => Who::Client(users),
            },
            Self::Publish => rules.publish,
            Self::ReadHistory => rules.read_history,
            Self::ReadPresence => rules.read_presence,
        }
    }
}

/// A refusal, with its cause and the setting that decides. It displays both, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denied<'n> {
    /// The namespace whose settings decide.
    pub of: Label<'n>,
    /// The cause.
    pub cause: Cause,
}

/// Why somebody may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The room is private, and no subscription token came.
    Private,
    /// A subscription token came that does not hold.
    TokenInvalid,
    /// The room's name lists users, and this is none of them.
    NotListed,
    /// The room is another user's personal one.
    NotOwner,
    /// No subscription token came, and nothing else opens the rooms.
    TokensOnly,
    /// Only who has a user has this right.
    NoUser(Right),
    /// Only subscribers have this right.
    NotSubscribed(Right),
    /// No client has this right.
    Nobody(Right),
    /// There is no history.
    HistoryOff,
    /// There is no presence.
    PresenceOff,
    /// Raw clients have no access.
    RawOff,
    /// Raw clients only listen.
    RawListens,
    /// The room is a one-shot room, which only its secret opens, and in which only a token publishes.
    OneShot,
    /// A back end decides about this right, and could not be asked here.
    Hook(Right),
}

/// What kind of answer a refusal deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client may not do it.
    PermissionDenied,
    /// The namespace does not have it, for anybody.
    NotAvailable,
}

impl<'n> Denied<'n> {
    pub(crate) fn new(room: &Room<'n, '_>, cause: Cause) -> Self {
        Self {
            of: room.label,
            cause,
        }
    }

    /// What kind of answer it deserves.
    pub fn kind(&self) -> Kind {
        match self.cause {
            Cause::HistoryOff | Cause::PresenceOff => Kind::NotAvailable,
            _ => Kind::PermissionDenied,
        }
    }
}

impl fmt::Display for Denied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of;
        match self.cause {
            Cause::Private => f.write_str(
                "no subscription token; the room's name begins with `$`, so that only such a token \
                 opens it",
            ),
            Cause::TokenInvalid => {
                f.write_str("the subscription token does not hold for this room")
            }
            Cause::NotListed => write!(
                f,
                "no subscription token; {of} has user_limited on, and the room's name does not list \
                 the user after its last `#`"
            ),
            Cause::NotOwner => write!(
                f,
                "no subscription token; {of} has personal on, and the room is another user's"
            ),
            Cause::TokensOnly => write!(f, "no subscription token; {of} has subscribe = \"token\""),
            Cause::NoUser(right) => write!(
                f,
                "no token, so no user; {of} has no anonymous {} ({})",
                right.people(),
                right.key()
            ),
            Cause::NotSubscribed(right) => write!(
                f,
                "not subscribed to the room; {of} has only subscribers as {} ({})",
                right.people(),
                right.key()
            ),
            Cause::Nobody(right) => write!(
                f,
                "{of} has no {} among clients ({} = \"nobody\")",
                right.people(),
                right.key()
            ),
            Cause::HistoryOff => write!(f, "{of} has no history (history_size = 0)"),
            Cause::PresenceOff => write!(f, "{of} has no presence (presence = false)"),
            Cause::OneShot => write!(
                f,
                "{of} has one-shot rooms (oneshot): the secret of a room opens it, and a subscription \
                 token with publish publishes there, as long as the room lives"
            ),
            Cause::Hook(right) => write!(
                f,
                "{of} has {} ({}_hook) that a back end chooses, and it is not asked about raw clients and \
                 about rooms in a connect command",
                right.people(),
                right.key()
            ),
            Cause::RawOff => write!(
                f,
                "{of} has no raw clients (raw = \"{}\")",
                crate::namespace::Raw::None.word()
            ),
            Cause::RawListens => write!(
                f,
                "{of} has no publishers among raw clients (raw = \"{}\")",
                crate::namespace::Raw::Subscribe.word()
            ),
        }
    }
}

#[cfg(test)]
mod tests;
