//! From settings to the runtime's configuration and the application.

use std::{num::NonZeroUsize, sync::Arc, thread};

use anyhow::Context;
use runtime::{Config, DriverChoice, Timeouts};

use crate::{
    application::Hubbub,
    internal::Configured,
    origin::Scheme,
    protocols,
    settings::{Driver, Period, Settings},
    site::Site,
    tls::Listeners,
};

/// The runtime's configuration.
pub fn config(settings: &Settings, tls: &Listeners) -> Config {
    let available = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Config {
        listen: settings.listen.clone(),
        cores: settings.cores.map_or_else(available, NonZeroUsize::get),
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
        },
        connections_max: settings.max_connections,
        rooms_max: settings.rooms_max,
        send_queue_bytes_max: settings.send_queue_bytes_max.bytes(),
        publish_window_bytes: settings.publish_window_bytes.bytes(),
        outbox_bytes_max: settings.outbox_bytes_max.bytes(),
        mailbox_batches: settings.mailbox_batches,
        receive_buffer_bytes: settings.receive_buffer_bytes.bytes(),
        tls: tls.public.as_ref().map(|tls| tls.config.clone()),
        timeouts: Timeouts {
            handshake: settings.handshake_timeout.duration(),
            tls_handshake: settings.tls_handshake_timeout.duration(),
            ping_interval: settings.ping_interval.duration(),
            pong: settings.pong_timeout.duration(),
            close: settings.close_timeout.duration(),
            write: settings.write_timeout.duration(),
            pause: settings.pause_timeout.duration(),
            drain_delay: settings.drain_delay.duration(),
            drain: settings.drain_timeout.duration(),
            room_idle: settings.room_idle_timeout.duration(),
            connection_age: settings.max_connection_age.map(Period::duration),
        },
    }
}

/// What the internal listener tells of the configuration.
pub fn configured(settings: &Settings, tls: &Listeners) -> Configured {
    let config = config(settings, tls);
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    let numbers = [
        ("head_bytes_max", limits.head_bytes_max),
        ("head_fields_max", limits.head_fields_max),
        ("request_line_bytes_max", limits.request_line_bytes_max),
        ("message_bytes_max", limits.message_bytes_max),
        ("message_fragments_max", settings.message_fragments_max),
        ("send_queue_bytes_max", config.send_queue_bytes_max),
        ("publish_window_bytes", config.publish_window_bytes),
        ("outbox_bytes_max", config.outbox_bytes_max),
        ("mailbox_batches", config.mailbox_batches),
        ("receive_buffer_bytes", config.receive_buffer_bytes),
        ("rooms_max", config.rooms_max),
        ("static_bytes_max", settings.static_bytes_max.bytes()),
    ];
    let times = [
        ("handshake_timeout", timeouts.handshake),
        ("tls_handshake_timeout", timeouts.tls_handshake),
        ("ping_interval", timeouts.ping_interval),
        ("pong_timeout", timeouts.pong),
        ("close_timeout", timeouts.close),
        ("write_timeout", timeouts.write),
        ("pause_timeout", timeouts.pause),
        ("drain_delay", timeouts.drain_delay),
        ("drain_timeout", timeouts.drain),
        ("room_idle_timeout", timeouts.room_idle),
    ];
    let numbers = numbers.map(|(key, number)| (key, number as f64));
    let times = times.map(|(key, time)| (key, time.as_secs_f64()));
    let age = timeouts
        .connection_age
        .map(|age| ("max_connection_age", age.as_secs_f64()));
    let listeners = [("public", &tls.public), ("internal", &tls.internal)];
    Configured {
        certificates: listeners
            .map(|(listener, tls)| (listener, tls.as_ref().map_or(0.0, |it| it.expires as f64)))
            .to_vec(),
        protocols: protocols::TABLE.iter().map(|it| it.name).collect(),
        limits: numbers.into_iter().chain(times).chain(age).collect(),
    }
}

/// The application, with the built-in page or the files of `static_dir`.
pub fn application(settings: &Settings) -> anyhow::Result<Arc<Hubbub>> {
    let site = match &settings.static_dir {
        None => Site::embedded(),
        Some(dir) => Site::load(dir, settings.static_bytes_max.bytes())
            .with_context(|| format!("static_dir {} cannot be served", dir.display()))?,
    };
    for skipped in site.skipped() {
        tracing::warn!("static_dir: {skipped}");
    }
    let scheme = match settings.tls_cert {
        None => Scheme::Http,
        Some(_) => Scheme::Https,
    };
    Ok(Arc::new(Hubbub::new(site, scheme, settings.allow_list())))
}
