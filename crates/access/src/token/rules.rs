//! What is demanded of every token beside its signature: its length, its form, issuer, audience, times.

use thiserror::Error;

use super::{
    error::TokenError,
    json::{Object, Round},
    jws::Jws,
};

/// The longest leeway, in seconds: clocks of servers are closer than that.
pub const LEEWAY_S_MAX: u32 = 30;

/// A connection or a subscription asks for a new token after a year at the latest, in seconds.
pub const LIFETIME_S_MAX: i64 = 365 * 24 * 60 * 60;

/// The claim that names the user, unless another is configured.
const USER_ID_CLAIM: &str = "sub";

/// The claims that have a meaning of their own, and thus cannot name the user; nor can one without a name.
pub const TAKEN_CLAIMS: [&str; 20] = [
    "aud",
    "b64data",
    "b64info",
    "channel",
    "channels",
    "client",
    "data",
    "exp",
    "expire_at",
    "iat",
    "info",
    "iss",
    "jti",
    "meta",
    "nbf",
    "override",
    "publish",
    "subs",
    "unlimited",
    "",
];

/// What is demanded of every token beside its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// The longest token, in bytes. A longer one is refused before anything of it is read.
    pub token_bytes_max: usize,
    /// For how many seconds after its `exp`, `expire_at` and before its `nbf` a token is accepted, at
    /// most [`LEEWAY_S_MAX`]: for a back end whose clock is not exact.
    pub leeway_s: u32,
    /// What `iss` must be, to the byte; any, or none, if this is `None`.
    pub issuer: Option<String>,
    /// What `aud` must be or contain, to the byte; any, or none, if this is `None`.
    pub audience: Option<String>,
    /// The claim that names the user, in place of `sub`.
    pub user_id_claim: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            // A token stands in a request head or in the first message, both bounded; real ones have
            // some hundred bytes.
            token_bytes_max: 4 * 1024,
            leeway_s: 0,
            issuer: None,
            audience: None,
            user_id_claim: None,
        }
    }
}

/// Rules cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RulesError {
    /// See [`LEEWAY_S_MAX`].
    #[error("a leeway of {0} s is too long; at most {LEEWAY_S_MAX} s are accepted")]
    Leeway(u32),
    /// The claim that is to name the user has another meaning.
    #[error("the claim {0:?} cannot name the user, because it means something else in a token")]
    UserIdClaim(String),
}

impl Rules {
    pub(super) fn validate(&self) -> Result<(), RulesError> {
        if self.leeway_s > LEEWAY_S_MAX {
            return Err(RulesError::Leeway(self.leeway_s));
        }
        match &self.user_id_claim {
            Some(claim) if TAKEN_CLAIMS.contains(&claim.as_str()) => {
                Err(RulesError::UserIdClaim(claim.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Takes a token apart, unless it is too long.
    pub(super) fn parse<'t>(&self, token: &'t str) -> Result<Jws<'t>, TokenError> {
        if token.len() > self.token_bytes_max {
            return Err(TokenError::TooLong);
        }
        Jws::parse(token)
    }

    /// Reads the claims of a payload; `of_kind` reads those that tokens of its kind have. The payload
    /// is believed, so its signature must have been verified.
    pub(super) fn read<C>(
        &self,
        payload: &[u8],
        now_s: i64,
        of_kind: impl FnOnce(&Object<'_>, Common) -> Result<C, TokenError>,
    ) -> Result<C, TokenError> {
        let payload = str::from_utf8(payload);
        let payload = payload.map_err(|_| TokenError::Malformed("its payload is not UTF-8"))?;
        let bad =
            |_| TokenError::Malformed("its payload is not an object in JSON, or has a name twice");
        let claims = Object::parse(payload).map_err(bad)?;
        let common = self.check(&claims, now_s)?;
        of_kind(&claims, common)
    }

    /// Issuer and audience come before the times: a token that is not for this server is to be
    /// refused for good, and not to be exchanged for a newer one.
    fn check(&self, claims: &Object<'_>, now_s: i64) -> Result<Common, TokenError> {
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        let expires_at = self.check_times(claims, now_s)?;
        let user = self.user_id_claim.as_deref().unwrap_or(USER_ID_CLAIM);
        Ok(Common {
            user: claims.string(user)?.unwrap_or_default(),
            expires_at,
            issued_at: claims.seconds("iat", Round::Down)?,
            token_id: claims.string("jti")?,
        })
    }

    fn check_issuer(&self, claims: &Object<'_>) -> Result<(), TokenError> {
        let issuer = claims.string("iss")?;
        match self.issuer {
            Some(_) if self.issuer != issuer => Err(TokenError::WrongIssuer),
            _ => Ok(()),
        }
    }

    /// RFC 7519 section 4.1.3: `aud` is one string, or an array of them.
    fn check_audience(&self, claims: &Object<'_>) -> Result<(), TokenError> {
        let audiences = match claims.string("aud") {
            Ok(one) => Vec::from_iter(one),
            Err(_) => {
                let neither =
                    |_| TokenError::claim("aud", "must be a string or an array of strings");
                claims.strings("aud").map_err(neither)?.unwrap_or_default()
            }
        };
        match &self.audience {
            Some(ours) if !audiences.contains(ours) => Err(TokenError::WrongAudience),
            _ => Ok(()),
        }
    }

    /// Returns when what the token grants ends: at `expire_at`, of which 0 means never, or else at
    /// `exp`. Both count with the leeway, so it is always later than now.
    fn check_times(&self, claims: &Object<'_>, now_s: i64) -> Result<Option<i64>, TokenError> {
        let leeway = i64::from(self.leeway_s);
        let end = |name| claims.seconds(name, Round::Down);
        let (exp, expire_at) = (end("exp")?, end("expire_at")?);
        let nbf = claims.seconds("nbf", Round::Up)?;
        // RFC 7519 section 4.1.4: a token is not accepted in the second of its `exp` any more.
        let has_come = |end: i64| end + leeway <= now_s;
        if exp.is_some_and(has_come) {
            return Err(TokenError::Expired);
        }
        if nbf.is_some_and(|nbf| now_s < nbf - leeway) {
            return Err(TokenError::NotYetValid);
        }
        let end = match expire_at {
            // A fraction of a second after 1970 is a time, and not the 0 that means never.
            Some(0) if claims.seconds("expire_at", Round::Up)? == Some(0) => None,
            Some(..0) => return Err(TokenError::claim("expire_at", "must not be negative")),
            Some(end) if has_come(end) => return Err(TokenError::GrantExpired),
            Some(end) => Some(end),
            None => exp,
        };
        Ok(end.map(|end| (end + leeway).min(now_s.saturating_add(LIFETIME_S_MAX))))
    }
}

/// What tokens of both kinds say.
pub(super) struct Common {
    pub(super) user: String,
    pub(super) expires_at: Option<i64>,
    pub(super) issued_at: Option<i64>,
    pub(super) token_id: Option<String>,
}
