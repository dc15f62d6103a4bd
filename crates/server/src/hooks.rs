//! Decisions of a back end: what the server asks about over HTTP, and what the answers come to.
//!
//! ```text
//!  a session ─▶ Hook::ask ─▶ a place in the queue ─▶ a task on the thread `backend` ─▶ a place under way ─▶ POST
//!     ▲         (or refused at once)                                                                         │
//!     └──────── a command with the answer, offered until the core takes it ◀── answer.rs ◀───────────────────┘
//! ```
//!
//! - `request.rs` makes the bodies of requests, `headers.rs` says which header fields of a client go along
//! - `answer.rs` reads answers; `counts.rs` counts everything, and keeps the bounds; `load.rs` reads the settings
//!
//! *Bounded:* requests under way, those that wait, the bytes of both, the time of each from the question on, and the
//! bytes of an answer. *Never:* a core waits for a back end; a URL comes from anywhere but the configuration; a
//! redirect is followed; the text of an answer is logged.

mod answer;
mod counts;
mod headers;
mod load;
mod request;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use codec::Request;
use http_body_util::Full;
use hub::ConnectionId;
use hyper::{
    HeaderMap,
    header::{self, HeaderValue},
};
use strum::VariantArray;
use thiserror::Error;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{self, Instant},
};

use crate::{
    backend::{Bounds, Client, Failure, USER_AGENT},
    settings::Url,
    world::Live,
};

pub use answer::{Disconnection, Said, Verdict};
pub use counts::{Count, Counts, Fate};
pub use headers::{Field, HeadersError, Lists, is_forgeable, is_of_connection};
pub use load::{Loaded, load};
pub use request::Body;

use counts::Place;

/// What a back end is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray)]
pub enum HookKind {
    /// Who a client is that comes without a token.
    Connect,
    /// Whether a connection goes on whose time is over.
    Refresh,
    /// Whether a client may subscribe.
    Subscribe,
    /// What a client publishes.
    Publish,
    /// Whether a subscription goes on whose time is over.
    SubRefresh,
    /// What a method of the application returns.
    Rpc,
}

impl HookKind {
    /// Its name in settings and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::SubRefresh => "sub_refresh",
            Self::Rpc => "rpc",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::VARIANTS
            .iter()
            .copied()
            .find(|kind| kind.name() == name)
    }
}

/// What holds when a back end is slow or gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// No.
    #[default]
    Refuse,
    /// Yes, with nothing beside it.
    Allow,
}

/// All hooks that are configured.
#[derive(Debug, Default)]
pub struct Hooks {
    all: Vec<Arc<Hook>>,
    counts: Arc<Counts>,
}

/// One hook.
#[derive(Debug)]
pub struct Hook {
    kind: HookKind,
    url: Url,
    client: Client,
    /// The time from the question to the last byte of the answer.
    timeout: Duration,
    /// Most requests under way, each with a permit of these.
    under_way: Arc<Semaphore>,
    under_way_max: usize,
    /// Most that are under way or wait.
    asked_max: usize,
    /// Most bytes of all of them.
    bytes_max: usize,
    answer_bytes_max: usize,
    headers: Lists,
    on_failure: OnFailure,
    includes_meta: bool,
    counts: Arc<Counts>,
    backend: Handle,
}

/// A question of a session.
pub struct Ask {
    /// The body of the request.
    pub body: Vec<u8>,
    /// Header fields of the client.
    pub fields: HeaderMap,
    /// Whose session asks.
    pub from: ConnectionId,
    /// The session's own number of the question.
    pub number: u32,
    /// Gone with the session: then a question that has not been put yet is put no more.
    pub session: Weak<()>,
}

/// The answer to a question, as its session is handed it.
#[derive(Debug, PartialEq)]
pub struct Answered {
    /// The number of the question.
    pub number: u32,
    /// What it is.
    pub outcome: Result<Said, Failed>,
}

/// Why there is no answer that can be used. No text of it has anything of a URL but perhaps its host, or anything of an
/// answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failed {
    /// As many requests wait as may.
    #[error("as many requests wait for the back end as may (waiting_max, waiting_bytes_max)")]
    Crowded,
    /// Nothing in time.
    #[error("there was no whole answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The request failed, or its answer is none.
    #[error(transparent)]
    Request(#[from] Failure),
    /// The answer is not what it must be.
    #[error("the answer {0}")]
    Malformed(String),
    /// The client left before it was asked.
    #[error("the client has left")]
    Left,
}

impl Hooks {
    /// The hook of this kind, if one is configured.
    pub fn of(&self, kind: HookKind) -> Option<&Arc<Hook>> {
        self.all.iter().find(|hook| hook.kind == kind)
    }

    /// Whether there are any.
    pub fn are_any(&self) -> bool {
        !self.all.is_empty()
    }

    /// What becomes of all questions.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether a back end is told what tokens say for it.
    pub fn include_meta(&self) -> bool {
        self.all.iter().any(|hook| hook.includes_meta)
    }

    /// Those fields of a client's request that back ends are told.
    pub fn fields_of(&self, request: &Request<'_>) -> Vec<Field> {
        headers::of_request(self.all.iter().map(|hook| &hook.headers), request)
    }

    /// Those fields of a connect command that back ends are told.
    ///
    /// # Errors
    /// When one of them is none, or they are too long.
    pub fn fields_of_command<'a>(
        &self,
        fields: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Vec<Field>, HeadersError> {
        headers::of_command(self.all.iter().map(|hook| &hook.headers), fields)
    }
}

impl Hook {
    /// What it asks about.
    pub fn kind(&self) -> HookKind {
        self.kind
    }

    /// What holds when the back end is slow or gone.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// Whether the back end is told what a token says for it.
    pub fn includes_meta(&self) -> bool {
        self.includes_meta
    }

    /// The fields that go along, of those that a session has kept.
    pub fn fields(&self, kept: &[Field]) -> HeaderMap {
        self.headers.choose(kept)
    }

    /// Asks the back end; the session is handed an [`Answered`].
    ///
    /// # Errors
    /// When as many wait as may: then there is no answer to come.
    pub fn ask(self: &Arc<Self>, live: &Arc<Live>, ask: Ask) -> Result<(), Failed> {
        let bytes = ask.body.len() + REQUEST_BYTES;
        let place = self.counts.of(self.kind);
        let Some(place) = place.enter(bytes, self.asked_max, self.bytes_max) else {
            self.counts.of(self.kind).ended(Fate::Crowded, None);
            return Err(Failed::Crowded);
        };
        let (hook, live) = (self.clone(), live.clone());
        self.backend
            .spawn(async move { hook.answer(&live, ask, place).await });
        Ok(())
    }

    async fn answer(&self, live: &Live, ask: Ask, place: Place) {
        let began = Instant::now();
        let Ask {
            body,
            fields,
            from,
            number,
            session,
        } = ask;
        let request = self.request(body.into(), fields, &session, &place);
        let outcome = match time::timeout(self.timeout, request).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failed::TimedOut(self.timeout)),
        };
        let took = began.elapsed();
        self.counts
            .of(self.kind)
            .ended(Fate::of(&outcome), Some(took));
        let answered = Arc::new(Answered { number, outcome });
        // It keeps its place until then, so that no more answers wait for cores than questions may.
        while live.hand(from, answered.clone()).is_err() && session.strong_count() > 0 {
            time::sleep(OFFERED_AGAIN).await;
        }
        drop(place);
    }

    /// A request with this body, and these fields of the client.
    fn posted(
        &self,
        body: Bytes,
        fields: HeaderMap,
    ) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let request = hyper::Request::post(self.url.uri()).body(Full::new(body));
        let mut request = request.map_err(|error| Failure::Broken(error.to_string()))?;
        let headers = request.headers_mut();
        *headers = fields;
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, JSON);
        let own = HeaderValue::from_static(USER_AGENT);
        headers.entry(header::USER_AGENT).or_insert(own);
        Ok(request)
    }

    async fn request(
        &self,
        body: Bytes,
        fields: HeaderMap,
        session: &Weak<()>,
        place: &Place,
    ) -> Result<Said, Failed> {
        let under_way = self.under_way.acquire().await;
        if session.strong_count() == 0 {
            return Err(Failed::Left);
        }
        let _under_way = (under_way, place.begin());
        let bounds = Bounds {
            bytes_max: self.answer_bytes_max,
            time: self.timeout,
        };
        let request = self.posted(body, fields)?;
        let answer = self.client.document(request, bounds).await?;
        answer::read(self.kind, &answer).map_err(Failed::Malformed)
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a question takes beside its body: its task, the client's fields, and what the HTTP client keeps of it.
const REQUEST_BYTES: usize = 4096;

/// The time until an answer is offered again to a core that had no space for it.
const OFFERED_AGAIN: Duration = Duration::from_millis(5);
