//! Echo: every connection sends, and must receive its own messages.

use super::check::EchoCheck;
use super::pace::{Pace, Schedule};
use super::reactor::{Driver, Io};
use super::wire::Template;
use anyhow::{Result, anyhow};
use std::collections::VecDeque;
use std::time::Instant;

#[derive(Debug)]
struct Sender {
    check: EchoCheck,
    sent: u32,
    times: VecDeque<Instant>,
}

/// The load of echoes.
#[derive(Debug)]
pub struct Echo {
    template: Template,
    pace: Pace,
    schedule: Option<Schedule>,
    senders: Vec<Sender>,
    outstanding: u64,
    batch: Vec<u8>,
}

impl Echo {
    /// A load over this many connections.
    #[must_use]
    pub fn new(template: Template, connections: usize, pace: Pace) -> Self {
        let sender = |index| Sender {
            check: EchoCheck::new(index as u32),
            sent: 0,
            times: VecDeque::new(),
        };
        Self {
            template,
            pace,
            schedule: None,
            senders: (0..connections).map(sender).collect(),
            outstanding: 0,
            batch: Vec::new(),
        }
    }

    fn send(&mut self, io: &mut Io, index: usize, count: u32, time: Instant) -> Result<()> {
        let sender = &mut self.senders[index];
        self.batch.clear();
        for _ in 0..count {
            self.template
                .append(index as u32, sender.sent, &mut self.batch);
            sender.times.push_back(time);
            sender.sent += 1;
        }
        self.outstanding += u64::from(count);
        io.send(index, &self.batch)
    }
}

impl Driver for Echo {
    fn start(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        match self.pace {
            Pace::Closed { at_once } => {
                for index in 0..self.senders.len() {
                    self.send(io, index, at_once, now)?;
                }
            }
            Pace::Fixed { per_second } => self.schedule = Some(Schedule::new(now, per_second)),
        }
        Ok(())
    }

    fn tick(&mut self, io: &mut Io, now: Instant) -> Result<()> {
        while let Some((number, due)) = self.schedule.as_mut().and_then(|it| it.next(now)) {
            let index = number as usize % self.senders.len();
            self.send(io, index, 1, due)?;
        }
        Ok(())
    }

    fn receive(&mut self, io: &mut Io, index: usize, bytes: &[u8], stopping: bool) -> Result<()> {
        let sender = &mut self.senders[index];
        let count = sender
            .check
            .receive(&mut self.template, sender.sent, bytes)
            .map_err(|fault| anyhow!("{fault}"))?;
        let now = Instant::now();
        for time in sender.times.drain(..count as usize) {
            io.meter.record(time, now, 1);
        }
        self.outstanding -= u64::from(count);
        let all_back = sender.times.is_empty() && count > 0;
        match self.pace {
            Pace::Closed { at_once } if all_back && !stopping => {
                self.send(io, index, at_once, Instant::now())
            }
            _ => Ok(()),
        }
    }

    fn outstanding(&self) -> u64 {
        self.outstanding
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn operations_per_message(&self) -> usize {
        1
    }
}
