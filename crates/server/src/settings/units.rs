//! Parses sizes, durations, counts and addresses within their ranges, and prints them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::{IpNet, Ipv4Net};

use crate::origin::{Permit, PermitError};

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
pub(super) const GIB: usize = 1 << 30;
pub(super) const TIB: usize = 1 << 40;

const PERIOD_MIN: Duration = Duration::from_millis(1);
const PERIOD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A number of bytes, written `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

impl Size {
    /// This number of bytes.
    pub(super) const fn of(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }
}

impl fmt::Display for Size {
    /// Prints in the largest unit that leaves no fraction, so that parsing gives the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A length of time, written `10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// This length of time.
    pub(super) const fn of(duration: Duration) -> Self {
        Self(duration)
    }

    /// The period as a [`Duration`].
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A parser of sizes within a range.
pub(super) fn size(
    min: usize,
    max: usize,
) -> impl Fn(&str) -> Result<Size, String> + Clone + Send + Sync + 'static {
    move |text| {
        let bytes = text.parse::<ByteSize>().map_err(|_| {
            "not a size: write bytes, or a number with a unit such as 64KiB or 1MiB".to_owned()
        })?;
        match usize::try_from(bytes.as_u64()) {
            Ok(bytes) if (min..=max).contains(&bytes) => Ok(Size(bytes)),
            _ => Err(format!("out of range: {} to {}", Size(min), Size(max))),
        }
    }
}

/// Reads a duration from 1ms, which is the resolution of the timers, to one day.
pub(crate) fn period(text: &str) -> Result<Period, String> {
    let period = humantime::parse_duration(text).map_err(|_| {
        if text.trim().parse::<f64>().is_ok() {
            "a duration needs a unit: write it as 250ms, 10s or 5m".to_owned()
        } else {
            "not a duration: write a number with a unit, such as 250ms, 10s or 5m".to_owned()
        }
    })?;
    if (PERIOD_MIN..=PERIOD_MAX).contains(&period) {
        Ok(Period(period))
    } else {
        Err("out of range: 1ms to 1day".to_owned())
    }
}

/// Reads a duration as [`period`] does, or zero.
pub(super) fn delay(text: &str) -> Result<Period, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Ok(Period(Duration::ZERO)),
        Ok(delay) if delay > PERIOD_MAX => Err("out of range: 0s to 1day".to_owned()),
        _ => period(text),
    }
}

/// Reads a pause between requests to another server.
pub(super) fn pause(text: &str) -> Result<Period, String> {
    const MIN: Duration = Duration::from_millis(100);
    match period(text)? {
        Period(pause) if pause < MIN => Err("out of range: 100ms to 1day".to_owned()),
        pause => Ok(pause),
    }
}

/// Reads a leeway of clocks: 0 to 30 seconds, in whole ones.
pub(super) fn leeway(text: &str) -> Result<Period, String> {
    const MAX: Duration = Duration::from_secs(30);
    match delay(text)? {
        Period(leeway) if leeway > MAX || leeway.subsec_nanos() > 0 => {
            Err("out of range: 0s to 30s, in whole seconds".to_owned())
        }
        leeway => Ok(leeway),
    }
}

/// A parser of counts within a range.
pub(super) fn count(
    min: usize,
    max: usize,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(count) if digits && (min..=max).contains(&count) => Ok(count),
            _ if digits || text.parse::<i64>().is_ok() => {
                Err(format!("out of range: {min} to {max}"))
            }
            _ => Err("not a count: write a whole number in digits".to_owned()),
        }
    }
}

/// A parser of a number of cores.
pub(super) fn cores(
    max: usize,
) -> impl Fn(&str) -> Result<NonZeroUsize, String> + Clone + Send + Sync + 'static {
    let parse = count(1, max);
    move |text| {
        let cores = parse(text)?;
        NonZeroUsize::new(cores).ok_or_else(|| format!("out of range: 1 to {max}"))
    }
}

/// Reads an address with its port; as part of a list it may have spaces around it.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let address = text.parse().map_err(|_| {
        // Most often only the address itself is missing, or is a name.
        let port = text.rsplit(':').next().and_then(|port| port.parse().ok());
        let port: u16 = port.unwrap_or(8000);
        format!(
            "{text:?} is not an address and port: write 127.0.0.1:{port}, [::1]:{port} or \
             0.0.0.0:{port}; names are not resolved"
        )
    })?;
    match unfit(address) {
        None => Ok(address),
        Some(reason) => Err(format!("{address} {reason}")),
    }
}

/// Why an address cannot be listened on or connected to, and what to write instead.
fn unfit(address: SocketAddr) -> Option<String> {
    let (ip, port) = (address.ip(), address.port());
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if ip.is_multicast() || is_broadcast {
        return Some("is a multicast or broadcast address: no client can connect to it".to_owned());
    }
    let SocketAddr::V6(v6) = address else {
        return None;
    };
    if let Some(v4) = v6.ip().to_ipv4_mapped() {
        let v4 = SocketAddr::from((v4, port));
        return Some(format!("is an IPv4 address written as IPv6: write {v4}"));
    }
    let is_of_a_link = v6.ip().is_unicast_link_local() && v6.scope_id() == 0;
    is_of_a_link.then(|| {
        let ip = v6.ip();
        format!(
            "is a link-local address: name the interface by its number (`ip link`), \
             as in [{ip}%2]:{port}"
        )
    })
}

/// The address of a listener that may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Internal {
    /// There is no such listener.
    Off,
    /// It listens on this address.
    At(SocketAddr),
}

impl fmt::Display for Internal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Reads the address of such a listener, or `off`.
pub(super) fn internal(text: &str) -> Result<Internal, String> {
    match text.trim() {
        "off" => Ok(Internal::Off),
        text => address(text)
            .map(Internal::At)
            .map_err(|problem| format!("{problem}; or off")),
    }
}

/// Reads a network, or a single address; as part of a list it may have spaces around it. An IPv4
/// network that is written within IPv6 becomes an IPv4 network.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| ip.to_canonical().into()));
    let network: IpNet = network.map_err(|_| {
        format!(
            "{text:?} is not a network: write 10.0.0.0/8, fd00::/8, or a single address without a \
             port"
        )
    })?;
    if network.trunc() != network {
        let network = network.trunc();
        return Err(format!(
            "{text:?} has bits beyond its prefix: write {network}"
        ));
    }
    Ok(as_ipv4(network).unwrap_or(network))
}

/// The IPv4 network that was written within IPv6: `::ffff:10.0.0.0/104` is 10.0.0.0/8.
fn as_ipv4(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(network) = network else {
        return None;
    };
    let prefix = network.prefix_len().checked_sub(96)?;
    let address = network.addr().to_ipv4_mapped()?;
    Ipv4Net::new(address, prefix).ok().map(IpNet::V4)
}

/// A name or an address by which a server may be called, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Whether a `Host` field, with or without a port, names it.
    pub fn is(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        match (name.parse::<IpAddr>(), self.0.parse::<IpAddr>()) {
            (Ok(asked), Ok(own)) => asked == own,
            _ => name.eq_ignore_ascii_case(&self.0),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a host without a port; as part of a list it may have spaces around it.
pub(super) fn host_name(text: &str) -> Result<HostName, String> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let host = bare.unwrap_or(text);
    let is_address = host.parse::<IpAddr>().is_ok();
    let is_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    let is_host = !host.is_empty() && !host.starts_with('-') && host.chars().all(is_name);
    match is_address || is_host {
        true => Ok(HostName(host.to_ascii_lowercase())),
        false => Err(format!(
            "{text:?} is not a host: write a name such as hubbub.internal or an address, without a scheme and a port"
        )),
    }
}

/// Reads an entry of the list of origins; as part of a list it may have spaces around it.
pub(super) fn permit(text: &str) -> Result<Permit, PermitError> {
    text.trim().parse()
}
