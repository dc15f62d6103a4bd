//! What is refused before it is a call: each reason, with its answer in plain text.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use strum::{EnumDiscriminants, VariantArray};

/// Why a request is no call.
#[derive(Clone, PartialEq, Eq, Debug, EnumDiscriminants)]
#[strum_discriminants(name(Reason), derive(VariantArray), vis(pub))]
pub(super) enum Refused {
    /// Its Host is not among those by which the API may be called.
    Host,
    /// A page of another origin has sent it.
    Origin,
    /// It shows no key.
    NoKey,
    /// It shows a key that is not known.
    UnknownKey,
    /// Its key is not for this method.
    Right,
    /// There is no such method.
    Method,
    /// Its key has been used too often; the nanoseconds until it may be used again.
    TooFast(u64),
    /// Its body is too long.
    TooLong(usize),
    /// Its body cannot be taken in beside those of others.
    TooMuch,
    /// Its body has not come in time.
    Late,
    /// The body ended before it was whole.
    Broken,
    /// Its body is not what the method takes.
    Unparsable(String),
    /// It was not carried out in time.
    TimedOut,
    /// The cores have no room for what it asks.
    Full,
}

impl Reason {
    /// Its name in the metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::Right => "right",
            Self::Method => "method",
            Self::TooFast => "too_fast",
            Self::TooLong => "too_long",
            Self::TooMuch => "too_much",
            Self::Late => "late",
            Self::Broken => "broken",
            Self::Unparsable => "unparsable",
            Self::TimedOut => "timed_out",
            Self::Full => "full",
        }
    }
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Host | Self::Origin | Self::Right => StatusCode::FORBIDDEN,
            Self::NoKey | Self::UnknownKey => StatusCode::UNAUTHORIZED,
            Self::Method => StatusCode::NOT_FOUND,
            Self::TooFast(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Broken | Self::Unparsable(_) => StatusCode::BAD_REQUEST,
            Self::TooMuch | Self::TimedOut | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn sentence(&self) -> String {
        let sentence = match self {
            Self::Host => {
                "The API may not be called by this Host. List it in api_hosts; in dev, call it by localhost."
            }
            Self::Origin => {
                "Pages of this Origin may not call the API. List it in api_origins if they may."
            }
            Self::NoKey => {
                "The API needs a key: send it as X-API-Key, as Authorization: apikey KEY, or as ?api_key=KEY."
            }
            Self::UnknownKey => "The key is not known.",
            Self::Right => {
                "The key is not for this method: see methods and namespaces of its table [api_keys.NAME]."
            }
            Self::Method => {
                "There is no such method. GET /openapi.json describes all; they are called by POST /api/METHOD."
            }
            Self::TooFast(_) => "The key has been used more often than its rate permits.",
            Self::TooMuch => {
                "The bodies of other calls take all the memory that there is for them."
            }
            Self::Late => "The body did not come in time.",
            Self::Broken => "The body ended before it was whole.",
            Self::TimedOut => {
                "The call was not carried out in time. Whether it will be is not known: repeat a publication \
                 with its idempotency key."
            }
            Self::Full => "The server has as much to do as it can take.",
            Self::TooLong(most) => {
                return format!("The body is longer than {most} bytes (api_body_bytes_max).\n");
            }
            Self::Unparsable(why) => {
                return format!("The body is not what this method takes: {why}.\n");
            }
        };
        format!("{sentence}\n")
    }

    /// The seconds after which the same may go well.
    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::TooFast(ns) => Some(ns.div_ceil(1_000_000_000).max(1)),
            Self::TooMuch | Self::TimedOut | Self::Full => Some(1),
            _ => None,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut answer = (self.status(), self.sentence()).into_response();
        let fields = answer.headers_mut();
        if let Some(seconds) = self.retry_after_s() {
            fields.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("apikey");
            fields.insert(header::WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}
