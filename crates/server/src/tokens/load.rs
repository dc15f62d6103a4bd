//! Reads the keys that tokens are verified with from the files that the settings name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use access::token::{KeyMaterial, Keys, Rules, StaticKey, Verifier};
use anyhow::anyhow;
use rustls::RootCertStore;
use tracing::warn;

use super::{Remote, Tokens, URLS, Verification, remote::Source};
use crate::{
    backend::{Bounds, Client},
    faults::Faults,
    settings::{Settings, Url},
    tls,
};

/// The settings of one kind of tokens.
struct Kind<'a> {
    secret: (&'static str, Option<&'a Path>),
    keys: (&'static str, &'a [PathBuf]),
    jwks: (&'static str, Option<&'a Path>),
    url: (&'static str, Option<&'a Url>),
    issuer: &'a Option<String>,
    audience: &'a Option<String>,
}

/// The verifiers that the settings ask for, with the keys of their files. Keys of URLs are yet to be fetched.
///
/// # Errors
/// Everything that is wrong with the files, each with the setting that names it and a remedy.
pub fn load(settings: &Settings) -> Result<Tokens, Faults> {
    let mut faults = Faults::default();
    let [connections, subscriptions] = kinds(settings);
    let connections = connections.verification(settings, &mut faults);
    let subscriptions = subscriptions.verification(settings, &mut faults);
    faults.into_result(Some(Tokens {
        connections,
        subscriptions,
    }))
}

/// What is demanded of connection tokens, or of subscription tokens that have keys of their own.
pub fn rules(settings: &Settings, of_own_keys: bool) -> Rules {
    let [connections, subscriptions] = kinds(settings);
    let kind = if of_own_keys {
        subscriptions
    } else {
        connections
    };
    kind.rules(settings)
}

/// The settings of connection tokens, and those of subscription tokens.
fn kinds(settings: &Settings) -> [Kind<'_>; 2] {
    let s = settings;
    let connections = Kind {
        secret: ("token_secret", s.token_secret.as_deref()),
        keys: ("token_keys", &s.token_keys),
        jwks: ("token_jwks", s.token_jwks.as_deref()),
        url: (URLS[0], s.token_jwks_url.as_ref()),
        issuer: &s.token_issuer,
        audience: &s.token_audience,
    };
    let subscriptions = Kind {
        secret: (
            "subscription_token_secret",
            s.subscription_token_secret.as_deref(),
        ),
        keys: ("subscription_token_keys", &s.subscription_token_keys),
        jwks: (
            "subscription_token_jwks",
            s.subscription_token_jwks.as_deref(),
        ),
        url: (URLS[1], s.subscription_token_jwks_url.as_ref()),
        issuer: &s.subscription_token_issuer,
        audience: &s.subscription_token_audience,
    };
    [connections, subscriptions]
}

impl Kind<'_> {
    /// What verifies these tokens; `None` if there are no keys for them, or something is wrong with those.
    fn verification(&self, settings: &Settings, faults: &mut Faults) -> Option<Verification> {
        let (keys, remote) = match (self.url, self.jwks) {
            ((setting, Some(url)), _) => {
                let source = faults.note(source(settings, setting, url))?;
                (Keys::default(), Some(Remote::new(source).into()))
            }
            (_, (setting, Some(path))) => (jwks(setting, path, settings, faults)?, None),
            _ => (self.static_keys(faults)?, None),
        };
        if keys.is_empty() && remote.is_none() {
            return None;
        }
        let verifier = Verifier::new(keys, self.rules(settings));
        let verifier = verifier.map_err(|error| anyhow!("token_user_claim, token_leeway: {error}"));
        let verifier = faults.note(verifier)?;
        Some(Verification { verifier, remote })
    }

    fn rules(&self, settings: &Settings) -> Rules {
        let leeway_s = settings.token_leeway.duration().as_secs();
        Rules {
            token_bytes_max: settings.token_bytes_max.bytes(),
            leeway_s: u32::try_from(leeway_s).unwrap_or(u32::MAX),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            user_id_claim: settings.token_user_claim.clone(),
        }
    }

    fn static_keys(&self, faults: &mut Faults) -> Option<Keys> {
        let (setting, secret) = self.secret;
        let secret = secret.iter().map(|path| {
            let secret = read(setting, path)?;
            // Editors end a file with a newline, which nobody means to be a part of a secret.
            let secret = secret.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
            Ok((named(setting, path), KeyMaterial::Secret(secret)))
        });
        let (setting, public) = self.keys;
        let public = public.iter().map(|path| {
            let pem = read(setting, path)?;
            Ok((named(setting, path), KeyMaterial::Pem(pem)))
        });
        let materials: Vec<_> = secret.chain(public).collect();
        let keys: Vec<_> = materials
            .into_iter()
            .filter_map(|material| faults.note(material))
            .map(|(name, material)| StaticKey {
                name,
                kid: None,
                until: None,
                material,
            })
            .collect();
        let built = Keys::from_static(&keys);
        built.map_err(|errors| note_all(errors, faults)).ok()
    }
}

fn jwks(
    setting: &'static str,
    path: &Path,
    settings: &Settings,
    faults: &mut Faults,
) -> Option<Keys> {
    let document = faults.note(read(setting, path))?;
    let keys_max = settings.token_jwks_keys_max;
    match Keys::from_jwks(&named(setting, path), &document, keys_max) {
        Ok((keys, left_out)) => {
            left_out.iter().for_each(|error| warn!("{error}"));
            Some(keys)
        }
        Err(errors) => {
            note_all(errors, faults);
            None
        }
    }
}

fn note_all(errors: Vec<access::token::KeyError>, faults: &mut Faults) {
    for error in errors {
        faults.note::<()>(Err(error.into()));
    }
}

/// Where keys are fetched from.
fn source(settings: &Settings, setting: &'static str, url: &Url) -> anyhow::Result<Source> {
    let authorities = match (&settings.token_jwks_ca, url.is_encrypted()) {
        (Some(path), _) => tls::authorities("token_jwks_ca", path)?,
        (None, true) => tls::authorities_of_system(setting, "token_jwks_ca")?,
        (None, false) => RootCertStore::empty(),
    };
    Ok(Source {
        setting,
        url: url.clone(),
        client: Client::new(authorities)?,
        bounds: Bounds {
            bytes_max: settings.token_jwks_bytes_max.bytes(),
            time: settings.token_jwks_timeout.duration(),
        },
        keys_max: settings.token_jwks_keys_max,
        refresh: settings.token_jwks_refresh.duration(),
        pause: settings.token_jwks_pause.duration(),
    })
}

fn named(key: &str, path: &Path) -> String {
    format!("{key} ({})", path.display())
}

fn read(key: &str, path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).map_err(|error| {
        anyhow!(
            "{key}: {} cannot be read ({error}): name a readable file",
            path.display()
        )
    })
}
