//! Options of a namespace that contradict each other, and what to do about it.

use super::{JoinLeave, Namespace, Offer, Overflow, Raw, RecoveryMode, RoomKind, Subscribers, Who};

/// Options that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Their keys, the one first that asks for what the others do not give.
    pub keys: [&'static str; 2],
    /// What is wrong, and what to write instead.
    pub reason: &'static str,
}

/// A contradiction, and the namespaces that have it.
type Rule = (Contradiction, fn(&Namespace) -> bool);

const fn rule(
    keys: [&'static str; 2],
    is_broken: fn(&Namespace) -> bool,
    reason: &'static str,
) -> Rule {
    (Contradiction { keys, reason }, is_broken)
}

/// Whether rooms have the latest message of each key, and so nothing that counts messages.
fn has_keys(rules: &Namespace) -> bool {
    rules.kind == RoomKind::LatestPerKey
}

const RULES: &[Rule] = &[
    rule(
        ["history_size", "kind"],
        |rules| has_keys(rules) && rules.history.is_kept(),
        "a room with kind = \"latest_per_key\" keeps the latest message of each key and no others: set \
         history_size to 0, or kind to \"messages\"",
    ),
    rule(
        ["positions", "kind"],
        |rules| has_keys(rules) && rules.positions != Offer::Off,
        "a slow subscriber is not given every update of a key, so that positions would have gaps: set \
         positions to \"off\", or kind to \"messages\"",
    ),
    rule(
        ["join_leave", "kind"],
        |rules| has_keys(rules) && rules.join_leave != JoinLeave::Off,
        "who comes and goes is no update of a key, and a slow subscriber would miss it: set join_leave to \
         \"off\", or kind to \"messages\"",
    ),
    rule(
        ["overflow", "kind"],
        |rules| has_keys(rules) && rules.overflow != Overflow::Disconnect,
        "a slow subscriber is given the latest of each key anyway: leave overflow out, or set kind to \
         \"messages\"",
    ),
    rule(
        ["personal", "kind"],
        |rules| has_keys(rules) && rules.personal,
        "users are subscribed to their personal rooms by the server, and only clients themselves can \
         subscribe to keys: set personal to false, or kind to \"messages\"",
    ),
    rule(
        ["batch_interval", "kind"],
        |rules| has_keys(rules) && !rules.batch_interval.is_zero(),
        "each change of a key leaves at once, so that it can be passed over where there is a later one: set \
         batch_interval to \"0s\", or kind to \"messages\"",
    ),
    rule(
        ["kind", "oneshot"],
        |rules| has_keys(rules) && rules.oneshot.is_some(),
        "a one-shot room has one message, and no keys: set kind to \"messages\", or leave oneshot out",
    ),
    rule(
        ["raw", "kind"],
        |rules| has_keys(rules) && rules.raw != Raw::None,
        "raw clients are sent messages as they are, without their keys: set raw to \"none\", or kind to \
         \"messages\"",
    ),
    rule(
        ["recovery", "history_size"],
        |rules| rules.recovery != Offer::Off && !rules.history.is_kept(),
        "what a subscriber has missed is read from the history, and there is none: set \
         history_size, for example to 1000, or recovery to \"off\"",
    ),
    rule(
        ["recovery_mode", "history_size"],
        |rules| rules.recovery_mode == RecoveryMode::Cache && !rules.history.is_kept(),
        "the latest message is read from the history, and there is none: set history_size to 1, or \
         leave recovery_mode out",
    ),
    rule(
        ["recovery_mode", "recovery"],
        |rules| {
            let recovers = rules.recovery != Offer::Off || rules.read_history != Who::Nobody;
            rules.recovery_mode == RecoveryMode::Cache && rules.history.is_kept() && !recovers
        },
        "nothing is recovered, in this mode or another: set recovery to \"allowed\" or \"forced\", or \
         leave recovery_mode out",
    ),
    rule(
        ["overflow", "positions"],
        |rules| rules.overflow == Overflow::DropOldest && rules.positions != Offer::Off,
        "a subscriber with positions would take what is dropped for a fault: set overflow to \
         \"disconnect\", or positions to \"off\"",
    ),
    rule(
        ["overflow", "recovery"],
        |rules| rules.overflow == Overflow::DropOldest && rules.recovery != Offer::Off,
        "a subscriber with recovery would take what is dropped for a fault: set overflow to \
         \"disconnect\", or recovery to \"off\"",
    ),
    rule(
        ["read_history", "history_size"],
        |rules| rules.read_history != Who::Nobody && !rules.history.is_kept(),
        "there is no history to read: set history_size, for example to 1000, or read_history to \
         \"nobody\"",
    ),
    rule(
        ["read_presence", "presence"],
        |rules| {
            // Whoever may read the presence may also ask for joins and leaves.
            let is_used = rules.presence || rules.join_leave == JoinLeave::Asked;
            rules.read_presence != Who::Nobody && !is_used
        },
        "there is no presence to read: set presence to true, or read_presence to \"nobody\"",
    ),
    rule(
        ["join_leave", "read_presence"],
        |rules| rules.join_leave == JoinLeave::Asked && rules.read_presence == Who::Nobody,
        "only who may read the presence is told when they ask, and nobody may: set read_presence to \
         \"subscriber\", or join_leave to \"forced\" or \"off\"",
    ),
    rule(
        ["subscribe", "oneshot"],
        |rules| rules.oneshot.is_some() && rules.subscribe != Subscribers::Token,
        "the secret of a one-shot room alone opens it: leave subscribe out, or oneshot",
    ),
    rule(
        ["publish", "oneshot"],
        |rules| rules.oneshot.is_some() && rules.publish != Who::Nobody,
        "only a subscription token that says so publishes in a one-shot room: leave publish out, or \
         oneshot",
    ),
    rule(
        ["history_size", "oneshot"],
        |rules| rules.oneshot.is_some() && rules.history.is_kept(),
        "a one-shot room keeps its one message for its life: leave history_size out, or oneshot",
    ),
    rule(
        ["presence", "oneshot"],
        |rules| rules.oneshot.is_some() && rules.presence,
        "nobody may know who is in a one-shot room: leave presence out, or oneshot",
    ),
    rule(
        ["join_leave", "oneshot"],
        |rules| rules.oneshot.is_some() && rules.join_leave != JoinLeave::Off,
        "nobody may know who is in a one-shot room: leave join_leave out, or oneshot",
    ),
    rule(
        ["personal", "oneshot"],
        |rules| rules.oneshot.is_some() && rules.personal,
        "a one-shot room has a random name, and belongs to no user: leave personal out, or oneshot",
    ),
    rule(
        ["user_limited", "oneshot"],
        |rules| rules.oneshot.is_some() && rules.user_limited,
        "a one-shot room has a random name, which lists no users: leave user_limited out, or oneshot",
    ),
    rule(
        ["overflow", "oneshot"],
        |rules| rules.oneshot.is_some() && rules.overflow == Overflow::DropOldest,
        "a one-shot room has one message, which must not be dropped: leave overflow out, or oneshot",
    ),
    rule(
        ["subscribe", "subscribe_hook"],
        |rules| rules.subscribe_hook && rules.subscribe != Subscribers::Token,
        "the back end alone decides about who has no subscription token: leave subscribe out, or set \
         subscribe_hook to false",
    ),
    rule(
        ["publish", "publish_hook"],
        |rules| rules.publish_hook && rules.publish != Who::Nobody,
        "the back end alone decides what clients publish: leave publish out, or set publish_hook to false",
    ),
    rule(
        ["raw", "subscribe_hook"],
        |rules| rules.subscribe_hook && rules.raw != Raw::None,
        "a back end is asked about clients of SDKs only, and raw clients would come past it: set raw to \
         \"none\", or subscribe_hook to false",
    ),
    rule(
        ["raw", "publish_hook"],
        |rules| rules.publish_hook && rules.raw != Raw::None,
        "a back end is asked about clients of SDKs only, and raw clients would come past it: set raw to \
         \"none\", or publish_hook to false",
    ),
    rule(
        ["raw", "sub_refresh_hook"],
        |rules| rules.sub_refresh_hook && rules.raw != Raw::None,
        "a back end is asked about clients of SDKs only, and raw clients would come past it: set raw to \
         \"none\", or sub_refresh_hook to false",
    ),
    rule(
        ["subscribe_hook", "oneshot"],
        |rules| rules.subscribe_hook && rules.oneshot.is_some(),
        "the secret of a one-shot room opens it, and a token publishes there: leave subscribe_hook out, or oneshot",
    ),
    rule(
        ["publish_hook", "oneshot"],
        |rules| rules.publish_hook && rules.oneshot.is_some(),
        "the secret of a one-shot room opens it, and a token publishes there: leave publish_hook out, or oneshot",
    ),
    rule(
        ["sub_refresh_hook", "oneshot"],
        |rules| rules.sub_refresh_hook && rules.oneshot.is_some(),
        "the secret of a one-shot room opens it, and a token publishes there: leave sub_refresh_hook out, or oneshot",
    ),
];

impl Namespace {
    /// The options that contradict each other. Rules with such options must not be used.
    pub fn contradictions(&self) -> impl Iterator<Item = Contradiction> {
        let broken = RULES.iter().filter(|(_, is_broken)| is_broken(self));
        broken.map(|(contradiction, _)| *contradiction)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{History, Users};
    use super::*;

    fn found(rules: &Namespace) -> Vec<[&'static str; 2]> {
        rules.contradictions().map(|found| found.keys).collect()
    }

    /// Namespaces with one contradiction each, and what removes it.
    type Case = ([&'static str; 2], fn(&mut Namespace), fn(&mut Namespace));

    fn keep_history(rules: &mut Namespace) {
        rules.history = History {
            size: 1,
            ..History::default()
        };
    }

    fn have_keys(rules: &mut Namespace) {
        rules.kind = RoomKind::LatestPerKey;
    }

    fn be_one_shot(rules: &mut Namespace) {
        rules.oneshot = Some(std::time::Duration::from_secs(60));
    }

    fn be_none(rules: &mut Namespace) {
        rules.oneshot = None;
    }

    const CASES: &[Case] = &[
        (
            ["history_size", "kind"],
            |rules| {
                have_keys(rules);
                keep_history(rules);
            },
            |rules| rules.history.size = 0,
        ),
        (
            ["positions", "kind"],
            |rules| {
                have_keys(rules);
                rules.positions = Offer::Allowed;
            },
            |rules| rules.positions = Offer::Off,
        ),
        (
            ["join_leave", "kind"],
            |rules| {
                have_keys(rules);
                rules.join_leave = JoinLeave::Forced;
            },
            |rules| rules.join_leave = JoinLeave::Off,
        ),
        (
            ["overflow", "kind"],
            |rules| {
                have_keys(rules);
                rules.overflow = Overflow::DropOldest;
            },
            |rules| rules.kind = RoomKind::Messages,
        ),
        (
            ["personal", "kind"],
            |rules| {
                have_keys(rules);
                rules.personal = true;
            },
            |rules| rules.personal = false,
        ),
        (
            ["batch_interval", "kind"],
            |rules| {
                have_keys(rules);
                rules.batch_interval = std::time::Duration::from_millis(100);
            },
            |rules| rules.kind = RoomKind::Messages,
        ),
        (
            ["kind", "oneshot"],
            |rules| {
                have_keys(rules);
                be_one_shot(rules);
            },
            be_none,
        ),
        (
            ["raw", "kind"],
            |rules| {
                have_keys(rules);
                rules.raw = Raw::Subscribe;
            },
            |rules| rules.raw = Raw::None,
        ),
        (
            ["recovery", "history_size"],
            |rules| rules.recovery = Offer::Allowed,
            keep_history,
        ),
        (
            ["recovery_mode", "history_size"],
            |rules| rules.recovery_mode = RecoveryMode::Cache,
            |rules| {
                keep_history(rules);
                rules.recovery = Offer::Forced;
            },
        ),
        (
            ["recovery_mode", "recovery"],
            |rules| {
                keep_history(rules);
                rules.recovery_mode = RecoveryMode::Cache;
            },
            |rules| rules.read_history = Who::Subscriber(Users::Named),
        ),
        (
            ["overflow", "positions"],
            |rules| {
                rules.overflow = Overflow::DropOldest;
                rules.positions = Offer::Allowed;
            },
            |rules| rules.positions = Offer::Off,
        ),
        (
            ["overflow", "recovery"],
            |rules| {
                keep_history(rules);
                rules.overflow = Overflow::DropOldest;
                rules.recovery = Offer::Forced;
            },
            |rules| rules.overflow = Overflow::Disconnect,
        ),
        (
            ["read_history", "history_size"],
            |rules| rules.read_history = Who::Client(Users::Named),
            keep_history,
        ),
        (
            ["read_presence", "presence"],
            |rules| rules.read_presence = Who::Client(Users::Named),
            |rules| rules.presence = true,
        ),
        (
            ["join_leave", "read_presence"],
            |rules| rules.join_leave = JoinLeave::Asked,
            |rules| rules.read_presence = Who::Subscriber(Users::Named),
        ),
        (
            ["subscribe", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.subscribe = Subscribers::Client(Users::Named);
            },
            be_none,
        ),
        (
            ["publish", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.publish = Who::Client(Users::Named);
            },
            be_none,
        ),
        (
            ["history_size", "oneshot"],
            |rules| {
                be_one_shot(rules);
                keep_history(rules);
            },
            be_none,
        ),
        (
            ["presence", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.presence = true;
            },
            be_none,
        ),
        (
            ["join_leave", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.join_leave = JoinLeave::Forced;
            },
            be_none,
        ),
        (
            ["personal", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.personal = true;
            },
            be_none,
        ),
        (
            ["user_limited", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.user_limited = true;
            },
            be_none,
        ),
        (
            ["overflow", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.overflow = Overflow::DropOldest;
            },
            be_none,
        ),
        (
            ["subscribe", "subscribe_hook"],
            |rules| {
                rules.subscribe_hook = true;
                rules.subscribe = Subscribers::Client(Users::Named);
            },
            |rules| rules.subscribe_hook = false,
        ),
        (
            ["publish", "publish_hook"],
            |rules| {
                rules.publish_hook = true;
                rules.publish = Who::Client(Users::Named);
            },
            |rules| rules.publish_hook = false,
        ),
        (
            ["raw", "subscribe_hook"],
            |rules| {
                rules.subscribe_hook = true;
                rules.raw = Raw::Subscribe;
            },
            |rules| rules.raw = Raw::None,
        ),
        (
            ["raw", "publish_hook"],
            |rules| {
                rules.publish_hook = true;
                rules.raw = Raw::Subscribe;
            },
            |rules| rules.raw = Raw::None,
        ),
        (
            ["raw", "sub_refresh_hook"],
            |rules| {
                rules.sub_refresh_hook = true;
                rules.raw = Raw::Subscribe;
            },
            |rules| rules.raw = Raw::None,
        ),
        (
            ["subscribe_hook", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.subscribe_hook = true;
            },
            |rules| rules.oneshot = None,
        ),
        (
            ["publish_hook", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.publish_hook = true;
            },
            |rules| rules.oneshot = None,
        ),
        (
            ["sub_refresh_hook", "oneshot"],
            |rules| {
                be_one_shot(rules);
                rules.sub_refresh_hook = true;
            },
            |rules| rules.oneshot = None,
        ),
    ];

    #[test]
    fn contradiction_is_found_alone_and_goes_with_its_remedy() {
        assert_eq!(CASES.len(), RULES.len());
        for (keys, contradict, settle) in CASES {
            let mut rules = Namespace::default();
            assert_eq!(found(&rules), Vec::<[&str; 2]>::new());
            contradict(&mut rules);
            assert_eq!(found(&rules), [*keys]);
            settle(&mut rules);
            assert_eq!(found(&rules), Vec::<[&str; 2]>::new(), "{keys:?}");
        }
    }

    /// A subscription token can give the right to publish, whatever the namespace says.
    #[test]
    fn raw_clients_may_publish_where_only_tokens_give_the_right() {
        let mut rules = Namespace {
            raw: Raw::Publish,
            ..Namespace::default()
        };
        assert_eq!(found(&rules), Vec::<[&str; 2]>::new());
        be_one_shot(&mut rules);
        assert_eq!(found(&rules), Vec::<[&str; 2]>::new());
    }

    #[test]
    fn contradiction_names_a_remedy() {
        for (Contradiction { keys, reason }, _) in RULES {
            let (_, remedy) = reason.split_once(": ").expect("a remedy");
            assert!(keys.iter().any(|key| remedy.contains(key)), "{reason}");
        }
    }
}
