//! Bounds for each client address, over all cores: how many connections are open, and how many open
//! a second.
//!
//! The table is touched only when a connection opens or closes and by the sweeps that clear it. It
//! is split into parts with a lock each, so that cores that accept at the same time seldom contend.
//!
//! *Bound:* each part holds its share of the configured number of entries. An entry is dropped when
//! its network has no open connection and its bucket is full again. When a part is full, new
//! networks are admitted uncounted: refusing them would let an attacker with that many addresses
//! lock everybody else out, and a bound on each address does not stop such an attacker. The bound
//! on all connections still holds.

use std::{
    collections::HashMap,
    fmt,
    hash::BuildHasher,
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::rates::{Bucket, Rate};
use crate::kernel::RandomState;

const PARTS: usize = 16;

/// A full part is cleared at most once in this time. Otherwise an attacker could cause a walk
/// through the whole part with each new connection.
const CLEAR_AGAIN_NS: u64 = 100_000_000;

/// Bounds on the connections of one client network: of one IPv4 address, or of one IPv6 network of
/// 64 bits, which is what a provider assigns to one customer.
#[derive(Clone, Copy, Debug)]
pub struct AddressLimits {
    /// Most connections open at the same time; 0 means no bound.
    pub connections_max: usize,
    /// How often a connection may open; `None` means no bound.
    pub rate: Option<Rate>,
    /// Most networks in the table, over all cores.
    pub addresses_max: usize,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self {
            // An office or a school behind one address fits; a flood does not.
            connections_max: 100,
            // All connections of such an office can return within seconds of a restart.
            rate: Rate::new(20, 40),
            // Most machines have fewer connections; a full table takes about 4 MiB.
            addresses_max: 65_536,
        }
    }
}

/// How often each client address may have something that costs more than a connection.
#[derive(Default)]
pub struct AddressRates(Addresses);

impl AddressRates {
    /// Whether `address` may have it once more at `now_ns`, a time in nanoseconds that never goes back. Addresses
    /// of one network count together, and those of this machine do not count. At most `addresses_max` networks
    /// are counted; others are let in meanwhile, as connections are.
    pub fn allows(
        &self,
        address: IpAddr,
        rate: Option<Rate>,
        addresses_max: usize,
        now_ns: u64,
    ) -> bool {
        let Some(network) = Network::of(address).filter(|_| rate.is_some()) else {
            return true;
        };
        let limits = AddressLimits {
            connections_max: 0,
            rate,
            addresses_max,
        };
        match self.0.enter(network, &limits, now_ns) {
            Entered::Counted(network) => {
                self.0.leave(network, now_ns);
                true
            }
            Entered::Uncounted => true,
            Entered::Refused(_) => false,
        }
    }
}

impl fmt::Debug for AddressRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressRates").finish_non_exhaustive()
    }
}

/// Connections of one network are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4(u32),
    /// The upper 64 bits of an IPv6 address.
    V6(u64),
}

/// Why a network may not have another connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Connections,
    Rate,
}

/// The outcome for a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// The connection is counted for this network. When it closes, [`leave`](Addresses::leave) must
    /// be called.
    Counted(Network),
    /// The connection is admitted but not counted, because the table is full.
    Uncounted,
    /// The connection is refused, because its network has reached a bound.
    Refused(Excess),
}

/// The counts of all networks.
pub(crate) struct Addresses {
    parts: [Mutex<Part>; PARTS],
    /// The hash keys are random, so that nobody can choose addresses that all fall into one part.
    hashes: RandomState,
    /// The part that the next sweep clears.
    next: AtomicU64,
}

#[derive(Default)]
struct Part {
    entries: HashMap<Network, Entry>,
    cleared_ns: u64,
}

#[derive(Default)]
struct Entry {
    open: usize,
    bucket: Bucket,
}

impl Network {
    /// The network that `address` belongs to, or `None` for a loopback address, whose connections
    /// are not counted. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub(crate) fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V4(address) => Some(Self::V4(address.to_bits())),
            IpAddr::V6(address) => Some(Self::V6((address.to_bits() >> 64) as u64)),
        }
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            parts: Default::default(),
            hashes: RandomState::new(),
            next: AtomicU64::new(0),
        }
    }
}

impl Addresses {
    /// Counts one connection more, unless its network has reached a bound of `limits`.
    pub(crate) fn enter(&self, network: Network, limits: &AddressLimits, now_ns: u64) -> Entered {
        let mut part = self.part(network);
        let entries_max = limits.addresses_max.div_ceil(PARTS);
        if !part.entries.contains_key(&network) && !part.makes_room(entries_max, now_ns) {
            return Entered::Uncounted;
        }
        let entry = part.entries.entry(network).or_default();
        if limits.connections_max > 0 && entry.open >= limits.connections_max {
            return Entered::Refused(Excess::Connections);
        }
        if !entry.bucket.allows(limits.rate, now_ns) {
            return Entered::Refused(Excess::Rate);
        }
        entry.open += 1;
        Entered::Counted(network)
    }

    /// Counts one connection less for a network that `enter` has counted.
    pub(crate) fn leave(&self, network: Network, now_ns: u64) {
        let mut part = self.part(network);
        if let Some(entry) = part.entries.get_mut(&network) {
            entry.open -= 1;
            if entry.is_idle(now_ns) {
                part.entries.remove(&network);
            }
        }
    }

    /// Drops the entries of one part that have no open connection and a full bucket. A core clears
    /// one part between two looks at its deadlines, so that this never takes it long.
    pub(crate) fn clear_next(&self, now_ns: u64) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) as usize % PARTS;
        lock(&self.parts[next]).clear(now_ns);
    }

    /// The number of networks in the table.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(part).entries.len()).sum()
    }

    fn part(&self, network: Network) -> MutexGuard<'_, Part> {
        let hash = self.hashes.hash_one(network);
        lock(&self.parts[hash as usize % PARTS])
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    // No code can panic while it holds the lock, so a poisoned lock is impossible.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    fn makes_room(&mut self, entries_max: usize, now_ns: u64) -> bool {
        if self.entries.len() >= entries_max && now_ns >= self.cleared_ns + CLEAR_AGAIN_NS {
            self.clear(now_ns);
        }
        self.entries.len() < entries_max
    }

    fn clear(&mut self, now_ns: u64) {
        self.cleared_ns = now_ns;
        self.entries.retain(|_, entry| !entry.is_idle(now_ns));
        if self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}

impl Entry {
    fn is_idle(&self, now_ns: u64) -> bool {
        self.open == 0 && self.bucket.is_full(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn network(address: &str) -> Option<Network> {
        Network::of(address.parse().unwrap())
    }

    fn limits(connections_max: usize, rate: Option<Rate>) -> AddressLimits {
        AddressLimits {
            connections_max,
            rate,
            addresses_max: 1_024,
        }
    }

    #[test]
    fn addresses_of_one_network_are_counted_together() {
        for (one, other, is_same) in [
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("203.0.113.7", "::ffff:203.0.113.7", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            let is_equal = network(one).unwrap() == network(other).unwrap();
            assert_eq!(is_equal, is_same, "{one} and {other}");
        }
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(network(own), None, "{own}");
        }
    }

    #[test]
    fn connection_beyond_the_most_of_its_address_is_refused_until_one_leaves() {
        let (addresses, limits) = (Addresses::default(), limits(3, None));
        let one = network("203.0.113.7").unwrap();
        let other = network("203.0.113.8").unwrap();
        for _ in 0..3 {
            assert_eq!(addresses.enter(one, &limits, 0), Entered::Counted(one));
        }
        let refused = Entered::Refused(Excess::Connections);
        assert_eq!(addresses.enter(one, &limits, 0), refused);
        assert_eq!(addresses.enter(other, &limits, 0), Entered::Counted(other));
        addresses.leave(one, 0);
        assert_eq!(addresses.enter(one, &limits, 0), Entered::Counted(one));
        assert_eq!(addresses.enter(one, &limits, 0), refused);
    }

    #[test]
    fn connections_that_come_too_fast_are_refused_until_time_has_passed() {
        let (addresses, limits) = (Addresses::default(), limits(0, Rate::new(10, 5)));
        let one = network("2001:db8::1").unwrap();
        let let_in = |now_ns| {
            let entered = (0..20).map(|_| addresses.enter(one, &limits, now_ns));
            entered.filter(|it| *it == Entered::Counted(one)).count()
        };
        assert_eq!(let_in(0), 5);
        let refused = Entered::Refused(Excess::Rate);
        assert_eq!(addresses.enter(one, &limits, SECOND / 20), refused);
        assert_eq!(let_in(SECOND / 10), 1);
    }

    #[test]
    fn address_without_connections_is_forgotten_once_its_bucket_is_full() {
        let (addresses, limits) = (Addresses::default(), limits(100, Rate::new(10, 5)));
        let one = network("203.0.113.7").unwrap();
        addresses.enter(one, &limits, 0);
        addresses.leave(one, 1);
        assert_eq!(addresses.len(), 1, "a new entry would have a full burst");
        (0..PARTS).for_each(|_| addresses.clear_next(SECOND / 20));
        assert_eq!(addresses.len(), 1);
        (0..PARTS).for_each(|_| addresses.clear_next(SECOND / 10));
        assert_eq!(addresses.len(), 0);
        addresses.enter(one, &limits, SECOND);
        (0..PARTS).for_each(|_| addresses.clear_next(60 * SECOND));
        assert_eq!(addresses.len(), 1, "its network has a connection");
        addresses.leave(one, 60 * SECOND);
        assert_eq!(addresses.len(), 0);
    }

    #[test]
    fn rate_of_an_address_holds_for_its_network_and_for_no_other() {
        let rates = AddressRates::default();
        let rate = Rate::new(10, 5);
        let allowed = |address: &str, now_ns| {
            let address = address.parse().unwrap();
            let tries = (0..20).filter(|_| rates.allows(address, rate, 1_024, now_ns));
            tries.count()
        };
        assert_eq!(allowed("2001:db8::1", 0), 5);
        assert_eq!(allowed("2001:db8::2", 0), 0);
        assert_eq!(allowed("203.0.113.7", 0), 5);
        assert_eq!(allowed("2001:db8::1", SECOND / 10), 1);
        assert_eq!(allowed("127.0.0.1", 0), 20);
        assert!(rates.allows([203, 0, 113, 7].into(), None, 1_024, 0));
        // Who is not counted because others fill the table is let in.
        for number in 0..60_000_u32 {
            assert!(rates.allows(number.to_be_bytes().into(), rate, 16, 0));
        }
        assert!(rates.0.len() <= 16 + 2, "{} networks", rates.0.len());
    }

    #[test]
    fn table_that_is_full_counts_no_further_addresses_until_there_is_room() {
        let (addresses, limits) = (Addresses::default(), limits(1, Rate::new(20, 40)));
        let networks = || (0..60_000_u32).map(Network::V4);
        let entered: Vec<_> = networks()
            .map(|network| addresses.enter(network, &limits, 0))
            .collect();
        let counted = entered
            .iter()
            .filter(|it| **it != Entered::Uncounted)
            .count();
        assert_eq!((counted, addresses.len()), (1_024, 1_024));
        let first = entered[0];
        assert_eq!(first, Entered::Counted(Network::V4(0)));
        let refused = Entered::Refused(Excess::Connections);
        assert_eq!(addresses.enter(Network::V4(0), &limits, 0), refused);
        for entered in entered {
            if let Entered::Counted(network) = entered {
                addresses.leave(network, 0);
            }
        }
        // Idle entries are dropped when room is needed, without any sweep.
        let newcomer = Network::V6(1);
        let counted = Entered::Counted(newcomer);
        assert_eq!(addresses.enter(newcomer, &limits, SECOND), counted);
        assert!(addresses.len() < 1_024);
    }
}
