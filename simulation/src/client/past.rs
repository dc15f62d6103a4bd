//! What a peer knows of the past of rooms: where it was, what it has asked, and what the answers must be.

use std::collections::{BTreeMap, BTreeSet};

use super::{Client, Member, is_padded};
use crate::{
    orders::{ONCE, Orders},
    script::{ROOMS, Recovery},
};

/// Where a peer was in each room, as epoch and offset of the latest message that it had there.
pub type Positions = BTreeMap<u8, (u64, u64)>;

/// A peer's side of the past of rooms.
#[derive(Default)]
pub(super) struct Past {
    pub(super) positions: Positions,
    /// Rooms in which it is as a member.
    entered: BTreeSet<u8>,
    /// Questions that are not answered yet, by their serial number.
    asked: BTreeMap<u64, Asked>,
    serial: u64,
    /// The last place of each epoch that it was told its own message has.
    acknowledged: BTreeMap<u64, u64>,
    /// An answer whose messages have not all come.
    pub(super) reading: Option<Reading>,
}

/// What it has asked.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// To be in a room, with what was missed since.
    Enter {
        recovery: Recovery,
        since: (Option<u64>, u64),
    },
    History {
        limit: u64,
        is_reversed: bool,
        since: Option<(u64, u64)>,
    },
    Members,
    Counts,
}

/// An answer whose messages have not all come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) room: u8,
    epoch: u64,
    /// The offset of the next message, if that follows from what came before.
    next: Option<u64>,
    /// How many are still to come.
    left: u64,
    top: u64,
    is_reversed: bool,
    /// Whether it belongs to an entry, behind which everything follows without a seam.
    is_entry: bool,
}

impl Client {
    /// Goes into a room as a member.
    pub fn enter(&mut self, room: u8, recovery: Recovery) {
        if !self.may_say() {
            return;
        }
        let position = self.past.positions.get(&room);
        let since = position.map_or((None, 0), |(epoch, offset)| (Some(*epoch), *offset));
        let serial = self.ask(Asked::Enter { recovery, since });
        let mode = match recovery {
            Recovery::None => "live",
            Recovery::Missed => "missed",
            Recovery::Latest => "latest",
        };
        let info = self.info();
        let since = words_of(since);
        self.say(&format!("enter r{room} {serial} {info} {mode} {since}"), 1);
    }

    /// Goes into all rooms where it was.
    pub fn enter_all(&mut self, recovery: Recovery) {
        for room in Vec::from_iter(self.past.positions.keys().copied()) {
            self.enter(room, recovery);
        }
    }

    /// Asks for messages of the past, beside the latest one that it has.
    pub fn ask_history(&mut self, room: u8, limit: u8, is_reversed: bool, is_beside: bool) {
        if !self.may_say() {
            return;
        }
        let position = self.past.positions.get(&room).copied();
        let since = position.filter(|_| is_beside);
        let limit = u64::from(limit);
        let serial = self.ask(Asked::History {
            limit,
            is_reversed,
            since,
        });
        let order = if is_reversed { "reversed" } else { "forward" };
        let since = since.map_or_else(
            || "none 0".to_owned(),
            |(epoch, offset)| words_of((Some(epoch), offset)),
        );
        self.say(
            &format!("history r{room} {serial} {limit} {order} {since}"),
            1,
        );
    }

    /// Asks who is in a room, or how many.
    pub fn ask_members(&mut self, room: u8, is_counted: bool) {
        if self.may_say() {
            let (verb, asked) = match is_counted {
                true => ("counts", Asked::Counts),
                false => ("members", Asked::Members),
            };
            let serial = self.ask(asked);
            self.say(&format!("{verb} r{room} {serial}"), 1);
        }
    }

    /// Publishes a message that has one place, however often it is published.
    pub fn publish_once(&mut self, room: u8, key: u8, body: u8, bytes: usize) {
        if self.may_say() {
            let id = ONCE + u64::from(room) * 1_000 + u64::from(key) * 10 + u64::from(body);
            *self.awaited.entry(id).or_default() += 1;
            let padding = "x".repeat(bytes);
            self.say(&format!("once {key} r{room} {id} {bytes} {padding}"), 1);
        }
    }

    fn ask(&mut self, asked: Asked) -> u64 {
        self.past.serial += 1;
        self.past.asked.insert(self.past.serial, asked);
        self.past.serial
    }

    /// Hears what is said of the past and of members.
    pub(super) fn hear_past(
        &mut self,
        words: &[&str],
        text: &str,
        orders: &mut Orders,
    ) -> Result<(), String> {
        let number = |nth: usize| number_in(words, nth, text);
        match words[0] {
            "o" => {
                is_padded(&words[6..], text)?;
                self.hear_numbered(
                    room_in(words, 4, text)?,
                    number(1)?,
                    number(2)?,
                    number(5)?,
                    orders,
                )
            }
            "p" => {
                is_padded(&words[6..], text)?;
                self.hear_old(
                    room_in(words, 4, text)?,
                    number(1)?,
                    number(2)?,
                    number(5)?,
                    orders,
                )
            }
            "entered" => {
                let room = room_in(words, 1, text)?;
                let (position, count) = ((number(3)?, number(4)?), number(6)?);
                self.hear_entered(room, number(2)?, position, (words[5], count), orders)
            }
            "past" => {
                let room = room_in(words, 1, text)?;
                self.hear_history(room, number(2)?, (number(3)?, number(4)?), number(5)?)
            }
            "members" => {
                let mut infos = words[3..].to_vec();
                infos.sort_unstable();
                infos.dedup();
                self.past.asked.remove(&number(2)?);
                match infos.len() == words.len() - 3 {
                    true => Ok(()),
                    false => Err(format!("a member is there twice: {text:?}")),
                }
            }
            "counts" => {
                self.past.asked.remove(&number(2)?);
                match number(4)? <= number(3)? {
                    true => Ok(()),
                    false => Err(format!("more users than members: {text:?}")),
                }
            }
            "there" | "none" => {
                self.past.asked.remove(&number(2)?);
                Ok(())
            }
            "came" | "went" => match self.members.contains_key(&room_in(words, 1, text)?) {
                true => Ok(()),
                false => Err(format!("it is not in the room: {text:?}")),
            },
            _ => Err(format!("nothing like this is ever said: {text:?}")),
        }
    }

    /// It is in a room as a member, and has what it has missed, or is told why not.
    fn hear_entered(
        &mut self,
        room: u8,
        serial: u64,
        (epoch, top): (u64, u64),
        (how, count): (&str, u64),
        orders: &mut Orders,
    ) -> Result<(), String> {
        let sure = &orders.sure;
        let asked = self.past.asked.remove(&serial);
        let Some(Asked::Enter { recovery, since }) = asked else {
            return Err(format!("it entered r{room} and had not asked"));
        };
        let (since_epoch, offset) = since;
        let told = || format!("since {since:?}, {how} {count} up to {top} of {epoch} of r{room}");
        let is_of_epoch = since_epoch.is_none_or(|it| it == epoch) && offset <= top;
        let is_right = match (recovery, how) {
            (Recovery::None, "live") => count == 0,
            (Recovery::Missed, "exactly") => is_of_epoch && count <= top - offset,
            (Recovery::Latest, "exactly") => {
                count == 1 || count == 0 && since_epoch == Some(epoch) && is_of_epoch
            }
            (Recovery::Missed, "epoch") => !is_of_epoch && count == 0,
            (Recovery::Missed, cause) => {
                is_of_epoch && offset < top && count == 0 && sure.permits(cause, room, top - offset)
            }
            (Recovery::Latest, "size" | "time" | "memory") => count == 0,
            (Recovery::Latest, "forgotten") => count == 0 && sure.forgets(room),
            _ => false,
        };
        if !is_right {
            return Err(format!("it asked for {recovery:?} and got, {}", told()));
        }
        // Where it is given the latest one, that may be any.
        let first = (recovery == Recovery::Missed).then_some(offset + 1);
        if count == 0 && how == "exactly" {
            (offset + 1..=top).for_each(|passed| orders.particulars.pass_over(epoch, passed));
        }
        let next = match count {
            0 => top + 1,
            _ => first.unwrap_or(top),
        };
        self.members.insert(room, Member::At { epoch, next });
        self.past.entered.insert(room);
        self.expect(Reading {
            room,
            epoch,
            next: first,
            left: count,
            top,
            is_reversed: false,
            is_entry: true,
        })
    }

    fn hear_history(
        &mut self,
        room: u8,
        serial: u64,
        (epoch, top): (u64, u64),
        count: u64,
    ) -> Result<(), String> {
        let Some(Asked::History {
            limit,
            is_reversed,
            since,
        }) = self.past.asked.remove(&serial)
        else {
            return Err(format!("the history of r{room} came and was not asked for"));
        };
        if count > limit || since.is_some_and(|(it, _)| it != epoch) {
            return Err(format!(
                "of r{room}, {count} messages came of {epoch}, and asked were {limit} since {since:?}"
            ));
        }
        let before = since.map_or(top, |(_, offset)| offset.saturating_sub(1).min(top));
        self.expect(Reading {
            room,
            epoch,
            next: is_reversed.then_some(before),
            left: count,
            top,
            is_reversed,
            is_entry: false,
        })
    }

    fn expect(&mut self, reading: Reading) -> Result<(), String> {
        if self.past.reading.is_some() {
            return Err("an answer came before the messages of another one".into());
        }
        self.past.reading = Some(reading).filter(|it| it.left > 0);
        Ok(())
    }

    /// A message of the past.
    fn hear_old(
        &mut self,
        room: u8,
        epoch: u64,
        offset: u64,
        id: u64,
        orders: &mut Orders,
    ) -> Result<(), String> {
        let reading = self.past.reading.filter(|it| it.room == room);
        let mut it = reading.ok_or_else(|| format!("offset {offset} of r{room} came unasked"))?;
        let is_next = it.next.is_none_or(|next| match it.is_reversed {
            true => offset <= next,
            false => offset >= next,
        });
        if !is_next || it.epoch != epoch || offset > it.top {
            return Err(format!(
                "offset {offset} of {epoch} came in place of {it:?}"
            ));
        }
        orders.read(id, epoch, offset)?;
        // Between what is given there was nothing to be kept.
        let passed = match it.next {
            Some(next) if it.is_reversed => offset + 1..next + 1,
            Some(next) => next..offset,
            None => 0..0,
        };
        passed.for_each(|passed| orders.particulars.pass_over(epoch, passed));
        it.left -= 1;
        it.next = Some(match it.is_reversed {
            true => offset - 1,
            false => offset + 1,
        });
        if it.is_entry {
            let mut next = offset + 1;
            if it.left == 0 {
                (next..=it.top).for_each(|passed| orders.particulars.pass_over(epoch, passed));
                next = it.top + 1;
            }
            self.members.insert(room, Member::At { epoch, next });
        }
        self.past.reading = Some(it).filter(|it| it.left > 0);
        Ok(())
    }

    /// A message that says where it lies.
    fn hear_numbered(
        &mut self,
        room: u8,
        epoch: u64,
        offset: u64,
        id: u64,
        orders: &mut Orders,
    ) -> Result<(), String> {
        if let Some(reading) = self
            .past
            .reading
            .filter(|it| it.is_entry && it.room == room)
        {
            return Err(format!("offset {offset} came before {reading:?}"));
        }
        orders.place(id, epoch, offset)?;
        let member = self.members.get_mut(&room);
        let member = member.ok_or_else(|| format!("{offset} of r{room} came to no member"))?;
        let (of, from, to) = match *member {
            Member::At { epoch, next } => (epoch, next, next),
            Member::Passed { epoch, next, most } => (epoch, next, next + most),
            Member::Lost(_) => return Err(format!("{offset} of r{room} came with its place")),
        };
        if of != epoch || offset < from || offset > to {
            return Err(format!(
                "offset {offset} of {epoch} came in place of {from} to {to} of {of}"
            ));
        }
        let next = offset + 1;
        *member = Member::At { epoch, next };
        Ok(())
    }

    /// A message of its own has this place.
    pub(super) fn note_acknowledged(&mut self, epoch: u64, offset: u64) {
        let last = self.past.acknowledged.entry(epoch).or_default();
        *last = offset.max(*last);
    }

    /// It leaves a room: everything that was acknowledged before has come, however the room gathers its messages.
    pub(super) fn check_told(&self, room: u8) -> Result<(), String> {
        let Some(Member::At { epoch, next }) = self.members.get(&room) else {
            return Ok(());
        };
        let last = self.past.acknowledged.get(epoch);
        match last.filter(|last| *last >= next) {
            Some(last) if !self.may_miss_the_last => Err(format!(
                "it left r{room} at {next} and was told before that its message has the place {last}"
            )),
            _ => Ok(()),
        }
    }

    /// It is in the room no longer, and keeps its place there.
    pub(super) fn keep_position(&mut self, room: u8, member: &Member) {
        if self
            .past
            .reading
            .is_some_and(|it| it.is_entry && it.room == room)
        {
            self.past.reading = None;
        }
        self.past.entered.remove(&room);
        match *member {
            Member::At { epoch, next } if room < ROOMS => {
                self.past.positions.insert(room, (epoch, next - 1));
            }
            _ => {
                self.past.positions.remove(&room);
            }
        }
    }

    /// Whether it is in this room as a member.
    pub fn has_entered(&self, room: u8) -> bool {
        self.past.entered.contains(&room)
    }

    /// What the others are told of it.
    pub fn info(&self) -> String {
        format!("i{}", self.peer.number())
    }

    /// Takes what it knows of its places.
    pub fn take_positions(&mut self) -> Positions {
        std::mem::take(&mut self.past.positions)
    }

    /// It was in these places before.
    #[must_use]
    pub fn knowing(mut self, positions: Positions) -> Self {
        self.past.positions = positions;
        self
    }
}

fn words_of((epoch, offset): (Option<u64>, u64)) -> String {
    match epoch {
        Some(epoch) => format!("{epoch} {offset}"),
        None => format!("any {offset}"),
    }
}

pub(super) fn number_in(words: &[&str], nth: usize, text: &str) -> Result<u64, String> {
    let word = words.get(nth).and_then(|word| word.parse().ok());
    word.ok_or_else(|| format!("no number: {text:?}"))
}

pub(super) fn room_in(words: &[&str], nth: usize, text: &str) -> Result<u8, String> {
    let name = words.get(nth).and_then(|word| word.strip_prefix('r'));
    let number = name.and_then(|name| name.parse().ok());
    number.ok_or_else(|| format!("no room: {text:?}"))
}
