//! The report: one self-contained HTML file, in light and dark colours.

mod charts;
mod glance;
mod modelled;
mod scale;
mod svg;
mod tables;

use crate::results::{Results, ServerInfo, Status, WorkloadInfo};
use crate::servers::Origin;
use crate::workload::Family;
use std::fmt::Write as _;
use svg::escape;

const STYLE: &str = include_str!("style.css");

/// The whole file.
#[must_use]
pub fn render(results: &Results) -> String {
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Hubbub's bench</title>\
         <style>{STYLE}{}</style></head><body><main>",
        colours(results)
    );
    page.push_str(&head(results));
    page.push_str(&glance::render(results));
    for (family, title, about) in FAMILIES {
        page.push_str(&section(results, family, title, about));
    }
    page.push_str(&modelled::render(results));
    page.push_str(&servers(results));
    page + "</main></body></html>\n"
}

const FAMILIES: [(Family, &str, &str); 18] = [
    (
        Family::Echo,
        "Echo",
        "Every message returns to its sender. CPU per message compares servers; where the load was the limit, messages a second do not.",
    ),
    (
        Family::Room,
        "One room",
        "One member sends, all receive. An operation is one delivery. With 32 in flight, a server that lets all that is queued for a socket leave in one call pays for one call, not for 32.",
    ),
    (
        Family::Cores,
        "One room on two cores",
        "The same room with members on two threads of the server. The load shares the second processor, so compare CPU per delivery, not rates.",
    ),
    (
        Family::Rooms,
        "Many rooms, many senders",
        "A thousand small rooms, and a room in which everyone talks.",
    ),
    (
        Family::Memberships,
        "Many rooms for one connection",
        "Every connection is in many rooms, which it joined by text commands, and publishes in one of them; any two rooms have few members in common. An operation is one delivery. Memory for a membership is what the server holds more when all have joined, divided by all of them: a room's own share is in it.",
    ),
    (
        Family::Subscribers,
        "One room of the Centrifuge protocol",
        "One subscriber publishes, all receive. Rooms keep their last 100 messages, and subscribers have positions and can recover. Before that, the same server does the same in a raw room of as many members, if it has any: the ratio is of the processor time for a delivery, and the goal is 1.15.",
    ),
    (
        Family::Subscribed,
        "Idle clients of the Centrifuge protocol",
        "Resident memory beyond what the server had before the first connection, when all are connected and when each is subscribed; and the server's processor time for each of them in a second of pings and pongs. The goals: 2 KiB, and 2,200 ns.",
    ),
    (
        Family::Recovery,
        "All recover at once",
        "All clients are cut, miss messages of their rooms, and come back as fast as the load can dial. Each must be given exactly what it missed. The goals: all within 10 s, and nobody is refused twice.",
    ),
    (
        Family::Tokens,
        "Many come with tokens",
        "What others wait while a thousand clients, whose handshakes are done, send their connect commands at once: with a token signed by RS256, without a token, and when there are none.",
    ),
    (
        Family::Broadcast,
        "Comments beside a live stream",
        "Messages are published at a rate at which not all can be delivered to all. Subscribers that are too slow miss the oldest, where the server can do that, and are closed elsewhere. An operation is one delivery; latency counts from the time at which a message was due.",
    ),
    (
        Family::Ticker,
        "The latest value of each key",
        "Values of many keys change far more often than all subscribers can be told, and a tenth of these read slowly. What counts is how old the newest value is that a subscriber has seen of a key, looked at every few milliseconds. An operation is an update; its processor time is that for all subscribers.",
    ),
    (
        Family::Mixed,
        "Small rooms beside a large one",
        "What small rooms and echoes wait while one room keeps the server's core busy, against the same before that room was there. They are sent at fixed rates by a process of their own; latency runs from the send to the time at which the kernel had the reply. The goal: a p99 of at most 10 ms, and of at most 3 times that without the large room. CPU is that of the whole server for each delivery in the large room.",
    ),
    (
        Family::Api,
        "A back end publishes",
        "Messages by HTTP, over kept connections; the next request of each goes when the one before is answered. Every answer must tell the place that the message then has for all subscribers, a few of each room. An operation is a message; latency is that of its request.",
    ),
    (
        Family::Hooks,
        "A back end is asked",
        "Clients come one after the other, connect and subscribe, once at a server that asks nobody and once where the bench's back end must agree first. Then clients come at a rate while the back end takes questions and is silent, and while it takes no connections: each must be refused, and rooms of which nobody is asked go on. An operation is a client.",
    ),
    (
        Family::Health,
        "Health during a flood of the API",
        "What whoever asks for health and metrics waits, over a new connection each time, while 64 connections publish by HTTP as fast as they are answered, with 4 requests in flight on each; and without that. A request counts from when it was due.",
    ),
    (
        Family::Stalled,
        "Members that do not read",
        "What the others feel while a tenth of the room has stopped reading.",
    ),
    (
        Family::Idle,
        "Memory of idle connections",
        "Resident memory of the server's process beyond what it had before the first connection. What the kernel keeps for each socket is not in it.",
    ),
    (
        Family::Connects,
        "Connecting",
        "Open, upgrade, close in order, end: an operation is all of it. 64 connections are on their way at a time.",
    ),
];

fn head(results: &Results) -> String {
    let mut text = format!(
        "<h1>What does it cost?</h1><p>Hubbub beside the epoll version, other servers and the \
         machine's floor, in one run. Server on one processor, load on another, loopback; TLS \
         and compression where a workload's name says so; every reply was checked, byte by byte.</p><p class=\"soft\">{}<br>{} run, \
         {} round{} of {:.2} s each, taking turns; figures are medians, small print and the thick part \
         of whiskers the quartiles (between ranks on a straight line, as R and NumPy have them), \
         whiskers and brackets the least and the most. What differs by less than the spread is a tie{}.</p>",
        escape(&results.machine.summary()),
        results.extent,
        results.rounds,
        if results.rounds == 1 { "" } else { "s" },
        results.seconds,
        if results.rounds == 1 {
            "; a single round is given 7 % to each side"
        } else {
            ""
        }
    );
    text.push_str("<nav><a href=\"#glance\">At a glance</a>");
    for (family, title, _) in FAMILIES {
        if results.workloads.iter().any(|one| one.family == family) {
            let _ = write!(text, "<a href=\"#{family:?}\">{title}</a>");
        }
    }
    text + "<a href=\"#model\">More cores</a><a href=\"#servers\">Servers</a></nav>"
}

fn section(results: &Results, family: Family, title: &str, about: &str) -> String {
    let workloads: Vec<&WorkloadInfo> = results
        .workloads
        .iter()
        .filter(|one| one.family == family)
        .collect();
    if workloads.is_empty() {
        return String::new();
    }
    let mut text = format!("<h2 id=\"{family:?}\">{title}</h2><p>{about}</p>");
    text.push_str(&charts::of_family(results, family, &workloads));
    for workload in workloads {
        let _ = write!(
            text,
            "<div class=\"card\"><h3>{}</h3><p class=\"soft\"><code>{}</code></p>{}{}</div>",
            escape(&capitalized(&workload.about)),
            escape(&workload.name),
            charts::of_workload(results, workload),
            tables::of_workload(results, workload)
        );
    }
    text
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// The colour of each server's class in charts.
fn colours(results: &Results) -> String {
    let mut css = String::new();
    for server in &results.servers {
        let variable = if server.origin == Origin::Floor {
            "floor"
        } else {
            &server.name
        };
        let _ = writeln!(
            css,
            ".of-{} {{ --c: var(--{variable}, var(--soft)); }}",
            server.name
        );
    }
    css
}

/// The classes of a server in charts.
fn class(server: Option<&ServerInfo>, name: &str) -> String {
    let more = match server.map(|server| server.origin) {
        Some(Origin::Hubbub) => " own",
        Some(Origin::Floor) => " dashed",
        _ => "",
    };
    format!("of-{name}{more}")
}

fn servers(results: &Results) -> String {
    let mut text = "<h2 id=\"servers\">Servers</h2><div class=\"card scroll\"><table><tr>\
                    <th>Server</th><th>What it is</th><th>Version</th></tr>"
        .to_owned();
    for server in &results.servers {
        let absent = results.cells.iter().find_map(|cell| match &cell.status {
            Status::Skipped { reason } if cell.server == server.name => Some(reason),
            _ => None,
        });
        let version = absent.map_or(server.version.clone(), |reason| {
            format!("skipped: {reason}")
        });
        let _ = write!(
            text,
            "<tr><td>{}</td><td class=\"wrap\">{}</td><td class=\"wrap\">{}</td></tr>",
            escape(&server.name),
            escape(&server.about),
            escape(&version)
        );
    }
    text + "</table></div><p class=\"soft\">CPU per operation: time on a processor of all threads \
            of the server, from the scheduler, over the measured part, divided by its operations; \
            user space and kernel are parted by ticks. With it comes softirq: the time of ksoftirqd \
            on the server's processors, which does a part of its network's work (marked * where it \
            cannot be read and is missing). On loopback, the kernel's work for the \
            receiver is charged to who sends. Latency counts from the time a message was due at \
            fixed rates (what waits behind a slow one counts), else from its send. The histograms \
            of each round are in <code>hlog/</code>, all figures in <code>results.json</code>.</p>"
}
