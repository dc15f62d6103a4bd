//! One declaration of a message for both encodings, and how a field of each type is read.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess};

use crate::Malformed;
use crate::json::{self, Fill, Text};
use crate::protobuf::{self, Wire};

/// A message whose fields come one by one. Unknown fields are ignored, and of a field that comes
/// twice the last value counts, in both encodings.
pub(crate) trait Message<'a>: Default {
    /// A field of Protobuf, by its number.
    fn merge_field(&mut self, number: u32, value: Wire<'a>) -> Result<(), Malformed>;

    /// A field of JSON, by its name; the value is next in `map`, and must be taken.
    fn read_field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error>;
}

/// What a message can have as a field. In JSON `null` is an absent value.
pub(crate) trait Field<'a> {
    fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed>;

    fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error>;
}

/// Declares a message as a table: number, name in JSON, field, type.
macro_rules! message {
    ($(#[$docs:meta])* $name:ident {
        $($(#[$field_docs:meta])* $number:literal $json:literal $field:ident: $type:ty,)*
    }) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct $name<'a> {
            $($(#[$field_docs])* pub $field: $type,)*
        }

        impl<'a> $crate::message::Message<'a> for $name<'a> {
            fn merge_field(
                &mut self,
                number: u32,
                value: $crate::protobuf::Wire<'a>,
            ) -> Result<(), $crate::Malformed> {
                match number {
                    $($number => $crate::message::Field::merge(&mut self.$field, value),)*
                    _ => Ok(()),
                }
            }

            fn read_field<M: serde::de::MapAccess<'a>>(
                &mut self,
                name: &str,
                map: &mut M,
            ) -> Result<(), M::Error> {
                match name {
                    $($json => $crate::message::Field::read(&mut self.$field, map),)*
                    _ => $crate::message::ignore(map),
                }
            }
        }
    };
}
pub(crate) use message;

/// Skips a value that nobody reads.
pub(crate) fn ignore<'a, M: MapAccess<'a>>(map: &mut M) -> Result<(), M::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// Implements [`Field`] for a number, which Protobuf sends as a varint in two's complement.
macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl<'a> Field<'a> for $type {
            fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed> {
                // proto3 has readers take the low bits of what is too large.
                *self = value.varint()? as $type;
                Ok(())
            }

            fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error> {
                if let Some(value) = map.next_value()? {
                    *self = value;
                }
                Ok(())
            }
        }
    )*};
}
numbers!(u32, i32, u64, i64);

impl<'a> Field<'a> for bool {
    fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed> {
        *self = value.varint()? != 0;
        Ok(())
    }

    fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        if let Some(value) = map.next_value()? {
            *self = value;
        }
        Ok(())
    }
}

impl<'a> Field<'a> for Cow<'a, str> {
    fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed> {
        *self = Cow::Borrowed(value.text()?);
        Ok(())
    }

    fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        if let Some(Text(text)) = map.next_value()? {
            *self = text;
        }
        Ok(())
    }
}

/// A payload: bytes in Protobuf, where empty and absent are the same; in JSON a value as it came,
/// also `null`.
impl<'a> Field<'a> for Option<&'a [u8]> {
    fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed> {
        *self = Some(value.bytes()?).filter(|bytes| !bytes.is_empty());
        Ok(())
    }

    fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        *self = Some(json::payload(map)?);
        Ok(())
    }
}

impl<'a, T: Message<'a>> Field<'a> for Option<T> {
    fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed> {
        protobuf::merge(self.get_or_insert_default(), value.bytes()?)
    }

    fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        let before = self.take();
        let was_there = before.is_some();
        let mut message = before.unwrap_or_default();
        if map.next_value_seed(Fill(&mut message))? || was_there {
            *self = Some(message);
        }
        Ok(())
    }
}

/// A message of which only the presence counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unread;

impl<'a> Message<'a> for Unread {
    fn merge_field(&mut self, _: u32, _: Wire<'a>) -> Result<(), Malformed> {
        Ok(())
    }

    fn read_field<M: MapAccess<'a>>(&mut self, _: &str, map: &mut M) -> Result<(), M::Error> {
        ignore(map)
    }
}
