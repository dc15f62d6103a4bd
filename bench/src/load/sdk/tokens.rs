//! Clients that connect at once with tokens to be verified, beside others that publish and listen.
//!
//! ```text
//!   alone:   probes ──▶ rooms of one ──▶ probes
//!   plain:   the same, while clients connect at once without a token
//!   tokens:  the same, while clients connect at once with a token each
//! ```

use super::client::{Client, Progress, Wish};
use super::layout::Layout;
use super::probes::Probes;
use crate::centrifuge::Encoding;
use crate::load::dial::Target;
use crate::load::link::Buffers;
use crate::load::meter::{Measured, Window, histogram};
use crate::proc::{CpuTime, Process};
use crate::results::Figure;
use anyhow::{Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hdrhistogram::Histogram;
use rcgen::{KeyPair, PKCS_RSA_SHA256, SigningKey as _};
use std::time::{Duration, Instant};

const ENCODING: Encoding = Encoding::Json;
/// Connect commands that are sent before the probes have their turn.
const AT_ONCE: usize = 16;
/// How long the load waits for answers.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pause between clients that are ready and their commands.
const SETTLE: Duration = Duration::from_millis(100);

/// How many clients connect, and what the others do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Burst {
    /// Clients that connect at once.
    pub connects: usize,
    /// How often they do in each phase.
    pub times: usize,
    /// Connections that publish, each in a room of its own.
    pub probes: usize,
    /// Messages a second of all probes.
    pub rate: f64,
}

impl Burst {
    /// Connections that are open at the same time.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connects + self.probes
    }
}

/// A key that signs tokens with RS256.
#[derive(Debug)]
pub struct Signer(KeyPair);

impl Signer {
    /// A new key of 2,048 bits.
    pub fn new() -> Result<Self> {
        Ok(Self(KeyPair::generate_for(&PKCS_RSA_SHA256)?))
    }

    /// The public key in PEM, which servers verify with.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.0.public_key_pem()
    }

    /// A token of this user, which does not expire within a day.
    pub fn token(&self, user: &str) -> Result<String> {
        let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
        let claims = format!(r#"{{"sub":"{user}","exp":{}}}"#, now + 86_400);
        let signed = [r#"{"alg":"RS256","typ":"JWT"}"#, &claims].map(|part| BASE64.encode(part));
        let signed = signed.join(".");
        let signature = self.0.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}

/// Clients who connect at once, again and again, beside probes.
struct Bursts<'a> {
    target: &'a Target,
    process: &'a Process,
    burst: Burst,
    probes: Probes,
    buffers: Buffers,
}

/// What a phase with clients took.
#[derive(Clone, Copy, Default, Debug)]
struct Cost {
    seconds: f64,
    cpu: Option<CpuTime>,
}

/// Measures the probes alone, beside clients without tokens and beside clients with tokens. An operation is a client
/// that is connected with its token; latency is that of the probes meanwhile.
pub fn measure(
    target: &Target,
    process: &Process,
    window: Window,
    burst: Burst,
    signer: &Signer,
) -> Result<Measured> {
    let token = |number: usize| signer.token(&format!("user{number}"));
    let tokens = (0..burst.connects).map(token).collect::<Result<Vec<_>>>()?;
    let layout = Layout::Rooms {
        rooms: burst.probes,
        members: 1,
    };
    let mut probes = Probes::open(target, layout, burst.rate)?;
    probes.run_until(Instant::now() + window.warm_up)?;
    probes.begin();
    probes.run_until(Instant::now() + window.measured)?;
    let alone = probes.end()?;
    let mut bursts = Bursts {
        target,
        process,
        burst,
        probes,
        buffers: Buffers::new(),
    };
    let (plain, plain_cost) = bursts.beside(None)?;
    let (latency, cost) = bursts.beside(Some(&tokens))?;
    let us = |latency: &Histogram<u64>, quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    let operations = (burst.connects * burst.times) as u64;
    let plain_ns = plain_cost.cpu.map_or(0.0, |cpu| cpu.all_ns());
    Ok(Measured {
        more: vec![
            (Figure::ProbesAloneP50Us, us(&alone, 0.5)),
            (Figure::ProbesAloneP99Us, us(&alone, 0.99)),
            (Figure::ProbesPlainP50Us, us(&plain, 0.5)),
            (Figure::ProbesPlainP99Us, us(&plain, 0.99)),
            (Figure::PlainCpuNs, plain_ns / operations as f64),
        ],
        operations,
        seconds: cost.seconds,
        server: cost.cpu,
        resident_bytes: Some(process.resident_bytes()?),
        load_share: None,
        others_busy: None,
        latency,
        note: None,
        probed: None,
        held: None,
    })
}

impl Bursts<'_> {
    /// Probes beside clients that connect at once, as often as the burst says; between the bursts nothing counts.
    fn beside(&mut self, tokens: Option<&[String]>) -> Result<(Histogram<u64>, Cost)> {
        let (mut latency, mut cost) = (histogram(), Cost::default());
        for _ in 0..self.burst.times {
            let mut clients = self.come()?;
            self.probes.run_until(Instant::now() + SETTLE)?;
            let before = self.process.cpu()?;
            let began = Instant::now();
            self.probes.begin();
            self.connect(&mut clients, tokens)?;
            cost.seconds += began.elapsed().as_secs_f64();
            let cpu = self.process.cpu()? - before;
            cost.cpu = Some(cost.cpu.map_or(cpu, |sum| sum + cpu));
            latency.add(self.probes.end()?)?;
        }
        Ok((latency, cost))
    }

    /// Opens clients up to their handshakes.
    fn come(&mut self) -> Result<Vec<Client>> {
        let burst = self.burst;
        let mut clients: Vec<Client> = Vec::with_capacity(burst.connects);
        let (mut ready, since) = (0, Instant::now());
        while ready < burst.connects {
            for _ in 0..AT_ONCE.min(burst.connects - clients.len()) {
                let number = clients.len();
                let index = burst.probes + number;
                let client = Client::dial(self.target, ENCODING, index, false)?;
                self.probes.watch(client.link.socket(), number)?;
                clients.push(client);
            }
            ready += self.advance(&mut clients, Progress::Ready)?;
            ensure!(
                since.elapsed() < PATIENCE,
                "{ready} handshakes were answered"
            );
        }
        Ok(clients)
    }

    /// Has all clients send their connect commands, and waits until all are answered.
    fn connect(&mut self, clients: &mut [Client], tokens: Option<&[String]>) -> Result<()> {
        let (mut sent, mut done, since) = (0, 0, Instant::now());
        while done < clients.len() {
            let until = (sent + AT_ONCE).min(clients.len());
            for number in sent..until {
                let token = tokens.map(|tokens| &*tokens[number]);
                clients[number].connect(&Wish { token, room: None })?;
            }
            sent = until;
            done += self.advance(clients, Progress::Done)?;
            ensure!(since.elapsed() < PATIENCE, "{done} clients were connected");
        }
        Ok(())
    }

    /// Takes what clients and probes were sent; returns how many clients came as far as that.
    fn advance(&mut self, clients: &mut [Client], wanted: Progress) -> Result<usize> {
        let mut reached = 0;
        let wish = Wish {
            token: None,
            room: None,
        };
        for number in self.probes.look(Instant::now())? {
            match clients[number].advance(&mut self.buffers, &wish, |_| Ok(()))? {
                Progress::Refused(why) => bail!("a client was refused: {why}"),
                progress if progress == wanted => reached += 1,
                _ => {}
            }
        }
        Ok(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_has_the_form_of_rs256() {
        let signer = Signer::new().unwrap();
        let token = signer.token("ann").unwrap();
        let parts: Vec<Vec<u8>> = token
            .split('.')
            .map(|part| BASE64.decode(part).unwrap())
            .collect();
        let claims: serde_json::Value = serde_json::from_slice(&parts[1]).unwrap();
        assert_eq!(claims["sub"], "ann");
        assert_eq!(parts[2].len(), 256);
        assert!(
            signer
                .public_key()
                .starts_with("-----BEGIN PUBLIC KEY-----")
        );
    }
}
