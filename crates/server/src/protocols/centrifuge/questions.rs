//! Questions about rooms: their history, and who is in them.

use access::{Kind, Right, User, may_read_history, may_read_presence};
use centrifuge::{ErrorCode, HistoryRequest};
use hub::{Page, Question, RoomName, Since};
use runtime::Outlet;

use super::{
    answers::Awaited,
    epoch,
    state::{Refusal, State},
    subscribe::{room_of, tell_denied},
};
use crate::world::World;

impl State {
    pub(super) fn history(
        &mut self,
        world: &World,
        id: u32,
        request: &HistoryRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        let name = self.check(world, &request.channel, Right::ReadHistory, outlet)?;
        let since = request.since.as_ref().map(|since| Since {
            epoch: epoch::named(&since.epoch),
            offset: since.offset,
        });
        if request.reverse && since.is_some_and(|since| since.offset == 0) {
            return Err(ErrorCode::BadRequest.into());
        }
        let page = Page {
            since,
            limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
            is_reversed: request.reverse,
        };
        let question = Question::History(Box::new(page));
        self.ask(id, name, question, outlet);
        Ok(())
    }

    pub(super) fn presence(
        &mut self,
        world: &World,
        id: u32,
        channel: &str,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        let name = self.check(world, channel, Right::ReadPresence, outlet)?;
        self.ask(id, name, Question::Members, outlet);
        Ok(())
    }

    pub(super) fn presence_stats(
        &mut self,
        world: &World,
        id: u32,
        channel: &str,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Refusal> {
        let name = self.check(world, channel, Right::ReadPresence, outlet)?;
        self.ask(id, name, Question::MemberCounts, outlet);
        Ok(())
    }

    /// The room, if the client may ask this about it.
    fn check(
        &self,
        world: &World,
        channel: &str,
        right: Right,
        outlet: &mut Outlet<'_>,
    ) -> Result<RoomName, Refusal> {
        let (name, room) = room_of(world, channel)?;
        let Some(identity) = self.identity() else {
            return Err(ErrorCode::Unauthorized.into());
        };
        let (user, is_subscribed) = (
            User::of(&identity.user),
            self.rooms.has_joined(name.as_str()),
        );
        let verdict = match right {
            Right::ReadHistory => may_read_history(&room, user, is_subscribed),
            _ => may_read_presence(&room, user, is_subscribed),
        };
        verdict
            .map(|()| name)
            .map_err(|denied| match denied.kind() {
                Kind::NotAvailable => ErrorCode::NotAvailable.into(),
                Kind::PermissionDenied => tell_denied(&denied, outlet),
            })
    }

    fn ask(&mut self, id: u32, name: RoomName, question: Question, outlet: &mut Outlet<'_>) {
        let ticket = outlet.ask_about(name, question);
        self.wait_for(ticket, Awaited::Question { id });
    }
}
