//! The date of answers over HTTP (RFC 9110 section 6.6.1), written at most once a second.

use std::time::{Duration, SystemTime};

use httpdate::HttpDate;

/// The last second that has four digits for its year.
const SECONDS_MAX: u64 = 253_402_300_799;

/// The date of answers, as of the latest time it was set.
#[derive(Debug)]
pub(crate) struct Date {
    second: u64,
    text: String,
}

impl Date {
    /// The date of the system's clock.
    pub(crate) fn now() -> Self {
        let mut date = Self {
            second: u64::MAX,
            text: String::new(),
        };
        date.set(SystemTime::now());
        date
    }

    /// It is this time now.
    pub(crate) fn set(&mut self, now: SystemTime) {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
        let second = since_epoch.map_or(0, |since| since.as_secs().min(SECONDS_MAX));
        if self.second != second {
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            self.text = HttpDate::from(whole).to_string();
            self.second = second;
        }
    }

    /// The value of the field `Date` for an answer that is made now.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_written_anew_for_another_second_alone() {
        let mut date = Date::now();
        let mut at = |ms| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
            date.set(now);
            let text = date.text();
            (text.to_owned(), text.as_ptr())
        };
        // The example of RFC 9110 section 5.6.7.
        let (first, place) = at(784_111_777_000);
        assert_eq!(first, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_999), (first.clone(), place));
        assert_eq!(at(784_111_778_000).0, "Sun, 06 Nov 1994 08:49:38 GMT");
        // The clock was set back.
        assert_eq!(at(784_111_777_000).0, first);
        assert_eq!(at(0).0, "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn date_of_a_clock_gone_wrong_is_the_nearest_there_is() {
        let mut date = Date::now();
        date.set(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(date.text(), "Thu, 01 Jan 1970 00:00:00 GMT");
        date.set(SystemTime::UNIX_EPOCH + Duration::from_secs(SECONDS_MAX + 1));
        assert_eq!(date.text(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
