//! `info`: how this server stands.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Request, Scope};
use crate::api::{call::Call, failure::Failure};

/// A request for how the server stands.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct InfoRequest {}

/// How all nodes stand: this one.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct InfoResult {
    nodes: Vec<Node>,
}

/// How a node stands.
#[derive(Serialize, ToSchema)]
struct Node {
    /// Its name, which is another after each start.
    uid: String,
    /// What is running.
    name: &'static str,
    version: &'static str,
    /// Open connections.
    num_clients: usize,
    /// Users that have one; those without a name are not counted.
    num_users: usize,
    /// Subscriptions of all rooms.
    num_subs: usize,
    /// Rooms.
    num_channels: usize,
    /// Seconds since the start.
    uptime: u64,
    process: Process,
}

/// What the process takes.
#[derive(Serialize, ToSchema)]
struct Process {
    /// Processor time since the start, in percent of one core.
    cpu: f64,
    /// Bytes of memory.
    rss: u64,
}

impl Request for InfoRequest {
    type Result = InfoResult;
    const NAME: &'static str = "info";
    const WORDS: &'static str = "Tells how the server stands.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<InfoResult, Failure> {
        let status = call.status();
        let standing = status.standing().await.ok_or(Failure::INTERNAL)?;
        let uptime = call.uptime();
        let share = standing.cpu.as_secs_f64() / uptime.max(Duration::from_millis(1)).as_secs_f64();
        let node = Node {
            uid: call.live().node().to_string(),
            name: "hubbub",
            version: env!("CARGO_PKG_VERSION"),
            num_clients: standing.connections,
            num_users: call.live().users.count(),
            num_subs: standing.subscriptions,
            num_channels: standing.rooms,
            uptime: uptime.as_secs(),
            process: Process {
                cpu: (share * 1000.0).round() / 10.0,
                rss: standing.rss,
            },
        };
        Ok(InfoResult { nodes: vec![node] })
    }
}
