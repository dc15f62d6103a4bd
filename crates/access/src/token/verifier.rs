//! From a token to its claims: the signature, and then the rules.

use std::sync::Arc;

use super::{
    claims::{ConnectionClaims, SubscriptionClaims},
    error::TokenError,
    json::Object,
    keys::Keys,
    rules::{Common, Rules, RulesError},
};

/// Verifies tokens. Another one may be used for subscription tokens, with keys of their own.
#[derive(Debug)]
pub struct Verifier {
    keys: Arc<Keys>,
    rules: Arc<Rules>,
}

impl Verifier {
    /// A verifier with these keys.
    ///
    /// # Errors
    /// When the rules cannot be used.
    pub fn new(keys: impl Into<Arc<Keys>>, rules: Rules) -> Result<Self, RulesError> {
        rules.validate()?;
        Ok(Self {
            keys: keys.into(),
            rules: Arc::new(rules),
        })
    }

    /// A verifier with other keys and the same rules, for keys that are rotated.
    #[must_use]
    pub fn with_keys(&self, keys: impl Into<Arc<Keys>>) -> Self {
        Self {
            keys: keys.into(),
            rules: self.rules.clone(),
        }
    }

    /// Verifies a connection token. `now_s` is the wall clock's time in seconds since 1970.
    ///
    /// # Errors
    /// When the token is not to be believed, or is none for connections.
    pub fn verify_connection(
        &self,
        token: &str,
        now_s: i64,
    ) -> Result<ConnectionClaims, TokenError> {
        self.verify(token, now_s, ConnectionClaims::read)
    }

    /// Verifies a subscription token. `now_s` is the wall clock's time in seconds since 1970. Whether
    /// its user, channel and client are those that present it is for the caller to check.
    ///
    /// # Errors
    /// When the token is not to be believed, or is none for subscriptions.
    pub fn verify_subscription(
        &self,
        token: &str,
        now_s: i64,
    ) -> Result<SubscriptionClaims, TokenError> {
        self.verify(token, now_s, SubscriptionClaims::read)
    }

    fn verify<C>(
        &self,
        token: &str,
        now_s: i64,
        of_kind: impl FnOnce(&Object<'_>, Common) -> Result<C, TokenError>,
    ) -> Result<C, TokenError> {
        let jws = self.rules.parse(token)?;
        self.keys.verify(&jws, now_s)?;
        self.rules.read(&jws.payload, now_s, of_kind)
    }
}
