//! What all sessions share: who may come in, which rules hold for rooms, and how the two are asked.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use access::{
    Name, Namespace, Namespaces, Room, What,
    namespace::{Effect, JoinLeave, Offer, RoomKind},
    token::{ConnectionClaims, SubscriptionClaims},
};
use arc_swap::{ArcSwap, Guard};
use hub::{
    ConnectionId, HistoryLimits, Pace, Publisher, RoomName, RoomRules, RuleBook, TableLimits,
};
use runtime::{BatchInterval, Command, CommandRefused, Commander, Desk, Rate};
use tracing::warn;

use crate::{
    events::{Sink, Witness},
    hooks::Hooks,
    moderation::{Moderated, Moderation, Pass},
    oneshot::OneShots,
    protocols::InTransit,
    tokens::{Tokens, Unverified},
    users::Users,
};

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

/// What all sessions share.
#[derive(Debug)]
pub struct World {
    /// The rules of rooms.
    pub namespaces: Namespaces,
    /// What the homes of rooms need of these rules.
    kept: Vec<(Arc<Namespace>, Arc<RoomRules>)>,
    /// Who shows who it is, and how.
    pub tokens: Tokens,
    /// Who is kept out, and what is revoked.
    pub moderation: Arc<Moderation>,
    /// What back ends decide.
    pub hooks: Hooks,
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
    /// Most bytes of missed messages in one answer.
    pub recovered_bytes_max: usize,
    /// Most bytes of a message.
    pub message_bytes_max: usize,
    /// Most bytes of commands that wait for a session to which they come by requests of their own.
    pub emulation_waiting_bytes_max: usize,
    /// Most bytes of such requests, of all sessions, that are on their way to the sessions' cores.
    pub in_transit_bytes_max: usize,
    /// The longest time from the opening of a connection to its first command.
    pub connect: Duration,
    /// How often a connection may command something, unless its token says that there is no bound.
    pub command_rate: Option<Rate>,
    /// The bound on connections of one user.
    pub user_connections_max: usize,
    /// Whether a user's new connection ends its older ones.
    pub single_connection: bool,
    /// The bound on one-shot rooms.
    pub one_shot_rooms_max: usize,
    /// How often one address may make a one-shot room.
    pub one_shot_rate: Option<Rate>,
    /// The bound on addresses whose one-shot rooms are counted.
    pub addresses_max: usize,
}

/// The world of now, which a reload replaces for all sessions at once, and what outlives it.
pub struct Live {
    now: ArcSwap<World>,
    /// How many connections each user has.
    pub users: Arc<Users>,
    /// The one-shot rooms.
    pub one_shots: Arc<OneShots>,
    /// Speaks to connections, once the server runs.
    commander: OnceLock<Commander>,
    /// Publishes in rooms and asks about them, once the server runs.
    desk: OnceLock<Desk>,
    /// Where events are told, if anybody wants them.
    events: OnceLock<Arc<Sink>>,
    /// The name of this process among all that may serve one site.
    node: Arc<str>,
    /// Requests with commands on their way to the cores of their sessions.
    pub in_transit: Arc<InTransit>,
}

/// The rules of these rooms do not hold any more for who is in them.
#[derive(Debug)]
pub struct RulesChanged {
    /// The namespaces, `None` for the rooms without one; or all rooms.
    rooms: Option<Vec<Option<Box<str>>>>,
}

/// Another connection of the user has come, and only one may be.
#[derive(Debug)]
pub struct Superseded {
    /// The connection that stays.
    pub by: ConnectionId,
}

impl Live {
    /// Begins with this world.
    pub fn new(world: World) -> Arc<Self> {
        Arc::new(Self {
            now: ArcSwap::from_pointee(world),
            users: Arc::default(),
            one_shots: OneShots::new(),
            commander: OnceLock::new(),
            desk: OnceLock::new(),
            events: OnceLock::new(),
            node: uuid::Uuid::new_v4().to_string().into(),
            in_transit: Arc::default(),
        })
    }

    /// The world of now.
    pub fn now(&self) -> Guard<Arc<World>> {
        self.now.load()
    }

    /// The server runs, and its connections and rooms can be spoken to.
    pub fn serving(&self, commander: Commander, desk: Desk) {
        self.one_shots.serving(commander.clone());
        let _ = self.commander.set(commander);
        let _ = self.desk.set(desk);
    }

    /// Speaks to connections, for whoever is not one; `None` before the server runs.
    pub fn commander(&self) -> Option<&Commander> {
        self.commander.get()
    }

    /// Publishes in rooms and asks about them, for whoever is not connected; `None` before the server runs.
    pub fn desk(&self) -> Option<&Desk> {
        self.desk.get()
    }

    /// Events are told there from now on.
    pub fn tells(&self, events: Arc<Sink>) {
        let _ = self.events.set(events);
    }

    /// Where events are told, if anybody wants them.
    pub fn events(&self) -> Option<&Arc<Sink>> {
        self.events.get()
    }

    /// Who tells what happens to a connection, if anybody wants to know it.
    pub fn witness(
        self: &Arc<Self>,
        client: &str,
        user: &Arc<str>,
        protocol: &'static str,
    ) -> Option<Witness> {
        let sink = self.events()?.clone();
        Some(Witness::new(sink, self.clone(), client, user, protocol))
    }

    /// The name of this process among all that may serve one site.
    pub fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Hands on to a connection what a peer has sent for it.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if its core has no space for what peers send.
    pub fn relay<T: Send + Sync + 'static>(
        &self,
        connection: ConnectionId,
        sent: T,
    ) -> Result<(), CommandRefused> {
        let commander = self.commander.get().ok_or(CommandRefused)?;
        commander.relay(connection, Arc::new(sent))
    }

    /// Hands a connection a command of the application's own.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if its core has no space for it.
    pub fn hand<T: Send + Sync + 'static>(
        &self,
        connection: ConnectionId,
        command: Arc<T>,
    ) -> Result<(), CommandRefused> {
        let commander = self.commander.get().ok_or(CommandRefused)?;
        commander.connection(connection, Command::Hand(command))
    }

    /// Goes on with another world. Who is kept out stays so. Returns what is to be told to the connections that
    /// exist.
    pub fn replace(&self, mut world: World) -> Option<RulesChanged> {
        world.moderation = self.now().moderation.clone();
        let before = self.now.swap(Arc::new(world));
        let now = self.now.load();
        RulesChanged::between(&before.namespaces, &now.namespaces)
    }

    /// Whether the room of this name is a one-shot room, or was made as one.
    pub fn is_one_shot(&self, room: &str) -> bool {
        self.now().namespaces.is_one_shot(room) || self.one_shots.has(room)
    }

    /// Tells all connections that rules have changed.
    pub fn tell(&self, changed: RulesChanged) {
        let command = Command::Hand(Arc::new(changed));
        if let Some(Err(_)) = self.commander.get().map(|it| it.everyone(&command)) {
            warn!(
                "a core has no space for the news that rules of rooms have changed: its clients keep the old \
                 ones until they subscribe again (commands_max)"
            );
        }
    }

    /// Has the connections of a user, or of all users, look whether they are still to be here.
    ///
    /// # Errors
    ///
    /// [`CommandRefused`] if a core has no space for it: connections there stay until they command something.
    pub fn moderate(&self, user: Option<&str>) -> Result<(), CommandRefused> {
        let Some(commander) = self.commander.get() else {
            return Ok(());
        };
        let command = Command::Hand(Arc::new(Moderated));
        match user {
            Some(user) => commander.user(user, command),
            None => commander.everyone(&command),
        }
    }

    /// A connection of this user has come; where one user has one connection, the older ones are told to end.
    pub fn came(&self, user: &str, by: ConnectionId) {
        if !self.now().settled.single_connection {
            return;
        }
        let command = Command::Hand(Arc::new(Superseded { by }));
        if let Some(Err(_)) = self.commander.get().map(|it| it.user(user, command)) {
            warn!("a core has no space to end a user's older connections (commands_max)");
        }
    }
}

impl RulesChanged {
    fn between(old: &Namespaces, new: &Namespaces) -> Option<Self> {
        let changes = Namespaces::changes(old, new);
        let mut rooms = Vec::new();
        for change in changes {
            if change.effect() != Effect::Unsubscribed {
                continue;
            }
            match change.what {
                What::Closed | What::Opened => return Some(Self { rooms: None }),
                _ => rooms.push(change.of.0.map(Into::into)),
            }
        }
        (!rooms.is_empty()).then_some(Self { rooms: Some(rooms) })
    }

    /// Whether it concerns the room of this name.
    pub fn concerns(&self, room: &str) -> bool {
        let Some(rooms) = &self.rooms else {
            return true;
        };
        let namespace = Name::parse(room).ok().and_then(|name| name.namespace);
        rooms.iter().any(|it| it.as_deref() == namespace)
    }
}

impl World {
    /// A world with these rules.
    pub fn new(namespaces: Namespaces, tokens: Tokens, hooks: Hooks, settled: Settled) -> Self {
        let kept = namespaces.all().map(|rules| {
            let kept = Arc::new(rules_of(rules));
            (rules.clone(), kept)
        });
        Self {
            kept: kept.collect(),
            namespaces,
            tokens,
            moderation: Arc::default(),
            hooks,
            settled,
        }
    }

    /// The same world, out of which these keep some.
    #[must_use]
    pub fn moderated(self, moderation: Arc<Moderation>) -> Self {
        Self { moderation, ..self }
    }

    /// Who a connection token says somebody is, if it holds.
    ///
    /// # Errors
    /// When the token is not to be believed, or there are no keys.
    pub fn verify_connection(
        &self,
        token: &str,
        now_s: i64,
    ) -> Result<ConnectionClaims, Unverified> {
        let claims = self.tokens.verify_connection(token, now_s)?;
        match self
            .moderation
            .is_revoked(&claims.user, Pass::of_token(claims.issued_at))
        {
            true => Err(Unverified::Revoked),
            false => Ok(claims),
        }
    }

    /// Who a subscription token lets into which room, if it holds.
    ///
    /// # Errors
    /// When the token is not to be believed, or there are no keys.
    pub fn verify_subscription(
        &self,
        token: &str,
        now_s: i64,
    ) -> Result<SubscriptionClaims, Unverified> {
        let claims = self.tokens.verify_subscription(token, now_s)?;
        match self
            .moderation
            .is_revoked(&claims.user, Pass::of_token(claims.issued_at))
        {
            true => Err(Unverified::Revoked),
            false => Ok(claims),
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

    /// Whether the back end is told who comes and goes in the room.
    pub fn tells_of(&self, room: &str) -> bool {
        let room = self.namespaces.of(room);
        room.is_ok_and(|room| room.rules.events)
    }

    /// For how long the room's messages are gathered before they leave, if they are.
    pub fn batch_interval(&self, room: &str) -> Option<BatchInterval> {
        let room = self.namespaces.of(room).ok()?;
        BatchInterval::new(room.rules.batch_interval)
    }

    /// What the home of this room has to know.
    fn kept(&self, name: &RoomName) -> Arc<RoomRules> {
        let Ok(Room { rules, .. }) = self.namespaces.of(name.as_str()) else {
            return Arc::default();
        };
        let mut kept = self.kept.iter();
        let found = kept.find(|(of, _)| Arc::ptr_eq(of, rules));
        found.map_or_else(Arc::default, |(_, kept)| kept.clone())
    }
}

/// Whose messages a user's are, as far as rates are concerned.
pub fn publisher(user: &Arc<str>, is_unlimited: bool) -> Publisher {
    match (is_unlimited, &**user) {
        (true, _) => Publisher::Unlimited,
        (false, "") => Publisher::Connection,
        (false, _) => Publisher::User(user.clone()),
    }
}

/// The wall clock, in seconds since 1970.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// The homes of rooms and the sessions read the same rules at any time: a session that joins by new rules is
/// never taken in by old ones.
impl RuleBook for Live {
    fn rules(&self, name: &RoomName) -> Arc<RoomRules> {
        self.now().kept(name)
    }
}

fn pace_of(rate: access::namespace::Rate) -> Option<Pace> {
    rate.is_bounded().then_some(Pace {
        per_second: rate.per_second,
        burst: rate.burst,
    })
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a room's home has to know of the rules of its namespace.
fn rules_of(rules: &Namespace) -> RoomRules {
    let history = rules.history;
    RoomRules {
        history: history.is_kept().then(|| HistoryLimits {
            messages: history.size as usize,
            bytes: history.bytes_max,
            ttl_ms: whole_ms(history.ttl),
        }),
        table: (rules.kind == RoomKind::LatestPerKey).then(|| TableLimits {
            keys: rules.table.keys_max as usize,
            bytes: rules.table.bytes_max,
            ttl_ms: whole_ms(rules.table.ttl),
        }),
        // No name of a one-shot room ever comes back.
        keeps_position: rules.oneshot.is_none()
            && (history.is_kept() || rules.positions != Offer::Off),
        has_presence: rules.presence,
        announced_members_max: match rules.join_leave {
            JoinLeave::Off => 0,
            JoinLeave::Asked | JoinLeave::Forced => ANNOUNCED_MEMBERS_MAX,
        },
        pace: pace_of(rules.room_rate),
        publisher_pace: pace_of(rules.user_rate),
        tells_occupancy: rules.events,
    }
}
