//! What connections are told to do: an order reaches all of a user's, and each sees whether it is meant.

use access::token::{Payload, ServerSubscription};
use codec::CloseCode;
use hub::{RoomName, Since};

/// An order for connections.
#[derive(Debug)]
pub struct Order {
    /// Which are meant.
    pub whom: Whom,
    /// What they are to do.
    pub what: What,
}

/// Which connections are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    /// Those of this user; if it is empty, those without a name.
    pub user: Box<str>,
    /// Only the one with this id, unless it is empty.
    pub client: Box<str>,
    /// Only the one with this session, which those over HTTP have, unless it is empty. Such a text is a secret.
    pub session: Box<str>,
    /// None of those with these ids.
    pub except: Vec<Box<str>>,
}

/// What connections are to do.
#[derive(Debug)]
pub enum What {
    /// Go into a room.
    Subscribe(Box<Subscribing>),
    /// Leave this room; without one, all rooms.
    Unsubscribe(Option<RoomName>),
    /// End.
    Disconnect {
        /// With this code.
        code: CloseCode,
        /// For people.
        reason: &'static str,
    },
    /// Have another time to live, and perhaps be seen otherwise.
    Refresh(Refreshing),
}

/// How a connection goes into a room.
#[derive(Debug)]
pub struct Subscribing {
    /// The room.
    pub room: RoomName,
    /// What others see of it, what it is handed, and what it has beyond the rules of the room.
    pub granted: ServerSubscription,
    /// When it is over, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// From where on it is given what it has missed.
    pub since: Option<Since>,
}

/// What changes for a connection.
#[derive(Debug)]
pub struct Refreshing {
    /// Whether its time is over.
    pub is_expired: bool,
    /// When it is over, in seconds since 1970; `None`: never.
    pub expires_at: Option<i64>,
    /// What others see of it from now on, if that is to be something else.
    pub info: Option<Payload>,
}

impl Whom {
    /// All connections of a user, or those without a name.
    pub fn all_of(user: &str) -> Self {
        Self {
            user: user.into(),
            ..Self::default()
        }
    }

    /// Whether a connection of this user is meant that has this id and session, if it has any.
    pub fn means(&self, user: &str, client: Option<&str>, session: Option<&str>) -> bool {
        let is_it = |wanted: &str, has: Option<&str>| wanted.is_empty() || has == Some(wanted);
        let is_excepted = self.except.iter().any(|it| client == Some(it));
        *self.user == *user
            && is_it(&self.client, client)
            && is_it(&self.session, session)
            && !is_excepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_means_who_fits_all_of_it() {
        let ann = Whom::all_of("ann");
        assert!(ann.means("ann", None, None) && ann.means("ann", Some("1"), Some("s")));
        assert!(!ann.means("bob", None, None) && !ann.means("", None, None));
        assert!(Whom::default().means("", None, None) && !Whom::default().means("ann", None, None));
        let one = Whom {
            client: "1".into(),
            ..Whom::all_of("ann")
        };
        assert!(one.means("ann", Some("1"), None));
        assert!(!one.means("ann", Some("2"), None) && !one.means("ann", None, None));
        let session = Whom {
            session: "s".into(),
            ..Whom::all_of("ann")
        };
        assert!(session.means("ann", Some("1"), Some("s")));
        assert!(!session.means("ann", Some("1"), None));
        let others = Whom {
            except: vec!["1".into()],
            ..Whom::all_of("ann")
        };
        assert!(!others.means("ann", Some("1"), None));
        assert!(others.means("ann", Some("2"), None) && others.means("ann", None, None));
    }
}
