//! Who is in a room: its members, the users among them, and who has come and gone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use crate::mailbox::ConnectionId;

/// A member of a room, as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whose connection it is; empty for somebody who has no name. Members of one user count as one.
    pub user: Arc<str>,
    /// What the others are told of it, opaque to the hub.
    pub info: Bytes,
}

/// Somebody has come or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The member is in the room from now on.
    Came(Arc<Member>),
    /// The member is in the room no longer.
    Went(Arc<Member>),
}

/// The members of one room.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// How often each connection has joined, and the member that it is, if it is one.
    connections: BTreeMap<ConnectionId, (Option<Arc<Member>>, u32)>,
    /// The number of members among them.
    members: usize,
    /// How many connections each user has here.
    users: HashMap<Arc<str>, u32>,
    bytes: usize,
    /// Who has come and gone since the others were told.
    news: Vec<Announcement>,
}

impl Presence {
    /// Whether nobody is in the room, seen or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The number of members.
    pub(crate) fn members(&self) -> usize {
        self.members
    }

    /// The number of different users among them.
    pub(crate) fn users(&self) -> usize {
        self.users.len()
    }

    /// Bytes of what is told of the members.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All members.
    pub(crate) fn all(&self) -> Arc<[Arc<Member>]> {
        let connections = self.connections.values();
        connections.filter_map(|(it, _)| it.clone()).collect()
    }

    /// All members, and whose they are.
    #[cfg(feature = "audit")]
    pub(crate) fn by_connection(&self) -> Vec<(ConnectionId, Arc<Member>)> {
        let connections = self.connections.iter();
        connections
            .filter_map(|(id, (it, _))| Some((*id, it.clone()?)))
            .collect()
    }

    /// Checks that members and users are counted as what is there.
    #[cfg(feature = "audit")]
    pub(crate) fn audit(&self) -> Result<(), String> {
        let members = || self.connections.values().filter_map(|(it, _)| it.as_ref());
        crate::rooms::audit::agree("members", self.members, members().count())?;
        let bytes = members().map(|member| bytes_of(member)).sum();
        crate::rooms::audit::agree("bytes of members", self.bytes, bytes)?;
        let of_users = self.users.values().sum::<u32>() as usize;
        crate::rooms::audit::agree("connections of users", of_users, self.members)
    }

    /// A connection is in the room from now on, or once more, and this member from its first time as one on.
    pub(crate) fn enter(&mut self, connection: ConnectionId, member: Arc<Member>) {
        let (is, times) = self.connections.entry(connection).or_default();
        *times += 1;
        if is.is_some() {
            return;
        }
        *is = Some(member.clone());
        self.members += 1;
        *self.users.entry(member.user.clone()).or_default() += 1;
        self.bytes += bytes_of(&member);
        self.news.push(Announcement::Came(member));
    }

    /// A connection is in the room from now on, or once more, and not as a member: if it is one, it stays one
    /// until it has left as often as it has joined.
    pub(crate) fn enter_unseen(&mut self, connection: ConnectionId) {
        let (_, times) = self.connections.entry(connection).or_default();
        *times += 1;
    }

    /// A connection has left the room, once.
    pub(crate) fn leave(&mut self, connection: ConnectionId) {
        let Some((_, times)) = self.connections.get_mut(&connection) else {
            return;
        };
        *times -= 1;
        if *times > 0 {
            return;
        }
        if let Some((Some(member), _)) = self.connections.remove(&connection) {
            self.members -= 1;
            self.bytes -= bytes_of(&member);
            if let Some(connections) = self.users.get_mut(&member.user) {
                *connections -= 1;
                if *connections == 0 {
                    self.users.remove(&member.user);
                }
            }
            self.news.push(Announcement::Went(member));
        }
    }

    /// Whether there is something to announce.
    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Takes what is to be announced, in order; nothing if there are more members than `members_max`.
    pub(crate) fn take_news(&mut self, members_max: usize) -> Vec<Announcement> {
        let news = std::mem::take(&mut self.news);
        match self.members <= members_max {
            true => news,
            false => Vec::new(),
        }
    }
}

fn bytes_of(member: &Member) -> usize {
    member.user.len() + member.info.len() + size_of::<Member>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::CoreId;

    fn connection(token: u64) -> ConnectionId {
        let core = CoreId(0);
        ConnectionId { core, token }
    }

    fn member(user: &str, info: &'static str) -> Arc<Member> {
        Arc::new(Member {
            user: user.into(),
            info: info.into(),
        })
    }

    fn told(presence: &mut Presence) -> Vec<String> {
        let news = presence.take_news(3);
        let told = news.iter().map(|it| match it {
            Announcement::Came(member) => format!("+{}", str::from_utf8(&member.info).unwrap()),
            Announcement::Went(member) => format!("-{}", str::from_utf8(&member.info).unwrap()),
        });
        told.collect()
    }

    #[test]
    fn members_and_users_are_counted_as_they_come_and_go() {
        let mut presence = Presence::default();
        presence.enter(connection(1), member("ann", "a1"));
        presence.enter(connection(2), member("ann", "a2"));
        presence.enter(connection(3), member("bob", "b"));
        assert_eq!((presence.members(), presence.users()), (3, 2));
        assert_eq!(told(&mut presence), ["+a1", "+a2", "+b"]);
        presence.leave(connection(1));
        assert_eq!((presence.members(), presence.users()), (2, 2));
        presence.leave(connection(2));
        presence.leave(connection(9));
        assert_eq!((presence.members(), presence.users()), (1, 1));
        assert_eq!(told(&mut presence), ["-a1", "-a2"]);
        presence.leave(connection(3));
        assert_eq!((presence.bytes(), presence.users()), (0, 0));
    }

    #[test]
    fn connection_that_is_in_the_room_several_times_is_one_member_until_it_has_left_as_often() {
        let mut presence = Presence::default();
        presence.enter(connection(1), member("ann", "a"));
        presence.enter(connection(1), member("ann", "a"));
        presence.enter_unseen(connection(1));
        presence.enter_unseen(connection(2));
        presence.leave(connection(1));
        presence.leave(connection(1));
        assert_eq!(presence.members(), 1);
        assert_eq!(told(&mut presence), ["+a"]);
        presence.leave(connection(1));
        assert_eq!(told(&mut presence), ["-a"]);
        // It has not left as often as it was there without being seen.
        presence.enter(connection(2), member("bob", "b"));
        presence.leave(connection(2));
        assert_eq!(presence.members(), 1);
        presence.leave(connection(2));
        assert_eq!(told(&mut presence), ["+b", "-b"]);
    }

    #[test]
    fn with_too_many_members_nobody_is_announced() {
        let mut presence = Presence::default();
        for token in 0..4 {
            presence.enter(connection(token), member("", "x"));
        }
        assert!(presence.has_news());
        assert_eq!(told(&mut presence), [""; 0]);
        assert!(!presence.has_news());
    }
}
