//! The table of protocols: what selects each, and the session it opens.
//!
//! A further protocol is one file beside these, with its `PROTOCOL`, and one line in [`TABLE`].

use codec::{Request, negotiate};
use hub::{NameError, RoomName};
use runtime::{Opening, Session};

/// Makes a module and an entry of the table of each line.
macro_rules! table {
    ($($protocol:ident,)*) => {
        $(mod $protocol;)*

        /// All protocols. A path wins over a subprotocol; within each, the first that fits.
        pub const TABLE: &[Protocol] = &[$($protocol::PROTOCOL,)*];
    };
}

table! {
    echo,
    room,
    lws_minimal,
}

/// An application protocol.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Its name, for logs.
    pub name: &'static str,
    /// What selects it.
    pub select: Select,
    /// Opens its session for what [`Select`] found.
    pub open: fn(&str) -> Result<Started, NameError>,
}

/// What selects a protocol, and with what its session is opened.
#[derive(Clone, Copy, Debug)]
pub enum Select {
    /// This very path; opened with "".
    Path(&'static str),
    /// A path that begins so; opened with the rest, as it stands in the request.
    PathPrefix(&'static str),
    /// One of these subprotocols, in order of preference, on a path that is nobody else's;
    /// opened with the one chosen, which the 101 names.
    Subprotocol(&'static [&'static str]),
}

/// A session, and the room that it starts in.
pub struct Started {
    /// The session.
    pub session: Box<dyn Session>,
    /// Its room, if it has one.
    pub room: Option<RoomName>,
}

/// Finds the protocol that a request asks for. `None`: it asks for none, and is for the site.
pub fn select(request: &Request<'_>) -> Option<Result<Opening, NameError>> {
    let by_path = TABLE.iter().find_map(|protocol| {
        let rest = match protocol.select {
            Select::Path(path) => (request.path() == path).then_some("")?,
            Select::PathPrefix(prefix) => request.path().strip_prefix(prefix)?,
            Select::Subprotocol(_) => return None,
        };
        Some(protocol.start(rest, None))
    });
    if by_path.is_some() || !request.wants_upgrade() {
        return by_path;
    }
    TABLE.iter().find_map(|protocol| match protocol.select {
        Select::Subprotocol(names) => {
            let name = negotiate(request, names)?;
            Some(protocol.start(name, Some(name)))
        }
        Select::Path(_) | Select::PathPrefix(_) => None,
    })
}

impl Protocol {
    fn start(&self, rest: &str, subprotocol: Option<&'static str>) -> Result<Opening, NameError> {
        let Started { session, room } = (self.open)(rest)?;
        Ok(Opening {
            protocol: self.name,
            subprotocol,
            room,
            session,
        })
    }
}
