//! The rules between settings, and the values that are permitted with a warning.

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::layers::Sourced;
use super::report::{Fault, Warning};
use super::{Compression, Internal, ProxyHeader, Settings, Takeover, Url};

/// The faults that can be found only when all values are known.
pub(super) fn faults(settings: &Settings, sourced: &Sourced) -> Vec<Fault> {
    let s = settings;
    let sizes = [(
        ("request_line_bytes_max", s.request_line_bytes_max),
        ("head_bytes_max", s.head_bytes_max),
        "the request line is part of the head",
    )];
    let bodies = [(
        ("api_body_bytes_max", s.api_body_bytes_max),
        ("api_bodies_bytes_max", s.api_bodies_bytes_max),
        "the body of one call is among the bodies of all calls",
    )];
    let sizes = sizes.iter().chain(&bodies);
    let sizes = sizes.filter_map(|rule| at_most(rule, sourced));
    let rates = rates(settings, sourced);
    let proxies = proxies(settings, sourced);
    // What `sizes` borrows is gone when this returns.
    let sizes: Vec<_> = sizes.collect();
    sizes
        .into_iter()
        .chain(queues(settings, sourced))
        .chain(unfinished(settings, sourced))
        .chain(rates)
        .chain(proxies)
        .chain(addresses(settings, sourced))
        .chain(tls(settings))
        .chain(key_urls(settings, sourced))
        .chain(fetches(settings, sourced))
        .chain(events(settings))
        .collect()
}

/// The lower setting, the upper one, and the reason why the lower may not exceed the upper.
type Rule<T> = ((&'static str, T), (&'static str, T), &'static str);

fn at_most<T: PartialOrd + Display>(rule: &Rule<T>, sourced: &Sourced) -> Option<Fault> {
    let ((lower, lower_value), (upper, upper_value), why) = rule;
    (lower_value > upper_value).then(|| {
        let subject = format!(
            "{} exceeds {}",
            sourced.describe(lower, lower_value),
            sourced.describe(upper, upper_value)
        );
        let reason = format!("{why}: lower {lower} or raise {upper}");
        Fault::new(&[lower, upper], subject, reason)
    })
}

/// The bound of one queue must fit into the bound of all queues, if that is set.
fn queues(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let rule = (
        ("send_queue_bytes_max", settings.send_queue_bytes_max),
        ("send_queues_bytes_max", settings.send_queues_bytes_max?),
        "the queue of one connection is part of the queues of all connections",
    );
    at_most(&rule, sourced)
}

/// One message must fit into the bound of all unfinished input, if that is set.
fn unfinished(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let rule = (
        ("message_bytes_max", settings.message_bytes_max),
        ("unfinished_bytes_max", settings.unfinished_bytes_max?),
        "the unfinished message of one connection is part of the unfinished input of all connections",
    );
    at_most(&rule, sourced)
}

fn rates(settings: &Settings, sourced: &Sourced) -> Vec<Fault> {
    let s = settings;
    let rates = [
        (
            "address_rate",
            s.address_rate,
            "address_burst",
            s.address_burst,
        ),
        (
            "message_rate",
            s.message_rate,
            "message_burst",
            s.message_burst,
        ),
        (
            "control_rate",
            s.control_rate,
            "control_burst",
            s.control_burst,
        ),
        (
            "oneshot_rate",
            s.oneshot_rate,
            "oneshot_burst",
            s.oneshot_burst,
        ),
    ];
    let wrong = rates
        .iter()
        .filter(|(_, rate, _, burst)| *rate > 0 && *burst == 0);
    let faults = wrong.map(|(rate, rate_value, burst, burst_value)| {
        let subject = format!(
            "{} permits nothing of {}",
            sourced.describe(burst, burst_value),
            sourced.describe(rate, rate_value)
        );
        let reason = format!("raise {burst} to 1 or more, or set {rate} to 0 for no bound");
        Fault::new(&[rate, burst], subject, reason)
    });
    faults.collect()
}

fn proxies(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let is_nobody_trusted = settings.trusted_proxies.is_empty();
    let is_wrong = settings.proxy_header == ProxyHeader::ProxyV2 && is_nobody_trusted;
    is_wrong.then(|| {
        let header = sourced.describe("proxy_header", &"proxy-v2");
        Fault::new(
            &["proxy_header", "trusted_proxies"],
            format!("{header} without trusted_proxies"),
            "without trusted_proxies no peer may send such a header: list the proxies' networks \
             there, or leave proxy_header out",
        )
    })
}

/// Faults of addresses that overlap: a connection to the shared part could reach either listener.
fn addresses(settings: &Settings, sourced: &Sourced) -> Vec<Fault> {
    let all = &settings.listen;
    if all.is_empty() {
        let reason = "write at least one address, or leave it out";
        return vec![Fault::new(&["listen"], "listen is an empty list", reason)];
    }
    let again = all.iter().enumerate().filter_map(|(at, address)| {
        let before = all[..at].iter().find(|it| overlap(**it, *address))?;
        Some(listened_on_twice(*before, *address))
    });
    again
        .chain(internal(settings, sourced))
        .chain(api(settings, sourced))
        .collect()
}

/// The API must be reachable by an address of its own.
fn api(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let Some(Internal::At(api)) = settings.api_listen else {
        return None;
    };
    let internal = match settings.internal_listen {
        Internal::At(internal) => Some(("internal_listen", internal)),
        Internal::Off => None,
    };
    let public = settings.listen.iter().map(|it| ("listen", *it));
    let takes_both = |it: SocketAddr| it.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let meets =
        |other: SocketAddr| overlap(api, other) || takes_both(api) && is_same_port(api, other);
    let (key, other) = public.chain(internal).find(|(_, it)| meets(*it))?;
    Some(Fault::new(
        &[key, "api_listen"],
        format!(
            "{} overlaps {}",
            sourced.describe("api_listen", &api),
            sourced.describe(key, &other)
        ),
        "each needs an address of its own: give one of them another port, or set api_listen to off",
    ))
}

fn listened_on_twice(one: SocketAddr, other: SocketAddr) -> Fault {
    let (subject, reason) = if one == other {
        let reason = "write each address once".to_owned();
        (format!("listen has {one} twice"), reason)
    } else {
        let is_any = one.ip().is_unspecified();
        let (any, part) = if is_any { (one, other) } else { (other, one) };
        let family = if any.is_ipv4() { "IPv4" } else { "IPv6" };
        let reason = format!(
            "{} is every {family} address of this machine: leave {part} out, or give it another port",
            any.ip()
        );
        (
            format!("listen has {one} and {other}, which overlap"),
            reason,
        )
    };
    Fault::new(&["listen"], subject, reason)
}

fn internal(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let Internal::At(internal) = settings.internal_listen else {
        return None;
    };
    // Unlike the public listeners, this one also accepts IPv4 if it listens on every IPv6 address.
    let takes_both = internal.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let is_within = |public: &SocketAddr| takes_both && is_same_port(*public, internal);
    let mut listen = settings.listen.iter();
    let public = listen.find(|it| overlap(**it, internal) || is_within(it))?;
    Some(Fault::new(
        &["listen", "internal_listen"],
        format!(
            "{} overlaps {}",
            sourced.describe("internal_listen", &internal),
            sourced.describe("listen", public)
        ),
        "the internal listener must not be public: give one of them another port, or set \
         internal_listen to off",
    ))
}

/// Whether a connection could reach both addresses. Here `[::]` does not include IPv4; with port 0
/// the system chooses a free port.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    is_same_port(one, other) && one.is_ipv4() == other.is_ipv4() && {
        let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
        is_any || (one.ip() == other.ip() && scope(one) == scope(other))
    }
}

fn is_same_port(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.port() != 0
}

/// The interface of an address that several interfaces may have.
fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

/// The faults of TLS settings that are useless without others.
fn tls(settings: &Settings) -> impl Iterator<Item = Fault> {
    let s = settings;
    let is_set = [
        ("tls_cert", s.tls_cert.is_some()),
        ("tls_key", s.tls_key.is_some()),
        ("internal_tls_cert", s.internal_tls_cert.is_some()),
        ("internal_tls_key", s.internal_tls_key.is_some()),
        ("internal_tls_client_ca", s.internal_tls_client_ca.is_some()),
        ("api_tls_cert", s.api_tls_cert.is_some()),
        ("api_tls_key", s.api_tls_key.is_some()),
        ("api_tls_client_ca", s.api_tls_client_ca.is_some()),
    ];
    let [
        cert,
        key,
        internal_cert,
        internal_key,
        clients,
        api_cert,
        api_key,
        api_clients,
    ] = is_set;
    let needs = [
        (cert, key),
        (key, cert),
        (internal_cert, internal_key),
        (internal_key, internal_cert),
        (clients, internal_cert),
        (api_cert, api_key),
        (api_key, api_cert),
        (api_clients, api_cert),
    ];
    let wanting = needs.into_iter().filter(|(one, other)| one.1 && !other.1);
    wanting.map(|((one, _), (other, _))| {
        let subject = format!("{one} is set without {other}");
        let reason = format!("TLS needs both: set {other} too, or leave {one} out");
        Fault::new(&[one, other], subject, reason)
    })
}

/// The settings of the keys of one kind of tokens.
struct KeySettings<'a> {
    key: &'static str,
    url: Option<&'a Url>,
    file_key: &'static str,
    has_file: bool,
    /// Those that a JWKS takes the place of, and whether they name keys.
    others: [(&'static str, bool); 2],
}

impl KeySettings<'_> {
    fn has_keys(&self) -> bool {
        self.url.is_some() || self.has_file || self.others.iter().any(|(_, has_keys)| *has_keys)
    }
}

fn urls_of_keys(s: &Settings) -> [KeySettings<'_>; 2] {
    [
        KeySettings {
            key: "token_jwks_url",
            url: s.token_jwks_url.as_ref(),
            file_key: "token_jwks",
            has_file: s.token_jwks.is_some(),
            others: [
                ("token_secret", s.token_secret.is_some()),
                ("token_keys", !s.token_keys.is_empty()),
            ],
        },
        KeySettings {
            key: "subscription_token_jwks_url",
            url: s.subscription_token_jwks_url.as_ref(),
            file_key: "subscription_token_jwks",
            has_file: s.subscription_token_jwks.is_some(),
            others: [
                (
                    "subscription_token_secret",
                    s.subscription_token_secret.is_some(),
                ),
                (
                    "subscription_token_keys",
                    !s.subscription_token_keys.is_empty(),
                ),
            ],
        },
    ]
}

fn key_urls(settings: &Settings, sourced: &Sourced) -> Vec<Fault> {
    let mut faults = Vec::new();
    for of in urls_of_keys(settings) {
        let (key, Some(url)) = (of.key, of.url) else {
            continue;
        };
        if !url.is_encrypted() && !url.is_local() && !settings.token_jwks_http.is_on() {
            let reason = "whoever is on the way could put their own keys in place of yours, and be anybody: \
                          write https://, or set token_jwks_http to on if nobody is on the way";
            let subject = sourced.describe(key, url);
            faults.push(Fault::new(&[key, "token_jwks_http"], subject, reason));
        }
    }
    faults
}

fn fetches(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let rule = (
        ("token_jwks_pause", settings.token_jwks_pause),
        ("token_jwks_refresh", settings.token_jwks_refresh),
        "the one is the least time between two fetches of keys, the other the usual one",
    );
    at_most(&rule, sourced)
}

/// Events are signed, so that nobody else can tell the back end what happens.
fn events(settings: &Settings) -> Option<Fault> {
    (settings.events_url.is_some() && settings.events_secret.is_none()).then(|| {
        let subject = "events_url is set without events_secret".to_owned();
        let reason = "the back end must know who tells it of events: make a secret with `openssl rand -hex 32`, and \
                      name its file in events_secret";
        Fault::new(&["events_url", "events_secret"], subject, reason)
    })
}

/// The warnings about settings that somebody has set and that change nothing.
pub(super) fn without_effect(s: &Settings, sourced: &Sourced) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut add = |is_so: bool, key: &str, why: &dyn Fn() -> String| {
        if is_so && sourced.sets(key) {
            let (key, why) = (key.to_owned(), why());
            warnings.push(Warning::NoEffect { key, why });
        }
    };
    let (tls, all) = (s.tls_handshake_timeout, s.handshake_timeout);
    add(tls > all, "tls_handshake_timeout", &|| {
        let all = sourced.describe("handshake_timeout", &all);
        format!("it is part of {all}, which is shorter")
    });
    let is_wanted = s.compression_takeover != Takeover::None;
    let is_off = s.compression == Compression::Off;
    add(is_wanted && is_off, "compression_takeover", &|| {
        "compression is off".to_owned()
    });
    let is_off = s.internal_listen == Internal::Off;
    add(is_off, "internal_tls_cert", &|| {
        "internal_listen is off".to_owned()
    });
    let has_no_api = s.api_address().is_none();
    for (key, is_wanted) in [
        ("api_tls_cert", s.api_tls_cert.is_some()),
        ("api_hosts", !s.api_hosts.is_empty()),
        ("api_origins", !s.api_origins.is_empty()),
    ] {
        add(has_no_api && is_wanted, key, &|| {
            "api_listen is not set".to_owned()
        });
    }
    let fetches = urls_of_keys(s).iter().any(|of| of.url.is_some());
    let no_url = || "no keys are fetched: token_jwks_url is not set".to_owned();
    add(!fetches, "token_jwks_ca", &no_url);
    let is_wanted = s.token_jwks_http.is_on();
    add(is_wanted && !fetches, "token_jwks_http", &no_url);
    let no_events = || "no events are sent: events_url is not set".to_owned();
    add(s.events_url.is_none(), "events_secret", &no_events);
    let is_plain = s.events_url.as_ref().is_none_or(|url| !url.is_encrypted());
    add(is_plain, "events_ca", &|| {
        "no events are sent over https://".to_owned()
    });
    let [_, of_subscriptions] = urls_of_keys(s);
    let has_own_keys = of_subscriptions.has_keys();
    let no_own_keys = || {
        "subscription tokens have no keys of their own, so that token_issuer and token_audience hold for them, too"
            .to_owned()
    };
    add(!has_own_keys, "subscription_token_issuer", &no_own_keys);
    add(!has_own_keys, "subscription_token_audience", &no_own_keys);
    for of in urls_of_keys(s) {
        let by = if of.url.is_some() {
            of.key
        } else {
            of.file_key
        };
        let is_set = of.url.is_some() || of.has_file;
        let why = || format!("{by} is set, and no other key is used then");
        for (key, has_keys) in of.others {
            add(is_set && has_keys, key, &why);
        }
        add(of.url.is_some() && of.has_file, of.file_key, &why);
    }
    warnings
}

/// The warnings about permitted but risky values.
pub(super) fn warnings(settings: &Settings) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (entry, warning) in [
        ("*", Warning::AnyOrigin),
        ("null", Warning::NullOrigin),
        ("file://", Warning::FileOrigin),
    ] {
        if settings
            .allow_origin
            .iter()
            .any(|it| it.to_string() == entry)
        {
            warnings.push(warning);
        }
    }
    for entry in ["*", "null"] {
        let mut origins = settings.api_origins.iter();
        if origins.any(|it| it.to_string() == entry) {
            warnings.push(Warning::ApiOrigin { entry });
        }
    }
    if settings.message_fragments_max == 0 {
        warnings.push(Warning::FragmentsUnbounded);
    }
    for (key, value) in [
        ("address_connections_max", settings.address_connections_max),
        ("address_rate", settings.address_rate),
        ("oneshot_rate", settings.oneshot_rate),
    ] {
        if value == 0 {
            warnings.push(Warning::AddressUnbounded { key });
        }
    }
    if settings
        .trusted_proxies
        .iter()
        .any(|it| it.prefix_len() == 0)
    {
        warnings.push(Warning::AnyProxy);
    }
    if settings.insecure.is_on() {
        warnings.push(Warning::Insecure);
    }
    if let Some(url) = &settings.events_url
        && !url.is_encrypted()
        && !url.is_local()
    {
        warnings.push(Warning::PlainEvents);
    }
    for KeySettings { key, url, .. } in urls_of_keys(settings) {
        if url.is_some_and(|url| !url.is_encrypted() && !url.is_local()) {
            warnings.push(Warning::PlainKeys { key });
        }
    }
    warnings
}
