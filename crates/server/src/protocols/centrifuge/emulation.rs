//! Commands for sessions whose transport goes only one way: requests of their own bring them, to whatever core
//! the kernel chooses, and a command of the runtime takes them to the session's.
//!
//! A session's text names its connection and has a secret of 128 bits, so that nobody needs a table of sessions:
//! the connection compares the secret. Whether there is such a session nobody learns.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use centrifuge::{EmulationRequest, Encoding};
use hub::{ConnectionId, CoreId};
use runtime::{Answer, Taken};

use super::{
    super::{Asked, Begun, Refusal},
    transports::{check_body, encoding_of},
};
use crate::world::Live;

/// What a frame that waits takes beside its own bytes: its place in the list, which grows by doubling, and what the
/// allocator adds.
const FRAME_BYTES: usize = 64;

/// What only the client of a session knows.
type Secret = [u8; 16];

/// A session as its client names it in requests beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    connection: ConnectionId,
    secret: Secret,
}

/// What has come for a session by a request.
struct Sent {
    secret: Secret,
    frame: Vec<u8>,
    _counted: Counted,
}

/// Bytes of requests that have been handed on and have not come to their sessions.
#[derive(Debug, Default)]
pub struct InTransit(AtomicUsize);

/// Some of these bytes, counted until this is dropped.
struct Counted {
    in_transit: Arc<InTransit>,
    bytes: usize,
}

/// What a session has that is sent commands in this way.
pub struct Emulated {
    node: Arc<str>,
    secret: Secret,
    /// Frames that have come and were not begun, in order.
    waiting: VecDeque<Vec<u8>>,
    /// What they take.
    waiting_bytes: usize,
}

/// More has come for a session than may wait.
pub struct TooMuchWaits;

impl Key {
    const BYTES: usize = 2 + 8 + 16;

    fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend_from_slice(&self.connection.core.0.to_be_bytes());
        bytes.extend_from_slice(&self.connection.token.to_be_bytes());
        bytes.extend_from_slice(&self.secret);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn parse(text: &str) -> Option<Self> {
        // Decoding nothing but the right length allocates nothing by a claimed one.
        let mut bytes = [0; Self::BYTES + 1];
        let decoded = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (core, rest) = bytes[..decoded].split_first_chunk()?;
        let (token, secret) = rest.split_first_chunk()?;
        Some(Self {
            connection: ConnectionId {
                core: CoreId(u16::from_be_bytes(*core)),
                token: u64::from_be_bytes(*token),
            },
            secret: secret.try_into().ok()?,
        })
    }
}

impl InTransit {
    /// Counts so many bytes, if no more than `most` are under way then, or nothing else is.
    fn count(self: &Arc<Self>, bytes: usize, most: usize) -> Option<Counted> {
        let counted = Counted {
            in_transit: self.clone(),
            bytes,
        };
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        (before == 0 || before + bytes <= most).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_transit.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Emulated {
    /// With a new secret, on this node.
    pub fn new(node: Arc<str>) -> Self {
        let mut secret = Secret::default();
        getrandom::fill(&mut secret).expect("the system has randomness since its start");
        Self {
            node,
            secret,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// The session and its node as its client is to name them.
    pub fn names(&self, connection: ConnectionId) -> (String, Arc<str>) {
        let secret = self.secret;
        (Key { connection, secret }.text(), self.node.clone())
    }

    /// Bytes of memory that the frames take that wait; 0 if there are none.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Keeps what has come, if the command is that and shows the secret; returns whether it is kept. Up to
    /// `bytes_max` may wait, and more if it is a single frame.
    pub fn keep(
        &mut self,
        command: &(dyn std::any::Any + Send + Sync),
        bytes_max: usize,
    ) -> Result<bool, TooMuchWaits> {
        let Some(Sent { secret, frame, .. }) = command.downcast_ref() else {
            return Ok(false);
        };
        if verify_slices_are_equal(secret, &self.secret).is_err() {
            return Ok(false);
        }
        let bytes = self.waiting_bytes + frame.len() + FRAME_BYTES;
        if bytes > bytes_max && !self.waiting.is_empty() {
            return Err(TooMuchWaits);
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(frame.clone());
        Ok(true)
    }

    /// The next frame.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let frame = self.waiting.pop_front()?;
        self.waiting_bytes -= frame.len() + FRAME_BYTES;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(frame)
    }
}

const NO_REQUEST: &str = r#"The body must be {"session":"...","node":"...","data":"..."}: session and node as the connect reply has them, and commands as a string."#;

const NO_NODE: &str = "The client of this session is at another server, or this one has been started again since; \
                       connect again.";

/// Takes a request with commands.
pub fn open(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    let encoding = encoding_of(asked.request);
    let bytes_max = asked.world.settled.message_bytes_max;
    // As a string in JSON, commands may take twice as much; the rest names the session.
    check_body(asked, 2 * bytes_max + 1024)?;
    let (live, cors) = (Arc::clone(asked.live), asked.cors());
    Ok(Begun::Body(Box::new(move |body| {
        Taken::Answer(cors.add_to(emulate(&live, encoding, bytes_max, body)))
    })))
}

/// The answer says whether the request could be handed on, and nothing of whether there is such a session.
fn emulate(live: &Live, encoding: Encoding, bytes_max: usize, body: &[u8]) -> Answer {
    let request = match EmulationRequest::read(encoding, body) {
        Ok(request) if !request.data.0.is_empty() => request,
        Ok(_) | Err(_) => return Answer::text(400, NO_REQUEST),
    };
    if *request.node != **live.node() {
        return Answer::text(404, NO_NODE).keeping();
    }
    if request.data.0.len() > bytes_max {
        return Answer::text(413, "The commands are longer than a message may be.").keeping();
    }
    let taken = Answer {
        status: 204,
        fields: Vec::new(),
        body: Bytes::new(),
        refused: None,
        keep: true,
    };
    let Some(Key { connection, secret }) = Key::parse(&request.session) else {
        return taken;
    };
    let frame = request.data.0.into_owned();
    let most = live.now().settled.in_transit_bytes_max;
    let counted = live.in_transit.count(frame.len() + FRAME_BYTES, most);
    let relayed = counted.map(|_counted| {
        let sent = Sent {
            secret,
            frame,
            _counted,
        };
        live.relay(connection, sent)
    });
    match relayed {
        Some(Ok(())) => taken,
        Some(Err(_)) | None => Answer::text(503, "The server is busy; send it again.")
            .keeping()
            .with("Retry-After", "1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Emulated {
        Emulated::new("node".into())
    }

    fn sent(emulated: &Emulated, frame: &[u8]) -> Sent {
        Sent {
            secret: emulated.secret,
            frame: frame.to_vec(),
            _counted: Arc::<InTransit>::default().count(0, 0).unwrap(),
        }
    }

    #[test]
    fn session_is_read_as_it_was_written_and_nothing_else_is() {
        let connection = ConnectionId {
            core: CoreId(3),
            token: 0x0123_4567_89ab_cdef,
        };
        let emulated = new();
        let text = emulated.names(connection).0;
        let key = Key {
            connection,
            secret: emulated.secret,
        };
        assert_eq!(Key::parse(&text), Some(key));
        assert_ne!(new().secret, emulated.secret);
        let longer = format!("{text}AAAA");
        for other in ["", "a", &text[1..], &text[..text.len() - 1], &longer, "ä"] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
        assert_eq!(Key::parse(&"A".repeat(1 << 20)), None);
    }

    #[test]
    fn requests_under_way_are_bounded_by_their_bytes_until_they_have_come() {
        let in_transit = Arc::new(InTransit::default());
        let alone = in_transit.count(1_000, 10).expect("whatever its length");
        assert!(in_transit.count(1, 10).is_none());
        drop(alone);
        let first = in_transit.count(6, 10).unwrap();
        let _second = in_transit.count(4, 10).unwrap();
        assert!(in_transit.count(1, 10).is_none());
        drop(first);
        assert!(in_transit.count(6, 10).is_some());
        assert_eq!(in_transit.0.load(Ordering::Relaxed), 4);
    }

    /// As many as fit would take fifty times the bound.
    #[test]
    fn short_frames_that_wait_count_with_what_each_of_them_takes() {
        let mut emulated = new();
        let one = sent(&emulated, b"1");
        let kept = (0..1_000).take_while(|_| emulated.keep(&one, 10_000).is_ok());
        let kept = kept.count();
        let bytes = kept * (size_of::<Vec<u8>>() + 16);
        assert!((5_000..=10_000).contains(&bytes), "{kept}");
        while emulated.next().is_some() {}
        assert_eq!(emulated.waiting_bytes(), 0);
    }

    #[test]
    fn frames_wait_in_order_up_to_their_bound_and_only_with_the_secret() {
        let mut emulated = new();
        assert!(
            emulated
                .keep(&sent(&emulated, &[b'a'; 99]), 10)
                .is_ok_and(|kept| kept)
        );
        assert!(emulated.keep(&sent(&emulated, b"b"), 10).is_err());
        assert_eq!(emulated.next().map(|frame| frame.len()), Some(99));
        let (one, other) = (sent(&emulated, b"one"), sent(&emulated, b"other"));
        let bytes_max = 2 * FRAME_BYTES + 8;
        assert!(emulated.keep(&one, bytes_max).is_ok_and(|kept| kept));
        assert!(emulated.keep(&other, bytes_max).is_ok_and(|kept| kept));
        assert!(emulated.keep(&one, bytes_max).is_err());
        assert_eq!(emulated.waiting_bytes(), bytes_max);
        let foreign = sent(&new(), b"x");
        assert!(emulated.keep(&foreign, 100).is_ok_and(|kept| !kept));
        assert!(emulated.keep(&0u8, 100).is_ok_and(|kept| !kept));
        assert_eq!(emulated.next().as_deref(), Some(&b"one"[..]));
        assert_eq!(emulated.next().as_deref(), Some(&b"other"[..]));
        assert_eq!((emulated.next(), emulated.waiting_bytes()), (None, 0));
    }
}
