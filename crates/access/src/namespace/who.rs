//! Who may do something: sets of people, and how a configuration writes them.

/// Which clients a right includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Users {
    /// Those that have a user.
    Named,
    /// Also those without one.
    AnonymousToo,
}

/// Who may subscribe without a subscription token. With one, the token alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subscribers {
    /// Nobody: it takes a token.
    Token,
    /// Clients.
    Client(Users),
}

/// Who may publish, or read the history or the presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Nobody but the server itself and its API.
    Nobody,
    /// Subscribers of the room.
    Subscriber(Users),
    /// Clients, whether they are subscribed or not.
    Client(Users),
}

/// Why words are no set of people. The message includes a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhoError {
    /// There are no words.
    #[error("it names nobody: write \"{0}\"")]
    Empty(&'static str),
    /// A word that has no meaning here.
    #[error("\"{word}\" is nobody that it may name: the words are {known}")]
    Unknown {
        /// The word.
        word: String,
        /// The words that have one.
        known: String,
    },
    /// A word stands there twice.
    #[error("it has \"{0}\" twice: write it once")]
    Twice(String),
    /// `anonymous` alone.
    #[error(
        "\"anonymous\" alone would shut out those who have a user: write [\"client\", \"anonymous\"]"
    )]
    AnonymousAlone,
    /// `subscriber` beside `client`.
    #[error(
        "\"client\" includes all subscribers: leave \"subscriber\" out, or \"client\" if only \
         subscribers may"
    )]
    SubscriberBesideClient,
    /// A word that only makes sense alone.
    #[error("\"{0}\" excludes all others: write it alone, or leave it out")]
    NotAlone(&'static str),
    /// `subscriber` as the right to subscribe.
    #[error("a subscriber has subscribed already: write \"client\" or \"token\"")]
    SubscriberSubscribes,
    /// `nobody` as the right to subscribe.
    #[error(
        "a subscription token opens a room whatever is written here, so nobody is shut out: write \
         \"token\""
    )]
    NobodySubscribes,
    /// `token` as another right.
    #[error(
        "subscription tokens say who may subscribe, and nothing else: write \"subscriber\", and let \
         tokens decide who becomes one"
    )]
    TokenElsewhere,
}

impl Subscribers {
    /// The words that say this, with meanings for people.
    pub const WORDS: &'static [(&'static str, &'static str)] = &[
        ("token", "only who has a subscription token"),
        ("client", "clients that have a user"),
        ("anonymous", "beside \"client\": also those without one"),
    ];

    /// Reads a set.
    ///
    /// # Errors
    /// When the words contradict each other or are none: the message has a remedy.
    pub fn from_words<T: AsRef<str>>(words: &[T]) -> Result<Self, WhoError> {
        let set = Set::read(words, Self::WORDS, |word| match word {
            "subscriber" => Some(WhoError::SubscriberSubscribes),
            "nobody" => Some(WhoError::NobodySubscribes),
            _ => None,
        })?;
        match (set.alone("token")?, set.users()) {
            (true, _) => Ok(Self::Token),
            (false, Some(users)) if set.has("client") => Ok(Self::Client(users)),
            (false, None) => Err(WhoError::Empty("token")),
            (false, Some(_)) => Err(WhoError::AnonymousAlone),
        }
    }

    /// The words that say this set.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Token => &["token"],
            Self::Client(Users::Named) => &["client"],
            Self::Client(Users::AnonymousToo) => &["client", "anonymous"],
        }
    }
}

impl Who {
    /// The words that say this, with meanings for people.
    pub const WORDS: &'static [(&'static str, &'static str)] = &[
        ("nobody", "no client"),
        (
            "subscriber",
            "clients that are subscribed to the room and have a user",
        ),
        (
            "client",
            "clients that have a user, whether they are subscribed or not",
        ),
        (
            "anonymous",
            "beside one of these two: also those without a user",
        ),
    ];

    /// Reads a set.
    ///
    /// # Errors
    /// When the words contradict each other or are none: the message has a remedy.
    pub fn from_words<T: AsRef<str>>(words: &[T]) -> Result<Self, WhoError> {
        let set = Set::read(words, Self::WORDS, |word| {
            (word == "token").then_some(WhoError::TokenElsewhere)
        })?;
        if set.alone("nobody")? {
            return Ok(Self::Nobody);
        }
        let users = set.users().ok_or(WhoError::Empty("nobody"))?;
        match (set.has("client"), set.has("subscriber")) {
            (true, true) => Err(WhoError::SubscriberBesideClient),
            (true, false) => Ok(Self::Client(users)),
            (false, true) => Ok(Self::Subscriber(users)),
            (false, false) => Err(WhoError::AnonymousAlone),
        }
    }

    /// The words that say this set.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Nobody => &["nobody"],
            Self::Subscriber(Users::Named) => &["subscriber"],
            Self::Subscriber(Users::AnonymousToo) => &["subscriber", "anonymous"],
            Self::Client(Users::Named) => &["client"],
            Self::Client(Users::AnonymousToo) => &["client", "anonymous"],
        }
    }
}

/// Known words, each at most once.
struct Set<'a>(Vec<&'a str>);

impl<'a> Set<'a> {
    /// `otherwise` says what is wrong with a word that only another right knows.
    fn read<T: AsRef<str>>(
        words: &'a [T],
        known: &[(&str, &str)],
        otherwise: impl Fn(&str) -> Option<WhoError>,
    ) -> Result<Self, WhoError> {
        let mut set = Self(Vec::new());
        for word in words.iter().map(AsRef::as_ref) {
            if set.has(word) {
                return Err(WhoError::Twice(word.to_owned()));
            }
            if known.iter().all(|(known, _)| *known != word) {
                let known: Vec<_> = known.iter().map(|(word, _)| *word).collect();
                let unknown = || WhoError::Unknown {
                    word: word.to_owned(),
                    known: known.join(", "),
                };
                return Err(otherwise(word).unwrap_or_else(unknown));
            }
            set.0.push(word);
        }
        Ok(set)
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    /// Whether this word is there; if so, it must be the only one.
    fn alone(&self, word: &'static str) -> Result<bool, WhoError> {
        match self.has(word) {
            true if self.0.len() > 1 => Err(WhoError::NotAlone(word)),
            has => Ok(has),
        }
    }

    /// The users that the words include, if there are words.
    fn users(&self) -> Option<Users> {
        match self.has("anonymous") {
            _ if self.0.is_empty() => None,
            true => Some(Users::AnonymousToo),
            false => Some(Users::Named),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 5] = ["nobody", "token", "subscriber", "client", "anonymous"];

    /// Every set of the words, in their order.
    fn subsets() -> impl Iterator<Item = Vec<&'static str>> {
        (0..1_u32 << ALL.len()).map(|bits| {
            let words = ALL.iter().enumerate();
            words
                .filter(|(at, _)| bits & (1 << at) != 0)
                .map(|(_, word)| *word)
                .collect()
        })
    }

    #[test]
    fn sets_are_those_that_have_a_meaning_and_are_read_back() {
        let (mut subscribers, mut others) = (0, 0);
        for words in subsets() {
            if let Ok(set) = Subscribers::from_words(&words) {
                assert_eq!(set.words(), words);
                subscribers += 1;
            }
            if let Ok(set) = Who::from_words(&words) {
                assert_eq!(set.words(), words);
                others += 1;
            }
        }
        assert_eq!((subscribers, others), (3, 5));
    }

    #[test]
    fn words_that_contradict_are_refused_with_the_remedy() {
        let subscribe = |words: &[&str]| Subscribers::from_words(words).unwrap_err().to_string();
        let publish = |words: &[&str]| Who::from_words(words).unwrap_err().to_string();
        for (message, words) in [
            (subscribe(&[]), "write \"token\""),
            (subscribe(&["anonymous"]), "[\"client\", \"anonymous\"]"),
            (subscribe(&["subscriber"]), "subscribed already"),
            (subscribe(&["client", "subscriber"]), "subscribed already"),
            (subscribe(&["nobody"]), "write \"token\""),
            (subscribe(&["token", "client"]), "\"token\" excludes"),
            (subscribe(&["client", "client"]), "twice"),
            (subscribe(&["clients"]), "token, client, anonymous"),
            (publish(&[]), "write \"nobody\""),
            (publish(&["anonymous"]), "[\"client\", \"anonymous\"]"),
            (publish(&["client", "subscriber"]), "leave \"subscriber\""),
            (publish(&["token"]), "write \"subscriber\""),
            (publish(&["nobody", "client"]), "\"nobody\" excludes"),
            (publish(&["all"]), "nobody, subscriber, client, anonymous"),
        ] {
            assert!(message.contains(words), "{words} is not in {message}");
        }
    }
}
