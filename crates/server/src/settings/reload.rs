//! Says which settings can change while the server runs, and applies their new values.

use super::Settings;

/// A setting, as a reload sees it.
pub struct Reload {
    /// Its key.
    pub key: &'static str,
    differs: fn(&Settings, &Settings) -> bool,
    keep: fn(&mut Settings, &Settings),
}

macro_rules! declare {
    (
        $(#[doc = $start:literal])+ at start: $($fixed:ident),+;
        $(#[doc = $run:literal])+ at run time: $($live:ident),+;
    ) => {
        $(#[doc = $start])+
        pub const AT_START: &[Reload] = &[$(declare!(one $fixed)),+];
        $(#[doc = $run])+
        pub const AT_RUN_TIME: &[Reload] = &[$(declare!(one $live)),+];
        // This does not compile if a setting is in neither list, or in both.
        const _: fn(Settings) = |settings| {
            let Settings { $($fixed: _,)+ $($live: _,)+ } = settings;
        };
    };
    (one $key:ident) => {
        Reload {
            key: stringify!($key),
            differs: |one, other| one.$key != other.$key,
            keep: |new, old| new.$key = old.$key.clone(),
        }
    };
}

declare! {
    /// Settings that are used only once, at start: a change needs a restart.
    at start:
        listen, internal_listen, cores, driver, config, mailbox_batches, commands_max, desk_requests_max, positions_max, history_bytes_max,
        recovered_messages_max, recovered_bytes_max, dev, api_listen, api_connections_max,
        receive_buffer_bytes, state_dir, state_bytes_max, state_timeout, moderation, log_format, log_queue_bytes_max,
        events_url, events_ca, events_kinds, events_batch_max, events_batch_delay, events_queue_bytes_max,
        events_debounce, events_timeout, events_retry_max, events_drain_timeout;
    /// Settings that a reload changes, for open connections too. Deadlines that are already running
    /// keep their time, and a drain keeps its pace. What a home keeps for held rooms, and what is published from
    /// within the server, is bounded by `outbox_bytes_max` as it was at start.
    at run time:
        max_connections, address_connections_max, address_rate, address_burst, addresses_max,
        static_dir, static_bytes_max, trusted_proxies, proxy_header, message_rate, message_burst, control_rate, control_burst,
        send_queues_bytes_max, unfinished_bytes_max, message_timeout, allow_origin, head_bytes_max,
        sse_head_bytes_max, emulation_waiting_bytes_max, head_fields_max, request_line_bytes_max,
        message_bytes_max, message_fragments_max, send_queue_bytes_max, publish_window_bytes,
        outbox_bytes_max, rooms_max, rooms_per_connection_max, room_idle_timeout, position_ttl, blocks_max, mutes_max, revocations_max, oneshot_rooms_max, oneshot_rate, oneshot_burst, handshake_timeout, tls_handshake_timeout, ping_interval,
        pong_timeout, close_timeout, write_timeout, pause_timeout, max_connection_age,
        drain_delay, drain_timeout, interrupt_drain_timeout, log_level, compression, compression_level,
        compression_bytes_min, compression_takeover, compression_window_bits,
        compression_contexts_bytes_max, tls_cert, tls_key,
        internal_tls_cert, internal_tls_key, internal_tls_client_ca, namespaces, hooks, anonymous, user_connections_max, single_connection, token_secret, token_keys, token_jwks,
        token_issuer, token_audience, token_user_claim, token_leeway, token_bytes_max, insecure, token_jwks_url, token_jwks_ca, token_jwks_http,
        token_jwks_refresh, token_jwks_pause, token_jwks_timeout, token_jwks_bytes_max, token_jwks_keys_max,
        subscription_token_secret, subscription_token_keys, subscription_token_jwks, subscription_token_jwks_url,
        subscription_token_issuer, subscription_token_audience, events_secret, api_tls_cert, api_tls_key, api_tls_client_ca, api_hosts,
        api_origins, api_error_mode, api_body_bytes_max, api_bodies_bytes_max, api_timeout, api_keys;
}

/// Whether a reload changes the setting of this key.
pub(super) fn is_at_run_time(key: &str) -> bool {
    AT_RUN_TIME.iter().any(|setting| setting.key == key)
}

impl Settings {
    /// Copies from `new` the settings that can change while the server runs. Returns the keys that
    /// have changed, and those that differ but need a restart.
    pub fn reload(&mut self, mut new: Self) -> (Vec<&'static str>, Vec<&'static str>) {
        let mut switched = self.keep_tls(&mut new);
        let differing = |settings: &[Reload], new: &Self| -> Vec<_> {
            let differing = settings.iter().filter(|s| (s.differs)(self, new));
            differing.map(|setting| setting.key).collect()
        };
        let changed = differing(AT_RUN_TIME, &new);
        let mut waiting = differing(AT_START, &new);
        waiting.append(&mut switched);
        AT_START.iter().for_each(|s| (s.keep)(&mut new, self));
        *self = new;
        (changed, waiting)
    }

    /// Certificates can change at run time, but whether a listener speaks TLS at all cannot. Returns
    /// the keys that would change that.
    fn keep_tls(&self, new: &mut Self) -> Vec<&'static str> {
        let mut switched = Vec::new();
        if self.tls_cert.is_some() != new.tls_cert.is_some() {
            new.tls_cert.clone_from(&self.tls_cert);
            new.tls_key.clone_from(&self.tls_key);
            switched.extend(["tls_cert", "tls_key"]);
        }
        if self.internal_tls_cert.is_some() != new.internal_tls_cert.is_some() {
            new.internal_tls_cert.clone_from(&self.internal_tls_cert);
            new.internal_tls_key.clone_from(&self.internal_tls_key);
            new.internal_tls_client_ca
                .clone_from(&self.internal_tls_client_ca);
            switched.extend(["internal_tls_cert", "internal_tls_key"]);
        }
        if self.api_tls_cert.is_some() != new.api_tls_cert.is_some() {
            new.api_tls_cert.clone_from(&self.api_tls_cert);
            new.api_tls_key.clone_from(&self.api_tls_key);
            new.api_tls_client_ca.clone_from(&self.api_tls_client_ca);
            switched.extend(["api_tls_cert", "api_tls_key"]);
        }
        switched
    }
}
