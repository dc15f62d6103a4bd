//! What a changed option does to rooms and subscribers that exist.

use std::time::Duration;

use super::{Namespace, Offer};

/// What a change does to rooms and subscribers that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// They stay as they are; the new value holds for what comes.
    Kept,
    /// They stay; what a room keeps beyond the new value is dropped.
    Trimmed,
    /// Subscribers whose terms the new value does not give any more are unsubscribed, and may
    /// subscribe again under the new ones.
    Unsubscribed,
}

/// The options that differ, by key, each with what the change does.
pub fn changed(old: &Namespace, new: &Namespace) -> Vec<(&'static str, Effect)> {
    // This does not compile if an option is missing here.
    let Namespace {
        kind,
        table,
        history,
        positions,
        recovery,
        recovery_mode,
        presence,
        join_leave,
        events,
        subscribe,
        publish,
        read_history,
        read_presence,
        user_limited,
        personal,
        message_bytes_max,
        form,
        room_rate,
        user_rate,
        batch_interval,
        overflow,
        raw,
        oneshot,
        subscribe_hook,
        publish_hook,
        sub_refresh_hook,
    } = new;
    let kept = |differs: bool| differs.then_some(Effect::Kept);
    let all = [
        // A subscriber knows of one kind, and what is kept of the other is nothing to it.
        ("kind", (old.kind != *kind).then_some(Effect::Unsubscribed)),
        ("keys_max", kept(old.table.keys_max != table.keys_max)),
        (
            "keys_bytes_max",
            kept(old.table.bytes_max != table.bytes_max),
        ),
        ("keys_ttl", kept(old.table.ttl != table.ttl)),
        ("history_size", trimmed(old.history.size, history.size)),
        (
            "history_bytes_max",
            trimmed(old.history.bytes_max, history.bytes_max),
        ),
        ("history_ttl", trimmed(old.history.ttl, history.ttl)),
        ("positions", offered(old.positions, *positions)),
        ("recovery", offered(old.recovery, *recovery)),
        ("recovery_mode", kept(old.recovery_mode != *recovery_mode)),
        ("presence", known(old.presence, *presence)),
        ("join_leave", kept(old.join_leave != *join_leave)),
        ("events", kept(old.events != *events)),
        ("subscribe", narrowed(old.subscribe, *subscribe)),
        ("publish", kept(old.publish != *publish)),
        ("read_history", kept(old.read_history != *read_history)),
        ("read_presence", kept(old.read_presence != *read_presence)),
        // With it, a list of users in a name shuts others out; without it, it lets nobody in.
        (
            "user_limited",
            (old.user_limited != *user_limited).then_some(Effect::Unsubscribed),
        ),
        // With it, a room `#USER` shuts others out; without it, its user has no right to it.
        (
            "personal",
            (old.personal != *personal).then_some(Effect::Unsubscribed),
        ),
        (
            "message_bytes_max",
            kept(old.message_bytes_max != *message_bytes_max),
        ),
        ("form", kept(old.form != *form)),
        (
            "room_rate",
            kept(old.room_rate.per_second != room_rate.per_second),
        ),
        ("room_burst", kept(old.room_rate.burst != room_rate.burst)),
        (
            "user_rate",
            kept(old.user_rate.per_second != user_rate.per_second),
        ),
        ("user_burst", kept(old.user_rate.burst != user_rate.burst)),
        (
            "batch_interval",
            kept(old.batch_interval != *batch_interval),
        ),
        ("overflow", kept(old.overflow != *overflow)),
        ("raw", narrowed(old.raw, *raw)),
        ("oneshot", one_shot(old.oneshot, *oneshot)),
        // Nobody has been asked about those who are there, or nothing but the hook has let them in.
        (
            "subscribe_hook",
            (old.subscribe_hook != *subscribe_hook).then_some(Effect::Unsubscribed),
        ),
        ("publish_hook", kept(old.publish_hook != *publish_hook)),
        (
            "sub_refresh_hook",
            kept(old.sub_refresh_hook != *sub_refresh_hook),
        ),
    ];
    let differing = all.into_iter();
    differing
        .filter_map(|(key, effect)| effect.map(|effect| (key, effect)))
        .collect()
}

/// A bound on what a room keeps.
fn trimmed<T: PartialOrd>(old: T, new: T) -> Option<Effect> {
    match old.partial_cmp(&new)? {
        std::cmp::Ordering::Less => Some(Effect::Kept),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(Effect::Trimmed),
    }
}

/// Something that subscribers were told to have: who has it would wait for it in vain once it is off.
fn offered(old: Offer, new: Offer) -> Option<Effect> {
    (old != new).then_some(match new {
        Offer::Off => Effect::Unsubscribed,
        Offer::Allowed | Offer::Forced => Effect::Kept,
    })
}

/// A presence that begins must know everybody, and those who came before have not been noted.
fn known(old: bool, new: bool) -> Option<Effect> {
    (old != new).then_some(match new {
        true => Effect::Unsubscribed,
        false => Effect::Trimmed,
    })
}

/// A right by which somebody is in a room; a wider one is greater.
fn narrowed<T: PartialOrd>(old: T, new: T) -> Option<Effect> {
    match old.partial_cmp(&new)? {
        std::cmp::Ordering::Less => Some(Effect::Kept),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(Effect::Unsubscribed),
    }
}

/// Whether rooms are one-shot rooms decides who may be in them at all; a room that exists keeps its life.
fn one_shot(old: Option<Duration>, new: Option<Duration>) -> Option<Effect> {
    match (old, new) {
        (None, None) => None,
        (Some(old), Some(new)) => (old != new).then_some(Effect::Kept),
        (None, Some(_)) | (Some(_), None) => Some(Effect::Unsubscribed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    type Set = fn(&mut Namespace);

    /// For each option: one value and another, and what the change from the first to the second does,
    /// and back.
    const CASES: &[(&str, Set, Set, Effect, Effect)] = &[
        (
            "kind",
            |it| it.kind = RoomKind::Messages,
            |it| it.kind = RoomKind::LatestPerKey,
            Effect::Unsubscribed,
            Effect::Unsubscribed,
        ),
        (
            "keys_max",
            |it| it.table.keys_max = 1,
            |it| it.table.keys_max = 2,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "keys_bytes_max",
            |it| it.table.bytes_max = 1,
            |it| it.table.bytes_max = 2,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "keys_ttl",
            |it| it.table.ttl = Duration::from_secs(1),
            |it| it.table.ttl = Duration::from_secs(2),
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "history_size",
            |it| it.history.size = 1,
            |it| it.history.size = 2,
            Effect::Kept,
            Effect::Trimmed,
        ),
        (
            "history_bytes_max",
            |it| it.history.bytes_max = 1,
            |it| it.history.bytes_max = 2,
            Effect::Kept,
            Effect::Trimmed,
        ),
        (
            "history_ttl",
            |it| it.history.ttl = Duration::from_secs(1),
            |it| it.history.ttl = Duration::from_secs(2),
            Effect::Kept,
            Effect::Trimmed,
        ),
        (
            "positions",
            |it| it.positions = Offer::Off,
            |it| it.positions = Offer::Allowed,
            Effect::Kept,
            Effect::Unsubscribed,
        ),
        (
            "positions",
            |it| it.positions = Offer::Allowed,
            |it| it.positions = Offer::Forced,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "recovery",
            |it| it.recovery = Offer::Off,
            |it| it.recovery = Offer::Forced,
            Effect::Kept,
            Effect::Unsubscribed,
        ),
        (
            "recovery_mode",
            |it| it.recovery_mode = RecoveryMode::Stream,
            |it| it.recovery_mode = RecoveryMode::Cache,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "presence",
            |it| it.presence = false,
            |it| it.presence = true,
            Effect::Unsubscribed,
            Effect::Trimmed,
        ),
        (
            "join_leave",
            |it| it.join_leave = JoinLeave::Off,
            |it| it.join_leave = JoinLeave::Forced,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "events",
            |it| it.events = false,
            |it| it.events = true,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "subscribe",
            |it| it.subscribe = Subscribers::Token,
            |it| it.subscribe = Subscribers::Client(Users::Named),
            Effect::Kept,
            Effect::Unsubscribed,
        ),
        (
            "subscribe",
            |it| it.subscribe = Subscribers::Client(Users::Named),
            |it| it.subscribe = Subscribers::Client(Users::AnonymousToo),
            Effect::Kept,
            Effect::Unsubscribed,
        ),
        (
            "publish",
            |it| it.publish = Who::Nobody,
            |it| it.publish = Who::Client(Users::Named),
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "read_history",
            |it| it.read_history = Who::Nobody,
            |it| it.read_history = Who::Client(Users::Named),
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "read_presence",
            |it| it.read_presence = Who::Nobody,
            |it| it.read_presence = Who::Client(Users::Named),
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "user_limited",
            |it| it.user_limited = false,
            |it| it.user_limited = true,
            Effect::Unsubscribed,
            Effect::Unsubscribed,
        ),
        (
            "personal",
            |it| it.personal = false,
            |it| it.personal = true,
            Effect::Unsubscribed,
            Effect::Unsubscribed,
        ),
        (
            "message_bytes_max",
            |it| it.message_bytes_max = None,
            |it| it.message_bytes_max = Some(1),
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "form",
            |it| it.form = Form::Any,
            |it| it.form = Form::Json,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "room_rate",
            |it| it.room_rate.per_second = 0,
            |it| it.room_rate.per_second = 1,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "room_burst",
            |it| it.room_rate.burst = 1,
            |it| it.room_rate.burst = 2,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "user_rate",
            |it| it.user_rate.per_second = 0,
            |it| it.user_rate.per_second = 1,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "user_burst",
            |it| it.user_rate.burst = 1,
            |it| it.user_rate.burst = 2,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "batch_interval",
            |it| it.batch_interval = Duration::ZERO,
            |it| it.batch_interval = Duration::from_millis(100),
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "overflow",
            |it| it.overflow = Overflow::Disconnect,
            |it| it.overflow = Overflow::DropOldest,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "raw",
            |it| it.raw = Raw::None,
            |it| it.raw = Raw::Subscribe,
            Effect::Kept,
            Effect::Unsubscribed,
        ),
        (
            "raw",
            |it| it.raw = Raw::Subscribe,
            |it| it.raw = Raw::Publish,
            Effect::Kept,
            Effect::Unsubscribed,
        ),
        (
            "oneshot",
            |it| it.oneshot = None,
            |it| it.oneshot = Some(Duration::from_secs(5)),
            Effect::Unsubscribed,
            Effect::Unsubscribed,
        ),
        (
            "oneshot",
            |it| it.oneshot = Some(Duration::from_secs(5)),
            |it| it.oneshot = Some(Duration::from_secs(6)),
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "subscribe_hook",
            |it| it.subscribe_hook = false,
            |it| it.subscribe_hook = true,
            Effect::Unsubscribed,
            Effect::Unsubscribed,
        ),
        (
            "publish_hook",
            |it| it.publish_hook = false,
            |it| it.publish_hook = true,
            Effect::Kept,
            Effect::Kept,
        ),
        (
            "sub_refresh_hook",
            |it| it.sub_refresh_hook = false,
            |it| it.sub_refresh_hook = true,
            Effect::Kept,
            Effect::Kept,
        ),
    ];

    #[test]
    fn change_of_each_option_does_what_is_said_of_it() {
        for (key, one, other, there, back) in CASES {
            let [mut first, mut second] = [Namespace::default(), Namespace::default()];
            one(&mut first);
            other(&mut second);
            assert_eq!(changed(&first, &second), [(*key, *there)]);
            assert_eq!(changed(&second, &first), [(*key, *back)]);
            assert_eq!(changed(&first, &first), []);
        }
    }
}
