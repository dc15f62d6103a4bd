//! Every verdict over every combination, against the rules as they are written down.

use std::sync::Arc;

use super::*;
use crate::Namespaces;
use crate::namespace::History;
use crate::token::Overrides;

const USERS: [Users; 2] = [Users::Named, Users::AnonymousToo];

fn every_who() -> Vec<Who> {
    let sets = USERS
        .iter()
        .flat_map(|users| [Who::Subscriber(*users), Who::Client(*users)]);
    sets.chain([Who::Nobody]).collect()
}

fn every_subscribers() -> Vec<Subscribers> {
    let sets = USERS.iter().map(|users| Subscribers::Client(*users));
    sets.chain([Subscribers::Token]).collect()
}

fn room<'n, 'r>(rules: &'n Arc<Namespace>, audience: Audience<'r>) -> Room<'n, 'r> {
    Room {
        rules,
        label: Label(Some("chat")),
        audience,
    }
}

/// The rules as they are written down, in their order, over names and not over what is made of them.
fn naive_may_subscribe(rules: &Namespace, name: &str, user: &str, token: &str) -> bool {
    if name.starts_with('$') && token.is_empty() {
        return false;
    }
    if !token.is_empty() {
        return token == "good";
    }
    let is_limited = rules.user_limited && name.contains('#');
    let is_personal = rules.personal && !is_limited && name.starts_with('#');
    let after = name.split('#').next_back().unwrap_or_default();
    if is_limited && !user.is_empty() && after.split(',').any(|listed| listed == user) {
        return true;
    }
    if is_personal && !user.is_empty() && &name[1..] == user {
        return true;
    }
    if is_limited || is_personal {
        return false;
    }
    match rules.subscribe {
        Subscribers::Token => false,
        Subscribers::Client(Users::Named) => !user.is_empty(),
        Subscribers::Client(Users::AnonymousToo) => true,
    }
}

#[test]
fn subscribe_verdict_is_the_naive_one_in_every_combination() {
    let names = [
        "x", "$x", "d#42", "d#42,43", "d#", "#42", "#42,43", "$d#42", "a#42#43", "#a#42",
    ];
    let tokens = [
        ("", SubscriptionToken::Missing),
        ("good", SubscriptionToken::Valid),
        ("bad", SubscriptionToken::Invalid),
    ];
    let mut verdicts = [0, 0];
    for subscribe in every_subscribers() {
        for (user_limited, personal) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let rules = Namespace {
                subscribe,
                user_limited,
                personal,
                ..Namespace::default()
            };
            let world = Namespaces::ruled(rules.clone(), Vec::new()).unwrap();
            for name in names {
                for user in ["", "42", "43", "4", "42,43"] {
                    for (text, token) in tokens {
                        let room = world.of(name).unwrap();
                        let verdict = may_subscribe(&room, User::of(user), token);
                        let expected = naive_may_subscribe(&rules, name, user, text);
                        assert_eq!(
                            verdict.is_ok(),
                            expected,
                            "{name} {user:?} {text:?} {rules:?}: {verdict:?}"
                        );
                        verdicts[usize::from(expected)] += 1;
                    }
                }
            }
        }
    }
    assert!(verdicts.iter().all(|count| *count > 300), "{verdicts:?}");
}

/// One right, as the rules are written down: for clients, for subscribers, and for both also without
/// a user if anonymous ones are included.
fn naive_may(who: Who, user: &str, is_subscribed: bool) -> bool {
    let words = who.words();
    let anonymous = words.contains(&"anonymous");
    let for_client = words.contains(&"client") && (!user.is_empty() || anonymous);
    let for_subscriber = words.contains(&"subscriber");
    for_client || for_subscriber && is_subscribed && (!user.is_empty() || anonymous)
}

#[test]
fn verdicts_of_the_other_rights_are_the_naive_ones_in_every_combination() {
    for who in every_who() {
        for is_on in [true, false] {
            let rules = Arc::new(Namespace {
                publish: who,
                read_history: who,
                read_presence: who,
                presence: is_on,
                history: History {
                    size: u32::from(is_on),
                    ..History::default()
                },
                ..Namespace::default()
            });
            let room = room(&rules, Audience::Anyone);
            for (id, is_subscribed) in [("", false), ("", true), ("42", false), ("42", true)] {
                let (user, expected) = (User::of(id), naive_may(who, id, is_subscribed));
                assert_eq!(may_publish(&room, user, is_subscribed).is_ok(), expected);
                let history = may_read_history(&room, user, is_subscribed);
                let presence = may_read_presence(&room, user, is_subscribed);
                for verdict in [history, presence] {
                    assert_eq!(verdict.is_ok(), expected && is_on, "{who:?} {id:?}");
                    // That there is none is said before who may read it.
                    let kind = verdict.err().map(|denied| denied.kind());
                    let is_missing = kind == Some(Kind::NotAvailable);
                    assert_eq!(is_missing, !is_on);
                }
            }
        }
    }
}

#[test]
fn take_effect_is_the_naive_one_in_every_combination() {
    let offers = [Offer::Off, Offer::Allowed, Offer::Forced];
    let joins = [JoinLeave::Off, JoinLeave::Asked, JoinLeave::Forced];
    let overflows = [Overflow::Disconnect, Overflow::DropOldest];
    for bits in 0..16_u32 {
        let asked = Asked {
            positioned: bits & 1 > 0,
            recoverable: bits & 2 > 0,
            join_leave: bits & 4 > 0,
        };
        let size = bits >> 3;
        for who in every_who() {
            for (offer, join_leave) in offers.iter().flat_map(|it| joins.map(|join| (*it, join))) {
                for (overflow, id) in overflows
                    .iter()
                    .flat_map(|it| ["", "42"].map(|id| (*it, id)))
                {
                    let rules = Arc::new(Namespace {
                        positions: offer,
                        recovery: offer,
                        read_history: who,
                        read_presence: who,
                        join_leave,
                        overflow,
                        history: History {
                            size,
                            ..History::default()
                        },
                        ..Namespace::default()
                    });
                    let reads = naive_may(who, id, true);
                    let granted = |asked| {
                        offer == Offer::Forced
                            || asked && (offer == Offer::Allowed || size > 0 && reads)
                    };
                    let drops = overflow == Overflow::DropOldest;
                    let recoverable = granted(asked.recoverable) && size > 0 && !drops;
                    let expected = Granted {
                        is_present: false,
                        recoverable,
                        positioned: (granted(asked.positioned) || recoverable) && !drops,
                        join_leave: join_leave == JoinLeave::Forced
                            || join_leave == JoinLeave::Asked && asked.join_leave && reads,
                    };
                    let room = room(&rules, Audience::Anyone);
                    assert_eq!(
                        take_effect(&room, User::of(id), asked, &Overrides::default()),
                        expected,
                        "{rules:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn take_effect_follows_the_overrides_of_a_token() {
    let rules = |is_on| {
        let offer = if is_on { Offer::Forced } else { Offer::Off };
        Arc::new(Namespace {
            positions: offer,
            recovery: offer,
            presence: is_on,
            join_leave: if is_on {
                JoinLeave::Forced
            } else {
                JoinLeave::Off
            },
            history: History {
                size: 1,
                ..History::default()
            },
            ..Namespace::default()
        })
    };
    let all = |value: Option<bool>| Overrides {
        presence: value,
        join_leave: value,
        force_push_join_leave: value,
        force_positioning: value,
        force_recovery: value,
    };
    let everything = Granted {
        is_present: true,
        positioned: true,
        recoverable: true,
        join_leave: true,
    };
    for is_on in [true, false] {
        let rules = rules(is_on);
        for set in [None, Some(true), Some(false)] {
            let room = room(&rules, Audience::Private);
            let granted = take_effect(&room, User::Anonymous, Asked::default(), &all(set));
            let expected = if set.unwrap_or(is_on) {
                everything
            } else {
                Granted::default()
            };
            assert_eq!(granted, expected, "{is_on} {set:?}");
        }
    }
    // Each claim sets its own part and no other.
    let rules = rules(false);
    let granted = |overrides| {
        let room = room(&rules, Audience::Private);
        take_effect(&room, User::Anonymous, Asked::default(), &overrides)
    };
    let none = Overrides::default;
    let on = Some(true);
    let granted = [
        granted(Overrides {
            presence: on,
            ..none()
        }),
        granted(Overrides {
            join_leave: on,
            ..none()
        }),
        granted(Overrides {
            force_push_join_leave: on,
            ..none()
        }),
        granted(Overrides {
            force_positioning: on,
            ..none()
        }),
    ];
    let nothing = Granted::default;
    assert_eq!(
        granted,
        [
            Granted {
                is_present: true,
                ..nothing()
            },
            nothing(),
            Granted {
                join_leave: true,
                ..nothing()
            },
            Granted {
                positioned: true,
                ..nothing()
            },
        ]
    );
    // What the namespace cannot give, no token gives.
    let rules = Arc::new(Namespace {
        overflow: Overflow::DropOldest,
        ..Namespace::default()
    });
    let room = room(&rules, Audience::Private);
    let granted = take_effect(&room, User::Anonymous, Asked::default(), &all(on));
    assert!(!granted.positioned && !granted.recoverable);
}

#[test]
fn personal_room_is_one_that_only_its_user_may_open() {
    fn of(label: Option<&str>, user: &str) -> Result<String, NoPersonalRoom> {
        personal_room(Label(label), User::of(user))
    }
    assert_eq!(of(None, "42"), Ok("#42".to_owned()));
    assert_eq!(of(Some("chat"), "42"), Ok("chat:#42".to_owned()));
    assert_eq!(of(Some("chat"), "a:b"), Ok("chat:#a:b".to_owned()));
    assert_eq!(of(None, ""), Err(NoPersonalRoom::NoUser));
    for user in ["a:b", "42,43", "a#42", "#", ","] {
        assert_eq!(of(None, user), Err(NoPersonalRoom::Separator), "{user}");
    }
    assert_eq!(of(None, "é"), Err(BadName::NotAscii.into()));
    assert_eq!(of(None, &"x".repeat(255)), Err(BadName::TooLong.into()));
    for (user_limited, owner) in [(false, "$x"), (true, "$x"), (true, "a b")] {
        let rules = Namespace {
            user_limited,
            personal: true,
            subscribe: Subscribers::Client(Users::AnonymousToo),
            ..Namespace::default()
        };
        let world = Namespaces::ruled(rules, Vec::new()).unwrap();
        let name = of(None, owner).unwrap();
        let room = world.of(&name).unwrap();
        for (user, expected) in [(owner, true), ("43", false), ("", false)] {
            let verdict = may_subscribe(&room, User::of(user), SubscriptionToken::Missing);
            assert_eq!(verdict.is_ok(), expected, "{user}");
        }
    }
}

#[test]
fn refusal_names_its_cause_and_the_setting() {
    let rules = Arc::new(Namespace {
        subscribe: Subscribers::Client(Users::Named),
        publish: Who::Subscriber(Users::Named),
        read_presence: Who::Client(Users::Named),
        presence: true,
        ..Namespace::default()
    });
    let tokens_only = Arc::new(Namespace::default());
    let missing = SubscriptionToken::Missing;
    let subscribe = |rules, audience, token| {
        let verdict = may_subscribe(&room(rules, audience), User::Anonymous, token);
        verdict.unwrap_err().to_string()
    };
    let anyone = room(&rules, Audience::Anyone);
    let publish = |user, is_subscribed| {
        let verdict = may_publish(&anyone, user, is_subscribed);
        verdict.unwrap_err().to_string()
    };
    let closed = room(&tokens_only, Audience::Anyone);
    for (message, expected) in [
        (
            subscribe(&rules, Audience::Anyone, missing),
            "no token, so no user; namespace `chat` has no anonymous subscribers (subscribe)",
        ),
        (
            subscribe(&tokens_only, Audience::Anyone, missing),
            "no subscription token; namespace `chat` has subscribe = \"token\"",
        ),
        (
            subscribe(&rules, Audience::Private, missing),
            "no subscription token; the room's name begins with `$`, so that only such a token \
             opens it",
        ),
        (
            subscribe(&rules, Audience::Listed("42"), missing),
            "no subscription token; namespace `chat` has user_limited on, and the room's name does \
             not list the user after its last `#`",
        ),
        (
            subscribe(&rules, Audience::Owner("42"), missing),
            "no subscription token; namespace `chat` has personal on, and the room is another user's",
        ),
        (
            subscribe(&rules, Audience::Anyone, SubscriptionToken::Invalid),
            "the subscription token does not hold for this room",
        ),
        (
            publish(User::Named("42"), false),
            "not subscribed to the room; namespace `chat` has only subscribers as publishers \
             (publish)",
        ),
        (
            publish(User::Anonymous, true),
            "no token, so no user; namespace `chat` has no anonymous publishers (publish)",
        ),
        (
            may_publish(&closed, User::Named("42"), true)
                .unwrap_err()
                .to_string(),
            "namespace `chat` has no publishers among clients (publish = \"nobody\")",
        ),
        (
            may_read_history(&anyone, User::Anonymous, true)
                .unwrap_err()
                .to_string(),
            "namespace `chat` has no history (history_size = 0)",
        ),
        (
            may_read_presence(&closed, User::Anonymous, true)
                .unwrap_err()
                .to_string(),
            "namespace `chat` has no presence (presence = false)",
        ),
        (
            may_read_presence(&anyone, User::Anonymous, true)
                .unwrap_err()
                .to_string(),
            "no token, so no user; namespace `chat` has no anonymous readers of the presence \
             (read_presence)",
        ),
    ] {
        assert_eq!(message, expected);
    }
}

#[test]
fn one_shot_room_is_opened_by_no_right_of_its_namespace() {
    let open = Namespace {
        oneshot: Some(std::time::Duration::from_secs(60)),
        raw: crate::namespace::Raw::Publish,
        presence: true,
        ..Namespace::default().with_all_rights()
    };
    let rules = Arc::new(open.with_consequences());
    let room = room(&rules, Audience::Anyone);
    let user = User::Named("42");
    let tokens = [
        SubscriptionToken::Missing,
        SubscriptionToken::Valid,
        SubscriptionToken::Invalid,
    ];
    let subscribes = tokens.map(|token| may_subscribe(&room, user, token));
    let others = [
        may_publish(&room, user, true),
        may_read_history(&room, user, true),
        may_read_presence(&room, user, true),
    ];
    for verdict in subscribes.into_iter().chain(others) {
        assert_eq!(verdict.map_err(|denied| denied.cause), Err(Cause::OneShot));
    }
}

#[test]
fn hook_decides_for_whom_neither_a_token_nor_a_name_does_and_the_rules_let_in_nobody_then() {
    let rules = Arc::new(Namespace {
        subscribe_hook: true,
        publish_hook: true,
        ..Namespace::default()
    });
    let (ann, missing) = (User::Named("ann"), SubscriptionToken::Missing);
    let anyone = room(&rules, Audience::Anyone);
    assert!(is_for_subscribe_hook(&anyone, missing));
    assert!(!is_for_subscribe_hook(&anyone, SubscriptionToken::Valid));
    assert!(!is_for_subscribe_hook(&anyone, SubscriptionToken::Invalid));
    let denied = may_subscribe(&anyone, ann, missing).unwrap_err();
    assert_eq!(denied.cause, Cause::Hook(Right::Subscribe));
    assert!(may_subscribe(&anyone, ann, SubscriptionToken::Valid).is_ok());
    let listed = room(&rules, Audience::Listed("ann"));
    for named in [listed, room(&rules, Audience::Private)] {
        assert!(!is_for_subscribe_hook(&named, missing));
    }
    assert!(may_subscribe(&listed, ann, missing).is_ok());
    assert!(is_for_publish_hook(&anyone) && is_for_publish_hook(&listed));
    let denied = may_publish(&anyone, ann, true).unwrap_err();
    assert_eq!(denied.cause, Cause::Hook(Right::Publish));
    let all = Arc::new(rules.with_all_rights());
    let open = room(&all, Audience::Anyone);
    assert!(!is_for_subscribe_hook(&open, missing) && !is_for_publish_hook(&open));
}
