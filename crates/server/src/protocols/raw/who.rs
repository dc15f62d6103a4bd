//! Who a raw client is: the token of its request, in each of its places, and what it says.

use std::{borrow::Cow, sync::Arc};

use access::token::{Overrides, Payload, SubscriptionClaims, TokenError};
use codec::Request;
use hub::{Details, Member, RoomName};
use runtime::Refused;
use tracing::debug;

use super::Refusal;
use crate::{
    moderation::Pass,
    tokens::{Tokens, Unverified},
    world::{World, now_s},
};

/// The subprotocol that clients ask for beside one that carries a token.
const SUBPROTOCOL: &str = "hubbub";

/// What a subprotocol with a token begins with.
const TOKEN_PREFIX: &str = "hubbub.token.";

/// The keys for rooms do not have the one that a token was signed with.
const UNKNOWN_KEY: Unverified = Unverified::Refused(TokenError::UnknownKey);

/// Who a raw client is.
#[derive(Default)]
pub struct Who {
    pub user: String,
    info: Option<Payload>,
    pub pass: Pass,
    pub expires_at: Option<i64>,
    /// Whether the token is for this room.
    pub is_for_room: bool,
    /// Whether the token lets its client publish, whatever the namespace says.
    pub publishes: bool,
    /// What the token changes of what the namespace offers.
    pub overrides: Overrides,
    /// Whether rates do not hold for it.
    is_unlimited: bool,
}

impl Who {
    /// Who shows a token that is for connections, or for this room.
    ///
    /// # Errors
    ///
    /// Why the token is not believed.
    pub fn shows(world: &World, token: &str, room: &RoomName) -> Result<Self, Unverified> {
        let now_s = now_s();
        let verified = match world.verify_connection(token, now_s) {
            Ok(claims) => Ok(Self {
                user: claims.user,
                info: claims.info,
                pass: Pass::of_token(claims.issued_at),
                expires_at: claims.expires_at,
                is_unlimited: claims.unlimited,
                ..Self::default()
            }),
            Err(why) if may_be_for_a_room(&world.tokens, &why) => {
                match world.verify_subscription(token, now_s) {
                    Ok(claims) if is_for(&claims, room) => Ok(Self {
                        user: claims.user,
                        info: claims.info,
                        pass: Pass::of_token(claims.issued_at),
                        expires_at: claims.expires_at,
                        is_for_room: true,
                        publishes: claims.publish,
                        overrides: claims.overrides,
                        is_unlimited: false,
                    }),
                    // It is a token for a room, and what is wrong with it is known.
                    Err(of_room) if of_room != UNKNOWN_KEY => Err(of_room),
                    Ok(_) | Err(_) => Err(why),
                }
            }
            Err(why) => Err(why),
        };
        // Anybody can cause it as often as they like, so it is not for everyday logs.
        verified.inspect_err(|why| debug!(%why, "a token was not believed"))
    }

    /// What others are told of it, whose connection has this id.
    pub fn told(&self, client: &str) -> (Arc<Member>, Arc<Details>) {
        let infos = (self.info.as_ref(), None);
        let user = self.user.as_str().into();
        super::super::centrifuge::told_of(client, &user, infos, self.is_unlimited)
    }
}

/// The id of a new connection.
pub fn new_client() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The subprotocol that the 101 names: never one with a token in it.
///
/// # Errors
///
/// A refusal with 400 if a token is offered without the subprotocol that goes with it.
pub fn subprotocol(request: &Request<'_>) -> Result<Option<&'static str>, Refusal> {
    let offered = || offered(request);
    if offered().any(|it| it == SUBPROTOCOL) {
        return Ok(Some(SUBPROTOCOL));
    }
    match offered().any(|it| it.starts_with(TOKEN_PREFIX)) {
        false => Ok(None),
        true => Err(Refusal::Other(
            400,
            format!(
                "A token in a subprotocol needs {SUBPROTOCOL} beside it: \
                 new WebSocket(url, [\"{SUBPROTOCOL}\", \"{TOKEN_PREFIX}...\"])."
            ),
            Refused::Subprotocol,
        )),
    }
}

/// The token of a request, which is not in its query: a bearer's (RFC 6750 section 2.1), or in a subprotocol.
pub fn token<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    let mut fields = request.fields("authorization");
    let bearer = fields.find_map(|field| str::from_utf8(field).ok()?.strip_prefix("Bearer "));
    let offered = || offered(request).find_map(|it| it.strip_prefix(TOKEN_PREFIX));
    bearer.or_else(offered).map(Cow::Borrowed)
}

fn offered<'a>(request: &Request<'a>) -> impl Iterator<Item = &'a str> {
    let fields = request.fields("sec-websocket-protocol");
    let texts = fields.filter_map(|field| str::from_utf8(field).ok());
    texts.flat_map(|text| text.split(',').map(str::trim))
}

/// Whether a token that is none for connections may be one for a room.
fn may_be_for_a_room(tokens: &Tokens, why: &Unverified) -> bool {
    tokens.are_separate() || matches!(why, Unverified::Refused(TokenError::BadClaim { .. }))
}

fn is_for(claims: &SubscriptionClaims, room: &RoomName) -> bool {
    claims.channel == room.as_str() && claims.client.is_none()
}
