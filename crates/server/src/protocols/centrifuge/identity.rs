//! Whose session it is, and what others are told of it.

use std::{borrow::Cow, sync::Arc};

use access::token::{ConnectionClaims, Payload};
use bytes::Bytes;
use centrifuge::{ClientInfo, Encoding, Publication, is_json};
use codec::Kind;
use hub::{Details, Member};

use super::{term::Term, wire::data_of};
use crate::{
    hooks::{HookKind, Hooks, Verdict},
    moderation::Pass,
    users::Place,
    world::publisher,
};

/// Whose session it is.
pub struct Identity {
    /// The user's id; empty for nobody.
    pub user: Arc<str>,
    /// What others see of this connection.
    info: Option<Payload>,
    /// The same, as a member of rooms.
    pub member: Arc<Member>,
    /// The same, beside each message that it publishes.
    pub details: Arc<Details>,
    /// When the connection's time is over, and who may let it go on.
    pub term: Term,
    /// What it has come in with, or shown since.
    pub pass: Pass,
    /// What back ends are told of the connection, if any are: a JSON text.
    pub meta: Option<Box<str>>,
    /// Whether rates do not hold for it.
    pub is_unlimited: bool,
    /// The place among the user's connections.
    pub place: Option<Place>,
}

impl Identity {
    /// Of a client with these claims.
    pub fn new(client: &str, claims: ConnectionClaims, has_token: bool, hooks: &Hooks) -> Self {
        let ConnectionClaims {
            user,
            info,
            expires_at,
            issued_at,
            meta,
            unlimited: is_unlimited,
            ..
        } = claims;
        let user: Arc<str> = user.into();
        let (member, details) = told_of(client, &user, (info.as_ref(), None), is_unlimited);
        Self {
            user,
            info,
            member,
            details,
            term: Term::until(expires_at, hooks.of(HookKind::Refresh).is_some()),
            pass: match has_token {
                true => Pass::of_token(issued_at),
                false => Pass::NONE,
            },
            meta: meta.filter(|_| hooks.include_meta()),
            is_unlimited,
            place: None,
        }
    }

    /// A back end says who this is from now on. Rooms that know who is in them go on as they are.
    pub fn renew(&mut self, client: &str, verdict: &Verdict) {
        if let Some(info) = &verdict.info {
            self.be_seen_as(client, info);
        }
        if let Some(meta) = &verdict.meta {
            self.meta = Some(meta.clone());
        }
    }

    /// Others see it so from now on.
    pub fn be_seen_as(&mut self, client: &str, info: &Payload) {
        let told = told_of(client, &self.user, (Some(info), None), self.is_unlimited);
        (self.member, self.details) = told;
        self.info = Some(info.clone());
    }

    /// What others are told of this connection in a room for which there is more to say.
    pub fn with_room_info(
        &self,
        client: &str,
        info: Option<&Payload>,
    ) -> (Arc<Member>, Option<Arc<Details>>) {
        match info {
            None => (self.member.clone(), None),
            Some(room) => {
                let infos = (self.info.as_ref(), Some(room));
                let (member, details) = told_of(client, &self.user, infos, self.is_unlimited);
                (member, Some(details))
            }
        }
    }
}

/// What others are told of a client: as a member of rooms, and beside its messages.
pub fn told_of(
    client: &str,
    user: &Arc<str>,
    (info, of_room): (Option<&Payload>, Option<&Payload>),
    is_unlimited: bool,
) -> (Arc<Member>, Arc<Details>) {
    // All subscribers get the same, and those of JSON need JSON.
    let (info, of_room) = (info.map(json_of), of_room.map(json_of));
    let info = ClientInfo {
        user: (&**user).into(),
        client: client.into(),
        conn_info: info.as_deref(),
        chan_info: of_room.as_deref(),
    };
    let member = Member {
        user: user.clone(),
        info: info.to_protobuf().into(),
    };
    let details = Details {
        meta: Bytes::from(Publication::meta(Some(&info), &[])),
        publisher: publisher(user, is_unlimited),
        ..Details::default()
    };
    (Arc::new(member), Arc::new(details))
}

/// A payload of a token as JSON: one that is none is a string in base64.
fn json_of(payload: &Payload) -> Cow<'_, [u8]> {
    let bytes = payload.as_bytes();
    let kind = match is_json(bytes) {
        true => Kind::Text,
        false => Kind::Binary,
    };
    data_of(Encoding::Json, kind, bytes)
}

/// What a client is handed with a subscription.
pub fn data_bytes(encoding: Encoding, data: Option<&Payload>) -> Box<[u8]> {
    match (encoding, data) {
        (_, None) => Box::default(),
        (Encoding::Json, Some(data)) => json_of(data).into(),
        (Encoding::Protobuf, Some(data)) => data.as_bytes().into(),
    }
}
