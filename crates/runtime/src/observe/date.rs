//! The `Date` field of HTTP responses (RFC 9110 section 6.6.1), formatted at most once a second.

use std::time::{Duration, SystemTime};

use httpdate::HttpDate;

/// The last second whose year has four digits, in seconds since 1970.
const SECONDS_MAX: u64 = 253_402_300_799;

/// The date of responses: the system's clock as last read, and the time since then.
#[derive(Debug)]
pub(crate) struct Date {
    read: SystemTime,
    read_ns: u64,
    /// The second that `text` names, since 1970.
    second: u64,
    text: String,
}

impl Date {
    /// The date, when the system's clock shows `wall` at `ns`, nanoseconds since the process
    /// started.
    pub(crate) fn new(wall: SystemTime, ns: u64) -> Self {
        Self {
            read: wall,
            read_ns: ns,
            second: u64::MAX,
            text: String::new(),
        }
    }

    /// Corrects the date after the system's clock, which may be set at any time, was read again.
    pub(crate) fn set(&mut self, wall: SystemTime, ns: u64) {
        self.read = wall;
        self.read_ns = ns;
    }

    /// The value of the field `Date` for a response made at `ns`, nanoseconds since the process
    /// started.
    pub(crate) fn at(&mut self, ns: u64) -> &str {
        let passed = Duration::from_nanos(ns.saturating_sub(self.read_ns));
        let since_epoch = self.read.duration_since(SystemTime::UNIX_EPOCH);
        let second = since_epoch.map_or(0, |since| (since + passed).as_secs().min(SECONDS_MAX));
        if self.second != second {
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            self.text = HttpDate::from(whole).to_string();
            self.second = second;
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_written_anew_for_another_second_alone() {
        let mut date = Date::new(SystemTime::UNIX_EPOCH, 0);
        let mut at = |ms: u64| {
            let text = date.at(ms * 1_000_000);
            (text.to_owned(), text.as_ptr())
        };
        // The example of RFC 9110 section 5.6.7.
        let (first, place) = at(784_111_777_000);
        assert_eq!(first, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_999), (first.clone(), place));
        assert_eq!(at(784_111_778_000).0, "Sun, 06 Nov 1994 08:49:38 GMT");
        // The clock is set back.
        assert_eq!(at(784_111_777_000).0, first);
        assert_eq!(at(0).0, "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn date_follows_a_clock_that_is_set_and_is_the_nearest_for_one_gone_wrong() {
        let mut date = Date::new(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777), 5);
        assert_eq!(date.at(5), "Sun, 06 Nov 1994 08:49:37 GMT");
        date.set(SystemTime::UNIX_EPOCH - Duration::from_secs(1), 9);
        assert_eq!(date.at(9), "Thu, 01 Jan 1970 00:00:00 GMT");
        date.set(
            SystemTime::UNIX_EPOCH + Duration::from_secs(SECONDS_MAX + 1),
            9,
        );
        assert_eq!(date.at(9), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
