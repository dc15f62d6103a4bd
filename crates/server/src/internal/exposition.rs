//! `/metrics`: every series of `docs/metrics.md`, from copies of what the cores counted.

mod pasts;

use std::{
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use prometheus::{Encoder, TextEncoder, core::Collector, process_collector::ProcessCollector};
use runtime::{Ending, Frames, Payload, Snapshot, Tally, refusals};
use tracing::error;

use crate::{
    logging, protocols,
    tokens::{self, KeyStanding, Remote},
};

use pasts::pasts;

use super::{
    Phase, Status, api,
    cores::{Cores, Standing},
    events,
    families::{Families, Label},
    hooks, moderated, one_shots,
};

/// The parts of the configuration that the metrics show.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// The entries of the table of protocols.
    pub protocols: Vec<&'static str>,
    /// The URLs that keys of tokens are fetched from.
    pub remotes: Vec<Arc<Remote>>,
    /// Bounds by their key, in bytes, seconds or numbers.
    pub limits: Vec<(&'static str, f64)>,
    /// When the listeners' certificates expire, in seconds since 1970; 0 without TLS.
    pub certificates: Vec<(&'static str, f64)>,
}

/// All possible endings: a few dozen among thousands of codes, so they are searched for only once.
static ENDINGS: LazyLock<Vec<Ending>> = LazyLock::new(Ending::all);

/// All series, in the text format.
pub(super) async fn metrics(State(status): State<Status>) -> Response {
    let standings = match status.cores() {
        Some(cores) => cores.standings().await,
        None => Vec::new(),
    };
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&families(&status, &standings), &mut text) {
        Ok(()) => ([(CONTENT_TYPE, encoder.format_type())], text).into_response(),
        Err(error) => {
            error!(%error, "the metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The sum of the counts of all cores.
pub(super) fn total(standings: &[Standing]) -> Tally {
    let snapshots = snapshots(standings);
    let mut total = Tally::new(snapshots.first().map_or(0, |it| it.tally.open.len()));
    snapshots.iter().for_each(|it| total.add(&it.tally));
    total
}

fn snapshots(standings: &[Standing]) -> Vec<&Snapshot> {
    standings
        .iter()
        .filter_map(|it| it.snapshot.as_deref())
        .collect()
}

fn families(status: &Status, standings: &[Standing]) -> Vec<prometheus::proto::MetricFamily> {
    let mut families = Families::default();
    let total = total(standings);
    described(&mut families, status);
    keys(&mut families, status);
    now(&mut families, status, standings, &total);
    connections(&mut families, &total);
    traffic(&mut families, &total);
    by_core(&mut families, standings);
    distributions(&mut families, &total);
    pasts(&mut families, status, &total);
    one_shots::add(&mut families, status);
    moderated::add(&mut families, status);
    events::add(&mut families, status);
    api::add(&mut families, status);
    hooks::add(&mut families, status);
    let mut families = families.into_vec();
    families.extend(ProcessCollector::for_self().collect());
    families
}

fn now(families: &mut Families, status: &Status, standings: &[Standing], total: &Tally) {
    let snapshots = snapshots(standings);
    let sum = |of: fn(&Snapshot) -> usize| snapshots.iter().map(|it| of(it)).sum::<usize>() as f64;
    let configured = status.configured();
    let open = total.open.iter().chain(std::iter::repeat(&0));
    let open: Vec<_> = configured.protocols.iter().zip(open).collect();
    let opened: u64 = open.iter().map(|(_, open)| **open).sum();
    let none = sum(|it| it.connections) - opened as f64;
    families.gauges(
        "hubbub_connections",
        "Open connections by entry of the table of protocols; none before the handshake is done.",
        open.iter()
            .map(|(name, open)| (vec![("protocol", **name)], **open as f64))
            .chain([(vec![("protocol", "none")], none)]),
    );
    families.gauge(
        "hubbub_subscriptions",
        "Subscribers of all rooms.",
        sum(|it| it.subscriptions),
    );
    families.gauge(
        "hubbub_send_queue_bytes",
        "Bytes that wait to be sent, over all connections.",
        sum(|it| it.send_queue_bytes),
    );
    families.gauge(
        "hubbub_send_queues_held_bytes",
        "Bytes of memory held for peers that read more slowly than messages arrive for them.",
        sum(|it| it.held_bytes),
    );
    families.gauge(
        "hubbub_unfinished_held_bytes",
        "Bytes of memory for input that has arrived only in part, or is kept while a connection is not read.",
        sum(|it| it.unfinished_bytes),
    );
    families.gauge(
        "hubbub_compression_contexts_bytes",
        "Bytes of memory reserved for compression with context takeover.",
        sum(|it| it.contexts_bytes),
    );
}

fn described(families: &mut Families, status: &Status) {
    let cores = status.cores();
    families.gauge(
        "hubbub_rooms",
        "Rooms, including empty ones and positions of former ones that are kept for a while.",
        cores.map_or(0, |cores| cores.monitor().rooms()) as f64,
    );
    families.gauge(
        "hubbub_addresses",
        "Addresses whose connections are counted.",
        cores.map_or(0, |cores| cores.monitor().addresses()) as f64,
    );
    families.gauge(
        "hubbub_draining",
        "1 from the signal to stop until the process ends.",
        f64::from(u8::from(matches!(status.phase(), Phase::Draining { .. }))),
    );
    families.counter(
        "hubbub_log_lines_dropped_total",
        "Log lines that were dropped because standard error was not read in time or could not be \
         written.",
        logging::lines_dropped(),
    );
    families.gauges(
        "hubbub_limit",
        "The configured value of each key: bytes, seconds or a number.",
        status
            .configured()
            .limits
            .iter()
            .copied()
            .chain(cores.map(|cores| ("max_connections", cores.connections_max())))
            .map(|(key, value)| (vec![("key", key)], value)),
    );
    families.gauges(
        "hubbub_tls_certificate_expiry_timestamp_seconds",
        "When the first certificate of a listener's chain expires, in seconds since 1970; 0 without TLS.",
        status
            .configured()
            .certificates
            .iter()
            .map(|(listener, expires)| (vec![("listener", *listener)], *expires)),
    );
    families.counter(
        "hubbub_internal_connections_crowded_out_total",
        "Connections of the internal listener that were ended to make room for others.",
        status.crowded_out.load(Ordering::Relaxed),
    );
    families.gauges(
        "hubbub_build_info",
        "Always 1.",
        [(
            vec![
                ("version", env!("CARGO_PKG_VERSION")),
                ("driver", cores.map_or("none", Cores::driver)),
            ],
            1.0,
        )],
    );
}

/// The keys of tokens that are fetched.
fn keys(families: &mut Families, status: &Status) {
    let configured = status.configured();
    let standings = tokens::URLS.map(|setting| {
        let mut remotes = configured.remotes.iter();
        let remote = remotes.find(|remote| remote.setting() == setting);
        (setting, remote.map(|it| it.standing()).unwrap_or_default())
    });
    let each = |of: fn(&KeyStanding) -> f64| {
        let series = standings.iter();
        series.map(move |(source, it)| (vec![("source", *source)], of(it)))
    };
    families.gauges(
        "hubbub_token_keys",
        "Keys of tokens in force that were fetched, by the setting with their URL.",
        each(|it| it.keys as f64),
    );
    families.gauges(
        "hubbub_token_keys_fetched_timestamp_seconds",
        "When the keys in force were fetched, in seconds since 1970; 0 if none have come.",
        each(|it| it.fetched_s as f64),
    );
    let fetches = standings.iter().flat_map(|(source, it)| {
        [("fetched", it.good), ("failed", it.failed)]
            .map(|(result, count)| (vec![("source", *source), ("result", result)], count as f64))
    });
    families.counters(
        "hubbub_token_key_fetches_total",
        "How often keys of tokens were fetched, and how often they could not be.",
        fetches,
    );
}

fn connections(families: &mut Families, total: &Tally) {
    families.counter(
        "hubbub_connections_opened_total",
        "Connections accepted.",
        total.opened,
    );
    families.counter(
        "hubbub_connections_uncounted_total",
        "Connections admitted uncounted, because addresses_max other addresses were in use.",
        total.addresses_uncounted,
    );
    let count = |ending: &Ending| total.ended.get(ending).copied().unwrap_or(0);
    families.counters(
        "hubbub_connections_ended_total",
        "Connections ended, each with its one reason.",
        ENDINGS.iter().map(|ending| {
            let labels = vec![
                ("code", ending.code),
                ("initiator", ending.initiator),
                ("reason", ending.reason),
            ];
            (labels, count(ending) as f64)
        }),
    );
    families.counter(
        "hubbub_deflate_agreed_total",
        "WebSockets opened with permessage-deflate.",
        total.deflate_agreed,
    );
    let declined = total.takeovers_declined;
    families.counters(
        "hubbub_takeovers_declined_total",
        "WebSockets opened without context takeover of a side, for lack of memory.",
        [("server", declined.server), ("client", declined.client)]
            .map(|(side, count)| (vec![("side", side)], count as f64)),
    );
    families.counters(
        "hubbub_handshakes_rejected_total",
        "Requests that asked for a WebSocket, or could not be parsed, and were refused.",
        refusals().into_iter().map(|reason| {
            let count = total.rejected.get(reason).copied().unwrap_or(0);
            (vec![("reason", reason)], count as f64)
        }),
    );
    families.counter(
        "hubbub_subprotocols_unanswered_total",
        "WebSockets opened without a subprotocol although the client asked for some.",
        total.subprotocols_unanswered,
    );
    let ended_by = |reason| {
        let counts = total.ended.iter();
        let counts = counts.filter(|(ending, _)| ending.reason == reason);
        counts.map(|(_, count)| count).sum::<u64>()
    };
    families.counters(
        "hubbub_evictions_total",
        "Connections closed or reset because they were slow.",
        ["send_queue_full", "queues_full", "write_stalled"]
            .map(|policy| (vec![("policy", policy)], ended_by(policy) as f64)),
    );
    let errors = total.accept_errors;
    families.counters(
        "hubbub_accept_errors_total",
        "Failed accepts.",
        [
            ("descriptors", errors.descriptors),
            ("aborted", errors.aborted),
            ("other", errors.other),
        ]
        .map(|(reason, count)| (vec![("reason", reason)], count as f64)),
    );
    let done = total.tls_handshakes;
    families.counters(
        "hubbub_tls_handshakes_total",
        "Finished TLS handshakes, by version and whether a session was resumed.",
        [
            ("1.2", "no", done.tls12_full),
            ("1.2", "yes", done.tls12_resumed),
            ("1.3", "no", done.tls13_full),
            ("1.3", "yes", done.tls13_resumed),
        ]
        .map(|(version, resumed, count)| {
            let labels = vec![("version", version), ("resumed", resumed)];
            (labels, count as f64)
        }),
    );
    families.counter(
        "hubbub_tls_handshake_steps_total",
        "Steps of TLS handshakes; each processes in one turn what has arrived of a handshake.",
        total.tls_steps,
    );
    families.counter(
        "hubbub_pings_sent_total",
        "Pings sent.",
        total.frames_sent.ping,
    );
    families.counter(
        "hubbub_pongs_missed_total",
        "Pings not answered in time.",
        ended_by("pong_timeout"),
    );
    families.counter("hubbub_panics_total", "Panics caught.", total.panics);
}

fn traffic(families: &mut Families, total: &Tally) {
    families.counters(
        "hubbub_frames_received_total",
        "Frames received.",
        frames(&total.frames_received),
    );
    families.counters(
        "hubbub_frames_sent_total",
        "Frames queued for sending, one for each subscriber.",
        frames(&total.frames_sent),
    );
    families.counters(
        "hubbub_payload_received_bytes_total",
        "Payload bytes of the messages received.",
        payload(&total.payload_received),
    );
    families.counters(
        "hubbub_payload_sent_bytes_total",
        "Payload bytes of the messages queued, once for each subscriber.",
        payload(&total.payload_sent),
    );
    families.counter(
        "hubbub_received_bytes_total",
        "Bytes received from sockets.",
        total.received_bytes,
    );
    families.counter(
        "hubbub_sent_bytes_total",
        "Bytes that sockets accepted.",
        total.sent_bytes,
    );
    let compressed = total.compressed;
    families.counter(
        "hubbub_compressed_messages_total",
        "Messages sent compressed, each counted once however many subscribers it has.",
        compressed.messages,
    );
    families.counters(
        "hubbub_compressed_bytes_total",
        "Bytes of messages sent compressed, before compression and after.",
        [
            ("payload", compressed.payload_bytes),
            ("frame", compressed.frame_bytes),
        ]
        .map(|(of, bytes)| (vec![("of", of)], bytes as f64)),
    );
    families.counter(
        "hubbub_messages_published_total",
        "Messages published to rooms.",
        total.published,
    );
    families.counters(
        "hubbub_messages_refused_total",
        "Messages that rooms refused, by reason.",
        [
            ("busy", total.unpublished.busy),
            ("room_gone", total.unpublished.room_gone),
            ("conflict", total.unpublished.conflict),
            ("too_fast", total.unpublished.too_fast),
            ("too_many_rooms", total.unpublished.too_many_rooms),
            ("table_full", total.unpublished.table_full),
        ]
        .map(|(reason, count)| (vec![("reason", reason)], count as f64)),
    );
    families.counter(
        "hubbub_parameters_ignored_total",
        "Parameters in queries of raw clients that nobody knows.",
        protocols::parameters_ignored(),
    );
    families.counter(
        "hubbub_messages_delivered_total",
        "Messages queued for subscribers.",
        total.delivered,
    );
}

fn frames(frames: &Frames) -> [(Vec<Label<'static>>, f64); 6] {
    [
        ("text", frames.text),
        ("binary", frames.binary),
        ("continuation", frames.continuation),
        ("ping", frames.ping),
        ("pong", frames.pong),
        ("close", frames.close),
    ]
    .map(|(kind, count)| (vec![("kind", kind)], count as f64))
}

fn payload(payload: &Payload) -> [(Vec<Label<'static>>, f64); 2] {
    [("text", payload.text), ("binary", payload.binary)]
        .map(|(kind, bytes)| (vec![("kind", kind)], bytes as f64))
}

fn by_core(families: &mut Families, standings: &[Standing]) {
    let names: Vec<_> = (0..standings.len()).map(|core| core.to_string()).collect();
    let cores = || names.iter().map(String::as_str).zip(standings);
    let each = |of: fn(&Snapshot) -> f64| {
        cores()
            .map(move |(core, it)| (vec![("core", core)], it.snapshot.as_deref().map_or(0.0, of)))
    };
    let mailboxes = |requests: fn(&Snapshot) -> u64, deliveries: fn(&Snapshot) -> u64| {
        cores().flat_map(move |(core, it)| {
            let count = |of: fn(&Snapshot) -> u64| it.snapshot.as_deref().map_or(0, of) as f64;
            [("requests", requests), ("deliveries", deliveries)]
                .map(|(mailbox, of)| (vec![("core", core), ("mailbox", mailbox)], count(of)))
        })
    };
    families.gauges(
        "hubbub_core_connections",
        "Open connections by core.",
        each(|it| it.connections as f64),
    );
    families.gauges(
        "hubbub_core_up",
        "1 if the core answered within a second.",
        cores().map(|(core, it)| (vec![("core", core)], f64::from(u8::from(it.is_up)))),
    );
    families.gauges(
        "hubbub_mailbox_depth",
        "Batches that wait in a core's mailbox.",
        mailboxes(
            |it| it.requests_waiting as u64,
            |it| it.deliveries_waiting as u64,
        ),
    );
    families.gauges(
        "hubbub_commands_waiting",
        "Commands that wait for a core's connections.",
        each(|it| it.commands_waiting as f64),
    );
    families.gauges(
        "hubbub_desk_requests",
        "Requests to rooms from within the server that wait for a core or for its answer.",
        each(|it| it.desk_requests as f64),
    );
    families.gauges(
        "hubbub_desk_bytes",
        "Bytes of the publications among them.",
        each(|it| it.desk_bytes as f64),
    );
    families.gauges(
        "hubbub_rooms_parked",
        "Rooms that are held because their subscribers on a core cannot be sent to fast enough.",
        each(|it| it.rooms_parked as f64),
    );
    families.gauges(
        "hubbub_parked_bytes",
        "Bytes of deliveries that wait for the subscribers of held rooms.",
        each(|it| it.parked_bytes as f64),
    );
    families.gauges(
        "hubbub_subscribers_conflated",
        "Subscribers who read too slowly for every update, and are given the latest of each key.",
        each(|it| it.conflated as f64),
    );
    families.counters(
        "hubbub_mailbox_batches_total",
        "Batches that a core sent (requests) and received (deliveries).",
        mailboxes(
            |it| it.tally.requests.batches,
            |it| it.tally.deliveries.batches,
        ),
    );
    families.counters(
        "hubbub_mailbox_items_total",
        "Requests and deliveries in those batches.",
        mailboxes(|it| it.tally.requests.items, |it| it.tally.deliveries.items),
    );
    families.counters(
        "hubbub_core_busy_seconds_total",
        "Processor time of the core's thread.",
        each(|it| Duration::as_secs_f64(&it.busy)),
    );
    families.counters(
        "hubbub_loop_turns_total",
        "Turns of the core's loop.",
        each(|it| it.tally.turns as f64),
    );
}

fn distributions(families: &mut Families, total: &Tally) {
    families.timing(
        "hubbub_fanout_seconds",
        "Time from the receipt of a message to the last send to its subscribers on a core.",
        &total.fanout,
    );
    families.timing(
        "hubbub_publish_seconds",
        "Time from the receipt of a message until its publisher's core has it in the room's order.",
        &total.publish,
    );
    families.timing(
        "hubbub_handshake_seconds",
        "Time from accept to 101.",
        &total.handshake,
    );
    families.timing(
        "hubbub_tls_handshake_seconds",
        "Time from accept to the end of the TLS handshake.",
        &total.tls_handshake,
    );
    families.timing(
        "hubbub_ping_seconds",
        "Time from a ping to its pong.",
        &total.ping,
    );
    families.timing(
        "hubbub_loop_turn_seconds",
        "Time from the event that wakes a core to the end of its sends.",
        &total.turn,
    );
    families.sizes(
        "hubbub_message_bytes",
        "Payload bytes of each message received.",
        &total.message_bytes,
    );
    families.sizes(
        "hubbub_publish_recipients",
        "Subscribers of a message on one core.",
        &total.recipients,
    );
}
