//! What the homes of rooms know, checked against what peers were told: positions, histories, members.

use std::collections::{BTreeMap, BTreeSet};

use hub::Position;
use runtime::simulation::Machine;

use crate::{
    client::Client,
    desk::id_of,
    orders::Orders,
    rules::{Rules, name_of, ticker_of},
    script::ROOMS,
    watch::Watch,
};

/// What is known of the rooms that most steps are about.
#[derive(Default)]
pub struct Homes {
    rooms: [Known; ROOMS as usize],
    /// The rules that hold, if no other ones ever did.
    rules: Option<Rules>,
    /// How often rules were given.
    times_ruled: u32,
    /// Rooms in which something was published with a key.
    keyed: BTreeSet<u8>,
}

#[derive(Default)]
struct Known {
    position: Option<Position>,
    /// Epochs that are over.
    over: BTreeSet<u64>,
}

impl Homes {
    /// Rooms follow these rules from now on, the first ones if nothing has happened yet.
    pub fn rule(&mut self, rules: Rules, are_first: bool) {
        self.times_ruled += 1;
        self.rules = (are_first && self.times_ruled == 1).then_some(rules);
    }

    /// Something is published in this room with a key.
    pub fn note_key(&mut self, room: u8) {
        self.keyed.insert(room);
    }

    /// The rooms in which something was published with a key.
    pub fn keyed(&self) -> impl Iterator<Item = u8> {
        self.keyed.iter().copied()
    }

    /// An epoch goes up, no faster than the rules permit, and when it is over it never comes back.
    pub fn follow(&mut self, machine: &Machine, now_ns: u64) -> Result<(), String> {
        for (room, known) in (0u8..).zip(&mut self.rooms) {
            let position = machine.position(&name_of(room));
            if position == known.position {
                continue;
            }
            match (known.position, position) {
                (Some(before), Some(now)) if before.epoch == now.epoch => {
                    if now.offset < before.offset {
                        return Err(format!("r{room} goes from {before:?} back to {now:?}"));
                    }
                }
                (Some(before), _) => {
                    known.over.insert(before.epoch.0);
                }
                (None, _) => {}
            }
            if let Some(now) = position.filter(|it| known.over.contains(&it.epoch.0)) {
                return Err(format!("r{room} is in an epoch that was over: {now:?}"));
            }
            let rules = self.rules.as_ref();
            let most = rules.and_then(|rules| rules.most_messages(room, now_ns));
            if let (Some(now), Some(most)) = (position, most)
                && now.offset > most
            {
                return Err(format!("r{room} had more than {most} messages: {now:?}"));
            }
            known.position = position;
        }
        Ok(())
    }

    /// When nothing is to be done, nobody is a member whose connection is not in the room.
    pub fn nobody_is_a_ghost(&self, machine: &Machine) -> Result<(), String> {
        if self.times_ruled == 0 {
            return Ok(());
        }
        for room in 0..ROOMS {
            let members = machine.members(&name_of(room));
            if let Some((member, _)) = members.iter().find(|(_, is_in)| !is_in) {
                return Err(format!("{member:?} is a member of r{room} and not in it"));
            }
        }
        Ok(())
    }

    /// When everything is at rest, peers have had all that their rooms say, all who are there are members, and
    /// what is kept is what peers have seen.
    pub fn at_rest<'a>(
        &self,
        machine: &Machine,
        watch: &Watch,
        clients: impl Iterator<Item = &'a Client>,
        orders: &mut Orders,
        forgotten: &[(u8, Position)],
    ) -> Result<(), String> {
        self.nobody_is_a_ghost(machine)?;
        for room in 0..ROOMS {
            let forgotten = forgotten.iter().filter(|(it, _)| *it == room);
            check_kept(machine, room, orders, forgotten.map(|(_, at)| *at))?;
        }
        for client in clients {
            for (room, epoch, least, most) in client.places() {
                let top = machine.position(&name_of(room));
                let is_there = top
                    .is_some_and(|it| it.epoch.0 == epoch && (least..=most).contains(&it.offset));
                if !is_there {
                    return Err(format!(
                        "a peer is at {least} to {most} of {epoch} in r{room}, which is at {top:?}"
                    ));
                }
                self.check_presence(machine, room, client)?;
                self.check_occupancy(watch, room)?;
            }
            for (ticker, table) in client.tables() {
                check_table(machine, ticker, &table)?;
            }
        }
        Ok(())
    }

    /// A room that somebody is in is said to be occupied, if its rules have always been to say so.
    fn check_occupancy(&self, watch: &Watch, room: u8) -> Result<(), String> {
        let rules = self.rules.as_ref();
        let is_told = rules.is_some_and(|rules| rules.of_room(room).tells_occupancy);
        match is_told && !watch.is_occupied(&name_of(room)) {
            true => Err(format!(
                "somebody is in r{room}, and it is said to be vacated"
            )),
            false => Ok(()),
        }
    }

    /// Who has entered a room is a member of it, once, if the room has always known who is in it.
    fn check_presence(&self, machine: &Machine, room: u8, client: &Client) -> Result<(), String> {
        let rules = self.rules.as_ref();
        let has_presence = rules.is_some_and(|rules| rules.of_room(room).has_presence);
        if !has_presence || !client.has_entered(room) {
            return Ok(());
        }
        let info = client.info();
        let members = machine.members(&name_of(room));
        let times = members.iter().filter(|(it, _)| it.info == info).count();
        match times {
            1 => Ok(()),
            _ => Err(format!("{info} is in r{room}, and a member {times} times")),
        }
    }
}

/// A peer has the table that the room has.
fn check_table(machine: &Machine, ticker: u8, table: &BTreeMap<&str, u64>) -> Result<(), String> {
    let kept = machine.kept(&ticker_of(ticker));
    let kept: BTreeMap<_, _> = kept
        .iter()
        .filter_map(|(offset, record)| Some((&*record.keyed()?.key, *offset)))
        .collect();
    match kept == *table {
        true => Ok(()),
        false => Err(format!("t{ticker} has {kept:?}, and a peer {table:?}")),
    }
}

/// What is kept are the latest messages, each where peers have seen it, but for those that were not to be kept or
/// are to be forgotten; and in place of those that were erased there are their tombstones.
fn check_kept(
    machine: &Machine,
    room: u8,
    orders: &mut Orders,
    mut forgotten: impl Iterator<Item = Position>,
) -> Result<(), String> {
    let name = name_of(room);
    let kept = machine.kept(&name);
    let Some(top) = machine.position(&name).filter(|_| !kept.is_empty()) else {
        return Ok(());
    };
    let epoch = top.epoch.0;
    let erased = orders.erased();
    let mut expected = kept[0].0;
    for (offset, record) in kept {
        let id = id_of(&record.payload);
        if offset < expected || offset > top.offset {
            return Err(format!(
                "offset {offset} of r{room} is kept before {expected}"
            ));
        }
        (expected..offset).for_each(|passed| orders.particulars.pass_over(epoch, passed));
        expected = offset + 1;
        orders.read(id, epoch, offset)?;
        let tombstones = erased.get(&(epoch, offset));
        if tombstones.is_some_and(|tombstones| !tombstones.contains(&id)) {
            return Err(format!(
                "offset {offset} of r{room} is erased, and still message {id}"
            ));
        }
        if let Some(up_to) = forgotten.find(|it| it.epoch == top.epoch && offset <= it.offset) {
            return Err(format!(
                "offset {offset} of r{room} is kept, and forgotten up to {up_to:?}"
            ));
        }
    }
    (expected..=top.offset).for_each(|passed| orders.particulars.pass_over(epoch, passed));
    Ok(())
}
