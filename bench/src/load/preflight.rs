//! Checks before any measurement that every kind and length of message returns as it was sent.

use super::deflate::compressed;
use super::dial::{Target, dial_all};
use super::link::{Buffers, Link, Received};
use super::transport::Compression;
use super::wire::mark_compressed;
use anyhow::{Context as _, Result, bail, ensure};
use codec::Kind;
use codec::frame::{encode_masked, encode_message};
use std::time::{Duration, Instant};

const KEY: [u8; 4] = [0x91, 0x07, 0xe2, 0x3c];
/// Lengths around each border between the three forms of a payload length, and the largest that
/// every server must accept.
const LENGTHS: [usize; 7] = [0, 1, 125, 126, 127, 4_096, 65_535];

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends both kinds of messages in all lengths over one connection to `/echo`.
pub fn check(target: &Target) -> Result<()> {
    let mut links = dial_all(target, 0..1, |_| "/echo".to_owned())?;
    let link = links.first_mut().context("no connection was opened")?;
    rustix::io::ioctl_fionbio(link.socket(), false)?;
    let mut buffers = Buffers::new();
    for kind in [Kind::Text, Kind::Binary] {
        for length in LENGTHS {
            let payload: Vec<u8> = (0..length).map(|at| b'A' + (at % 26) as u8).collect();
            let frame = frame(target.compression, kind, &payload);
            let mut expected = Vec::new();
            encode_message(kind, &payload, &mut expected);
            exchange(link, &frame, &expected, &mut buffers)
                .with_context(|| format!("a {kind:?} message of {length} bytes"))?;
        }
    }
    Ok(())
}

/// The frame as the client sends it.
fn frame(compression: Compression, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    if compression == Compression::Off {
        encode_masked(kind.into(), true, KEY, payload, &mut frame);
    } else {
        encode_masked(kind.into(), true, KEY, &compressed(payload), &mut frame);
        mark_compressed(&mut frame);
    }
    frame
}

fn exchange(link: &mut Link, frame: &[u8], expected: &[u8], buffers: &mut Buffers) -> Result<()> {
    link.send(frame)?;
    while !link.flush()? {}
    let mut reply = Vec::with_capacity(expected.len());
    let since = Instant::now();
    while reply.len() < expected.len() {
        match link.receive(buffers)? {
            Received::End => bail!("ended the connection"),
            Received::Nothing => ensure!(since.elapsed() < REPLY_TIMEOUT, "was not answered"),
            Received::Bytes(bytes) => reply.extend_from_slice(bytes),
        }
        let compared = reply.len().min(expected.len());
        ensure!(
            reply[..compared] == expected[..compared],
            "was answered with something else"
        );
    }
    ensure!(
        reply.len() == expected.len(),
        "was answered with more than itself"
    );
    Ok(())
}
