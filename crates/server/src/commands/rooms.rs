//! `hubbub rooms` and `hubbub presence`: the rooms of a running server, and who is in one.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::api::{Asked, Caller, Server};
use super::output::Look;
use super::{Done, output};
use crate::settings::Sources;

/// List the rooms of a running server in which somebody is, with their subscribers
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Rooms {
    /// What their names look like: `*` stands for any text, `?` for a character, `[ab]` and `{ab,cd}` for one of several
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,

    /// Print the largest first, and no more than this many
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,

    /// Print one object in JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

/// Tell who is in a room of a running server
///
/// Rooms know it whose namespace says presence.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The room
    #[arg(value_name = "ROOM")]
    room: String,

    /// Print one object in JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

impl Rooms {
    pub(super) fn run(&self, sources: &Sources<'_>) -> Done {
        let asked = Asked {
            method: "channels",
            room: None,
        };
        let caller = self.server.caller(asked, sources)?;
        let mut rooms: Vec<_> = self.all(&caller)?.into_iter().collect();
        if let Some(top) = self.top {
            // Rooms of one size stay in the order of their names.
            rooms.sort_by_key(|(_, subscribers)| std::cmp::Reverse(*subscribers));
            rooms.truncate(top);
        }
        output::say(&match self.json {
            true => {
                let room = |(name, subscribers): &(String, u64)| json!({"room": name, "subscribers": subscribers});
                let rooms: Vec<_> = rooms.iter().map(room).collect();
                format!("{:#}\n", json!({"rooms": rooms}))
            }
            false => {
                let rows = rooms.into_iter();
                let rows: Vec<_> = rows
                    .map(|(name, subscribers)| vec![name, subscribers.to_string()])
                    .collect();
                Look::of_stdout().table(&["Room", "Subscribers"], &rows)
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// All of them, a page after the other.
    fn all(&self, caller: &Caller) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut rooms = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let pattern = self.pattern.as_deref().unwrap_or_default();
            let request = json!({"pattern": pattern, "cursor": cursor});
            let page = caller.call("channels", &request);
            let page = page.context("the rooms cannot be listed")?;
            let found = page["channels"].as_object().into_iter().flatten();
            rooms.extend(found.map(|(name, room)| {
                let subscribers = room["num_clients"].as_u64();
                (name.clone(), subscribers.unwrap_or_default())
            }));
            let next = page["cursor"].as_str().unwrap_or_default();
            if next.is_empty() || next == cursor {
                return Ok(rooms);
            }
            cursor = next.to_owned();
        }
    }
}

impl Presence {
    pub(super) fn run(&self, sources: &Sources<'_>) -> Done {
        let asked = Asked {
            method: "presence",
            room: Some(&self.room),
        };
        let caller = self.server.caller(asked, sources)?;
        let result = caller.call("presence", &json!({"channel": self.room}));
        let result =
            result.with_context(|| format!("it is not known who is in {:?}", self.room))?;
        output::say(&match self.json {
            true => format!("{result:#}\n"),
            false => Look::of_stdout().table(&["User", "Client", "Info"], &rows(&result)),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A row for each connection, those of a user together.
fn rows(result: &Value) -> Vec<Vec<String>> {
    let clients = result["presence"].as_object().into_iter().flatten();
    let mut rows: Vec<_> = clients
        .map(|(id, client)| {
            let user = client["user"].as_str().unwrap_or_default().to_owned();
            let info = [&client["conn_info"], &client["chan_info"]].into_iter();
            let info: Vec<_> = info
                .filter(|info| !info.is_null())
                .map(Value::to_string)
                .collect();
            vec![user, id.clone(), info.join(" ")]
        })
        .collect();
    rows.sort();
    rows
}
