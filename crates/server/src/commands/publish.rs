//! `hubbub publish`: a message for a room of a running server.

use std::io::{self, IsTerminal, Read as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::api::{Asked, Server};
use super::output::Look;
use super::{Done, output};
use crate::settings::Sources;

/// Publish a message in a room of a running server
///
/// The message is what DATA is, or what comes on standard input, without a newline at its end. It is JSON, text, or
/// bytes that are no text. Printed is its place in the room, where messages have places.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The room
    #[arg(value_name = "ROOM")]
    room: String,

    /// The message, or - to read it from standard input
    #[arg(value_name = "DATA", default_value = "-", hide_default_value = true)]
    #[arg(allow_hyphen_values = true)]
    data: String,

    /// What subscribers are told beside it; may be repeated, and takes a message in JSON
    #[arg(long = "tag", value_name = "NAME=TEXT", value_parser = tag)]
    tags: Vec<(String, String)>,

    /// The message is bytes and no text, to the last of them
    #[arg(long, conflicts_with = "tags")]
    binary: bool,

    /// Publish it once, however often this is repeated with the same key within five minutes
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

/// The most that is read from standard input; servers take less.
const INPUT_BYTES_MAX: u64 = 64 << 20;

impl Publish {
    pub(super) fn run(&self, sources: &Sources<'_>) -> Done {
        let asked = Asked {
            method: "publish",
            room: Some(&self.room),
        };
        let caller = self.server.caller(asked, sources)?;
        let message = self.message()?;
        let result = match self.tags.is_empty() {
            true => {
                let room = utf8_percent_encode(&self.room, NON_ALPHANUMERIC);
                let kind = match self.binary {
                    true => "application/octet-stream",
                    false => "text/plain; charset=utf-8",
                };
                let key = self.idempotency_key.iter();
                let fields: Vec<_> = key.map(|key| ("Idempotency-Key", key.as_str())).collect();
                caller.post(&format!("/rooms/{room}"), kind, &fields, message.into())
            }
            false => caller.call("publish", &self.request(&message)?),
        };
        let result = result.with_context(|| format!("nothing was published in {:?}", self.room))?;
        output::say(&self.shown(&result, Look::of_stdout()))?;
        Ok(ExitCode::SUCCESS)
    }

    fn message(&self) -> anyhow::Result<Vec<u8>> {
        if self.data != "-" {
            return Ok(self.data.clone().into_bytes());
        }
        let stdin = io::stdin();
        if stdin.is_terminal() {
            output::note("write the message, and end it with Ctrl-D on a line of its own:");
        }
        let mut message = Vec::new();
        let read = stdin.lock().take(INPUT_BYTES_MAX).read_to_end(&mut message);
        read.context("standard input cannot be read")?;
        if !self.binary && message.ends_with(b"\n") {
            message.pop();
            message.pop_if(|byte| *byte == b'\r');
        }
        if message.is_empty() {
            bail!("there is no message on standard input: pipe it in, or write it behind the room");
        }
        Ok(message)
    }

    fn request(&self, message: &[u8]) -> anyhow::Result<Value> {
        let data: Value = serde_json::from_slice(message)
            .context("--tag takes a message in JSON: text needs quotes, as in '\"text\"'")?;
        let tags = self.tags.iter();
        let tags: Map<_, _> = tags
            .map(|(name, text)| (name.clone(), text.clone().into()))
            .collect();
        let mut request = json!({"channel": self.room, "data": data, "tags": tags});
        if let Some(key) = &self.idempotency_key {
            request["idempotency_key"] = key.clone().into();
        }
        Ok(request)
    }

    fn shown(&self, result: &Value, look: Look) -> String {
        if self.json {
            return format!("{result}\n");
        }
        let offset = result["offset"].as_u64();
        let epoch = result["epoch"].as_str();
        match (offset.zip(epoch), look.terminal) {
            (Some((offset, epoch)), true) => {
                format!(
                    "Published in {:?}, at offset {offset} of epoch {}\n",
                    self.room,
                    output::visible(epoch)
                )
            }
            (Some((offset, epoch)), false) => format!("{offset}\t{}\n", output::visible(epoch)),
            (None, true) => format!("Published in {:?}\n", self.room),
            (None, false) => String::new(),
        }
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, text)) if !name.is_empty() => Ok((name.to_owned(), text.to_owned())),
        _ => Err("write NAME=TEXT".to_owned()),
    }
}
