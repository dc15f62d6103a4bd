//! Latency of an echo and of `/healthz` while a hundred peers flood the server, for each kind of
//! input whose cost is out of proportion to its size, and for plain messages of 64 KiB as the
//! reference.
//!
//! The server runs on its processor, or on two where the rooms' home must be another core than that
//! of their senders. The flooders and the measuring client run on the processor of the load. A
//! flooder sends as fast as the server reads, and reads all replies.

use crate::arguments::FloodsArguments;
use crate::load::backend::Beside;
use crate::load::deflate;
use crate::load::dial::{Target, dial_all};
use crate::load::link::Link;
use crate::load::meter::histogram;
use crate::load::tls::Certificates;
use crate::load::transport::{Compression, Security, Transport};
use crate::load::wire::mark_compressed;
use crate::pin::{self, Processors, stay_on};
use crate::results::Spread;
use crate::servers::{Binaries, Named, Server, Start, StartError, Terms, catalogue, start};
use crate::workload::fits;
use anyhow::{Context as _, Result, ensure};
use codec::Opcode;
use codec::frame::encode_masked;
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const FLOODERS: usize = 100;
const WARM_UP: Duration = Duration::from_millis(300);
/// The pause between two echoes.
const PAUSE: Duration = Duration::from_millis(1);
/// The pause between two requests for `/healthz`, for which every core is asked.
const HEALTH_PAUSE: Duration = Duration::from_millis(10);
/// A request for `/healthz` that takes longer counts as unanswered.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// The approximate length of what a flooder sends repeatedly, in bytes.
const FLOOD_BYTES: usize = 128 << 10;

/// A kind of flood.
struct Kind {
    name: &'static str,
    /// Threads of the server.
    cores: usize,
    compression: Compression,
    path: fn(usize) -> String,
    /// Bytes that each flooder sends once.
    first: Vec<u8>,
    /// Bytes that each flooder sends repeatedly: whole frames.
    again: Vec<u8>,
}

/// The median and the 99th percentile of waiting times, in milliseconds.
type Waits = (f64, f64);

fn waits_of(histogram: &Histogram<u64>) -> Waits {
    let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    (ms(0.5), ms(0.99))
}

/// The results of one round.
struct Found {
    echo: Waits,
    health: Waits,
}

/// The results of every round, by kind and server.
type Table = BTreeMap<(usize, usize), Vec<Found>>;

/// Measures and prints a table.
pub fn run(arguments: &FloodsArguments) -> Result<()> {
    pin::raise_open_files();
    let binaries = Binaries::find(Named {
        server: arguments.server_bin.clone(),
        before: arguments.before.clone(),
        ..Named::default()
    })?;
    let mut servers = catalogue(&binaries);
    servers.retain(|one| {
        let is_hubbub = one.name.starts_with("hubbub") && !one.takes_commands;
        is_hubbub && fits(&arguments.servers, &one.name)
    });
    let mut kinds = kinds();
    kinds.retain(|one| fits(&arguments.kinds, one.name));
    let processors = Processors::of_this_process()?;
    stay_on(&[processors.load()])?;
    let out = binaries.target.join("bench/floods");
    let certificates = Certificates::make(&out.join("tls"))?;
    let mut found = Table::new();
    for _ in 0..arguments.rounds {
        for (row, kind) in kinds.iter().enumerate() {
            for (column, server) in servers.iter().enumerate() {
                let terms = Terms {
                    threads: kind.cores,
                    transport: Transport {
                        security: Security::Plain,
                        compression: kind.compression,
                    },
                    certificates: &certificates,
                    rules: None,
                    beside: Beside::default(),
                };
                let (server, health) = with_health(server)?;
                let running = start(&server, terms, &processors, &out).map_err(reason)?;
                let waits = beside(&running.target, health, kind, arguments.seconds)
                    .with_context(|| format!("{} beside {}", server.name, kind.name))?;
                found.entry((row, column)).or_default().push(waits);
            }
        }
    }
    print(&kinds, &servers, &found);
    Ok(())
}

fn reason(error: StartError) -> anyhow::Error {
    match error {
        StartError::NotInstalled(text) => anyhow::anyhow!(text),
        StartError::Failed(error) => error,
    }
}

/// The server with its internal listener on a free port, and the address of that.
fn with_health(server: &Server) -> Result<(Server, SocketAddrV4)> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free.local_addr()?.port());
    let mut server = server.clone();
    if let Start::Program { arguments, .. } = &mut server.start {
        let flag = arguments.iter().position(|it| it == "--internal-listen");
        let value = flag.and_then(|at| arguments.get_mut(at + 1));
        *value.context("the server has no internal listener")? = address.to_string();
    }
    Ok((server, address))
}

/// Prints the median of all rounds, with its quartiles.
fn print(kinds: &[Kind], servers: &[Server], found: &Table) {
    let written = |values: Vec<f64>| {
        Spread::of(values).map_or(String::new(), |spread| {
            let (lower, upper) = (spread.lower_quartile, spread.upper_quartile);
            format!("{:.2} ({lower:.2}–{upper:.2})", spread.median)
        })
    };
    print!("{:<22}", "ms: p50, p99");
    servers.iter().for_each(|one| print!("{:>44}", one.name));
    println!();
    let line = |name: &str, row: usize, waits: fn(&Found) -> Waits| {
        print!("{name:<22}");
        for column in 0..servers.len() {
            let rounds = || found[&(row, column)].iter().map(waits);
            let p50 = written(rounds().map(|waits| waits.0).collect());
            let p99 = written(rounds().map(|waits| waits.1).collect());
            print!("{:>44}", format!("{p50}  {p99}"));
        }
        println!();
    };
    for (row, kind) in kinds.iter().enumerate() {
        line(kind.name, row, |found| found.echo);
        line("  /healthz", row, |found| found.health);
    }
}

/// Measures how long echoes and `/healthz` take beside flooders of one kind.
fn beside(target: &Target, health: SocketAddrV4, kind: &Kind, seconds: f64) -> Result<Found> {
    let flooders = dial_all(target, 0..FLOODERS, kind.path)?;
    let plain = Target {
        compression: Compression::Off,
        ..target.clone()
    };
    let probe = dial_all(&plain, FLOODERS..FLOODERS + 1, |_| "/echo".to_owned())?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let flooded = flood(&flooders, kind, &is_over);
            is_over.store(true, Ordering::Relaxed);
            flooded
        });
        let looking = scope.spawn(|| looks(health, &is_over));
        let echoes = echo(&probe[0], Duration::from_secs_f64(seconds), &is_over);
        is_over.store(true, Ordering::Relaxed);
        let flooded = flooding.join();
        flooded.map_err(|_| anyhow::anyhow!("the flood panicked"))??;
        let looks = looking.join();
        let looks = looks.map_err(|_| anyhow::anyhow!("looking at /healthz panicked"))??;
        Ok(Found {
            echo: waits_of(&echoes?),
            health: waits_of(&looks),
        })
    })
}

/// Sends and reads until `is_over`.
fn flood(links: &[Link], kind: &Kind, is_over: &AtomicBool) -> Result<()> {
    let mut sent = vec![0; links.len()];
    let mut received = vec![0; 256 << 10];
    while !is_over.load(Ordering::Relaxed) {
        let interest = PollFlags::IN | PollFlags::OUT;
        let mut polled: Vec<_> = links
            .iter()
            .map(|link| PollFd::new(link.socket(), interest))
            .collect();
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        poll(&mut polled, Some(&patience))?;
        let reported: Vec<_> = polled.iter().map(PollFd::revents).collect();
        for ((link, sent), flags) in links.iter().zip(&mut sent).zip(reported) {
            if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                let bytes = recv(link.socket(), &mut received[..], RecvFlags::empty());
                match bytes {
                    Ok((0, _)) => anyhow::bail!("the server has closed a flooder"),
                    Ok(_) | Err(Errno::AGAIN) => {}
                    Err(error) => return Err(error).context("receiving"),
                }
            }
            if flags.contains(PollFlags::OUT) {
                let rest = match *sent < kind.first.len() {
                    true => &kind.first[*sent..],
                    false => &kind.again[(*sent - kind.first.len()) % kind.again.len()..],
                };
                match send(link.socket(), rest, SendFlags::NOSIGNAL) {
                    Ok(bytes) => *sent += bytes,
                    Err(Errno::AGAIN) => {}
                    Err(error) => return Err(error).context("sending"),
                }
            }
        }
    }
    Ok(())
}

/// Requests `/healthz` repeatedly, each time over a new connection.
fn looks(address: SocketAddrV4, is_over: &AtomicBool) -> Result<Histogram<u64>> {
    let began = Instant::now();
    let mut waits = histogram();
    while !is_over.load(Ordering::Relaxed) {
        let since = Instant::now();
        look(address).context("/healthz")?;
        if began.elapsed() > WARM_UP {
            waits.record(since.elapsed().as_nanos() as u64)?;
        }
        thread::sleep(HEALTH_PAUSE);
    }
    Ok(waits)
}

fn look(address: SocketAddrV4) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    // A 503 names cores that did not respond for a second, so it counts as an answer here.
    let is_answer = |status: &str| answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes());
    ensure!(
        is_answer("200") || is_answer("503"),
        "answered {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

/// Sends one echo after the other.
fn echo(link: &Link, time: Duration, is_over: &AtomicBool) -> Result<Histogram<u64>> {
    rustix::io::ioctl_fionbio(link.socket(), false)?;
    let frame = masked(Opcode::Text, true, b"an echo of 20 bytes.");
    let began = Instant::now();
    let mut waits = histogram();
    while began.elapsed() < WARM_UP + time && !is_over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        send(link.socket(), &frame, SendFlags::NOSIGNAL)?;
        let mut received = [0; 22];
        let mut filled = 0;
        while filled < received.len() {
            let room = &mut received[filled..];
            let (bytes, _) = recv(link.socket(), room, RecvFlags::empty()).context("no echo")?;
            ensure!(bytes > 0, "the server has closed the echo");
            filled += bytes;
        }
        if began.elapsed() > WARM_UP {
            waits.record(sent.elapsed().as_nanos() as u64)?;
        }
        thread::sleep(PAUSE);
    }
    Ok(waits)
}

fn masked(opcode: Opcode, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_masked(
        opcode,
        is_last,
        [0x5a, 0x31, 0xc4, 0x9e],
        payload,
        &mut frame,
    );
    frame
}

fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(Opcode::Binary, true, payload);
    mark_compressed(&mut frame);
    frame
}

/// Repeats the frames, so that each receive contains nothing else.
fn filled(frames: &[u8]) -> Vec<u8> {
    frames.repeat(FLOOD_BYTES.div_ceil(frames.len()))
}

fn kinds() -> Vec<Kind> {
    let to_echo: fn(usize) -> String = |_| "/echo".to_owned();
    let kind = |name, compression, frames: &[u8]| Kind {
        name,
        cores: 1,
        compression,
        path: to_echo,
        first: Vec::new(),
        again: filled(frames),
    };
    let plain = |name, frames: &[u8]| kind(name, Compression::Off, frames);
    let one = |opcode, payload: &[u8]| masked(opcode, true, payload);
    let fragments = [
        masked(Opcode::Binary, false, b"x"),
        masked(Opcode::Continuation, false, b"x").repeat(1000),
        masked(Opcode::Continuation, true, b"x"),
    ];
    let publications = |name, path| Kind {
        path,
        ..plain(name, &one(Opcode::Binary, b"x"))
    };
    // Connections and homes are assigned to cores independently, so half of the publications go to
    // the other core.
    let elsewhere = |name, path| Kind {
        cores: 2,
        ..publications(name, path)
    };
    let by_message = |name, payload: &[u8]| kind(name, Compression::Message, &compressed(payload));
    vec![
        plain("plain-64KiB", &one(Opcode::Binary, &[b'x'; 64 << 10])),
        plain("messages-1B", &one(Opcode::Binary, b"x")),
        plain("messages-0B", &one(Opcode::Binary, b"")),
        plain("messages-1KiB", &one(Opcode::Binary, &[b'x'; 1 << 10])),
        plain("pings", &one(Opcode::Ping, b"")),
        plain("pings-125B", &one(Opcode::Ping, &[b'x'; 125])),
        plain("fragments-1B", &fragments.concat()),
        publications("rooms-of-one-1B", |index| format!("/rooms/flood-{index}")),
        publications("one-room-1B", |_| "/rooms/flood".to_owned()),
        elsewhere("rooms-of-one-2cores", |index| {
            format!("/rooms/flood-{index}")
        }),
        elsewhere("one-room-2cores", |_| "/rooms/flood".to_owned()),
        by_message("deflate-empty-blocks", &empty_blocks(7_000)),
        by_message("deflate-stored-blocks", &stored_blocks(13_000)),
        by_message("deflate-1B", &one_letter()),
        by_message("deflate-bombs", &deflate::compressed(&[b'x'; 64 << 10])),
        Kind {
            // Half of the letters differ, so the window contains much that is not a copy.
            first: compressed(&stored(&[b'y'; 32 << 10])),
            ..kind(
                "takeover-1B",
                Compression::Takeover,
                &compressed(&one_letter()),
            )
        },
    ]
}

/// A message of one letter: a block of fixed codes, and the end of a flush.
fn one_letter() -> [u8; 3] {
    [0x4a, 0x04, 0x00]
}

/// Uncompressed blocks of one byte each.
fn stored_blocks(blocks: usize) -> Vec<u8> {
    let mut payload = [0, 1, 0, 0xfe, 0xff, b'x'].repeat(blocks);
    payload.push(0);
    payload
}

/// An uncompressed block of these bytes.
fn stored(plain: &[u8]) -> Vec<u8> {
    let length = (plain.len() as u16).to_le_bytes();
    let complement = (!(plain.len() as u16)).to_le_bytes();
    [&[0], &length[..], &complement, plain, &[0]].concat()
}

/// Empty blocks with dynamic codes. Each makes the receiver build tables, which takes 1 µs for 11
/// bytes.
fn empty_blocks(blocks: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    for _ in 0..blocks {
        // Not the last block; dynamic codes; 257 literal codes, one distance code, 18 code-length
        // codes.
        bits.push(0b100, 3);
        bits.push(0, 5);
        bits.push(0, 5);
        bits.push(14, 4);
        // In the order of RFC 1951 section 3.2.7: symbols 18 (a run of zeros) and 1 have one bit
        // each.
        for at in 0..18 {
            bits.push(u32::from(at == 2 || at == 17), 3);
        }
        // 138 and 118 zeros, then one bit for the end of the block, and one bit for the distance.
        for run in [138, 118] {
            bits.push(1, 1);
            bits.push(run - 11, 7);
        }
        bits.push(0, 2);
        // The end of the block.
        bits.push(0, 1);
    }
    bits.push(0, 3);
    bits.bytes
}

/// Bits as DEFLATE packs them, the least significant first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn push(&mut self, value: u32, bits: u32) {
        for bit in 0..bits {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};

    #[test]
    fn compressed_floods_inflate_to_what_they_are_meant_to() {
        for (payload, expected) in [
            (empty_blocks(7_000), vec![]),
            (stored_blocks(3), b"xxx".to_vec()),
            (stored(b"letters"), b"letters".to_vec()),
            (one_letter().to_vec(), b"a".to_vec()),
        ] {
            let all = [&payload[..], &[0, 0, 0xff, 0xff]].concat();
            let mut plain = Vec::with_capacity(100);
            Decompress::new(false)
                .decompress_vec(&all, &mut plain, FlushDecompress::Sync)
                .unwrap();
            assert_eq!(plain, expected);
        }
    }
}
