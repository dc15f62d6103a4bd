//! When a connection's or a subscription's time is over, and who may let it go on: its client with a new token, or a
//! back end that is asked.

use centrifuge::Expiry;

/// For how long a token may still be exchanged for a new one after its end, and a back end be asked again that does
/// not answer, in seconds.
pub const GRACE_S: i64 = 25;

/// The time until a back end that has failed is asked again, in seconds.
const AGAIN_S: i64 = 5;

/// The time after which a question is put again whose answer has not come. It is longer than any takes.
const LOST_S: i64 = 600;

/// The time that a connection or a subscription goes on where a back end that has failed means yes, in seconds.
const ALLOWED_S: i64 = 60;

/// All times are in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// When it is over; `None`: never.
    over_at: Option<i64>,
    /// When the back end is asked next, if it is.
    ask_at: Option<i64>,
}

impl Term {
    /// Until then; a back end `is_asked`, or else the client has to show a new token.
    pub fn until(over_at: Option<i64>, is_asked: bool) -> Self {
        Self {
            over_at,
            ask_at: over_at.filter(|_| is_asked),
        }
    }

    /// The next second at which something is to be done.
    pub fn next(self) -> Option<i64> {
        self.ask_at.or(self.over_at.map(|at| at + GRACE_S))
    }

    /// Whether it is over for good.
    pub fn is_over(self, now_s: i64) -> bool {
        self.ask_at.is_none() && self.is_past_grace(now_s)
    }

    /// Whether the back end is to be asked.
    pub fn is_to_be_asked(self, now_s: i64) -> bool {
        self.ask_at.is_some_and(|at| at <= now_s)
    }

    /// The back end is asked now.
    pub fn asked(&mut self, now_s: i64) {
        self.ask_at = Some(now_s + LOST_S);
    }

    /// There is no back end to ask any more.
    pub fn cannot_be_asked(&mut self) {
        self.ask_at = None;
    }

    /// The back end has failed, and that means no: it is asked again. Returns whether it is over instead.
    pub fn refused(&mut self, now_s: i64) -> bool {
        self.ask_at = Some(now_s + AGAIN_S);
        self.is_past_grace(now_s)
    }

    /// The back end has failed, and that means yes.
    pub fn allowed(&mut self, now_s: i64) {
        *self = Self::until(Some(now_s + ALLOWED_S), true);
    }

    /// When a new token is needed, as clients are told.
    pub fn expiry(self, now_s: i64) -> Expiry {
        match (self.ask_at, self.over_at) {
            (None, Some(at)) => {
                Expiry::After(u32::try_from((at - now_s).max(1)).unwrap_or(u32::MAX))
            }
            (Some(_), _) | (None, None) => Expiry::Never,
        }
    }

    fn is_past_grace(self, now_s: i64) -> bool {
        self.over_at.is_some_and(|at| at + GRACE_S <= now_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_is_told_of_the_end_and_has_a_grace() {
        let term = Term::until(Some(100), false);
        assert_eq!(term.expiry(40), Expiry::After(60));
        assert_eq!(term.next(), Some(100 + GRACE_S));
        assert!(!term.is_over(100) && term.is_over(100 + GRACE_S));
        assert!(!term.is_to_be_asked(i64::MAX));
        assert_eq!(Term::default().next(), None);
        assert_eq!(Term::default().expiry(0), Expiry::Never);
    }

    #[test]
    fn back_end_is_asked_at_the_end_and_again_until_the_grace_is_over() {
        let mut term = Term::until(Some(100), true);
        assert_eq!((term.expiry(40), term.next()), (Expiry::Never, Some(100)));
        assert!(term.is_to_be_asked(100) && !term.is_to_be_asked(99));
        term.asked(100);
        assert!(!term.is_to_be_asked(130) && !term.is_over(1_000));
        assert!(!term.refused(101));
        assert_eq!(term.next(), Some(106));
        assert!(term.refused(100 + GRACE_S), "it is over");
        term.allowed(200);
        assert_eq!(term.next(), Some(260));
        term.cannot_be_asked();
        assert_eq!(term.next(), Some(260 + GRACE_S));
    }
}
