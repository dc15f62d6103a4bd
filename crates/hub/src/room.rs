//! One room as its home sees it: its log, and the cores that have subscribers.

use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::{log::Log, mailbox::CoreId, name::RoomName, run::Backlog, view::Seen};

new_key_type! {
    /// A room's slot in its home.
    pub(crate) struct RoomKey;
}

/// One room.
pub(crate) struct Room {
    pub(crate) name: RoomName,
    pub(crate) log: Log,
    /// The offset of the latest message when an operator last asked.
    offset_seen: u64,
    /// Cores with subscribers.
    pub(crate) cores: SmallVec<[SubscribedCore; 2]>,
    /// When it last became unused, without subscribers and publications, in milliseconds of the sweeps;
    /// meaningless while it has subscribers.
    pub(crate) idle_since_ms: u64,
    /// Whether it is in the queue for reaping. It is there at most once, however often it empties.
    pub(crate) awaits_reaping: bool,
    /// The slot of its open run in this turn, if it has one.
    pub(crate) run: Option<usize>,
    /// Publications that wait. It exists while a core holds the room, and until all that waited are
    /// ordered.
    pub(crate) backlog: Option<Box<Backlog>>,
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
    pub(crate) fn new(name: RoomName, log: Log, now_ms: u64) -> Self {
        Self {
            name,
            offset_seen: log.top().offset,
            log,
            cores: SmallVec::new(),
            idle_since_ms: now_ms,
            awaits_reaping: false,
            run: None,
            backlog: None,
        }
    }

    fn core(&mut self, core: CoreId) -> Option<&mut SubscribedCore> {
        self.cores.iter_mut().find(|it| it.core == core)
    }

    /// Counts one subscriber more on this core.
    pub(crate) fn join(&mut self, core: CoreId) {
        match self.core(core) {
            Some(it) => it.subscribers += 1,
            None => self.cores.push(SubscribedCore {
                core,
                holds: false,
                subscribers: 1,
            }),
        }
    }

    /// Counts one subscriber fewer on this core, if it has any. With its last one it stops holding
    /// the room.
    pub(crate) fn leave(&mut self, core: CoreId) {
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

    /// Whether the room may be reaped once it has been idle for long enough.
    pub(crate) fn is_unused(&self) -> bool {
        self.cores.is_empty() && self.backlog.is_none()
    }

    /// The room as an operator sees it.
    pub(crate) fn look(&mut self, home: u16) -> Seen {
        let messages = self.log.top().offset;
        let messages_before = std::mem::replace(&mut self.offset_seen, messages);
        Seen {
            name: self.name.clone(),
            home,
            subscribers: self.cores.iter().map(|it| it.subscribers).sum(),
            cores: self.cores.len(),
            messages,
            messages_new: messages - messages_before,
        }
    }
}
