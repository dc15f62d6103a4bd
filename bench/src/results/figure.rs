//! The names of all figures, as `results.json` has them.

use serde::{Deserialize, Serialize};

/// A figure of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Operations a second: messages that came back, deliveries, or connections.
    PerSecond,
    /// Processor time of the server for one operation, including `ksoftirqd` on its processors
    /// where that can be read.
    CpuNs,
    /// The part of it in user space.
    CpuUserNs,
    /// The part of it in the kernel.
    CpuSystemNs,
    /// The part of it in `ksoftirqd`; missing where that cannot be read.
    CpuSoftirqNs,
    /// The number of processors that the server kept busy.
    CoresBusy,
    /// The median latency of operations, in microseconds.
    P50Us,
    /// The 99th percentile of it.
    P99Us,
    /// The 99.9th percentile of it.
    P999Us,
    /// The maximum of it.
    MaxUs,
    /// Resident memory of the server at the end, in bytes.
    RssBytes,
    /// Resident memory for each idle connection, in bytes.
    IdleBytes,
    /// The same, after each connection has sent one message.
    TalkedBytes,
    /// Resident memory for each room that each connection is in, before anything was published.
    MembershipBytes,
    /// The same while messages are published in all rooms.
    MembershipSpokenBytes,
    /// Resident memory for each idle connection of the Centrifuge protocol with one subscription, in bytes.
    SubscribedBytes,
    /// Processor time of the server for each such connection and second, in nanoseconds.
    IdleCpuNs,
    /// Processor time for one delivery in a raw room of the same server, in nanoseconds.
    RawCpuNs,
    /// The ratio of the processor time for one delivery, by the protocol to raw.
    RawRatio,
    /// The same as [`RawCpuNs`](Self::RawCpuNs), with raw messages that are as long as the pushes.
    LongRawCpuNs,
    /// The ratio of the processor time for one delivery, by the protocol to raw messages that are as long.
    LongRawRatio,
    /// The time until all clients that were cut had recovered, in seconds.
    RecoverySeconds,
    /// The number of clients that were refused when they came back.
    RefusedOnce,
    /// The number of those that were refused at least once more.
    RefusedTwice,
    /// Resident memory before the first client, in bytes.
    RssBaseBytes,
    /// Resident memory with all clients, before they were cut, in bytes.
    RssBeforeBytes,
    /// Most resident memory while they recovered, in bytes.
    RssMostBytes,
    /// Share of a room's messages, for each of its subscribers, that were not delivered, because newer ones took their
    /// place or because the subscriber was closed.
    DroppedShare,
    /// Bytes that subscribers received for each delivery, frames included.
    BytesEach,
    /// Deliveries in each frame.
    PerFrame,
    /// Subscribers that the server closed because they were too slow.
    Closed,
    /// The median age of the newest value of a key that a subscriber has seen, in microseconds.
    FastAgeP50Us,
    /// The 99th percentile of it.
    FastAgeP99Us,
    /// The median for subscribers that read slowly.
    SlowAgeP50Us,
    /// The 99th percentile of it.
    SlowAgeP99Us,
    /// The median latency of probes before anybody connects beside them, in microseconds.
    ProbesAloneP50Us,
    /// The 99th percentile of it.
    ProbesAloneP99Us,
    /// The median while many connect at once without a token.
    ProbesPlainP50Us,
    /// The 99th percentile of it.
    ProbesPlainP99Us,
    /// Processor time of the server for one connect without a token, in nanoseconds.
    PlainCpuNs,
    /// The median time from a request over HTTP to the delivery of a message in it, in microseconds.
    DeliveredP50Us,
    /// The 99th percentile of it.
    DeliveredP99Us,
    /// The median latency of the page that tells whether a server is alive, beside a flood of its API, in microseconds.
    HealthP50Us,
    /// The 99th percentile of it.
    HealthP99Us,
    /// The maximum of it.
    HealthMaxUs,
    /// The median without the flood.
    HealthAloneP50Us,
    /// The 99th percentile of it.
    HealthAloneP99Us,
    /// The maximum of it.
    HealthAloneMaxUs,
    /// The median latency of the page that tells whether it wants new clients, beside a flood of its API, in microseconds.
    ReadyP50Us,
    /// The 99th percentile of it.
    ReadyP99Us,
    /// The maximum of it.
    ReadyMaxUs,
    /// The median without the flood.
    ReadyAloneP50Us,
    /// The 99th percentile of it.
    ReadyAloneP99Us,
    /// The maximum of it.
    ReadyAloneMaxUs,
    /// The median latency of the page of its metrics, beside a flood of its API, in microseconds.
    MetricsP50Us,
    /// The 99th percentile of it.
    MetricsP99Us,
    /// The maximum of it.
    MetricsMaxUs,
    /// The median without the flood.
    MetricsAloneP50Us,
    /// The 99th percentile of it.
    MetricsAloneP99Us,
    /// The maximum of it.
    MetricsAloneMaxUs,
    /// The median time that a client waits to be subscribed where no back end is asked, in microseconds.
    WithoutHookP50Us,
    /// The 99th percentile of it.
    WithoutHookP99Us,
    /// Processor time of such a server for one client, in nanoseconds.
    WithoutHookCpuNs,
    /// What the median is more where a back end is asked, in microseconds.
    AddedP50Us,
    /// What the 99th percentile is more.
    AddedP99Us,
    /// The median time until a client is refused while the back end says nothing, in microseconds.
    SilentRefusedP50Us,
    /// The maximum of it.
    SilentRefusedMaxUs,
    /// The median while the back end takes no connections.
    GoneRefusedP50Us,
    /// The maximum of it.
    GoneRefusedMaxUs,
    /// The median latency of rooms of which nobody is asked, while nobody comes, in microseconds.
    OrdinaryAloneP50Us,
    /// The 99th percentile of it.
    OrdinaryAloneP99Us,
    /// The median while clients come and the back end says nothing.
    OrdinarySilentP50Us,
    /// The 99th percentile of it.
    OrdinarySilentP99Us,
    /// The median while clients come and the back end takes no connections.
    OrdinaryGoneP50Us,
    /// The 99th percentile of it.
    OrdinaryGoneP99Us,
    /// Share of a processor that the load used.
    LoadShare,
    /// The number of processors that other programs kept busy meanwhile.
    OthersBusy,
    /// The median latency of deliveries in small rooms beside a large room, in microseconds.
    SmallRoomsP50Us,
    /// The 99th percentile of it.
    SmallRoomsP99Us,
    /// The maximum of it.
    SmallRoomsMaxUs,
    /// The median before the large room was opened.
    SmallRoomsAloneP50Us,
    /// The 99th percentile of it.
    SmallRoomsAloneP99Us,
    /// The maximum of it.
    SmallRoomsAloneMaxUs,
    /// The ratio of the 99th percentiles, beside the large room to without it.
    SmallRoomsRatio,
    /// The median latency of echoes beside a large room, in microseconds.
    EchoesP50Us,
    /// The 99th percentile of it.
    EchoesP99Us,
    /// The maximum of it.
    EchoesMaxUs,
    /// The median before the large room was opened.
    EchoesAloneP50Us,
    /// The 99th percentile of it.
    EchoesAloneP99Us,
    /// The maximum of it.
    EchoesAloneMaxUs,
    /// The ratio of the 99th percentiles, beside the large room to without it.
    EchoesRatio,
    /// The 99th percentile of how late the probes were sent, in microseconds.
    SentLateP99Us,
    /// The maximum of it.
    SentLateMaxUs,
    /// The 99th percentile of how late arrived bytes were read, in microseconds.
    ReadLateP99Us,
    /// The maximum of it.
    ReadLateMaxUs,
}
