//! One room as its home sees it: its log, who is in it, and the cores that have subscribers.

use std::sync::Arc;

use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::{
    log::Log,
    mailbox::{ConnectionId, CoreId},
    name::RoomName,
    occupancy::Said,
    pace::{self, Source},
    presence::{Member, Presence},
    record::Publisher,
    rules::RoomRules,
    run::{Backlog, Publication},
    view::Seen,
};

new_key_type! {
    /// A room's slot in its home.
    pub(crate) struct RoomKey;
}

/// One room.
pub(crate) struct Room {
    pub(crate) name: RoomName,
    pub(crate) rules: Arc<RoomRules>,
    pub(crate) log: Log,
    /// Who is in it, once somebody was and the rules say that the room knows.
    pub(crate) presence: Option<Box<Presence>>,
    /// What the ledger of pasts counts for it.
    pub(crate) counted: Counted,
    /// How often messages came, if the rules bound that.
    pub(crate) pace: Option<Box<pace::Counted>>,
    /// The offset of the latest message when an operator last asked.
    offset_seen: u64,
    /// Cores with subscribers.
    pub(crate) cores: SmallVec<[SubscribedCore; 2]>,
    /// When it last became unused, without subscribers and publications, in milliseconds of the sweeps;
    /// meaningless while it has subscribers.
    pub(crate) idle_since_ms: u64,
    /// Whether it is in the queue for reaping. It is there at most once, however often it empties.
    pub(crate) awaits_reaping: bool,
    /// What was last said of its occupancy.
    pub(crate) said: Said,
    /// Whether it is in the queue of rooms that may be vacated. It is there at most once.
    pub(crate) awaits_vacating: bool,
    /// The slot of its open run in this turn, if it has one.
    pub(crate) run: Option<usize>,
    /// Its place in the home's list of all rooms.
    pub(crate) place: usize,
    /// Publications that wait. It exists while a core holds the room, and until all that waited are
    /// ordered.
    pub(crate) backlog: Option<Box<Backlog>>,
}

/// What the ledger of pasts counts for a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) bytes: usize,
    /// How many of these bytes are the room's table.
    pub(crate) table_bytes: usize,
    /// Whether a message is among it that may be given up.
    pub(crate) has_messages: bool,
    /// When the room's past last grew, in milliseconds of the sweeps.
    pub(crate) touched_ms: u64,
}

/// A core with subscribers of the room.
pub(crate) struct SubscribedCore {
    pub(crate) core: CoreId,
    /// Whether the core holds the room.
    holds: bool,
    /// The number of subscribers, at least 1.
    subscribers: u32,
}

impl Room {
    /// A room without subscribers.
    pub(crate) fn new(
        name: RoomName,
        rules: Arc<RoomRules>,
        log: Log,
        place: usize,
        now_ms: u64,
    ) -> Self {
        Self {
            name,
            place,
            rules,
            offset_seen: log.top().offset,
            log,
            presence: None,
            counted: Counted::default(),
            pace: None,
            cores: SmallVec::new(),
            idle_since_ms: now_ms,
            awaits_reaping: false,
            said: Said::default(),
            awaits_vacating: false,
            run: None,
            backlog: None,
        }
    }

    fn core(&mut self, core: CoreId) -> Option<&mut SubscribedCore> {
        self.cores.iter_mut().find(|it| it.core == core)
    }

    /// Counts one subscriber more.
    pub(crate) fn join(&mut self, subscriber: ConnectionId, member: Option<Arc<Member>>) {
        if self.rules.has_presence {
            let presence = self.presence.get_or_insert_default();
            match member {
                Some(member) => presence.enter(subscriber, member),
                None => presence.enter_unseen(subscriber),
            }
        }
        let core = subscriber.core;
        match self.core(core) {
            Some(it) => it.subscribers += 1,
            None => self.cores.push(SubscribedCore {
                core,
                holds: false,
                subscribers: 1,
            }),
        }
    }

    /// Counts one subscriber fewer, if its core has any. With its last one the core stops holding the
    /// room.
    pub(crate) fn leave(&mut self, subscriber: ConnectionId) {
        if let Some(presence) = &mut self.presence {
            presence.leave(subscriber);
            if presence.is_empty() && !presence.has_news() {
                self.presence = None;
            }
        }
        let core = subscriber.core;
        if let Some(at) = self.cores.iter().position(|it| it.core == core) {
            self.cores[at].subscribers -= 1;
            if self.cores[at].subscribers == 0 {
                self.cores.swap_remove(at);
            }
        }
    }

    /// Records whether the core holds the room. A core without subscribers cannot hold it.
    pub(crate) fn set_held(&mut self, core: CoreId, holds: bool) {
        if let Some(it) = self.core(core) {
            it.holds = holds;
        }
    }

    /// Whether any core holds the room.
    pub(crate) fn is_held(&self) -> bool {
        self.cores.iter().any(|it| it.holds)
    }

    /// Whether a message of this publisher may come now; if so it is counted.
    pub(crate) fn allows(&mut self, publication: &Publication) -> bool {
        let paces = (self.rules.pace, self.rules.publisher_pace);
        let source = match publication.record.publisher() {
            _ if paces == (None, None) => return true,
            Publisher::Unlimited => return true,
            Publisher::User(user) => Source::User(user.clone()),
            Publisher::Connection => Source::Connection(publication.publisher),
        };
        let counted = self.pace.get_or_insert_default();
        counted.allows(paces, source, publication.stamp / 1_000)
    }

    /// Whether there are members to announce.
    pub(crate) fn has_announcements(&self) -> bool {
        let presence = self.presence.as_ref();
        presence.is_some_and(|presence| presence.has_news())
    }

    /// Follows other rules from now on. Who is in the room is known anew only of those who come from now
    /// on.
    pub(crate) fn follow(&mut self, rules: Arc<RoomRules>, wall_ms: u64) {
        self.rules = rules;
        self.log.trim(&self.rules, wall_ms);
        if !self.rules.has_presence {
            self.presence = None;
        }
    }

    /// Forgets the table of a room that has been unused for as long as its rules say. Nobody is here to be
    /// told.
    pub(crate) fn forget_table_if_unused(&mut self, now_ms: u64) {
        let unused_ms = now_ms.saturating_sub(self.idle_since_ms);
        if self
            .rules
            .table
            .is_some_and(|table| unused_ms >= table.ttl_ms)
        {
            self.log.forget_table();
        }
    }

    /// The number of its subscribers, on all cores.
    pub(crate) fn subscribers(&self) -> u32 {
        self.cores.iter().map(|it| it.subscribers).sum()
    }

    /// The room as an operator sees it.
    pub(crate) fn look(&mut self, home: u16) -> Seen {
        let messages = self.log.top().offset;
        let messages_before = std::mem::replace(&mut self.offset_seen, messages);
        Seen {
            name: self.name.clone(),
            home,
            subscribers: self.subscribers(),
            cores: self.cores.len(),
            messages,
            messages_new: messages - messages_before,
        }
    }
}
