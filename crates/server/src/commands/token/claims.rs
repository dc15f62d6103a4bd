//! The claims that mean something here, and in which tokens.

/// Which tokens have a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// All.
    Both,
    /// Those that say who somebody is.
    Connection,
    /// Those that let somebody into a room.
    Subscription,
}

/// A claim.
pub struct Claim {
    pub name: &'static str,
    pub of: Of,
    /// What it means, for people.
    pub means: &'static str,
}

/// The claim that names the user, unless another is configured.
pub const USER: &str = "sub";

const fn claim(name: &'static str, of: Of, means: &'static str) -> Claim {
    Claim { name, of, means }
}

/// All claims that are read.
pub const CLAIMS: &[Claim] = &[
    claim(USER, Of::Both, "the user"),
    claim("channel", Of::Subscription, "the room that it opens"),
    claim(
        "client",
        Of::Subscription,
        "the one connection that may use it",
    ),
    claim(
        "publish",
        Of::Subscription,
        "whether its user may publish in the room",
    ),
    claim(
        "channels",
        Of::Connection,
        "rooms that the server subscribes it to",
    ),
    claim(
        "subs",
        Of::Connection,
        "the same, with options for each room",
    ),
    claim("info", Of::Both, "what others in a room see of the user"),
    claim(
        "b64info",
        Of::Both,
        "the same, in base64; it comes before info",
    ),
    claim("data", Of::Subscription, "what the subscriber is handed"),
    claim(
        "b64data",
        Of::Subscription,
        "the same, in base64; it comes before data",
    ),
    claim(
        "override",
        Of::Subscription,
        "options of the room for this subscriber",
    ),
    claim(
        "meta",
        Of::Connection,
        "what back ends are told, and clients never",
    ),
    claim(
        "unlimited",
        Of::Connection,
        "whether it is exempt from rates",
    ),
    claim("exp", Of::Both, "when the token ends"),
    claim("nbf", Of::Both, "when the token begins"),
    claim(
        "expire_at",
        Of::Both,
        "when what it grants ends; 0 is never",
    ),
    claim("iat", Of::Both, "when it was made"),
    claim("jti", Of::Both, "its own name"),
    claim("iss", Of::Both, "who made it"),
    claim("aud", Of::Both, "for whom it was made"),
];

/// The claim of this name in tokens of this kind.
pub fn known(name: &str, is_subscription: bool) -> Option<&'static Claim> {
    let other = match is_subscription {
        true => Of::Connection,
        false => Of::Subscription,
    };
    CLAIMS.iter().find(|it| it.name == name && it.of != other)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use access::token::TAKEN_CLAIMS;

    use super::*;

    #[test]
    fn claims_are_those_that_verifiers_read() {
        let ours: BTreeSet<_> = CLAIMS.iter().map(|it| it.name).collect();
        let taken = TAKEN_CLAIMS.iter().copied().filter(|it| !it.is_empty());
        let theirs: BTreeSet<_> = taken.chain([USER]).collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn claims_of_the_other_kind_are_unknown() {
        assert!(known("channel", true).is_some() && known("channel", false).is_none());
        assert!(known("subs", true).is_none() && known("subs", false).is_some());
        assert!(known("exp", true).is_some() && known("exp", false).is_some());
        assert!(known("role", true).is_none());
    }
}
