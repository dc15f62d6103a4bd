//! Before anything is measured: every kind and length of message comes back as it was sent.

use super::dial::{Target, dial_all};
use anyhow::{Context as _, Result, ensure};
use codec::Kind;
use codec::frame::{encode_masked, encode_message};
use rustix::fd::OwnedFd;
use rustix::net::{RecvFlags, SendFlags};

const KEY: [u8; 4] = [0x91, 0x07, 0xe2, 0x3c];
/// Around each border between the three forms of a length, and the largest that all must take.
const LENGTHS: [usize; 7] = [0, 1, 125, 126, 127, 4_096, 65_535];

/// Sends both kinds in all lengths over one connection of `/echo`.
pub fn check(target: Target) -> Result<()> {
    let sockets = dial_all(target, 0..1, |_| "/echo".to_owned())?;
    let socket = sockets.first().context("no connection was opened")?;
    rustix::io::ioctl_fionbio(socket, false)?;
    for kind in [Kind::Text, Kind::Binary] {
        for length in LENGTHS {
            let payload: Vec<u8> = (0..length).map(|at| b'A' + (at % 26) as u8).collect();
            let mut expected = Vec::new();
            encode_message(kind, &payload, &mut expected);
            exchange(socket, kind, &payload, &expected)
                .with_context(|| format!("a {kind:?} message of {length} bytes"))?;
        }
    }
    Ok(())
}

fn exchange(socket: &OwnedFd, kind: Kind, payload: &[u8], expected: &[u8]) -> Result<()> {
    let mut frame = Vec::new();
    encode_masked(kind.into(), true, KEY, payload, &mut frame);
    let mut rest = &frame[..];
    while !rest.is_empty() {
        let sent = rustix::net::send(socket, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    let mut reply = Vec::with_capacity(expected.len());
    let mut buffer = vec![0; 64 * 1024];
    while reply.len() < expected.len() {
        let (_, received) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())
            .context("was not answered")?;
        ensure!(received > 0, "ended the connection");
        reply.extend_from_slice(&buffer[..received]);
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
