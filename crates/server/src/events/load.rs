//! From the settings to what is needed to send events: the file of the secret, the authorities of the back end.

use std::{fs, path::Path};

use anyhow::{anyhow, bail};
use rustls::RootCertStore;

use super::{
    sender::{Destination, Pace},
    signature::{SECRET_BYTES_MIN, Secret},
    sink::Bounds,
};
use crate::{backend::Client, settings::Settings, tls};

/// Events as the settings want them.
#[derive(Debug)]
pub struct Wanted {
    pub(super) destination: Destination,
    pub(super) pace: Pace,
    pub(super) bounds: Bounds,
    pub(super) secret: Secret,
}

impl Wanted {
    /// The secret alone, for a server whose events go on.
    pub fn into_secret(self) -> Secret {
        self.secret
    }
}

/// Reads the files that are needed to send events; `None` if no events are wanted.
///
/// # Errors
/// When a file cannot be used; the error names the setting and a remedy.
pub fn load(settings: &Settings) -> anyhow::Result<Option<Wanted>> {
    // One without the other is refused as a setting.
    let (Some(url), Some(path)) = (&settings.events_url, &settings.events_secret) else {
        return Ok(None);
    };
    let secret = secret(path)?;
    let authorities = match (&settings.events_ca, url.is_encrypted()) {
        (Some(path), _) => tls::authorities("events_ca", path)?,
        (None, true) => tls::authorities_of_system("events_url", "events_ca")?,
        (None, false) => RootCertStore::empty(),
    };
    Ok(Some(Wanted {
        destination: Destination {
            client: Client::keeping(authorities, 1)?,
            url: url.clone(),
            timeout: settings.events_timeout.duration(),
        },
        pace: Pace {
            events_max: settings.events_batch_max,
            delay: settings.events_batch_delay.duration(),
            retry_max: settings.events_retry_max.duration(),
        },
        bounds: Bounds {
            kinds: settings.events_kinds.clone(),
            queue_bytes_max: settings.events_queue_bytes_max.bytes(),
            debounce: settings.events_debounce.duration(),
        },
        secret,
    }))
}

fn secret(path: &Path) -> anyhow::Result<Secret> {
    let shown = path.display();
    let text = fs::read(path).map_err(|error| {
        anyhow!("events_secret: {shown} cannot be read ({error}): name a readable file")
    })?;
    // Editors end a file with a newline, which nobody means to be a part of a secret.
    let secret = text.trim_ascii_end();
    let Some(secret) = Secret::new(secret) else {
        bail!(
            "events_secret: {shown} has fewer than {SECRET_BYTES_MIN} bytes: make one with `openssl rand -hex 32`"
        );
    };
    Ok(secret)
}
