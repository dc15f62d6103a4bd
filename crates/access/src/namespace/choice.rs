//! Options with a few values, each of which is one word in a configuration.

/// An option with a few values, each of which is one word in a configuration.
pub trait Choice: Copy + PartialEq + 'static {
    /// All values, with their words and meanings.
    const ALL: &'static [(&'static str, Self, &'static str)];

    /// The value's word.
    fn word(self) -> &'static str;

    /// The value of this word.
    fn from_word(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _, _)| *known == word);
        found.map(|(_, value, _)| *value)
    }
}

/// Declares such an option. The meanings are the comments of its values.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident = $word:literal,)+ }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl Choice for $name {
            const ALL: &'static [(&'static str, Self, &'static str)] =
                &[$(($word, Self::$variant, concat!($($meaning),+))),+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

pub(super) use choice;
