//! What rooms answer to a session, as replies of the protocol.

use std::borrow::Cow;

use centrifuge::{
    ClientInfo, Disconnect, Encoding, ErrorCode, Expiry, HistoryResult, KIND_MAP, Publication,
    Push, Reply, SubscribeResult, Unsubscribed,
};
use hub::{Answer, AnswerRefusal, Numbered, Position, PublishRefusal, Recovered, RoomName};
use runtime::{Outlet, Ticket};

use super::{epoch, state::State, subscriptions::Subscription, wire::data_of};
use crate::{events::Why, world::now_s};

/// What a ticket stands for.
pub enum Awaited {
    /// The answer to a subscribe command.
    Subscribe {
        /// The command's number.
        id: u32,
        /// Whether the client wants an error where it cannot recover.
        or_error: bool,
        /// What else it wants.
        wanted: Wanted,
    },
    /// The join of a room that the server subscribes the client to.
    ServerSubscribe(Wanted),
    /// The join of a room that a back end has ordered the client into.
    Ordered(Wanted),
    /// The answer to a publish command.
    Publish {
        /// The command's number.
        id: u32,
        /// The one-shot room whose one message it is.
        one_shot: Option<RoomName>,
    },
    /// The answer to a question about a room.
    Question {
        /// The command's number.
        id: u32,
    },
}

/// What a client that joins a room wants of it, and is handed with it.
pub struct Wanted {
    /// Whether the client comes back.
    pub(super) recovers: bool,
    /// Whether the room has the latest message of each key, and the client is handed all of them.
    pub(super) is_map: bool,
    /// The offset from which it counts.
    pub(super) from: u64,
    /// What the client is handed with the subscription.
    pub(super) data: Box<[u8]>,
}

/// What a client is told of a subscription.
pub struct Given {
    pub(super) expiry: Expiry,
    pub(super) recoverable: bool,
    pub(super) positioned: bool,
    pub(super) epoch: String,
    /// The offset from which the client counts.
    pub(super) from: u64,
    /// The offset of the room's latest message; 0 where positions are not told.
    pub(super) top: u64,
    /// What it has missed, or what there is.
    pub(super) recovered: Option<Numbered>,
    pub(super) is_map: bool,
    pub(super) was_recovering: bool,
    pub(super) data: Box<[u8]>,
}

/// Messages as subscribers of an encoding get them.
pub struct Shown<'a>(Vec<ShownMessage<'a>>);

struct ShownMessage<'a> {
    meta: &'a [u8],
    data: Cow<'a, [u8]>,
    offset: u64,
    /// In a room that has the latest message of each key; otherwise empty.
    key: &'a str,
}

impl<'a> Shown<'a> {
    /// These messages.
    pub fn of(encoding: Encoding, messages: &'a Numbered) -> Self {
        let shown = messages.iter().map(|(offset, record)| ShownMessage {
            meta: record.meta(),
            data: data_of(encoding, runtime::kind_of(record), &record.payload),
            // Where messages have keys, they have no positions that count.
            offset: if record.keyed().is_some() { 0 } else { *offset },
            key: record.keyed().map_or("", |keyed| &keyed.key),
        });
        Self(shown.collect())
    }

    /// As publications of a reply.
    pub fn publications(&self) -> Vec<Publication<'_>> {
        let all = self.0.iter();
        all.map(|message| Publication {
            meta: message.meta,
            data: &message.data,
            offset: message.offset,
            key: message.key,
            ..Publication::default()
        })
        .collect()
    }
}

impl Given {
    fn new(
        subscription: &Subscription,
        wanted: Wanted,
        (position, recovered): (Position, Option<Recovered>),
    ) -> Self {
        let granted = subscription.granted;
        let recovered = match recovered {
            Some(Recovered::Exactly(messages)) => Some(messages),
            // A room of one value that has none yet has given nothing.
            Some(Recovered::State(messages)) => Some(messages).filter(|it| !it.is_empty()),
            Some(Recovered::Impossible(_) | Recovered::Newest { .. }) | None => None,
        };
        Self {
            expiry: subscription.term.expiry(now_s()),
            recoverable: granted.recoverable,
            positioned: granted.positioned,
            epoch: match granted.positioned {
                true => epoch::text(position.epoch),
                false => String::new(),
            },
            from: wanted.from,
            top: match granted.positioned {
                true => position.offset,
                false => 0,
            },
            recovered,
            is_map: wanted.is_map,
            was_recovering: wanted.recovers,
            data: wanted.data,
        }
    }

    /// Bytes of what was missed.
    pub fn recovered_bytes(&self) -> usize {
        let messages = self.recovered.iter().flat_map(|it| it.iter());
        messages
            .map(|(_, record)| record.meta().len() + record.payload.len())
            .sum()
    }

    /// What was missed, as subscribers of an encoding get it.
    pub fn shown(&self, encoding: Encoding) -> Shown<'_> {
        match &self.recovered {
            Some(messages) => Shown::of(encoding, messages),
            None => Shown(Vec::new()),
        }
    }

    /// The reply, with these publications.
    pub fn result<'a>(&'a self, publications: &'a [Publication<'a>]) -> SubscribeResult<'a> {
        if self.is_map {
            // All of it at once, so that the subscription is live, and without positions.
            return SubscribeResult {
                expiry: self.expiry,
                data: &self.data,
                kind: KIND_MAP.unsigned_abs(),
                state: publications,
                ..SubscribeResult::default()
            };
        }
        SubscribeResult {
            expiry: self.expiry,
            recoverable: self.recoverable,
            epoch: &self.epoch,
            publications,
            recovered: self.recovered.is_some(),
            offset: match self.recovered {
                Some(_) => self.from,
                None => self.top,
            },
            positioned: self.positioned,
            data: &self.data,
            was_recovering: self.was_recovering,
            ..SubscribeResult::default()
        }
    }
}

impl State {
    /// Notes what a ticket stands for. Who asks for one thing at a time keeps the place of one.
    pub(super) fn wait_for(&mut self, ticket: Ticket, awaited: Awaited) {
        if self.awaited.is_empty() {
            self.awaited.reserve_exact(1);
        }
        self.awaited.push((ticket, awaited));
    }

    fn take_awaited(&mut self, ticket: Ticket) -> Option<Awaited> {
        let at = self.awaited.iter().position(|(of, _)| *of == ticket)?;
        Some(self.awaited.swap_remove(at).1)
    }

    pub(super) fn joined(
        &mut self,
        ping_s: u32,
        room: Ticket,
        at: (Position, Option<Recovered>),
        outlet: &mut Outlet<'_>,
    ) {
        let (Some(awaited), Some(subscription)) =
            (self.take_awaited(room), self.rooms.of_mut(room))
        else {
            return;
        };
        subscription.is_joined = true;
        match awaited {
            Awaited::Subscribe {
                id,
                or_error,
                wanted,
            } => {
                let given = Given::new(subscription, wanted, at);
                self.subscribed(id, room, or_error, &given, outlet);
            }
            Awaited::ServerSubscribe(wanted) => {
                let given = Given::new(subscription, wanted, at);
                let name = subscription.name.clone();
                self.subscribed_from_here(name.as_str(), given, ping_s, outlet);
            }
            Awaited::Ordered(wanted) => {
                let given = Given::new(subscription, wanted, at);
                self.subscribed_as_ordered(room, &given, outlet);
            }
            Awaited::Publish { .. } | Awaited::Question { .. } => {}
        }
        self.rooms.tell_joined(room);
    }

    /// Answers a subscribe command.
    fn subscribed(
        &mut self,
        id: u32,
        room: Ticket,
        or_error: bool,
        given: &Given,
        outlet: &mut Outlet<'_>,
    ) {
        if or_error && given.was_recovering && given.recovered.is_none() {
            self.rooms.remove(room, Why::CLIENT);
            outlet.leave(room);
            return self.fail(id, ErrorCode::UnrecoverablePosition);
        }
        let shown = given.shown(self.wire.encoding());
        let publications = shown.publications();
        self.reply(id, &Reply::Subscribe(given.result(&publications)));
        self.set_alarm(outlet);
    }

    pub(super) fn join_refused(&mut self, room: Ticket, outlet: &mut Outlet<'_>) {
        let awaited = self.take_awaited(room);
        self.rooms.remove(room, Why::LOST);
        match awaited {
            Some(Awaited::Subscribe { id, .. }) => self.fail(id, ErrorCode::LimitExceeded),
            Some(Awaited::ServerSubscribe(_)) => {
                self.disconnect(Disconnect::ServerError, outlet);
            }
            _ => {}
        }
    }

    pub(super) fn published(&mut self, publication: Ticket) {
        if let Some(Awaited::Publish { id, one_shot }) = self.take_awaited(publication) {
            if let Some(room) = one_shot {
                self.one_shots.answered(&room);
            }
            self.reply(id, &Reply::Publish);
        }
    }

    pub(super) fn unpublished(&mut self, publication: Ticket, reason: PublishRefusal) {
        if let Some(Awaited::Publish { id, one_shot }) = self.take_awaited(publication) {
            if let Some(room) = one_shot {
                self.one_shots.give_back(&room);
            }
            self.fail(
                id,
                match reason {
                    PublishRefusal::Busy | PublishRefusal::TooFast => ErrorCode::TooManyRequests,
                    PublishRefusal::RoomGone => ErrorCode::Internal,
                    PublishRefusal::TooManyRooms | PublishRefusal::TableFull => {
                        ErrorCode::LimitExceeded
                    }
                    PublishRefusal::Conflict => ErrorCode::BadRequest,
                },
            );
        }
    }

    pub(super) fn answered(&mut self, question: Ticket, answer: Answer) {
        let Some(Awaited::Question { id }) = self.take_awaited(question) else {
            return;
        };
        match answer {
            Answer::History { top, messages } => {
                let shown = Shown::of(self.wire.encoding(), &messages);
                let publications = shown.publications();
                let result = HistoryResult {
                    publications: &publications,
                    epoch: &epoch::text(top.epoch),
                    offset: top.offset,
                };
                self.reply(id, &Reply::History(result));
            }
            Answer::Members(members) => {
                let clients: Vec<_> = members
                    .iter()
                    .map(|it| {
                        ClientInfo::from_protobuf(&it.info)
                            .unwrap_or_default()
                            .client
                    })
                    .collect();
                let shown: Vec<_> = clients
                    .iter()
                    .zip(members.iter())
                    .map(|(client, member)| (&**client, &member.info[..]))
                    .collect();
                self.reply(id, &Reply::Presence(&shown));
            }
            Answer::MemberCounts { members, users } => {
                let number = |it| u32::try_from(it).unwrap_or(u32::MAX);
                let (clients, users) = (number(members), number(users));
                self.reply(id, &Reply::PresenceStats { clients, users });
            }
            // Clients have no command for what is answered so.
            Answer::Done => self.fail(id, ErrorCode::Internal),
            Answer::Refused(reason) => self.fail(
                id,
                match reason {
                    AnswerRefusal::OtherEpoch => ErrorCode::UnrecoverablePosition,
                    AnswerRefusal::Busy => ErrorCode::Internal,
                    AnswerRefusal::TooLarge | AnswerRefusal::TooManyRooms => {
                        ErrorCode::LimitExceeded
                    }
                },
            ),
        }
    }

    /// Ends a subscription: leaves its room, unless the room is left already, and tells the client why. A client
    /// learns from the code whether it is to subscribe again.
    pub(super) fn end(&mut self, room: Ticket, why: Unsubscribed, outlet: &mut Outlet<'_>) {
        let Some(subscription) = self.rooms.remove(room, why_told(why)) else {
            return;
        };
        outlet.leave(room);
        match self.take_awaited(room) {
            // It was not subscribed yet, and asks again if it may.
            Some(Awaited::Subscribe { id, .. }) => {
                return self.fail(
                    id,
                    match why.resubscribes() {
                        true => ErrorCode::Internal,
                        false => ErrorCode::PermissionDenied,
                    },
                );
            }
            // It has not been told of it.
            Some(Awaited::Ordered(_)) => return,
            // Its connect command cannot be answered as it should be, so it is to connect again.
            Some(Awaited::ServerSubscribe(_)) => {
                return self.disconnect(Disconnect::InsufficientState, outlet);
            }
            _ => {}
        }
        let (code, reason) = (u32::from(why.code()), why.reason());
        let push = Push::Unsubscribe { code, reason };
        self.push(subscription.name.as_str(), &push);
    }

    /// Leaves all rooms without a word.
    pub(super) fn leave_all(&mut self, outlet: &mut Outlet<'_>) {
        self.awaited.clear();
        for room in self.rooms.drain() {
            outlet.leave(room);
        }
    }

    pub(super) fn fail(&mut self, id: u32, code: ErrorCode) {
        self.reply(id, &Reply::Error(code.into()));
    }
}

/// Why a subscription has ended, as the back end is told.
fn why_told(why: Unsubscribed) -> Why {
    let word = match why {
        Unsubscribed::Server => "server",
        Unsubscribed::Over => "room_over",
        Unsubscribed::Replaced => "replaced",
        Unsubscribed::InsufficientState => "insufficient_state",
        Unsubscribed::Expired => "expired",
        Unsubscribed::StateInvalidated => "rules_changed",
    };
    Why::told(word, why.code())
}
