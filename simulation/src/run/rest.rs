//! The end of a run: peers behave, everything comes to rest, and when all are gone nothing is left.

use runtime::simulation::CoreCounts;

use super::{REST_NS, Run};
use crate::rules::name_of;

impl Run {
    /// From now on all peers behave: within bounded time nothing waits any more.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        for client in self.clients.iter_mut().flatten() {
            client.reads = true;
            client.answers = true;
        }
        let until_ns = self.world.time_ns() + REST_NS;
        let mut was_quiet = false;
        loop {
            self.pass(20_000_000)?;
            self.drained += self.machine.drained();
            self.clerk.hear(&mut self.orders)?;
            match self.unrest() {
                // What was sent last may lie unread at a peer, which nobody else knows of.
                None if was_quiet => return self.audit().map(|_| ()),
                None => was_quiet = true,
                Some(unrest) if self.world.time_ns() > until_ns => {
                    return Err(format!("no rest: {unrest}"));
                }
                Some(_) => was_quiet = false,
            }
        }
    }

    fn unrest(&self) -> Option<String> {
        if self.is_draining && self.drained < self.settings.cores {
            return Some("the drain is not over".into());
        }
        let of_peers = self.clients.iter().enumerate().find_map(|(peer, client)| {
            let complaint = client.as_ref()?.complaint(&self.orders)?;
            Some(format!("peer {peer}: {complaint}"))
        });
        let open = self.clerk.open();
        let of_desk = (open > 0).then(|| format!("{open} requests of the desk are not answered"));
        self.machine.unrest().or(of_peers).or(of_desk)
    }

    pub(super) fn check_orders(&mut self) -> Result<(), String> {
        for client in self.clients.iter().flatten() {
            client.keep_runs(&mut self.orders);
        }
        self.orders.check()
    }

    /// Everybody leaves: all that was held is given back, all that was counted is counted out.
    pub(super) fn leave(&mut self) -> Result<(), String> {
        for peer in 0..self.clients.len() as u8 {
            match peer % 2 {
                0 => self.vanish(peer, false)?,
                _ => self.vanish(peer, true)?,
            }
        }
        let until_ns = self.world.time_ns() + REST_NS;
        while let Some(left) = self.remainder()? {
            if self.world.time_ns() > until_ns {
                return Err(format!("{left} when everybody is gone"));
            }
            // Keys are known for longer than it takes anything else to be given back.
            for room in Vec::from_iter(self.homes.keyed()) {
                self.machine.lose(&name_of(room));
                self.pass(1_000_000)?;
            }
            self.pass(50_000_000)?;
        }
        Ok(())
    }

    /// What is still there of connections and rooms, if anything is.
    fn remainder(&mut self) -> Result<Option<String>, String> {
        let counts = self.audit()?;
        let of = |count: fn(&CoreCounts) -> u64| counts.iter().map(count).sum::<u64>();
        let monitor = self.machine.monitor();
        let counts = [
            ("connections", of(|it| it.connections as u64)),
            ("connections without an end", of(|it| it.opened - it.ended)),
            ("bytes", of(|it| it.held_bytes as u64)),
            ("rooms", monitor.rooms() as u64),
            (
                "rooms that are said to be occupied",
                self.application.watch.len() as u64,
            ),
            (
                "counted connections",
                monitor.connections_and_most().0 as u64,
            ),
        ];
        let left = counts.into_iter().find(|(_, left)| *left > 0);
        let left = left.map(|(what, left)| format!("{left} {what} are left"));
        Ok(left.or_else(|| self.machine.unrest()))
    }
}
