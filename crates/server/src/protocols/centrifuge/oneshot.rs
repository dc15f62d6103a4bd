//! One-shot rooms for SDKs: a page comes in by the secret in the data of its subscription, and a publisher by a
//! subscription token that says `publish`.
//!
//! Both are subscribed as far as their SDK can tell. But a publisher is in no room, so that it hears nothing: the
//! name of a room stands on a screen, and whoever has read it and got a token must not get the answer that is
//! meant for the page.

use std::{borrow::Cow, time::Instant};

use access::Granted;
use centrifuge::{ErrorCode, Reply, SubscribeRequest, SubscribeResult, Unsubscribed};
use hub::RoomName;
use runtime::Outlet;
use serde::Deserialize;
use tracing::info;

use super::{
    answers::{Awaited, Wanted},
    identity::data_bytes,
    state::{Next, Refusal, State, Until},
    subscribe::{Claims, Wish},
    subscriptions::{Origin, Subscription, Telling},
    term::Term,
};
use crate::{
    moderation::Pass,
    oneshot::{NoEntry, NoPublication, RefusedFor},
    world::{World, now_s},
};

/// What a page shows in the data of its subscription.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    secret: Cow<'a, str>,
}

impl State {
    /// Subscribes a client to a one-shot room, as a page or as a publisher.
    pub(super) fn subscribe_once(
        &mut self,
        world: &World,
        id: u32,
        name: &RoomName,
        request: &SubscribeRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        // Before anybody is replaced.
        if self.rooms.len() >= world.settled.rooms_per_connection_max {
            return Err(ErrorCode::LimitExceeded.into());
        }
        let data = request.data.unwrap_or_default();
        match serde_json::from_slice::<Shown<'_>>(data) {
            Ok(shown) => self.come_as_page(world, id, name, (request, &shown.secret), outlet),
            Err(_) => self.come_as_publisher(world, id, name, request, outlet),
        }
    }

    /// A page takes its seat. A message that was published before comes with the answer.
    fn come_as_page(
        &mut self,
        world: &World,
        id: u32,
        name: &RoomName,
        (request, secret): (&SubscribeRequest<'_>, &str),
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        if self.must_wait_for_much(outlet) {
            return Ok(Next::Again(Until::Sent));
        }
        let entered = self
            .one_shots
            .enter_as_page(name, secret, outlet.id(), Instant::now());
        let seat = entered.map_err(|why| refused(why, outlet))?;
        let wish = Wish {
            origin: Origin::Subscribe,
            request: Some(request),
            of_token: None,
            seat: Some(seat),
        };
        let ticket = self.join(world, name, wish, outlet)?;
        let awaited = Awaited::Subscribe {
            id,
            or_error: false,
            wanted: Wanted {
                recovers: true,
                from: request.offset,
                data: Box::default(),
                is_map: false,
            },
        };
        self.wait_for(ticket, awaited);
        Ok(Next::Go)
    }

    /// Somebody comes who may publish the one message, and takes nobody's seat.
    fn come_as_publisher(
        &mut self,
        world: &World,
        id: u32,
        name: &RoomName,
        request: &SubscribeRequest<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<Next, Refusal> {
        let claims = match self.claims_of(world, request, outlet)? {
            Claims::Later => return Ok(Next::Again(Until::Costly)),
            Claims::Some(claims) if claims.publish => claims,
            Claims::None | Claims::Some(_) => {
                self.one_shots.refused(RefusedFor::Entry);
                return Err(refused(NoEntry::Closed, outlet));
            }
        };
        let seat = self.one_shots.enter_as_publisher(name, Instant::now());
        let seat = seat.map_err(|why| refused(why, outlet))?;
        let Some(identity) = self.identity() else {
            return Err(ErrorCode::Unauthorized.into());
        };
        let (_, details) = identity.with_room_info(&self.client, claims.info.as_ref());
        self.rooms.add(Subscription {
            name: name.clone(),
            ticket: outlet.idle_ticket(),
            granted: Granted::default(),
            origin: Origin::Subscribe,
            is_joined: true,
            // It is in no room.
            telling: Telling::Never,
            term: Term::until(claims.expires_at, false),
            pass: Pass::of_token(claims.issued_at),
            publishes: true,
            skips: false,
            details,
            seat: Some(Box::new(seat)),
        });
        let result = SubscribeResult {
            expiry: Term::until(claims.expires_at, false).expiry(now_s()),
            data: &data_bytes(self.wire.encoding(), claims.data.as_ref()),
            ..SubscribeResult::default()
        };
        self.reply(id, &Reply::Subscribe(result));
        self.set_alarm(outlet);
        Ok(Next::Go)
    }

    /// Takes the place of the room's one message for a publisher, and returns the room.
    pub(super) fn take_the_shot(&self, name: &RoomName) -> Result<RoomName, Refusal> {
        let taken = self.one_shots.take(name, Instant::now());
        taken.map(|()| name.clone()).map_err(|why| match why {
            NoPublication::Taken => ErrorCode::LimitExceeded.into(),
            NoPublication::Over => ErrorCode::PermissionDenied.into(),
        })
    }

    /// Another page has come with the secret.
    pub(super) fn give_up_seat(&mut self, number: u64, outlet: &mut Outlet<'_>) {
        let ticket = self.rooms.seated(number).map(|it| it.ticket);
        if let Some(ticket) = ticket {
            self.end(ticket, Unsubscribed::Replaced, outlet);
        }
    }

    /// Ends the subscriptions to one-shot rooms whose life is over.
    pub(super) fn end_one_shots(&mut self, outlet: &mut Outlet<'_>) {
        let now = Instant::now();
        while let Some(ticket) = self.rooms.over(now).map(|it| it.ticket) {
            self.one_shots.forget_over(now);
            self.end(ticket, Unsubscribed::Over, outlet);
        }
    }
}

/// Whoever does not come in is told the same, whatever the reason.
fn refused(why: NoEntry, outlet: &mut Outlet<'_>) -> Refusal {
    match why {
        NoEntry::Busy => ErrorCode::Internal.into(),
        NoEntry::Closed => {
            if outlet.may_tell("oneshot_closed") {
                info!(reason = %why, "a client was refused a one-shot room");
            }
            ErrorCode::PermissionDenied.into()
        }
    }
}
