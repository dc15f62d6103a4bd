//! The modelled cost of one room on more cores than the machine has, from measured costs.
//!
//! A message to `n` subscribers costs `a + s·n`: `s` for each subscriber (its send), and `a` once
//! (receive, decode, number, encode, append, wake). Each further core adds `w` (its batch, its
//! wake, its own encoding). So on `c` cores a delivery costs `s + (a + (c−1)·w) / n`. The fan-out
//! runs on all cores at once, so each message occupies the room's home core for `a + (c−1)·w +
//! s·n/c`, which bounds the number of messages.

use crate::results::{Figure, Results};
use serde::{Deserialize, Serialize};

/// The numbers of cores that are modelled.
pub const CORES: [u32; 4] = [1, 2, 8, 32];
/// The sizes of rooms that are measured.
pub const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];

/// The measured costs of a server with `at_once` messages in flight.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Model {
    /// The name of the server.
    pub server: String,
    /// Messages in flight.
    pub at_once: u32,
    /// Nanoseconds for each subscriber: `s`.
    pub subscriber_ns: f64,
    /// Nanoseconds for each message: `a`.
    pub message_ns: f64,
    /// Nanoseconds for each further core and message: `w`; `None` if the server keeps a room on one
    /// core.
    pub core_ns: Option<f64>,
    /// Numbers of subscribers, and the measured nanoseconds for each delivery on one core.
    pub measured: Vec<(u32, f64)>,
    /// The measured nanoseconds for each delivery on two cores, with 1,000 subscribers.
    pub measured_two_cores_ns: Option<f64>,
}

impl Model {
    /// Fits the model to the rooms on one core and the room on two.
    #[must_use]
    pub fn fit(results: &Results, server: &str, at_once: u32) -> Option<Self> {
        let cost = |workload: &str| results.cell(workload, server)?.median(Figure::CpuNs);
        let measured: Vec<(u32, f64)> = SIZES
            .into_iter()
            .filter_map(|size| Some((size, cost(&format!("room-{size}-deep{at_once}"))?)))
            .collect();
        let (message_ns, subscriber_ns) = fit_line(&measured)?;
        let two = cost(&format!("room-1000-deep{at_once}-2cores"));
        let one = cost(&format!("room-1000-deep{at_once}"));
        Some(Self {
            server: server.to_owned(),
            at_once,
            subscriber_ns,
            message_ns,
            core_ns: two
                .zip(one)
                .map(|(two, one)| ((two - one) * 1_000.0).max(0.0)),
            measured,
            measured_two_cores_ns: two,
        })
    }

    fn once_ns(&self, cores: u32) -> f64 {
        self.message_ns + f64::from(cores - 1) * self.core_ns.unwrap_or(0.0)
    }

    /// Processor time in nanoseconds for each delivery, over all cores.
    #[must_use]
    pub fn delivery_ns(&self, cores: u32, subscribers: u32) -> f64 {
        self.subscriber_ns + self.once_ns(cores) / f64::from(subscribers)
    }

    /// Most deliveries a second, which the home core limits.
    #[must_use]
    pub fn per_second(&self, cores: u32, subscribers: u32) -> f64 {
        let cores = if self.core_ns.is_some() { cores } else { 1 };
        let share = f64::from(subscribers) / f64::from(cores);
        f64::from(subscribers) * 1e9 / (self.once_ns(cores) + self.subscriber_ns * share)
    }
}

/// Least squares of the relative error of `(a + s·n) / n`, so that every size has equal weight;
/// neither parameter is negative.
fn fit_line(measured: &[(u32, f64)]) -> Option<(f64, f64)> {
    if measured.len() < 2 {
        return None;
    }
    let (mut xx, mut xy, mut yy, mut x1, mut y1) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &(size, cost) in measured {
        let (x, y) = (1.0 / (f64::from(size) * cost), 1.0 / cost);
        xx += x * x;
        xy += x * y;
        yy += y * y;
        x1 += x;
        y1 += y;
    }
    let determinant = xx * yy - xy * xy;
    let (a, s) = (
        (x1 * yy - y1 * xy) / determinant,
        (y1 * xx - x1 * xy) / determinant,
    );
    Some(if a < 0.0 {
        (0.0, y1 / yy)
    } else if s < 0.0 {
        (x1 / xx, 0.0)
    } else {
        (a, s)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_finds_both_parts() {
        let cost = |n: u32| (n, 200.0 + 9_000.0 / f64::from(n));
        let (a, s) = fit_line(&SIZES.map(cost)).unwrap();
        assert!(
            (a - 9_000.0).abs() < 1.0 && (s - 200.0).abs() < 0.1,
            "{a} {s}"
        );
    }

    #[test]
    fn fit_is_never_negative() {
        let (a, s) = fit_line(&[(10, 100.0), (100, 110.0), (1000, 120.0)]).unwrap();
        assert!(a >= 0.0 && s > 0.0);
    }

    #[test]
    fn cores_divide_the_sends_and_not_the_rest() {
        let model = Model {
            server: String::new(),
            at_once: 1,
            subscriber_ns: 1_000.0,
            message_ns: 10_000.0,
            core_ns: Some(10_000.0),
            measured: Vec::new(),
            measured_two_cores_ns: None,
        };
        assert!((model.delivery_ns(2, 1_000) - 1_020.0).abs() < 1e-6);
        let per_message_ns = 20_000.0 + 500_000.0;
        assert!((model.per_second(2, 1_000) - 1e12 / per_message_ns).abs() < 1.0);
    }
}
