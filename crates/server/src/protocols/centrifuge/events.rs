//! What happens to a session besides what its client commands: rooms answer, are lost, and change their rules.

use std::sync::Arc;

use centrifuge::{Disconnect, Unsubscribed};
use runtime::{LeftReason, Outlet, SessionEvent, Ticket};

use super::{identity::Identity, state::State, subscriptions::Subscription};
use crate::{
    api::Order,
    hooks::Answered,
    moderation::{KeptOut, Moderated},
    oneshot::Replaced,
    world::{Live, RulesChanged, Superseded, World},
};

impl State {
    pub(super) fn handle(
        &mut self,
        live: &Arc<Live>,
        world: &World,
        event: SessionEvent,
        outlet: &mut Outlet<'_>,
    ) {
        match event {
            SessionEvent::Joined {
                room,
                position,
                recovered,
            } => self.joined(world.settled.ping_s, room, (position, recovered), outlet),
            SessionEvent::JoinRefused { room, .. } => self.join_refused(room, outlet),
            SessionEvent::Left { room, reason } => self.left(room, reason, outlet),
            SessionEvent::Published { publication, .. } => self.published(publication),
            SessionEvent::Unpublished {
                publication,
                reason,
            } => self.unpublished(publication, reason),
            SessionEvent::Answered { question, answer } => self.answered(question, answer),
            SessionEvent::Alarm => self.alarm(live, world, outlet),
            // Messages were passed over where the namespace permits it; nothing in the protocol tells.
            SessionEvent::Skipped { .. } | SessionEvent::Joining { .. } => {}
            SessionEvent::Command(command) => {
                let command = match command.downcast::<Answered>() {
                    Ok(answered) => return self.hook_answered(world, answered, outlet),
                    Err(command) => command,
                };
                if let Some(changed) = command.downcast_ref::<RulesChanged>() {
                    self.follow(changed, outlet);
                } else if let Some(Replaced { seat }) = command.downcast_ref() {
                    self.give_up_seat(*seat, outlet);
                } else if let Some(order) = command.downcast_ref::<Order>() {
                    self.obey(world, order, outlet);
                } else if let Some(Superseded { by }) = command.downcast_ref()
                    && *by != outlet.id()
                {
                    self.disconnect(Disconnect::ConnectionLimit, outlet);
                } else if command.is::<Moderated>() {
                    self.moderate(world, outlet);
                }
            }
        }
    }

    /// The client has lost a room.
    fn left(&mut self, room: Ticket, reason: LeftReason, outlet: &mut Outlet<'_>) {
        let is_server_side = self
            .rooms
            .of(room)
            .is_some_and(Subscription::is_server_side);
        match reason {
            LeftReason::Commanded => self.end(room, Unsubscribed::Server, outlet),
            LeftReason::Lagging if self.wire.is_one_way() => {
                self.disconnect(Disconnect::Slow, outlet);
            }
            LeftReason::Lagging if self.has_lagged_again(outlet.now_ms()) => {
                self.disconnect(Disconnect::Slow, outlet);
            }
            // The client cannot ask for such a room by itself.
            _ if is_server_side => self.disconnect(Disconnect::InsufficientState, outlet),
            LeftReason::Lagging | LeftReason::Lost(_) => {
                self.end(room, Unsubscribed::InsufficientState, outlet);
            }
        }
    }

    /// The rules of some rooms are others now: the client subscribes to them again under these.
    fn follow(&mut self, changed: &RulesChanged, outlet: &mut Outlet<'_>) {
        for (ticket, is_server_side) in self.rooms.those(|name| changed.concerns(name)) {
            if is_server_side {
                return self.disconnect(Disconnect::StateInvalidated, outlet);
            }
            self.end(ticket, Unsubscribed::StateInvalidated, outlet);
        }
    }

    /// Looks whether the client is still to be here, and in its rooms.
    fn moderate(&mut self, world: &World, outlet: &mut Outlet<'_>) {
        let Some(identity) = self.identity() else {
            return;
        };
        if let Some(code) = kept_out(world, identity) {
            return self.disconnect(code, outlet);
        }
        let user = identity.user.clone();
        let is_revoked = |pass| {
            let kept_out = world.moderation.keeps_out(&user, pass);
            kept_out == Some(KeptOut::Revoked)
        };
        while let Some(subscription) = self.rooms.with_pass(is_revoked) {
            let ticket = subscription.ticket;
            // The client asks for a new token, if there is one for it.
            self.end(ticket, Unsubscribed::Expired, outlet);
        }
    }

    /// Whether the client has lost another room for its slowness a short time ago.
    fn has_lagged_again(&mut self, now_ms: u64) -> bool {
        const AGAIN_MS: u64 = 30_000;
        let before = self.lagged_ms.replace(now_ms);
        before.is_some_and(|before| now_ms.saturating_sub(before) < AGAIN_MS)
    }
}

/// How a client is told that it is to be here no longer.
pub fn kept_out(world: &World, identity: &Identity) -> Option<Disconnect> {
    let kept_out = world.moderation.keeps_out(&identity.user, identity.pass)?;
    Some(match kept_out {
        KeptOut::Blocked => Disconnect::ForceDisconnect,
        KeptOut::Revoked => Disconnect::InvalidToken,
    })
}
