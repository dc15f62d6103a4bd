//! The options of a hook: how each is read, shown and explained.

use std::path::PathBuf;

use hyper::header::HeaderName;
use toml::Value;

use super::{
    super::{
        Period, Size,
        file::{Kind as Written, wrong_type},
        namespaces::{count, flag, text_of},
        units::{GIB, KIB, MIB, period, size},
        url::url,
    },
    HookSettings,
};
use crate::hooks::{OnFailure, is_forgeable, is_of_connection};

/// An option of a hook.
pub struct HookOption {
    /// Its key in the table.
    pub key: &'static str,
    /// What may be written.
    pub range: &'static str,
    /// What it means, in sentences.
    pub meaning: &'static str,
    pub(super) read: fn(&mut HookSettings, Value) -> Result<(), String>,
    pub(in super::super) show: fn(&HookSettings) -> Option<Value>,
}

impl HookOption {
    /// The default, as the file would have it; `None` if the option is not set.
    pub fn default(&self) -> Option<String> {
        (self.show)(&HookSettings::default()).map(|value| value.to_string())
    }
}

/// The words of `on_failure`.
const REFUSE: &str = "refuse";
const ALLOW: &str = "allow";

/// All options of a hook, in the order in which people read them.
pub const HOOK_OPTIONS: &[HookOption] = &[
    HookOption {
        key: "url",
        range: "an URL with https://, or http:// to this machine (see http)",
        meaning: "Where the back end is asked, by POST. Redirects are not followed. [hooks] has none: each hook has \
                  its own.",
        read: |hook, value| {
            let text = text_of(&value).ok_or_else(|| wrong_type(Written::Text, &value))?;
            set(&mut hook.url, url(&text).map(Some))
        },
        show: |hook| Some(hook.url.as_ref()?.uri().to_string().into()),
    },
    HookOption {
        key: "timeout",
        range: "1ms to 1day, and below pause_timeout",
        meaning: "Time for an answer, from the question to the last byte; waiting for others is part of it.",
        read: |hook, value| set(&mut hook.timeout, period_of(&value)),
        show: |hook| Some(hook.timeout.to_string().into()),
    },
    HookOption {
        key: "in_flight_max",
        range: "1 to 10000",
        meaning: "Most requests of this hook that are under way.",
        read: |hook, value| set(&mut hook.in_flight_max, number(&value, 1, 10_000)),
        show: |hook| shown_number(hook.in_flight_max),
    },
    HookOption {
        key: "waiting_max",
        range: "0 to 1000000",
        meaning: "Most questions that wait until others are answered. Further ones have failed at once.",
        read: |hook, value| set(&mut hook.waiting_max, number(&value, 0, 1_000_000)),
        show: |hook| shown_number(hook.waiting_max),
    },
    HookOption {
        key: "waiting_bytes_max",
        range: "64KiB to 1GiB",
        meaning: "Most bytes of questions that wait or are under way, each with 4 KiB beside its body. Further ones \
                  have failed at once.",
        read: |hook, value| set(&mut hook.waiting_bytes_max, size_of(&value, 64 * KIB, GIB)),
        show: |hook| Some(hook.waiting_bytes_max.to_string().into()),
    },
    HookOption {
        key: "answer_bytes_max",
        range: "1KiB to 16MiB",
        meaning: "Most bytes of an answer. A longer one is not read further, and has failed.",
        read: |hook, value| set(&mut hook.answer_bytes_max, size_of(&value, KIB, 16 * MIB)),
        show: |hook| Some(hook.answer_bytes_max.to_string().into()),
    },
    HookOption {
        key: "headers",
        range: "an array of names",
        meaning: "Header fields of the client's request that the back end is sent, such as Cookie, Authorization, \
                  Origin and User-Agent. No others are.",
        read: |hook, value| set(&mut hook.headers, names(value, usual)),
        show: |hook| shown_names(&hook.headers),
    },
    HookOption {
        key: "forgeable_headers",
        range: "an array of names",
        meaning: "The same for fields that proxies write, such as X-Forwarded-For, Forwarded, X-Real-IP, Via and \
                  Host. A client that comes without a proxy writes them itself: list only what your proxy \
                  overwrites.",
        read: |hook, value| set(&mut hook.forgeable_headers, names(value, forgeable)),
        show: |hook| shown_names(&hook.forgeable_headers),
    },
    HookOption {
        key: "emulated_headers",
        range: "an array of names",
        meaning: "Header fields that clients put into their connect command (the option headers of SDKs, for pages, \
                  which cannot set any other), and that the back end is sent. Any client can write them.",
        read: |hook, value| set(&mut hook.emulated_headers, names(value, usual)),
        show: |hook| shown_names(&hook.emulated_headers),
    },
    HookOption {
        key: "on_failure",
        range: "refuse or allow",
        meaning: "What holds when the back end is slow or gone, or when its answer is none. refuse: the client is \
                  told error 100, after which SDKs try again; a connection or subscription whose time is over ends \
                  25 seconds later. allow: as if the back end had said yes and nothing beside it; whoever connects is \
                  nobody, and who is to be refreshed has another minute. rpc has no such answer.",
        read: |hook, value| set(&mut hook.on_failure, on_failure(&value)),
        show: |hook| {
            let word = match hook.on_failure {
                OnFailure::Refuse => REFUSE,
                OnFailure::Allow => ALLOW,
            };
            Some(word.into())
        },
    },
    HookOption {
        key: "include_meta",
        range: "true or false",
        meaning: "Whether the back end is told the claim meta of the client's token, or what it answered as meta when \
                  the client connected. It holds for who connects from then on.",
        read: |hook, value| set(&mut hook.include_meta, flag(&value)),
        show: |hook| Some(hook.include_meta.into()),
    },
    HookOption {
        key: "ca",
        range: "a path",
        meaning: "File with the authorities of the back end, in PEM; the system's by default.",
        read: |hook, value| {
            let text = text_of(&value).ok_or_else(|| wrong_type(Written::Text, &value))?;
            set(&mut hook.ca, path(text).map(Some))
        },
        show: |hook| Some(hook.ca.as_ref()?.display().to_string().into()),
    },
    HookOption {
        key: "http",
        range: "true or false",
        meaning: "Whether the URL may be http:// to another machine. Whoever is on the way could then answer in place \
                  of the back end. It is logged as a warning.",
        read: |hook, value| set(&mut hook.http, flag(&value)),
        show: |hook| Some(hook.http.into()),
    },
];

fn set<T>(place: &mut T, read: Result<T, String>) -> Result<(), String> {
    *place = read?;
    Ok(())
}

fn period_of(value: &Value) -> Result<Period, String> {
    let text = text_of(value).ok_or_else(|| wrong_type(Written::Unit, value))?;
    period(&text)
}

fn size_of(value: &Value, min: usize, max: usize) -> Result<Size, String> {
    let text = text_of(value).ok_or_else(|| wrong_type(Written::Unit, value))?;
    size(min, max)(&text)
}

fn number(value: &Value, min: u32, max: u32) -> Result<usize, String> {
    count(value, min, max).map(|count| count as usize)
}

fn shown_number(number: usize) -> Option<Value> {
    i64::try_from(number).ok().map(Value::from)
}

fn path(text: String) -> Result<PathBuf, String> {
    match text.is_empty() {
        true => Err("it is empty: write a path or leave it out".to_owned()),
        false => Ok(text.into()),
    }
}

fn on_failure(value: &Value) -> Result<OnFailure, String> {
    match value.as_str() {
        Some(REFUSE) => Ok(OnFailure::Refuse),
        Some(ALLOW) => Ok(OnFailure::Allow),
        _ => Err(format!("the values are: \"{REFUSE}\", \"{ALLOW}\"")),
    }
}

/// Names of header fields that this list may have.
fn names(
    value: Value,
    fits: fn(&HeaderName) -> Result<(), String>,
) -> Result<Vec<HeaderName>, String> {
    let Value::Array(items) = value else {
        return Err(wrong_type(Written::List, &value));
    };
    let mut names: Vec<HeaderName> = Vec::new();
    for item in items {
        let Value::String(text) = item else {
            return Err(wrong_type(Written::List, &item));
        };
        let name: HeaderName = text
            .parse()
            .map_err(|_| format!("{text:?} is no name of a header field"))?;
        if is_of_connection(name.as_str()) {
            return Err(format!(
                "{text} belongs to one request and is never sent on: leave it out"
            ));
        }
        fits(&name)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn usual(name: &HeaderName) -> Result<(), String> {
    match is_forgeable(name.as_str()) {
        true => Err(format!(
            "{name} is what proxies write, and a client that comes without one can write it itself: move it to \
             forgeable_headers if your proxy overwrites it, or leave it out"
        )),
        false => Ok(()),
    }
}

fn forgeable(name: &HeaderName) -> Result<(), String> {
    match is_forgeable(name.as_str()) {
        true => Ok(()),
        false => Err(format!(
            "{name} is no field that proxies write: move it to headers"
        )),
    }
}

fn shown_names(names: &[HeaderName]) -> Option<Value> {
    let names = names.iter().map(|name| Value::from(name.as_str()));
    Some(Value::Array(names.collect()))
}
