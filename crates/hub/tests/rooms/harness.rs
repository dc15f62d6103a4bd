//! A home with two cores, asked one request at a time, and its deliveries in short.

use bytes::Bytes;
use std::sync::Arc;

use hub::{
    Announcement, AnswerLimits, ConnectionId, CoreId, Delivery, Epoch, HomeBounds, JoinRefusal,
    Position, Record, Request, RoomBudget, RoomId, RoomName, RoomRules, Rooms, RuleBook, Target,
    Ticket,
};

/// The home, and the core of all subscribers but those of tests that say otherwise.
pub const CORE: CoreId = CoreId(0);
pub const OTHER: CoreId = CoreId(1);

/// What one publication of `home.publish` counts for while it waits.
pub const PUBLICATION_BYTES: usize = "hello".len() + size_of::<Request>();

/// All rooms have the same rules, but those called `bare...`, which have none.
struct Same(Arc<RoomRules>);

impl RuleBook for Same {
    fn rules(&self, name: &RoomName) -> Arc<RoomRules> {
        match name.as_str().starts_with("bare") {
            true => Arc::default(),
            false => self.0.clone(),
        }
    }
}

/// These rules for all rooms but those called `bare...`.
pub fn same(rules: RoomRules) -> Arc<dyn RuleBook> {
    Arc::new(Same(Arc::new(rules)))
}

/// The rules of tests that say nothing of rules.
pub fn with_positions() -> RoomRules {
    RoomRules {
        keeps_position: true,
        ..RoomRules::default()
    }
}

pub const BOUNDS: HomeBounds = HomeBounds {
    waiting_bytes: usize::MAX,
    past_bytes: usize::MAX,
    positions: 10_000,
    answer: AnswerLimits {
        messages: 4,
        bytes: 1_000,
    },
};

pub struct Home {
    pub rooms: Rooms,
    pub tickets: u64,
}

impl Home {
    pub fn new(rooms_max: usize) -> Self {
        Self::with_waiting(rooms_max, usize::MAX)
    }

    pub fn with_waiting(rooms_max: usize, waiting_bytes: usize) -> Self {
        let bounds = HomeBounds {
            waiting_bytes,
            ..BOUNDS
        };
        Self::with(rooms_max, bounds, with_positions())
    }

    pub fn with(rooms_max: usize, bounds: HomeBounds, rules: RoomRules) -> Self {
        let mut epoch = 100;
        let epochs = move || {
            epoch += 1;
            Epoch(epoch)
        };
        let budget = RoomBudget::new(rooms_max);
        Self {
            rooms: Rooms::new(CORE, 2, budget, bounds, same(rules), epochs),
            tickets: 0,
        }
    }

    pub fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Ends the turn; what the first core is told.
    pub fn take(&mut self) -> Vec<Delivery> {
        self.rooms.take_outgoing(CORE)
    }

    pub fn apply(&mut self, request: Request) -> Vec<Delivery> {
        self.rooms.apply(request);
        self.take()
    }

    /// Returns the room and the position of the join.
    pub fn join(&mut self, name: &str) -> Result<(RoomId, Position), JoinRefusal> {
        self.join_from(CORE, name)
    }

    pub fn join_from(
        &mut self,
        core: CoreId,
        name: &str,
    ) -> Result<(RoomId, Position), JoinRefusal> {
        let ticket = self.ticket();
        self.rooms.apply(Request::Join {
            name: RoomName::new(name).unwrap(),
            subscriber: connection(core),
            ticket,
            terms: None,
        });
        let answers = self.rooms.take_outgoing(core);
        match answers.last().unwrap() {
            Delivery::Joined {
                room,
                position,
                ticket: of,
                ..
            } if *of == ticket => Ok((*room, *position)),
            Delivery::Refused {
                reason, ticket: of, ..
            } if *of == ticket => Err(*reason),
            other => panic!("unexpected {other:?}"),
        }
    }

    pub fn leave(&mut self, room: RoomId) {
        assert!(
            self.apply(Request::Leave {
                room,
                subscriber: connection(CORE)
            })
            .is_empty()
        );
    }

    pub fn hold(&mut self, room: RoomId, core: CoreId) {
        self.rooms.apply(Request::Hold { room, core });
    }

    pub fn resume(&mut self, room: RoomId, core: CoreId) {
        self.rooms.apply(Request::Resume { room, core });
    }

    pub fn sweep(&mut self, now_ms: u64) {
        self.sweep_after(1_000, now_ms);
    }

    pub fn sweep_after(&mut self, idle_ms: u64, now_ms: u64) {
        self.sweep_keeping(0, idle_ms, now_ms);
    }

    pub fn sweep_keeping(&mut self, position_ttl_ms: u64, idle_ms: u64, now_ms: u64) {
        let sweep = Request::Sweep {
            now_ms,
            wall_ms: now_ms,
            idle_ms,
            position_ttl_ms,
        };
        assert!(self.apply(sweep).is_empty());
    }

    /// Without ending the turn.
    pub fn say(&mut self, to: Target, publisher: ConnectionId, payload: &'static str) -> Ticket {
        let ticket = self.ticket();
        self.rooms.apply(Request::Publish {
            to,
            publisher,
            ticket,
            stamp: 1_000 + ticket.0,
            record: record(payload),
        });
        ticket
    }

    pub fn publish(&mut self, room: RoomId) -> Vec<Delivery> {
        self.say(Target::Room(room), connection(CORE), "hello");
        self.take()
    }

    pub fn publish_by_name(&mut self, name: &str) -> Vec<Delivery> {
        let name = RoomName::new(name).unwrap();
        self.say(Target::Name(name), connection(CORE), "hello");
        self.take()
    }
}

pub fn connection(core: CoreId) -> ConnectionId {
    ConnectionId { core, token: 1 }
}

pub fn record(payload: &'static str) -> Record {
    Record {
        tag: 0,
        payload: Bytes::from_static(payload.as_bytes()),
        details: None,
    }
}

pub fn at(epoch: u64, offset: u64) -> Position {
    let epoch = Epoch(epoch);
    Position { epoch, offset }
}

/// Deliveries in short: `room:first+payloads`, `#ticket@offset`, `#ticket:refusal`.
pub fn brief(deliveries: &[Delivery]) -> Vec<String> {
    let brief = |delivery: &Delivery| match delivery {
        Delivery::Messages {
            first,
            records,
            stamps,
            ..
        } => {
            assert_eq!(records.len(), stamps.len());
            let payloads = records.iter().map(|r| str::from_utf8(&r.payload).unwrap());
            format!("{first}+{}", payloads.collect::<Vec<_>>().join(","))
        }
        Delivery::Published {
            ticket,
            position,
            stamp,
            ..
        } => {
            // Where a test sets the time, that is the rest.
            assert_eq!(stamp % 1_000_000, 1_000 + ticket.0);
            format!("#{}@{}", ticket.0, position.offset)
        }
        Delivery::Unpublished { ticket, reason, .. } => format!("#{}:{reason:?}", ticket.0),
        Delivery::Joined { ticket, .. } => format!("#{} joined", ticket.0),
        Delivery::Refused { ticket, .. } => format!("#{} refused", ticket.0),
        Delivery::Lost { reason, .. } => format!("lost:{reason:?}"),
        Delivery::Answered { ticket, .. } => format!("#{} answered", ticket.0),
        Delivery::Listed { ticket, .. } => format!("#{} listed", ticket.0),
        Delivery::Announced { announcements, .. } => {
            let told = announcements.iter().map(|it| match it {
                Announcement::Came(member) => format!("+{}", member.user),
                Announcement::Went(member) => format!("-{}", member.user),
            });
            told.collect::<Vec<_>>().join("")
        }
    };
    deliveries.iter().map(brief).collect()
}
