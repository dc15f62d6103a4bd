//! A client's side of permessage-deflate: one zlib stream each way, as clients have it.

use codec::Kind;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::vectors::frame;

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How a client ends what it compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a flush, whose tail it takes off: as RFC 7692 section 7.2.1 asks.
    Flushed,
    /// By a flush, whose tail it leaves in.
    TailLeftIn,
    /// By a last block, and one without content whose tail it takes off: as section 7.2.3.4 asks.
    LastAndEmpty,
    /// By a last block and nothing else.
    Last,
    /// By a last block, and one without content whose tail it leaves in.
    LastAndTailLeftIn,
}

impl Ending {
    pub const ALL: [Self; 5] = [
        Self::Flushed,
        Self::TailLeftIn,
        Self::LastAndEmpty,
        Self::Last,
        Self::LastAndTailLeftIn,
    ];

    fn flush(self) -> FlushCompress {
        match self {
            Self::Flushed | Self::TailLeftIn => FlushCompress::Sync,
            Self::Last | Self::LastAndEmpty | Self::LastAndTailLeftIn => FlushCompress::Finish,
        }
    }
}

/// Compresses what a client sends, each message as a stream of its own, which ends as one likes. With
/// context takeover it begins with what came before as its dictionary, and so refers to that.
pub struct FreePeer {
    window_bits: u8,
    takeover: bool,
    history: Vec<u8>,
}

impl FreePeer {
    pub fn new(window_bits: u8, takeover: bool) -> Self {
        Self {
            window_bits: window_bits.max(9),
            takeover,
            history: Vec::new(),
        }
    }

    /// The payload of a compressed message.
    pub fn payload(&mut self, plain: &[u8], ending: Ending) -> Vec<u8> {
        let level = Compression::new(6);
        let mut stream = Compress::new_with_window_bits(level, false, self.window_bits);
        if self.takeover && !self.history.is_empty() {
            let window = 1 << self.window_bits;
            let kept = self.history.len().saturating_sub(window);
            let dictionary = &self.history[kept..];
            stream.set_dictionary(dictionary).expect("nothing came yet");
        }
        self.history.extend(plain);
        let mut payload = Vec::with_capacity(2 * plain.len() + 100);
        stream
            .compress_vec(plain, &mut payload, ending.flush())
            .expect("a stream that has not ended");
        assert_eq!(stream.total_in(), plain.len() as u64);
        match ending {
            // zlib makes nothing of a flush at the very beginning; others an empty block.
            Ending::Flushed if plain.is_empty() => payload = vec![0],
            Ending::TailLeftIn if plain.is_empty() => payload = [&[0][..], &TAIL].concat(),
            Ending::Flushed => assert_eq!(payload.split_off(payload.len() - 4), TAIL),
            Ending::TailLeftIn => assert!(payload.ends_with(&TAIL)),
            Ending::Last => {}
            Ending::LastAndEmpty => payload.push(0),
            Ending::LastAndTailLeftIn => payload.extend([&[0][..], &TAIL].concat()),
        }
        payload
    }
}

/// Compresses what a client sends.
pub struct Peer {
    stream: Compress,
    takeover: bool,
}

impl Peer {
    pub fn new(window_bits: u8, takeover: bool) -> Self {
        Self {
            stream: Compress::new_with_window_bits(Compression::new(6), false, window_bits.max(9)),
            takeover,
        }
    }

    /// The payload of a compressed message.
    pub fn payload(&mut self, plain: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.stream.reset();
        }
        if plain.is_empty() {
            return vec![0];
        }
        let mut payload = self.run(plain, FlushCompress::Sync);
        assert_eq!(payload.split_off(payload.len() - 4), TAIL);
        payload
    }

    /// The same as a stream of its own that ends, with the byte that RFC 7692 section 7.2.3.4 adds.
    pub fn last_payload(&mut self, plain: &[u8]) -> Vec<u8> {
        self.stream.reset();
        let mut payload = self.run(plain, FlushCompress::Finish);
        payload.push(0);
        payload
    }

    fn run(&mut self, plain: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut payload = Vec::with_capacity(2 * plain.len() + 100);
        let before = self.stream.total_in();
        self.stream
            .compress_vec(plain, &mut payload, flush)
            .expect("a stream that has not ended");
        assert_eq!(self.stream.total_in() - before, plain.len() as u64);
        payload
    }
}

/// Decompresses what a server sends, holding it to the window it agreed to: each byte comes out
/// by itself, so that whatever it refers to must be in a window of that size.
pub struct Reading {
    stream: Decompress,
    takeover: bool,
}

impl Reading {
    pub fn new(window_bits: u8, takeover: bool) -> Self {
        Self {
            stream: Decompress::new_with_window_bits(false, window_bits),
            takeover,
        }
    }

    pub fn plain(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.stream.reset(false);
        }
        let compressed = [payload, &TAIL].concat();
        let start = self.stream.total_in();
        let mut plain = Vec::new();
        loop {
            let used = (self.stream.total_in() - start) as usize;
            let mut byte = [0];
            let before = self.stream.total_out();
            self.stream
                .decompress(&compressed[used..], &mut byte, FlushDecompress::Sync)
                .expect("within the window");
            if self.stream.total_out() == before {
                assert_eq!(self.stream.total_in() - start, compressed.len() as u64);
                return plain;
            }
            plain.push(byte[0]);
        }
    }
}

/// A masked frame of any length.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        short @ 0..=125 => vec![0x80 | short as u8],
        long => match u16::try_from(long) {
            Ok(medium) => [&[0xfe][..], &medium.to_be_bytes()].concat(),
            Err(_) => [&[0xff][..], &(long as u64).to_be_bytes()].concat(),
        },
    };
    frame(first, &length, payload)
}

/// One compressed message in one frame.
pub fn compressed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    masked(if kind == Kind::Text { 0xc1 } else { 0xc2 }, payload)
}

/// One compressed message in frames of so many bytes of payload, with something between them.
pub fn in_fragments(kind: Kind, payload: &[u8], bytes: usize, between: &[u8]) -> Vec<u8> {
    let mut first = if kind == Kind::Text { 0x41 } else { 0x42 };
    let mut wire = Vec::new();
    for piece in payload.chunks(bytes) {
        wire.extend(masked(first, piece));
        wire.extend(between);
        first = 0;
    }
    wire.extend(masked(0x80 | first, &[]));
    wire
}

/// What a server's compressed frame carries.
pub fn server_frame(wire: &[u8]) -> (Kind, &[u8]) {
    let kind = match wire[0] {
        0xc1 => Kind::Text,
        0xc2 => Kind::Binary,
        first => panic!("{first:#x} is no compressed message"),
    };
    let (length, payload) = match wire[1] {
        126 => (usize::from(wire[2]) << 8 | usize::from(wire[3]), &wire[4..]),
        127 => panic!("longer than these tests send"),
        short => (usize::from(short), &wire[2..]),
    };
    assert_eq!(payload.len(), length);
    (kind, payload)
}
