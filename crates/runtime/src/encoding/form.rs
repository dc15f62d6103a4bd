//! What a message looks like on the wire of a connection: the form of its body, and how that is packed.

use codec::{Deflate, Kind};
use hub::{Epoch, Keyed, Member, RoomName};

/// The form of a body, as the application numbers them; [`RAW`](Self::RAW) is the payload as it was
/// published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BodyForm(pub u8);

impl BodyForm {
    /// The payload as it was published, text or binary.
    pub const RAW: Self = Self(0);
}

/// What the subscribers of a room are told.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// The room.
    pub room: &'a RoomName,
    /// What has happened there.
    pub event: RoomEvent<'a>,
}

/// What happens in a room.
#[derive(Clone, Copy, Debug)]
pub enum RoomEvent<'a> {
    /// A message.
    Message {
        /// The lifetime of the room's order.
        epoch: Epoch,
        /// The message's offset in that order, from 1.
        offset: u64,
        /// Text or binary, as it was published.
        kind: Kind,
        /// What its publisher had told beside it.
        meta: &'a [u8],
        /// What it does to the table of the room, if that has one.
        keyed: Option<&'a Keyed>,
        /// The payload, as it was published.
        payload: &'a [u8],
    },
    /// Somebody has come, in a room that announces it.
    Came(&'a Member),
    /// Somebody has gone.
    Went(&'a Member),
}

impl RoomEvent<'_> {
    /// How much of it is to be encoded, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Message { payload, .. } => payload.len(),
            Self::Came(member) | Self::Went(member) => member.info.len(),
        }
    }
}

/// Encodes the bodies of what rooms tell in the forms that an application has besides
/// [`BodyForm::RAW`]. Each is encoded once a core for all subscribers of one form.
pub trait BodyEncoder: Send + Sync + 'static {
    /// Appends the body in this form to `body`, which is empty, or has earlier ones of the same room if the form
    /// [gathers](Self::gathers) them; whatever has to stand between two is appended first. Returns whether that
    /// is text or binary; text must be valid UTF-8. `None` if subscribers of this form are not told of this.
    fn encode(&self, form: BodyForm, delivered: &Delivered<'_>, body: &mut Vec<u8>)
    -> Option<Kind>;

    /// Whether one message on the wire may carry several bodies of this form, which are then all text or all
    /// binary. Rooms with a [`BatchInterval`](crate::BatchInterval) make use of it.
    fn gathers(&self, _form: BodyForm) -> bool {
        false
    }
}

/// What a message is on the wire of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireForm {
    pub(crate) body: BodyForm,
    pub(crate) packing: Packing,
}

/// How a body is packed: into a WebSocket's frame, or into a piece of a stream over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Packing {
    /// A frame with the body as it is.
    #[default]
    Plain,
    /// A frame with the body compressed (RFC 7692) for a peer with a window of 2^`window_bits` bytes, where that is
    /// shorter.
    Deflate {
        /// 9 to 15.
        window_bits: u8,
    },
    /// A chunk of a response (RFC 9112 section 7.1).
    Chunk,
    /// The body and nothing else, for a peer that knows no chunks.
    Bytes,
}

impl Packing {
    /// Whether it is a stream over HTTP, and not a WebSocket.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Self::Chunk | Self::Bytes)
    }

    /// What was agreed with a peer.
    pub(crate) fn agreed(deflate: Option<Deflate>) -> Self {
        match deflate {
            None => Self::Plain,
            Some(deflate) => Self::Deflate {
                window_bits: deflate.server_window_bits,
            },
        }
    }
}
