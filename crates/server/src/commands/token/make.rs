//! `hubbub token make`: a token from flags, signed and tried before it is printed.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use access::token::{Algorithm, LIFETIME_S_MAX, TokenError, Verifier};
use anyhow::{Context as _, anyhow, bail};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde_json::{Map, Value, json};

use super::claims::{self, USER};
use super::key::SigningKey;
use crate::commands::{Done, context::Context, output};
use crate::settings::{Settings, Sources};
use crate::tokens;
use crate::world::now_s;

/// Make a token, and print it alone
///
/// It says who a client is; with --room it lets its user into that room instead. It is signed with --secret-file
/// or --key-file, or else with the secret that the settings of the server name (token_secret), and tried before
/// it is printed: a token that a server with these settings would refuse is not made. What the settings
/// demand of `iss` and `aud` is put in.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Make {
    /// The user; nobody in particular if it is left out
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// Time for which the token is good, such as 30m or 7days, or never for one without an end
    #[arg(long, value_name = "DURATION", value_parser = ttl, default_value = "1h")]
    ttl: Ttl,

    /// Make a subscription token: it lets its user into this room
    #[arg(long, value_name = "ROOM")]
    room: Option<String>,

    /// Let the user publish in the room, too
    #[arg(long, requires = "room")]
    publish: bool,

    /// The one connection that may use it, by the identifier that SDKs call client
    #[arg(long, value_name = "ID", requires = "room")]
    client: Option<String>,

    /// A room that the server subscribes the client to; may be repeated
    #[arg(long, value_name = "ROOM", conflicts_with = "room")]
    subscribe: Vec<String>,

    /// The same with options for each room, as the claim `subs`: {"chat:index": {"info": {}}}
    #[arg(long, value_name = "JSON", value_parser = object, conflicts_with_all = ["room", "subscribe"])]
    subs: Option<Value>,

    /// What others in a room see of the user
    #[arg(long, value_name = "JSON", value_parser = json)]
    info: Option<Value>,

    /// What the subscriber is handed
    #[arg(long, value_name = "JSON", value_parser = json, requires = "room")]
    data: Option<Value>,

    /// What your back end is told of the connection, and clients never
    #[arg(long, value_name = "JSON", value_parser = json, conflicts_with = "room")]
    meta: Option<Value>,

    /// Exempt the connection from rates, for a program of yours
    #[arg(long, conflicts_with = "room")]
    unlimited: bool,

    /// Who makes the token (`iss`)
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,

    /// For whom it is made (`aud`)
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,

    /// Any other claim, such as jti='"a name"'; may be repeated, and comes before other flags
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = claim)]
    claims: Vec<(String, Value)>,

    /// The name of the key, for servers that have several (`kid`)
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,

    /// The algorithm of the signature; by default the first one that the key is good for
    #[arg(long, value_name = "NAME", value_parser = algorithms())]
    algorithm: Option<Named>,

    /// File with the secret to sign with
    #[arg(long, value_name = "PATH", conflicts_with = "key_file")]
    secret_file: Option<PathBuf>,

    /// File with the private key to sign with, in PEM: RSA, P-256, P-384, P-521 or Ed25519
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    #[command(flatten)]
    context: Context,
}

/// For how long a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    Never,
    For(Duration),
}

/// An algorithm that the command line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named(Algorithm);

impl Make {
    pub(super) fn run(&self, sources: &Sources<'_>) -> Done {
        let settings = self.context.load(sources)?.settings;
        let now_s = now_s();
        let key = self.key(&settings)?;
        let claims = self.claims(&settings, now_s)?;
        let token = self.sign(&key, &claims)?;
        self.try_out(&settings, &key, &token, now_s)?;
        output::say(&format!("{token}\n"))?;
        if io::stdout().is_terminal() {
            output::note(format_args!("\n{}", self.summary(&claims, now_s)));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn is_subscription(&self) -> bool {
        self.room.is_some() || self.claims.iter().any(|(name, _)| name == "channel")
    }

    fn key(&self, settings: &Settings) -> anyhow::Result<SigningKey> {
        if let Some(path) = &self.secret_file {
            return SigningKey::of_secret("--secret-file", path);
        }
        if let Some(path) = &self.key_file {
            return SigningKey::of_pem("--key-file", path);
        }
        let own = self.is_subscription() && has_own_keys(settings);
        let (setting, path) = match own {
            true => (
                "subscription_token_secret",
                &settings.subscription_token_secret,
            ),
            false => ("token_secret", &settings.token_secret),
        };
        if let Some(path) = path {
            return SigningKey::of_secret(setting, path);
        }
        let has_public = match own {
            true => true,
            false => {
                !settings.token_keys.is_empty()
                    || settings.token_jwks.is_some()
                    || settings.token_jwks_url.is_some()
            }
        };
        match has_public {
            true => bail!(
                "the settings have public keys only, which cannot sign: name the private one with --key-file"
            ),
            false => bail!(
                "there is no key to sign with: name a file with --secret-file (`openssl rand -hex 32 > FILE` \
                 makes one) or --key-file, or settings that have {setting} with --config"
            ),
        }
    }

    fn claims(&self, settings: &Settings, now_s: i64) -> anyhow::Result<Map<String, Value>> {
        let rules = tokens::rules(settings, self.is_subscription() && has_own_keys(settings));
        let mut claims = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value);
            }
        };
        let user = rules.user_id_claim.as_deref().unwrap_or(USER);
        put(user, Some(self.user.clone().unwrap_or_default().into()));
        put("iat", Some(now_s.into()));
        if let Ttl::For(time) = self.ttl {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            put("exp", Some(now_s.saturating_add(seconds).into()));
        }
        put("channel", self.room.clone().map(Value::from));
        put("publish", self.publish.then(|| true.into()));
        put("client", self.client.clone().map(Value::from));
        put(
            "channels",
            (!self.subscribe.is_empty()).then(|| json!(self.subscribe)),
        );
        put("subs", self.subs.clone());
        put("info", self.info.clone());
        put("data", self.data.clone());
        put("meta", self.meta.clone());
        put("unlimited", self.unlimited.then(|| true.into()));
        let issuer = self.issuer.clone().or(rules.issuer);
        put("iss", issuer.map(Value::from));
        let audience = self.audience.clone().or(rules.audience);
        put("aud", audience.map(Value::from));
        for (name, value) in &self.claims {
            if name != user && claims::known(name, self.is_subscription()).is_none() {
                output::note(format_args!(
                    "warning: the claim {name:?} means nothing in such a token here"
                ));
            }
            put(name, Some(value.clone()));
        }
        Ok(claims)
    }

    fn sign(&self, key: &SigningKey, claims: &Map<String, Value>) -> anyhow::Result<String> {
        let algorithm = key.algorithm(self.algorithm.map(|Named(algorithm)| algorithm))?;
        let mut header = json!({"alg": algorithm.name(), "typ": "JWT"});
        if let Some(kid) = &self.kid {
            header["kid"] = kid.clone().into();
        }
        let claims = serde_json::to_string(claims).context("the claims cannot be written")?;
        let part = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(header.to_string()), part(claims));
        let signature = key.sign(algorithm, signed.as_bytes())?;
        Ok(format!(
            "{signed}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature)
        ))
    }

    /// Shows the token to a verifier with this key and the rules of the settings.
    fn try_out(
        &self,
        settings: &Settings,
        key: &SigningKey,
        token: &str,
        now_s: i64,
    ) -> anyhow::Result<()> {
        let is_subscription = self.is_subscription();
        let rules = tokens::rules(settings, is_subscription && has_own_keys(settings));
        let verifier = Verifier::new(key.verifying()?, rules)
            .map_err(|error| anyhow!("token_user_claim, token_leeway: {error}"))?;
        let verified = match is_subscription {
            true => verifier.verify_subscription(token, now_s).map(drop),
            false => verifier.verify_connection(token, now_s).map(drop),
        };
        match verified {
            Ok(()) => Ok(()),
            // Such a token is good for a test.
            Err(
                error @ (TokenError::Expired | TokenError::NotYetValid | TokenError::GrantExpired),
            ) => {
                output::note(format_args!("warning: {error}"));
                Ok(())
            }
            Err(TokenError::TooLong) => bail!(
                "the token has {} bytes, and a server with these settings takes {}: put less into it, or \
                 raise token_bytes_max",
                token.len(),
                settings.token_bytes_max
            ),
            Err(error) => bail!("a server with these settings would refuse it: {error}"),
        }
    }

    /// What was made, for who looks on.
    fn summary(&self, claims: &Map<String, Value>, now_s: i64) -> String {
        let user = match self.user.as_deref() {
            Some(user) if !user.is_empty() => format!("the user {user:?}"),
            _ => "nobody in particular".to_owned(),
        };
        let what = match &self.room {
            Some(room) => format!("subscription token for the room {room:?}, of {user}"),
            None => format!("connection token of {user}"),
        };
        let end = claims.get("exp").and_then(Value::as_i64);
        let end = end.map_or("without an end".to_owned(), |end| {
            format!("ends {}", super::moment(end, now_s))
        });
        format!("({what}; {end})")
    }
}

/// Whether subscription tokens have keys of their own.
pub(super) fn has_own_keys(settings: &Settings) -> bool {
    settings.subscription_token_secret.is_some()
        || !settings.subscription_token_keys.is_empty()
        || settings.subscription_token_jwks.is_some()
        || settings.subscription_token_jwks_url.is_some()
}

fn ttl(text: &str) -> Result<Ttl, String> {
    if text == "never" {
        return Ok(Ttl::Never);
    }
    let time = humantime::parse_duration(text);
    let time =
        time.map_err(|_| "write a number with a unit, such as 30m, 12h or 7days, or never")?;
    let most = Duration::from_secs(LIFETIME_S_MAX.unsigned_abs());
    match (Duration::from_secs(1)..=most).contains(&time) {
        true => Ok(Ttl::For(time)),
        false => Err("out of range: 1s to 365days, or never".to_owned()),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("this is no JSON ({error}): text needs quotes, as in '\"text\"'"))
}

fn object(text: &str) -> Result<Value, String> {
    let value = json(text)?;
    match value.is_object() {
        true => Ok(value),
        false => Err("it must be an object, such as {\"chat:index\": {}}".to_owned()),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), json(value)?)),
        _ => Err("write NAME=JSON, such as jti='\"a name\"'".to_owned()),
    }
}

fn algorithms() -> impl TypedValueParser<Value = Named> {
    let names = Algorithm::ALL.map(Algorithm::name);
    PossibleValuesParser::new(names).try_map(|name| {
        let algorithm = Algorithm::from_name(&name).ok_or("there is no such algorithm")?;
        Ok::<_, &str>(Named(algorithm))
    })
}
