//! `hubbub token`: makes the tokens that clients show, and explains them.
//!
//! - `make.rs` has the flags of a new token, and the claims that they come to; `key.rs` the keys that sign it
//! - `explain.rs` takes a token apart and says what it is worth; `claims.rs` knows the claims

mod claims;
mod explain;
mod key;
mod make;

use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;

use super::Done;
use crate::settings::Sources;

/// What to do with a token.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Word {
    Make(Box<make::Make>),
    Explain(explain::Explain),
}

impl Word {
    pub(super) fn run(&self, sources: &Sources<'_>) -> Done {
        match self {
            Self::Make(make) => make.run(sources),
            Self::Explain(explain) => explain.run(sources),
        }
    }
}

/// A time with its distance from now, for people.
fn moment(at_s: i64, now_s: i64) -> String {
    let away = Duration::from_secs(at_s.abs_diff(now_s));
    let away = match away.as_secs() {
        // Minutes do not matter in days.
        days @ 172_800.. => format!("{} days", days / 86_400),
        _ => humantime::format_duration(away).to_string(),
    };
    let away = match at_s > now_s {
        true => format!("in {away}"),
        false => format!("{away} ago"),
    };
    match date(at_s) {
        Some(date) => format!("{date}, {away}"),
        None => format!("{at_s}, {away}"),
    }
}

/// A time in seconds since 1970 as RFC 3339 has it, if it can be written so.
fn date(at_s: i64) -> Option<String> {
    /// The year 9999, with which that format ends.
    const END_S: u64 = 253_402_300_800;
    let since = u64::try_from(at_s).ok().filter(|since| *since < END_S)?;
    let time = UNIX_EPOCH + Duration::from_secs(since);
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_says_how_far_away_it_is() {
        let now = 1_800_000_000;
        assert_eq!(moment(now + 3661, now), "2027-01-15T09:01:01Z, in 1h 1m 1s");
        assert_eq!(moment(now - 60, now), "2027-01-15T07:59:00Z, 1m ago");
        assert_eq!(
            moment(now + 864_000, now),
            "2027-01-25T08:00:00Z, in 10 days"
        );
        assert!(moment(i64::MAX, now).starts_with("9223372036854775807, in "));
        assert!(moment(-1, now).starts_with("-1, "));
    }
}
