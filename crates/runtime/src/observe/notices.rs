//! Rate-limited log lines about failed handshakes and about connections that the server closed: a few a
//! second of each kind, and how many were left out. Without a limit any peer could flood the log.

use std::collections::HashMap;

use tracing::info;

/// Most lines of one kind that one core writes in a second: enough to see what is wrong, and even
/// on many cores far too few to fill a disk.
const LINES_PER_SECOND: u32 = 5;

/// The recent lines by kind. Kinds are names of reasons, so there are few.
#[derive(Default)]
pub(crate) struct Notices(HashMap<&'static str, Told>);

/// The lines of one kind within one second.
#[derive(Clone, Copy)]
struct Told {
    since_ms: u64,
    lines: u32,
    left_out: u64,
}

impl Notices {
    /// Whether one more line of this kind may be written now; if not, it is counted as left out.
    pub(crate) fn admit(&mut self, kind: &'static str, now_ms: u64) -> bool {
        let told = self.0.entry(kind).or_insert(Told::from(now_ms));
        if told.is_over(now_ms) && told.left_out == 0 {
            *told = Told::from(now_ms);
        }
        if told.lines < LINES_PER_SECOND {
            told.lines += 1;
            return true;
        }
        told.left_out += 1;
        false
    }

    /// Logs how many lines were left out in the seconds that are over.
    pub(crate) fn tell_left_out(&mut self, now_ms: u64) {
        for (reason, left_out) in self.take_left_out(now_ms) {
            info!(
                reason,
                left_out, "further lines of this reason were left out of the log"
            );
        }
    }

    fn take_left_out(&mut self, now_ms: u64) -> Vec<(&'static str, u64)> {
        let over = self.0.iter_mut();
        let over = over.filter(|(_, told)| told.left_out > 0 && told.is_over(now_ms));
        over.map(|(kind, told)| (*kind, std::mem::replace(told, Told::from(now_ms)).left_out))
            .collect()
    }
}

impl Told {
    fn from(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            lines: 0,
            left_out: 0,
        }
    }

    fn is_over(self, now_ms: u64) -> bool {
        now_ms >= self.since_ms + 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_kind_are_few_a_second_and_the_rest_is_counted() {
        let mut notices = Notices::default();
        let told = |notices: &mut Notices, kind, now_ms| {
            let told = (0..12).filter(|_| notices.admit(kind, now_ms));
            told.count() as u32
        };
        assert_eq!(told(&mut notices, "a", 100), LINES_PER_SECOND);
        assert_eq!(told(&mut notices, "b", 600), LINES_PER_SECOND);
        assert_eq!(told(&mut notices, "a", 1099), 0);
        assert_eq!(notices.take_left_out(1099), []);
        assert_eq!(notices.take_left_out(1100), [("a", 7 + 12)]);
        assert_eq!(notices.take_left_out(1100), []);
        assert_eq!(told(&mut notices, "a", 1100), LINES_PER_SECOND);
        // The count of left-out lines is kept until it is logged, however late that is.
        assert_eq!(told(&mut notices, "b", 5_000), 0);
        let mut left_out = notices.take_left_out(9_000);
        left_out.sort_unstable();
        assert_eq!(left_out, [("a", 7), ("b", 7 + 12)]);
    }
}
