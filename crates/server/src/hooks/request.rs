//! The body of a request to a back end, in JSON.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;

/// What a back end is told. What does not belong to a question is left out.
#[derive(Debug, Default, Serialize)]
pub struct Body<'a> {
    /// The connection's id.
    pub client: &'a str,
    /// `websocket`, `sse`, `http_stream`, or one of these with `uni_` before it.
    pub transport: &'static str,
    /// `json` or `protobuf`.
    pub protocol: &'static str,
    /// What payloads are to the client: `json` or `binary`.
    pub encoding: &'static str,
    /// Whose connection it is; empty for nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<&'a str>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// The client's program, as it calls itself.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
    /// Its version.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub version: &'a str,
    /// The rooms that it asks for with its connect command.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub channels: Vec<&'a str>,
    /// The key of the message, in a room with the latest message of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// Whether that key is removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The client's data, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
    /// The client's data in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b64data: Option<String>,
    /// What the token, or the answer of a back end, says of the connection for back ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Box<RawValue>>,
}

impl<'a> Body<'a> {
    /// The same, with this data.
    #[must_use]
    pub fn with_data(mut self, data: Option<&'a [u8]>) -> Self {
        let Some(data) = data else {
            return self;
        };
        match serde_json::from_slice(data) {
            Ok(json) => self.data = Some(json),
            Err(_) => self.b64data = Some(BASE64_STANDARD.encode(data)),
        }
        self
    }

    /// The same, with what back ends are told of the connection.
    #[must_use]
    pub fn with_meta(mut self, meta: Option<&str>) -> Self {
        self.meta = meta.and_then(|meta| RawValue::from_string(meta.to_owned()).ok());
        self
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and JSON make JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_has_what_belongs_to_the_question_and_data_in_the_form_that_fits() {
        let body = |data: &'static [u8]| {
            let body = Body {
                client: "c",
                transport: "websocket",
                protocol: "json",
                encoding: "json",
                user: Some(""),
                channel: Some("a\"b"),
                ..Body::default()
            };
            String::from_utf8(
                body.with_data(Some(data))
                    .with_meta(Some("{\"m\": 1}"))
                    .to_bytes(),
            )
            .unwrap()
        };
        let head = r#"{"client":"c","transport":"websocket","protocol":"json","encoding":"json","user":"","channel":"a\"b","#;
        assert_eq!(
            body(b"{\"x\": 1.50}"),
            format!("{head}\"data\":{{\"x\": 1.50}},\"meta\":{{\"m\": 1}}}}")
        );
        assert_eq!(
            body(b"\x01\x02"),
            format!("{head}\"b64data\":\"AQI=\",\"meta\":{{\"m\": 1}}}}")
        );
        let bare = Body::default().with_data(None).with_meta(None).to_bytes();
        assert_eq!(
            bare,
            br#"{"client":"","transport":"","protocol":"","encoding":""}"#
        );
    }
}
