//! All namespaces: which of them a room belongs to, and how they change.

use std::{fmt, sync::Arc, time::Duration};

use crate::namespace::{Contradiction, Effect, changed};
use crate::room::check_length;
use crate::{Audience, BadName, Name, Namespace, NoPersonalRoom, Room, User, personal_room};

/// The most namespaces, beside the rooms without one.
pub const NAMESPACES_MAX: usize = 256;

/// The most bytes of a namespace's name.
const NAME_BYTES_MAX: usize = 64;

/// The rules of all rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// `$`, `:` and `#` mean nothing: these rules hold for every room. Names need not be ASCII.
    Open(Arc<Namespace>),
    /// Each room's name says which rules hold for it.
    Ruled(Ruled),
}

/// The rules of the rooms of each namespace, and of those without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    rooms: Arc<Namespace>,
    /// Sorted by name.
    named: Vec<(Box<str>, Arc<Namespace>)>,
}

/// Why there is no room of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The text is no room's name.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// Its namespace is not configured.
    #[error("the namespace of this room is not configured")]
    UnknownNamespace,
}

/// Why a text cannot be a namespace's name. The message includes a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It has less than two bytes.
    #[error("a namespace's name has at least 2 characters: write a longer one")]
    TooShort,
    /// It has more than 64 bytes.
    #[error("a namespace's name has at most 64 characters: write a shorter one")]
    TooLong,
    /// It has a character that no namespace has.
    #[error(
        "a namespace's name has only letters of ASCII, digits, `-`, `_` and `.`: leave {0:?} out"
    )]
    Character(char),
}

/// Why these are no namespaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are more than [`NAMESPACES_MAX`].
    #[error("there are {0} namespaces, and at most 256 are possible: merge those with equal rules")]
    TooMany(usize),
    /// Two have the same name.
    #[error("there are two namespaces `{0}`: give one of them another name")]
    Twice(Box<str>),
    /// One has a bad name.
    #[error("{name:?} cannot be a namespace: {unfit}")]
    Name {
        /// The name.
        name: Box<str>,
        /// Why not.
        unfit: Unfit,
    },
    /// The options of one contradict each other.
    #[error("{of}: {} contradicts {}: {}", contradiction.keys[0], contradiction.keys[1], contradiction.reason)]
    Contradiction {
        /// Whose options.
        of: Box<str>,
        /// What is wrong with them.
        contradiction: Contradiction,
    },
}

/// Checks whether a namespace may have this name: 2 to 64 letters of ASCII, digits, `-`, `_` and `.`.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), Unfit> {
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    match (name.chars().find(|it| !fits(*it)), name.len()) {
        (Some(character), _) => Err(Unfit::Character(character)),
        (None, 0..=1) => Err(Unfit::TooShort),
        (None, 2..=NAME_BYTES_MAX) => Ok(()),
        (None, _) => Err(Unfit::TooLong),
    }
}

impl Namespaces {
    /// Whether one set of rules holds for every room.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// The rules of the rooms without a namespace, and of the namespaces.
    ///
    /// # Errors
    /// When a name is bad or stands there twice, options contradict each other, or there are too many.
    pub fn ruled(rooms: Namespace, named: Vec<(Box<str>, Namespace)>) -> Result<Self, Refused> {
        if named.len() > NAMESPACES_MAX {
            return Err(Refused::TooMany(named.len()));
        }
        check_options(Label(None), &rooms)?;
        for (name, rules) in &named {
            check_name(name).map_err(|unfit| Refused::Name {
                name: name.clone(),
                unfit,
            })?;
            check_options(Label(Some(name)), rules)?;
        }
        let shared = named
            .into_iter()
            .map(|(name, rules)| (name, Arc::new(rules.with_consequences())));
        let mut named: Vec<_> = shared.collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let Some(pair) = named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Refused::Twice(pair[0].0.clone()));
        }
        let rooms = Arc::new(rooms.with_consequences());
        Ok(Self::Ruled(Ruled { rooms, named }))
    }

    /// The same, with all rights given to everybody, without a token: for servers that ask nobody who they are.
    /// What names say stays: `$` takes a token, and `#` lists users.
    #[must_use]
    pub fn with_all_rights(&self) -> Self {
        let open = |rules: &Arc<Namespace>| Arc::new(rules.with_all_rights());
        match self {
            Self::Open(rules) => Self::Open(open(rules)),
            Self::Ruled(Ruled { rooms, named }) => {
                let named = named
                    .iter()
                    .map(|(name, rules)| (name.clone(), open(rules)));
                Self::Ruled(Ruled {
                    rooms: open(rooms),
                    named: named.collect(),
                })
            }
        }
    }

    /// The rules that hold for the room of this name, and whom the name lets in. It allocates nothing.
    ///
    /// # Errors
    /// When the text is no room's name, or its namespace is not configured.
    pub fn of<'n, 'r>(&'n self, room: &'r str) -> Result<Room<'n, 'r>, NoRoom> {
        let ruled = match self {
            Self::Ruled(ruled) => ruled,
            Self::Open(rules) => {
                check_length(room)?;
                return Ok(Room {
                    rules,
                    label: Label(None),
                    audience: Audience::Anyone,
                });
            }
        };
        let name = Name::parse(room)?;
        let (label, rules) = match name.namespace {
            None => (Label(None), &ruled.rooms),
            Some(namespace) => ruled.named(namespace).ok_or(NoRoom::UnknownNamespace)?,
        };
        Ok(Room {
            rules,
            label,
            audience: name.audience(rules),
        })
    }

    /// For how long a one-shot room of this namespace lives; `None` if there is no such namespace, or its
    /// rooms are no one-shot rooms.
    pub fn one_shot_life(&self, namespace: &str) -> Option<Duration> {
        match self {
            Self::Open(_) => None,
            Self::Ruled(ruled) => ruled.named(namespace)?.1.oneshot,
        }
    }

    /// Whether the room of this name is a one-shot room, or would be one if it existed.
    pub fn is_one_shot(&self, room: &str) -> bool {
        self.of(room).is_ok_and(|room| room.rules.oneshot.is_some())
    }

    /// The rules of each namespace, and of the rooms without one.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        let (open, ruled) = match self {
            Self::Open(rules) => (Some(rules), None),
            Self::Ruled(ruled) => (None, Some(ruled)),
        };
        let ruled = ruled.into_iter().flat_map(Ruled::all);
        open.into_iter().chain(ruled.map(|(_, rules)| rules))
    }

    /// The personal rooms of a user, to which it is subscribed at connect; or why it has none where
    /// the configuration gives everybody one.
    pub fn personal_rooms<'n>(
        &'n self,
        user: User<'n>,
    ) -> impl Iterator<Item = Result<String, NoPersonalRoom>> + 'n {
        let ruled = match self {
            Self::Open(_) => None,
            Self::Ruled(ruled) => Some(ruled),
        };
        let all = ruled.into_iter().flat_map(Ruled::all);
        all.filter(move |(_, rules)| rules.personal && user != User::Anonymous)
            .map(move |(label, _)| personal_room(label, user))
    }

    /// What differs between two configurations, and what it does to rooms and subscribers that exist.
    pub fn changes<'n>(old: &'n Self, new: &'n Self) -> Vec<Change<'n>> {
        let (old, new) = match (old, new) {
            (Self::Open(old), Self::Open(new)) => return options(Label(None), old, new),
            (Self::Open(_), Self::Ruled(_)) => return vec![Change::of_all(What::Closed)],
            (Self::Ruled(_), Self::Open(_)) => return vec![Change::of_all(What::Opened)],
            (Self::Ruled(old), Self::Ruled(new)) => (old, new),
        };
        let mut changes = options(Label(None), &old.rooms, &new.rooms);
        for (name, rules) in &old.named {
            let label = Label(Some(name));
            match new.named(name) {
                Some((_, now)) => changes.extend(options(label, rules, now)),
                None => changes.push(Change::new(label, What::Removed)),
            }
        }
        let added = new
            .named
            .iter()
            .filter(|(name, _)| old.named(name).is_none());
        changes.extend(added.map(|(name, _)| Change::new(Label(Some(name)), What::Added)));
        changes
    }
}

impl Ruled {
    fn named(&self, name: &str) -> Option<(Label<'_>, &Arc<Namespace>)> {
        let at = self
            .named
            .binary_search_by(|(known, _)| (**known).cmp(name));
        let (name, rules) = self.named.get(at.ok()?)?;
        Some((Label(Some(name)), rules))
    }

    fn all(&self) -> impl Iterator<Item = (Label<'_>, &Arc<Namespace>)> {
        let rooms = std::iter::once((Label(None), &self.rooms));
        let named = self.named.iter();
        rooms.chain(named.map(|(name, rules)| (Label(Some(name)), rules)))
    }
}

fn check_options(label: Label<'_>, rules: &Namespace) -> Result<(), Refused> {
    let refused = |contradiction| Refused::Contradiction {
        of: label.to_string().into(),
        contradiction,
    };
    rules
        .contradictions()
        .next()
        .map_or(Ok(()), |it| Err(refused(it)))
}

fn options<'n>(label: Label<'n>, old: &Namespace, new: &Namespace) -> Vec<Change<'n>> {
    let options = changed(old, new).into_iter();
    options
        .map(|(key, effect)| Change::new(label, What::Option { key, effect }))
        .collect()
}

/// A namespace, for people; `None` means the rooms without one, which the table `[rooms]` of the
/// configuration is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'n>(pub Option<&'n str>);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "namespace `{name}`"),
            None => f.write_str("`[rooms]`"),
        }
    }
}

/// A difference between two configurations of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'n> {
    /// Whose rules differ.
    pub of: Label<'n>,
    /// What differs.
    pub what: What,
}

/// What differs between two configurations of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An option.
    Option {
        /// Its key.
        key: &'static str,
        /// What the change does.
        effect: Effect,
    },
    /// The namespace is new. It has no rooms yet.
    Added,
    /// The namespace is gone.
    Removed,
    /// `$`, `:` and `#` have got a meaning.
    Closed,
    /// `$`, `:` and `#` have lost their meaning.
    Opened,
}

impl<'n> Change<'n> {
    fn new(of: Label<'n>, what: What) -> Self {
        Self { of, what }
    }

    /// A change of what names mean, which concerns all rooms.
    fn of_all(what: What) -> Self {
        Self::new(Label(None), what)
    }

    /// What the change does to rooms and subscribers that exist. When names get another meaning, all
    /// of them begin anew.
    pub fn effect(&self) -> Effect {
        match self.what {
            What::Option { effect, .. } => effect,
            What::Added => Effect::Kept,
            What::Removed | What::Closed | What::Opened => Effect::Unsubscribed,
        }
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of;
        match self.what {
            What::Option { key, effect } => {
                let effect = match effect {
                    Effect::Kept => "rooms and subscribers stay as they are",
                    Effect::Trimmed => "what rooms keep beyond it is dropped",
                    Effect::Unsubscribed => "subscribers are unsubscribed and may come again",
                };
                write!(f, "{of}: {key} has changed: {effect}")
            }
            What::Added => write!(f, "{of} is new"),
            What::Removed => write!(f, "{of} is gone: its subscribers are unsubscribed"),
            What::Closed => f.write_str(
                "`$`, `:` and `#` in names of rooms mean something now: all subscribers are \
                 unsubscribed and may come again",
            ),
            What::Opened => f.write_str(
                "`$`, `:` and `#` in names of rooms mean nothing any more: all subscribers are \
                 unsubscribed and may come again",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Offer;

    fn personal() -> Namespace {
        Namespace {
            personal: true,
            ..Namespace::default()
        }
    }

    fn with_presence() -> Namespace {
        Namespace {
            presence: true,
            ..Namespace::default()
        }
    }

    fn ruled(named: &[(&str, Namespace)]) -> Namespaces {
        let named = named.iter().cloned();
        let named = named.map(|(name, rules)| (name.into(), rules)).collect();
        Namespaces::ruled(Namespace::default(), named).unwrap()
    }

    #[test]
    fn room_has_the_rules_of_its_namespace() {
        let namespaces = ruled(&[("chat", with_presence()), ("a.b-c_1", personal())]);
        let found = |room| {
            let room = namespaces.of(room)?;
            Ok((room.label.0, room.rules.presence, room.rules.personal))
        };
        assert_eq!(found("lobby"), Ok((None, false, false)));
        assert_eq!(found("chat:index"), Ok((Some("chat"), true, false)));
        assert_eq!(found("$chat:index"), Ok((Some("chat"), true, false)));
        assert_eq!(found("a.b-c_1:x"), Ok((Some("a.b-c_1"), false, true)));
        assert_eq!(found("chat"), Ok((None, false, false)));
        for unknown in ["chats:x", "cha:x", ":x", "Chat:x", "#chat:x", "$$chat:x"] {
            assert_eq!(found(unknown), Err(NoRoom::UnknownNamespace), "{unknown}");
        }
        assert_eq!(found(""), Err(NoRoom::BadName(BadName::Empty)));
        assert_eq!(found("é"), Err(NoRoom::BadName(BadName::NotAscii)));
    }

    #[test]
    fn names_mean_nothing_in_an_open_world() {
        let namespaces = Namespaces::Open(Arc::new(Namespace::open()));
        for name in ["lobby", "chat:x", "$x", "#42", "café"] {
            let room = namespaces.of(name).unwrap();
            assert_eq!(room.audience, Audience::Anyone);
            assert_eq!(**room.rules, Namespace::open());
        }
        assert!(namespaces.of("").is_err());
        assert!(namespaces.of(&"x".repeat(256)).is_err());
    }

    #[test]
    fn namespaces_that_are_wrong_are_refused() {
        let check = |named: &[(&str, Namespace)], words: &str| {
            let named = named.iter().cloned();
            let named = named.map(|(name, rules)| (name.into(), rules)).collect();
            let refused = Namespaces::ruled(Namespace::default(), named).unwrap_err();
            let message = refused.to_string();
            assert!(message.contains(words), "{words} is not in {message}");
        };
        let plain = Namespace::default;
        check(&[("x", plain())], "at least 2");
        check(&[("", plain())], "at least 2");
        check(&[(&"x".repeat(65), plain())], "at most 64");
        check(&[("a:b", plain())], "leave ':' out");
        check(&[("chät", plain())], "leave 'ä' out");
        check(
            &[("chat", plain()), ("chat", plain())],
            "two namespaces `chat`",
        );
        let contradictory = Namespace {
            recovery: Offer::Forced,
            ..plain()
        };
        check(
            &[("chat", contradictory)],
            "namespace `chat`: recovery contradicts history_size",
        );
        let names: Vec<_> = (0..257).map(|number| format!("n{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), plain())).collect();
        check(&many, "257 namespaces");
        ruled(&many[..256]);
        ruled(&[(&"x".repeat(64), plain())]);
    }

    #[test]
    fn namespace_is_found_among_the_most_that_are_possible() {
        let names: Vec<_> = (0..256).map(|number| format!("n{number}")).collect();
        let rules = |number: usize| Namespace {
            message_bytes_max: Some(number),
            ..Namespace::default()
        };
        let all = names.iter().enumerate();
        let all: Vec<_> = all
            .map(|(number, name)| (name.as_str(), rules(number)))
            .collect();
        let namespaces = ruled(&all);
        for (number, name) in names.iter().enumerate() {
            let room = format!("{name}:x");
            let found = namespaces.of(&room).unwrap();
            assert_eq!(found.rules.message_bytes_max, Some(number));
        }
    }

    #[test]
    fn personal_rooms_are_those_of_all_namespaces_that_have_them() {
        let named = vec![
            ("chat".into(), personal()),
            ("news".into(), Namespace::default()),
        ];
        let namespaces = Namespaces::ruled(personal(), named).unwrap();
        let rooms = |user| {
            let rooms = namespaces.personal_rooms(User::of(user));
            rooms
                .map(|room| room.unwrap_or_else(|why| why.to_string()))
                .collect::<Vec<_>>()
        };
        assert_eq!(rooms("42"), ["#42", "chat:#42"]);
        assert_eq!(rooms(""), [""; 0]);
        // Each room that somebody is given is one that nobody else may open.
        for room in rooms("42") {
            assert_eq!(
                namespaces.of(&room).unwrap().audience,
                Audience::Owner("42")
            );
        }
        let open = Namespaces::Open(Arc::new(personal()));
        assert_eq!(open.personal_rooms(User::of("42")).count(), 0);
    }

    #[test]
    fn one_shot_rooms_are_those_of_namespaces_that_say_so() {
        let life = Duration::from_secs(60);
        let login = Namespace {
            oneshot: Some(life),
            ..Namespace::default()
        };
        let namespaces = ruled(&[("login", login), ("chat", personal())]);
        assert_eq!(namespaces.one_shot_life("login"), Some(life));
        for other in ["chat", "nowhere", "", "login:x"] {
            assert_eq!(namespaces.one_shot_life(other), None, "{other}");
        }
        assert!(namespaces.is_one_shot("login:x") && namespaces.is_one_shot("$login:x"));
        assert!(!namespaces.is_one_shot("chat:x") && !namespaces.is_one_shot("login"));
        let open = Namespaces::Open(Arc::new(Namespace::open()));
        assert_eq!(open.one_shot_life("login"), None);
    }

    #[test]
    fn changes_are_told_by_namespace() {
        let old = ruled(&[("chat", with_presence()), ("gone", personal())]);
        let new = ruled(&[("chat", Namespace::default()), ("newer", personal())]);
        let told = |old, new| {
            let changes = Namespaces::changes(old, new);
            let told = changes.iter().map(|it| (it.to_string(), it.effect()));
            told.collect::<Vec<_>>()
        };
        assert_eq!(
            told(&old, &new),
            [
                (
                    "namespace `chat`: presence has changed: what rooms keep beyond it is dropped"
                        .to_owned(),
                    Effect::Trimmed
                ),
                (
                    "namespace `gone` is gone: its subscribers are unsubscribed".to_owned(),
                    Effect::Unsubscribed
                ),
                ("namespace `newer` is new".to_owned(), Effect::Kept),
            ]
        );
        assert_eq!(told(&new, &new), []);
        let open = Namespaces::Open(Arc::new(Namespace::open()));
        let dev = Namespaces::Open(Arc::new(Namespace::dev()));
        for (one, other, what) in [(&open, &new, What::Closed), (&new, &open, What::Opened)] {
            let changes = Namespaces::changes(one, other);
            assert_eq!(changes, [Change::of_all(what)]);
            assert_eq!(changes[0].effect(), Effect::Unsubscribed);
        }
        let history = &Namespaces::changes(&open, &dev)[0];
        let effect = Effect::Kept;
        let key = "history_size";
        assert_eq!(history.what, What::Option { key, effect });
    }
}
