//! Routes each request: to a session from the table of protocols, or to an answer of the site.

use std::borrow::Cow;

use codec::Request;
use runtime::{Answer, Application, Refused, Route};

use crate::{
    origin::{self, AllowList, Scheme},
    protocols,
    site::Site,
};

/// Hubbub's application.
pub struct Hubbub {
    site: Site,
    scheme: Scheme,
    origins: AllowList,
}

impl Hubbub {
    /// Serves `site` and the table of protocols, to pages of this server and of listed origins.
    pub fn new(site: Site, scheme: Scheme, origins: AllowList) -> Self {
        Self {
            site,
            scheme,
            origins,
        }
    }

    /// A request without an Origin does not come from a browser, and is accepted. Otherwise it must
    /// have exactly one, which must be permitted (RFC 6455 section 10.2).
    fn is_origin_permitted(&self, request: &Request<'_>) -> bool {
        let mut fields = request.fields("origin");
        let origin = fields.next();
        fields.next().is_none()
            && origin::allowed(origin, request.host(), self.scheme, &self.origins)
    }

    fn page(&self, request: &Request<'_>) -> Answer {
        let known: Vec<_> = request.fields("if-none-match").collect();
        let known = (!known.is_empty()).then(|| known.join(&b","[..]));
        self.site
            .answer(request.method(), request.path(), known.as_deref())
    }
}

impl Application for Hubbub {
    fn protocols(&self) -> Vec<&'static str> {
        protocols::TABLE.iter().map(|it| it.name).collect()
    }

    fn shown_path<'a>(&self, request: &Request<'a>) -> Cow<'a, str> {
        protocols::shown_path(request.path())
    }

    fn route(&self, request: &Request<'_>) -> Route {
        match protocols::select(request) {
            None if request.wants_upgrade() => Route::Answer(self.site.no_endpoint()),
            None => Route::Answer(self.page(request)),
            Some(Err(error)) => {
                let answer = Answer::text(404, &format!("{error}."));
                Route::Answer(answer.refusing(Refused::RoomName))
            }
            Some(Ok(_)) if request.wants_upgrade() && !self.is_origin_permitted(request) => {
                let text =
                    "Pages of this origin may not connect; allow_origin lists those that may.";
                Route::Answer(Answer::text(403, text).refusing(Refused::Origin))
            }
            Some(Ok(opening)) => Route::Open(opening),
        }
    }
}
