//! Carries out what back ends order: subscribe, unsubscribe, disconnect, refresh.

use centrifuge::{Disconnect, Push, SubscribeRequest, Subscribed, Unsubscribed};
use runtime::{Outlet, Ticket};
use tracing::info;

use super::{
    answers::{Awaited, Given, Wanted},
    identity::data_bytes,
    state::{Refusal, Stage, State},
    subscribe::Wish,
    subscriptions::Origin,
    term::Term,
};
use crate::{
    api::{Order, Refreshing, Subscribing, What},
    hooks::HookKind,
    protocols::epoch_text,
    world::{World, now_s},
};

impl State {
    /// Carries out an order, if this connection is meant.
    pub(super) fn obey(&mut self, world: &World, order: &Order, outlet: &mut Outlet<'_>) {
        let session = self.emulated.as_ref().map(|it| it.names(outlet.id()).0);
        let Some(identity) = self.identity() else {
            return;
        };
        let client = Some(&*self.client);
        if !order.whom.means(&identity.user, client, session.as_deref()) {
            return;
        }
        match &order.what {
            What::Subscribe(subscribing) => self.subscribe_as_ordered(world, subscribing, outlet),
            What::Unsubscribe(room) => {
                let is_meant = |name: &str| room.as_ref().is_none_or(|room| room.as_str() == name);
                for (ticket, _) in self.rooms.those(is_meant) {
                    self.end(ticket, Unsubscribed::Server, outlet);
                }
            }
            What::Disconnect { code, reason } => self.close_with((*code, reason), outlet),
            What::Refresh(refreshing) => self.refresh_as_ordered(world, refreshing, outlet),
        }
    }

    /// Has the connection go into a room. One that is in it already stays as it is, and one that is just connecting is
    /// told its rooms by its token.
    fn subscribe_as_ordered(
        &mut self,
        world: &World,
        order: &Subscribing,
        outlet: &mut Outlet<'_>,
    ) {
        let name = order.room.as_str();
        if !matches!(self.stage, Stage::Open(_)) || self.rooms.named(name).is_some() {
            return;
        }
        let request = order.since.map(|since| SubscribeRequest {
            recover: true,
            offset: since.offset,
            epoch: since.epoch.map(epoch_text).unwrap_or_default().into(),
            ..SubscribeRequest::default()
        });
        let wish = Wish {
            origin: Origin::Order,
            request: request.as_ref(),
            of_token: Some(&order.granted),
            seat: None,
        };
        let ticket = match self.join(world, &order.room, wish, outlet) {
            Ok(ticket) => ticket,
            Err(refusal) => return tell_unordered(refusal, outlet),
        };
        if let Some(subscription) = self.rooms.of_mut(ticket) {
            subscription.term = Term::until(order.expires_at, false);
        }
        let wanted = Wanted {
            recovers: order.since.is_some() && self.is_recoverable(ticket),
            is_map: false,
            from: order.since.map_or(0, |since| since.offset),
            data: data_bytes(self.wire.encoding(), order.granted.data.as_ref()),
        };
        self.wait_for(ticket, Awaited::Ordered(wanted));
    }

    /// A room that the connection was ordered into has answered: the client is told that it is there, and then what
    /// it has missed.
    pub(super) fn subscribed_as_ordered(
        &mut self,
        room: Ticket,
        given: &Given,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(name) = self.rooms.of(room).map(|it| it.name.clone()) else {
            return;
        };
        let shown = given.shown(self.wire.encoding());
        let publications = shown.publications();
        let result = given.result(&publications);
        let subscribed = Subscribed {
            recoverable: result.recoverable,
            epoch: result.epoch,
            offset: result.offset,
            positioned: result.positioned,
            data: result.data,
        };
        self.push(name.as_str(), &Push::Subscribe(subscribed));
        for publication in &publications {
            self.push(name.as_str(), &Push::Publication(*publication));
        }
        self.set_alarm(outlet);
    }

    fn refresh_as_ordered(&mut self, world: &World, order: &Refreshing, outlet: &mut Outlet<'_>) {
        let now_s = now_s();
        if order.is_expired || order.expires_at.is_some_and(|at| at <= now_s) {
            return self.disconnect(Disconnect::Expired, outlet);
        }
        let is_asked = world.hooks.of(HookKind::Refresh).is_some();
        let term = Term::until(order.expires_at, is_asked);
        if let Stage::Open(identity) = &mut self.stage {
            identity.term = term;
            if let Some(info) = &order.info {
                identity.be_seen_as(&self.client, info);
            }
        }
        if self.wire.is_one_way() {
            // Others have learned when they need a new token, and ask for it by themselves.
            self.push("", &Push::Refresh(term.expiry(now_s)));
        }
        self.set_alarm(outlet);
    }
}

/// Tells the operator why a connection does not go into a room, which the back end was not told.
fn tell_unordered(refusal: Refusal, outlet: &mut Outlet<'_>) {
    if outlet.may_tell("order_subscribe") {
        info!(
            ?refusal,
            "a connection was ordered into a room and does not go there"
        );
    }
}
