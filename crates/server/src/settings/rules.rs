//! What must agree between settings, and what is permitted with a warning.

use std::fmt::Display;

use super::layers::Sourced;
use super::report::{Fault, Warning};
use super::{ProxyHeader, Settings};
use crate::origin::Permit;

/// The faults that only show when all values are known.
pub(super) fn faults(settings: &Settings, sourced: &Sourced) -> Vec<Fault> {
    let s = settings;
    let sizes = [(
        ("request_line_bytes_max", s.request_line_bytes_max),
        ("head_bytes_max", s.head_bytes_max),
        "the request line is part of the head",
    )];
    let sizes = sizes.iter().filter_map(|rule| at_most(rule, sourced));
    let rates = rates(settings, sourced);
    let proxies = proxies(settings, sourced);
    sizes
        .chain(queues(settings, sourced))
        .chain(unfinished(settings, sourced))
        .chain(rates)
        .chain(proxies)
        .chain(listen(settings))
        .chain(tls(settings))
        .collect()
}

/// The lower setting, the upper one, and why the one may not exceed the other.
type Rule<T> = ((&'static str, T), (&'static str, T), &'static str);

fn at_most<T: PartialOrd + Display>(rule: &Rule<T>, sourced: &Sourced) -> Option<Fault> {
    let ((lower, lower_value), (upper, upper_value), why) = rule;
    (lower_value > upper_value).then(|| Fault {
        subject: format!(
            "{} exceeds {}",
            sourced.describe(lower, lower_value),
            sourced.describe(upper, upper_value)
        ),
        reason: format!("{why}: lower {lower} or raise {upper}"),
    })
}

/// One queue must fit into what there is for all, if that is set.
fn queues(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let rule = (
        ("send_queue_bytes_max", settings.send_queue_bytes_max),
        ("send_queues_bytes_max", settings.send_queues_bytes_max?),
        "the queue of one connection is part of those of all",
    );
    at_most(&rule, sourced)
}

/// One message must fit into what there is for all, if that is set.
fn unfinished(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let rule = (
        ("message_bytes_max", settings.message_bytes_max),
        ("unfinished_bytes_max", settings.unfinished_bytes_max?),
        "the unfinished message of one connection is part of those of all",
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
    ];
    let wrong = rates
        .iter()
        .filter(|(_, rate, _, burst)| *rate > 0 && *burst == 0);
    let faults = wrong.map(|(rate, rate_value, burst, burst_value)| Fault {
        subject: format!(
            "{} leaves nothing of {}",
            sourced.describe(burst, burst_value),
            sourced.describe(rate, rate_value)
        ),
        reason: format!("raise {burst} to 1 or more, or write 0 for {rate} to have no bound"),
    });
    faults.collect()
}

fn proxies(settings: &Settings, sourced: &Sourced) -> Option<Fault> {
    let is_nobody_trusted = settings.trusted_proxies.is_empty();
    let is_wrong = settings.proxy_header == ProxyHeader::ProxyV2 && is_nobody_trusted;
    is_wrong.then(|| Fault {
        subject: format!(
            "{} without trusted_proxies",
            sourced.describe("proxy_header", &"proxy-v2")
        ),
        reason: "no peer may send such a header: list the proxies' networks in trusted_proxies, \
                 or leave proxy_header out"
            .to_owned(),
    })
}

fn listen(settings: &Settings) -> Option<Fault> {
    let addresses = &settings.listen;
    if addresses.is_empty() {
        return Some(Fault {
            subject: "listen is an empty list".to_owned(),
            reason: "write at least one address, or leave it out".to_owned(),
        });
    }
    let again = (1..addresses.len()).find(|at| addresses[..*at].contains(&addresses[*at]))?;
    Some(Fault {
        subject: format!("listen has {} twice", addresses[again]),
        reason: "write each address once".to_owned(),
    })
}

/// What of TLS is of no use without the rest.
fn tls(settings: &Settings) -> impl Iterator<Item = Fault> {
    let s = settings;
    let is_set = [
        ("tls_cert", s.tls_cert.is_some()),
        ("tls_key", s.tls_key.is_some()),
        ("internal_tls_cert", s.internal_tls_cert.is_some()),
        ("internal_tls_key", s.internal_tls_key.is_some()),
        ("internal_tls_client_ca", s.internal_tls_client_ca.is_some()),
    ];
    let [cert, key, internal_cert, internal_key, clients] = is_set;
    let needs = [
        (cert, key),
        (key, cert),
        (internal_cert, internal_key),
        (internal_key, internal_cert),
        (clients, internal_cert),
    ];
    let wanting = needs.into_iter().filter(|(one, other)| one.1 && !other.1);
    wanting.map(|((one, _), (other, _))| Fault {
        subject: format!("{one} is set without {other}"),
        reason: format!("TLS needs both: set {other} too, or leave {one} out"),
    })
}

/// What is permitted but should be known.
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
    if settings.message_fragments_max == 0 {
        warnings.push(Warning::FragmentsUnbounded);
    }
    for (key, value) in [
        ("address_connections_max", settings.address_connections_max),
        ("address_rate", settings.address_rate),
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
    warnings
}
