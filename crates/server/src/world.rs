//! What all sessions share: who may come in, which rules hold for rooms, and how the two are asked.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use access::{
    Namespace, Namespaces, Room,
    namespace::{JoinLeave, Offer},
    token::{TokenError, Verifier},
};
use hub::{HistoryLimits, RoomName, RoomRules, RuleBook};

/// Up to how many members each who comes and goes is announced to the others.
const ANNOUNCED_MEMBERS_MAX: usize = 1_000;

/// Who may be in a server at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Openness {
    /// Who shows a token, and others where the configuration says so.
    #[default]
    Configured,
    /// Everybody on this machine: for development.
    Dev,
}

/// The verifier of tokens, if any keys are configured.
#[derive(Debug, Default)]
pub struct Tokens {
    /// Of connections and of subscriptions.
    pub connections: Option<Verifier>,
}

/// What all sessions share.
#[derive(Debug)]
pub struct World {
    /// The rules of rooms.
    pub namespaces: Namespaces,
    /// What the homes of rooms need of these rules.
    kept: Vec<(Arc<Namespace>, Arc<RoomRules>)>,
    /// Who shows who it is, and how.
    pub tokens: Tokens,
    /// What else the settings say.
    pub settled: Settled,
}

/// What the settings say of clients beside tokens and rules.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// Whether clients of a protocol with identities may connect without a token.
    pub lets_anonymous_in: bool,
    /// Who may be here at all.
    pub openness: Openness,
    /// How often the server asks a client for a sign of life, in seconds.
    pub ping_s: u32,
    /// The bound on rooms of one connection.
    pub rooms_per_connection_max: usize,
    /// The longest time from the opening of a connection to its first command.
    pub connect: Duration,
}

impl World {
    /// A world with these rules.
    pub fn new(namespaces: Namespaces, tokens: Tokens, settled: Settled) -> Self {
        let kept = namespaces.all().map(|rules| {
            let kept = Arc::new(rules_of(rules));
            (rules.clone(), kept)
        });
        Self {
            kept: kept.collect(),
            namespaces,
            tokens,
            settled,
        }
    }

    /// Whether subscribers of the room are told the positions of its messages.
    pub fn has_positions(&self, room: &str) -> bool {
        self.namespaces.of(room).is_ok_and(|room| {
            let rules = room.rules;
            rules.history.is_kept() || rules.positions != Offer::Off
        })
    }

    /// Whether the room knows who is in it.
    pub fn has_presence(&self, room: &str) -> bool {
        let room = self.namespaces.of(room);
        room.is_ok_and(|room| room.rules.presence)
    }

    /// Who a subscription token lets into which room.
    ///
    /// # Errors
    /// When the token is not to be believed, or there are no keys.
    pub fn subscription(
        &self,
        token: &str,
        now_s: i64,
    ) -> Result<access::token::SubscriptionClaims, TokenError> {
        let verifier = self.tokens.connections.as_ref();
        let verifier = verifier.ok_or(TokenError::UnknownKey)?;
        verifier.verify_subscription(token, now_s)
    }
}

/// The wall clock, in seconds since 1970.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

impl RuleBook for World {
    fn rules(&self, name: &RoomName) -> Arc<RoomRules> {
        let Ok(Room { rules, .. }) = self.namespaces.of(name.as_str()) else {
            return Arc::default();
        };
        let mut kept = self.kept.iter();
        let found = kept.find(|(of, _)| Arc::ptr_eq(of, rules));
        found.map_or_else(Arc::default, |(_, kept)| kept.clone())
    }
}

/// What a room's home has to know of the rules of its namespace.
fn rules_of(rules: &Namespace) -> RoomRules {
    let history = rules.history;
    RoomRules {
        history: history.is_kept().then(|| HistoryLimits {
            messages: history.size as usize,
            bytes: history.bytes_max,
            ttl_ms: u64::try_from(history.ttl.as_millis()).unwrap_or(u64::MAX),
        }),
        keeps_position: history.is_kept() || rules.positions != Offer::Off,
        has_presence: rules.presence,
        announced_members_max: match rules.join_leave {
            JoinLeave::Off => 0,
            JoinLeave::Asked | JoinLeave::Forced => ANNOUNCED_MEMBERS_MAX,
        },
    }
}
