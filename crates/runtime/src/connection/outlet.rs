//! What a session can do: send, join and leave rooms, publish, wait for answers, close.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use codec::{CloseCode, Kind};
use hub::{
    ConnectionId, Details, PublishRefusal, Question, Record, Request, RoomName, Target, Terms,
};

use super::{GoesOn, LeftReason, Memberships, Outgoing, Parts, SessionEvent};
use crate::{
    clock::{Now, ms},
    encoding::BodyForm,
    end::EndReason,
    ids::ConnectionKey,
    rooms::{Membership, Ticket, publication_bytes, tag_of},
};

/// What a session can do with its connection and its rooms. What it asks of rooms is answered later by
/// a [`SessionEvent`] with the ticket that it got here.
pub struct Outlet<'a> {
    pub(crate) key: ConnectionKey,
    pub(crate) out: &'a mut Outgoing,
    pub(crate) rooms: &'a mut Memberships,
    pub(crate) parts: &'a mut Parts,
    pub(crate) now: Now,
    /// What the session has asked for that its actor does.
    pub(crate) wishes: Wishes,
}

/// What a session has asked for that its actor does when it is done.
#[derive(Default)]
pub(crate) struct Wishes {
    /// Why the connection is to be closed.
    pub(crate) end: Option<EndReason>,
    /// Whether the session goes on in a later step.
    pub(crate) goes_on: GoesOn,
    /// The peer has answered the session's ping.
    pub(crate) is_ponged: bool,
    /// When the session wants to be woken, in milliseconds of deadlines; `Some(None)` is never.
    pub(crate) alarm_ms: Option<Option<u64>>,
}

/// What becomes of a connection that its peer resets while its session waits for an outsider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfReset {
    /// It ends: what is asked is the peer's own affair.
    Ends,
    /// It waits, because others are owed what the peer had sent.
    Waits,
}

/// A connection is in as many rooms as it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is in as many rooms as it may be")]
pub struct TooManyRooms;

impl<'a> Outlet<'a> {
    /// Borrows everything that a session may use. The session and the codec are borrowed separately,
    /// because the message that the session reads may lie in the codec's buffer.
    pub(crate) fn new(
        key: ConnectionKey,
        out: &'a mut Outgoing,
        rooms: &'a mut Memberships,
        parts: &'a mut Parts,
        now: Now,
    ) -> Self {
        Self {
            key,
            out,
            rooms,
            parts,
            now,
            wishes: Wishes::default(),
        }
    }
}

impl Outlet<'_> {
    /// The connection's name in this process, by which others can address it.
    pub fn id(&self) -> ConnectionId {
        self.key.on(self.parts.id)
    }

    /// Says whose connection this is, so that all connections of that user can be addressed. Only the
    /// first name counts.
    pub fn identify(&mut self, user: &str) {
        if self.rooms.user().is_none() {
            let user: Arc<str> = user.into();
            self.parts.users.enter(&user, self.key);
            self.rooms.set_user(user);
        }
    }

    /// Sends a message to this connection alone.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) {
        let Self { out, parts, .. } = self;
        out.append(&mut parts.out.encoder, kind, payload);
        parts.counters.tally.sent(kind, payload.len(), 1);
    }

    /// The room that the connection was opened in, or the first that it has joined; `None` if it is in
    /// no room.
    pub fn room(&self) -> Option<Ticket> {
        self.rooms.subscriptions.first()
    }

    /// Whether the connection is in the room of this name, or has asked for it.
    pub fn is_in(&self, name: &RoomName) -> bool {
        let tickets = self.rooms.in_room_named(name, &self.parts.rooms);
        !tickets.is_empty()
    }

    /// Asks for a room. The ticket stands for it until the connection has left it again. A name may be
    /// asked for twice; the room then speaks twice.
    ///
    /// # Errors
    ///
    /// [`TooManyRooms`] if the connection is in as many as
    /// [`Config::rooms_per_connection_max`](crate::Config::rooms_per_connection_max) allows.
    pub fn join(&mut self, name: RoomName) -> Result<Ticket, TooManyRooms> {
        self.join_with(name, self.out.form.body, None)
    }

    /// As [`join`](Self::join), with the messages in this form, and with what else is wanted of the room.
    ///
    /// # Errors
    ///
    /// [`TooManyRooms`], as of `join`.
    pub fn join_with(
        &mut self,
        name: RoomName,
        body: BodyForm,
        terms: Option<Box<Terms>>,
    ) -> Result<Ticket, TooManyRooms> {
        let max = self.parts.config.rooms_per_connection_max;
        let room = self.rooms.room(max).ok_or(TooManyRooms)?;
        let subscriber = self.id();
        self.rooms.note_asked(room, name.clone(), body);
        self.ask(Request::Join {
            name,
            subscriber,
            ticket: room.to_hub(0),
            terms,
        });
        Ok(room)
    }

    /// Asks something about the room of this name, whether the connection is in it or not. The answer is
    /// [`SessionEvent::Answered`] with the ticket that is returned.
    pub fn ask_about(&mut self, name: RoomName, question: Question) -> Ticket {
        let ticket = self.rooms.question();
        let asker = self.id();
        self.ask(Request::Ask {
            name,
            asker,
            ticket: ticket.to_hub(0),
            stamp: self.now.ns,
            question,
        });
        ticket
    }

    /// A ticket under which nothing was asked for: for what a session keeps beside its rooms. No room and no
    /// answer ever has it.
    pub fn idle_ticket(&mut self) -> Ticket {
        self.rooms.question()
    }

    /// Leaves a room. Messages that were published there before are still sent, as far as the memory
    /// bound allows.
    pub fn leave(&mut self, room: Ticket) {
        let Self {
            out, rooms, parts, ..
        } = self;
        let remainder = parts.remainder_on_leaving(rooms, room);
        let subscriber = self.key.on(parts.id);
        rooms.leave(room, remainder, out, &mut parts.rooms, subscriber);
    }

    /// Publishes a message in a room that the connection is in. Every subscriber has it, this
    /// connection included. Returns the publication's ticket; `None`, and nothing is published, if the
    /// connection is not in the room.
    pub fn publish(&mut self, room: Ticket, kind: Kind, payload: &[u8]) -> Option<Ticket> {
        self.publish_in(room, kind, payload, None)
    }

    /// As [`publish`](Self::publish), with what subscribers are told beside the payload.
    pub fn publish_in(
        &mut self,
        room: Ticket,
        kind: Kind,
        payload: &[u8],
        details: Option<Arc<Details>>,
    ) -> Option<Ticket> {
        let Some(Membership::In(subscription)) = self.rooms.subscriptions.get(room) else {
            return None;
        };
        let room = self.parts.rooms.shards.room(subscription);
        Some(self.publish_at(Target::Room(room), kind, payload, details))
    }

    /// From now on the connection is not sent those messages of a room in which it is that have this very value
    /// as their details, as [`publish_in`](Self::publish_in) gives them: so a session does not hear itself.
    /// Positions count these messages all the same. Where a room gathers messages in
    /// [one frame](crate::BodyEncoder::gathers) of this connection's form, its own are among them.
    pub fn pass_over(&mut self, room: Ticket, details: Arc<Details>) {
        if let Some(Membership::In(subscription)) = self.rooms.subscriptions.get(room) {
            let shards = &mut self.parts.rooms.shards;
            shards.pass_over(subscription, details);
        }
    }

    /// Publishes a message in the room of this name, whether the connection is in it or not.
    pub fn publish_to(&mut self, name: RoomName, kind: Kind, payload: &[u8]) -> Ticket {
        self.publish_at(Target::Name(name), kind, payload, None)
    }

    /// As [`publish_to`](Self::publish_to), with what subscribers are told beside the payload.
    pub fn publish_with(
        &mut self,
        name: RoomName,
        kind: Kind,
        payload: &[u8],
        details: Option<Arc<Details>>,
    ) -> Ticket {
        self.publish_at(Target::Name(name), kind, payload, details)
    }

    /// Until everything that this connection has asked for so far is answered, its session is handed no
    /// further message; the connection is not read meanwhile.
    pub fn wait(&mut self) {
        self.rooms.waits_for_answers = self.rooms.unanswered > 0;
    }

    /// The session has asked somebody who is neither a room nor its peer, and a command will bring the answer
    /// ([`Command::Hand`](super::Command::Hand)): [`wait`](Self::wait) waits for it as for an answer of a room, until
    /// [`outsider_answered`](Self::outsider_answered) says that it has come.
    pub fn ask_outsider(&mut self, if_reset: IfReset) {
        self.rooms.unanswered += 1;
        self.rooms.ends_if_reset = if_reset == IfReset::Ends;
    }

    /// What the session has asked by [`ask_outsider`](Self::ask_outsider) is answered.
    pub fn outsider_answered(&mut self) {
        self.rooms.ends_if_reset = false;
        self.rooms.replied(0);
    }

    /// The session is not done with what it was handed: [`Session::go_on`](super::Session::go_on) is called
    /// before it is handed a further message, as soon as the connection may take more and others have
    /// had their turn. So a session bounds what it does at once.
    pub fn go_on_later(&mut self) {
        self.wishes.goes_on = GoesOn::Later;
    }

    /// As [`go_on_later`](Self::go_on_later), for work that takes a tenth of a millisecond or more, such as
    /// verifying a signature: a core does such work of all its connections together within a part of its
    /// turn, beside steps of TLS handshakes.
    pub fn go_on_at_cost(&mut self) {
        self.wishes.goes_on = GoesOn::Costly;
    }

    /// The session has carried out so many commands of a message that may have many. Each counts against the
    /// connection's share of the turn, like a message.
    pub fn did_commands(&mut self, commands: usize) {
        self.parts.counters.tally.commands += commands as u64;
    }

    /// The session is handed nothing more before everything that waits for the peer has left.
    pub fn wait_until_sent(&mut self) {
        self.out.awaits_empty = true;
    }

    /// Whether the log may tell of another event of this kind now: each kind has a few lines for each
    /// window of time, and what is left out is counted there.
    pub fn may_tell(&mut self, kind: &'static str) -> bool {
        self.parts.counters.notices.admit(kind, self.now.ms)
    }

    /// The time in nanoseconds that never goes back, as [`Bucket`](crate::Bucket) takes it.
    pub fn now_ns(&self) -> u64 {
        self.now.ns
    }

    /// Whether more waits for the peer than its socket takes now.
    pub fn is_behind(&self) -> bool {
        self.out.queue.sending.is_behind()
    }

    /// The peer has answered the session's own ping ([`Pings::Messages`](super::Pings::Messages)).
    pub fn ponged(&mut self) {
        self.wishes.is_ponged = true;
    }

    /// Hands the session [`SessionEvent::Alarm`] once, after this time, give or take a sweep (an eighth of the
    /// shortest time-out, at most 250 ms). There is one alarm for each connection; `None` is none.
    pub fn set_alarm(&mut self, after: Option<Duration>) {
        let now_ms = self.now.ms;
        self.wishes.alarm_ms = Some(after.map(|after| now_ms + ms(after)));
    }

    /// The time in milliseconds that never goes back while the core runs; it stands still with the core.
    pub fn now_ms(&self) -> u64 {
        self.now.ms
    }

    /// Closes the connection after what was sent so far.
    pub fn close(&mut self, code: CloseCode, text: &'static str) {
        self.wishes
            .end
            .get_or_insert(EndReason::SessionClosed(code, text));
    }

    /// Closes the connection if the event is one that must not be passed over in silence: a room that is
    /// lost or was left, a publication that was not delivered.
    pub fn close_for(&mut self, event: &SessionEvent) {
        let reason = match event {
            SessionEvent::Left { reason, .. } => match reason {
                LeftReason::Lost(_) => EndReason::RoomLost,
                LeftReason::Lagging => EndReason::SendQueueFull,
                LeftReason::Commanded => return,
            },
            SessionEvent::Unpublished { reason, .. } => match reason {
                PublishRefusal::RoomGone => EndReason::RoomGone,
                PublishRefusal::Busy
                | PublishRefusal::TooManyRooms
                | PublishRefusal::Conflict
                | PublishRefusal::TableFull => EndReason::RoomBusy,
                PublishRefusal::TooFast => EndReason::MessageRate,
            },
            SessionEvent::Skipped { .. } => EndReason::SendQueueFull,
            SessionEvent::JoinRefused { .. } => EndReason::RoomBusy,
            SessionEvent::Joining { .. }
            | SessionEvent::Joined { .. }
            | SessionEvent::Published { .. }
            | SessionEvent::Answered { .. }
            | SessionEvent::Command(_)
            | SessionEvent::Alarm => return,
        };
        self.wishes.end.get_or_insert(reason);
    }

    fn publish_at(
        &mut self,
        to: Target,
        kind: Kind,
        payload: &[u8],
        details: Option<Arc<Details>>,
    ) -> Ticket {
        let record = Record {
            tag: tag_of(kind),
            payload: Bytes::copy_from_slice(payload),
            details,
        };
        let bytes = publication_bytes(record.sent_bytes());
        let publication = self.rooms.publication(bytes);
        self.parts.counters.tally.published += 1;
        let publisher = self.id();
        self.ask(Request::Publish {
            to,
            publisher,
            ticket: publication.to_hub(bytes.min(u32::MAX as usize) as u32),
            stamp: self.now.ns,
            record,
        });
        publication
    }

    /// Hands a request to its home, behind those that wait for one already.
    fn ask(&mut self, request: Request) {
        self.rooms.unanswered += 1;
        self.rooms.ask(request, &mut self.parts.rooms.requests);
    }
}
