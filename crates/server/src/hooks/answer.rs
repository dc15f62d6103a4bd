//! Reads what a back end has answered: a result, an error, or that the client is to go.
//!
//! *Never:* an error about an answer repeats anything of it, since it goes to the log.

use std::collections::BTreeMap;

use access::token::{Overrides, Payload, ServerSubscription};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use codec::CloseCode;
use hub::Version;
use serde::Deserialize;
use serde_json::{error::Category, value::RawValue};

use super::HookKind;
use crate::{idempotency, reasons};

/// Base64 as in RFC 4648 section 4, whose padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Most bytes of the reason with which a client is told to go: what a close frame has space for (RFC 6455 section
/// 5.5).
const REASON_BYTES_MAX: usize = 123;

/// What a back end has said.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// This holds.
    Result(Box<Verdict>),
    /// Nothing: of a client that connects, that the back end does not know it.
    Nothing,
    /// No: an error that the client is told.
    Error {
        /// 400 to 1999 for the application; below are those of the protocol.
        code: u32,
        /// For people.
        message: String,
        /// Whether the client should try again.
        temporary: bool,
    },
    /// The client is to go.
    Disconnect(Disconnection),
}

/// How a client is told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnection {
    /// 4000 to 4999; SDKs come back after those below 4500.
    pub code: CloseCode,
    /// For people.
    pub reason: &'static str,
}

/// What holds, by what a back end has answered. Each hook looks at what it asked for.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// Who the client is; empty for nobody.
    pub user: Option<String>,
    /// Whether its time is over.
    pub is_expired: bool,
    /// When its time is over, in seconds since 1970; `None`: never.
    pub expires_at: Option<i64>,
    /// What others see of it.
    pub info: Option<Payload>,
    /// What the client is handed; of a publication, what is published instead.
    pub data: Option<Payload>,
    /// The rooms that the client is subscribed to.
    pub subscriptions: BTreeMap<String, ServerSubscription>,
    /// Options of the namespace that are others for this subscription.
    pub overrides: Overrides,
    /// What back ends are told of the connection from now on: a JSON text.
    pub meta: Option<Box<str>>,
    /// What subscribers are told beside a message.
    pub tags: Vec<(String, String)>,
    /// Whether the history does not keep a message.
    pub skips_history: bool,
    /// The key by which a repeated message is known.
    pub idempotency_key: Option<String>,
    /// A message whose version is not above that of the latest one does not become one.
    pub version: Option<(String, u64)>,
}

impl Verdict {
    /// What holds where nothing is said.
    pub const NOTHING: Self = Self {
        user: None,
        is_expired: false,
        expires_at: None,
        info: None,
        data: None,
        subscriptions: BTreeMap::new(),
        overrides: Overrides {
            presence: None,
            join_leave: None,
            force_push_join_leave: None,
            force_positioning: None,
            force_recovery: None,
        },
        meta: None,
        tags: Vec::new(),
        skips_history: false,
        idempotency_key: None,
        version: None,
    };
}

impl Verdict {
    /// Whether it says something of a message besides what is published.
    pub fn says_more_of_a_message(&self) -> bool {
        let has_key = self.idempotency_key.is_some();
        !self.tags.is_empty() || has_key || self.skips_history || self.version.is_some()
    }
}

/// The body of an answer. Who writes `null` means that there is none.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<WrittenError>,
    disconnect: Option<WrittenDisconnect>,
}

#[derive(Deserialize)]
struct WrittenError {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    temporary: bool,
}

#[derive(Deserialize)]
struct WrittenDisconnect {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenResult {
    user: Option<String>,
    expired: Option<bool>,
    expire_at: Option<i64>,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, Option<WrittenSubscription>>>,
    #[serde(rename = "override")]
    overrides: Option<WrittenOverrides>,
    meta: Option<Box<RawValue>>,
    tags: Option<BTreeMap<String, String>>,
    skip_history: Option<bool>,
    idempotency_key: Option<String>,
    version: Option<u64>,
    version_epoch: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenSubscription {
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<WrittenOverrides>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenOverrides {
    presence: Option<Flag>,
    join_leave: Option<Flag>,
    force_push_join_leave: Option<Flag>,
    force_positioning: Option<Flag>,
    force_recovery: Option<Flag>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flag {
    value: bool,
}

/// Reads an answer. The error is the rest of a sentence.
pub fn read(kind: HookKind, answer: &[u8]) -> Result<Said, String> {
    let written: Written<'_> = serde_json::from_slice(answer).map_err(|error| unread(&error))?;
    let Written {
        result,
        error,
        disconnect,
    } = written;
    if let Some(disconnect) = disconnect {
        return disconnection(&disconnect).map(Said::Disconnect);
    }
    if let Some(WrittenError {
        code,
        message,
        temporary,
    }) = error
    {
        return match (100..2_000).contains(&code) {
            true => Ok(Said::Error {
                code,
                message,
                temporary,
            }),
            false => Err("has an error whose `code` is not within 400 to 1999".to_owned()),
        };
    }
    let Some(result) = result else {
        return match kind {
            HookKind::Connect => Ok(Said::Nothing),
            _ => Err("has neither `result` nor `error` nor `disconnect`".to_owned()),
        };
    };
    let result: WrittenResult = serde_json::from_str(result.get())
        .map_err(|error| format!("in `result` {}", unread(&error)))?;
    let verdict = verdict(result)?;
    match (kind, &verdict.user) {
        (HookKind::Connect, None) => Err("has a `result` without `user`".to_owned()),
        _ => Ok(Said::Result(Box::new(verdict))),
    }
}

fn unread(error: &serde_json::Error) -> String {
    let why = match error.classify() {
        Category::Data => "has a field of another type than it must have",
        Category::Syntax | Category::Eof | Category::Io => "is not JSON",
    };
    format!("{why} (line {}, column {})", error.line(), error.column())
}

fn disconnection(written: &WrittenDisconnect) -> Result<Disconnection, String> {
    let code =
        CloseCode::from_wire(written.code).filter(|code| (4_000..5_000).contains(&code.get()));
    let Some(code) = code else {
        return Err("has a disconnect whose `code` is not within 4000 to 4999".to_owned());
    };
    if written.reason.len() > REASON_BYTES_MAX {
        return Err("has a disconnect whose `reason` is longer than 123 bytes".to_owned());
    }
    let reason = reasons::kept(&written.reason);
    Ok(Disconnection { code, reason })
}

fn verdict(written: WrittenResult) -> Result<Verdict, String> {
    let WrittenResult {
        user,
        expired,
        expire_at,
        info,
        b64info,
        data,
        b64data,
        channels,
        subs,
        overrides,
        meta,
        tags,
        skip_history,
        idempotency_key,
        version,
        version_epoch,
    } = written;
    Ok(Verdict {
        user,
        is_expired: expired.unwrap_or_default(),
        expires_at: expires_at(expire_at)?,
        info: payload(info, b64info)?,
        data: payload(data, b64data)?,
        subscriptions: subscriptions(channels, subs)?,
        overrides: overrides.unwrap_or_default().into(),
        meta: meta.map(|meta| meta.get().into()),
        tags: tags.unwrap_or_default().into_iter().collect(),
        skips_history: skip_history.unwrap_or_default(),
        idempotency_key: key(idempotency_key)?,
        version: versioned(version, version_epoch)?,
    })
}

/// The farthest second from 1970 that is accepted: up to it, every number of JSON is exact.
const SECONDS_MAX: i64 = 1 << 53;

/// When a time is over; 0 means never.
fn expires_at(written: Option<i64>) -> Result<Option<i64>, String> {
    match written.filter(|at| *at != 0) {
        Some(at) if !(-SECONDS_MAX..=SECONDS_MAX).contains(&at) => {
            Err("has an `expire_at` that is no time".to_owned())
        }
        at => Ok(at),
    }
}

/// A key, if there is one.
fn key(written: Option<String>) -> Result<Option<String>, String> {
    match written.filter(|key| !key.is_empty()) {
        Some(key) if key.len() > idempotency::KEY_BYTES_MAX => {
            Err("has an `idempotency_key` that is too long".to_owned())
        }
        key => Ok(key),
    }
}

/// A version, if there is one: 0 is none.
fn versioned(version: Option<u64>, epoch: Option<String>) -> Result<Option<(String, u64)>, String> {
    let epoch = epoch.unwrap_or_default();
    match version.filter(|version| *version > 0) {
        Some(_) if epoch.len() > Version::EPOCH_BYTES_MAX => {
            Err("has a `version_epoch` that is too long".to_owned())
        }
        version => Ok(version.map(|version| (epoch, version))),
    }
}

/// The rooms of `subs`, and those of `channels` beside them.
fn subscriptions(
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, Option<WrittenSubscription>>>,
) -> Result<BTreeMap<String, ServerSubscription>, String> {
    let mut all = BTreeMap::new();
    for channel in channels.unwrap_or_default() {
        all.insert(channel, ServerSubscription::default());
    }
    for (channel, written) in subs.unwrap_or_default() {
        let written = written.unwrap_or_default();
        let subscription = ServerSubscription {
            info: payload(written.info, written.b64info)?,
            data: payload(written.data, written.b64data)?,
            overrides: written.overrides.unwrap_or_default().into(),
        };
        all.insert(channel, subscription);
    }
    Ok(all)
}

fn payload(json: Option<Box<RawValue>>, base64: Option<String>) -> Result<Option<Payload>, String> {
    match base64.filter(|text| !text.is_empty()) {
        Some(text) => BASE64
            .decode(text)
            .map(|bytes| Some(Payload::Bytes(bytes.into())))
            .map_err(|_| "has a field in base64 that is none".to_owned()),
        None => Ok(json.map(|json| Payload::Json(json.get().into()))),
    }
}

impl From<WrittenOverrides> for Overrides {
    fn from(written: WrittenOverrides) -> Self {
        let value = |flag: Option<Flag>| flag.map(|flag| flag.value);
        Self {
            presence: value(written.presence),
            join_leave: value(written.join_leave),
            force_push_join_leave: value(written.force_push_join_leave),
            force_positioning: value(written.force_positioning),
            force_recovery: value(written.force_recovery),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(kind: HookKind, result: &str) -> Verdict {
        match read(kind, format!("{{\"result\":{result}}}").as_bytes()) {
            Ok(Said::Result(verdict)) => *verdict,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn result_is_read_with_all_its_fields() {
        let verdict = verdict_of(
            HookKind::Connect,
            r#"{"user":"ann","expire_at":7,"info":{"a" :1},"b64data":"AQI","meta":{"m":1},
                "channels":["news","chat:1"],"subs":{"chat:1":{"info":1,"override":{"presence":{"value":true}}},"x":null},
                "tags":{"b":"2","a":"1"},"skip_history":true,"idempotency_key":"k","version":3,"version_epoch":"e","other":[]}"#,
        );
        assert_eq!(verdict.user.as_deref(), Some("ann"));
        assert_eq!(verdict.expires_at, Some(7));
        assert_eq!(verdict.info, Some(Payload::Json(r#"{"a" :1}"#.into())));
        assert_eq!(verdict.data, Some(Payload::Bytes([1, 2].into())));
        assert_eq!(verdict.meta.as_deref(), Some(r#"{"m":1}"#));
        let rooms: Vec<_> = verdict.subscriptions.keys().map(String::as_str).collect();
        assert_eq!(rooms, ["chat:1", "news", "x"]);
        let chat = &verdict.subscriptions["chat:1"];
        assert_eq!(chat.info, Some(Payload::Json("1".into())));
        assert_eq!(chat.overrides.presence, Some(true));
        assert_eq!(verdict.tags[0], ("a".to_owned(), "1".to_owned()));
        assert!(verdict.skips_history);
        assert_eq!(verdict.idempotency_key.as_deref(), Some("k"));
        assert_eq!(verdict.version, Some(("e".to_owned(), 3)));
    }

    #[test]
    fn what_is_null_or_empty_is_not_there() {
        let nulls = r#"{"expire_at":null,"info":null,"b64info":"","data":null,"subs":null,"channels":null,
            "override":null,"meta":null,"tags":null,"skip_history":null,"idempotency_key":"","version":0}"#;
        assert_eq!(verdict_of(HookKind::Subscribe, nulls), Verdict::default());
        assert_eq!(
            verdict_of(HookKind::Refresh, r#"{"expire_at":0}"#),
            Verdict::default()
        );
        let all = br#"{"result":{},"error":null,"disconnect":null}"#;
        assert!(matches!(read(HookKind::Rpc, all), Ok(Said::Result(_))));
    }

    #[test]
    fn error_and_disconnect_come_before_a_result() {
        let error = read(
            HookKind::Publish,
            br#"{"result":{},"error":{"code":1000,"message":"no","temporary":true}}"#,
        );
        let expected = Said::Error {
            code: 1000,
            message: "no".to_owned(),
            temporary: true,
        };
        assert_eq!(error, Ok(expected));
        let said = read(
            HookKind::Publish,
            br#"{"disconnect":{"code":4500,"reason":"go"},"error":{"code":1000}}"#,
        );
        let Ok(Said::Disconnect(Disconnection { code, reason })) = said else {
            panic!("{said:?}");
        };
        assert_eq!((code.get(), reason), (4500, "go"));
    }

    #[test]
    fn who_connects_may_be_unknown_and_everything_else_must_be_decided() {
        for nothing in ["{}", r#"{"result":null}"#] {
            assert_eq!(
                read(HookKind::Connect, nothing.as_bytes()),
                Ok(Said::Nothing)
            );
            for kind in [
                HookKind::Subscribe,
                HookKind::Publish,
                HookKind::Rpc,
                HookKind::Refresh,
            ] {
                assert!(read(kind, nothing.as_bytes()).is_err(), "{kind:?}");
            }
        }
        assert!(read(HookKind::Connect, br#"{"result":{}}"#).is_err());
    }

    #[test]
    fn what_is_no_answer_is_refused_in_words_that_repeat_nothing_of_it() {
        for answer in [
            "",
            "secret",
            "null",
            "[]",
            "\"secret\"",
            "{\"result\":\"secret\"}",
            "{\"result\":{\"user\":{\"secret\":1}}}",
            "{\"result\":{\"user\":\"a\",\"user\":\"secret\"}}",
            "{\"result\":{\"user\":\"a\",\"b64data\":\"secret!\"}}",
            "{\"result\":{\"user\":\"a\"}",
            "{\"error\":{\"code\":99,\"message\":\"secret\"}}",
            "{\"error\":{\"code\":2000}}",
            "{\"error\":\"secret\"}",
            "{\"disconnect\":{\"code\":3999,\"reason\":\"secret\"}}",
            "{\"disconnect\":{\"code\":5000}}",
            "{\"disconnect\":{}}",
            "\u{feff}{}",
        ] {
            let why = read(HookKind::Connect, answer.as_bytes()).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        let long = format!(
            r#"{{"disconnect":{{"code":4000,"reason":"{}"}}}}"#,
            "x".repeat(124)
        );
        assert!(read(HookKind::Connect, long.as_bytes()).is_err());
        assert!(read(HookKind::Connect, b"{\"result\":{\"user\":\"\xff\"}}").is_err());
        let long = format!(
            r#"{{"result":{{"version":1,"version_epoch":"{}"}}}}"#,
            "x".repeat(256)
        );
        assert!(read(HookKind::Publish, long.as_bytes()).is_err());
        let deep = "[".repeat(30_000);
        assert!(read(HookKind::Rpc, format!("{{\"result\":{deep}").as_bytes()).is_err());
    }
}
