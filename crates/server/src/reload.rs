//! Reads the settings and their files again while the server runs, and applies what can change.
//!
//! *Invariant:* all or nothing. Settings that a start would refuse change nothing. Nothing waits for
//! a reload, because it may read for ever: from a pipe without a writer, or a disk that is gone.

use std::{io, sync::Arc, thread};

use flume::{Receiver, Sender, TrySendError};
use runtime::Configurer;
use tracing::{error, info, warn};

use crate::{
    api::Api,
    backend::Backend,
    internal, logging, moderation,
    settings::{Loaded, Override, Settings, Sources},
    tls::Tickets,
    wiring::{self, Files},
    world::Live,
};

/// Requests reloads; a thread of its own does them one after the other.
#[derive(Clone)]
pub struct Reloads(Sender<()>);

impl Reloads {
    /// Starts that thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(mut reloader: Reloader) -> io::Result<Self> {
        // One waiting request suffices: its reload reads everything that was written before it.
        let (ask, asked): (Sender<()>, Receiver<()>) = flume::bounded(1);
        let thread = thread::Builder::new().name("reload".into());
        thread.spawn(move || {
            for () in asked.iter() {
                reloader.reload(&Sources::of_process());
            }
        })?;
        Ok(Self(ask))
    }

    /// Requests one more reload, unless one is waiting already.
    pub fn ask(&self) {
        match self.0.try_send(()) {
            Ok(()) => {}
            Err(TrySendError::Full(())) => {
                info!("a reload is under way, and one more is already waiting");
            }
            Err(TrySendError::Disconnected(())) => {
                error!("the reload thread has ended with a panic")
            }
        }
    }
}

/// The current settings, and the parts of the server that take new ones.
pub struct Reloader {
    /// The current settings.
    pub settings: Settings,
    /// The server.
    pub server: Configurer,
    /// The log.
    pub log: logging::Filter,
    /// The keys of TLS tickets, which outlive the certificates.
    pub tickets: Tickets,
    /// Who may be here, and which rules hold for rooms.
    pub live: Arc<Live>,
    /// The thread for other servers, which fetches keys of tokens.
    pub backend: Backend,
    /// The API of back ends.
    pub api: Api,
    /// The status of the internal listener: the settings in the metrics, and the listener's TLS.
    pub status: internal::Status,
}

impl Reloader {
    /// Reads the settings from `sources` and applies them. The log has the result, good or bad.
    pub fn reload(&mut self, sources: &Sources<'_>) {
        info!("reading settings and files again");
        match Settings::load(sources) {
            Ok(loaded) => self.take(loaded.or_dev()),
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
        // Files are read even if no setting changed: renewed certificates and pages keep their names.
        let files = match Files::read(&next, &self.tickets) {
            Ok(files) => files,
            Err(error) => {
                error!("not reloaded, the settings stay as they are: {error:#}");
                return;
            }
        };
        if let Err(error) = files
            .tokens
            .fetch(&self.backend, Some(&self.live.now().tokens))
        {
            error!(%error, "not reloaded, the settings stay as they are: the thread `backend` cannot be started");
            return;
        }
        let Files {
            site,
            tls,
            tokens,
            events,
            api_keys,
            hooks,
        } = files;
        let hooks = match hooks.begin(&self.backend, Some(&self.live.now().hooks)) {
            Ok(hooks) => hooks,
            Err(error) => {
                error!(%error, "not reloaded, the settings stay as they are: the thread `backend` cannot be started");
                return;
            }
        };
        let mut rules = self.settings.namespaces.changes(&next.namespaces);
        rules.extend(self.settings.api_keys.changes(&next.api_keys));
        self.settings = next;
        if let Err(error) = self.log.set(&self.settings.log_level) {
            error!("{error:#}");
        }
        if let Some((sink, events)) = self.live.events().zip(events) {
            sink.sign_with(events.into_secret());
        }
        wiring::tell_skipped(site.skipped());
        let (pages, certificates) = (site.files(), tls.count());
        let configured = wiring::configured(&self.settings, &tls, &tokens);
        let bounds = moderation::Bounds::of(&self.settings);
        self.live.now().moderation.allow(bounds);
        let rules_changed = self
            .live
            .replace(wiring::world(&self.settings, tokens, hooks));
        let application = wiring::application(&self.settings, site, &self.live);
        let config = wiring::config(&self.settings, &tls);
        self.server.configure(config, application);
        if let Some(rules_changed) = rules_changed {
            self.live.tell(rules_changed);
        }
        self.status.reconfigured(configured);
        self.status.secured(tls.internal.as_ref());
        self.api.secured(tls.api.as_ref());
        self.api.replace(&self.settings, api_keys);
        tls.announce();

        warnings.iter().for_each(|warning| warn!("{warning}"));
        for key in changed
            .iter()
            .filter(|key| !["namespaces", "api_keys"].contains(key))
        {
            match *key {
                "hooks" => info!("changed: [hooks]"),
                key => info!("changed: {}", now(key, &overrides)),
            }
        }
        rules.iter().for_each(|rule| info!("changed: {rule}"));
        for key in &waiting {
            warn!("not changed before a restart: {}", now(key, &overrides));
        }
        let (changed, waiting) = (changed.len(), waiting.len());
        info!(
            changed,
            waiting,
            pages,
            certificates,
            "reloaded: settings, pages and certificates were read again"
        );
    }
}

/// A setting's new value and its place.
fn now(key: &str, overrides: &[Override]) -> String {
    let set = overrides.iter().find(|set| set.key == key);
    set.map_or_else(|| format!("{key} (its default again)"), ToString::to_string)
}
