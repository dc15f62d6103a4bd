//! What a peer hears of the rooms it is in.

use super::{Client, Member};
use crate::orders::{Orders, Run};

impl Client {
    pub(super) fn leave(&mut self, room: u8, orders: &mut Orders) {
        if let Some(member) = self.members.remove(&room) {
            self.keep_position(room, &member);
            if let Member::Lost(run) = member {
                orders.keep(run);
            }
        }
    }

    pub(super) fn hear_message(
        &mut self,
        room: u8,
        id: u64,
        orders: &mut Orders,
    ) -> Result<(), String> {
        let member = self.members.get_mut(&room);
        match member.ok_or_else(|| format!("message {id} came of r{room}, in which it is not"))? {
            Member::At { epoch, next } => {
                orders.place(id, *epoch, *next)?;
                *next += 1;
            }
            Member::Passed { .. } => return Err(format!("message {id} came without its place")),
            Member::Lost(run) => run.ids.push(id),
        }
        Ok(())
    }

    /// So many messages are passed over; who comes and goes counts, too, where that is told.
    pub(super) fn hear_skipped(
        &mut self,
        room: u8,
        count: u64,
        orders: &mut Orders,
    ) -> Result<(), String> {
        let is_exact = !orders.announces || !self.has_entered(room);
        let member = self
            .members
            .get_mut(&room)
            .ok_or("it skips in a room in which it is not")?;
        let behind = match member {
            Member::At { next, .. } if is_exact => {
                *next += count;
                return Ok(());
            }
            &mut Member::At { epoch, next } => {
                let most = count;
                *member = Member::Passed { epoch, next, most };
                return Ok(());
            }
            Member::Passed { most, .. } => {
                *most += count;
                return Ok(());
            }
            Member::Lost(run) => {
                let behind = run.ids.last().and_then(|id| orders.place_of(*id));
                orders.keep(std::mem::take(run));
                behind
            }
        };
        let ids = Vec::new();
        *member = Member::Lost(Run { behind, ids });
        Ok(())
    }
}
