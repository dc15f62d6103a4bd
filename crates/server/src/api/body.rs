//! Reads the body of a call, within its bounds of bytes and time, and lets go of one that is not wanted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::{task, time};

use super::{
    Rules,
    bodies::{Bodies, Held},
    refused::Refused,
};

/// For how long a body is read that nobody wants: a peer that is still sending could not read the answer otherwise,
/// since the kernel resets a connection that is closed with bytes unread.
const LINGER: Duration = Duration::from_secs(2);

/// A body that is whole.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    /// Counts it until the call is answered.
    pub(super) held: Held,
}

/// Reads a body.
pub(super) async fn read(
    mut body: Incoming,
    rules: &Rules,
    bodies: &Arc<Bodies>,
) -> Result<Whole, Refused> {
    let most = rules.body_bytes_max;
    let is_too_long = |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > most);
    let read = match is_too_long(body.size_hint().lower()) {
        true => Err(Refused::TooLong(most)),
        false => {
            let reading = collect(&mut body, rules, bodies.begin());
            time::timeout(rules.timeout, reading)
                .await
                .unwrap_or(Err(Refused::Late))
        }
    };
    if let Err(Refused::TooLong(_) | Refused::TooMuch) = read {
        let_go(body);
    }
    read
}

async fn collect(body: &mut Incoming, rules: &Rules, mut held: Held) -> Result<Whole, Refused> {
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refused::Broken)?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if pieces.len() + piece.len() > rules.body_bytes_max {
            return Err(Refused::TooLong(rules.body_bytes_max));
        }
        if !held.add(piece.len(), rules.bodies_bytes_max) {
            return Err(Refused::TooMuch);
        }
        pieces.extend_from_slice(&piece);
    }
    let bytes = pieces.into();
    Ok(Whole { bytes, held })
}

/// Reads on for a moment without keeping anything, beside the answer.
pub(super) fn let_go(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    task::spawn(time::timeout(LINGER, async move {
        while let Some(Ok(_)) = body.frame().await {}
    }));
}
