//! State that few connections need, in a box of its own: an open and idle connection allocates
//! nothing for it.

use std::{any::Any, sync::Arc};

use super::{Leftover, MessageRates};
use crate::{admission::Header, end::EndReason, memory::Holding};

/// One connection's rare things, in a box of their own while there are any.
#[derive(Default)]
pub(crate) struct Rare(Option<Box<Things>>);

#[derive(Default)]
struct Things {
    /// Received, but not processed yet: at most what one receive brought.
    leftover: Leftover,
    /// Bytes of memory held for the connection, as they are counted in its core's ledger.
    counted: Holding,
    /// The first reason there was for the connection to end.
    end: Option<EndReason>,
    /// What the peer may still send, if rates are configured.
    rates: Option<MessageRates>,
    /// The deadline of the message of which only a part has arrived.
    message_by_ms: Option<u64>,
    /// When the session wants to be woken.
    alarm_ms: Option<u64>,
    /// A header of the PROXY protocol that is awaited before everything else.
    header: Option<Header>,
    /// Commands for the session that came before it opened.
    early: Vec<Arc<dyn Any + Send + Sync>>,
}

/// Most commands that wait for a session to open.
pub(super) const EARLY_MAX: usize = 8;

impl Rare {
    /// Whether received bytes wait.
    pub(crate) fn has_leftover(&self) -> bool {
        self.0.as_ref().is_some_and(|it| !it.leftover.is_empty())
    }

    /// Memory held for received bytes that wait, in bytes.
    pub(crate) fn leftover_held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |it| it.leftover.held_bytes())
    }

    /// Takes the received bytes that wait.
    pub(crate) fn take_leftover(&mut self) -> Leftover {
        self.0
            .as_mut()
            .map(|it| std::mem::take(&mut it.leftover))
            .unwrap_or_default()
    }

    /// Keeps received bytes for a later turn.
    pub(crate) fn keep_leftover(&mut self, leftover: Leftover) {
        if !leftover.is_empty() {
            self.things().leftover = leftover;
        }
    }

    /// Bytes of memory held for the connection, as they are counted.
    pub(crate) fn counted(&self) -> Holding {
        self.0.as_ref().map(|it| it.counted).unwrap_or_default()
    }

    /// Records what the ledger counts for the connection.
    pub(crate) fn set_counted(&mut self, counted: Holding) {
        if counted != self.counted() {
            self.things().counted = counted;
        }
    }

    /// The first reason there was for the connection to end.
    pub(crate) fn end(&self) -> Option<EndReason> {
        self.0.as_ref()?.end
    }

    /// Records a reason to end, if none was recorded before.
    pub(crate) fn set_end(&mut self, reason: EndReason) {
        self.things().end.get_or_insert(reason);
    }

    /// The deadline of the message of which only a part has arrived, in milliseconds of deadlines.
    pub(crate) fn message_by_ms(&self) -> Option<u64> {
        self.0.as_ref()?.message_by_ms
    }

    /// Sets that deadline; `None` while no message is incomplete.
    pub(crate) fn set_message_by_ms(&mut self, by_ms: Option<u64>) {
        if by_ms != self.message_by_ms() {
            self.things().message_by_ms = by_ms;
        }
    }

    /// When the session wants to be woken, in milliseconds of deadlines.
    pub(crate) fn alarm_ms(&self) -> Option<u64> {
        self.0.as_ref()?.alarm_ms
    }

    /// Sets when the session wants to be woken.
    pub(crate) fn set_alarm_ms(&mut self, at_ms: Option<u64>) {
        if at_ms != self.alarm_ms() {
            self.things().alarm_ms = at_ms;
        }
    }

    /// What the peer may still send.
    pub(crate) fn rates(&mut self) -> &mut MessageRates {
        self.things().rates.get_or_insert_default()
    }

    /// Keeps a command until the session opens; returns whether there was a place for it.
    pub(crate) fn keep_early(&mut self, command: Arc<dyn Any + Send + Sync>) -> bool {
        let early = &mut self.things().early;
        let has_place = early.len() < EARLY_MAX;
        if has_place {
            early.push(command);
        }
        has_place
    }

    /// Takes the commands that came before the session opened.
    pub(crate) fn take_early(&mut self) -> Vec<Arc<dyn Any + Send + Sync>> {
        let things = self.0.as_mut();
        things
            .map(|it| std::mem::take(&mut it.early))
            .unwrap_or_default()
    }

    /// A header of the PROXY protocol is awaited.
    pub(crate) fn await_header(&mut self) {
        self.things().header = Some(Header::default());
    }

    /// The header of the PROXY protocol that is awaited.
    pub(crate) fn header(&self) -> Option<&Header> {
        self.0.as_ref()?.header.as_ref()
    }

    /// The header that is awaited, to add received bytes to it.
    pub(crate) fn header_mut(&mut self) -> Option<&mut Header> {
        self.0.as_mut()?.header.as_mut()
    }

    /// No header is awaited any more.
    pub(crate) fn drop_header(&mut self) {
        if let Some(things) = &mut self.0 {
            things.header = None;
        }
    }

    /// Gives the box back if nothing is in it.
    pub(crate) fn tidy(&mut self) {
        if self.0.as_ref().is_some_and(|it| it.is_empty()) {
            self.0 = None;
        }
    }

    fn things(&mut self) -> &mut Things {
        self.0.get_or_insert_default()
    }
}

impl Things {
    fn is_empty(&self) -> bool {
        self.leftover.is_empty()
            && self.counted == Holding::default()
            && self.end.is_none()
            && self.rates.is_none()
            && self.message_by_ms.is_none()
            && self.alarm_ms.is_none()
            && self.header.is_none()
            && self.early.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_is_there_only_while_something_is_in_it() {
        let mut rare = Rare::default();
        rare.keep_leftover(Leftover::default());
        rare.set_counted(Holding::default());
        assert!(rare.0.is_none(), "nothing needs none");
        rare.keep_leftover(Leftover::of(b"ab"));
        assert!(rare.has_leftover());
        rare.tidy();
        assert!(rare.0.is_some());
        assert_eq!(rare.take_leftover().rest(), b"ab");
        rare.tidy();
        assert!(rare.0.is_none());
        rare.set_end(EndReason::Aged);
        rare.set_end(EndReason::Drained);
        rare.tidy();
        assert_eq!(rare.end(), Some(EndReason::Aged), "the first counts");
    }
}
