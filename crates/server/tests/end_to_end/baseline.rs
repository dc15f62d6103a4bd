//! The state that an attack must leave behind: other clients are served, and the server has
//! released everything that the attack took.

use crate::{
    client::{Client, scrape, serves},
    harness::{Server, eventually},
    process,
};

/// How often an attack is repeated, to tell lost memory from noise.
const ROUNDS_MAX: usize = 10;
const NOISE: usize = 128 << 10;

/// A server at rest, and a client that uses it while it is attacked.
pub struct Baseline<'a> {
    server: &'a Server,
    other: Client,
    echoes: usize,
    connections: f64,
    descriptors: usize,
    memory_peak: usize,
}

impl<'a> Baseline<'a> {
    /// The server's present state.
    pub fn of(server: &'a Server) -> Self {
        let other = Client::connect(server, "/echo");
        let descriptors = process::descriptors_at_rest(server.pid());
        Self {
            server,
            other,
            echoes: 0,
            connections: connections(server),
            descriptors,
            memory_peak: process::memory_peak(server.pid()),
        }
    }

    /// The client beside the attack gets its answer.
    #[track_caller]
    pub fn serves_others(&mut self) {
        self.echoes += 1;
        let said = format!("echo {}", self.echoes);
        self.other.send(said.as_str());
        assert_eq!(self.other.text(), said);
    }

    /// The most memory in bytes that the server has had since then, beyond what it had before.
    pub fn grown(&self) -> usize {
        process::memory_peak(self.server.pid()) - self.memory_peak
    }

    /// Connections and descriptors are back at their first numbers, and clients are served.
    #[track_caller]
    pub fn is_restored(&mut self) {
        let pid = self.server.pid();
        eventually("all its connections have ended", || {
            connections(self.server) == self.connections
        });
        eventually("all descriptors are released", || {
            process::descriptors(pid) <= self.descriptors
        });
        self.serves_others();
        eventually("newcomers are served", || serves(self.server));
    }
}

/// How many are open.
fn connections(server: &Server) -> f64 {
    let samples = scrape(server);
    let open = samples
        .iter()
        .filter(|(name, _)| name.starts_with("hubbub_connections{"));
    open.map(|(_, count)| count).sum()
}

/// Repeats an attack, as [`memory_stays`] does. After each time the state must be as before.
#[track_caller]
pub fn loses_no_memory(server: &Server, mut attack: impl FnMut(&mut Baseline<'_>)) {
    let mut baseline = Baseline::of(server);
    memory_stays(server, || {
        attack(&mut baseline);
        baseline.is_restored();
    });
}

/// Repeats it until one more time leaves the server with no more memory than it had at rest before.
/// Memory that an allocator keeps for later soon suffices; lost memory always grows.
#[track_caller]
pub fn memory_stays(server: &Server, mut come_and_go: impl FnMut()) {
    let mut seen = Vec::new();
    while seen.len() < ROUNDS_MAX {
        come_and_go();
        let most_before = seen.iter().max().copied();
        let now = process::memory(server.pid());
        seen.push(now);
        if most_before.is_some_and(|before| now <= before + NOISE) {
            return;
        }
    }
    panic!("memory grows each time: {seen:?}");
}
