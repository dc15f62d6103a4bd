//! What a token says once it is believed.
//!
//! Claims that are not listed here are ignored. One of another type than it must have is an error,
//! also `null`: a claim that is misread as absent could grant what it was to forbid.

use std::collections::BTreeMap;

use super::{
    error::TokenError,
    json::{Fault, Object},
    rules::Common,
};

/// Something that the application attached, which is handed on and never looked into.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Payload {
    /// A JSON text, exactly as it stands in the token; between its parts it may have line breaks.
    Json(Box<str>),
    /// The bytes of a claim in base64, which may be anything.
    Bytes(Box<[u8]>),
}

impl Payload {
    /// The bytes to hand on.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Who somebody is, and what their connection is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionClaims {
    /// The user: `sub`, or the claim that is configured. Empty for an anonymous one.
    pub user: String,
    /// The second, since 1970, by which the connection needs a new token: `expire_at` (0: never), or
    /// `exp`, with the leeway, and in a year at the latest. It is later than when the token was
    /// verified. `None`: never.
    pub expires_at: Option<i64>,
    /// When the token was made, in seconds since 1970 (`iat`).
    pub issued_at: Option<i64>,
    /// The token's own name (`jti`).
    pub token_id: Option<String>,
    /// What others see of this connection (`info`, or `b64info`).
    pub info: Option<Payload>,
    /// What back ends are told of this connection, and peers never (`meta`): a JSON text.
    pub meta: Option<Box<str>>,
    /// The channels to which the server subscribes the connection: `subs`, or those of `channels` if
    /// `subs` has none.
    pub subscriptions: BTreeMap<String, ServerSubscription>,
    /// Whether messages of this connection are exempt from rates (`unlimited`, a claim of this server:
    /// `true` for a trusted program, such as a game's own server). All other bounds hold for it.
    pub unlimited: bool,
}

/// A subscription that the server makes for a connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerSubscription {
    /// What others in the channel see of it (`info`, or `b64info`).
    pub info: Option<Payload>,
    /// What the subscriber is handed with the subscription (`data`, or `b64data`).
    pub data: Option<Payload>,
    /// Options that differ from those of the channel's namespace (`override`).
    pub overrides: Overrides,
}

/// Options of a namespace that a token sets for one subscription; `None` leaves the namespace's. `join_leave` is read
/// and changes nothing, because whoever is present is announced where the namespace announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "they are the options of the same names")]
pub struct Overrides {
    pub presence: Option<bool>,
    pub join_leave: Option<bool>,
    pub force_push_join_leave: Option<bool>,
    pub force_positioning: Option<bool>,
    pub force_recovery: Option<bool>,
}

/// That somebody may subscribe to a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscriptionClaims {
    /// The user who may; the one of the connection must be the same. Empty for an anonymous one.
    pub user: String,
    /// The channel, never empty; the one that is asked for must be the same.
    pub channel: String,
    /// The connection's identifier, if it may be used by that connection alone (`client`).
    pub client: Option<String>,
    /// The second, since 1970, by which the subscription needs a new token, as with
    /// [`ConnectionClaims::expires_at`].
    pub expires_at: Option<i64>,
    /// When the token was made, in seconds since 1970 (`iat`).
    pub issued_at: Option<i64>,
    /// The token's own name (`jti`).
    pub token_id: Option<String>,
    /// What others in the channel see of it (`info`, or `b64info`).
    pub info: Option<Payload>,
    /// What the subscriber is handed with the subscription (`data`, or `b64data`).
    pub data: Option<Payload>,
    /// Options that differ from those of the channel's namespace (`override`).
    pub overrides: Overrides,
    /// Whether the subscriber may publish in the channel, too (`publish`, a claim of this server).
    pub publish: bool,
}

impl ConnectionClaims {
    pub(super) fn read(claims: &Object<'_>, common: Common) -> Result<Self, TokenError> {
        if claims.has("channel") {
            return Err(TokenError::claim(
                "channel",
                "belongs into subscription tokens only",
            ));
        }
        Ok(Self {
            user: common.user,
            expires_at: common.expires_at,
            issued_at: common.issued_at,
            token_id: common.token_id,
            info: claims.payload("info", "b64info")?,
            meta: claims.raw("meta").map(Into::into),
            subscriptions: subscriptions(claims)?,
            unlimited: claims.boolean("unlimited")?.unwrap_or_default(),
        })
    }
}

impl SubscriptionClaims {
    pub(super) fn read(claims: &Object<'_>, common: Common) -> Result<Self, TokenError> {
        let channel = claims
            .string("channel")?
            .filter(|channel| !channel.is_empty());
        let missing = || {
            TokenError::claim(
                "channel",
                "is missing, without which a token is none for subscriptions",
            )
        };
        Ok(Self {
            user: common.user,
            channel: channel.ok_or_else(missing)?,
            client: claims.string("client")?.filter(|client| !client.is_empty()),
            expires_at: common.expires_at,
            issued_at: common.issued_at,
            token_id: common.token_id,
            info: claims.payload("info", "b64info")?,
            data: claims.payload("data", "b64data")?,
            overrides: overrides(claims)?,
            publish: claims.boolean("publish")?.unwrap_or_default(),
        })
    }
}

fn subscriptions(claims: &Object<'_>) -> Result<BTreeMap<String, ServerSubscription>, TokenError> {
    let channels = claims.strings("channels")?.unwrap_or_default();
    let plain = channels
        .into_iter()
        .map(|channel| (channel, ServerSubscription::default()));
    let Some(subs) = claims.object("subs")? else {
        return Ok(plain.collect());
    };
    let of_channel = |(channel, sub): (String, Result<Object<'_>, _>)| {
        let sub = sub.map_err(|said| TokenError::claim("subs", said))?;
        let subscription = ServerSubscription {
            info: sub.payload("info", "b64info")?,
            data: sub.payload("data", "b64data")?,
            overrides: overrides(&sub)?,
        };
        Ok((channel, subscription))
    };
    let detailed: BTreeMap<_, _> = subs
        .into_objects()
        .map(of_channel)
        .collect::<Result<_, TokenError>>()?;
    if detailed.is_empty() {
        return Ok(plain.collect());
    }
    Ok(detailed)
}

fn overrides(of: &Object<'_>) -> Result<Overrides, TokenError> {
    let Some(options) = of.object("override")? else {
        return Ok(Overrides::default());
    };
    let value = |name| {
        let option = options.object(name)?;
        let value = option.map(|option| option.boolean("value").map_err(|fault| fault.said));
        let bad = |_| TokenError::claim(name, "must be an object with the boolean `value`");
        Ok::<_, TokenError>(value.transpose().map_err(bad)?.flatten())
    };
    Ok(Overrides {
        presence: value("presence")?,
        join_leave: value("join_leave")?,
        force_push_join_leave: value("force_push_join_leave")?,
        force_positioning: value("force_positioning")?,
        force_recovery: value("force_recovery")?,
    })
}

impl From<Fault<'_>> for TokenError {
    fn from(fault: Fault<'_>) -> Self {
        Self::claim(fault.member, fault.said)
    }
}
