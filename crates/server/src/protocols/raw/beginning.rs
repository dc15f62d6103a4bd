//! What a raw client is told before the messages from now on: where it begins, what it has missed, and the history
//! that it has asked for.

use access::{
    Asked, Denied, Granted, Room, User, may_read_history,
    namespace::{Overflow, RecoveryMode},
    take_effect,
    token::Overrides,
};
use codec::Kind;
use hub::{Newest, Position, Recover, Recovered, Since};
use runtime::{Outlet, Refused};
use tracing::debug;

use super::{
    Refusal,
    forms::{Form, append_id, append_position},
    parameters::Wishes,
};

/// A client is asked to come back after one to three seconds, so that those who were cut off at once do not come
/// back at once.
const RETRY_MS_MIN: u64 = 1_000;
const RETRY_MS_SPREAD: u64 = 2_000;

/// How a client begins, and in which form it gets everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub form: Form,
    back: Back,
    newest: Option<Newest>,
}

/// Whether a client has been here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    /// It does not say so.
    No,
    /// It is given what it has missed, or told why not; or the latest message, in rooms for which that is enough.
    Recovers(Since, RecoveryMode),
    /// It has been here, and nothing is recovered for it.
    Cannot(Since),
}

/// Why a wish is not granted.
pub enum Unfulfilled<'n> {
    /// A right is lacking.
    Denied(Denied<'n>),
    /// The room has nothing of the kind, for anybody: what is to be said.
    Nothing(&'static str),
}

impl Unfulfilled<'_> {
    /// The answer to a client that has shown a token, or has not.
    pub fn refusal(self, has_token: bool) -> Refusal {
        let denied = match self {
            Self::Nothing(sentence) => {
                return Refusal::Other(400, sentence.to_owned(), Refused::Parameter);
            }
            Self::Denied(denied) => denied,
        };
        debug!(reason = %denied, "a raw client was refused");
        let (status, sentence, refused) = match has_token {
            true => (
                403,
                "You may not read the history of this room.",
                Refused::Right,
            ),
            false => (
                401,
                "The history of this room needs a token.",
                Refused::Token,
            ),
        };
        Refusal::Other(status, sentence.to_owned(), refused)
    }
}

impl Beginning {
    /// How a client of a WebSocket begins that wishes for this.
    ///
    /// # Errors
    ///
    /// Why it cannot have what it wishes for.
    pub fn of_web_socket<'n>(
        room: &Room<'n, '_>,
        user: User<'_>,
        overrides: &Overrides,
        wishes: &Wishes,
    ) -> Result<Self, Unfulfilled<'n>> {
        let granted = granted(room, user, overrides);
        check_positions(room, user, wishes, granted)?;
        if wishes.since.is_some() && !granted.recoverable {
            return Err(unfulfilled(
                room,
                user,
                "This room recovers nothing that was missed.",
            ));
        }
        check_history(room, user, wishes)?;
        Ok(Self {
            form: match wishes.has_positions {
                true => Form::Envelope,
                false => Form::Plain,
            },
            back: match wishes.since {
                None => Back::No,
                Some(since) => Back::Recovers(since, room.rules.recovery_mode),
            },
            newest: wishes.newest,
        })
    }

    /// How a client of a stream begins, whose latest event is known from its request. It cannot be refused for that,
    /// since it would not come back.
    ///
    /// # Errors
    ///
    /// Why it cannot have what it wishes for.
    pub fn of_stream<'n>(
        room: &Room<'n, '_>,
        user: User<'_>,
        overrides: &Overrides,
        wishes: &Wishes,
        latest: Option<Since>,
    ) -> Result<Self, Unfulfilled<'n>> {
        let granted = granted(room, user, overrides);
        check_positions(room, user, wishes, granted)?;
        check_history(room, user, wishes)?;
        let since = latest.or(wishes.since);
        Ok(Self {
            form: match granted.positioned {
                true => Form::Event,
                false => Form::EventWithoutId,
            },
            back: match since {
                None => Back::No,
                Some(since) if granted.recoverable => {
                    Back::Recovers(since, room.rules.recovery_mode)
                }
                Some(since) => Back::Cannot(since),
            },
            newest: wishes.newest,
        })
    }

    /// What its room is asked for; `None` if it begins with the next message, and there is nothing to be said.
    pub fn recover(&self) -> Option<Recover> {
        const NOTHING: Newest = Newest {
            messages: 0,
            age_ms: 0,
        };
        match (self.form, self.back, self.newest) {
            (Form::Plain, Back::No, None) => None,
            (_, Back::Recovers(since, RecoveryMode::Cache), _) => Some(Recover::Latest(since)),
            (_, Back::Recovers(since, _), None) => Some(Recover::Missed(since)),
            (_, Back::Recovers(since, _), Some(newest)) => {
                Some(Recover::Newest(Some(since), newest))
            }
            // Where it begins is said with nothing, too.
            (_, Back::No | Back::Cannot(_), newest) => {
                Some(Recover::Newest(None, newest.unwrap_or(NOTHING)))
            }
        }
    }

    /// Tells a client what its room has answered: where it begins, and then everything up to `top`.
    pub fn tell(&self, top: Position, recovered: &Recovered, outlet: &mut Outlet<'_>) {
        let (messages, gap): (&[_], _) = match recovered {
            Recovered::Exactly(messages) => (messages, None),
            Recovered::Newest { messages, instead } => (messages, *instead),
            Recovered::Impossible(cause) => (&[], Some(*cause)),
            // No raw rooms have a table.
            Recovered::State(_) => (&[], None),
        };
        let begins = Position {
            offset: top.offset - messages.len() as u64,
            ..top
        };
        let outcome = match (self.back, gap) {
            (_, Some(cause)) => Outcome::Gap(cause.into()),
            (Back::Cannot(since), _) if !is_at(since, top) => Outcome::Gap("off"),
            (Back::No, None) => Outcome::Begins,
            (Back::Recovers(..) | Back::Cannot(_), None) => Outcome::Recovered,
        };
        let mut body = Vec::new();
        self.append_first(begins, outcome, outlet.id().token, &mut body);
        if !body.is_empty() {
            outlet.send(Kind::Text, &body);
        }
        for (offset, record) in messages {
            body.clear();
            let at = Position {
                offset: *offset,
                ..top
            };
            let kind = runtime::kind_of(record);
            let kind = self.form.append(at, kind, &record.payload, &mut body);
            outlet.send(kind, &body);
        }
    }

    /// The first envelope, or the first events.
    fn append_first(&self, at: Position, outcome: Outcome, token: u64, body: &mut Vec<u8>) {
        match self.form {
            Form::Plain => {}
            Form::Envelope => outcome.append(Some(at), body),
            Form::Event | Form::EventWithoutId => {
                let retry_ms = RETRY_MS_MIN + token % RETRY_MS_SPREAD;
                body.extend_from_slice(format!("retry: {retry_ms}\n").as_bytes());
                let at = Some(at).filter(|_| self.form == Form::Event);
                if let Some(at) = at {
                    append_id(at, body);
                }
                if let Outcome::Gap(_) = outcome {
                    body.extend_from_slice(b"event: gap\ndata: ");
                    outcome.append(at, body);
                    body.push(b'\n');
                }
                body.push(b'\n');
            }
        }
    }
}

/// What became of a client that may have been here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It has not been here.
    Begins,
    /// It has everything that it has missed.
    Recovered,
    /// Messages are missing, for this cause.
    Gap(&'static str),
}

impl Outcome {
    /// Appends it as a JSON object, with the position behind which messages follow.
    fn append(self, at: Option<Position>, body: &mut Vec<u8>) {
        let separator = match at {
            Some(at) => {
                append_position(at, body);
                ","
            }
            None => {
                body.push(b'{');
                ""
            }
        };
        let text = match self {
            Self::Begins => String::new(),
            Self::Recovered => format!("{separator}\"recovered\":true"),
            Self::Gap(cause) => format!("{separator}\"recovered\":false,\"cause\":\"{cause}\""),
        };
        body.extend_from_slice(text.as_bytes());
        body.push(b'}');
    }
}

/// What a client has that asks for positions, and for what it has missed.
fn granted(room: &Room<'_, '_>, user: User<'_>, overrides: &Overrides) -> Granted {
    let asked = Asked {
        positioned: true,
        recoverable: true,
        join_leave: false,
    };
    take_effect(room, user, asked, overrides)
}

/// Refuses who asks for positions and cannot have them.
fn check_positions<'n>(
    room: &Room<'n, '_>,
    user: User<'_>,
    wishes: &Wishes,
    granted: Granted,
) -> Result<(), Unfulfilled<'n>> {
    match wishes.has_positions && !granted.positioned {
        true => Err(unfulfilled(
            room,
            user,
            "The messages of this room have no positions.",
        )),
        false => Ok(()),
    }
}

/// Refuses who asks for the history and cannot have it.
fn check_history<'n>(
    room: &Room<'n, '_>,
    user: User<'_>,
    wishes: &Wishes,
) -> Result<(), Unfulfilled<'n>> {
    if wishes.newest.is_none() {
        return Ok(());
    }
    may_read_history(room, user, true).map_err(|denied| match room.rules.history.is_kept() {
        true => Unfulfilled::Denied(denied),
        false => Unfulfilled::Nothing("This room keeps no history."),
    })
}

/// Why a client cannot have what whoever may read the history can have, where the room has it.
fn unfulfilled<'n>(room: &Room<'n, '_>, user: User<'_>, nothing: &'static str) -> Unfulfilled<'n> {
    let has_positions = room.rules.overflow != Overflow::DropOldest;
    match may_read_history(room, user, true) {
        Err(denied) if room.rules.history.is_kept() && has_positions => Unfulfilled::Denied(denied),
        _ => Unfulfilled::Nothing(nothing),
    }
}

fn is_at(since: Since, top: Position) -> bool {
    since.epoch == Some(top.epoch) && since.offset == top.offset
}
