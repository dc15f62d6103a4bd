//! Each of the small cases of the Centrifuge protocol is answered as its table says.

use std::fmt::Write as _;

use serde_json::json;
use tungstenite::Message;

use crate::{
    cases::{CASES, Case, Opening, Reference},
    client::{Client, binary},
    commands::{CONNECT, Configured, OPEN, PATH, Said, Session, in_seconds, token},
    harness::{Driver, Server},
};

on_both_drivers![case_each_is_answered_as_the_table_says];

/// For how long the tokens are good, in seconds.
const TTL_S: i64 = 3_600;

/// Rules like those with which the reference was asked: a history in some rooms, and everything for everybody.
fn tables() -> String {
    let chat =
        "history_size = 100\nrecovery = \"forced\"\nread_history = [\"client\", \"anonymous\"]";
    [
        format!("[rooms]{OPEN}"),
        format!("[namespaces.chat]{OPEN}{chat}\njoin_leave = \"asked\"\n"),
        format!("[namespaces.cache]{OPEN}{chat}\nrecovery_mode = \"cache\"\n"),
        format!("[namespaces.map]{OPEN}kind = \"latest_per_key\"\n"),
        format!("[namespaces.plain]{OPEN}"),
    ]
    .concat()
}

fn case_each_is_answered_as_the_table_says(driver: Driver) {
    let flags = ["--cores", "2", "--ping-interval", "25s"];
    let configured = Configured::start(driver, "", &tables(), &flags);
    for case in CASES {
        let answer = match case.opening {
            Opening::Subprotocol("centrifuge-protobuf") => in_protobuf(&configured.server, case),
            _ => in_json(&configured.server, case),
        };
        assert_eq!(answer, case.answer, "{}", case.name);
    }
}

fn open(server: &Server, case: &Case) -> Client {
    match case.opening {
        Opening::Connected | Opening::Silent => Client::connect(server, PATH),
        Opening::Query(query) => Client::connect(server, &format!("{PATH}{query}")),
        Opening::Subprotocol(name) => {
            let asks = [("sec-websocket-protocol", name)];
            let client = Client::with_fields(server, PATH, &asks).expect("101");
            assert_eq!(client.subprotocol(), Some(name));
            client
        }
    }
}

/// The answers: replies in their order, then pushes in theirs, because either may come before the other. Each
/// frame waits for the answer to the one before, and behind the last one
/// a further command shows that nothing else was said.
fn in_json(server: &Server, case: &Case) -> Vec<String> {
    const LAST: &str = r#"{"id":99,"presence_stats":{"channel":"chat:last"}}"#;
    let mut session = Session::over(open(server, case));
    let mut answers: Vec<String> = Vec::new();
    if case.opening == Opening::Connected {
        session.send(CONNECT);
        let line = session.line();
        assert!(line.starts_with(r#"{"id":1,"connect":{"#), "{line}");
    }
    for (at, frame) in case.sent.iter().enumerate() {
        session.send(filled(frame));
        let is_last = at + 1 == case.sent.len();
        while match is_last {
            true => answers.len() < case.answer.len(),
            false => !answers.last().is_some_and(|it| is_answer_to(it, frame)),
        } {
            match session.hear() {
                Said::Line(line) => answers.push(shown(&line)),
                Said::Closed(code, reason) => {
                    answers.push(format!("close {code} {reason}"));
                    return answers;
                }
            }
        }
    }
    answers.sort_by_key(|answer| answer.starts_with(r#"{"push":"#));
    session.send(LAST);
    let line = session.line();
    assert!(
        line.starts_with(r#"{"id":99,"presence_stats":{"#),
        "{}: {line}",
        case.name
    );
    answers
}

/// Whether this is the reply to the last command of a frame.
fn is_answer_to(answer: &str, frame: &str) -> bool {
    let command = frame.lines().next_back().unwrap_or_default();
    let id = command.split_once(',').map_or("", |(id, _)| id);
    !id.is_empty() && answer.starts_with(&format!("{id},"))
}

/// A frame with what its placeholders stand for.
fn filled(frame: &str) -> String {
    let of = |ends_in_s| token(&json!({"sub": "1", "exp": in_seconds(ends_in_s)}));
    frame
        .replace("<300 letters>", &"a".repeat(300))
        .replace("<256 letters>", &"a".repeat(256))
        .replace("<expired token>", &of(-10))
        .replace("<token>", &of(TTL_S))
}

/// A message with placeholders for what differs each time.
fn shown(line: &str) -> String {
    let mut shown = line.to_owned();
    for name in ["client", "version", "epoch"] {
        shown = with_placeholders(&shown, &format!("\"{name}\":\""), '"', name);
    }
    with_placeholders(&shown, "\"ttl\":", ',', "ttl")
}

/// Replaces each value between `before` and `end` by its name.
fn with_placeholders(line: &str, before: &str, end: char, name: &str) -> String {
    let mut parts = line.split(before);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let at = part.find([end, '}']).expect("the end of a value");
        let value = &part[..at];
        check_value(name, value);
        write!(shown, "{before}<{name}>{}", &part[at..]).unwrap();
    }
    shown
}

/// Whether a value is one of its kind.
fn check_value(name: &str, value: &str) {
    let is_good = match name {
        "client" => uuid::Uuid::try_parse(value).is_ok(),
        "ttl" => value
            .parse()
            .is_ok_and(|ttl| (TTL_S - 60..=TTL_S).contains(&ttl)),
        _ => !value.is_empty(),
    };
    assert!(is_good, "{name} is {value}");
}

fn in_protobuf(server: &Server, case: &Case) -> Vec<String> {
    let mut client = open(server, case);
    for frame in case.sent {
        let bytes = frame
            .split(' ')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap());
        client.send(binary(bytes.collect::<Vec<_>>()));
    }
    let Message::Binary(frame) = client.receive() else {
        panic!("no binary frame");
    };
    let (length, message) = frame.split_first().unwrap();
    assert_eq!(usize::from(*length), message.len());
    let shown = decoded(message, 0);
    let [client, version] = ["1: \"", "2: \""].map(|before| {
        let (_, rest) = shown.split_once(before).expect(before);
        rest.split('"').next().unwrap().to_owned()
    });
    check_value("client", &client);
    vec![
        shown
            .replace(&client, "<client>")
            .replace(&version, "<version>"),
    ]
}

/// The fields of a message by their numbers; what has a length is a message in the first level, and text below.
fn decoded(mut rest: &[u8], level: usize) -> String {
    let mut fields = Vec::new();
    while let [key, value, behind @ ..] = rest {
        let number = key >> 3;
        rest = behind;
        fields.push(match key & 7 {
            0 => format!("{number}: {value}"),
            _ => {
                let (bytes, behind) = rest.split_at(usize::from(*value));
                rest = behind;
                match level {
                    0 => format!("{number}: {{{}}}", decoded(bytes, 1)),
                    _ => format!("{number}: {:?}", str::from_utf8(bytes).unwrap()),
                }
            }
        });
    }
    fields.join(", ")
}

/// The table as the document has it.
fn table() -> String {
    let mut table = "| Case | Sent | Answered | The reference |\n|---|---|---|---|\n".to_owned();
    for case in CASES {
        let frames = case.sent.iter().map(|frame| code(frame));
        let sent: Vec<_> = opening(case).into_iter().chain(frames).collect();
        let answers: Vec<_> = case.answer.iter().map(|answer| code(answer)).collect();
        let reference = match case.reference {
            Reference::Same => "the same".to_owned(),
            Reference::Other(answer, why) => format!("{answer}: {why}"),
        };
        let (sent, answers) = (sent.join("<br>"), answers.join("<br>"));
        writeln!(
            table,
            "| {} | {sent} | {answers} | {reference} |",
            case.name
        )
        .unwrap();
    }
    table
}

fn opening(case: &Case) -> Option<String> {
    match case.opening {
        Opening::Connected => None,
        Opening::Silent => Some("at first".to_owned()),
        Opening::Query(query) => Some(format!("at `{query}`")),
        Opening::Subprotocol(name) => Some(format!("asked for by subprotocol, `{name}`")),
    }
}

fn code(text: &str) -> String {
    match text {
        "" => "a frame without bytes".to_owned(),
        text => format!("`{}`", text.replace('\n', "␤").replace('\r', "␍")),
    }
}

#[test]
fn protocol_document_has_the_cases_as_they_are_sent() {
    let document = include_str!("../../../../docs/protocol.md");
    let (_, of_document) = document.split_once("## Small cases").expect("the heading");
    let table = table();
    assert!(
        of_document.ends_with(&format!("\n\n{table}")),
        "it must end with:\n{table}"
    );
}
