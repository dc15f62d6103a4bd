//! Deliveries: takes what homes send to this core, into the rooms' logs and to waiting connections.
//!
//! Waits for the mailbox and for its next turn alone: a core that goes on taking its deliveries is what keeps the waiting
//! between cores free of circles. A room to whose subscribers too much is still to be sent has its
//! deliveries parked, and its home is asked to hold it: so one large room keeps neither other rooms nor
//! their homes waiting.

use std::{collections::VecDeque, rc::Rc, sync::Arc};

use flume::Receiver;
use hub::{Announcement, ConnectionId, Delivery, Details, Epoch, Record, Request, RoomId, Stamps};

use super::{Core, State};
use crate::{
    clock::Now,
    connection::Fate,
    encoding::{Delivered, RoomEvent},
    ids::ConnectionKey,
    rooms::{Gathering, Parked, Reach, Ticket, kind_of, publication_bytes},
    turn::{Meter, Pace, bounds},
};

/// Messages of one room with consecutive offsets.
struct Run {
    room: RoomId,
    epoch: Epoch,
    first: u64,
    records: Arc<[Record]>,
    stamps: Stamps,
}

/// Takes deliveries for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>, deliveries: Receiver<Vec<Delivery>>) {
    while let Ok(batch) = deliveries.recv_async().await {
        core.state.borrow_mut().count_deliveries(batch.len());
        let mut batch = VecDeque::from(batch);
        while (core.state.borrow_mut()).deliver_some(&mut batch, &deliveries) {
            core.turnstile.pass().await;
        }
    }
}

impl State {
    fn count_deliveries(&mut self, deliveries: usize) {
        self.parts.counters.tally.deliveries.count(deliveries);
    }

    /// Takes as much as a turn allows of a batch, and of those that wait behind it; returns whether the turn
    /// is over before they are.
    fn deliver_some(
        &mut self,
        batch: &mut VecDeque<Delivery>,
        mailbox: &Receiver<Vec<Delivery>>,
    ) -> bool {
        let now = self.begin_turn();
        let mut pace = self.delivery_pace(now);
        loop {
            while let Some(delivery) = batch.pop_front() {
                if let Some(rest) = self.deliver(delivery, &mut pace, now) {
                    batch.push_front(rest);
                }
                if pace.is_used_up() {
                    return true;
                }
            }
            let Ok(next) = mailbox.try_recv() else {
                return false;
            };
            self.count_deliveries(next.len());
            *batch = next.into();
        }
    }

    /// Measures the deliveries of a turn that begins at `now`.
    pub(super) fn delivery_pace(&self, now: Now) -> Pace {
        let meter = Meter::since(now.ns, self.parts.clock, bounds::DELIVERIES_NS);
        Pace::new(meter, bounds::DELIVERED_BYTES_PER_LOOK)
    }

    /// Makes a delivery, or parks it if its room is full. Returns what is left of one for which the time was
    /// used up.
    pub(super) fn deliver(
        &mut self,
        delivery: Delivery,
        pace: &mut Pace,
        now: Now,
    ) -> Option<Delivery> {
        match room_of(&delivery) {
            Some(room) if self.parts.rooms.shards.must_park(room) => {
                self.park(room, delivery);
                None
            }
            _ => self.deliver_now(delivery, pace, now),
        }
    }

    fn deliver_now(&mut self, delivery: Delivery, pace: &mut Pace, now: Now) -> Option<Delivery> {
        pace.did(bounds::DELIVERY_BYTES);
        match delivery {
            Delivery::Joined {
                subscriber,
                ticket,
                room,
                name,
                position,
                recovered,
            } => {
                // Whoever joins gets nothing of what was told before.
                let encoder = &mut self.parts.out.encoder;
                pace.did(self.parts.rooms.shards.close_frames(room, encoder));
                self.joined(subscriber, ticket, (room, name), (position, recovered), now);
            }
            Delivery::Refused {
                subscriber,
                ticket,
                reason,
            } => {
                let (ticket, _) = Ticket::of(ticket);
                self.reply_to(subscriber, now, |actor| actor.join_refused(ticket, reason));
            }
            Delivery::Messages {
                room,
                epoch,
                first,
                records,
                stamps,
            } => {
                let run = Run {
                    room,
                    epoch,
                    first,
                    records,
                    stamps,
                };
                return self.offer(run, pace, now);
            }
            Delivery::Published {
                publisher,
                ticket,
                position,
                stamp,
                ..
            } => {
                let took_ns = now.ns.saturating_sub(stamp);
                self.parts.counters.tally.publish.record(took_ns);
                self.published(publisher, ticket, Ok(position), now);
            }
            Delivery::Unpublished {
                publisher,
                ticket,
                reason,
            } => {
                self.parts.counters.tally.unpublished.count(reason);
                self.published(publisher, ticket, Err(reason), now);
            }
            Delivery::Announced {
                room,
                announcements,
            } => pace.did(self.announce(room, &announcements, now)),
            Delivery::Answered {
                asker,
                ticket,
                answer,
            } => {
                let Some(key) = ConnectionKey::of_token(asker.token) else {
                    self.errands.answered(ticket, answer);
                    return None;
                };
                let (ticket, _) = Ticket::of(ticket);
                self.act(key, now, |actor, _| actor.answered(ticket, answer));
            }
            Delivery::Listed {
                ticket, listing, ..
            } => self.errands.listed(ticket, listing),
            Delivery::Lost { room, reason } => {
                for key in self.parts.rooms.shards.subscribers(room) {
                    self.act(key, now, |actor, _| actor.lost(room, reason));
                }
            }
        }
        None
    }

    /// A join was ordered. A connection that has gone meanwhile leaves again.
    fn joined(
        &mut self,
        subscriber: ConnectionId,
        ticket: hub::Ticket,
        (room, name): (RoomId, hub::RoomName),
        position: (hub::Position, Option<hub::Recovered>),
        now: Now,
    ) {
        let (ticket, _) = Ticket::of(ticket);
        let joined = self.reply_to(subscriber, now, |actor| {
            actor.joined(ticket, room, &name, position);
        });
        if joined.is_none() && !self.has(subscriber) {
            let leave = Request::Leave { room, subscriber };
            self.parts.rooms.requests.push(leave);
        }
    }

    fn published(&mut self, publisher: ConnectionId, ticket: hub::Ticket, fate: Fate, now: Now) {
        let Some(key) = ConnectionKey::of_token(publisher.token) else {
            return self.errands.published(ticket, fate);
        };
        let (ticket, bytes) = Ticket::of(ticket);
        self.act(key, now, |actor, _| actor.published(ticket, bytes, fate));
    }

    fn reply_to<T>(
        &mut self,
        asker: ConnectionId,
        now: Now,
        answer: impl FnOnce(&mut crate::connection::Actor<'_>) -> T,
    ) -> Option<T> {
        let key = ConnectionKey::of_token(asker.token)?;
        self.act(key, now, |actor, _| answer(actor))
    }

    fn has(&self, connection: ConnectionId) -> bool {
        let key = ConnectionKey::of_token(connection.token);
        key.is_some_and(|key| self.connections.get(key).is_some())
    }

    /// Encodes messages once for all subscribers on this core that take the same form, up to the room's
    /// bound; the others are parked. Returns those for which the time was used up.
    fn offer(&mut self, run: Run, pace: &mut Pace, now: Now) -> Option<Delivery> {
        let gathering = self.gathering(run.room, now);
        for (at, record) in run.records.iter().enumerate() {
            if at > 0 && self.parts.rooms.shards.has_unvisited_excess(run.room) {
                self.park_first(run.room, run.rest(at));
                return None;
            }
            if at > 0 && pace.is_used_up() {
                return Some(run.rest(at));
            }
            let offset = run.first + at as u64;
            let encoded_bytes = self.offer_one(&run, offset, record, run.stamps[at], gathering);
            pace.did(encoded_bytes);
        }
        None
    }

    /// How what is told in a room is gathered, if its messages leave together.
    fn gathering(&mut self, room: RoomId, now: Now) -> Option<Gathering> {
        let application = &self.parts.application;
        let ask = |name: &_| application.batch_interval(name);
        let encoder = &mut self.parts.out.encoder;
        let interval = self.parts.rooms.shards.interval(room, encoder, ask)?;
        Some(Gathering {
            due_ms: now.ms + interval.ms(),
            // A queue has space for some batches, so that a subscriber that is behind by one is not too slow yet.
            bytes_max: self.parts.config.send_queue_bytes_max / 4,
        })
    }

    /// Offers one message; returns how many bytes were encoded, in all forms together.
    fn offer_one(
        &mut self,
        run: &Run,
        offset: u64,
        record: &Record,
        stamp_ns: u64,
        gathering: Option<Gathering>,
    ) -> usize {
        let kind = kind_of(record);
        let event = RoomEvent::Message {
            epoch: run.epoch,
            offset,
            kind,
            meta: record.meta(),
            keyed: record.keyed(),
            payload: &record.payload,
        };
        let reach = self.tell(
            run.room,
            event,
            (stamp_ns, record.details.as_ref()),
            gathering,
        );
        if reach.recipients > 0 {
            let tally = &mut self.parts.counters.tally;
            tally.recipients.record(reach.recipients);
            let (recipients, frames) = (reach.recipients as u64, reach.frames as u64);
            tally.told(kind, record.payload.len(), recipients, frames);
        }
        reach.bytes
    }

    /// Tells the subscribers on this core who take such a form who has come and gone; returns how many
    /// bytes were encoded.
    fn announce(&mut self, room: RoomId, announcements: &[Announcement], now: Now) -> usize {
        let gathering = self.gathering(room, now);
        let told = announcements.iter().map(|announcement| {
            let event = match announcement {
                Announcement::Came(member) => RoomEvent::Came(member),
                Announcement::Went(member) => RoomEvent::Went(member),
            };
            self.tell(room, event, (now.ns, None), gathering).bytes
        });
        told.sum()
    }

    /// Encodes what has happened in a room, once for each form of its subscribers here. It leaves at the end of
    /// the turn, or is gathered.
    fn tell(
        &mut self,
        room: RoomId,
        event: RoomEvent<'_>,
        (stamp_ns, details): (u64, Option<&Arc<Details>>),
        gathering: Option<Gathering>,
    ) -> Reach {
        let shards = &mut self.parts.rooms.shards;
        let encoder = &mut self.parts.out.encoder;
        if let Some(gathering) = gathering {
            self.parts.out.batches.raise();
            return shards.gather(room, event, (stamp_ns, details), gathering, encoder);
        }
        let mut bytes = 0;
        let recipients = shards.offer(room, stamp_ns, details, |name, form, log| {
            let delivered = Delivered { room: name, event };
            if let Some(frame) = encoder.encode(form, &delivered) {
                log.append(frame.parts());
                bytes += event.bytes();
            }
        });
        Reach {
            recipients,
            frames: recipients,
            bytes,
        }
    }

    fn park(&mut self, room: RoomId, delivery: Delivery) {
        let bytes = bytes_of(&delivery);
        if self.parts.rooms.shards.park(room, delivery, bytes) == Some(Parked::First) {
            self.hold(room);
        }
    }

    /// The rest of a run whose beginning was offered: it goes before everything that is parked.
    fn park_first(&mut self, room: RoomId, rest: Delivery) {
        let bytes = bytes_of(&rest);
        if self.parts.rooms.shards.park_first(room, rest, bytes) == Some(Parked::First) {
            self.hold(room);
        }
    }

    fn hold(&mut self, room: RoomId) {
        let core = self.parts.id;
        self.parts.rooms.requests.push(Request::Hold { room, core });
    }

    /// Delivers what was parked, until each room reaches its bound again or the time for that is used up.
    pub(super) fn unpark(&mut self, pace: &mut Pace, now: Now) {
        while !pace.is_used_up()
            && let Some((room, delivery)) = self.parts.rooms.shards.unpark(bytes_of)
        {
            if let Some(rest) = self.deliver_now(delivery, pace, now) {
                self.park_first(room, rest);
                self.parts.rooms.shards.relieve(room);
            }
            if !self.parts.rooms.shards.has_parked(room) {
                let core = self.parts.id;
                let resume = Request::Resume { room, core };
                self.parts.rooms.requests.push(resume);
            }
        }
    }
}

impl Run {
    /// The messages from the one at this place on.
    fn rest(&self, at: usize) -> Delivery {
        Delivery::Messages {
            room: self.room,
            epoch: self.epoch,
            first: self.first + at as u64,
            records: self.records[at..].into(),
            stamps: self.stamps[at..].into(),
        }
    }
}

/// The room whose order a delivery must keep; `None` if it is about no room's messages.
fn room_of(delivery: &Delivery) -> Option<RoomId> {
    match delivery {
        Delivery::Messages { room, .. }
        | Delivery::Published { room, .. }
        | Delivery::Joined { room, .. }
        | Delivery::Announced { room, .. }
        | Delivery::Lost { room, .. } => Some(*room),
        Delivery::Refused { .. }
        | Delivery::Unpublished { .. }
        | Delivery::Answered { .. }
        | Delivery::Listed { .. } => None,
    }
}

/// What a parked delivery counts for, in bytes.
fn bytes_of(delivery: &Delivery) -> usize {
    match delivery {
        Delivery::Messages { records, .. } => records
            .iter()
            .map(|record| publication_bytes(record.sent_bytes()))
            .sum(),
        Delivery::Announced { announcements, .. } => {
            announcements.len() * size_of::<Announcement>() + publication_bytes(0)
        }
        _ => publication_bytes(0),
    }
}

#[cfg(test)]
mod tests;
