//! Who shows a token that is to be believed: the keys of now, from files or from URLs.
//!
//! - `load.rs` reads what the settings name; `remote.rs` fetches the keys of a URL and keeps them fresh
//! - `sought.rs` remembers which keys tokens have named that are not known
//!
//! A token is verified with the keys of now. Where these come from a URL, a token that names another key may be
//! signed with a newer one: it is neither believed nor refused before the URL was asked again.

mod load;
mod remote;
mod sought;

use std::{io, sync::Arc};

use access::token::{ConnectionClaims, SubscriptionClaims, TokenError, Verifier};
use thiserror::Error;

use crate::backend::Backend;

pub use load::{load, rules};
pub use remote::{KeyStanding, Remote};

use sought::Seek;

/// The settings that name URLs of keys.
pub const URLS: [&str; 2] = ["token_jwks_url", "subscription_token_jwks_url"];

/// The verifiers of tokens, if any keys are configured.
#[derive(Debug, Default)]
pub struct Tokens {
    /// Of connection tokens, and of subscription tokens unless these have keys of their own.
    connections: Option<Verification>,
    /// Of subscription tokens, if they have keys of their own.
    subscriptions: Option<Verification>,
}

/// Verifies tokens with the keys of now.
#[derive(Debug)]
struct Verification {
    /// With the keys from files; without any if they are to be fetched.
    verifier: Verifier,
    remote: Option<Arc<Remote>>,
}

/// Why a token is not believed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Unverified {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] TokenError),
    /// The key that it may be signed with is yet to be fetched: it may be good a moment later.
    #[error("its key is not known yet, and is being fetched")]
    KeyToCome,
    /// It was issued before a time from which on tokens are good again.
    #[error("it is revoked")]
    Revoked,
}

impl Tokens {
    /// Whether there are keys for tokens of any kind.
    pub fn are_known(&self) -> bool {
        self.connections.is_some() || self.subscriptions.is_some()
    }

    /// Whether subscription tokens have keys of their own.
    pub fn are_separate(&self) -> bool {
        self.subscriptions.is_some()
    }

    /// Whether there are keys for connection tokens.
    pub fn has_connection_keys(&self) -> bool {
        self.connections.is_some()
    }

    /// Who a connection token says somebody is.
    ///
    /// # Errors
    /// When the token is not to be believed, or there are no keys.
    pub fn verify_connection(
        &self,
        token: &str,
        now_s: i64,
    ) -> Result<ConnectionClaims, Unverified> {
        let verification = self.connections.as_ref().ok_or(TokenError::UnknownKey)?;
        verification.verify(token, |verifier| verifier.verify_connection(token, now_s))
    }

    /// Who a subscription token lets into which room.
    ///
    /// # Errors
    /// When the token is not to be believed, or there are no keys.
    pub fn verify_subscription(
        &self,
        token: &str,
        now_s: i64,
    ) -> Result<SubscriptionClaims, Unverified> {
        let own = self.subscriptions.as_ref();
        let verification = own
            .or(self.connections.as_ref())
            .ok_or(TokenError::UnknownKey)?;
        verification.verify(token, |verifier| verifier.verify_subscription(token, now_s))
    }

    /// The URLs that keys are fetched from.
    pub fn remotes(&self) -> impl Iterator<Item = &Arc<Remote>> {
        let all = [&self.connections, &self.subscriptions];
        all.into_iter()
            .flatten()
            .filter_map(|it| it.remote.as_ref())
    }

    /// Begins to fetch keys. Those that were fetched from the same URL before go on to hold until then.
    ///
    /// # Errors
    /// When the thread for it cannot be started.
    pub fn fetch(&self, backend: &Backend, before: Option<&Self>) -> io::Result<()> {
        for remote in self.remotes() {
            let mut before = before.into_iter().flat_map(Self::remotes);
            let before = before.find(|it| it.setting() == remote.setting());
            remote.begin(backend, before.map(|it| &**it))?;
        }
        Ok(())
    }
}

impl Verification {
    fn verify<C>(
        &self,
        token: &str,
        verify: impl FnOnce(&Verifier) -> Result<C, TokenError>,
    ) -> Result<C, Unverified> {
        let Some(remote) = &self.remote else {
            return Ok(verify(&self.verifier)?);
        };
        // The header names the key, and is the same in all tokens of a key.
        let header = || token.split('.').next().unwrap_or_default();
        let Some(keys) = remote.keys() else {
            remote.seek(header());
            return Err(Unverified::KeyToCome);
        };
        match verify(&self.verifier.with_keys(keys.clone())) {
            Err(TokenError::UnknownKey) => match remote.seek(header()) {
                // It was looked for in the very set that has been used here.
                Seek::Missing if remote.keys().is_some_and(|now| Arc::ptr_eq(&now, &keys)) => {
                    Err(TokenError::UnknownKey.into())
                }
                Seek::Missing | Seek::ToCome => Err(Unverified::KeyToCome),
            },
            verified => Ok(verified?),
        }
    }
}
