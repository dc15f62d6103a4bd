//! `channels`: the rooms in which somebody is, some at a time.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Request, Scope};
use crate::api::{call::Call, failure::Failure, json::whole};

/// Rooms in an answer, unless a request wants fewer.
const ROOMS_MAX: usize = 10_000;

/// The longest pattern.
const PATTERN_BYTES_MAX: usize = 255;

/// A request for rooms.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct ChannelsRequest {
    /// What their names look like: `*` stands for any text, `?` for a character, `[ab]` and `{ab,cd}` for one of
    /// several; empty for all.
    #[serde(default)]
    pattern: String,
    /// About how many; 0 for as many as may be.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    limit: u64,
    /// Where the list goes on: what the last answer says.
    #[serde(default)]
    cursor: String,
}

/// Rooms.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ChannelsResult {
    channels: BTreeMap<String, Channel>,
    /// Where the list goes on; empty at its end.
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
}

/// A room.
#[derive(Serialize, ToSchema)]
struct Channel {
    /// Its subscribers.
    num_clients: u32,
}

/// Where a list goes on: in the rooms of a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cursor {
    core: usize,
    from: u32,
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self { core: 0, from: 0 });
        }
        let (core, from) = text.split_once('.')?;
        Some(Self {
            core: core.parse().ok()?,
            from: from.parse().ok()?,
        })
    }

    fn text(self) -> String {
        format!("{}.{}", self.core, self.from)
    }
}

impl Request for ChannelsRequest {
    type Result = ChannelsResult;
    const NAME: &'static str = "channels";
    const WORDS: &'static str = "Lists the rooms in which somebody is. Where there are many, the answer says by a cursor how to go on.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<ChannelsResult, Failure> {
        let matcher = matcher(&self.pattern)?;
        let cursor = Cursor::read(&self.cursor);
        let mut cursor = cursor.ok_or(Failure::bad("cursor is none of this method"))?;
        let most = match self.limit {
            0 => ROOMS_MAX,
            limit => ROOMS_MAX.min(limit as usize),
        };
        let mut channels = BTreeMap::new();
        while channels.len() < most && cursor.core < call.rooms().cores() {
            let listing = call.rooms().list(cursor.core, cursor.from).await?;
            let rooms = listing.rooms.into_iter().filter(|(name, subscribers)| {
                let is_wanted = matcher.as_ref().is_none_or(|it| it.is_match(name.as_str()));
                *subscribers > 0 && is_wanted && call.may_name(name.as_str())
            });
            channels
                .extend(rooms.map(|(name, num_clients)| {
                    (name.as_str().to_owned(), Channel { num_clients })
                }));
            cursor = match listing.next {
                Some(from) => Cursor { from, ..cursor },
                None => Cursor {
                    core: cursor.core + 1,
                    from: 0,
                },
            };
        }
        let is_over = cursor.core >= call.rooms().cores();
        let cursor = if is_over {
            String::new()
        } else {
            cursor.text()
        };
        Ok(ChannelsResult { channels, cursor })
    }
}

/// What finds names that look like this; `None` if all do.
fn matcher(pattern: &str) -> Result<Option<GlobMatcher>, Failure> {
    match pattern {
        "" | "*" => Ok(None),
        pattern if pattern.len() > PATTERN_BYTES_MAX => {
            Err(Failure::bad("pattern has more than 255 bytes"))
        }
        pattern => {
            let glob = Glob::new(pattern);
            let glob = glob.map_err(|_| Failure::bad("pattern cannot be read"))?;
            Ok(Some(glob.compile_matcher()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_is_read_back_and_no_other_text_is_one() {
        let cursor = Cursor { core: 3, from: 77 };
        assert_eq!(Cursor::read(&cursor.text()), Some(cursor));
        assert_eq!(Cursor::read(""), Some(Cursor { core: 0, from: 0 }));
        for text in ["x", "1", "1.", ".1", "1.-1", "1.1.1", "1.4294967296"] {
            assert_eq!(Cursor::read(text), None, "{text}");
        }
    }

    #[test]
    fn patterns_find_names() {
        for (pattern, name, is_found) in [
            ("chat:*", "chat:a#1,2", true),
            ("chat:*", "news:a", false),
            ("?", "x", true),
            ("{a,b}*", "bc", true),
            ("a", "ab", false),
        ] {
            let matcher = matcher(pattern).unwrap().unwrap();
            assert_eq!(matcher.is_match(name), is_found, "{pattern} {name}");
        }
        assert!(matcher("").unwrap().is_none());
        assert!(matcher("[").is_err());
        assert!(matcher(&"*a".repeat(128)).is_err());
    }
}
