//! Reading Protobuf without copying: fields of a message, and messages behind their length.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::Malformed;
use crate::message::Message;

/// The value of a field, as far as the wire tells its type.
#[derive(Clone, Copy)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// Of a type that no field of the schema has.
    Foreign,
}

impl<'a> Wire<'a> {
    pub(crate) fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed::Protobuf),
        }
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::Protobuf),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        simdutf8::basic::from_utf8(self.bytes()?).map_err(|_| Malformed::Utf8)
    }
}

/// Takes one field, its number and its value, from the beginning of a message's rest.
pub(crate) fn field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Wire<'a>), Malformed> {
    let broken = |_| Malformed::Protobuf;
    let (number, wire_type) = decode_key(rest).map_err(broken)?;
    let value = match wire_type {
        WireType::Varint => Wire::Varint(decode_varint(rest).map_err(broken)?),
        WireType::LengthDelimited => Wire::Bytes(delimited(rest)?),
        _ => {
            skip_field(wire_type, number, rest, DecodeContext::default()).map_err(broken)?;
            Wire::Foreign
        }
    };
    Ok((number, value))
}

/// Takes a length and as many bytes from the beginning of `rest`.
pub(crate) fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = decode_varint(rest).map_err(|_| Malformed::Length)?;
    let length = usize::try_from(length).map_err(|_| Malformed::Length)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Malformed::Length)?;
    *rest = behind;
    Ok(bytes)
}

/// Adds the fields of an encoded message to what `message` has already, as proto3 demands of a
/// message that occurs twice.
pub(crate) fn merge<'a, T: Message<'a>>(
    message: &mut T,
    mut rest: &'a [u8],
) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let (number, value) = field(&mut rest)?;
        message.merge_field(number, value)?;
    }
    Ok(())
}
