//! Reads the keys that tokens are verified with from the files that the settings name.

use std::{fs, path::Path};

use access::token::{KeyMaterial, Keys, Rules, StaticKey, Verifier};
use anyhow::anyhow;
use tracing::warn;

use crate::{faults::Faults, settings::Settings, world::Tokens};

/// The verifiers that the settings ask for, with the keys of their files.
///
/// # Errors
/// Everything that is wrong with the files, each with the setting that names it and a remedy.
pub fn load(settings: &Settings) -> Result<Tokens, Faults> {
    let mut faults = Faults::default();
    let keys = match &settings.token_jwks {
        Some(path) => jwks(path, &mut faults),
        None => static_keys(settings, &mut faults),
    };
    let rules = Rules {
        token_bytes_max: settings.token_bytes_max.bytes(),
        leeway_s: u32::try_from(settings.token_leeway.duration().as_secs()).unwrap_or(u32::MAX),
        issuer: settings.token_issuer.clone(),
        audience: settings.token_audience.clone(),
        user_id_claim: settings.token_user_claim.clone(),
    };
    let connections = keys.filter(|keys| !keys.is_empty()).and_then(|keys| {
        let verifier = Verifier::new(keys, rules);
        faults.note(verifier.map_err(|error| anyhow!("token_user_claim, token_leeway: {error}")))
    });
    faults.into_result(Some(Tokens { connections }))
}

fn static_keys(settings: &Settings, faults: &mut Faults) -> Option<Keys> {
    let secret = settings.token_secret.iter().map(|path| {
        let secret = read("token_secret", path)?;
        // Editors end a file with a newline, which nobody means to be a part of a secret.
        let secret = secret.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
        Ok((named("token_secret", path), KeyMaterial::Secret(secret)))
    });
    let public = settings.token_keys.iter().map(|path| {
        let pem = read("token_keys", path)?;
        Ok((named("token_keys", path), KeyMaterial::Pem(pem)))
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
    match built {
        Ok(keys) => Some(keys),
        Err(errors) => {
            for error in errors {
                faults.note::<()>(Err(error.into()));
            }
            None
        }
    }
}

fn jwks(path: &Path, faults: &mut Faults) -> Option<Keys> {
    let document = faults.note(read("token_jwks", path))?;
    match Keys::from_jwks(&named("token_jwks", path), &document) {
        Ok((keys, left_out)) => {
            left_out.iter().for_each(|error| warn!("{error}"));
            Some(keys)
        }
        Err(errors) => {
            for error in errors {
                faults.note::<()>(Err(error.into()));
            }
            None
        }
    }
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
