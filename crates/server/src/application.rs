//! Routes each request: to a session from the table of protocols, or to an answer of the site.

use std::{borrow::Cow, sync::Arc};

use codec::Request;
use hub::{Occupancy, RoomName, RuleBook};
use runtime::{Answer, Application, BatchInterval, BodyEncoder, Refused, Route};

use crate::{
    origin::{self, AllowList, Scheme},
    protocols::{self, Bodies},
    site::Site,
    world::Live,
};

/// Hubbub's application.
pub struct Hubbub {
    site: Site,
    scheme: Scheme,
    origins: AllowList,
    live: Arc<Live>,
}

impl Hubbub {
    /// Serves `site` and the table of protocols, to pages of this server and of listed origins.
    pub(crate) fn new(site: Site, scheme: Scheme, origins: AllowList, live: Arc<Live>) -> Self {
        Self {
            site,
            scheme,
            origins,
            live,
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
        protocols::names()
    }

    fn shown_path<'a>(&self, request: &Request<'a>) -> Cow<'a, str> {
        protocols::shown_path(request.path())
    }

    fn bodies(&self) -> Option<Arc<dyn BodyEncoder>> {
        Some(Arc::new(Bodies(self.live.clone())))
    }

    fn rules(&self) -> Arc<dyn RuleBook> {
        self.live.clone()
    }

    fn occupancy(&self) -> Option<Arc<dyn Occupancy>> {
        let is_wanted = self.live.events().is_some_and(|it| it.wants_occupancy());
        is_wanted.then(|| self.live.clone() as Arc<dyn Occupancy>)
    }

    fn batch_interval(&self, room: &RoomName) -> Option<BatchInterval> {
        self.live.now().batch_interval(room.as_str())
    }

    fn route(&self, request: &Request<'_>) -> Route {
        let world = self.live.now();
        let accepts_any = self.origins.accepts_any();
        let Some(asked) = protocols::select(request, &world, &self.live, accepts_any) else {
            return Route::Answer(match request.wants_upgrade() {
                true => self.site.no_endpoint(),
                false => self.page(request),
            });
        };
        // Before anything else is done for a page of another site.
        if asked.is_for_permitted_origins() && !self.is_origin_permitted(request) {
            let text = "Pages of this origin may not connect; allow_origin lists those that may.";
            let answer = Answer::text(403, text).refusing(Refused::Origin);
            // Or a cache might give it to pages that are permitted.
            return Route::Answer(answer.with("Vary", "Origin"));
        }
        asked.route()
    }
}
