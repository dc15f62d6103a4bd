//! JSON that is handed on as it came, and what its bytes must be before anything reads them.

use std::borrow::Cow;

use centrifuge::{JSON_DEPTH_MAX, is_json_object, nests_within};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::value::RawValue;
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
        true => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        false => Err("it is no JSON object".to_owned()),
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
