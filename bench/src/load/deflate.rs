//! permessage-deflate (RFC 7692) for the load: the offer, and inflating the server's messages.
//!
//! A compressed message is passed on as the frame that the server would have sent uncompressed. So
//! the checks see every byte of every message, and need not know about compression.

use super::transport::Compression;
use anyhow::{Context as _, Result, bail, ensure};
use codec::Kind;
use codec::frame::encode_message;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use std::collections::HashMap;

/// The bytes that RFC 7692 section 7.2.1 removes from the end of a message.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// No message of the load is larger.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Most different messages that are cached: more than a room has in flight.
const KNOWN_MAX: usize = 256;

/// The offer in the request.
#[must_use]
pub fn offer(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::Off => None,
        Compression::Message => {
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
        }
        Compression::Takeover => Some("permessage-deflate"),
    }
}

/// Compares the answer with the offer: the conditions must be the same for all servers.
pub fn agree(offered: Compression, answer: &str) -> Result<Option<Inflate>> {
    if offered == Compression::Off {
        ensure!(answer.is_empty(), "an extension nobody offered");
        return Ok(None);
    }
    let mut parts = answer.split(';').map(str::trim);
    ensure!(
        parts.next() == Some("permessage-deflate"),
        "the server does not agree to compression: {answer:?}"
    );
    let (mut server_resets, mut client_resets) = (false, false);
    for part in parts {
        match part {
            "server_no_context_takeover" => server_resets = true,
            "client_no_context_takeover" => client_resets = true,
            _ if part.starts_with("server_max_window_bits=") => {}
            _ => bail!("the server answered with {part}, which was not offered"),
        }
    }
    let wanted = offered == Compression::Message;
    ensure!(
        server_resets == wanted && (client_resets == wanted || wanted),
        "the server agreed to other contexts than offered: {answer:?}"
    );
    Ok(Some(Inflate {
        rest: Vec::new(),
        keeps_context: !server_resets,
        context: None,
    }))
}

/// A message's payload, compressed by itself, without its tail.
#[must_use]
pub fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut deflate = Compress::new(flate2::Compression::default(), false);
    let mut out = Vec::with_capacity(payload.len() + 64);
    while deflate.total_in() < payload.len() as u64 || !out.ends_with(&TAIL) {
        out.reserve(payload.len() / 2 + 64);
        let rest = &payload[deflate.total_in() as usize..];
        deflate
            .compress_vec(rest, &mut out, FlushCompress::Sync)
            .expect("a new stream takes anything");
    }
    out.truncate(out.len() - TAIL.len());
    out
}

/// Turns the compressed frames of one connection into uncompressed ones.
#[derive(Debug)]
pub struct Inflate {
    /// The part of an incomplete frame that has arrived.
    rest: Vec<u8>,
    keeps_context: bool,
    /// Exists from the first compressed message on, if the server has context takeover.
    context: Option<Box<Decompress>>,
}

/// A cache that all connections share: messages compressed by themselves are inflated once, and
/// then found by their bytes. Otherwise the load for a large room would mostly inflate identical
/// messages.
#[derive(Debug)]
pub struct Known {
    inflate: Decompress,
    /// Uncompressed frames by compressed frame.
    frames: HashMap<Vec<u8>, Vec<u8>>,
    /// Messages that arrived compressed.
    pub compressed: u64,
    /// Messages that arrived uncompressed.
    pub uncompressed: u64,
}

impl Known {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            frames: HashMap::new(),
            compressed: 0,
            uncompressed: 0,
        }
    }

    /// A server that agrees to compression must compress; the reader must know if it did not.
    pub fn note(&self) -> Result<Option<String>> {
        let (compressed, uncompressed) = (self.compressed, self.uncompressed);
        if compressed == 0 && uncompressed > 0 {
            bail!("compression was agreed upon, and no message was compressed");
        }
        let share = uncompressed as f64 / (compressed + uncompressed).max(1) as f64;
        let note = || format!("{:.1} % of the messages were not compressed", share * 100.0);
        Ok((uncompressed > 0).then(note))
    }

    /// Appends the uncompressed form of a frame that was compressed by itself.
    fn plain(&mut self, frame: &[u8], head: usize, out: &mut Vec<u8>) -> Result<()> {
        if let Some(plain) = self.frames.get(frame) {
            out.extend_from_slice(plain);
            return Ok(());
        }
        self.inflate.reset(false);
        let start = out.len();
        inflate(&mut self.inflate, frame, head, out)?;
        if self.frames.len() == KNOWN_MAX {
            self.frames.clear();
        }
        self.frames.insert(frame.to_vec(), out[start..].to_vec());
        Ok(())
    }
}

impl Inflate {
    /// Reads received bytes; appends the frames that they complete, uncompressed.
    pub fn receive(&mut self, bytes: &[u8], known: &mut Known, out: &mut Vec<u8>) -> Result<()> {
        if self.rest.is_empty() {
            let used = self.frames(bytes, known, out)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let used = self.frames(&all, known, out)?;
        all.drain(..used);
        self.rest = all;
        Ok(())
    }

    fn frames(&mut self, bytes: &[u8], known: &mut Known, out: &mut Vec<u8>) -> Result<usize> {
        let mut used = 0;
        while let Some((head, frame)) = first_frame(&bytes[used..])? {
            used += frame.len();
            if frame[0] & 0x40 == 0 {
                known.uncompressed += u64::from(frame[0] & 0x08 == 0);
                out.extend_from_slice(frame);
                continue;
            }
            known.compressed += 1;
            if self.keeps_context {
                let context = self
                    .context
                    .get_or_insert_with(|| Box::new(Decompress::new(false)));
                inflate(context, frame, head, out)?;
            } else {
                known.plain(frame, head, out)?;
            }
        }
        Ok(used)
    }
}

/// The length of the first frame's header, and the whole frame, if it is complete.
fn first_frame(bytes: &[u8]) -> Result<Option<(usize, &[u8])>> {
    let &[_, length, ref more @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(length & 0x80 == 0, "the server masks its frames");
    let (head, payload) = match (length, more) {
        (0..126, _) => (2, u64::from(length)),
        (126, &[a, b, ..]) => (4, u64::from(u16::from_be_bytes([a, b]))),
        (127, &[a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => return Ok(None),
    };
    ensure!(
        payload <= MESSAGE_BYTES_MAX as u64,
        "a frame of {payload} bytes"
    );
    let whole = head + payload as usize;
    Ok(bytes.get(..whole).map(|frame| (head, frame)))
}

/// Appends the uncompressed form of a compressed frame, which must be a whole message.
fn inflate(context: &mut Decompress, frame: &[u8], head: usize, out: &mut Vec<u8>) -> Result<()> {
    let kind = match frame[0] {
        0xc1 => Kind::Text,
        0xc2 => Kind::Binary,
        first => bail!("a compressed frame begins with {first:#04x}"),
    };
    let mut payload = Vec::with_capacity(4 * frame.len());
    for mut part in [&frame[head..], &TAIL[..]] {
        while !part.is_empty() {
            ensure!(
                payload.len() <= MESSAGE_BYTES_MAX,
                "a message inflates without end"
            );
            payload.reserve(1024.max(payload.len()));
            let before = context.total_in();
            let status = context
                .decompress_vec(part, &mut payload, FlushDecompress::Sync)
                .context("a compressed message")?;
            part = &part[(context.total_in() - before) as usize..];
            ensure!(status != Status::StreamEnd, "a message ends its stream");
        }
    }
    drain(context, &mut payload)?;
    encode_message(kind, &payload, out);
    Ok(())
}

/// zlib has consumed all input, but some of its output may not have fitted yet.
fn drain(context: &mut Decompress, payload: &mut Vec<u8>) -> Result<()> {
    loop {
        payload.reserve(1024);
        let before = payload.len();
        match context.decompress_vec(&[], payload, FlushDecompress::Sync) {
            Ok(_) if payload.len() > before => {
                ensure!(
                    payload.len() <= MESSAGE_BYTES_MAX,
                    "a message inflates without end"
                );
            }
            // `BufError` means that there is no more output.
            Ok(_) => return Ok(()),
            Err(error) => return Err(error).context("a compressed message"),
        }
    }
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;
