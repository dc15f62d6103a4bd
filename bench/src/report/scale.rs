//! Maps figures to coordinates: linearly, logarithmically and by nines, with ticks.

/// Maps an interval of figures to an interval of coordinates.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Scale {
    /// A scale from zero to `most`.
    #[must_use]
    pub fn linear(most: f64, start: f64, end: f64) -> Self {
        let to = if most > 0.0 { most } else { 1.0 };
        Self {
            from: 0.0,
            to,
            start,
            end,
            logarithmic: false,
        }
    }

    /// A scale from the power of ten (or its double, or half) below `least` to that above `most`.
    #[must_use]
    pub fn logarithmic(least: f64, most: f64, start: f64, end: f64) -> Self {
        let least = least.max(1e-9);
        let most = most.max(least * 1.0001);
        let from = steps().rev().find(|&step| step <= least).unwrap_or(least);
        let to = steps().find(|&step| step >= most).unwrap_or(most);
        Self {
            from,
            to,
            start,
            end,
            logarithmic: true,
        }
    }

    /// The coordinate of a figure; a figure outside the interval is at its edge.
    #[must_use]
    pub fn place(&self, figure: f64) -> f64 {
        let share = if self.logarithmic {
            (figure.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (figure - self.from) / (self.to - self.from)
        };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Whether a figure is inside the interval.
    #[must_use]
    pub fn contains(&self, figure: f64) -> bool {
        figure >= self.from * 0.999 && figure <= self.to * 1.001
    }

    /// About `count` figures for grid lines.
    #[must_use]
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if self.logarithmic {
            return self.logarithmic_ticks(count);
        }
        let step = round_step((self.to - self.from) / count.max(1) as f64);
        let mut ticks = Vec::new();
        let mut tick = 0.0;
        while tick <= self.to * 1.000_001 {
            ticks.push(tick);
            tick += step;
        }
        ticks
    }

    fn logarithmic_ticks(&self, count: usize) -> Vec<f64> {
        let all: Vec<f64> = steps().filter(|&step| self.contains(step)).collect();
        if all.len() <= count + 2 {
            return all;
        }
        all.into_iter()
            .filter(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-6)
            .collect()
    }
}

/// 1, 2, 5, 10, 20, … over all magnitudes that figures may have.
fn steps() -> impl DoubleEndedIterator<Item = f64> {
    (-9..13).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
}

fn round_step(step: f64) -> f64 {
    steps().find(|&round| round >= step * 0.999).unwrap_or(step)
}

/// The number of nines in a share: 0 for none, 1 for 90 %, 2 for 99 %.
#[must_use]
pub fn nines(share: f64) -> f64 {
    -(1.0 - share).max(1e-9).log10()
}

/// A figure in short form, with a unit of thousands.
#[must_use]
pub fn short(figure: f64) -> String {
    let (value, unit) = match figure.abs() {
        size if size >= 1e9 => (figure / 1e9, "G"),
        size if size >= 1e6 => (figure / 1e6, "M"),
        size if size >= 1e3 => (figure / 1e3, "k"),
        _ => (figure, ""),
    };
    let decimals = match value.abs() {
        size if size >= 100.0 || (size - size.round()).abs() < 0.005 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}{unit}")
}

/// Microseconds in a readable unit.
#[must_use]
pub fn duration(microseconds: f64) -> String {
    match microseconds {
        us if us >= 1e6 => format!("{} s", short(us / 1e6)),
        us if us >= 1e3 => format!("{} ms", short(us / 1e3)),
        us => format!("{} µs", short(us)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_places_and_ticks() {
        let scale = Scale::linear(95.0, 10.0, 110.0);
        assert!((scale.place(0.0) - 10.0).abs() < 1e-9);
        assert!((scale.place(95.0) - 110.0).abs() < 1e-9);
        assert_eq!(scale.ticks(5), [0.0, 20.0, 40.0, 60.0, 80.0]);
    }

    #[test]
    fn logarithmic_places_and_ticks() {
        let scale = Scale::logarithmic(12.0, 950.0, 0.0, 100.0);
        assert_eq!(
            scale.ticks(5),
            [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
        );
        assert!((scale.place(100.0) - 50.0).abs() < 1e-9);
        let wide = Scale::logarithmic(1.0, 1e6, 0.0, 100.0);
        assert_eq!(wide.ticks(5).len(), 7);
    }

    #[test]
    fn outside_lies_at_the_edge() {
        let scale = Scale::logarithmic(10.0, 100.0, 0.0, 50.0);
        assert!(scale.place(0.0).abs() < 1e-9);
        assert!((scale.place(1e9) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn nines_count_nines() {
        assert!((nines(0.99) - 2.0).abs() < 1e-9);
        assert!(nines(0.0).abs() < 1e-9);
        assert!(nines(1.0).is_finite());
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(short(1_234_567.0), "1.23M");
        assert_eq!(short(20.0), "20");
        assert_eq!(short(0.5), "0.50");
        assert_eq!(short(45_600.0), "45.6k");
        assert_eq!(duration(1500.0), "1.50 ms");
    }
}
