//! Listeners that a workload needs beside the public one, and the back end that a server is told to ask.

use super::{Server, Start, free_port};
use crate::load::backend::{Beside, Task};
use crate::workload::Work;
use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Free addresses for what this workload needs. A peer has its API and its pages on one listener.
pub fn beside(server: &Server, work: &Work) -> Result<Beside> {
    let free = || free_port().map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let Work::Backend(task) = work else {
        return Ok(Beside::default());
    };
    let is_peer = matches!(server.start, Start::Peer { .. });
    Ok(match task {
        Task::Publish(_) => Beside {
            api: Some(free()?),
            ..Beside::default()
        },
        Task::Health(_) => {
            let api = free()?;
            let internal = if is_peer { api } else { free()? };
            Beside {
                api: Some(api),
                internal: Some(internal),
                hook: None,
            }
        }
        Task::Hook(hook) => Beside {
            hook: Some((hook.event, free()?)),
            ..Beside::default()
        },
    })
}
