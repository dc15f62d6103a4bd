//! One batch: its events, and what is to be said besides, as it is sent and sent again.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::event::{Event, Identified, now_ms};

/// Who sends, and how much it has sent.
#[derive(Debug)]
pub(super) struct Numbers {
    node: std::sync::Arc<str>,
    started_ms: u64,
    /// The number of the latest batch, from 1.
    batch: u64,
    /// The number of the latest event, from 1.
    event: u64,
}

/// What is said in a batch beside its events.
#[derive(Debug, Default)]
pub(super) struct Besides {
    /// How many events of which kind the queue has lost since the batch before.
    pub(super) lost: BTreeMap<&'static str, u64>,
    /// Whether this process sends no other one.
    pub(super) is_last: bool,
}

/// A batch that is sent until it is taken: always the same bytes.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) body: Bytes,
    /// How many events it has.
    pub(super) events: usize,
    /// What they take of the queue's bound.
    pub(super) bytes: usize,
    /// When the first of them happened, in milliseconds since 1970.
    pub(super) oldest_ms: Option<u64>,
}

#[derive(Serialize)]
struct Body<'b> {
    node: &'b str,
    started_ms: u64,
    batch: u64,
    at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    last: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lost: &'b BTreeMap<&'static str, u64>,
    events: Vec<Identified<'b>>,
}

impl Numbers {
    /// Those of a process that has sent nothing.
    pub(super) fn new(node: std::sync::Arc<str>) -> Self {
        Self {
            node,
            started_ms: now_ms(),
            batch: 0,
            event: 0,
        }
    }

    /// Makes the next batch.
    pub(super) fn next(&mut self, events: &[Event], besides: &Besides) -> Batch {
        self.batch += 1;
        let first = self.event + 1;
        self.event += events.len() as u64;
        let identified = (first..).zip(events).map(|(number, event)| Identified {
            node: &self.node,
            number,
            event,
        });
        let body = Body {
            node: &self.node,
            started_ms: self.started_ms,
            batch: self.batch,
            at_ms: now_ms(),
            // Nobody can tell whether the process before had said everything: that may have been killed.
            before: (self.batch == 1).then_some("unknown"),
            last: besides.is_last,
            lost: &besides.lost,
            events: identified.collect(),
        };
        let body = serde_json::to_vec(&body).expect("texts and numbers are JSON");
        Batch {
            number: self.batch,
            body: body.into(),
            events: events.len(),
            bytes: events.iter().map(Event::bytes).sum(),
            oldest_ms: events.first().map(|event| event.at_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use codec::CloseCode;
    use runtime::EndReason;
    use serde_json::{Value, json};

    use super::*;
    use crate::events::event::{What, Who, Why};

    fn all() -> Vec<Event> {
        let who = Arc::new(Who {
            client: "c-1".into(),
            user: "ann \"A\"".into(),
            protocol: "room",
        });
        let closed = EndReason::SessionClosed(CloseCode::POLICY, "no").explained();
        let gone = EndReason::PeerClosed(None).explained();
        let what = [
            What::Connected(who.clone()),
            What::Subscribed(who.clone(), "a".into()),
            What::Occupied("a".into()),
            What::Unsubscribed(who.clone(), "a".into(), Why::CLIENT),
            What::Unsubscribed(who.clone(), "b".into(), Why::told("expired", 2501)),
            What::Disconnected(who.clone(), closed),
            What::Disconnected(who, gone),
            What::Vacated("a".into()),
        ];
        let events = what.into_iter().zip(7..);
        events.map(|(what, at_ms)| Event { at_ms, what }).collect()
    }

    fn read(batch: &Batch) -> Value {
        let mut body: Value = serde_json::from_slice(&batch.body).unwrap();
        assert!(body["at_ms"].is_u64() && body["started_ms"].is_u64());
        let object = body.as_object_mut().unwrap();
        object.remove("at_ms");
        object.remove("started_ms");
        body
    }

    #[test]
    fn batch_has_all_that_is_known_of_each_event() {
        let mut numbers = Numbers::new("n".into());
        let batch = numbers.next(&all(), &Besides::default());
        let of = |number: u64, more: Value| {
            let mut event = json!({"id": format!("n-{number}"), "at_ms": number + 6});
            let entries = more.as_object().unwrap().clone();
            event.as_object_mut().unwrap().extend(entries);
            event
        };
        let ann = |kind: &str, more: Value| {
            let mut event =
                json!({"kind": kind, "client": "c-1", "user": "ann \"A\"", "protocol": "room"});
            let entries = more.as_object().unwrap().clone();
            event.as_object_mut().unwrap().extend(entries);
            event
        };
        let expected = [
            ann("connected", json!({})),
            ann("subscribed", json!({"room": "a"})),
            json!({"kind": "occupied", "room": "a"}),
            ann("unsubscribed", json!({"room": "a", "reason": "client"})),
            ann(
                "unsubscribed",
                json!({"room": "b", "reason": "expired", "code": 2501}),
            ),
            ann(
                "disconnected",
                json!({"reason": "session_closed", "by": "server", "code": 1008, "text": "no"}),
            ),
            ann(
                "disconnected",
                json!({"reason": "peer_closed", "by": "client"}),
            ),
            json!({"kind": "vacated", "room": "a"}),
        ];
        let expected: Vec<_> = (1..).zip(expected).map(|(n, it)| of(n, it)).collect();
        assert_eq!(
            read(&batch),
            json!({"node": "n", "batch": 1, "before": "unknown", "events": expected})
        );
        assert_eq!((batch.events, batch.oldest_ms), (8, Some(7)));
    }

    #[test]
    fn batches_and_events_are_numbered_without_gaps_and_only_the_first_knows_nothing_of_before() {
        let mut numbers = Numbers::new("n".into());
        numbers.next(&[], &Besides::default());
        numbers.next(&all(), &Besides::default());
        let besides = Besides {
            lost: BTreeMap::from([("occupied", 3)]),
            is_last: true,
        };
        let batch = numbers.next(&all()[..1], &besides);
        let body = read(&batch);
        assert_eq!(body["events"][0]["id"], "n-9");
        assert_eq!(body["batch"], 3);
        assert_eq!(body["lost"], json!({"occupied": 3}));
        assert_eq!(body["last"], true);
        assert_eq!(body.get("before"), None);
    }

    #[test]
    fn event_counts_with_its_texts() {
        let sizes: Vec<_> = all().iter().map(Event::bytes).collect();
        assert!(sizes.iter().all(|bytes| *bytes > size_of::<Event>()));
        let long = What::Occupied("x".repeat(1_000).into());
        assert!(Event::now(long).bytes() >= 1_000 + size_of::<Event>());
    }
}
