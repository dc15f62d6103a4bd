//! The protocol in Protobuf: the few messages and fields that these clients need.

use super::said::{Command, Connected, Publication, Reply, Said, Subscribed};
use anyhow::{Context as _, Result, bail};
use std::borrow::Cow;

/// A field's value, as the wire tells its type.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Value<'a> {
    fn number(self) -> Result<u64> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) | Self::Fixed => bail!("a field has another type than a number"),
        }
    }

    fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Fixed => bail!("a field has another type than bytes"),
        }
    }

    fn text(self) -> Result<Cow<'a, str>> {
        let text = str::from_utf8(self.bytes()?).context("a string is not UTF-8")?;
        Ok(Cow::Borrowed(text))
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().context("a number does not end")?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number is too long")
}

/// Takes a length and as many bytes as it says.
pub fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = usize::try_from(varint(rest)?)?;
    let (bytes, behind) = rest
        .split_at_checked(length)
        .context("a length is beyond the end")?;
    *rest = behind;
    Ok(bytes)
}

/// Calls `each` for all fields of a message.
fn fields<'a>(
    mut rest: &'a [u8],
    mut each: impl FnMut(u64, Value<'a>) -> Result<()>,
) -> Result<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let fixed = |rest: &mut &'a [u8], length| -> Result<Value<'a>> {
            *rest = rest.get(length..).context("a number does not end")?;
            Ok(Value::Fixed)
        };
        let value = match key & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => fixed(&mut rest, 8)?,
            2 => Value::Bytes(delimited(&mut rest)?),
            5 => fixed(&mut rest, 4)?,
            other => bail!("wire type {other}"),
        };
        each(key >> 3, value)?;
    }
    Ok(())
}

/// What a frame says.
pub fn read(mut frame: &[u8]) -> Result<Vec<Said<'_>>> {
    let mut said = Vec::new();
    while !frame.is_empty() {
        said.push(match delimited(&mut frame)? {
            [] => Said::Ping,
            reply => read_reply(reply)?,
        });
    }
    Ok(said)
}

fn read_reply(reply: &[u8]) -> Result<Said<'_>> {
    let (mut id, mut found, mut push) = (0, Reply::Other, None);
    fields(reply, |number, value| {
        match number {
            1 => id = u32::try_from(value.number()?)?,
            2 => found = Reply::Failed(number_of(value.bytes()?, 1)?),
            4 => push = Some(read_push(value.bytes()?)?),
            5 => found = Reply::Connected(read_connected(value.bytes()?)?),
            6 => found = Reply::Subscribed(read_subscribed(value.bytes()?)?),
            8 => found = Reply::Published,
            9 => found = Reply::Present(read_presence(value.bytes()?)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(push.unwrap_or(Said::Reply(id, found)))
}

fn read_push(push: &[u8]) -> Result<Said<'_>> {
    let (mut room, mut publication, mut ended, mut gone) = (Cow::Borrowed(""), None, None, None);
    fields(push, |number, value| {
        match number {
            2 => room = value.text()?,
            4 => publication = Some(read_publication(value.bytes()?)?),
            7 => ended = Some(number_of(value.bytes()?, 2)?),
            11 => gone = Some(number_of(value.bytes()?, 1)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(match (publication, ended, gone) {
        (Some(publication), ..) => Said::Publication(room, publication),
        (None, Some(code), _) => Said::Unsubscribed(room, code),
        (None, None, Some(code)) => Said::Disconnected(code),
        (None, None, None) => Said::Other,
    })
}

fn read_connected(connected: &[u8]) -> Result<Connected<'_>> {
    let mut read = Connected::default();
    fields(connected, |number, value| {
        match number {
            1 => read.client = value.text()?,
            9 => read.session = value.text()?,
            10 => read.node = value.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(read)
}

fn read_publication(publication: &[u8]) -> Result<Publication<'_>> {
    let mut read = Publication::default();
    fields(publication, |number, value| {
        match number {
            4 => read.data = value.bytes()?,
            6 => read.offset = value.number()?,
            11 => read.key = value.text()?,
            14 => read.epoch = value.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(read)
}

fn read_subscribed(subscribed: &[u8]) -> Result<Subscribed<'_>> {
    let mut read = Subscribed::default();
    fields(subscribed, |number, value| {
        match number {
            3 => read.recoverable = value.number()? != 0,
            6 => read.epoch = value.text()?,
            7 => read.publications.push(read_publication(value.bytes()?)?),
            8 => read.recovered = value.number()? != 0,
            9 => read.offset = value.number()?,
            16 => read.phase = u32::try_from(value.number()?)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(read)
}

/// The keys of a map.
fn read_presence(presence: &[u8]) -> Result<Vec<Box<str>>> {
    let mut ids = Vec::new();
    fields(presence, |number, value| {
        if number == 1 {
            ids.push(text_of(value.bytes()?, 1)?.into());
        }
        Ok(())
    })?;
    Ok(ids)
}

fn number_of(message: &[u8], field: u64) -> Result<u32> {
    let mut found = 0;
    fields(message, |number, value| {
        if number == field {
            found = u32::try_from(value.number()?)?;
        }
        Ok(())
    })?;
    Ok(found)
}

fn text_of(message: &[u8], field: u64) -> Result<Cow<'_, str>> {
    let mut text = Cow::Borrowed("");
    fields(message, |number, value| {
        if number == field {
            text = value.text()?;
        }
        Ok(())
    })?;
    Ok(text)
}

/// Appends a command to a frame.
pub fn append(id: u32, command: Command<'_>, frame: &mut Vec<u8>) {
    let (field, request) = match command {
        Command::Pong => return frame.push(0),
        Command::Connect(token) => {
            let token = token.map_or(Vec::new(), |token| of_bytes(1, token.as_bytes()));
            (4, [token, of_bytes(4, b"bench")].concat())
        }
        Command::Subscribe(room, from) => (5, subscription(room, from)),
        Command::SubscribeKeys(room) => (
            5,
            [
                of_bytes(1, room.as_bytes()),
                of_number(15, 1),
                of_number(16, 2),
            ]
            .concat(),
        ),
        Command::Publish(room, data) => (
            7,
            [of_bytes(1, room.as_bytes()), of_bytes(2, data)].concat(),
        ),
        Command::Set(room, key, data) => (
            7,
            [
                of_bytes(1, room.as_bytes()),
                of_bytes(2, data),
                of_number(3, 1),
                of_bytes(4, key.as_bytes()),
            ]
            .concat(),
        ),
        Command::Presence(room) => (8, of_bytes(1, room.as_bytes())),
    };
    let command = [of_number(1, id.into()), of_bytes(field, &request)].concat();
    put_varint(command.len() as u64, frame);
    frame.extend_from_slice(&command);
}

/// A request that brings commands to a stream.
pub fn emulation(session: &str, node: &str, frame: &[u8]) -> Vec<u8> {
    [
        of_bytes(1, node.as_bytes()),
        of_bytes(2, session.as_bytes()),
        of_bytes(3, frame),
    ]
    .concat()
}

fn subscription(room: &str, from: Option<(&str, u64)>) -> Vec<u8> {
    let mut request = [
        of_bytes(1, room.as_bytes()),
        of_number(9, 1),
        of_number(10, 1),
    ]
    .concat();
    if let Some((epoch, offset)) = from {
        request.extend(of_number(3, 1));
        request.extend(of_bytes(6, epoch.as_bytes()));
        request.extend(of_number(7, offset));
    }
    request
}

fn of_number(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(field << 3, &mut out);
    put_varint(value, &mut out);
    out
}

fn of_bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(field << 3 | 2, &mut out);
    put_varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message behind its length.
    fn behind_length(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(message.len() as u64, &mut out);
        out.extend_from_slice(message);
        out
    }

    #[test]
    fn publications_pings_and_replies_of_one_frame_are_read() {
        let publication = [
            of_bytes(4, b"x"),
            of_number(6, 300),
            of_bytes(11, b"k"),
            of_bytes(14, b"e"),
        ]
        .concat();
        let push = [of_bytes(2, b"r"), of_bytes(4, &publication)].concat();
        let error = of_bytes(2, &of_number(1, 103));
        let end = [of_bytes(2, b"r"), of_bytes(7, &of_number(2, 2500))].concat();
        let frame = [
            behind_length(&of_bytes(4, &push)),
            behind_length(&of_bytes(4, &end)),
            vec![0],
            behind_length(&of_bytes(4, &of_bytes(11, &of_number(1, 3012)))),
            behind_length(&[of_number(1, 7), error].concat()),
            behind_length(&[of_number(1, 8), of_bytes(8, b"")].concat()),
        ]
        .concat();
        let publication = Publication {
            data: b"x",
            offset: 300,
            epoch: "e".into(),
            key: "k".into(),
        };
        let expected = [
            Said::Publication("r".into(), publication),
            Said::Unsubscribed("r".into(), 2500),
            Said::Ping,
            Said::Disconnected(3012),
            Said::Reply(7, Reply::Failed(103)),
            Said::Reply(8, Reply::Published),
        ];
        assert_eq!(read(&frame).unwrap(), expected);
        for cut in 1..frame.len() {
            let _ = read(&frame[..cut]);
        }
        assert!(read(&[0xff; 12]).is_err());
    }

    #[test]
    fn presence_is_the_keys_of_the_map() {
        let entry = [of_bytes(1, b"id"), of_bytes(2, b"")].concat();
        let reply = [of_number(1, 2), of_bytes(9, &of_bytes(1, &entry))].concat();
        let frame = behind_length(&reply);
        let expected = Said::Reply(2, Reply::Present(vec!["id".into()]));
        assert_eq!(read(&frame).unwrap(), [expected]);
    }
}
