//! What becomes of a request: every upgrade gets a session, and everything else is told what this is.

use codec::Request;
use runtime::{Answer, Application, BodyForm, Lag, Opening, Pings, Route};

use crate::session::Commanded;

const PROTOCOL: &str = "many-rooms";

/// Takes all who come, whatever they ask for.
pub struct ManyRooms;

impl Application for ManyRooms {
    fn route(&self, request: &Request<'_>) -> Route {
        if !request.wants_upgrade() {
            return Route::Answer(Answer::text(
                200,
                "This is a WebSocket server of the bench.",
            ));
        }
        Route::Open(Opening {
            protocol: PROTOCOL,
            subprotocol: None,
            room: None,
            body: BodyForm::RAW,
            lag: Lag::Close,
            terms: None,
            pings: Pings::Frames,
            session: Box::<Commanded>::default(),
        })
    }

    fn protocols(&self) -> Vec<&'static str> {
        vec![PROTOCOL]
    }
}
