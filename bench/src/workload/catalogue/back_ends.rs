//! The workloads of a back end: what it publishes, and what it is asked.

use super::workload;
use crate::load::backend::{Calls, Event, Hook, Task};
use crate::workload::{Family, Work, Workload};

/// What back ends publish over HTTP.
pub fn publishing(all: &mut Vec<Workload>) {
    let one = |name: &str, about: &str, calls: Calls| {
        let work = Work::Backend(Task::Publish(calls));
        workload(name, Family::Api, about, work).tiny()
    };
    let calls = Calls {
        connections: 1,
        at_once: 1,
        messages: 1,
        rooms_each: 1,
        members: 4,
    };
    let many = Calls {
        connections: 64,
        ..calls
    };
    let batch = Calls {
        messages: 1_000,
        rooms_each: 10,
        ..calls
    };
    let flood = Calls { at_once: 4, ..many };
    all.extend([
        one(
            "api-publish-1",
            "publish by HTTP, one connection, 128 B to a room with 4 subscribers, one request in flight",
            calls,
        ),
        one(
            "api-publish-64",
            "publish by HTTP, 64 connections, each 128 B to a room of its own with 4 subscribers, one request in flight",
            many,
        ),
        one(
            "api-batch-1000",
            "batches of 1,000 by HTTP, one connection, 128 B to 10 rooms in turns with 4 subscribers each, one request in flight",
            batch,
        ),
        workload(
            "health-under-flood",
            Family::Health,
            "health and metrics, 50 requests/s of each page, beside 64 connections that publish by HTTP with 4 requests in flight each",
            Work::Backend(Task::Health(flood)),
        )
        .tiny(),
    ]);
}

/// What back ends are asked.
pub fn asking(all: &mut Vec<Workload>) {
    for (name, event, what) in [
        ("hook-connect", Event::Connect, "connect"),
        ("hook-subscribe", Event::Subscribe, "subscribe"),
    ] {
        let hook = Hook {
            event,
            coming: 100.0,
            rooms: 10,
            members: 10,
            rate: 200.0,
        };
        let about = format!(
            "clients come one by one and a back end is asked whether they may {what}; then 100 clients/s while it is stopped, beside 10 rooms of 10 with 200 messages/s"
        );
        let work = Work::Backend(Task::Hook(hook));
        all.push(workload(name, Family::Hooks, &about, work).tiny());
    }
}
