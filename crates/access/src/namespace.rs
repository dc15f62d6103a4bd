//! The rules of a namespace's rooms, as one plain value.

use std::time::Duration;

mod changes;
mod choice;
mod contradictions;
mod who;

pub use changes::{Effect, changed};
pub use choice::Choice;
pub use contradictions::Contradiction;
pub use who::{Subscribers, Users, Who, WhoError};

use choice::choice;

/// The most messages that a room's history may be configured to keep.
pub const HISTORY_SIZE_MAX: u32 = 10_000;

/// The most keys that a room may be configured to have.
pub const TABLE_KEYS_MAX: u32 = 10_000;

/// The most bytes of a key.
pub const KEY_BYTES_MAX: usize = 255;

/// The shortest life of a one-shot room: somebody has to read a code from a screen meanwhile.
pub const ONE_SHOT_LIFE_MIN: Duration = Duration::from_secs(5);

/// The longest life of a one-shot room.
pub const ONE_SHOT_LIFE_MAX: Duration = Duration::from_secs(600);

/// The rules of all rooms of one namespace, or of the rooms without one.
///
/// By default everything is off: only a subscription token lets somebody in, nobody publishes, and
/// nothing is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// What a room tells its subscribers.
    pub kind: RoomKind,
    /// What a room of [`RoomKind::LatestPerKey`] keeps.
    pub table: Table,
    /// What a room keeps of its messages.
    pub history: History,
    /// Whether subscribers are told the position of each message.
    pub positions: Offer,
    /// Whether a subscriber that returns gets what it has missed. It needs a history, and a
    /// subscription with recovery has positions, too.
    pub recovery: Offer,
    /// What a subscriber that returns gets.
    pub recovery_mode: RecoveryMode,
    /// Whether the server knows who is in a room.
    pub presence: bool,
    /// Whether subscribers are told who comes and goes.
    pub join_leave: JoinLeave,
    /// Whether the back end is told who comes and goes, and which rooms are occupied, if it is told of anything.
    pub events: bool,
    /// Who may subscribe without a subscription token.
    pub subscribe: Subscribers,
    /// Who may publish.
    pub publish: Who,
    /// Who may read the history.
    pub read_history: Who,
    /// Who may read the presence.
    pub read_presence: Who,
    /// Whether the text after the last `#` of a room's name lists the users whom the room is for.
    pub user_limited: bool,
    /// Whether each user has a room `#USER` of this namespace, and is subscribed to it at connect.
    pub personal: bool,
    /// The most bytes of a message. `None` leaves it to the bound of the whole server.
    pub message_bytes_max: Option<usize>,
    /// What a message must be.
    pub form: Form,
    /// How many messages a room takes, from all of its publishers.
    pub room_rate: Rate,
    /// How many messages a room takes from one user.
    pub user_rate: Rate,
    /// For how long a room's messages are gathered before they leave together; zero lets each leave at once.
    pub batch_interval: Duration,
    /// What becomes of a subscriber that reads too slowly.
    pub overflow: Overflow,
    /// What clients may do that speak no protocol of their own over their WebSocket.
    pub raw: Raw,
    /// For how long a one-shot room of this namespace lives. `None`: its rooms are no one-shot rooms.
    pub oneshot: Option<Duration>,
    /// Whether a back end decides who may subscribe without a subscription token.
    pub subscribe_hook: bool,
    /// Whether a back end decides what clients may publish.
    pub publish_hook: bool,
    /// Whether a back end decides which subscriptions go on when their time is over.
    pub sub_refresh_hook: bool,
}

/// What a room keeps of its messages: those within all three bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The most messages, up to [`HISTORY_SIZE_MAX`]; 0 keeps none.
    pub size: u32,
    /// The most bytes of all of them.
    pub bytes_max: usize,
    /// For how long a message is kept.
    pub ttl: Duration,
}

impl History {
    /// Whether anything is kept.
    pub fn is_kept(&self) -> bool {
        self.size > 0
    }
}

impl Default for History {
    /// None. One that is turned on has 1 MiB and five minutes.
    fn default() -> Self {
        Self {
            size: 0,
            bytes_max: 1 << 20,
            ttl: Duration::from_secs(5 * 60),
        }
    }
}

/// What a room of [`RoomKind::LatestPerKey`] keeps: the latest message of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The most keys, up to [`TABLE_KEYS_MAX`]; at least 1.
    pub keys_max: u32,
    /// The most bytes of all of them, with their messages.
    pub bytes_max: usize,
    /// How long a room that nobody uses keeps them.
    pub ttl: Duration,
}

impl Default for Table {
    /// 1,000 keys, which have as many bytes as fit into one answer, and five minutes.
    fn default() -> Self {
        Self {
            keys_max: 1_000,
            bytes_max: 512 << 10,
            ttl: Duration::from_secs(5 * 60),
        }
    }
}

/// Messages per second, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Messages per second; 0 means no bound.
    pub per_second: u32,
    /// Messages at once, before `per_second` applies; at least 1.
    pub burst: u32,
}

impl Rate {
    /// No bound; one that is turned on has this burst.
    pub const fn unbounded(burst: u32) -> Self {
        Self {
            per_second: 0,
            burst,
        }
    }

    /// Whether there is a bound.
    pub fn is_bounded(&self) -> bool {
        self.per_second > 0
    }
}

choice! {
    /// What a room tells its subscribers.
    RoomKind {
        /// Every message, in order.
        Messages = "messages",
        /// The latest message of each key: all of them to who comes, and to who reads too slowly for every
        /// message the newest of each key.
        LatestPerKey = "latest_per_key",
    }
}

choice! {
    /// Whether subscribers have something.
    Offer {
        /// Nobody has it, unless they may read the history and ask for it.
        Off = "off",
        /// Who asks for it.
        Allowed = "allowed",
        /// All subscribers.
        Forced = "forced",
    }
}

choice! {
    /// What a subscriber that returns gets.
    RecoveryMode {
        /// Every message that it has missed.
        Stream = "stream",
        /// The latest message, if it does not have it yet.
        Cache = "cache",
    }
}

choice! {
    /// Whether subscribers are told who comes and goes.
    JoinLeave {
        /// Nobody is told.
        Off = "off",
        /// Who asks for it and may read the presence.
        Asked = "asked",
        /// All subscribers.
        Forced = "forced",
    }
}

choice! {
    /// What a message must be.
    Form {
        /// Anything but nothing.
        Any = "any",
        /// A JSON value.
        Json = "json",
        /// A JSON object.
        JsonObject = "json_object",
        /// Bytes that nobody looks at, empty ones too.
        Binary = "binary",
    }
}

choice! {
    /// What becomes of a subscriber that reads too slowly.
    Overflow {
        /// It loses the room, or its connection.
        Disconnect = "disconnect",
        /// It loses the oldest messages that it has not had yet. This needs subscriptions without
        /// positions, since a position says which message comes next.
        DropOldest = "drop_oldest",
    }
}

choice! {
    /// What clients may do that speak no protocol of their own over their WebSocket.
    Raw {
        /// Nothing.
        None = "none",
        /// Subscribe, where every other rule permits it too.
        Subscribe = "subscribe",
        /// Subscribe and publish, where every other rule permits it too.
        Publish = "publish",
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            kind: RoomKind::Messages,
            table: Table::default(),
            history: History::default(),
            positions: Offer::Off,
            recovery: Offer::Off,
            recovery_mode: RecoveryMode::Stream,
            presence: false,
            join_leave: JoinLeave::Off,
            events: true,
            subscribe: Subscribers::Token,
            publish: Who::Nobody,
            read_history: Who::Nobody,
            read_presence: Who::Nobody,
            user_limited: false,
            personal: false,
            message_bytes_max: None,
            form: Form::Any,
            room_rate: Rate::unbounded(200),
            user_rate: Rate::unbounded(50),
            batch_interval: Duration::ZERO,
            overflow: Overflow::Disconnect,
            raw: Raw::None,
            oneshot: None,
            subscribe_hook: false,
            publish_hook: false,
            sub_refresh_hook: false,
        }
    }
}

impl Namespace {
    /// The rules of a server for which nobody has configured any: everybody may enter every room and
    /// publish there, and nothing is kept.
    pub fn open() -> Self {
        Self {
            subscribe: Subscribers::Client(Users::AnonymousToo),
            publish: Who::Client(Users::AnonymousToo),
            raw: Raw::Publish,
            ..Self::default()
        }
    }

    /// The rules for developing on one's own machine: [`open`](Self::open), with a history of 100
    /// messages and five minutes, positions, recovery and presence for everybody.
    pub fn dev() -> Self {
        let everybody = Who::Client(Users::AnonymousToo);
        Self {
            history: History {
                size: 100,
                ..History::default()
            },
            positions: Offer::Allowed,
            recovery: Offer::Allowed,
            presence: true,
            join_leave: JoinLeave::Asked,
            read_history: everybody,
            read_presence: everybody,
            ..Self::open()
        }
    }

    /// The same rules, with what follows from them. A one-shot room has one message, which it keeps for its
    /// life, so that a page which is loaded again still gets it.
    #[must_use]
    pub fn with_consequences(self) -> Self {
        let Some(life) = self.oneshot else {
            return self;
        };
        Self {
            history: History {
                size: 1,
                bytes_max: usize::MAX,
                ttl: life,
            },
            positions: Offer::Forced,
            recovery: Offer::Forced,
            ..self
        }
    }

    /// The same rules, with all rights given to everybody, so that there is nothing to ask a back end. What a room
    /// keeps, and whether raw clients have access, stays as it is.
    #[must_use]
    pub fn with_all_rights(&self) -> Self {
        let everybody = Who::Client(Users::AnonymousToo);
        Self {
            subscribe: Subscribers::Client(Users::AnonymousToo),
            publish: everybody,
            read_history: everybody,
            read_presence: everybody,
            subscribe_hook: false,
            publish_hook: false,
            sub_refresh_hook: false,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_are_built_in_have_no_contradiction() {
        for rules in [Namespace::default(), Namespace::open(), Namespace::dev()] {
            assert!(rules.contradictions().next().is_none(), "{rules:?}");
        }
    }

    #[test]
    fn one_shot_room_keeps_its_message_for_its_life_and_others_what_they_say() {
        let life = Duration::from_secs(60);
        let rules = Namespace {
            oneshot: Some(life),
            ..Namespace::default()
        };
        let rules = rules.with_consequences();
        assert_eq!((rules.history.size, rules.history.ttl), (1, life));
        assert!(rules.recovery == Offer::Forced && rules.positions == Offer::Forced);
        let others = Namespace::dev();
        assert_eq!(others.clone().with_consequences(), others);
    }

    #[test]
    fn choice_is_read_back_from_its_word() {
        fn check<T: Choice + std::fmt::Debug>() {
            for (word, choice, meaning) in T::ALL {
                assert_eq!(T::from_word(word), Some(*choice));
                assert_eq!(choice.word(), *word);
                assert!(meaning.trim().ends_with('.'), "{meaning}");
            }
            assert_eq!(T::from_word("potatoes"), None);
        }
        check::<RoomKind>();
        check::<Offer>();
        check::<RecoveryMode>();
        check::<JoinLeave>();
        check::<Form>();
        check::<Overflow>();
        check::<Raw>();
    }
}
