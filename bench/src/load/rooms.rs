//! Rooms: every member of a room must receive what any member sends, in one order.

use super::check::RoomLog;
use super::pace::{Pace, Schedule};
use super::reactor::{Driver, Io};
use super::wire::{Template, without_pings};
use anyhow::{Context as _, Result, anyhow};
use std::time::Instant;

/// The number of rooms, of their members and of their senders.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of rooms.
    pub rooms: usize,
    /// Members of each room, including the senders.
    pub members: usize,
    /// Senders of each room, which are its first members.
    pub senders: usize,
    /// Members of each room that never read, which are its last ones.
    pub stalled: usize,
}

impl Shape {
    /// Connections of all rooms.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.rooms * self.members
    }

    /// Whether this connection reads.
    #[must_use]
    pub fn reads(&self, index: usize) -> bool {
        index % self.members < self.members - self.stalled
    }
}

#[derive(Debug)]
struct Room {
    log: RoomLog,
    /// The log's length when all sent messages have arrived.
    target: u64,
    /// The number of readers that have not received all of it.
    behind: usize,
    outstanding_bytes: u64,
}

/// The load of rooms.
#[derive(Debug)]
pub struct Rooms {
    template: Template,
    shape: Shape,
    pace: Pace,
    schedule: Option<Schedule>,
    rooms: Vec<Room>,
    received: Vec<u64>,
    batch: Vec<u8>,
    stretched: usize,
}

impl Rooms {
    /// Rooms of this shape.
    #[must_use]
    pub fn new(template: Template, shape: Shape, pace: Pace) -> Self {
        let room = |number: usize| Room {
            log: RoomLog::new(&template, (number * shape.members) as u32, shape.senders),
            target: 0,
            behind: 0,
            outstanding_bytes: 0,
        };
        Self {
            rooms: (0..shape.rooms).map(room).collect(),
            received: vec![0; shape.connections()],
            template,
            shape,
            pace,
            schedule: None,
            batch: Vec::new(),
            stretched: 0,
        }
    }

    fn readers(&self) -> usize {
        self.shape.members - self.shape.stalled
    }

    /// Sends `count` messages from member `sender` of a room; their latency counts from `time`.
    fn send(
        &mut self,
        io: &mut Io,
        room: usize,
        sender: usize,
        count: u32,
        time: Instant,
    ) -> Result<()> {
        let index = room * self.shape.members + sender;
        let readers = self.readers();
        let frame_bytes = self.template.frame_bytes() as u64;
        let room = &mut self.rooms[room];
        self.batch.clear();
        for _ in 0..count {
            let number = room.log.sender(sender).sends(time);
            self.template.append(index as u32, number, &mut self.batch);
        }
        room.target += u64::from(count) * frame_bytes;
        room.behind = readers;
        room.outstanding_bytes += u64::from(count) * frame_bytes * readers as u64;
        io.send(index, &self.batch)
    }

    /// In a closed loop, the next messages are sent when the previous ones have returned: to every
    /// reader if the room has one sender, to the sender itself if the room has many.
    fn send_next(&mut self, io: &mut Io, index: usize, own: u32) -> Result<()> {
        let Pace::Closed { at_once } = self.pace else {
            return Ok(());
        };
        let room = index / self.shape.members;
        let now = Instant::now();
        if self.shape.senders > 1 {
            return match own {
                0 => Ok(()),
                _ => self.send(io, room, index % self.shape.members, own, now),
            };
        }
        let target = self.rooms[room].target;
        if self.rooms[room].behind == 0 {
            self.rooms[room].log.forget(target);
            self.send(io, room, 0, at_once, now)?;
        }
        Ok(())
    }

    fn forget(&mut self, room: usize) {
        let first = room * self.shape.members;
        let readers = &self.received[first..first + self.readers()];
        let least = readers.iter().copied().min().unwrap_or(0);
        self.rooms[room].log.forget(least);
    }
}

impl Driver for Rooms {
    fn start(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        match self.pace {
            Pace::Closed { at_once } => {
                for room in 0..self.shape.rooms {
                    for sender in 0..self.shape.senders {
                        self.send(io, room, sender, at_once, now)?;
                    }
                }
            }
            Pace::Fixed { per_second } => self.schedule = Some(Schedule::new(now, per_second)),
        }
        Ok(())
    }

    fn tick(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        while let Some((number, due)) = self.schedule.as_mut().and_then(|it| it.next(now)) {
            let room = number as usize % self.shape.rooms;
            let sender = number as usize / self.shape.rooms % self.shape.senders;
            self.send(io, room, sender, 1, due)?;
        }
        Ok(())
    }

    fn receive(&mut self, io: &mut Io, index: usize, bytes: &[u8], stopping: bool) -> Result<()> {
        let number = index / self.shape.members;
        let room = &mut self.rooms[number];
        let before = self.received[index];
        let bytes = match room.log.left(before) == self.template.frame_bytes() {
            true => without_pings(bytes),
            false => bytes,
        };
        let now = Instant::now();
        let meter = &mut io.meter;
        let after = room
            .log
            .receive(&self.template, before, bytes, |time, count| {
                meter.record(time, now, count)
            })
            .map_err(|fault| anyhow!("{fault}"))?;
        self.received[index] = after;
        let left = room.outstanding_bytes.checked_sub(after - before);
        room.outstanding_bytes = left.context("a member received more than was sent")?;
        if before < room.target && after == room.target {
            room.behind -= 1;
        }
        let own = match self.shape.senders {
            1 => 0,
            _ => room
                .log
                .messages_of(index % self.shape.members, before, after),
        };
        if self.rooms[number].log.is_long() {
            self.stretched += 1;
            if self.stretched.is_multiple_of(64) {
                self.forget(number);
            }
        }
        if stopping {
            return Ok(());
        }
        self.send_next(io, index, own)
    }

    fn outstanding(&self) -> u64 {
        let bytes: u64 = self.rooms.iter().map(|room| room.outstanding_bytes).sum();
        bytes.div_ceil(self.template.frame_bytes() as u64)
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn operations_per_message(&self) -> usize {
        self.readers()
    }
}
