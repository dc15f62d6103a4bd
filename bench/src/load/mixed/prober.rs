//! The prober as its own process, so that it and the large room's load do not delay each other.
//!
//! ```text
//!   bench ── one line of JSON each: Setup, then an Order for each phase ──▶ bench probes
//!         ◀── an Answer to each: Ready, a Phase, or why it failed ─────────
//! ```

use super::Mix;
use super::probes::Probes;
use super::record::Phase;
use crate::load::dial::Target;
use crate::load::transport::Compression;
use crate::load::wire::Framing;
use crate::pin;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal, setpriority_process};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

/// How often the prober checks for an order.
const REST: Duration = Duration::from_millis(5);

/// The parameters of the prober.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The server.
    pub server: SocketAddrV4,
    /// Index of the prober's first connection.
    pub first: usize,
    /// The processor that the prober runs on.
    pub processor: usize,
    /// The messages that the prober sends.
    pub mix: Mix,
}

/// An order to measure one phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Order {
    warm_up: Duration,
    measured: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ready,
    Measured(Phase),
    Failed(String),
}

/// The bench's side of the prober. The process is killed when this is dropped.
#[derive(Debug)]
pub struct Prober {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Prober {
    /// Starts the prober, and waits until its connections are open.
    pub fn start(setup: &Setup) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("probes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the prober")?;
        let orders = child.stdin.take().context("the prober has no input")?;
        let answers = child.stdout.take().context("the prober has no output")?;
        let mut prober = Self {
            child,
            orders,
            answers: BufReader::new(answers),
        };
        write_line(&mut prober.orders, setup)?;
        match prober.answer()? {
            Answer::Ready => Ok(prober),
            other => bail!("the prober answered out of turn: {other:?}"),
        }
    }

    /// Begins a phase; [`Prober::phase`] waits for its end.
    pub fn order(&mut self, warm_up: Duration, measured: Duration) -> Result<()> {
        write_line(&mut self.orders, &Order { warm_up, measured })
    }

    /// The results of the phase that was ordered last.
    pub fn phase(&mut self) -> Result<Phase> {
        match self.answer()? {
            Answer::Measured(phase) => Ok(phase),
            other => bail!("the prober answered out of turn: {other:?}"),
        }
    }

    fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the prober has ended");
        }
        match serde_json::from_str(&line).context("the prober's answer")? {
            Answer::Failed(reason) => bail!("the probes: {reason}"),
            answer => Ok(answer),
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs as the prober until there are no more orders.
pub fn serve(orders: impl BufRead + Send, mut answers: impl Write) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let (lines, to_obey) = mpsc::channel();
    thread::scope(|scope| {
        // Orders are read on another thread, because this one must answer pings between two of
        // them.
        scope.spawn(move || orders.lines().try_for_each(|line| lines.send(line)));
        let served = obey(&to_obey, &mut answers);
        if let Err(error) = &served {
            // The bench ends this process after it has read the reason.
            write_line(&mut answers, &Answer::Failed(format!("{error:#}")))?;
        }
        served
    })
}

fn obey(orders: &Receiver<io::Result<String>>, answers: &mut impl Write) -> Result<()> {
    let setup: Setup = serde_json::from_str(&orders.recv().context("no setup came")??)?;
    pin::raise_open_files();
    // If the processor is refused, the prober runs on one that it shares with the load.
    let _ = pin::stay_on(&[setup.processor]);
    let has_priority = setpriority_process(None, pin::PRIORITY).is_ok();
    let target = Target {
        address: setup.server,
        framing: Framing::WebSocket,
        tls: None,
        compression: Compression::Off,
    };
    let mut probes = Probes::connect(&target, setup.first, setup.mix)?;
    write_line(answers, &Answer::Ready)?;
    loop {
        let line = match orders.try_recv() {
            Ok(line) => line?,
            Err(TryRecvError::Empty) => {
                probes.rest(REST)?;
                continue;
            }
            Err(TryRecvError::Disconnected) => return Ok(()),
        };
        let order: Order = serde_json::from_str(&line)?;
        let mut phase = probes.measure(order.warm_up, order.measured)?;
        phase.has_priority = has_priority;
        write_line(answers, &Answer::Measured(phase))?;
    }
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush().context("the prober's other end has gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::compile_c;
    use std::path::Path;

    /// The epoll version in C, which is built in a second. It pings often, and closes connections
    /// that do not answer.
    struct Server(Child, SocketAddrV4);

    impl Server {
        fn start(directory: &Path) -> Self {
            let program = directory.join("bench-epoll-c");
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            assert!(compile_c(&root, &program).unwrap());
            let mut child = Command::new(program)
                .args(["--listen", "127.0.0.1:0", "--heartbeat", "0.5"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            output.read_line(&mut line).unwrap();
            let address = line.split("http://").nth(1).unwrap();
            let address = address.split(' ').next().unwrap().parse().unwrap();
            Self(child, address)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn setup(server: SocketAddrV4) -> Setup {
        Setup {
            server,
            first: 50_000,
            processor: 0,
            mix: Mix {
                large: 1,
                at_once: 1,
                rooms: 5,
                members: 4,
                room_rate: 10.0,
                echoes: 3,
                echo_rate: 20.0,
            },
        }
    }

    /// The prober's answers to these lines, which arrive with this pause between them. It runs on a
    /// thread whose processor and priority it may change.
    fn answers(lines: &[String], pause: Duration) -> (Result<()>, Vec<Answer>) {
        let (orders, to_obey) = mpsc::channel();
        thread::scope(|scope| {
            let prober = scope.spawn(move || {
                let mut written = Vec::new();
                (obey(&to_obey, &mut written), written)
            });
            for line in lines {
                // A prober that has failed reads no more orders.
                let _ = orders.send(Ok(line.clone()));
                thread::sleep(pause);
            }
            drop(orders);
            let (ended, written) = prober.join().unwrap();
            let read = |line: io::Result<String>| serde_json::from_str(&line.unwrap()).unwrap();
            (ended, written.lines().map(read).collect())
        })
    }

    fn line(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn orders_each_give_a_phase_in_which_every_reply_came_and_was_stamped() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path());
        let order = Order {
            warm_up: Duration::from_millis(200),
            measured: Duration::from_millis(400),
        };
        // Twice the time after which a connection that answers no ping is closed.
        let pause = Duration::from_secs(2);
        let lines = [line(&setup(server.1)), line(&order), line(&order)];
        let (ended, answers) = answers(&lines, pause);
        ended.unwrap();
        assert!(matches!(answers[0], Answer::Ready));
        assert_eq!(answers.len(), 3);
        for answer in &answers[1..] {
            let Answer::Measured(phase) = answer else {
                panic!("{answer:?}");
            };
            // In 0.4 of the 0.6 s, 20 messages to four members each and 24 echoes are due, and
            // perhaps one more of each at the end. A message that was due before and sent late
            // counts as a reply, but not as late.
            assert!((44..=46).contains(&phase.sent_late.count), "{phase:?}");
            assert!((76..=120).contains(&phase.rooms.count), "{phase:?}");
            assert!((23..=36).contains(&phase.echoes.count), "{phase:?}");
            assert_eq!((phase.missing, phase.unstamped), (0, 0));
            assert!(phase.rooms.p50_us > 0.0 && phase.echoes.p50_us > 0.0);
            assert!(phase.read_late.count > 0 && phase.processor_share > 0.0);
        }
    }

    #[test]
    fn server_that_is_not_there_is_a_failure() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = unused.local_addr().unwrap() else {
            panic!("an IPv4 address");
        };
        drop(unused);
        let (ended, answers) = answers(&[line(&setup(address))], Duration::ZERO);
        assert!(ended.unwrap_err().to_string().contains("cannot connect"));
        assert_eq!(answers.len(), 0);
    }
}
