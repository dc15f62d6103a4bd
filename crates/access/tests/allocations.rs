//! What a verdict takes of the heap: nothing, because it is asked for with each message. Alone in its
//! process, because all allocations are counted.

#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::hint::black_box;

use access::namespace::{Subscribers, Users, Who};
use access::{Namespace, Namespaces, SubscriptionToken, User, may_publish, may_subscribe};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn verdict_over_a_room_allocates_nothing() {
    let rules = Namespace {
        subscribe: Subscribers::Client(Users::Named),
        publish: Who::Subscriber(Users::Named),
        user_limited: true,
        ..Namespace::default()
    };
    let names = (0..256).map(|number| format!("n{number}").into());
    let named = names.map(|name| (name, rules.clone())).collect();
    let namespaces = Namespaces::ruled(rules.clone(), named).unwrap();
    let long = format!("n255:{}#41,42", "x".repeat(200));
    let rooms = [
        "lobby",
        "n7:x",
        "$n7:x",
        "n9:dialog#41,42",
        "none:x",
        "",
        &long,
    ];

    let region = Region::new(HEAP);
    let mut permitted = 0;
    for name in rooms {
        if let Ok(room) = namespaces.of(black_box(name)) {
            let user = User::of("42");
            let subscribe = may_subscribe(&room, user, SubscriptionToken::Missing);
            permitted += usize::from(subscribe.is_ok());
            permitted += usize::from(may_publish(&room, user, true).is_ok());
            permitted += usize::from(may_publish(&room, User::Anonymous, true).is_ok());
        }
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert_eq!(permitted, 4 + 5);
}
