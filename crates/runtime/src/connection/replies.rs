//! What the replies of homes do to a connection: joined or refused, published or not, lost.

use hub::{Answer, JoinRefusal, Position, PublishRefusal, Recovered, Request, RoomId, RoomName};

use super::{Actor, LeftReason, SessionEvent, Stage, Wait};
use crate::{
    encoding::WireForm,
    end::EndReason,
    rooms::{Membership, Ticket, Visit},
};

/// What became of a publication.
pub(crate) type Fate = Result<Position, PublishRefusal>;

impl Actor<'_> {
    /// A room has taken the connection in: everything that is published there from here on reaches it.
    /// One that does not want to be there any more leaves again.
    pub(crate) fn joined(
        &mut self,
        ticket: Ticket,
        room: RoomId,
        name: &RoomName,
        (position, recovered): (Position, Option<Recovered>),
    ) {
        if let Some(recovered) = &recovered {
            self.parts.counters.tally.recoveries.count(recovered);
        }
        let connection = &mut *self.connection;
        connection.rooms.replied(0);
        let body = connection.rooms.forget_asked(ticket);
        let is_wanted = connection.rooms.subscriptions.get(ticket) == Some(Membership::Asked)
            && matches!(connection.stage, Stage::Joining(_) | Stage::Open { .. });
        if !is_wanted {
            connection.rooms.subscriptions.remove(ticket);
            let subscriber = connection.key.on(self.parts.id);
            let leave = Request::Leave { room, subscriber };
            self.parts.rooms.requests.push(leave);
            return self.resume_if_answered();
        }
        let visit = Visit {
            connection: connection.key,
            slot: ticket.slot(),
        };
        let form = WireForm {
            body: body.unwrap_or(connection.out.form.body),
            ..connection.out.form
        };
        let shards = &mut self.parts.rooms.shards;
        let subscription = shards.subscribe(room, name, form, visit);
        let subscriptions = &mut connection.rooms.subscriptions;
        subscriptions.set(ticket, Membership::In(subscription));
        let opens = matches!(connection.stage, Stage::Joining(_));
        if opens {
            self.open();
        }
        if !opens || recovered.is_some() {
            self.handle(SessionEvent::Joined {
                room: ticket,
                position,
                recovered,
            });
        }
        self.resume_if_answered();
    }

    /// A home has answered a question.
    pub(crate) fn answered(&mut self, question: Ticket, answer: Answer) {
        self.connection.rooms.replied(0);
        self.handle(SessionEvent::Answered { question, answer });
        self.resume_if_answered();
    }

    /// A room has not taken the connection in.
    pub(crate) fn join_refused(&mut self, room: Ticket, reason: JoinRefusal) {
        self.connection.rooms.replied(0);
        self.connection.rooms.forget_asked(room);
        self.connection.rooms.subscriptions.remove(room);
        match self.connection.stage {
            Stage::Joining(_) => self.close(EndReason::JoinRefused),
            _ => self.handle(SessionEvent::JoinRefused { room, reason }),
        }
        self.resume_if_answered();
    }

    /// A room has taken a publication of so many bytes of the window, or has not.
    pub(crate) fn published(&mut self, publication: Ticket, bytes: u32, fate: Fate) {
        self.connection.rooms.replied(bytes);
        self.handle(match fate {
            Ok(position) => SessionEvent::Published {
                publication,
                position,
            },
            Err(reason) => SessionEvent::Unpublished {
                publication,
                reason,
            },
        });
        self.resume_if_answered();
        if let Stage::Finishing { last, .. } = self.connection.stage
            && self.connection.rooms.window_bytes == 0
            && let Some(reason) = self.connection.rare.end()
        {
            self.finish_now(last, reason);
        }
    }

    /// A room's order is lost, and with it its subscribers.
    pub(crate) fn lost(&mut self, room: RoomId, reason: hub::LossReason) {
        let tickets = self.connection.rooms.in_room(room, &self.parts.rooms);
        for ticket in tickets {
            self.left(ticket, LeftReason::Lost(reason));
        }
    }

    /// Hands the session an event, if there is one that speaks.
    pub(super) fn handle(&mut self, event: SessionEvent) {
        let stage = &self.connection.stage;
        if !matches!(stage, Stage::Open { .. } | Stage::Finishing { .. }) {
            return;
        }
        self.with_session(|session, outlet| session.handle(event, outlet));
    }

    /// Reads on, if that waited for what has been answered now.
    pub(super) fn resume_if_answered(&mut self) {
        let rooms = &self.connection.rooms;
        let resumes = match self.connection.pause.map(|pause| pause.wait) {
            Some(Wait::Window) => !rooms.is_window_full(self.parts.config.publish_window_bytes),
            Some(Wait::Answers) => !rooms.waits_for_answers,
            Some(Wait::Queue | Wait::Home) | None => false,
        };
        if resumes {
            self.raise();
        }
    }
}
