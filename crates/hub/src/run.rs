//! Publications that have no offset yet: those of a turn, and those of a held room.

use std::{collections::VecDeque, mem, sync::Arc, vec};

use crate::{
    bound::bound,
    log::Position,
    mailbox::{ConnectionId, Delivery, Request, RoomId, Stamps, Ticket},
    record::Record,
    room::RoomKey,
};

/// A run of this many bytes is ordered before more is added, so that no delivery is much larger
/// than this or than the largest message.
const RUN_BYTES_MAX: usize = bound(256 << 10, 3 << 10);

/// The number of publications for which a reused run keeps its memory.
const RUN_LEN_KEPT: usize = 16;

/// A publication that has no offset yet.
pub(crate) struct Publication {
    pub(crate) publisher: ConnectionId,
    pub(crate) ticket: Ticket,
    pub(crate) stamp: u64,
    pub(crate) record: Record,
}

impl Publication {
    /// The bytes that it counts for: its payload, its key and the request around it, so that empty messages
    /// count too.
    pub(crate) fn bytes(&self) -> usize {
        self.record.sent_bytes() + size_of::<Request>()
    }

    /// The answer to its publisher, once it has its place.
    pub(crate) fn answer(&self, room: RoomId, position: Position) -> Delivery {
        Delivery::Published {
            publisher: self.publisher,
            ticket: self.ticket,
            room,
            position,
            stamp: self.stamp,
        }
    }
}

/// Publications of one room that get consecutive offsets in one envelope.
#[derive(Default)]
pub(crate) struct Run {
    publications: Vec<Publication>,
    bytes: usize,
}

impl Run {
    /// Adds one more publication.
    pub(crate) fn push(&mut self, publication: Publication) {
        self.bytes += publication.bytes();
        self.publications.push(publication);
    }

    /// Whether nothing is to be ordered.
    pub(crate) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    /// Takes the publications out that are not to be ordered, with what else is to become of them.
    pub(crate) fn sift<T>(
        &mut self,
        mut other_fate: impl FnMut(&Record) -> Option<T>,
    ) -> Vec<(Publication, T)> {
        let mut fates = Vec::new();
        let taken = self.publications.extract_if(.., |publication| {
            let fate = other_fate(&publication.record);
            let is_taken = fate.is_some();
            fates.extend(fate);
            is_taken
        });
        let taken: Vec<_> = taken.collect();
        taken.into_iter().zip(fates).collect()
    }

    /// Whether the run must be ordered before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= RUN_BYTES_MAX
    }

    /// Takes the messages and their stamps out. The publications themselves stay, without payloads,
    /// so that they can be acknowledged.
    pub(crate) fn take_messages(&mut self) -> (Arc<[Record]>, Stamps) {
        let records = self.publications.iter_mut().map(|it| Record {
            tag: it.record.tag,
            payload: mem::take(&mut it.record.payload),
            details: it.record.details.take(),
        });
        let records = records.collect();
        let stamps = self.publications.iter().map(|it| it.stamp).collect();
        (records, stamps)
    }

    /// Takes the publications out, in order.
    pub(crate) fn drain(&mut self) -> vec::Drain<'_, Publication> {
        self.bytes = 0;
        self.publications.drain(..)
    }
}

/// The open runs of this turn: at most one for each room, which stores its slot.
#[derive(Default)]
pub(crate) struct OpenRuns {
    /// Slots behind the open ones hold empty runs that keep some memory, so that a turn does not
    /// allocate.
    slots: Vec<(RoomKey, Run)>,
    open: usize,
}

impl OpenRuns {
    /// Opens a run for a room and returns its slot.
    pub(crate) fn open(&mut self, room: RoomKey) -> usize {
        let slot = self.open;
        match self.slots.get_mut(slot) {
            Some((key, run)) => {
                *key = room;
                run.publications.shrink_to(RUN_LEN_KEPT);
            }
            None => self.slots.push((room, Run::default())),
        }
        self.open += 1;
        slot
    }

    /// Adds a publication to an open run; returns whether the run is now full.
    pub(crate) fn push(&mut self, slot: usize, publication: Publication) -> bool {
        let run = &mut self.slots[slot].1;
        run.push(publication);
        run.is_full()
    }

    /// The run in this slot.
    pub(crate) fn run(&mut self, slot: usize) -> &mut Run {
        &mut self.slots[slot].1
    }

    /// The room whose run is, or in this turn was, in this slot; `None` behind the last slot in
    /// use.
    pub(crate) fn room(&self, slot: usize) -> Option<RoomKey> {
        let (room, _) = self.slots[..self.open].get(slot)?;
        Some(*room)
    }

    /// Reuses the slots from the first one, after all runs were ordered.
    pub(crate) fn restart(&mut self) {
        self.open = 0;
    }
}

/// The waiting publications of a held room. It exists until no core holds the room and all are
/// ordered.
#[derive(Default)]
pub(crate) struct Backlog {
    waiting: VecDeque<Publication>,
    /// Whether the room is queued for ordering. It is there at most once.
    pub(crate) is_listed: bool,
}

impl Backlog {
    /// Adds one more publication.
    pub(crate) fn push(&mut self, publication: Publication) {
        self.waiting.push_back(publication);
    }

    /// Whether no publication waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the oldest publications out as a run of at most `most`; returns it with their number
    /// and bytes.
    pub(crate) fn take_run(&mut self, most: usize) -> (Run, usize, usize) {
        let mut run = Run::default();
        while run.publications.len() < most
            && !run.is_full()
            && let Some(publication) = self.waiting.pop_front()
        {
            run.push(publication);
        }
        let (len, bytes) = (run.publications.len(), run.bytes);
        (run, len, bytes)
    }

    /// Bytes of the publications that wait.
    #[cfg(feature = "audit")]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(Publication::bytes).sum()
    }

    /// All waiting publications, oldest first.
    pub(crate) fn into_waiting(self) -> VecDeque<Publication> {
        self.waiting
    }
}
