//! Calls of a running server's API: where it is, which key it is shown, and what its errors mean.
//!
//! *Never:* a key on a command line, in an error, or for another server than it was meant for.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use hyper::{Request, Response, StatusCode, header};
use serde_json::Value;

use super::context::{Context, variable};
use super::health::from_here;
use super::remote::{self, Known, Trust};
use super::{Failed, output};
use crate::api::dev_key_file;
use crate::backend::{Bounds, Client, USER_AGENT};
use crate::settings::{
    ApiKey, Period, Settings, Sources, Url, namespace_of, period, read_key_file,
};
use crate::tls;

/// The variables that say where the API is and which key it is shown; they are no settings of a server.
pub const VARIABLES: [&str; 2] = ["HUBBUB_API_URL", "HUBBUB_API_KEY"];

/// The server whose API is called.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// URL of the API, such as http://127.0.0.1:8001; by default that of api_listen [env: HUBBUB_API_URL]
    #[arg(long, value_name = "URL", value_parser = remote::url)]
    url: Option<Url>,

    /// File with the key to show; by default one of the settings that is for this [env: HUBBUB_API_KEY]
    ///
    /// The variable has the key itself. The keys of the settings are shown to the server of the settings alone, or
    /// to that of --url if --config stands beside it. A server in dev leaves its key
    /// in a file, where it is found without any flag.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// Time for each answer
    #[arg(long, value_name = "DURATION", value_parser = period, default_value = "10s")]
    timeout: Period,

    #[command(flatten)]
    trust: Trust,

    #[command(flatten)]
    context: Context,
}

/// What is asked for: a method, and the room that it is about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The method that is called.
    pub method: &'static str,
    /// The room, if there is one.
    pub room: Option<&'a str>,
}

/// Calls the API of one server.
pub struct Caller {
    url: Url,
    key: String,
    /// Where the key comes from.
    named: String,
    client: Client,
    bounds: Bounds,
}

impl Server {
    /// What calls it for this.
    ///
    /// # Errors
    /// When it is not known where the API is, or there is no key for this.
    pub fn caller(&self, asked: Asked<'_>, sources: &Sources<'_>) -> Result<Caller, Failed> {
        let given = match (&self.url, variable(sources, VARIABLES[0])) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(text)) => Some(
                remote::url(&text.to_string_lossy())
                    .map_err(|error| anyhow!("HUBBUB_API_URL: {error}"))?,
            ),
            (None, None) => None,
        };
        let key = self.key(sources)?;
        // Nothing of the settings is needed if both are given, be they good or not.
        let settings = match (&given, &key, &self.context.config) {
            (Some(_), Some(_), None) => Settings::default(),
            _ => self.context.load(sources)?.or_dev().settings,
        };
        let may_use_settings = given.is_none() || self.context.config.is_some();
        let (key, named) = match key {
            Some(key) => key,
            None if may_use_settings => key_of(&settings, asked)?,
            // A server in dev leaves it by its port, on this machine.
            None => {
                let url = given.as_ref().filter(|url| url.is_local());
                dev_key(url.and_then(|url| url.uri().port_u16()))?
            }
        };
        let known = match (&given, &settings.api_tls_cert) {
            (None, Some(cert)) => Known::This(tls::certificate("api_tls_cert", cert)?),
            _ => Known::No,
        };
        let url = match given {
            Some(url) => url,
            None => url_of(&settings)?,
        };
        if !url.is_encrypted() && !url.is_local() {
            output::note(
                "warning: the key goes to another machine in plain text: whoever is on the way can use it",
            );
        }
        Ok(Caller {
            client: self.trust.client(&url, known)?,
            url,
            key,
            named,
            bounds: remote::bounds(self.timeout.duration()),
        })
    }

    /// The key that is given, and where.
    fn key(&self, sources: &Sources<'_>) -> anyhow::Result<Option<(String, String)>> {
        if let Some(path) = &self.key_file {
            let named = format!("--key-file ({})", path.display());
            let key = fs::read_to_string(path);
            let key =
                key.with_context(|| format!("{named} cannot be read: name a readable file"))?;
            return Ok(Some((key.trim().to_owned(), named)));
        }
        let key = variable(sources, VARIABLES[1]);
        let key = key.map(|key| key.to_string_lossy().trim().to_owned());
        Ok(key.map(|key| (key, VARIABLES[1].to_owned())))
    }
}

/// Where the settings have the API, seen from this machine.
fn url_of(settings: &Settings) -> anyhow::Result<Url> {
    let Some(address) = settings.api_address() else {
        bail!(
            "the settings have no API: give the server an api_listen, or name another server's with --url or \
             HUBBUB_API_URL"
        );
    };
    let scheme = match settings.api_tls_cert {
        Some(_) => "https",
        None => "http",
    };
    let url = format!("{scheme}://{}", from_here(address));
    remote::url(&url).map_err(|error| anyhow!("api_listen: {error}"))
}

/// A key of the settings that is for this, and its name.
fn key_of(settings: &Settings, asked: Asked<'_>) -> anyhow::Result<(String, String)> {
    let mut keys = settings.api_keys.iter();
    if let Some((name, key)) = keys.find(|(_, key)| is_for(key, asked)) {
        let named = format!("api_keys.{name}");
        return match (&key.key, &key.key_file) {
            (Some(key), _) => Ok((key.text().to_owned(), named)),
            (None, Some(path)) => Ok((read_key_file(name, path)?.text().to_owned(), named)),
            (None, None) => bail!("{named} has no key"),
        };
    }
    if settings.api_keys.is_any() {
        bail!(
            "no key of the settings is for {}{}: add one as a table [api_keys.NAME], or give one by --key-file or \
             HUBBUB_API_KEY",
            asked.method,
            asked
                .room
                .map_or(String::new(), |room| format!(" in {room:?}"))
        );
    }
    dev_key(settings.api_address().map(|address| address.port()))
}

/// The key that a server in dev has left for this port.
fn dev_key(port: Option<u16>) -> anyhow::Result<(String, String)> {
    let file = port.map(dev_key_file).filter(|file| file.exists());
    let Some(file) = file else {
        return Err(no_key());
    };
    let named = file.display().to_string();
    let key = fs::read_to_string(&file).with_context(|| format!("{named} cannot be read"))?;
    Ok((key.trim().to_owned(), named))
}

fn is_for(key: &ApiKey, asked: Asked<'_>) -> bool {
    let methods = key.methods.as_ref();
    let is_method = methods.is_none_or(|methods| methods.iter().any(|it| it == asked.method));
    let is_room = match (&key.namespaces, asked.room) {
        (None, _) => true,
        (Some(namespaces), Some(room)) => namespaces.iter().any(|it| it == namespace_of(room)),
        (Some(_), None) => true,
    };
    is_method && is_room
}

fn no_key() -> anyhow::Error {
    anyhow!(
        "there is no key to show: give one by --key-file or HUBBUB_API_KEY, or name settings with a table \
         [api_keys.NAME] by --config. A server in dev leaves its key where this looks for it: is one running, \
         by the same user, and with its API at this address? Name another with --url"
    )
}

impl Caller {
    /// Calls a method, and returns its result.
    ///
    /// # Errors
    /// When there is no answer, or the answer is an error.
    pub fn call(&self, method: &str, request: &Value) -> anyhow::Result<Value> {
        let body = Bytes::from(request.to_string());
        self.post(&format!("/api/{method}"), "application/json", &[], body)
    }

    /// Sends a body to a path, and returns the result.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn post(
        &self,
        path: &str,
        kind: &str,
        fields: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Value> {
        let url = remote::at(&self.url, path)?;
        let mut request = Request::post(url.uri())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, kind)
            .header("X-API-Key", &self.key);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into());
        // The error would have no name for what cannot be a field.
        let request = request.map_err(|_| {
            anyhow!(
                "{} is no key, or a flag has a character that no field of a request can have",
                self.named
            )
        })?;
        let answer = remote::exchange(&self.client, request, self.bounds)?;
        let answer = answer.map_err(|failure| {
            anyhow!(
                "{}: {failure}; is the server running, and is this its api_listen? Name another with --url or \
                 HUBBUB_API_URL",
                self.url
            )
        })?;
        self.result_of(&answer)
    }

    /// The result in an answer, in whichever way the server tells of errors.
    fn result_of(&self, answer: &Response<Bytes>) -> anyhow::Result<Value> {
        let value: Option<Value> = serde_json::from_slice(answer.body()).ok();
        let error = value.as_ref().and_then(|value| match value.get("error") {
            Some(error) => Some(error),
            None => value.get("code").map(|_| value),
        });
        if let Some(error) = error {
            let code = error["code"].as_i64().unwrap_or_default();
            let message = error["message"].as_str().unwrap_or_default();
            bail!("{} ({code}){}", output::visible(message), remedy(code));
        }
        match (answer.status(), value) {
            (StatusCode::OK, Some(Value::Object(mut answer))) if answer.contains_key("result") => {
                Ok(answer.remove("result").unwrap_or_default())
            }
            (StatusCode::OK, _) => bail!(
                "{} does not answer as the API does: is this its api_listen?",
                self.url
            ),
            (StatusCode::UNAUTHORIZED, _) => bail!(
                "{} does not know the key of {}: give one of its [api_keys.NAME]",
                self.url,
                self.named
            ),
            (status, _) => bail!("{}: {}", self.url, said(status, answer.body())),
        }
    }
}

/// What an error means for whoever is at a terminal.
fn remedy(code: i64) -> &'static str {
    match code {
        102 => ": the settings of the server have no table for its namespace",
        103 => ": the key is not for this room",
        108 => ": the table of its namespace does not say that rooms have it",
        111 => ": try again in a moment",
        _ => "",
    }
}

/// The sentence of an answer that is none of a method.
fn said(status: StatusCode, body: &[u8]) -> String {
    const SHOWN_MAX: usize = 300;
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .take(SHOWN_MAX)
        .collect();
    match text.trim() {
        text if text.is_empty() || text.starts_with('<') => format!("the answer is {status}"),
        text => output::visible(text),
    }
}
