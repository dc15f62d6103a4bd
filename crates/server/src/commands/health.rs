//! `hubbub health`: asks the internal listener whether the server is ready, or alive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use hyper::{Request, StatusCode, header};

use super::context::Context;
use super::remote::{self, Known, Trust};
use super::{Done, output};
use crate::backend::USER_AGENT;
use crate::settings::{Internal, Period, Settings, Sources, Url, period};

/// Ask whether a server is ready, or alive: exit with 0 if it is, else with 1
///
/// It asks /readyz of the internal listener, and prints the answer. It is for images without a shell and without
/// curl: `HEALTHCHECK CMD ["/hubbub", "health", "--live"]`. Where the internal listener is set by a flag of the
/// server, which this command does not see, name it with --url.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Ask whether it is alive (/healthz): whether each core answers, though the server may be full, or draining
    #[arg(long)]
    live: bool,

    /// URL of the internal listener, such as http://127.0.0.1:9000; by default that of internal_listen
    #[arg(long, value_name = "URL", value_parser = remote::url)]
    url: Option<Url>,

    /// Time for the whole answer
    #[arg(long, value_name = "DURATION", value_parser = period, default_value = "2s")]
    timeout: Period,

    #[command(flatten)]
    trust: Trust,

    #[command(flatten)]
    context: Context,
}

impl Health {
    pub(super) fn run(&self, sources: &Sources<'_>) -> Done {
        let (settings, refused) = match self.url {
            Some(_) => (Settings::default(), None),
            None => self.context.load_sound(sources),
        };
        // A mistake in the file of a server that runs makes the server no less ready.
        if let Some(stop) = refused {
            output::note(format_args!("warning: {}", stop.line()));
        }
        output::say(&self.ask(&settings)?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The server's answer, if it is good.
    fn ask(&self, settings: &Settings) -> anyhow::Result<String> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => internal_url(settings)?,
        };
        let page = remote::at(&url, if self.live { "/healthz" } else { "/readyz" })?;
        // The question is no secret, and who answers for this machine's own port is of this machine.
        let is_here = self.url.is_none() || url.is_local();
        let known = if is_here { Known::Any } else { Known::No };
        let client = self.trust.client(&url, known)?;
        let request = Request::get(page.uri())
            .header(header::USER_AGENT, USER_AGENT)
            .body(Default::default())?;
        let bounds = remote::bounds(self.timeout.duration());
        let answer = remote::exchange(&client, request, bounds)?;
        let answer = answer.map_err(|failure| anyhow!("{page}: {failure}; {}", self.remedy()))?;
        let said = String::from_utf8_lossy(answer.body());
        let said = output::visible(said.trim_end());
        match answer.status() {
            StatusCode::OK => Ok(format!("{said}\n")),
            StatusCode::SERVICE_UNAVAILABLE => bail!("{page}: {said}"),
            status => bail!("{page}: the answer is {status}: is this the internal listener?"),
        }
    }

    fn remedy(&self) -> &'static str {
        match self.url {
            Some(_) => "is the server running, and is this its internal_listen?",
            None => {
                "is the server running, and does its internal_listen come from a flag? Then name it \
                 with --url, or set it by HUBBUB_INTERNAL_LISTEN"
            }
        }
    }
}

/// The URL of the internal listener, seen from this machine.
fn internal_url(settings: &Settings) -> anyhow::Result<Url> {
    let Internal::At(address) = settings.internal_listen else {
        bail!(
            "internal_listen is off, so there is nobody to ask: give it an address, or name another \
             server's with --url"
        );
    };
    let scheme = match settings.internal_tls_cert {
        Some(_) => "https",
        None => "http",
    };
    let url = format!("{scheme}://{}", from_here(address));
    remote::url(&url).map_err(|error| anyhow!("internal_listen: {error}"))
}

/// An address to connect to for one that is listened on: `0.0.0.0` is every interface of this machine.
pub(super) fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_that_of_the_listener_seen_from_this_machine() {
        let url = |address: &str, cert: Option<&str>| {
            let settings = Settings {
                internal_listen: Internal::At(address.parse().unwrap()),
                internal_tls_cert: cert.map(Into::into),
                ..Settings::default()
            };
            internal_url(&settings).unwrap().to_string()
        };
        assert_eq!(url("0.0.0.0:9000", None), "http://127.0.0.1:9000/");
        assert_eq!(url("[::]:9000", Some("c.pem")), "https://[::1]:9000/");
        assert_eq!(url("10.0.0.7:81", None), "http://10.0.0.7:81/");
        let off = Settings {
            internal_listen: Internal::Off,
            ..Settings::default()
        };
        let error = internal_url(&off).unwrap_err().to_string();
        assert!(error.contains("internal_listen is off"), "{error}");
    }
}
