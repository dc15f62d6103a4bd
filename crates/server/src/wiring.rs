//! Turns settings into the files that they name, the runtime's configuration and the application.

use std::{num::NonZeroUsize, sync::Arc, thread};

use access::{Namespace, Namespaces};
use runtime::{AddressLimits, Compression, Config, DriverChoice, Proxies, Rate, Timeouts};
use tracing::{info, warn};

use crate::{
    api,
    application::Hubbub,
    events,
    faults::Faults,
    hooks::{self, Hooks},
    internal::Configured,
    memory,
    origin::Scheme,
    protocols,
    settings::{self, Driver, Period, ProxyHeader, Settings, Size},
    site::{Site, Skipped},
    tls::{Listeners, Tickets},
    tokens::{self, Tokens},
    world::{Live, Openness, Settled, World},
};

/// The runtime's configuration.
pub fn config(settings: &Settings, tls: &Listeners) -> Config {
    let (memory, otherwise) = (memory::limit(), Config::default());
    // The value of the setting, or this fraction of the memory that the process may use.
    let part_of_memory = |set: Option<Size>, parts, otherwise| {
        let part = memory.map_or(otherwise, |bytes| bytes / parts);
        set.map_or(part, Size::bytes)
    };
    Config {
        listen: settings.listen.clone(),
        cores: cores(settings),
        driver: match settings.driver {
            Driver::Auto => DriverChoice::Auto,
            Driver::IoUring => DriverChoice::IoUring,
            Driver::Epoll => DriverChoice::Epoll,
        },
        limits: codec::Limits {
            head_bytes_max: settings.head_bytes_max.bytes(),
            head_fields_max: settings.head_fields_max,
            request_line_bytes_max: settings.request_line_bytes_max.bytes(),
            message_bytes_max: settings.message_bytes_max.bytes(),
            message_fragments_max: u32::try_from(settings.message_fragments_max)
                .unwrap_or(u32::MAX),
            long_targets: protocols::LONG_TARGETS,
            long_head_bytes_max: settings.sse_head_bytes_max.bytes(),
            // Each route has a bound of its own; none is beyond this.
            body_bytes_max: u32::try_from(2 * settings.message_bytes_max.bytes() + 1024)
                .unwrap_or(u32::MAX),
        },
        connections_max: settings.max_connections,
        descriptors_kept: match settings.api_address() {
            Some(_) => settings.api_connections_max,
            None => 0,
        },
        addresses: AddressLimits {
            connections_max: settings.address_connections_max,
            rate: rate(settings.address_rate, settings.address_burst),
            addresses_max: settings.addresses_max,
        },
        proxies: Proxies {
            trusted: settings.trusted_proxies.clone(),
            header: match settings.proxy_header {
                ProxyHeader::XForwardedFor => runtime::ProxyHeader::XForwardedFor,
                ProxyHeader::ProxyV2 => runtime::ProxyHeader::ProxyV2,
            },
        },
        message_rate: rate(settings.message_rate, settings.message_burst),
        control_rate: rate(settings.control_rate, settings.control_burst),
        rooms_max: settings.rooms_max,
        // A quarter is for queues, an eighth each for what is unfinished and for compression.
        history_bytes_max: part_of_memory(
            settings.history_bytes_max,
            5,
            otherwise.history_bytes_max,
        ),
        positions_max: settings.positions_max,
        recovered_messages_max: settings.recovered_messages_max,
        recovered_bytes_max: settings.recovered_bytes_max.bytes(),
        rooms_per_connection_max: settings.rooms_per_connection_max,
        commands_max: settings.commands_max,
        desk_requests_max: settings.desk_requests_max,
        send_queue_bytes_max: settings.send_queue_bytes_max.bytes(),
        // Queues take another quarter while they grow, which makes half of the memory.
        send_queues_bytes_max: part_of_memory(
            settings.send_queues_bytes_max,
            4,
            otherwise.send_queues_bytes_max,
        ),
        unfinished_bytes_max: part_of_memory(
            settings.unfinished_bytes_max,
            8,
            otherwise.unfinished_bytes_max,
        ),
        publish_window_bytes: settings.publish_window_bytes.bytes(),
        outbox_bytes_max: settings.outbox_bytes_max.bytes(),
        mailbox_batches: settings.mailbox_batches,
        receive_buffer_bytes: settings.receive_buffer_bytes.bytes(),
        compression: compression(settings),
        // A quarter of the memory remains for everything else.
        compression_contexts_bytes_max: part_of_memory(
            settings.compression_contexts_bytes_max,
            8,
            otherwise.compression_contexts_bytes_max,
        ),
        tls: tls.public.as_ref().map(|tls| tls.config.clone()),
        timeouts: Timeouts {
            handshake: settings.handshake_timeout.duration(),
            tls_handshake: settings.tls_handshake_timeout.duration(),
            ping_interval: settings.ping_interval.duration(),
            pong: settings.pong_timeout.duration(),
            close: settings.close_timeout.duration(),
            write: settings.write_timeout.duration(),
            message: settings.message_timeout.duration(),
            pause: settings.pause_timeout.duration(),
            drain_delay: settings.drain_delay.duration(),
            drain: settings.drain_timeout.duration(),
            interrupt_drain: settings.interrupt_drain_timeout.duration(),
            room_idle: settings.room_idle_timeout.duration(),
            position: settings.position_ttl.duration(),
            connection_age: settings.max_connection_age.map(Period::duration),
        },
    }
}

/// The number of cores to run. The standard library considers the affinity of this process and the
/// whole part of the CPU quotas of its control groups, and returns at least 1.
pub fn cores(settings: &Settings) -> usize {
    let available = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    settings.cores.map_or_else(available, NonZeroUsize::get)
}

fn compression(settings: &Settings) -> Option<Compression> {
    let takeover = settings.compression_takeover;
    let compression = Compression {
        level: settings.compression_level as u32,
        bytes_min: settings.compression_bytes_min.bytes(),
        policy: codec::DeflatePolicy {
            window_bits: settings.compression_window_bits as u8,
            server_takeover: takeover.is_for_server(),
            client_takeover: takeover.is_for_client(),
        },
    };
    (settings.compression == settings::Compression::On).then_some(compression)
}

/// This rate per second with this burst; a rate of 0 means no bound.
fn rate(per_second: usize, burst: usize) -> Option<Rate> {
    let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Rate::new(number(per_second), number(burst))
}

/// The parts of the configuration that the internal listener shows.
pub fn configured(settings: &Settings, tls: &Listeners, tokens: &Tokens) -> Configured {
    let config = config(settings, tls);
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    let numbers = [
        ("head_bytes_max", limits.head_bytes_max),
        ("head_fields_max", limits.head_fields_max),
        ("sse_head_bytes_max", limits.long_head_bytes_max),
        (
            "emulation_waiting_bytes_max",
            settings.emulation_waiting_bytes_max.bytes(),
        ),
        ("request_line_bytes_max", limits.request_line_bytes_max),
        ("message_bytes_max", limits.message_bytes_max),
        ("message_fragments_max", settings.message_fragments_max),
        ("address_connections_max", settings.address_connections_max),
        ("address_rate", settings.address_rate),
        ("address_burst", settings.address_burst),
        ("addresses_max", settings.addresses_max),
        ("message_rate", settings.message_rate),
        ("message_burst", settings.message_burst),
        ("control_rate", settings.control_rate),
        ("control_burst", settings.control_burst),
        ("send_queue_bytes_max", config.send_queue_bytes_max),
        ("send_queues_bytes_max", config.send_queues_bytes_max),
        ("unfinished_bytes_max", config.unfinished_bytes_max),
        ("publish_window_bytes", config.publish_window_bytes),
        ("outbox_bytes_max", config.outbox_bytes_max),
        ("mailbox_batches", config.mailbox_batches),
        ("commands_max", config.commands_max),
        ("desk_requests_max", config.desk_requests_max),
        ("receive_buffer_bytes", config.receive_buffer_bytes),
        (
            "compression_contexts_bytes_max",
            config.compression_contexts_bytes_max,
        ),
        ("rooms_max", config.rooms_max),
        ("rooms_per_connection_max", config.rooms_per_connection_max),
        ("positions_max", config.positions_max),
        ("oneshot_rooms_max", settings.oneshot_rooms_max),
        ("oneshot_rate", settings.oneshot_rate),
        ("oneshot_burst", settings.oneshot_burst),
        ("history_bytes_max", config.history_bytes_max),
        ("recovered_messages_max", config.recovered_messages_max),
        ("recovered_bytes_max", config.recovered_bytes_max),
        ("blocks_max", settings.blocks_max),
        ("mutes_max", settings.mutes_max),
        ("revocations_max", settings.revocations_max),
        ("state_bytes_max", settings.state_bytes_max.bytes()),
        ("static_bytes_max", settings.static_bytes_max.bytes()),
        ("log_queue_bytes_max", settings.log_queue_bytes_max.bytes()),
        (
            "events_queue_bytes_max",
            settings.events_queue_bytes_max.bytes(),
        ),
        ("events_batch_max", settings.events_batch_max),
        (
            "token_jwks_bytes_max",
            settings.token_jwks_bytes_max.bytes(),
        ),
        ("token_jwks_keys_max", settings.token_jwks_keys_max),
        ("api_connections_max", settings.api_connections_max),
        ("api_body_bytes_max", settings.api_body_bytes_max.bytes()),
        (
            "api_bodies_bytes_max",
            settings.api_bodies_bytes_max.bytes(),
        ),
    ];
    let times = [
        ("handshake_timeout", timeouts.handshake),
        ("tls_handshake_timeout", timeouts.tls_handshake),
        ("ping_interval", timeouts.ping_interval),
        ("pong_timeout", timeouts.pong),
        ("close_timeout", timeouts.close),
        ("write_timeout", timeouts.write),
        ("message_timeout", timeouts.message),
        ("pause_timeout", timeouts.pause),
        ("drain_delay", timeouts.drain_delay),
        ("drain_timeout", timeouts.drain),
        ("interrupt_drain_timeout", timeouts.interrupt_drain),
        ("room_idle_timeout", timeouts.room_idle),
        ("position_ttl", timeouts.position),
        ("state_timeout", settings.state_timeout.duration()),
        ("api_timeout", settings.api_timeout.duration()),
        ("token_jwks_timeout", settings.token_jwks_timeout.duration()),
        ("token_jwks_refresh", settings.token_jwks_refresh.duration()),
        ("token_jwks_pause", settings.token_jwks_pause.duration()),
        ("events_batch_delay", settings.events_batch_delay.duration()),
        ("events_debounce", settings.events_debounce.duration()),
        ("events_timeout", settings.events_timeout.duration()),
        ("events_retry_max", settings.events_retry_max.duration()),
        (
            "events_drain_timeout",
            settings.events_drain_timeout.duration(),
        ),
    ];
    let numbers = numbers.map(|(key, number)| (key, number as f64));
    let times = times.map(|(key, time)| (key, time.as_secs_f64()));
    let age = timeouts
        .connection_age
        .map(|age| ("max_connection_age", age.as_secs_f64()));
    let listeners = [
        ("public", &tls.public),
        ("internal", &tls.internal),
        ("api", &tls.api),
    ];
    Configured {
        certificates: listeners
            .map(|(listener, tls)| (listener, tls.as_ref().map_or(0.0, |it| it.expires as f64)))
            .to_vec(),
        protocols: protocols::names(),
        remotes: tokens.remotes().cloned().collect(),
        limits: numbers.into_iter().chain(times).chain(age).collect(),
    }
}

/// The contents of the files that the settings name. A start reads them all before it listens, and a
/// reload reads them again.
pub struct Files {
    /// The built-in page, or the files of `static_dir`.
    pub site: Site,
    /// Certificates and keys.
    pub tls: Listeners,
    /// Keys of tokens.
    pub tokens: Tokens,
    /// What it takes to send events, if they are wanted.
    pub events: Option<events::Wanted>,
    /// Keys of the API.
    pub api_keys: api::Keys,
    /// The hooks, with the authorities of their back ends.
    pub hooks: hooks::Loaded,
}

impl Files {
    /// Reads the files.
    ///
    /// # Errors
    /// When files cannot be read or used. The error lists all of them, each with the setting that
    /// names it and a remedy.
    pub fn read(settings: &Settings, tickets: &Tickets) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let site = faults.note(site(settings));
        let tls = faults.note_all(Listeners::load(settings, tickets));
        let tokens = faults.note_all(tokens::load(settings));
        let events = faults.note(events::load(settings));
        let api_keys = faults.note_all(api::Keys::load(&settings.api_keys));
        let hooks = faults.note_all(hooks::load(settings));
        let files = site
            .zip(tls)
            .zip(tokens)
            .zip(events)
            .zip(api_keys)
            .zip(hooks);
        faults.into_result(files.map(
            |(((((site, tls), tokens), events), api_keys), hooks)| Self {
                site,
                tls,
                tokens,
                events,
                api_keys,
                hooks,
            },
        ))
    }

    /// Everything that is wrong with the files.
    pub fn faults(settings: &Settings) -> Faults {
        let mut faults = Faults::default();
        if let Some(tickets) = faults.note(Tickets::new()) {
            faults.note_all(Self::read(settings, &tickets));
        }
        faults
    }

    /// The files of `static_dir` that are not served, and why.
    pub fn skipped(&self) -> &[Skipped] {
        self.site.skipped()
    }
}

/// Writes to the log which files of `static_dir` are not served, and why.
pub fn tell_skipped(skipped: &[Skipped]) {
    for skipped in skipped {
        match skipped.is_usual() {
            true => info!("{skipped}"),
            false => warn!("{skipped}"),
        }
    }
}

fn site(settings: &Settings) -> anyhow::Result<Site> {
    let Some(dir) = &settings.static_dir else {
        return Ok(Site::embedded());
    };
    Ok(Site::load(dir, settings.static_bytes_max.bytes())?)
}

/// Who may be here, and which rules hold for rooms.
pub fn world(settings: &Settings, tokens: Tokens, hooks: Hooks) -> World {
    let (is_dev, is_insecure) = (settings.dev.is_on(), settings.insecure.is_on());
    // Who is somebody by a token or by a back end's word does not want a server for everybody.
    let knows_users = tokens.are_known() || hooks.are_any();
    let otherwise = match (is_dev, knows_users) {
        (true, _) => Namespaces::Open(Arc::new(Namespace::dev())),
        (false, false) => Namespaces::Open(Arc::new(Namespace::open())),
        (false, true) => {
            Namespaces::ruled(Namespace::default(), Vec::new()).expect("the defaults fit together")
        }
    };
    let namespaces = settings.namespaces.namespaces(otherwise);
    let namespaces = match is_insecure {
        true => namespaces.with_all_rights(),
        false => namespaces,
    };
    let seconds = settings.ping_interval.duration().as_secs().max(1);
    let settled = Settled {
        lets_anonymous_in: settings.anonymous.is_on() || is_insecure,
        openness: if is_dev {
            Openness::Dev
        } else {
            Openness::Configured
        },
        ping_s: u32::try_from(seconds).unwrap_or(u32::MAX),
        rooms_per_connection_max: settings.rooms_per_connection_max,
        recovered_bytes_max: settings.recovered_bytes_max.bytes(),
        message_bytes_max: settings.message_bytes_max.bytes(),
        emulation_waiting_bytes_max: settings.emulation_waiting_bytes_max.bytes(),
        in_transit_bytes_max: settings.outbox_bytes_max.bytes(),
        connect: settings.handshake_timeout.duration(),
        command_rate: rate(settings.message_rate, settings.message_burst),
        user_connections_max: match settings.user_connections_max {
            0 => usize::MAX,
            most => most,
        },
        single_connection: settings.single_connection.is_on(),
        one_shot_rooms_max: settings.oneshot_rooms_max,
        one_shot_rate: rate(settings.oneshot_rate, settings.oneshot_burst),
        addresses_max: settings.addresses_max,
    };
    World::new(namespaces, tokens, hooks, settled)
}

/// What the start says of who may be here.
pub fn announce_world(settings: &Settings, tokens: &Tokens) {
    if settings.dev.is_on() {
        warn!(
            "dev: everybody on this machine may subscribe and publish everywhere, and rooms keep 100 messages \
             for five minutes; never put a proxy before this server"
        );
    } else if tokens.are_known() || settings.namespaces.is_any() || settings.hooks.are_any() {
        info!("raw clients may enter rooms whose namespace says `raw`, and no others");
    }
}

/// The application, with this site, in the world of now.
pub fn application(settings: &Settings, site: Site, live: &Arc<Live>) -> Arc<Hubbub> {
    let scheme = match settings.tls_cert {
        None => Scheme::Http,
        Some(_) => Scheme::Https,
    };
    Arc::new(Hubbub::new(
        site,
        scheme,
        settings.allow_list(),
        live.clone(),
    ))
}
