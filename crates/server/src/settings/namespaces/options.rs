//! The options of a namespace: how each is read, shown and explained.

use std::time::Duration;

use access::Namespace;
use access::namespace::{
    Choice, HISTORY_SIZE_MAX, ONE_SHOT_LIFE_MAX, ONE_SHOT_LIFE_MIN, RoomKind, Subscribers,
    TABLE_KEYS_MAX, Who, WhoError,
};
use runtime::BatchInterval;
use toml::Value;

use super::super::file::{Kind, wrong_type};
use super::super::units::{GIB, KIB, Size, delay, period, size};

/// An option of a namespace.
pub struct NamespaceOption {
    /// Its key in the table.
    pub key: &'static str,
    /// What may be written.
    pub range: &'static str,
    /// What it means, in sentences.
    pub meaning: &'static str,
    /// What a change by a reload does to rooms and subscribers that exist.
    pub on_reload: &'static str,
    /// The words that it may have, with their meanings.
    pub words: fn() -> Vec<(&'static str, &'static str)>,
    pub(super) read: fn(&mut Namespace, Value) -> Result<(), String>,
    pub(in super::super) show: fn(&Namespace) -> Option<Value>,
}

impl NamespaceOption {
    /// The default, as the file would have it; `None` if the option is not set.
    pub fn default(&self) -> Option<String> {
        (self.show)(&Namespace::default()).map(|value| value.to_string())
    }
}

const KEPT: &str = "kept: it holds for what comes";
const TRIMMED: &str = "raised: kept; lowered: rooms drop what is beyond it";
const TABLED: &str = "kept: what is beyond it stays, and nothing is added to it";
const OFFERED: &str =
    "off: who has it is unsubscribed; otherwise kept: it holds for new subscriptions";
const RATE: &str = "0 to 1000000";
const BURST: &str = "1 to 1000000";
const WHO: &str = "nobody, subscriber or client, with or without anonymous";

/// All options of a namespace, in the order in which people read them.
pub const OPTIONS: &[NamespaceOption] = &[
    NamespaceOption {
        key: "kind",
        range: "messages or latest_per_key",
        meaning: "What a room tells its subscribers.",
        on_reload: "everybody is unsubscribed, and rooms begin anew",
        words: words::<RoomKind>,
        read: |rules, value| set(&mut rules.kind, choice(&value)),
        show: |rules| word(rules.kind),
    },
    NamespaceOption {
        key: "keys_max",
        range: "1 to 10000",
        meaning: "Most keys of a room that has the latest message of each.",
        on_reload: TABLED,
        words: Vec::new,
        read: |rules, value| set(&mut rules.table.keys_max, count(&value, 1, TABLE_KEYS_MAX)),
        show: |rules| Some(i64::from(rules.table.keys_max).into()),
    },
    NamespaceOption {
        key: "keys_bytes_max",
        range: "1KiB to the server's recovered_bytes_max",
        meaning: "Most bytes of these keys and their messages, with some 250 for each key: who \
                  subscribes is sent all of them at once.",
        on_reload: TABLED,
        words: Vec::new,
        read: |rules, value| set(&mut rules.table.bytes_max, bytes(&value, KIB)),
        show: |rules| Some(Size::of(rules.table.bytes_max).to_string().into()),
    },
    NamespaceOption {
        key: "keys_ttl",
        range: "1ms to 1day",
        meaning: "Time for which a room that has neither subscribers nor publications keeps them.",
        on_reload: KEPT,
        words: Vec::new,
        read: |rules, value| set(&mut rules.table.ttl, duration(&value)),
        show: |rules| duration_shown(rules.table.ttl),
    },
    NamespaceOption {
        key: "subscribe",
        range: "token or client, with or without anonymous",
        meaning: "Who may subscribe without a subscription token. With one, the token alone decides.",
        on_reload: "narrower: who may not any more is unsubscribed; wider: kept",
        words: || Subscribers::WORDS.to_vec(),
        read: |rules, value| set(&mut rules.subscribe, people(value, Subscribers::from_words)),
        show: |rules| list(rules.subscribe.words()),
    },
    NamespaceOption {
        key: "publish",
        range: WHO,
        meaning: "Who may publish.",
        on_reload: KEPT,
        words: || Who::WORDS.to_vec(),
        read: |rules, value| set(&mut rules.publish, people(value, Who::from_words)),
        show: |rules| list(rules.publish.words()),
    },
    NamespaceOption {
        key: "read_history",
        range: WHO,
        meaning: "Who may read the history, and may therefore have positions and recovery on request.",
        on_reload: KEPT,
        words: || Who::WORDS.to_vec(),
        read: |rules, value| set(&mut rules.read_history, people(value, Who::from_words)),
        show: |rules| list(rules.read_history.words()),
    },
    NamespaceOption {
        key: "read_presence",
        range: WHO,
        meaning: "Who may read who is in a room.",
        on_reload: KEPT,
        words: || Who::WORDS.to_vec(),
        read: |rules, value| set(&mut rules.read_presence, people(value, Who::from_words)),
        show: |rules| list(rules.read_presence.words()),
    },
    NamespaceOption {
        key: "user_limited",
        range: "true or false",
        meaning: "Whether the text after the last # of a room's name lists the users whom the room is \
                  for, as in dialog#42,43. They may subscribe, and nobody else without a subscription \
                  token.",
        on_reload: "who has no right to the room any more is unsubscribed",
        words: Vec::new,
        read: |rules, value| set(&mut rules.user_limited, flag(&value)),
        show: |rules| Some(rules.user_limited.into()),
    },
    NamespaceOption {
        key: "personal",
        range: "true or false",
        meaning: "Whether each user has a room of its own, #USER or NAME:#USER, and is subscribed to it \
                  when it connects. Nobody else may subscribe to it without a subscription token.",
        on_reload: "who has no right to the room any more is unsubscribed; users get their rooms when \
                    they connect again",
        words: Vec::new,
        read: |rules, value| set(&mut rules.personal, flag(&value)),
        show: |rules| Some(rules.personal.into()),
    },
    NamespaceOption {
        key: "history_size",
        range: "0 to 10000",
        meaning: "Most messages that a room keeps; 0 keeps none. 1000 suit most uses: a subscriber that \
                  returns is sent 300 at most.",
        on_reload: TRIMMED,
        words: Vec::new,
        read: |rules, value| set(&mut rules.history.size, count(&value, 0, HISTORY_SIZE_MAX)),
        show: |rules| Some(i64::from(rules.history.size).into()),
    },
    NamespaceOption {
        key: "history_bytes_max",
        range: "1KiB to 1GiB",
        meaning: "Most bytes of the messages that a room keeps.",
        on_reload: TRIMMED,
        words: Vec::new,
        read: |rules, value| set(&mut rules.history.bytes_max, bytes(&value, KIB)),
        show: |rules| Some(Size::of(rules.history.bytes_max).to_string().into()),
    },
    NamespaceOption {
        key: "history_ttl",
        range: "1ms to 1day",
        meaning: "Time for which a room keeps a message.",
        on_reload: TRIMMED,
        words: Vec::new,
        read: |rules, value| set(&mut rules.history.ttl, duration(&value)),
        show: |rules| duration_shown(rules.history.ttl),
    },
    NamespaceOption {
        key: "positions",
        range: "off, allowed or forced",
        meaning: "Whether subscribers are told the position of each message, so that none is missed \
                  unnoticed.",
        on_reload: OFFERED,
        words: words::<access::namespace::Offer>,
        read: |rules, value| set(&mut rules.positions, choice(&value)),
        show: |rules| word(rules.positions),
    },
    NamespaceOption {
        key: "recovery",
        range: "off, allowed or forced",
        meaning: "Whether a subscriber that returns gets what it has missed. It needs a history, and \
                  brings positions along.",
        on_reload: OFFERED,
        words: words::<access::namespace::Offer>,
        read: |rules, value| set(&mut rules.recovery, choice(&value)),
        show: |rules| word(rules.recovery),
    },
    NamespaceOption {
        key: "recovery_mode",
        range: "stream or cache",
        meaning: "What a subscriber that returns gets.",
        on_reload: KEPT,
        words: words::<access::namespace::RecoveryMode>,
        read: |rules, value| set(&mut rules.recovery_mode, choice(&value)),
        show: |rules| word(rules.recovery_mode),
    },
    NamespaceOption {
        key: "presence",
        range: "true or false",
        meaning: "Whether the server knows who is in a room.",
        on_reload: "on: everybody is unsubscribed, so that all are known when they come again; off: \
                    what is known is dropped",
        words: Vec::new,
        read: |rules, value| set(&mut rules.presence, flag(&value)),
        show: |rules| Some(rules.presence.into()),
    },
    NamespaceOption {
        key: "join_leave",
        range: "off, asked or forced",
        meaning: "Whether subscribers are told who comes and goes.",
        on_reload: KEPT,
        words: words::<access::namespace::JoinLeave>,
        read: |rules, value| set(&mut rules.join_leave, choice(&value)),
        show: |rules| word(rules.join_leave),
    },
    NamespaceOption {
        key: "events",
        range: "true or false",
        meaning: "Whether the back end is told who subscribes and unsubscribes, and which rooms are occupied, \
                  if events_url is set.",
        on_reload: "kept: it holds for who subscribes from now on; on: it is told of the rooms that are \
                    occupied",
        words: Vec::new,
        read: |rules, value| set(&mut rules.events, flag(&value)),
        show: |rules| Some(rules.events.into()),
    },
    NamespaceOption {
        key: "message_bytes_max",
        range: "1 to the server's message_bytes_max",
        meaning: "Most bytes of a message that a client publishes; not set, only the server's bound \
                  holds.",
        on_reload: KEPT,
        words: Vec::new,
        read: |rules, value| set(&mut rules.message_bytes_max, bytes(&value, 1).map(Some)),
        show: |rules| {
            let most = rules.message_bytes_max?;
            Some(Size::of(most).to_string().into())
        },
    },
    NamespaceOption {
        key: "form",
        range: "any, json, json_object or binary",
        meaning: "What a message must be.",
        on_reload: KEPT,
        words: words::<access::namespace::Form>,
        read: |rules, value| set(&mut rules.form, choice(&value)),
        show: |rules| word(rules.form),
    },
    NamespaceOption {
        key: "room_rate",
        range: RATE,
        meaning: "Messages per second that a room takes from all its publishers; 0 means no bound.",
        on_reload: KEPT,
        words: Vec::new,
        read: |rules, value| set(&mut rules.room_rate.per_second, count(&value, 0, 1_000_000)),
        show: |rules| Some(i64::from(rules.room_rate.per_second).into()),
    },
    NamespaceOption {
        key: "room_burst",
        range: BURST,
        meaning: "Messages that a room takes at once, before room_rate applies.",
        on_reload: KEPT,
        words: Vec::new,
        read: |rules, value| set(&mut rules.room_rate.burst, count(&value, 1, 1_000_000)),
        show: |rules| Some(i64::from(rules.room_rate.burst).into()),
    },
    NamespaceOption {
        key: "user_rate",
        range: RATE,
        meaning: "Messages per second that a room takes from one user; 0 means no bound.",
        on_reload: KEPT,
        words: Vec::new,
        read: |rules, value| set(&mut rules.user_rate.per_second, count(&value, 0, 1_000_000)),
        show: |rules| Some(i64::from(rules.user_rate.per_second).into()),
    },
    NamespaceOption {
        key: "user_burst",
        range: BURST,
        meaning: "Messages that a room takes at once from one user, before user_rate applies.",
        on_reload: KEPT,
        words: Vec::new,
        read: |rules, value| set(&mut rules.user_rate.burst, count(&value, 1, 1_000_000)),
        show: |rules| Some(i64::from(rules.user_rate.burst).into()),
    },
    NamespaceOption {
        key: "batch_interval",
        range: "0s, or 20ms to 500ms",
        meaning: "Time for which a room's messages are gathered before they leave together, for SDKs in one \
                  frame that is compressed once; 0s lets each leave at once.",
        on_reload: "kept: it holds from the room's next message on, or behind those that are gathered",
        words: Vec::new,
        read: |rules, value| set(&mut rules.batch_interval, interval(&value)),
        show: |rules| {
            let interval = humantime::format_duration(rules.batch_interval);
            Some(interval.to_string().into())
        },
    },
    NamespaceOption {
        key: "overflow",
        range: "disconnect or drop_oldest",
        meaning: "What becomes of a subscriber that reads too slowly.",
        on_reload: KEPT,
        words: words::<access::namespace::Overflow>,
        read: |rules, value| set(&mut rules.overflow, choice(&value)),
        show: |rules| word(rules.overflow),
    },
    NamespaceOption {
        key: "raw",
        range: "none, subscribe or publish",
        meaning: "What clients may do that open a WebSocket or a stream for one room and speak no \
                  protocol within it. All other rules hold for them, too.",
        on_reload: "narrower: who may not any more is closed; wider: kept",
        words: words::<access::namespace::Raw>,
        read: |rules, value| set(&mut rules.raw, choice(&value)),
        show: |rules| word(rules.raw),
    },
    NamespaceOption {
        key: "oneshot",
        range: "5s to 10m",
        meaning: "The life of a one-shot room, for one message such as the answer to a login by QR code: \
                  `POST /oneshot/NAME` makes it, its secret opens it, and a subscription token with \
                  \"publish\": true publishes in it. Not set, there are none in this namespace.",
        on_reload: "set or not set any more: everybody is unsubscribed; another time: kept: it holds for \
                    what comes",
        words: Vec::new,
        read: |rules, value| set(&mut rules.oneshot, life(&value).map(Some)),
        show: |rules| {
            let life = humantime::format_duration(rules.oneshot?);
            Some(life.to_string().into())
        },
    },
    NamespaceOption {
        key: "subscribe_hook",
        range: "true or false",
        meaning: "Whether the back end of [hooks.subscribe] decides who may subscribe without a subscription \
                  token. It is not asked about rooms whose names say whom they are for.",
        on_reload: "everybody is unsubscribed, and the back end is asked when they come again",
        words: Vec::new,
        read: |rules, value| set(&mut rules.subscribe_hook, flag(&value)),
        show: |rules| Some(rules.subscribe_hook.into()),
    },
    NamespaceOption {
        key: "publish_hook",
        range: "true or false",
        meaning: "Whether the back end of [hooks.publish] decides what clients publish, and may change it.",
        on_reload: KEPT,
        words: Vec::new,
        read: |rules, value| set(&mut rules.publish_hook, flag(&value)),
        show: |rules| Some(rules.publish_hook.into()),
    },
    NamespaceOption {
        key: "sub_refresh_hook",
        range: "true or false",
        meaning: "Whether the back end of [hooks.sub_refresh] decides if a subscription goes on whose time is \
                  over, and not a new token of the client.",
        on_reload: "kept: it holds for new subscriptions",
        words: Vec::new,
        read: |rules, value| set(&mut rules.sub_refresh_hook, flag(&value)),
        show: |rules| Some(rules.sub_refresh_hook.into()),
    },
];

/// The life of a one-shot room.
fn life(value: &Value) -> Result<Duration, String> {
    let text = text_of(value).ok_or_else(|| wrong_type(Kind::Unit, value))?;
    let life = delay(&text)?.duration();
    match (ONE_SHOT_LIFE_MIN..=ONE_SHOT_LIFE_MAX).contains(&life) {
        true => Ok(life),
        false => {
            Err("out of range: 5s to 10m; leave it out for rooms of the usual kind".to_owned())
        }
    }
}

/// Replaces a value if the new one could be read.
fn set<T>(place: &mut T, read: Result<T, String>) -> Result<(), String> {
    *place = read?;
    Ok(())
}

pub(in super::super) fn flag(value: &Value) -> Result<bool, String> {
    let wrong = || format!("wrong type ({}): write true or false", value.type_str());
    value.as_bool().ok_or_else(wrong)
}

pub(in super::super) fn count(value: &Value, min: u32, max: u32) -> Result<u32, String> {
    let count = value.as_integer();
    let count = count.ok_or_else(|| wrong_type(Kind::Count, value))?;
    let count = u32::try_from(count).ok();
    let count = count.filter(|count| (min..=max).contains(count));
    count.ok_or_else(|| format!("out of range: {min} to {max}"))
}

fn bytes(value: &Value, min: usize) -> Result<usize, String> {
    let text = text_of(value).ok_or_else(|| wrong_type(Kind::Unit, value))?;
    size(min, GIB)(&text).map(Size::bytes)
}

fn duration(value: &Value) -> Result<Duration, String> {
    let text = text_of(value).ok_or_else(|| wrong_type(Kind::Unit, value))?;
    period(&text).map(|period| period.duration())
}

fn duration_shown(duration: Duration) -> Option<Value> {
    Some(humantime::format_duration(duration).to_string().into())
}

/// The time for which messages are gathered; zero is none.
fn interval(value: &Value) -> Result<Duration, String> {
    let text = text_of(value).ok_or_else(|| wrong_type(Kind::Unit, value))?;
    let read = delay(&text)?.duration();
    match read.is_zero() || BatchInterval::new(read).is_some() {
        true => Ok(read),
        false => {
            Err("out of range: 20ms to 500ms, or 0s to let each message leave at once".to_owned())
        }
    }
}

/// A value with a unit as text; its parser reports a missing unit.
pub(in super::super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn choice<T: Choice>(value: &Value) -> Result<T, String> {
    let all: Vec<_> = T::ALL
        .iter()
        .map(|(word, ..)| format!("\"{word}\""))
        .collect();
    let all = format!("the values are: {}", all.join(", "));
    match value {
        Value::String(word) => T::from_word(word).ok_or(all),
        other => Err(format!("wrong type ({}): {all}", other.type_str())),
    }
}

fn word<T: Choice>(choice: T) -> Option<Value> {
    Some(choice.word().into())
}

fn words<T: Choice>() -> Vec<(&'static str, &'static str)> {
    let all = T::ALL.iter();
    all.map(|(word, _, meaning)| (*word, meaning.trim()))
        .collect()
}

/// A set of people: one word, or an array of words.
fn people<T>(value: Value, read: fn(&[String]) -> Result<T, WhoError>) -> Result<T, String> {
    let wrong = |value: &Value| {
        format!(
            "wrong type ({}): write a word in quotes, or an array such as [\"client\", \
             \"anonymous\"]",
            value.type_str()
        )
    };
    let words = match value {
        Value::String(word) => vec![word],
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(word) => Ok(word),
                other => Err(wrong(&other)),
            })
            .collect::<Result<_, _>>()?,
        other => return Err(wrong(&other)),
    };
    read(&words).map_err(|error| error.to_string())
}

fn list(words: &[&'static str]) -> Option<Value> {
    match words {
        [word] => Some((*word).into()),
        words => {
            let words = words.iter().map(|word| Value::from(*word));
            Some(Value::Array(words.collect()))
        }
    }
}
