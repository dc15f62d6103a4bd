//! JSON that is handed on as it came, and what its bytes must be before anything reads them.

use std::borrow::Cow;

use centrifuge::{JSON_DEPTH_MAX, is_json_object, nests_within};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Number, value::RawValue};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, RefOr, Schema, schema::SchemaType},
};

/// Levels of a call around what it carries: an array of commands, a command, its request, a map of it.
const LEVELS: usize = 4;

/// Whether these bytes nest no deeper than a call may. They need not be JSON.
pub(super) fn is_flat_enough(body: &[u8]) -> bool {
    nests_within(body, JSON_DEPTH_MAX + LEVELS)
}

/// Any JSON value, with the bytes that it came with.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Json(Box<RawValue>);

impl Json {
    /// These bytes, if they are JSON.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.to_owned();
        RawValue::from_string(text).ok().map(Self)
    }

    /// A value as JSON.
    pub(super) fn made(value: &impl Serialize) -> Option<Self> {
        serde_json::value::to_raw_value(value).ok().map(Self)
    }

    /// `null`.
    pub(super) fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    pub(super) fn text(&self) -> &str {
        self.0.get()
    }

    /// Whether it is an object.
    pub(super) fn is_object(&self) -> bool {
        is_json_object(self.text().as_bytes())
    }

    /// Whether those who are sent it can be expected to read it.
    pub(super) fn is_flat_enough(&self) -> bool {
        nests_within(self.text().as_bytes(), JSON_DEPTH_MAX)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(Self)
    }
}

/// Reads an object. serde takes an array of its values for one, too.
pub(super) fn read_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match is_json_object(bytes) {
        true => serde_json::from_slice(bytes).map_err(|error| unread(&error)),
        false => Err("it is no JSON object".to_owned()),
    }
}

fn unread(error: &serde_json::Error) -> String {
    match error.is_data() {
        true => error.to_string(),
        false => format!("it is no JSON: {error}"),
    }
}

/// Reads a field that has an object, if it is there.
pub(super) fn object<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let object = Json::deserialize(from)?;
    let object = read_object(object.text().as_bytes());
    object.map(Some).map_err(D::Error::custom)
}

/// Reads a whole number, however it is written: `2.0` is one, too, as JSON Schema has it.
pub(super) fn whole<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: TryFrom<i64>,
    D: Deserializer<'de>,
{
    /// From here on not every whole number has a floating one.
    const FLOATING_MAX: f64 = 9_007_199_254_740_992.0;
    let number = Number::deserialize(from)?;
    let floating = || {
        let number = number.as_f64()?;
        let is_whole = number.fract() == 0.0 && number.abs() <= FLOATING_MAX;
        is_whole.then_some(number as i64)
    };
    let whole = number.as_i64().or_else(floating);
    let whole = whole.and_then(|whole| T::try_from(whole).ok());
    whole.ok_or_else(|| {
        D::Error::custom(format_args!("{number} is out of range, or no whole number"))
    })
}

/// Reads a field that is there, `null` included.
pub(super) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(from).map(Some)
}

impl PartialSchema for Json {
    fn schema() -> RefOr<Schema> {
        let any = Object::builder().schema_type(SchemaType::AnyValue);
        any.description(Some("Any JSON value.")).build().into()
    }
}

impl ToSchema for Json {
    fn name() -> Cow<'static, str> {
        "Json".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Read {
        #[serde(default, deserialize_with = "whole")]
        small: u32,
        #[serde(default, deserialize_with = "whole")]
        large: u64,
        #[serde(default, deserialize_with = "whole")]
        signed: i64,
    }

    fn read(text: &str) -> Result<(u32, u64, i64), String> {
        let read: Read = read_object(text.as_bytes())?;
        Ok((read.small, read.large, read.signed))
    }

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        assert_eq!(read("{}"), Ok((0, 0, 0)));
        assert_eq!(
            read(r#"{"small":7.0,"large":1e3,"signed":-2.0}"#),
            Ok((7, 1000, -2))
        );
        let most = format!(
            r#"{{"small":{},"large":{},"signed":{}}}"#,
            u32::MAX,
            i64::MAX,
            i64::MIN
        );
        assert_eq!(
            read(&most),
            Ok((u32::MAX, i64::MAX.cast_unsigned(), i64::MIN))
        );
        for number in [
            "-1",
            "4294967296",
            "1.5",
            "1e300",
            "\"1\"",
            "null",
            "true",
            "[1]",
        ] {
            assert!(
                read(&format!("{{\"small\":{number}}}")).is_err(),
                "{number}"
            );
        }
        for number in ["9223372036854775808", "-1", "1e17"] {
            assert!(
                read(&format!("{{\"large\":{number}}}")).is_err(),
                "{number}"
            );
        }
    }
}
