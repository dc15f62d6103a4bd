//! The load of publications in rooms of the protocol, in a closed loop.

use super::inbox::Inbox;
use super::layout::Layout;
use super::opening::Position;
use super::publications::{Publications, Taken};
use crate::centrifuge::Encoding;
use crate::load::pace::Pace;
use crate::load::reactor::{Driver, Io};
use anyhow::Result;
use std::time::Instant;

/// Publishes in all rooms.
///
/// In rooms with connections of their own, each has `at_once` publications in flight, and the next when all
/// subscribers have all of them. Among connections in many rooms there are so many in flight in all, two of a room,
/// and the next room's turn comes when all have one.
#[derive(Debug)]
pub struct Publishing {
    layout: Layout,
    at_once: u32,
    publications: Publications,
    inbox: Inbox,
    /// The number of publications so far.
    published: usize,
    /// Rooms whose publications have come to all subscribers.
    completed: Vec<usize>,
    batch: Vec<u8>,
}

impl Publishing {
    /// To subscribers of rooms at these positions.
    #[must_use]
    pub fn new(
        encoding: Encoding,
        layout: Layout,
        positions: &[Position],
        payload_bytes: usize,
        at_once: u32,
        inbox: Inbox,
    ) -> Self {
        Self {
            publications: Publications::new(encoding, layout, positions, payload_bytes),
            layout,
            at_once,
            inbox,
            published: 0,
            completed: Vec::new(),
            batch: Vec::new(),
        }
    }

    /// Bytes of the longest message that a subscriber has been sent.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.inbox.longest
    }

    fn publish(&mut self, io: &mut Io, room: usize, count: u32, now: Instant) -> Result<()> {
        self.batch.clear();
        for _ in 0..count {
            self.publications.publish(room, now, &mut self.batch);
        }
        self.published += count as usize;
        io.send(self.layout.publisher(room), &self.batch)
    }

    fn publish_next(&mut self, io: &mut Io, completed: usize) -> Result<()> {
        let now = Instant::now();
        match self.layout {
            Layout::Rooms { .. } if self.publications.is_quiet(completed) => {
                self.publish(io, completed, self.at_once, now)
            }
            Layout::Rooms { .. } => Ok(()),
            Layout::Spread(spread) => {
                let room = spread.room_of_publication(self.published);
                self.publish(io, room, 1, now)
            }
        }
    }
}

impl Driver for Publishing {
    fn start(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        match self.layout {
            Layout::Rooms { rooms, .. } => {
                (0..rooms).try_for_each(|room| self.publish(io, room, self.at_once, now))
            }
            Layout::Spread(spread) => (0..self.at_once as usize).try_for_each(|number| {
                self.publish(io, spread.room_of_publication(number), 1, now)
            }),
        }
    }

    fn tick(&mut self, _: &mut Io, _: Instant) -> Result<()> {
        Ok(())
    }

    fn receive(&mut self, io: &mut Io, index: usize, bytes: &[u8], stopping: bool) -> Result<()> {
        let now = Instant::now();
        let Self {
            publications,
            inbox,
            completed,
            ..
        } = self;
        inbox.take(index, bytes, |message| {
            if let Taken::Delivered {
                room,
                since,
                is_last,
            } = publications.take(index, message)?
            {
                io.meter.record(since, now, 1);
                completed.extend(is_last.then_some(room));
            }
            Ok(())
        })?;
        if !self.inbox.owed.is_empty() {
            io.send(index, &self.inbox.owed)?;
        }
        while let Some(room) = self.completed.pop() {
            if !stopping {
                self.publish_next(io, room)?;
            }
        }
        Ok(())
    }

    fn outstanding(&self) -> u64 {
        self.publications.outstanding()
    }

    fn pace(&self) -> Pace {
        Pace::Closed {
            at_once: self.at_once,
        }
    }

    fn operations_per_message(&self) -> usize {
        self.layout.members()
    }
}
