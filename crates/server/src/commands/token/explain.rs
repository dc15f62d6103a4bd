//! `hubbub token explain`: who a token is of, until when, what of it counts here, and whether it is believed.
//!
//! What a token says is shown whoever wrote it. Only the verdict says whether it is so.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Read as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use access::token::TokenError;
use anyhow::{Context as _, anyhow, bail};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use serde_json::{Map, Value, json};

use super::claims::{self, USER};
use crate::backend::Backend;
use crate::commands::{Done, context::Context, output, output::Look};
use crate::settings::{Settings, Sources};
use crate::tokens::{self, Tokens, Unverified};
use crate::world::now_s;

/// Explain a token: who it is of, until when it is good, which claims count here, and whether the keys of the
/// settings verify it
///
/// It exits with 0 if the token is good, or if there are no keys to verify it with, else with 1.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The token, or - to read it from standard input, which is better: others can see what stands on a command
    /// line
    #[arg(value_name = "TOKEN", default_value = "-", hide_default_value = true)]
    token: String,

    /// Print one object in JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    context: Context,
}

/// More than any server takes.
const INPUT_BYTES_MAX: u64 = 1 << 20;

impl Explain {
    pub(super) fn run(&self, sources: &Sources<'_>) -> Done {
        let token = self.token()?;
        let parts = Parts::of(&token)?;
        let settings = self.context.load(sources)?.settings;
        let now_s = now_s();
        let verdict = Verdict::of(&token, parts.is_subscription(), &settings, now_s)?;
        let explained = Explained {
            user_claim: settings.token_user_claim.as_deref().unwrap_or(USER),
            parts,
            verdict,
            now_s,
        };
        output::say(&match self.json {
            true => format!("{:#}\n", explained.json()),
            false => explained.text(Look::of_stdout()),
        })?;
        Ok(match explained.verdict {
            Verdict::Refused(_) => ExitCode::FAILURE,
            Verdict::Good | Verdict::Unknown => ExitCode::SUCCESS,
        })
    }

    fn token(&self) -> anyhow::Result<String> {
        let text = match self.token.as_str() {
            "-" => read()?,
            token => {
                output::note(
                    "note: others on this machine can see a token on a command line; pipe it in instead",
                );
                token.to_owned()
            }
        };
        let text = text.trim();
        // As in the header field Authorization.
        Ok(text.strip_prefix("Bearer ").unwrap_or(text).to_owned())
    }
}

/// The token on standard input: a line that somebody types or pastes, or all that is piped.
fn read() -> anyhow::Result<String> {
    let mut text = String::new();
    let stdin = io::stdin();
    let taken = match stdin.is_terminal() {
        true => {
            output::note("paste the token, and press Enter:");
            stdin.lock().read_line(&mut text)
        }
        false => stdin.lock().take(INPUT_BYTES_MAX).read_to_string(&mut text),
    };
    taken.context("standard input cannot be read")?;
    if text.trim().is_empty() {
        bail!("there is no token on standard input: pipe it in, or write it behind the command");
    }
    Ok(text)
}

/// What a token says.
struct Parts {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Parts {
    fn of(token: &str) -> anyhow::Result<Self> {
        let parts: Vec<_> = token.split('.').collect();
        let [header, claims, _] = parts[..] else {
            bail!(
                "this is no token: a token has 3 parts with dots between them, and this has {}",
                parts.len()
            );
        };
        Ok(Self {
            header: decode("header", header)?,
            claims: decode("payload", claims)?,
        })
    }

    fn is_subscription(&self) -> bool {
        self.claims.contains_key("channel")
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }
}

fn decode(name: &str, part: &str) -> anyhow::Result<Map<String, Value>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part);
    let bytes = bytes.map_err(|_| anyhow!("this is no token: its {name} is not base64url"))?;
    serde_json::from_slice(&bytes)
        .map_err(|_| anyhow!("this is no token: its {name} is not an object in JSON"))
}

/// Whether a server with these settings believes it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Refused(String),
    /// The settings have no keys.
    Unknown,
}

impl Verdict {
    fn of(
        token: &str,
        is_subscription: bool,
        settings: &Settings,
        now_s: i64,
    ) -> anyhow::Result<Self> {
        let tokens = tokens::load(settings).map_err(|faults| anyhow!("{faults:#}"))?;
        let are_known = match is_subscription {
            true => tokens.are_known(),
            false => tokens.has_connection_keys(),
        };
        if !are_known {
            return Ok(Self::Unknown);
        }
        // It lasts as long as the keys are asked for.
        let backend = Backend::default();
        fetch(&tokens, &backend, settings.token_jwks_timeout.duration())?;
        let verified = match is_subscription {
            true => tokens.verify_subscription(token, now_s).map(drop),
            false => tokens.verify_connection(token, now_s).map(drop),
        };
        Ok(match verified {
            Ok(()) => Self::Good,
            // All keys have come, and a server would only ask for newer ones.
            Err(Unverified::KeyToCome) => Self::Refused(TokenError::UnknownKey.to_string()),
            Err(Unverified::Refused(error)) => Self::Refused(error.to_string()),
            // A server alone knows.
            Err(revoked @ Unverified::Revoked) => Self::Refused(revoked.to_string()),
        })
    }
}

/// Waits until keys have come from the URLs that settings name.
fn fetch(tokens: &Tokens, backend: &Backend, time: Duration) -> anyhow::Result<()> {
    tokens
        .fetch(backend, None)
        .context("no thread for the keys of tokens can be started")?;
    let until = Instant::now() + time + Duration::from_millis(500);
    while let Some(remote) = tokens.remotes().find(|it| it.keys().is_none()) {
        if remote.standing().failed > 0 || Instant::now() > until {
            bail!(
                "{} gives no keys, so that nobody can verify the token: `curl` its URL to see why",
                remote.setting()
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

struct Explained<'s> {
    user_claim: &'s str,
    parts: Parts,
    verdict: Verdict,
    now_s: i64,
}

impl Explained<'_> {
    fn user(&self) -> &str {
        self.parts.text(self.user_claim).unwrap_or_default()
    }

    /// What a claim means in this token, if it means anything.
    fn meaning(&self, name: &str) -> Option<&'static str> {
        if name == self.user_claim {
            return Some("the user");
        }
        let known = claims::known(name, self.parts.is_subscription())?;
        // Another claim takes its place.
        (name != USER).then_some(known.means)
    }

    fn text(&self, look: Look) -> String {
        let mut text = String::new();
        let user = match self.user() {
            "" => "nobody in particular".to_owned(),
            user => format!("the user {user:?}"),
        };
        let what = match self.parts.text("channel") {
            Some(room) => format!("Subscription token for the room {room:?}, of {user}"),
            None => format!("Connection token of {user}"),
        };
        let _ = writeln!(text, "{}", look.heading(&output::visible(&what)));
        let _ = writeln!(text, "{}", self.end());
        let _ = writeln!(text, "{}", self.verdict_text());
        let header = self.parts.header.iter();
        let header = header.map(|(name, value)| vec![name.clone(), value.to_string()]);
        let claims = self.parts.claims.iter();
        let claims =
            claims.map(|(name, value)| vec![name.clone(), value.to_string(), self.remark(name)]);
        for (title, rows) in [("Header", header.collect()), ("Claims", claims.collect())] {
            let rows: Vec<_> = rows;
            let _ = writeln!(text, "\n{}", look.heading(title));
            text.push_str(&output::columns(&rows, "  "));
        }
        text
    }

    /// What stands behind a claim.
    fn remark(&self, name: &str) -> String {
        let value = self.parts.claims.get(name).and_then(Value::as_i64);
        let moment = match name {
            "exp" | "nbf" | "iat" | "expire_at" => value.filter(|at| *at != 0),
            _ => None,
        };
        let moment = moment.map(|at| super::moment(at, self.now_s));
        match (self.meaning(name), moment) {
            (Some(means), Some(moment)) => format!("{means}: {moment}"),
            (Some(means), None) => means.to_owned(),
            (None, _) => "means nothing here".to_owned(),
        }
    }

    fn end(&self) -> String {
        match self.parts.claims.get("exp").and_then(Value::as_i64) {
            Some(exp) if exp > self.now_s => format!("Ends {}", super::moment(exp, self.now_s)),
            Some(exp) => format!("Ended {}", super::moment(exp, self.now_s)),
            None => "Has no end".to_owned(),
        }
    }

    fn verdict_text(&self) -> String {
        match &self.verdict {
            Verdict::Good => "Good: the keys of the settings verify it".to_owned(),
            Verdict::Refused(why) => format!("Refused: {why}"),
            Verdict::Unknown => {
                "Not verified: there are no keys in the settings; name those of the server with \
                                 --config, or its secret by HUBBUB_TOKEN_SECRET"
                    .to_owned()
            }
        }
    }

    fn json(&self) -> Value {
        let names = self.parts.claims.keys();
        let read: Vec<_> = names.filter(|name| self.meaning(name).is_some()).collect();
        let (verified, why) = match &self.verdict {
            Verdict::Good => (json!(true), Value::Null),
            Verdict::Refused(why) => (json!(false), why.clone().into()),
            Verdict::Unknown => (Value::Null, "there are no keys in the settings".into()),
        };
        let is_subscription = self.parts.is_subscription();
        json!({
            "kind": if is_subscription { "subscription" } else { "connection" },
            "user": self.user(),
            "room": self.parts.claims.get("channel"),
            "header": self.parts.header,
            "claims": self.parts.claims,
            "claims_read": read,
            "ends": self.parts.claims.get("exp").and_then(Value::as_i64).and_then(super::date),
            "verified": verified,
            "why": why,
        })
    }
}
