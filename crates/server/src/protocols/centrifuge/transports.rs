//! How each transport begins a session: a WebSocket, or a stream over HTTP with the client's first commands in
//! its request.

use std::sync::Arc;

use bytes::Bytes;
use centrifuge::{Encoding, is_json, is_json_object};
use codec::{Request, negotiate};
use percent_encoding::percent_decode_str;
use runtime::{Answer, KeepAlive, Lag, Pings, Taken};

use super::{
    super::{Asked, Begun, Cors, Head, Refusal, Started},
    hooks::{Asking, asking_of},
    session::CentrifugeSession,
    wire::Wire,
};
use crate::world::Live;

/// The parameter in which a request has what others have in a body.
const CONNECT: &str = "cf_connect=";

/// Opens a session over a WebSocket.
pub fn websocket(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    let request = asked.request;
    let subprotocol = negotiate(request, &["centrifuge-json", "centrifuge-protobuf"]);
    let query = request.query().unwrap_or_default();
    let asks_for = |parameter: &str| query.split('&').any(|it| it == parameter);
    let is_protobuf = subprotocol == Some("centrifuge-protobuf")
        || asks_for("cf_protocol=protobuf")
        || asks_for("format=protobuf");
    let wire = match is_protobuf {
        true => Wire::Protobuf,
        false => Wire::Json,
    };
    // For people who try the protocol with a program that answers no pings of its own.
    let pings = match asks_for("cf_ws_frame_ping_pong=true") {
        true => Pings::Frames,
        false => Pings::Messages,
    };
    let session = CentrifugeSession::new(Arc::clone(asked.live), wire, pings);
    let session = session.asking(asking_of(asked.world, request));
    Ok(Begun::Now(Started {
        body: wire.form(false),
        lag: Lag::Leave,
        head: Head::WebSocket { subprotocol, pings },
        ..Started::new(session)
    }))
}

/// Opens a stream of replies; the request's body is the first frame, and the others come by requests of their
/// own (`emulation.rs`).
pub fn http_stream(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    let wire = match encoding_of(asked.request) {
        Encoding::Json => Wire::Lines,
        Encoding::Protobuf => Wire::Protobuf,
    };
    in_body(asked, wire, COMMANDS)
}

/// Opens a stream of server-sent events. A page cannot give its `EventSource` a body, so the first frame of a GET
/// is in the query; that of a POST is in the body.
pub fn sse(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    if asked.request.method() == "POST" {
        return in_body(asked, Wire::Events, COMMANDS);
    }
    let Some(first) = in_query(asked.request).filter(|it| !it.is_empty()) else {
        return Err(Refusal::Request(
            400,
            r#"The parameter cf_connect is missing. It has the first command, percent-encoded: {"id":1,"connect":{}}"#,
        ));
    };
    let opening = Opening::of(asked, Wire::Events);
    Ok(Begun::Now(opening.started(first)))
}

/// Opens a WebSocket for a client that never asks. What it wants is in the query or its first message.
pub fn uni_websocket(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    let first = in_query(asked.request);
    let first = first
        .map(|first| one_way(first).ok_or(NOT_JSON))
        .transpose()?;
    let pings = Pings::Frames;
    let session = CentrifugeSession::new(Arc::clone(asked.live), Wire::OneWay, pings);
    let session = session.asking(asking_of(asked.world, asked.request));
    let subprotocol = None;
    Ok(Begun::Now(Started {
        body: Wire::OneWay.form(false),
        lag: Lag::Leave,
        head: Head::WebSocket { subprotocol, pings },
        ..Started::new(session.beginning_with(first))
    }))
}

/// Opens a stream of lines for a client that never asks.
pub fn uni_http_stream(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    in_body(asked, Wire::OneWayLines, WISH)
}

/// Opens a stream of server-sent events for a client that never asks.
pub fn uni_sse(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    if asked.request.method() == "POST" {
        return in_body(asked, Wire::OneWayEvents, WISH);
    }
    let first = one_way(in_query(asked.request).unwrap_or_default()).ok_or(NOT_JSON)?;
    let opening = Opening::of(asked, Wire::OneWayEvents);
    Ok(Begun::Now(opening.started(first)))
}

/// Makes the first frame of what a client has said in a body.
type First = fn(Vec<u8>) -> Option<Vec<u8>>;

/// The body is the frame itself.
const COMMANDS: (First, &str) = (
    Some,
    r#"The body is empty. It has the first command, such as {"id":1,"connect":{}}"#,
);

/// The body says what a client wants that never asks.
const WISH: (First, &str) = (
    one_way,
    r#"The body is not an object in JSON, such as {"subs":{"news":{}}}"#,
);

const NOT_JSON: Refusal = Refusal::Request(
    400,
    r#"The parameter cf_connect is not an object in JSON, percent-encoded, such as {"subs":{"news":{}}}"#,
);

/// The encoding of a request's body.
pub fn encoding_of(request: &Request<'_>) -> Encoding {
    match request.field("content-type") {
        Some(b"application/octet-stream") => Encoding::Protobuf,
        _ => Encoding::Json,
    }
}

/// Refuses a body that is longer than this, before any of it is read.
pub fn check_body(asked: &Asked<'_>, bytes_max: usize) -> Result<(), Refusal> {
    match asked.request.body_bytes() as usize > bytes_max {
        true => Err(Refusal::Request(
            413,
            "The body is too long: this server takes messages of up to `message_bytes_max` bytes.",
        )),
        false => Ok(()),
    }
}

/// A stream that is about to open.
struct Opening {
    live: Arc<Live>,
    wire: Wire,
    cors: Cors,
    protocol: &'static str,
    asking: Option<Box<Asking>>,
}

impl Opening {
    fn of(asked: &Asked<'_>, wire: Wire) -> Self {
        Self {
            live: Arc::clone(asked.live),
            wire,
            cors: asked.cors(),
            protocol: asked.protocol.name,
            asking: asking_of(asked.world, asked.request),
        }
    }

    fn started(self, first: Vec<u8>) -> Started {
        let Self {
            live,
            wire,
            cors,
            asking,
            ..
        } = self;
        let (pings, keep_alive) = match wire {
            Wire::OneWayLines => (Pings::Frames, KeepAlive::Bytes(Bytes::from_static(b"{}\n"))),
            Wire::OneWayEvents => {
                let beat = Bytes::from_static(b"data: {}\n\n");
                (Pings::Frames, KeepAlive::Bytes(beat))
            }
            _ => (Pings::Messages, KeepAlive::Messages),
        };
        let media_type = match wire {
            Wire::Events | Wire::OneWayEvents => "text/event-stream; charset=utf-8",
            Wire::Protobuf => "application/octet-stream",
            _ => "text/plain; charset=utf-8",
        };
        let session = CentrifugeSession::new(live, wire, pings).asking(asking);
        let session = match wire.is_one_way() {
            true => session,
            false => session.emulated(),
        };
        Started {
            body: wire.form(false),
            lag: Lag::Leave,
            head: Head::Stream {
                fields: cors.of_stream(media_type),
                keep_alive,
            },
            ..Started::new(session.beginning_with(Some(first)))
        }
    }
}

/// A stream whose client has said in the request's body what it wants: `first` makes the first frame of that,
/// and `wanted` is said where it cannot.
fn in_body(
    asked: &Asked<'_>,
    wire: Wire,
    (first, wanted): (First, &'static str),
) -> Result<Begun, Refusal> {
    check_body(asked, asked.world.settled.message_bytes_max)?;
    let opening = Opening::of(asked, wire);
    Ok(Begun::Body(Box::new(move |body| {
        match first(body.to_vec()).filter(|it| !it.is_empty()) {
            Some(first) => {
                let protocol = opening.protocol;
                opening.started(first).taken(protocol)
            }
            None => {
                let answer = Answer::text(400, wanted);
                Taken::Answer(opening.cors.add_to(answer))
            }
        }
    })))
}

/// What a request has in its query in place of a body.
fn in_query(request: &Request<'_>) -> Option<Vec<u8>> {
    let mut parameters = request.query()?.split('&');
    let value = parameters.find_map(|it| it.strip_prefix(CONNECT))?;
    // Pages write a space as a plus (URL Standard, section 5.2).
    Some(percent_decode_str(&value.replace('+', " ")).collect())
}

/// The frame with the connect command of a one-way client, made of what the client sends: an object in
/// JSON, or nothing; `None` for anything else. Line breaks would end the command, and mean nothing in JSON.
pub fn one_way(wanted: Vec<u8>) -> Option<Vec<u8>> {
    let wanted = match wanted.trim_ascii() {
        [] => b"{}",
        wanted if is_json(wanted) && is_json_object(wanted) => wanted,
        _ => return None,
    };
    let mut frame = [br#"{"id":1,"connect":"#, wanted, b"}"].concat();
    frame.retain(|byte| *byte != b'\n');
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_one_way_client_wants_is_one_command_whatever_it_writes() {
        let command = |wanted: &str| {
            let frame = one_way(wanted.into())?;
            Some(String::from_utf8(frame).unwrap())
        };
        let empty = r#"{"id":1,"connect":{}}"#;
        assert_eq!(command(""), Some(empty.into()));
        assert_eq!(command(" {\n}\r\n"), Some(empty.into()));
        let more = r#"{"token":"a"},"subscribe":{}"#;
        for other in ["[]", "null", "{", "{}{}", more, "{}\n{\"id\":2}"] {
            assert_eq!(command(other), None, "{other}");
        }
    }
}
