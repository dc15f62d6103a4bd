//! The load of publications: so many in flight, the next when all members have one of them.

use super::command::Publication;
use super::deliveries::Deliveries;
use super::spread::Spread;
use crate::load::pace::Pace;
use crate::load::reactor::{Driver, Io};
use crate::load::wire::{Piece, append_pong, first_piece};
use anyhow::{Result, anyhow};
use std::time::Instant;

/// Publishes in all rooms, a few at a time.
#[derive(Debug)]
pub struct Publishing {
    spread: Spread,
    publication: Publication,
    deliveries: Deliveries,
    published: usize,
    /// For each connection, what it has of a message that has not arrived whole.
    parts: Vec<Vec<u8>>,
    message: Vec<u8>,
}

impl Publishing {
    /// To members that have joined already.
    #[must_use]
    pub fn new(spread: Spread) -> Self {
        Self {
            publication: Publication::new(spread.payload_bytes),
            deliveries: Deliveries::new(spread),
            published: 0,
            parts: vec![Vec::new(); spread.connections],
            message: Vec::new(),
            spread,
        }
    }

    fn publish_next(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        let room = self.spread.room_of_publication(self.published);
        self.published += 1;
        let number = self.deliveries.publish(room, now);
        self.message.clear();
        self.publication.append(room, number, &mut self.message);
        // The connection of the same number is the room's publisher.
        io.send(room, &self.message)
    }

    /// Takes a piece of a message; returns how many publications it completes.
    fn take(&mut self, io: &mut Io, index: usize, piece: &[u8], now: Instant) -> Result<usize> {
        let part = &mut self.parts[index];
        let is_whole = part.len() + piece.len() == self.publication.frame_bytes();
        if !is_whole || !part.is_empty() {
            part.extend_from_slice(piece);
        }
        if !is_whole {
            return Ok(0);
        }
        let frame = if part.is_empty() { piece } else { &part[..] };
        let taken = self.deliveries.take(&self.publication, index, frame);
        let delivered = taken.map_err(|fault| anyhow!("{fault}"))?;
        part.clear();
        io.meter.record(delivered.since, now, 1);
        Ok(usize::from(delivered.is_last))
    }
}

impl Driver for Publishing {
    fn start(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        (0..self.spread.at_once).try_for_each(|_| self.publish_next(io, now))
    }

    fn tick(&mut self, _: &mut Io, _: Instant) -> Result<()> {
        Ok(())
    }

    fn receive(
        &mut self,
        io: &mut Io,
        index: usize,
        mut bytes: &[u8],
        stopping: bool,
    ) -> Result<()> {
        let now = Instant::now();
        let frame_bytes = self.publication.frame_bytes();
        let mut completed = 0;
        while !bytes.is_empty() {
            let left = frame_bytes - self.parts[index].len();
            let (piece, rest) = first_piece(bytes, left, frame_bytes);
            bytes = rest;
            match piece {
                Piece::Ping(payload) => {
                    self.message.clear();
                    append_pong(payload, &mut self.message);
                    io.send(index, &self.message)?;
                }
                Piece::Message(piece) => completed += self.take(io, index, piece, now)?,
            }
        }
        if stopping {
            return Ok(());
        }
        (0..completed).try_for_each(|_| self.publish_next(io, Instant::now()))
    }

    fn outstanding(&self) -> u64 {
        self.deliveries.outstanding()
    }

    fn pace(&self) -> Pace {
        Pace::Closed {
            at_once: self.spread.at_once as u32,
        }
    }

    fn operations_per_message(&self) -> usize {
        self.spread.rooms_each
    }
}
