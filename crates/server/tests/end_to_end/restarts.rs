//! What outlives the process: rooms over a restart, and what of them does not outlive a kill.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::{Client, scrape},
    commands::{Session, settings, token},
    harness::{Driver, Server, command, eventually, run},
};

on_both_drivers![
    raw_client_recovers_exactly_over_a_restart,
    session_recovers_exactly_over_a_restart,
    table_and_positions_of_former_rooms_outlive_the_process,
    killed_process_leaves_no_position_behind,
    rooms_are_used_once_even_if_the_next_process_is_killed,
    rooms_come_back_as_far_as_the_rules_of_now_keep_them,
    damaged_foreign_and_too_large_files_are_set_aside,
    directory_that_cannot_be_used_is_an_error_with_a_remedy,
    two_processes_never_share_a_directory,
    rooms_beyond_the_bytes_keep_their_positions_alone,
    time_that_is_over_holds_up_neither_end_nor_start,
];

const ROOMS: &str = r#"
[rooms]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = ["client", "anonymous"]
history_size = 50
history_ttl = "10m"
positions = "allowed"
recovery = "allowed"
raw = "publish"
[namespaces.map]
kind = "latest_per_key"
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
[namespaces.short]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = ["client", "anonymous"]
history_size = 50
history_ttl = "1s"
positions = "allowed"
recovery = "allowed"
raw = "publish"
"#;

/// A directory with settings and with a state, for several processes one after the other.
pub struct Lasting {
    dir: TempDir,
    driver: Driver,
}

impl Lasting {
    pub fn new(driver: Driver, tables: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let lasting = Self { dir, driver };
        lasting.configure("", tables);
        lasting
    }

    /// Goes on with these settings and tables.
    pub fn configure(&self, more: &str, tables: &str) {
        let state = self.state();
        let more = format!("state_dir = {state:?}\ncores = 2\n{more}");
        let text = settings(&self.dir, &more, tables);
        fs::write(self.dir.path().join("hubbub.toml"), text).unwrap();
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn rooms(&self) -> PathBuf {
        self.state().join("rooms.redb")
    }

    pub fn start(&self) -> Server {
        Server::launch(self.command(), &[])
    }

    fn command(&self) -> std::process::Command {
        let mut command = command();
        command.args(["--driver", self.driver.name()]);
        command
            .arg("--config")
            .arg(self.dir.path().join("hubbub.toml"));
        command
    }
}

/// Has the process end as a service manager does.
pub fn stop(server: Server) -> String {
    server.signal(Signal::TERM);
    ended(server)
}

/// Waits for the end of a process that was told to.
fn ended(mut server: Server) -> String {
    assert_eq!(server.wait().code(), Some(0));
    server.log()
}

fn kill(mut server: Server) {
    server.signal(Signal::KILL);
    server.wait();
}

#[track_caller]
fn envelope(client: &mut Client) -> Value {
    serde_json::from_str(&client.text()).unwrap()
}

/// Publishes these, and returns the position of the last one.
#[track_caller]
fn publish(server: &Server, room: &str, texts: &[&str]) -> (String, u64) {
    let mut client = Client::join(server, &format!("{room}?positions=1"));
    let first = envelope(&mut client);
    let mut offset = first["offset"].as_u64().unwrap();
    for text in texts {
        client.send(*text);
        offset = envelope(&mut client)["offset"].as_u64().unwrap();
    }
    client.leave();
    (first["epoch"].as_str().unwrap().to_owned(), offset)
}

/// What a raw client is told that comes back with this position.
#[track_caller]
fn back(server: &Server, room: &str, epoch: &str, offset: u64) -> Value {
    let mut client = Client::join(server, &format!("{room}?since={epoch}:{offset}"));
    envelope(&mut client)
}

fn raw_client_recovers_exactly_over_a_restart(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    let server = lasting.start();
    let (epoch, offset) = publish(&server, "r", &["1", "2", "3", "4"]);
    assert_eq!(offset, 4);
    // It is cut off by the drain, with what it had.
    let mut client = Client::join(&server, "r?positions=1");
    envelope(&mut client);
    server.signal(Signal::TERM);
    assert_eq!(client.closed(), 1001);
    let log = ended(server);
    assert!(log.contains("rooms were written to state_dir"), "{log}");
    assert!(lasting.rooms().exists());

    let server = lasting.start();
    server.logs("rooms were restored from state_dir rooms=1");
    assert!(!lasting.rooms().exists(), "it is used once");
    let mut client = Client::join(&server, &format!("r?since={epoch}:2"));
    let recovered = json!({"epoch": epoch, "offset": 2, "recovered": true});
    assert_eq!(envelope(&mut client), recovered);
    for offset in [3, 4] {
        let message = envelope(&mut client);
        let expected = (json!(offset), json!(offset.to_string()));
        assert_eq!(
            (&message["offset"], &message["data"]),
            (&expected.0, &expected.1)
        );
    }
    client.send("5");
    assert_eq!(envelope(&mut client)["offset"], 5);
    let outcome = r#"hubbub_state_rooms{outcome="restored"}"#;
    assert_eq!(scrape(&server).get(outcome), Some(&1.0));
}

fn session_recovers_exactly_over_a_restart(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    let server = lasting.start();
    let user = token(&json!({"sub": "ann", "info": {"name": "Ann"}}));
    let connect = json!({"id": 1, "connect": {"token": user}}).to_string();
    let mut session = Session::open(&server);
    session.ask(&connect);
    let subscribe =
        json!({"id": 2, "subscribe": {"channel": "r", "recoverable": true, "positioned": true}});
    let subscribed = session.ask(&subscribe.to_string());
    let epoch = subscribed["subscribe"]["epoch"].clone();
    for id in 3..6 {
        let publish = json!({"id": id, "publish": {"channel": "r", "data": {"n": id}}});
        session.ask(&publish.to_string());
    }
    server.signal(Signal::TERM);
    assert_eq!(session.closed(), (3001, "shutdown".to_owned()));
    ended(server);

    let server = lasting.start();
    let mut session = Session::open(&server);
    session.ask(&connect);
    let position = json!({"channel": "r", "positioned": true, "recoverable": true, "recover": true, "epoch": epoch, "offset": 1});
    let again = json!({"id": 2, "subscribe": position});
    let again = session.ask(&again.to_string());
    assert!(again["error"].is_null(), "{again}");
    let again = again["subscribe"].clone();
    assert_eq!(
        (&again["recovered"], &again["epoch"]),
        (&json!(true), &epoch)
    );
    let publications = again["publications"].as_array().unwrap();
    let given: Vec<_> = publications
        .iter()
        .map(|it| {
            (
                &it["offset"],
                &it["data"]["n"],
                &it["info"]["conn_info"]["name"],
            )
        })
        .collect();
    let ann = &json!("Ann");
    let (two, three, four, five) = (&json!(2), &json!(3), &json!(4), &json!(5));
    assert_eq!(given, [(two, four, ann), (three, five, ann)]);
    let next = json!({"id": 3, "publish": {"channel": "r", "data": {}}});
    session.send(next.to_string());
    // The message itself, before or behind the acknowledgement in one frame.
    let said = [session.reply(), session.reply()];
    let mut pushed = said
        .iter()
        .filter_map(|it| it["push"]["pub"]["offset"].as_u64());
    assert_eq!(pushed.next(), Some(4), "{said:?}");
}

fn table_and_positions_of_former_rooms_outlive_the_process(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    lasting.configure("room_idle_timeout = \"50ms\"", ROOMS);
    let server = lasting.start();
    let (epoch, offset) = publish(&server, "short:r", &["1", "2"]);
    let kept = || scrape(&server).get("hubbub_positions").copied();
    eventually("the room is gone, and its position is kept", || {
        kept() == Some(1.0)
    });
    let mut session = Session::anonymous(&server);
    for (id, key, value) in [(2, "b", 1), (3, "a", 2), (4, "b", 3)] {
        let publish = json!({"channel": "map:r", "type": 1, "key": key, "data": value});
        let published = session.ask(&json!({"id": id, "publish": publish}).to_string());
        assert!(published["error"].is_null(), "{published}");
    }
    drop(session);
    stop(server);

    let server = lasting.start();
    // Whoever has everything up to there has missed nothing; whoever has less cannot be given it.
    let at_top = json!({"epoch": epoch, "offset": offset, "recovered": true});
    assert_eq!(back(&server, "short:r", &epoch, offset), at_top);
    let missed = back(&server, "short:r", &epoch, offset - 1);
    assert_eq!(
        (&missed["epoch"], &missed["recovered"]),
        (&json!(epoch), &json!(false))
    );
    let mut session = Session::anonymous(&server);
    let subscribe = json!({"channel": "map:r", "type": 1});
    let state = session.ask(&json!({"id": 2, "subscribe": subscribe}).to_string());
    let state = state["subscribe"].to_string();
    assert!(
        state.contains("\"key\":\"a\"") && state.contains("\"key\":\"b\""),
        "{state}"
    );
    assert!(!state.contains("\"data\":1"), "{state}");
}

fn killed_process_leaves_no_position_behind(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    let server = lasting.start();
    let (epoch, offset) = publish(&server, "r", &["1", "2"]);
    kill(server);
    let server = lasting.start();
    let told = back(&server, "r", &epoch, offset);
    assert_eq!(
        (&told["recovered"], &told["cause"]),
        (&json!(false), &json!("epoch"))
    );
    assert_ne!(told["epoch"], json!(epoch));
}

fn rooms_are_used_once_even_if_the_next_process_is_killed(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    let server = lasting.start();
    let (epoch, _) = publish(&server, "r", &["1", "2"]);
    stop(server);
    let server = lasting.start();
    let (same, offset) = publish(&server, "r", &["3"]);
    assert_eq!((&same, offset), (&epoch, 3));
    kill(server);
    // Here 3 would be given again, if the rooms of the first process were still there.
    let server = lasting.start();
    let (new, offset) = publish(&server, "r", &["other"]);
    assert_ne!(new, epoch);
    assert_eq!(offset, 1);
    assert_eq!(back(&server, "r", &epoch, 2)["cause"], "epoch");
}

fn rooms_come_back_as_far_as_the_rules_of_now_keep_them(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    let server = lasting.start();
    let (epoch, offset) = publish(&server, "r", &["1", "2"]);
    stop(server);
    // Positions, and no history any more.
    let history =
        "read_history = [\"client\", \"anonymous\"]\nhistory_size = 50\nhistory_ttl = \"10m\"\n";
    let without = ROOMS.replacen(history, "", 1);
    let without = without.replacen("recovery = \"allowed\"\n", "", 1);
    lasting.configure("", &without);
    let server = lasting.start();
    let mut client = Client::join(&server, "r?positions=1");
    assert_eq!(
        envelope(&mut client),
        json!({"epoch": epoch, "offset": offset})
    );
    drop(client);
    stop(server);
    // Nothing at all.
    let without = without.replacen("positions = \"allowed\"\n", "", 1);
    lasting.configure("", &without);
    let server = lasting.start();
    server.logs("left_out=1");
    let left_out = r#"hubbub_state_rooms{outcome="left_out"}"#;
    assert_eq!(scrape(&server).get(left_out), Some(&1.0));
}

fn damaged_foreign_and_too_large_files_are_set_aside(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    let refused = lasting.state().join("rooms.redb.refused");
    type Spoil = fn(&Path);
    let spoils: [(Spoil, &str, &str); 4] = [
        (
            |path| fs::write(path, "not a store").unwrap(),
            "",
            "cannot be used",
        ),
        (
            |path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            "",
            "cannot be used",
        ),
        (
            |path| {
                // Wherever the message stands, a bit of it is another one.
                let mut bytes = fs::read(path).unwrap();
                let mut windows = bytes.windows(7);
                let at = windows
                    .position(|it| it == b"treacle")
                    .expect("the message");
                bytes[at] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            "",
            "cannot be used",
        ),
        (|_| {}, "state_bytes_max = \"1KiB\"", "state_bytes_max"),
    ];
    for (number, (spoil, more, word)) in spoils.into_iter().enumerate() {
        lasting.configure("", ROOMS);
        let server = lasting.start();
        let long = "treacle ".repeat(500);
        let (epoch, offset) = publish(&server, "r", &[&long]);
        stop(server);
        spoil(&lasting.rooms());
        lasting.configure(more, ROOMS);
        let server = lasting.start();
        server.logs(word);
        server.logs("WARN");
        assert!(refused.exists() && !lasting.rooms().exists(), "{number}");
        assert_eq!(
            back(&server, "r", &epoch, offset)["cause"],
            "epoch",
            "{number}"
        );
        assert_eq!(scrape(&server).get("hubbub_state_refused"), Some(&1.0));
        kill(server);
    }
}

fn directory_that_cannot_be_used_is_an_error_with_a_remedy(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    fs::remove_dir(lasting.state()).unwrap();
    let check = |what: &str| {
        let ended = run(lasting.command());
        assert_eq!(ended.status.code(), Some(1), "{what}: {}", ended.stderr);
        for word in ["state_dir", "StateDirectory=", "leave state_dir out"] {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
        let mut check = command();
        check.args(["config", "check"]);
        let ended = run({
            check.arg(lasting.dir.path().join("hubbub.toml"));
            check
        });
        assert_eq!(ended.status.code(), Some(1), "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains("state_dir"), "{}", ended.stderr);
    };
    check("it is missing");
    fs::write(lasting.state(), "").unwrap();
    check("it is a file");
}

fn two_processes_never_share_a_directory(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    let server = lasting.start();
    let ended = run(lasting.command());
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("belongs to another process"),
        "{}",
        ended.stderr
    );
    // A check of the settings is no second process.
    let mut check = command();
    check
        .args(["config", "check"])
        .arg(lasting.dir.path().join("hubbub.toml"));
    assert_eq!(run(check).status.code(), Some(0));
    let (epoch, offset) = publish(&server, "r", &["1"]);
    stop(server);
    let server = lasting.start();
    assert_eq!(back(&server, "r", &epoch, offset)["recovered"], true);
}

fn rooms_beyond_the_bytes_keep_their_positions_alone(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    lasting.configure("state_bytes_max = \"1KiB\"", ROOMS);
    let server = lasting.start();
    let long = "x".repeat(2_000);
    let (epoch, offset) = publish(&server, "r", &[&long]);
    let log = stop(server);
    assert!(log.contains("state_bytes_max had no space"), "{log}");
    let server = lasting.start();
    assert_eq!(back(&server, "r", &epoch, offset)["recovered"], true);
    assert_eq!(back(&server, "r", &epoch, 0)["recovered"], false);
}

fn time_that_is_over_holds_up_neither_end_nor_start(driver: Driver) {
    let lasting = Lasting::new(driver, ROOMS);
    let in_no_time = || lasting.configure("state_timeout = \"1ms\"", ROOMS);
    let server = lasting.start();
    publish(&server, "r", &["1"]);
    stop(server);
    in_no_time();
    let server = lasting.start();
    server.logs("state_timeout was over before all rooms were restored");
    assert!(!lasting.rooms().exists(), "they are not used later, either");
    let (epoch, offset) = publish(&server, "r", &["2"]);
    let log = stop(server);
    assert!(
        log.contains("state_timeout was over before all rooms were written"),
        "{log}"
    );
    lasting.configure("", ROOMS);
    let server = lasting.start();
    // Its room may have been written before the time was over.
    let back = back(&server, "r", &epoch, offset);
    let is_told = back["cause"] == "epoch";
    assert!(is_told || back["recovered"] == true, "{back}");
}
