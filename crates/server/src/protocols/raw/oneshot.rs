//! Raw clients of one-shot rooms: a page that waits for the one message, over a WebSocket or a stream of server-sent
//! events, and a publisher that sends it.
//!
//! A page is whoever shows the secret, as `?secret=`; no token of it is looked at. A publisher shows a subscription
//! token for the room that says `publish`, and hears nothing: the message is for the page alone.

use std::{mem, sync::Arc, time::Instant};

use access::namespace::Raw;
use bytes::Bytes;
use codec::{CloseCode, Kind, Message};
use hub::{Details, Position, Recover, Recovered, RoomName, Since, Terms};
use runtime::{Answer, Outlet, Refused, Session, SessionEvent, TakeBody, Taken, kind_of};
use tracing::debug;

use super::{
    super::{Asked, Begun, Later, Refusal, Started, http::Fields, local, witnessed::Whose},
    Carrier, NOT_OPEN, bad_token,
    forms::Form,
    parameters::{Parameters, Wishes},
    place,
    session::{self, Me, NO_PUBLISHER, TOKEN_OVER},
    who::{self, Who},
};
use crate::{
    moderation::Pass,
    oneshot::{NoEntry, NoPublication, RefusedFor, Replaced},
    tokens::Unverified,
    users::Place,
    world::{Live, Openness, World},
};

/// What a client is told when the life of its room is over.
const OVER: &str = "the one-shot room is over";

/// What a page is told that another one has replaced.
const REPLACED: &str = "another client has come with the secret of the room";

/// What a publisher is told whose message has its place.
const PUBLISHED: &str = "the message is published";

/// What a publisher is told that came too late.
const TAKEN: &str = "the one-shot room has had its message";

/// The last event of a stream whose page is replaced. Browsers ask again for a stream that has ended, and would so
/// replace whoever has come; but they say by this id what they had.
const REPLACED_EVENT: &[u8] = b"id: replaced\n\n";

/// The id of that event.
const REPLACED_ID: &[u8] = b"replaced";

/// A page that waits.
struct Page {
    name: RoomName,
    /// What it has shown, until its seat is taken.
    secret: String,
    /// The number of its seat, once that is taken.
    seat: Option<u64>,
    /// How it gets the message.
    form: Form,
    /// The offset of the latest message that it has had.
    has: u64,
    live: Arc<Live>,
}

/// Somebody who may publish the one message.
struct Publisher {
    name: RoomName,
    user: Arc<str>,
    place: Option<Place>,
    details: Arc<Details>,
    /// When its token is over, in seconds since 1970.
    expires_at: Option<i64>,
    /// The token that it has shown.
    pass: Pass,
    /// When the room is over.
    over: Instant,
    live: Arc<Live>,
}

/// Lets a raw client into a one-shot room, as a page or as a publisher. Whatever is wrong with what it shows, but
/// for a token that is not believed, it gets the same answer.
pub fn enter(
    asked: &Asked<'_>,
    parameters: Parameters<'_>,
    name: RoomName,
    carrier: Carrier,
) -> Result<Begun, Refusal> {
    let Asked {
        request,
        world,
        live,
        ..
    } = asked;
    if world.settled.openness == Openness::Dev {
        local::check(request)?;
    }
    if request.field("last-event-id") == Some(REPLACED_ID) {
        return Ok(Begun::Body(asks_no_more(asked.cors().fields())));
    }
    let rights = raw_of(world, &name);
    let Parameters {
        token,
        secret,
        wishes,
    } = parameters;
    if let Some(secret) = secret.filter(|_| rights != Raw::None) {
        return enter_as_page(live, name, secret.into_owned(), &wishes, carrier).map(Begun::Now);
    }
    // A stream only hears.
    let publishes = rights == Raw::Publish && matches!(carrier, Carrier::WebSocket(_));
    let token = token.or_else(|| who::token(request));
    match token.filter(|_| publishes) {
        Some(token) => {
            let later = enter_as_publisher(Arc::clone(live), name, token.into_owned(), carrier);
            Ok(Begun::AtCost(later))
        }
        None => {
            live.one_shots.refused(RefusedFor::Entry);
            Err(closed(NoEntry::Closed))
        }
    }
}

/// Lets somebody in who has shown a secret, if it opens the room. The seat is taken when the page is connected.
fn enter_as_page(
    live: &Arc<Live>,
    name: RoomName,
    secret: String,
    wishes: &Wishes,
    carrier: Carrier,
) -> Result<Started, Refusal> {
    let (form, has) = match &carrier {
        Carrier::Stream(_, latest) => (Form::Event, latest.map_or(0, |it| it.offset)),
        Carrier::WebSocket(_) if wishes.has_positions => (Form::Envelope, 0),
        Carrier::WebSocket(_) => (Form::Plain, 0),
    };
    let checked = live.one_shots.check(&name, &secret, Instant::now());
    checked.map_err(closed)?;
    let page = Page {
        name,
        secret,
        seat: None,
        form,
        has,
        live: Arc::clone(live),
    };
    let whose = Whose::of(live, None, &"".into(), Some(&page.name));
    Ok(Started {
        head: carrier.head(),
        body: form.body(),
        whose,
        ..Started::new(page)
    })
}

/// Lets somebody in who has shown a token, once it is verified.
fn enter_as_publisher(live: Arc<Live>, name: RoomName, token: String, carrier: Carrier) -> Later {
    Later {
        held_bytes: token.capacity(),
        open: Box::new(move || {
            let world = live.now();
            let who = Who::shows(&world, &token, &name).map_err(|why| match why {
                Unverified::KeyToCome => Refusal::TokenKey,
                Unverified::Refused(_) | Unverified::Revoked => bad_token(),
            })?;
            let client = who::new_client();
            let publisher = Publisher::of(who, &client, name, &world, &live)?;
            Ok(Started {
                head: carrier.head(),
                // It hears nothing, and is in no room.
                whose: Whose::of(&live, Some(&client), &publisher.user, None),
                ..Started::new(publisher)
            })
        }),
    }
}

/// The answer upon which a browser does not ask for a stream again (HTML Standard, section 9.2.3, "processing model").
fn asks_no_more(fields: Fields) -> TakeBody {
    Box::new(|_| {
        Taken::Answer(Answer {
            status: 204,
            fields,
            body: Bytes::new(),
            refused: None,
            keep: false,
        })
    })
}

/// What raw clients may do in the rooms of this one's namespace.
fn raw_of(world: &World, name: &RoomName) -> Raw {
    let room = world.namespaces.of(name.as_str());
    let one_shot = room.ok().filter(|room| room.rules.oneshot.is_some());
    one_shot.map_or(Raw::None, |room| room.rules.raw)
}

/// The one answer to whoever does not come in.
fn closed(why: NoEntry) -> Refusal {
    debug!(reason = %why, "a raw client was refused a one-shot room");
    Refusal::Other(403, NOT_OPEN.to_owned(), Refused::Right)
}

impl Publisher {
    fn of(
        who: Who,
        client: &str,
        name: RoomName,
        world: &World,
        live: &Arc<Live>,
    ) -> Result<Self, Refusal> {
        if !(who.is_for_room && who.publishes) {
            live.one_shots.refused(RefusedFor::Entry);
            return Err(closed(NoEntry::Closed));
        }
        let seat = live
            .one_shots
            .enter_as_publisher(&name, Instant::now())
            .map_err(closed)?;
        let user: Arc<str> = who.user.as_str().into();
        let (_, details) = who.told(client);
        Ok(Self {
            name,
            place: place(world, live, &user)?,
            user,
            details,
            expires_at: who.expires_at,
            pass: who.pass,
            over: seat.over,
            live: Arc::clone(live),
        })
    }

    /// Publishes, if the room takes this message from it by the rules as they are now.
    fn publish(
        &self,
        message: &Message<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), (CloseCode, &'static str)> {
        let world = self.live.now();
        session::check_moderation(&world, &self.user, self.pass)?;
        if world.moderation.is_muted(&self.user, self.name.as_str()) {
            return Err((CloseCode::POLICY, NO_PUBLISHER));
        }
        let room = world.namespaces.of(self.name.as_str());
        let rules = room.ok().map(|room| room.rules);
        let rules = rules.filter(|it| it.oneshot.is_some() && it.raw == Raw::Publish);
        let rules = rules.ok_or((CloseCode::POLICY, NO_PUBLISHER))?;
        session::check_message(rules, message)?;
        let taken = self.live.one_shots.take(&self.name, Instant::now());
        taken.map_err(|why| match why {
            NoPublication::Taken => (CloseCode::POLICY, TAKEN),
            NoPublication::Over => (CloseCode::NORMAL, OVER),
        })?;
        let details = Some(Arc::clone(&self.details));
        outlet.publish_with(self.name.clone(), message.kind, message.payload, details);
        Ok(())
    }
}

impl Session for Page {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        let (now, secret) = (Instant::now(), mem::take(&mut self.secret));
        let entered = self
            .live
            .one_shots
            .enter_as_page(&self.name, &secret, outlet.id(), now);
        let seat = match entered {
            Ok(seat) => seat,
            Err(NoEntry::Closed) => return outlet.close(CloseCode::NORMAL, OVER),
            Err(NoEntry::Busy) => return outlet.close(CloseCode::TRY_AGAIN_LATER, "try again"),
        };
        self.seat = seat.number;
        outlet.set_alarm(Some(seat.over.saturating_duration_since(now)));
        // A message that was published before comes with the answer, as if it had been published now.
        let since = Since {
            epoch: None,
            offset: self.has,
        };
        let terms = Terms {
            recover: Some(Recover::Missed(since)),
            member: None,
        };
        let name = self.name.clone();
        let joined = outlet.join_with(name, self.form.body(), Some(Box::new(terms)));
        if joined.is_err() {
            outlet.close(CloseCode::TRY_AGAIN_LATER, "try again");
        }
    }

    fn receive(&mut self, _: Message<'_>, outlet: &mut Outlet<'_>) {
        outlet.close(CloseCode::POLICY, NO_PUBLISHER);
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Joined {
                position,
                recovered,
                ..
            } => match recovered {
                Some(Recovered::Exactly(messages)) => {
                    for (offset, record) in messages.iter() {
                        let (epoch, offset) = (position.epoch, *offset);
                        let (at, mut body) = (Position { epoch, offset }, Vec::new());
                        let kind = kind_of(record);
                        let kind = self.form.append(at, kind, &record.payload, &mut body);
                        outlet.send(kind, &body);
                    }
                }
                _ => outlet.close(CloseCode::INTERNAL, "the message of the room is lost"),
            },
            SessionEvent::Alarm => {
                self.live.one_shots.forget_over(Instant::now());
                outlet.close(CloseCode::NORMAL, OVER);
            }
            SessionEvent::Command(command) => {
                let replaced = command.downcast_ref::<Replaced>();
                if replaced.is_none_or(|it| Some(it.seat) != self.seat) {
                    // A page shows no token, and is nobody's.
                    let me = Me {
                        room: self.name.as_str(),
                        user: "",
                        pass: Pass::NONE,
                        details: None,
                    };
                    return session::obey(&command, &self.live, me, outlet);
                }
                if self.form == Form::Event {
                    outlet.send(Kind::Text, REPLACED_EVENT);
                }
                outlet.close(CloseCode::POLICY, REPLACED);
            }
            event => outlet.close_for(&event),
        }
    }
}

impl Session for Publisher {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        let life = self.over.saturating_duration_since(Instant::now());
        let token = session::begin(
            &self.live,
            (&self.user, self.pass),
            self.place.as_ref(),
            self.expires_at,
            outlet,
        );
        outlet.set_alarm(Some(token.map_or(life, |left| left.min(life))));
    }

    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        if let Err((code, why)) = self.publish(&message, outlet) {
            outlet.close(code, why);
        }
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Published { .. } => {
                self.live.one_shots.answered(&self.name);
                outlet.close(CloseCode::NORMAL, PUBLISHED);
            }
            SessionEvent::Unpublished { .. } => {
                self.live.one_shots.give_back(&self.name);
                outlet.close_for(&event);
            }
            SessionEvent::Alarm if Instant::now() < self.over => {
                outlet.close(CloseCode::POLICY, TOKEN_OVER);
            }
            SessionEvent::Alarm => outlet.close(CloseCode::NORMAL, OVER),
            SessionEvent::Command(command) => {
                let me = Me {
                    room: self.name.as_str(),
                    user: &self.user,
                    pass: self.pass,
                    details: Some(&self.details),
                };
                session::obey(&command, &self.live, me, outlet);
            }
            event => outlet.close_for(&event),
        }
    }
}
