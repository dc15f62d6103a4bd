//! One-shot rooms: made on request, opened by a secret, for one message within seconds.
//!
//! ```text
//!  POST /oneshot/{namespace} ─▶ create ────────────────────────┐
//!                                                              ▼
//!  a page with the secret ───▶ enter_as_page ──▶ table.rs: name ─▶ digest of the secret, end, who sits there, message
//!  a publisher with a token ─▶ enter_as_publisher, take ───────┘
//! ```
//!
//! The table says who may come in and whose message is the one. Everything else is a room as any other: the
//! message is published, kept and handed on by the room's home.
//!
//! One lock is around the table, for all cores. No message of another room ever meets it: whether a room is a
//! one-shot room is seen from its namespace.
//!
//! *Bounded:* rooms by `oneshot_rooms_max`, and how fast one address makes them by `oneshot_rate`.

mod table;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use hub::{ConnectionId, RoomName};
use runtime::{AddressRates, Command, Commander, Rate};

pub use table::{Counts, Full, NoEntry, NoPublication, RefusedFor, Seat};
use table::{Newcomer, Table};

use crate::secret::{Digest, random_text};

/// All one-shot rooms.
pub struct OneShots {
    table: Mutex<Table>,
    rates: AddressRates,
    /// Tells who is replaced, once the server runs.
    commander: OnceLock<Commander>,
    began: Instant,
}

/// A room that was just made.
pub struct Created {
    /// Its name.
    pub room: RoomName,
    /// What opens it.
    pub secret: String,
}

/// Why a room is not made.
#[derive(Debug, thiserror::Error)]
pub enum NotCreated {
    /// There are as many as there may be.
    #[error("there are as many one-shot rooms as there may be")]
    Full(Full),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// A command for a connection: somebody else has come with the secret, and takes this seat.
#[derive(Debug)]
pub struct Replaced {
    /// The number of the seat.
    pub seat: u64,
}

impl OneShots {
    /// No rooms.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            rates: AddressRates::default(),
            commander: OnceLock::new(),
            began: Instant::now(),
        })
    }

    /// The server runs, and its connections can be spoken to.
    pub fn serving(&self, commander: Commander) {
        let _ = self.commander.set(commander);
    }

    /// Makes a room of this namespace that lives for so long.
    ///
    /// # Errors
    /// When there are `rooms_max` of them, or nothing to draw their names from.
    pub fn create(
        &self,
        namespace: &str,
        life: Duration,
        rooms_max: usize,
        now: Instant,
    ) -> Result<Created, NotCreated> {
        let name = format!("{namespace}:{}", random_text()?);
        let room = RoomName::new(&name).expect("a namespace and base64 are a room's name");
        let secret = random_text()?;
        let newcomer = Newcomer {
            name: room.clone(),
            secret: Digest::of(&secret),
            over: now + life,
        };
        let made = self.table().create(newcomer, rooms_max, now);
        made.map_err(NotCreated::Full)?;
        Ok(Created { room, secret })
    }

    /// Whether this address may make another room now.
    pub fn allows(&self, client: IpAddr, rate: Option<Rate>, addresses_max: usize) -> bool {
        let now_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.rates.allows(client, rate, addresses_max, now_ns)
    }

    /// Whether this secret opens the room, for somebody who is not connected yet.
    ///
    /// # Errors
    /// [`NoEntry::Closed`].
    pub fn check(&self, name: &RoomName, secret: &str, now: Instant) -> Result<(), NoEntry> {
        let secret = Digest::of(secret);
        self.table().check(name, &secret, now)
    }

    /// Lets a connection into a room by its secret. Whoever sat there is told to go; if it cannot be told,
    /// it stays, and nobody comes in for now.
    ///
    /// # Errors
    /// Why not. Whether there is such a room cannot be seen from it.
    pub fn enter_as_page(
        &self,
        name: &RoomName,
        secret: &str,
        who: ConnectionId,
        now: Instant,
    ) -> Result<Seat, NoEntry> {
        let secret = Digest::of(secret);
        // The commander never waits, so it can be asked while the table is held: nobody comes between.
        let tell = |who, seat| {
            let command = Command::Hand(Arc::new(Replaced { seat }));
            let commander = self.commander.get();
            commander.is_some_and(|it| it.connection(who, command).is_ok())
        };
        self.table().enter_as_page(name, &secret, who, now, tell)
    }

    /// Lets somebody come who may publish there by a token. It takes nobody's seat.
    ///
    /// # Errors
    /// When there is no such room, or its life is over.
    pub fn enter_as_publisher(&self, name: &RoomName, now: Instant) -> Result<Seat, NoEntry> {
        self.table().enter_as_publisher(name, now)
    }

    /// Takes the place of the room's one message, before that is published: of two publishers one has it.
    ///
    /// # Errors
    /// When another message has it, or the room is over.
    pub fn take(&self, name: &RoomName, now: Instant) -> Result<(), NoPublication> {
        self.table().take(name, now)
    }

    /// The message that had taken the place was published.
    pub fn answered(&self, name: &RoomName) {
        self.table().answered(name);
    }

    /// The message that had taken the place was refused by the room's home: another may take it.
    pub fn give_back(&self, name: &RoomName) {
        self.table().give_back(name);
    }

    /// Counts something that was refused before it came to the table.
    pub fn refused(&self, what: RefusedFor) {
        self.table().refused(what);
    }

    /// Whether a room of this name is here.
    pub fn has(&self, name: &str) -> bool {
        self.table().has(name)
    }

    /// Forgets some of the rooms whose life is over by `now`.
    pub fn forget_over(&self, now: Instant) {
        self.table().forget_over(now);
    }

    /// How many rooms there are, and what has become of all.
    pub fn counts(&self) -> Counts {
        self.table().counts()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing can panic while the lock is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It shows neither names nor secrets.
impl fmt::Debug for OneShots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShots").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
