//! What a home answers about its rooms: their past, who is in them, what somebody has missed, which there are, and
//! which stand out.

use super::Rooms;
use crate::{
    bound::bound,
    log::{Page, Recover, Recovered},
    mailbox::{Answer, AnswerRefusal, ConnectionId, Delivery, Question, Ticket},
    name::RoomName,
    room::RoomKey,
    view::{LOOKED_AT_MAX, Listing, RoomView},
};

/// Most places of the list of rooms that one request looks at, so that it takes a home well under a millisecond.
const LISTED_MAX: usize = bound(1_024, 2);

impl Rooms {
    pub(super) fn ask(
        &mut self,
        name: RoomName,
        (asker, ticket, stamp): (ConnectionId, Ticket, u64),
        question: &Question,
    ) {
        let answer = match question {
            Question::History(page) => self.read(name, page),
            Question::Members => self.members(&name),
            Question::MemberCounts => self.member_counts(&name),
            Question::Table => self.table(name),
            Question::ForgetHistory => self.forget_history(&name),
            Question::ClearTable => self.clear_table(&name, stamp),
        };
        let answered = Delivery::Answered {
            asker,
            ticket,
            answer,
        };
        self.deliver(asker.core, answered);
    }

    fn read(&mut self, name: RoomName, page: &Page) -> Answer {
        let Some(key) = self.find_or_make(name) else {
            return Answer::Refused(AnswerRefusal::TooManyRooms);
        };
        self.close_run(key);
        self.note_if_empty(key);
        let (most, wall_ms) = (self.bounds.answer, self.wall_ms);
        let room = &mut self.rooms[key];
        let messages = room.log.read(page, &room.rules, most, wall_ms);
        let top = room.log.top();
        self.pasts.count(key, room, None);
        match messages {
            Ok(messages) => Answer::History { top, messages },
            Err(_) => Answer::Refused(AnswerRefusal::OtherEpoch),
        }
    }

    /// The whole table, which is never larger than an answer may be; but a reload may have left it so.
    fn table(&mut self, name: RoomName) -> Answer {
        let Some(key) = self.find_or_make(name) else {
            return Answer::Refused(AnswerRefusal::TooManyRooms);
        };
        self.close_run(key);
        self.note_if_empty(key);
        let log = &self.rooms[key].log;
        let (top, messages) = (log.top(), log.table_now());
        Answer::History { top, messages }
    }

    fn members(&self, name: &RoomName) -> Answer {
        let room = self.by_name.get(name).map(|key| &self.rooms[*key]);
        let presence = room.and_then(|room| room.presence.as_ref());
        let most = self.bounds.answer.bytes;
        match presence {
            Some(presence) if presence.bytes() > most => Answer::Refused(AnswerRefusal::TooLarge),
            Some(presence) => Answer::Members(presence.all()),
            None => Answer::Members([].into()),
        }
    }

    fn member_counts(&self, name: &RoomName) -> Answer {
        let room = self.by_name.get(name).map(|key| &self.rooms[*key]);
        let presence = room.and_then(|room| room.presence.as_ref());
        Answer::MemberCounts {
            members: presence.map_or(0, |presence| presence.members()),
            users: presence.map_or(0, |presence| presence.users()),
        }
    }

    /// Lists the rooms at some places, from this one on.
    pub(super) fn list(&mut self, from: u32, asker: ConnectionId, ticket: Ticket) {
        let places = self.listed.capacity();
        let from = (from as usize).min(places);
        let end = from.saturating_add(LISTED_MAX).min(places);
        let keys = (from..end).filter_map(|place| self.listed.get(place));
        let rooms = keys.map(|key| &self.rooms[*key]);
        let rooms = rooms.map(|room| (room.name.clone(), room.subscribers()));
        let rooms = rooms.collect();
        let next = u32::try_from(end).ok().filter(|_| end < places);
        let listed = Delivery::Listed {
            asker,
            ticket,
            listing: Listing { rooms, next },
        };
        self.deliver(asker.core, listed);
    }

    /// What a subscriber that joins now had missed, or what there is.
    pub(super) fn recover(&mut self, key: RoomKey, recover: Recover) -> Recovered {
        let (most, wall_ms) = (self.bounds.answer, self.wall_ms);
        let room = &mut self.rooms[key];
        let recovered = room.log.recover(recover, &room.rules, most, wall_ms);
        self.pasts.count(key, room, None);
        recovered
    }

    /// Announces who has come and gone to all subscribers of the rooms concerned.
    pub(super) fn announce_all(&mut self) {
        while let Some(key) = self.announcing.pop() {
            self.announce(key);
        }
    }

    /// Announces who has come and gone to all subscribers of a room.
    pub(super) fn announce(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else {
            return;
        };
        let Some(presence) = room.presence.as_mut().filter(|it| it.has_news()) else {
            return;
        };
        let news = presence.take_news(room.rules.announced_members_max);
        if presence.is_empty() {
            room.presence = None;
        }
        if news.is_empty() {
            return;
        }
        let announcements: std::sync::Arc<[_]> = news.into();
        for it in &self.rooms[key].cores {
            self.outgoing[it.core.index()].push(Delivery::Announced {
                room: super::id_of(self.home, key),
                announcements: announcements.clone(),
            });
        }
    }

    /// Reports the rooms that stand out among the first [`LOOKED_AT_MAX`].
    pub(super) fn look(&mut self, top: usize) -> RoomView {
        self.close_runs();
        let home = self.home.0;
        let window_ms = self.now_ms - std::mem::replace(&mut self.looked_ms, self.now_ms);
        let looked_at = self.rooms.values_mut().take(LOOKED_AT_MAX);
        let seen: Vec<_> = looked_at.map(|room| room.look(home)).collect();
        RoomView::new(self.rooms.len(), window_ms, seen, top)
    }
}
