//! The bench: drives Hubbub, the epoll version and real peers side by side.
//!
//! ```text
//! compare ──▶ servers (started, pinned, stopped) ◀── load (drives, checks) ──▶ results
//!                                                                               │
//!                                 table, results.json, hlog, report.html ◀──────┘
//! ```

mod arguments;
mod centrifuge;
mod compare;
mod floods;
mod floor;
mod hlog;
mod load;
mod machine;
mod model;
mod pin;
mod proc;
mod report;
mod results;
mod servers;
mod softirqs;
mod table;
mod verify;
mod workload;

use anyhow::{Context as _, Result, bail, ensure};
use arguments::{Arguments, Chosen, Command, CompareArguments, RunArguments};
use clap::Parser as _;
use compare::{Plan, compare, sample, warn_of_softirqs};
use load::dial::Target;
use load::meter::Window;
use load::mixed::prober;
use load::tls::Client;
use load::transport::Security;
use load::wire::Framing;
use proc::Process;
use results::{Cell, Status};
use servers::{Binaries, Named, Origin, PAGES, Server, catalogue};
use std::fs;
use std::io::{BufReader, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use workload::{Outcome, Subject, Workload, fits, perform};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Compare(arguments) => run_compare(&arguments),
        Command::Run(arguments) => run_one(&arguments),
        Command::Floods(arguments) => floods::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::List => list(),
        Command::Report { results } => draw_again(&results),
        Command::Floor { mode, listen } => floor::serve(mode, listen).map(|()| ExitCode::SUCCESS),
        Command::Probes => {
            prober::serve(BufReader::new(std::io::stdin()), std::io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::ExecPinned {
            processors,
            command,
        } => Err(pin::become_pinned(&processors, &command)),
    }
}

fn list() -> Result<ExitCode> {
    let mut text = "Servers:\n".to_owned();
    for server in catalogue(&Binaries::find(Named::default())?) {
        text.push_str(&format!("  {:<24} {}\n", server.name, server.about));
    }
    text.push_str("\nWorkloads (q: in --quick, t: in --tiny):\n");
    for one in workload::catalogue(pin::raise_open_files()) {
        let quick = if one.quick { 'q' } else { ' ' };
        let tiny = if one.tiny { 't' } else { ' ' };
        text.push_str(&format!("  {:<24} {quick}{tiny} {}\n", one.name, one.about));
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn run_compare(arguments: &CompareArguments) -> Result<ExitCode> {
    let open_files_max = pin::raise_open_files();
    let binaries = Binaries::find(Named {
        server: arguments.server_bin.clone(),
        before: arguments.before.clone(),
        epoll: arguments.epoll_bin.clone(),
        many_rooms: arguments.rooms_bin.clone(),
    })?;
    let servers = chosen_servers(arguments, catalogue(&binaries))?;
    let workloads = chosen_workloads(arguments, open_files_max)?;
    if !arguments.no_build {
        binaries.build(&servers)?;
    }
    binaries.compile(&servers)?;
    let plan = Plan {
        extent: arguments.extent().to_owned(),
        window: arguments.window(servers.len() * workloads.len() * arguments.rounds()),
        servers,
        workloads,
        rounds: arguments.rounds(),
        out: arguments
            .out
            .clone()
            .unwrap_or_else(|| binaries.target.join("bench/results")),
        open_files_max,
    };
    fs::create_dir_all(&plan.out)
        .with_context(|| format!("cannot create {}", plan.out.display()))?;
    let results = compare(&plan)?;
    let json = plan.out.join("results.json");
    fs::write(&json, serde_json::to_vec_pretty(&results)?)
        .with_context(|| format!("cannot write {}", json.display()))?;
    let report = plan.out.join("report.html");
    fs::write(&report, report::render(&results))
        .with_context(|| format!("cannot write {}", report.display()))?;
    println!(
        "\n{}\n{}\n{}",
        results.machine.summary(),
        json.display(),
        report.display()
    );
    Ok(verdict(&results, arguments.chosen()))
}

/// A server that is not installed is no failure, unless the run must show that our own are correct.
fn verdict(results: &results::Results, chosen: Chosen) -> ExitCode {
    let count = |wanted: fn(&Status) -> bool| {
        results
            .cells
            .iter()
            .filter(|cell| wanted(&cell.status))
            .count()
    };
    let failed = count(|status| matches!(status, Status::Failed { .. }));
    let skipped = count(|status| matches!(status, Status::Skipped { .. }));
    let is_ours = |name: &str| {
        let server = results.server(name);
        server.is_some_and(|server| server.origin != Origin::Peer)
    };
    let ours_skipped = results
        .cells
        .iter()
        .any(|cell| matches!(cell.status, Status::Skipped { .. }) && is_ours(&cell.server));
    let able = count(|status| !matches!(status, Status::Unable { .. }));
    let measured = count(|status| matches!(status, Status::Measured));
    if failed > 0 {
        eprintln!("{failed} of {able} failed; see above");
    }
    if measured == 0 || chosen == Chosen::Tiny && ours_skipped {
        eprintln!("{skipped} of {able} were skipped; see above");
        return ExitCode::FAILURE;
    }
    if failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Draws the report of an earlier run.
fn draw_again(json: &Path) -> Result<ExitCode> {
    let text = fs::read(json).with_context(|| format!("cannot read {}", json.display()))?;
    let mut results: results::Results = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a results.json of this bench", json.display()))?;
    // The results of an older bench have no quartiles.
    results.cells.iter_mut().for_each(Cell::summarize);
    let report = json.with_file_name("report.html");
    fs::write(&report, report::render(&results))
        .with_context(|| format!("cannot write {}", report.display()))?;
    println!("{}", report.display());
    Ok(ExitCode::SUCCESS)
}

fn chosen_servers(arguments: &CompareArguments, all: Vec<Server>) -> Result<Vec<Server>> {
    let patterns = arguments
        .servers
        .as_deref()
        .unwrap_or(match arguments.chosen() {
            Chosen::Tiny => "hubbub*,epoll*,centrifugo",
            _ => "*",
        });
    let chosen: Vec<Server> = all
        .into_iter()
        .filter(|one| fits(patterns, &one.name))
        .collect();
    ensure!(
        !chosen.is_empty(),
        "no server is called {patterns}: `bench list` names them"
    );
    Ok(chosen)
}

fn chosen_workloads(arguments: &CompareArguments, open_files_max: u64) -> Result<Vec<Workload>> {
    let chosen = arguments.chosen();
    let wanted = |one: &Workload| match (&arguments.workloads, chosen) {
        (Some(patterns), _) => fits(patterns, &one.name),
        (None, Chosen::Full) => true,
        (None, Chosen::Quick) => one.quick,
        (None, Chosen::Tiny) => one.tiny,
    };
    let mut all: Vec<Workload> = workload::catalogue(open_files_max)
        .into_iter()
        .filter(wanted)
        .collect();
    ensure!(
        !all.is_empty(),
        "no workload has such a name: `bench list` names them"
    );
    if chosen == Chosen::Tiny {
        for one in &mut all {
            one.work.shrink();
            one.about.push_str("; made tiny");
        }
    }
    Ok(all)
}

fn run_one(arguments: &RunArguments) -> Result<ExitCode> {
    let open_files_max = pin::raise_open_files();
    let address = arguments.address()?;
    let processors = pin::Processors::of_this_process()?;
    warn_of_softirqs(&processors);
    pin::stay_on(&[processors.load()])?;
    let all = workload::catalogue(open_files_max);
    let chosen: Vec<_> = all
        .iter()
        .filter(|one| fits(&arguments.workload, &one.name))
        .collect();
    if chosen.is_empty() {
        bail!(
            "no workload is called {}: `bench list` names them",
            arguments.workload
        );
    }
    let window = Window {
        warm_up: Duration::from_millis(500),
        measured: Duration::from_secs_f64(arguments.seconds),
        // The server may run on the same processor.
        stays_awake: false,
    };
    let process = arguments.pid.map(Process::new);
    for one in chosen {
        println!("{}: {}", one.name, one.about);
        let target = Target {
            address,
            framing: Framing::WebSocket,
            tls: client(arguments, one.transport.security)?,
            compression: one.transport.compression,
        };
        let subject = Subject {
            target: &target,
            process: process.clone(),
            echo: true,
            // Clients of the Centrifuge protocol may be all that a server of one's own is for.
            raw_rooms: false,
            passes_over: true,
            signer: None,
            beside: arguments.beside(),
            api_key: &arguments.api_key,
            pages: PAGES,
            plain: None,
        };
        match perform(&one.work, &subject, window, processors.prober())? {
            Outcome::Measured(measured) => {
                let text = serde_json::to_string_pretty(&sample(&measured))?;
                writeln!(std::io::stdout(), "{text}")?;
            }
            Outcome::Memory(memory) => println!("{memory:#?}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn client(arguments: &RunArguments, security: Security) -> Result<Option<Client>> {
    if security == Security::Plain {
        return Ok(None);
    }
    let authority = arguments.authority.as_deref();
    let authority = authority.context("a workload over TLS needs --authority")?;
    Client::trusting(authority, security == Security::Resumed).map(Some)
}
