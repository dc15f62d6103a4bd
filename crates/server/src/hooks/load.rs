//! Makes hooks of the settings, with the authorities of their files.

use std::{io, sync::Arc};

use rustls::RootCertStore;
use tokio::sync::Semaphore;

use super::{Counts, Hook, HookKind, Hooks, Lists};
use crate::{
    backend::{Backend, Client},
    faults::Faults,
    settings::{HookSettings, Settings},
    tls,
};

/// Hooks whose files are read; nobody asks by them yet.
#[derive(Debug)]
pub struct Loaded(Vec<(HookKind, HookSettings, Client)>);

/// Reads what the settings of hooks name.
///
/// # Errors
/// Everything that is wrong with the files, each with the setting that names it and a remedy.
pub fn load(settings: &Settings) -> Result<Loaded, Faults> {
    let mut faults = Faults::default();
    let hooks = settings.hooks.named().filter_map(|(kind, hook)| {
        let client = faults.note(client(kind, hook))?;
        Some((kind, hook.clone(), client))
    });
    let hooks = hooks.collect();
    faults.into_result(Some(Loaded(hooks)))
}

fn client(kind: HookKind, hook: &HookSettings) -> anyhow::Result<Client> {
    let is_encrypted = hook.url.as_ref().is_some_and(|url| url.is_encrypted());
    let authorities = match (&hook.ca, is_encrypted) {
        (Some(path), _) => tls::authorities(key_of_ca(kind), path)?,
        (None, true) => {
            let wanted = format!("hooks.{}.url", kind.name());
            tls::authorities_of_system(&wanted, key_of_ca(kind))?
        }
        (None, false) => RootCertStore::empty(),
    };
    // As many connections as may be used at once are worth keeping.
    Client::keeping(authorities, hook.in_flight_max)
}

fn key_of_ca(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Connect => "hooks.connect.ca",
        HookKind::Refresh => "hooks.refresh.ca",
        HookKind::Subscribe => "hooks.subscribe.ca",
        HookKind::Publish => "hooks.publish.ca",
        HookKind::SubRefresh => "hooks.sub_refresh.ca",
        HookKind::Rpc => "hooks.rpc.ca",
    }
}

impl Loaded {
    /// The hooks, which ask on the thread `backend`. What those `before` have counted goes on, and what they have
    /// under way counts against the same bound, unless that is another one.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn begin(self, backend: &Backend, before: Option<&Hooks>) -> io::Result<Hooks> {
        let counts = before.map(|before| before.counts.clone());
        let counts = counts.unwrap_or_default();
        let mut all = Vec::new();
        for (kind, settings, client) in self.0 {
            let before = before.and_then(|before| before.of(kind));
            all.extend(hook(kind, settings, client, backend, &counts, before)?);
        }
        Ok(Hooks { all, counts })
    }
}

fn hook(
    kind: HookKind,
    settings: HookSettings,
    client: Client,
    backend: &Backend,
    counts: &Arc<Counts>,
    before: Option<&Arc<Hook>>,
) -> io::Result<Option<Arc<Hook>>> {
    let HookSettings {
        url,
        timeout,
        in_flight_max,
        waiting_max,
        waiting_bytes_max,
        answer_bytes_max,
        mut headers,
        forgeable_headers,
        emulated_headers,
        on_failure,
        include_meta,
        ..
    } = settings;
    let Some(url) = url else {
        return Ok(None);
    };
    headers.extend(forgeable_headers);
    let before = before.filter(|before| before.under_way_max == in_flight_max);
    let under_way = before.map(|before| before.under_way.clone());
    let under_way = under_way.unwrap_or_else(|| Arc::new(Semaphore::new(in_flight_max)));
    Ok(Some(Arc::new(Hook {
        kind,
        url,
        client,
        timeout: timeout.duration(),
        under_way,
        under_way_max: in_flight_max,
        asked_max: in_flight_max + waiting_max,
        bytes_max: waiting_bytes_max.bytes(),
        answer_bytes_max: answer_bytes_max.bytes(),
        headers: Lists {
            request: headers,
            command: emulated_headers,
        },
        on_failure,
        includes_meta: include_meta,
        counts: counts.clone(),
        backend: backend.handle()?,
    })))
}
