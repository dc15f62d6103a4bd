//! Starting: the lines on standard output, and refusals before anything listens.

use std::{
    fs,
    net::{Ipv6Addr, SocketAddr, TcpListener},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::{
    client::Client,
    harness::{Driver, Ended, Server, command, eventually, program, run, with_own_port},
    output::stuck,
};

on_both_drivers![
    start_line_names_address_cores_and_driver,
    addresses_are_all_listened_on,
    address_that_is_taken_is_an_error_that_names_it,
    address_that_was_just_left_is_free,
    setting_in_a_file_or_the_environment_is_obeyed,
];

fn with_driver(driver: Driver, flags: &[&str]) -> Command {
    let mut command = command();
    command.args(["--driver", driver.name()]).args(flags);
    command
}

fn start_line_names_address_cores_and_driver(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let (address, name) = (server.address(), driver.name());
    let expected = format!("Hubbub listens on http://{address} (cores: 2, driver: {name})");
    let internal = format!(
        "Metrics and health, for operators, on http://{}",
        server.internal()
    );
    assert_eq!(server.start_lines, [expected, internal]);
}

fn addresses_are_all_listened_on(driver: Driver) {
    let mut flags = vec!["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"];
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if has_ipv6 {
        flags.extend(["--listen", "[::1]:0"]);
    }
    let server = Server::start(driver, &flags);
    assert_eq!(server.addresses().len(), flags.len() / 2);
    let connect = |address: &SocketAddr| Client::connect_to(*address, "/rooms/r", &[]).unwrap();
    let mut members: Vec<_> = server.addresses().iter().map(connect).collect();
    members[0].send("from anywhere");
    for member in &mut members {
        assert_eq!(member.text(), "from anywhere");
    }
}

fn address_that_is_taken_is_an_error_that_names_it(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    // Another Hubbub shares its port among its own cores; this listener does not share.
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let shared = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    shared.set_reuse_port(true).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    shared.bind(&any.into()).unwrap();
    shared.listen(1).unwrap();
    let shared = shared.local_addr().unwrap().as_socket().unwrap();

    for taken in [server.address(), other.local_addr().unwrap(), shared] {
        let listen = taken.to_string();
        let ended = run(with_driver(driver, &["--listen", &listen]));
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.stdout.is_empty(), "{}", ended.stdout);
        assert!(ended.stderr.contains(&listen), "{}", ended.stderr);
        for word in ["in use", "another program listens on it", "ss -ltnp"] {
            assert!(ended.stderr.contains(word), "{}", ended.stderr);
        }
    }
    let mut client = Client::connect(&server, "/echo");
    client.send("undisturbed");
    assert_eq!(client.text(), "undisturbed");
}

/// The kernel remembers connections that the server closed first (TIME_WAIT).
fn address_that_was_just_left_is_free(driver: Driver) {
    let mut server = Server::start(driver, &["--drain-timeout", "50ms"]);
    let listen = server.address().to_string();
    let mut client = Client::connect(&server, "/echo");
    server.signal(Signal::TERM);
    assert_eq!(client.closed(), 1001);
    assert!(server.wait().success());
    drop(client);
    let again = Server::start(driver, &["--listen", &listen]);
    assert_eq!(again.address().to_string(), listen);
    Client::connect(&again, "/echo").leave();
}

fn setting_in_a_file_or_the_environment_is_obeyed(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    fs::write(&file, "message_bytes_max = 5\nrooms_max = 1\n").unwrap();
    let mut command = with_driver(driver, &["--config", file.to_str().unwrap()]);
    // Above the file.
    command.env("HUBBUB_MESSAGE_BYTES_MAX", "10");
    let server = Server::launch(command, &[]);
    let mut client = Client::join(&server, "only");
    client.send("ten bytes!");
    assert_eq!(client.text(), "ten bytes!");
    let other = Client::with_fields(&server, "/rooms/another", &[]);
    assert_eq!(other.err(), Some(503));
    client.send("eleven byte");
    assert_eq!(client.closed(), 1009);
}

/// A start that is refused because of its settings: exit code 2, and a text with these words.
#[track_caller]
fn check_refused(command: Command, words: &[&str]) {
    let Ended {
        status,
        stdout,
        stderr,
    } = run(command);
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in {stderr}");
    }
}

fn with_flags(flags: &[&str]) -> Command {
    let mut command = command();
    command.args(flags);
    command
}

#[test]
fn flag_that_is_wrong_is_refused_naming_it() {
    check_refused(with_flags(&["--prot", "8000"]), &["--prot"]);
    check_refused(
        with_flags(&["--ping-interval", "5"]),
        &["--ping-interval", "5"],
    );
    check_refused(with_flags(&["--rooms-max", "0"]), &["--rooms-max", "0"]);
    check_refused(
        with_flags(&["--driver", "kqueue"]),
        &["kqueue", "io_uring", "epoll"],
    );
    check_refused(
        with_flags(&["--listen", "localhost"]),
        &["--listen", "localhost"],
    );
}

/// Another program has that port, and an attempt to bind it would be reported.
#[test]
fn addresses_that_overlap_are_refused_before_anything_is_bound() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let any = format!("0.0.0.0:{}", taken.local_addr().unwrap().port());
    let twice = format!("--listen={any},{address}");
    check_refused(
        with_flags(&[&twice]),
        &["listen", &any, &address, "overlap"],
    );
    let internal = format!("--internal-listen={address}");
    for listen in [&any, &address] {
        let flags = [&format!("--listen={listen}"), &internal[..]];
        check_refused(
            with_flags(&flags),
            &["internal_listen", listen, "another port"],
        );
    }
    let mapped = format!(
        "--listen=[::ffff:127.0.0.1]:{}",
        taken.local_addr().unwrap().port()
    );
    check_refused(
        with_flags(&[&mapped]),
        &["--listen", &format!("write {address}")],
    );
}

#[test]
fn negative_number_for_a_flag_is_refused_with_what_it_may_be() {
    check_refused(
        with_flags(&["--rooms-max", "-1", "--drain-delay", "-5s"]),
        &[
            "--rooms-max",
            "out of range: 1 to",
            "--drain-delay",
            "250ms, 10s or 5m",
        ],
    );
    let mut print = command();
    print.args(["config", "print", "--rooms-max", "-1"]);
    check_refused(print, &["--rooms-max", "out of range: 1 to"]);
}

/// The server under `launcher`, which changes its rights and then becomes the server.
fn under(launcher: &[&str], flags: &[&str]) -> Command {
    let (first, arguments) = launcher.split_first().unwrap();
    let mut command = Command::new(first);
    command.args(arguments).arg(program());
    command.args(flags).env_clear();
    with_own_port(command)
}

/// Whether the launcher can become this program: not every user may give up rights.
fn works(launcher: &[&str], program: &[&str]) -> bool {
    let arguments = launcher[1..].iter().chain(program);
    let ended = Command::new(launcher[0]).args(arguments).output();
    let works = ended.as_ref().is_ok_and(|ended| ended.status.success());
    if !works {
        eprintln!("SKIPPED: {launcher:?} does not work here: {ended:?}");
    }
    works
}

#[test]
fn port_below_1024_without_the_right_names_the_capability() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim().parse::<u16>().unwrap() <= 80 {
        eprintln!("SKIPPED: anybody may listen on port 80 here");
        return;
    }
    let without = [
        "setpriv",
        "--bounding-set=-net_bind_service",
        "--inh-caps=-all",
    ];
    if !works(&without, &["true"]) {
        return;
    }
    for flags in [
        ["--listen=127.0.0.1:80", "--internal-listen=off"],
        ["--listen=127.0.0.1:0", "--internal-listen=127.0.0.1:80"],
    ] {
        let Ended {
            status,
            stdout,
            stderr,
        } = run(under(&without, &flags));
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stdout.is_empty(), "{stdout}");
        let flag = if flags[1].ends_with("80") {
            "--internal-listen"
        } else {
            "--listen"
        };
        for word in [
            "127.0.0.1:80",
            "CAP_NET_BIND_SERVICE",
            "net.ipv4.ip_unprivileged_port_start",
            flag,
        ] {
            assert!(stderr.contains(word), "{word} is not in {stderr}");
        }
    }
}

/// A control group of this test's own, if this process may make one.
struct Group(PathBuf);

impl Group {
    /// Writes this to one of its files, in whichever version of control groups.
    fn with(controller: &str, [v1, v2]: [(&str, &str); 2]) -> Option<Self> {
        let name = format!("hubbub-test-{}-{controller}", std::process::id());
        for (mount, (file, value)) in [(controller, v1), ("", v2)] {
            let path = Path::new("/sys/fs/cgroup").join(mount).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self(path);
            if group.0.join(file).exists() && fs::write(group.0.join(file), value).is_ok() {
                return Some(group);
            }
        }
        eprintln!("SKIPPED: no control group for {controller} can be made here");
        None
    }

    fn launcher(&self) -> [String; 4] {
        let join = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        ["sh".into(), "-c".into(), join, "sh".into()]
    }

    /// The server in this group.
    fn run(&self, flags: &[&str]) -> Command {
        let launcher = self.launcher();
        under(&launcher.each_ref().map(String::as_str), flags)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process in it may not be completely gone yet.
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Tests each thread that cannot be started, of a core or another one.
#[test]
fn threads_beyond_the_groups_limit_end_the_start_naming_it() {
    let Some(group) = Group::with("pids", [("pids.max", "1"); 2]) else {
        return;
    };
    let needed = format!("{} threads", 8 + server::threads::BESIDE_CORES);
    for most in 1..=6 {
        fs::write(group.0.join("pids.max"), most.to_string()).unwrap();
        let flags = ["--listen=127.0.0.1:0", "--cores=8"];
        let Ended {
            status,
            stdout,
            stderr,
        } = run(group.run(&flags));
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stdout.is_empty(), "{stdout}");
        let limit = format!("is {most}:");
        for word in ["pids.max", &limit, &needed, "--pids-limit", "TasksMax"] {
            assert!(stderr.contains(word), "{word} is not in {stderr}");
        }
    }
}

/// A user without other processes, so that the limit applies only to the server.
const NOBODY: &str = "54321";

#[test]
fn threads_beyond_the_users_limit_end_the_start_naming_it() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let limited = ["prlimit", "--nproc=3:3"];
    let reuid = format!("--reuid={NOBODY}");
    let as_nobody = ["setpriv", &reuid, "--clear-groups", "--no-new-privs"];
    let launcher = if is_root {
        [&limited[..], &as_nobody].concat()
    } else {
        limited.to_vec()
    };
    let binary = program();
    let binary = binary.to_str().unwrap();
    if !works(&launcher, &["test", "-x", binary]) {
        return;
    }
    let Ended { status, stderr, .. } =
        run(under(&launcher, &["--listen=127.0.0.1:0", "--cores=8"]));
    assert_eq!(status.code(), Some(1), "{stderr}");
    for word in [
        "needs 14 threads",
        "RLIMIT_NPROC allows this user 3 ",
        "ulimit -u",
        "LimitNPROC",
    ] {
        assert!(stderr.contains(word), "{word} is not in {stderr}");
    }
}

#[test]
fn descriptors_that_are_too_few_for_a_start_end_it_naming_the_limit() {
    // They run out at different places of the start.
    for (limit, flags) in [
        (20, &["--internal-listen=off"][..]),
        (12, &["--internal-listen=127.0.0.1:0"]),
    ] {
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let flags = [&["--listen=127.0.0.1:0", "--cores=2"], flags].concat();
        let Ended { status, stderr, .. } = run(under(&["/bin/sh", "-c", &script], &flags));
        assert_eq!(status.code(), Some(1), "{stderr}");
        let limit = format!("RLIMIT_NOFILE allows this process {limit}: raise it (ulimit -n");
        assert!(stderr.contains(&limit), "{limit} is not in {stderr}");
    }
}

/// The number of threads that the message above says a start needs.
#[test]
fn threads_of_a_server_are_as_many_as_are_said_to_be_needed() {
    // Nobody reads the start lines, so that their thread stays, too.
    let (_unread, stuck) = stuck();
    let command = with_driver(Driver::Epoll, &[]);
    let server = Server::launch_into(command, &["--cores", "3"], stuck.into(), Stdio::piped());
    let expected = 3 + server::threads::BESIDE_CORES;
    let path = format!("/proc/{}/task", server.pid());
    eventually("as many threads", || {
        fs::read_dir(&path).unwrap().count() == expected
    });
}

#[test]
fn cores_are_as_many_as_the_affinity_and_the_quota_leave() {
    let cores_of = |command: Command| {
        let server = Server::launch(command, &[]);
        let line = &server.start_lines[0];
        let (_, rest) = line.split_once("cores: ").unwrap();
        rest.split(',').next().unwrap().parse::<usize>().unwrap()
    };
    let one = ["taskset", "--cpu-list", "0"];
    if works(&one, &["true"]) {
        assert_eq!(cores_of(under(&one, &[])), 1);
    }
    let v1 = ("cpu.cfs_quota_us", "190000");
    let v2 = ("cpu.max", "190000 100000");
    if let Some(group) = Group::with("cpu", [v1, v2]) {
        // 1.9 processors.
        assert_eq!(cores_of(group.run(&[])), 1);
    }
}

#[test]
fn key_that_is_misspelt_is_refused_with_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("typo.toml");
    fs::write(&file, "rooms_max = 5\nping_intervall = \"5s\"\n").unwrap();
    let file = file.to_str().unwrap();
    let words = [file, "ping_intervall", "ping_interval", "2"];
    check_refused(with_flags(&["--config", file]), &words);
}

#[test]
fn file_that_is_missing_is_refused_naming_it() {
    let words = [
        "error: the configuration file cannot be used\n",
        "/nowhere/hubbub.toml",
    ];
    check_refused(with_flags(&["--config", "/nowhere/hubbub.toml"]), &words);
    let mut by_variable = with_flags(&[]);
    by_variable.env("HUBBUB_CONFIG", "/nowhere/hubbub.toml");
    let words = [&words[..], &["leave HUBBUB_CONFIG out"]].concat();
    check_refused(by_variable, &words);
}

#[test]
fn variable_that_is_misspelt_is_refused() {
    let mut command = command();
    command.env("HUBBUB_ROOM_MAX", "5");
    check_refused(command, &["HUBBUB_ROOM_MAX", "HUBBUB_ROOMS_MAX"]);
}

#[test]
fn static_dir_that_is_missing_is_an_error_that_names_it() {
    let ended = run(with_flags(&[
        "--static-dir",
        "/nowhere",
        "--listen",
        "127.0.0.1:0",
    ]));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("/nowhere"), "{}", ended.stderr);
}

#[test]
fn help_lists_every_setting() {
    let ended = run(with_flags(&["--help"]));
    assert!(ended.status.success());
    for flag in [
        "listen",
        "cores",
        "driver",
        "max-connections",
        "config",
        "static-dir",
        "allow-origin",
        "message-bytes-max",
        "send-queue-bytes-max",
        "rooms-max",
        "ping-interval",
        "drain-timeout",
        "log-format",
    ] {
        assert!(ended.stdout.contains(&format!("--{flag} <")), "{flag}");
    }
    let version = run(with_flags(&["--version"]));
    let expected = format!("hubbub {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected);
}
