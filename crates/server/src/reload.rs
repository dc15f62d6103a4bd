//! Reads the settings again while the server runs, and gives it those that can change.
//!
//! *Invariant:* all or nothing. What would be refused at start changes nothing.

use std::sync::Arc;

use runtime::Configurer;
use tracing::{error, info, warn};

use crate::{
    application::Hubbub,
    internal, logging,
    settings::{Loaded, Override, Settings, Sources},
    tls::{Listeners, Tickets},
    wiring,
};

/// The settings in force, and whom to tell of others.
pub struct Reloader {
    /// What is in force now.
    pub settings: Settings,
    /// Whose site stays.
    pub application: Arc<Hubbub>,
    /// The server.
    pub server: Configurer,
    /// The log.
    pub log: logging::Filter,
    /// What sessions are resumed with, whatever the certificates.
    pub tickets: Tickets,
    /// What the metrics tell of the settings, and the internal listener's TLS.
    pub status: internal::Status,
}

impl Reloader {
    /// Reads the settings from `sources`. What comes of it, good or bad, is in the log.
    pub fn reload(&mut self, sources: &Sources<'_>) {
        match Settings::load(sources) {
            Ok(loaded) => self.take(loaded),
            Err(stop) => error!(
                "not reloaded, the settings stay as they are: {}",
                stop.line()
            ),
        }
    }

    fn take(&mut self, loaded: Loaded) {
        let Loaded {
            settings,
            warnings,
            overrides,
        } = loaded;
        let mut next = self.settings.clone();
        let (changed, waiting) = next.reload(settings);
        // Also if the settings are as they were: renewed certificates have the same names.
        let tls = match Listeners::load(&next, &self.tickets) {
            Ok(tls) => tls,
            Err(error) => {
                error!("not reloaded, the settings stay as they are: {error:#}");
                return;
            }
        };
        self.settings = next;
        if let Err(error) = self.log.set(&self.settings.log_level) {
            error!("{error:#}");
        }
        let origins = self.settings.allow_list();
        self.application = Arc::new(self.application.with_origins(origins));
        let config = wiring::config(&self.settings, &tls);
        self.server.configure(config, self.application.clone());
        self.status
            .reconfigured(wiring::configured(&self.settings, &tls));
        self.status.secured(tls.internal.as_ref());
        tls.announce();

        warnings.iter().for_each(|warning| warn!("{warning}"));
        for key in &changed {
            info!("changed: {}", now(key, &overrides));
        }
        for key in &waiting {
            warn!("not changed before a restart: {}", now(key, &overrides));
        }
        info!(changed = changed.len(), "reloaded");
    }
}

/// A setting's new value and where it stands.
fn now(key: &str, overrides: &[Override]) -> String {
    let set = overrides.iter().find(|set| set.key == key);
    set.map_or_else(|| format!("{key} (its default again)"), ToString::to_string)
}
