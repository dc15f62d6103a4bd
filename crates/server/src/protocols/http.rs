//! What pages need to read answers over HTTP: which of them may, and what caches and proxies must not do.
//!
//! Whether the Origin of a request is permitted at all is decided before anything else (`application.rs`); here
//! only the fields are made that tell a browser so (Fetch Standard, section 3.3, "HTTP CORS protocol").

use codec::Request;
use runtime::Answer;

/// Header fields of an answer.
pub type Fields = Vec<(&'static str, String)>;

/// For how long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_S: &str = "300";

/// What a request's Origin, which is permitted, comes to in the fields of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// It has none: whoever asks is no page.
    Unneeded,
    /// Pages of all origins may ask, but none with its visitors' credentials.
    Anybody,
    /// Pages of this origin may ask.
    Origin(String),
}

impl Cors {
    /// Of a request whose Origin is permitted.
    pub fn of(request: &Request<'_>, accepts_any: bool) -> Self {
        match request.origin().map(str::from_utf8) {
            None => Self::Unneeded,
            Some(_) if accepts_any => Self::Anybody,
            Some(Ok(origin)) => Self::Origin(origin.to_owned()),
            // None is permitted that is not text.
            Some(Err(_)) => Self::Unneeded,
        }
    }

    /// The fields of every answer. What one page gets, a cache must not give to another.
    pub fn fields(&self) -> Fields {
        let mut fields = vec![("Vary", "Origin".into())];
        match self {
            Self::Unneeded => {}
            Self::Anybody => fields.push(("Access-Control-Allow-Origin", "*".into())),
            Self::Origin(origin) => fields.extend([
                ("Access-Control-Allow-Origin", origin.clone()),
                ("Access-Control-Allow-Credentials", "true".into()),
            ]),
        }
        fields
    }

    /// The fields of a stream of this media type. Proxies are not to gather it, nor caches to keep it.
    pub fn of_stream(&self, media_type: &str) -> Fields {
        let mut fields = self.fields();
        fields.extend([
            ("Content-Type", media_type.to_owned()),
            ("Cache-Control", "no-store".into()),
            ("X-Accel-Buffering", "no".into()),
        ]);
        fields
    }

    /// Adds the fields to an answer.
    pub fn add_to(&self, mut answer: Answer) -> Answer {
        answer.fields.extend(self.fields());
        answer
    }

    /// The answer to a browser that asks whether a page may send such a request (a preflight), and to anybody
    /// else who asks for the methods.
    pub fn preflight(&self, request: &Request<'_>, methods: &[&str]) -> Answer {
        let methods = allowed(methods);
        let mut answer = self.add_to(Answer {
            status: 204,
            fields: vec![("Allow", methods.clone())],
            body: bytes::Bytes::new(),
            refused: None,
            keep: true,
        });
        if *self == Self::Unneeded {
            return answer;
        }
        answer.fields.extend([
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Max-Age", PREFLIGHT_S.into()),
        ]);
        let asked = request.field("access-control-request-headers");
        if let Some(names) = asked.and_then(names) {
            answer.fields.push(("Access-Control-Allow-Headers", names));
        }
        answer
    }

    /// The answer to a method that does not fit.
    pub fn method_not_allowed(&self, methods: &[&str]) -> Answer {
        let methods = allowed(methods);
        let answer = Answer::text(405, &format!("This path takes other methods: {methods}."));
        self.add_to(answer.with("Allow", methods))
    }
}

/// These methods, and that by which they are asked for.
fn allowed(methods: &[&str]) -> String {
    [methods, &["OPTIONS"]].concat().join(", ")
}

/// The names of fields that a page wants to send, if they are names at all. All may be sent: what is not looked
/// for does nothing.
fn names(value: &[u8]) -> Option<String> {
    let is_of_names =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b',' | b' ');
    let text = str::from_utf8(value).ok()?;
    value.iter().all(is_of_names).then(|| text.to_owned())
}
