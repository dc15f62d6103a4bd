//! The body of the fuzz target, which the corpus test runs too: any bytes as a frame, as a payload,
//! and as what travels inside the server.

use centrifuge::{
    Command, Commands, Encoding, Malformed, Method, Publication, Push, Reply, is_json,
};

/// The first byte chooses the encoding, and the others are the frame.
pub fn fuzz_centrifuge(bytes: &[u8]) {
    let Some((first, frame)) = bytes.split_first() else {
        return;
    };
    let encoding = match first % 2 {
        0 => Encoding::Json,
        _ => Encoding::Protobuf,
    };
    let commands = commands_keep_their_rules(encoding, frame);
    for command in commands.iter().flatten() {
        payload_is_spliced(encoding, command);
    }
    json_is_taken_as_it_came(frame);
    anything_is_written(frame);
}

/// Reads a frame at once and command by command.
fn commands_keep_their_rules(
    encoding: Encoding,
    frame: &[u8],
) -> Vec<Result<Command<'_>, Malformed>> {
    let whole: Vec<_> = Commands::new(encoding, frame).collect();
    assert!(!whole.is_empty(), "an empty frame is an error");
    assert!(whole.len() <= frame.len().max(1), "a command takes bytes");
    let errors = whole.iter().filter(|it| it.is_err()).count();
    assert!(errors == 0 || errors == 1 && whole[whole.len() - 1].is_err());
    let mut rest = frame;
    for expected in &whole {
        let mut commands = match rest.len() == frame.len() {
            true => Commands::new(encoding, rest),
            false => Commands::resume(encoding, rest),
        };
        assert_eq!(commands.next().as_ref(), Some(expected));
        assert!(frame.ends_with(commands.rest()));
        rest = commands.rest();
    }
    assert!(rest.is_empty());
    whole
}

/// What a client publishes stands in the push byte for byte.
fn payload_is_spliced(encoding: Encoding, command: &Command<'_>) {
    let (Method::Publish(publish), mut out) = (&command.method, Vec::new()) else {
        return;
    };
    let data = publish.data.unwrap_or_default();
    let publication = Publication {
        data,
        offset: command.id.into(),
        ..Publication::default()
    };
    encoding.append_push(&publish.channel, &Push::Publication(publication), &mut out);
    if encoding == Encoding::Json && !data.is_empty() {
        assert!(is_json(data));
        assert!(!out.contains(&b'\n'));
    }
    assert!(
        out.windows(data.len().max(1))
            .any(|it| data.is_empty() || it == data)
    );
}

/// What counts as JSON can be published, and comes as the text that it is.
fn json_is_taken_as_it_came(payload: &[u8]) {
    if !is_json(payload) || payload.contains(&b'\n') {
        return;
    }
    let line = [&br#"{"id":1,"publish":{"data":"#[..], payload, b"}}"].concat();
    let command = Commands::new(Encoding::Json, &line).next();
    let Some(Ok(Command {
        method: Method::Publish(publish),
        ..
    })) = command
    else {
        panic!("{command:?}");
    };
    assert_eq!(publish.data, Some(payload.trim_ascii()));
}

/// Bytes that travel inside the server may be wrong without harm.
fn anything_is_written(bytes: &[u8]) {
    let publication = Publication {
        meta: bytes,
        ..Publication::default()
    };
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let mut out = Vec::new();
        encoding.append_push("a", &Push::Publication(publication), &mut out);
        encoding.append_push("a", &Push::Join { info: bytes }, &mut out);
        encoding.append_reply(1, &Reply::Presence(&[("a", bytes)]), &mut out);
        assert!(!out.is_empty());
    }
}
