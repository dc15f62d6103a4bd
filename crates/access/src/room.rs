//! A room's name, and what its separators mean: `$` private, `:` namespace, `#` users.

use std::sync::Arc;

use crate::{Label, Namespace};

/// The longest name of a room, in bytes.
pub const ROOM_BYTES_MAX: usize = 255;

/// Why a text is no room's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It is empty.
    #[error("a room's name must not be empty")]
    Empty,
    /// It is longer than [`ROOM_BYTES_MAX`].
    #[error("a room's name has at most 255 bytes")]
    TooLong,
    /// It has other characters than ASCII.
    #[error("a room's name must be ASCII")]
    NotAscii,
}

/// A room's name, cut at its separators: `$chat:dialog#42,43`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'r> {
    /// Whether it begins with `$`: only a subscription token opens the room.
    pub is_private: bool,
    /// The text before the first `:`, without the `$`.
    pub namespace: Option<&'r str>,
    /// What follows the namespace.
    pub rest: &'r str,
}

impl<'r> Name<'r> {
    /// Cuts a name.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn parse(name: &'r str) -> Result<Self, BadName> {
        check_length(name)?;
        if !name.is_ascii() {
            return Err(BadName::NotAscii);
        }
        let (is_private, public) = match name.strip_prefix('$') {
            Some(public) => (true, public),
            None => (false, name),
        };
        let (namespace, rest) = match public.split_once(':') {
            Some((namespace, rest)) => (Some(namespace), rest),
            None => (None, public),
        };
        Ok(Self {
            is_private,
            namespace,
            rest,
        })
    }

    /// Whom the name lets in under these rules.
    pub fn audience(&self, rules: &Namespace) -> Audience<'r> {
        if self.is_private {
            return Audience::Private;
        }
        let users = self.rest.rsplit_once('#').map(|(_, users)| users);
        match (users, self.rest.strip_prefix('#')) {
            (Some(users), _) if rules.user_limited => Audience::Listed(users),
            (_, Some(user)) if rules.personal => Audience::Owner(user),
            _ => Audience::Anyone,
        }
    }
}

/// The rules for names that hold whatever `$`, `:` and `#` mean.
pub(crate) fn check_length(name: &str) -> Result<(), BadName> {
    match name.len() {
        0 => Err(BadName::Empty),
        1..=ROOM_BYTES_MAX => Ok(()),
        _ => Err(BadName::TooLong),
    }
}

/// Whom a room's name lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'r> {
    /// The name excludes nobody: the namespace decides.
    Anyone,
    /// Holders of a subscription token, and nobody else.
    Private,
    /// Also these users, separated by commas, and nobody else.
    Listed(&'r str),
    /// Also this user, whose personal room it is, and nobody else.
    Owner(&'r str),
}

impl Audience<'_> {
    /// Whether the name lets this user in; the empty text, which is nobody, is never let in.
    pub fn names(&self, user: &str) -> bool {
        !user.is_empty()
            && match self {
                Self::Listed(users) => users.split(',').any(|listed| listed == user),
                Self::Owner(owner) => *owner == user,
                Self::Anyone | Self::Private => false,
            }
    }
}

/// A room: the rules that hold for it, and whom its name lets in.
#[derive(Clone, Copy, Debug)]
pub struct Room<'n, 'r> {
    /// The rules of its namespace.
    pub rules: &'n Arc<Namespace>,
    /// Its namespace, for people.
    pub label: Label<'n>,
    /// Whom its name lets in.
    pub audience: Audience<'r>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(user_limited: bool, personal: bool) -> Namespace {
        Namespace {
            user_limited,
            personal,
            ..Namespace::default()
        }
    }

    #[track_caller]
    fn check(name: &str, is_private: bool, namespace: Option<&str>, rest: &str) {
        let expected = Name {
            is_private,
            namespace,
            rest,
        };
        assert_eq!(Name::parse(name), Ok(expected), "{name}");
    }

    #[test]
    fn name_is_cut_at_its_separators() {
        check("lobby", false, None, "lobby");
        check("chat:index", false, Some("chat"), "index");
        check("$chat:x", true, Some("chat"), "x");
        check("chat:a:b", false, Some("chat"), "a:b");
        check("chat:", false, Some("chat"), "");
        check(":x", false, Some(""), "x");
        check("$", true, None, "");
        check("$$x", true, None, "$x");
        check("a$b:c", false, Some("a$b"), "c");
        check("#a:b", false, Some("#a"), "b");
    }

    #[test]
    fn name_that_is_bad_is_refused() {
        for (name, error) in [
            ("".to_owned(), BadName::Empty),
            ("x".repeat(256), BadName::TooLong),
            ("é".repeat(128), BadName::TooLong),
            ("caf\u{e9}".to_owned(), BadName::NotAscii),
        ] {
            assert_eq!(Name::parse(&name), Err(error));
        }
        assert!(Name::parse(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn audience_depends_on_name_and_rules() {
        let listed = Audience::Listed;
        for (name, user_limited, personal, audience) in [
            ("dialog#42,43", true, false, listed("42,43")),
            ("dialog#42,43", false, false, Audience::Anyone),
            ("dialog#42,43", false, true, Audience::Anyone),
            ("a#b#c", true, true, listed("c")),
            ("chat:d#1", true, false, listed("1")),
            ("dialog#", true, false, listed("")),
            ("#42", false, true, Audience::Owner("42")),
            ("#42", true, true, listed("42")),
            ("#42", false, false, Audience::Anyone),
            ("chat:#42", false, true, Audience::Owner("42")),
            ("#42,43", false, true, Audience::Owner("42,43")),
            ("$d#1", true, true, Audience::Private),
            ("$x", false, false, Audience::Private),
            ("x", true, true, Audience::Anyone),
        ] {
            let parsed = Name::parse(name).unwrap();
            let rules = rules(user_limited, personal);
            assert_eq!(parsed.audience(&rules), audience, "{name}");
        }
    }

    #[test]
    fn nobody_is_named_by_an_empty_entry() {
        for users in ["", ",", "42,", ",42"] {
            assert!(!Audience::Listed(users).names(""), "{users}");
        }
        assert!(!Audience::Owner("").names(""));
        assert!(Audience::Listed(",42").names("42"));
        assert!(!Audience::Listed("42").names("4"));
        assert!(!Audience::Owner("42,43").names("42"));
    }

    /// The same cut, one character after the other.
    fn naive(name: &str) -> (bool, Option<String>, String, Option<String>) {
        let mut letters: Vec<char> = name.chars().collect();
        let is_private = letters.first() == Some(&'$');
        if is_private {
            letters.remove(0);
        }
        let at = (0..letters.len()).find(|at| letters[*at] == ':');
        let namespace = at.map(|at| letters[..at].iter().collect());
        let rest: Vec<char> = letters[at.map_or(0, |at| at + 1)..].to_vec();
        let last = (0..rest.len()).rev().find(|at| rest[*at] == '#');
        let users = last.map(|at| rest[at + 1..].iter().collect());
        (is_private, namespace, rest.iter().collect(), users)
    }

    proptest! {
        #[test]
        fn names_are_cut_as_a_naive_reader_does(name in "[$:#,ab é]{0,12}") {
            let parsed = Name::parse(&name);
            prop_assert_eq!(parsed.is_ok(), !name.is_empty() && name.is_ascii());
            if let Ok(parsed) = parsed {
                let (is_private, namespace, rest, users) = naive(&name);
                prop_assert_eq!(parsed.is_private, is_private);
                prop_assert_eq!(parsed.namespace, namespace.as_deref());
                prop_assert_eq!(parsed.rest, rest);
                let audience = match (is_private, users.as_deref()) {
                    (true, _) => Audience::Private,
                    (false, Some(users)) => Audience::Listed(users),
                    (false, None) => Audience::Anyone,
                };
                prop_assert_eq!(parsed.audience(&rules(true, false)), audience);
            }
        }
    }
}
