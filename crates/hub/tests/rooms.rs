//! Single rules of the pure rooms: reaping, bounds, epochs, refusals.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use hub::{
    ConnectionId, CoreId, Delivery, JoinRefusal, Publication, Request, RoomBudget, RoomId,
    RoomName, Rooms,
};

const CORE: CoreId = CoreId(0);

struct Home {
    rooms: Rooms,
    next: u64,
}

impl Home {
    fn new(rooms_max: usize) -> Self {
        let mut epoch = 100;
        let epochs = move || {
            epoch += 1;
            epoch
        };
        Self {
            rooms: Rooms::new(CORE, 1, RoomBudget::new(rooms_max), epochs),
            next: 0,
        }
    }

    fn apply(&mut self, request: Request) -> Vec<Delivery> {
        self.rooms.apply(request);
        self.rooms.take_outgoing(CORE)
    }

    /// Returns the room, its epoch and the position of the join.
    fn join(&mut self, name: &str) -> Result<(RoomId, u64, u64), JoinRefusal> {
        self.next += 1;
        let subscriber = connection(self.next);
        let name = RoomName::new(name).unwrap();
        let mut answers = self.apply(Request::Join { name, subscriber });
        assert_eq!(answers.len(), 1);
        match answers.remove(0) {
            Delivery::Joined {
                room,
                epoch,
                position,
                ..
            } => Ok((room, epoch, position)),
            Delivery::Refused { reason, .. } => Err(reason),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn leave(&mut self, room: RoomId) {
        assert!(self.apply(Request::Leave { room, core: CORE }).is_empty());
    }

    fn sweep(&mut self, now_ms: u64) {
        self.sweep_after(1_000, now_ms);
    }

    fn sweep_after(&mut self, idle_ms: u64, now_ms: u64) {
        let sweep = Request::Sweep { now_ms, idle_ms };
        assert!(self.apply(sweep).is_empty());
    }

    fn publish(&mut self, room: RoomId) -> Vec<Delivery> {
        self.apply(Request::Publish {
            room,
            publisher: connection(1),
            publication: Publication {
                stamp: 0,
                tag: 0,
                payload: Bytes::from_static(b"hello"),
            },
        })
    }
}

fn connection(token: u64) -> ConnectionId {
    ConnectionId { core: CORE, token }
}

#[test]
fn empty_room_is_reaped_after_its_idle_time_and_not_before() {
    let mut home = Home::new(10);
    let (room, _, _) = home.join("a").unwrap();
    home.sweep(5_000);
    home.leave(room);
    home.sweep(5_999);
    assert_eq!(home.rooms.len(), 1);
    home.sweep(6_000);
    assert_eq!(home.rooms.len(), 0);
}

#[test]
fn room_with_a_subscriber_is_never_reaped() {
    let mut home = Home::new(10);
    let (room, _, _) = home.join("a").unwrap();
    home.leave(room);
    let (again, _, _) = home.join("a").unwrap();
    assert_eq!(room, again);
    home.sweep(10_000);
    assert_eq!(home.rooms.len(), 1);
}

#[test]
fn room_that_empties_again_waits_its_whole_idle_time_again() {
    let mut home = Home::new(10);
    let (room, _, _) = home.join("a").unwrap();
    home.leave(room);
    home.join("a").unwrap();
    home.sweep(900);
    home.leave(room);
    home.sweep(1_000);
    assert_eq!(home.rooms.len(), 1);
    home.sweep(1_899);
    assert_eq!(home.rooms.len(), 1);
    home.sweep(1_900);
    assert_eq!(home.rooms.len(), 0);
}

#[test]
fn room_that_is_empty_already_is_reaped_by_the_idle_time_of_the_sweep() {
    let mut home = Home::new(10);
    let (room, _, _) = home.join("a").unwrap();
    home.leave(room);
    home.sweep_after(1_000, 500);
    assert_eq!(home.rooms.len(), 1);
    home.sweep_after(2_000, 1_500);
    assert_eq!(home.rooms.len(), 1);
    home.sweep_after(100, 1_501);
    assert_eq!(home.rooms.len(), 0);
}

#[test]
fn reaped_room_comes_back_with_another_epoch_and_from_the_start() {
    let mut home = Home::new(10);
    let (old, epoch, position) = home.join("a").unwrap();
    assert_eq!(position, 0);
    home.publish(old);
    assert_eq!(home.join("a").unwrap(), (old, epoch, 1));
    home.leave(old);
    home.leave(old);
    home.sweep(1_000);
    let (new, new_epoch, position) = home.join("a").unwrap();
    assert_ne!((new, new_epoch), (old, epoch));
    assert_ne!(new_epoch, epoch);
    assert_eq!(position, 0);
}

#[test]
fn rooms_over_the_bound_are_refused_until_one_is_reaped() {
    let mut home = Home::new(2);
    let (a, _, _) = home.join("a").unwrap();
    home.join("b").unwrap();
    assert_eq!(home.join("c"), Err(JoinRefusal::TooManyRooms));
    assert!(
        home.join("b").is_ok(),
        "a room that is there is not one more"
    );
    home.leave(a);
    home.sweep(1_000);
    assert!(home.join("c").is_ok());
}

#[test]
fn rooms_that_are_allowed_later_are_made_and_those_over_a_lower_bound_stay() {
    let budget = RoomBudget::new(1);
    let mut rooms = Rooms::new(CORE, 1, budget.clone(), || 1);
    let mut is_joined = |name| {
        rooms.apply(Request::Join {
            name: RoomName::new(name).unwrap(),
            subscriber: connection(1),
        });
        matches!(rooms.take_outgoing(CORE)[..], [Delivery::Joined { .. }])
    };
    assert!(is_joined("a") && !is_joined("b"));
    budget.allow(2);
    assert!(is_joined("b"));
    budget.allow(1);
    assert!(is_joined("a") && is_joined("b") && !is_joined("c"));
}

#[test]
fn publication_to_a_reaped_room_is_answered() {
    let mut home = Home::new(2);
    let (room, _, _) = home.join("a").unwrap();
    home.leave(room);
    home.sweep(1_000);
    let publisher = connection(1);
    assert_eq!(home.publish(room), [Delivery::Unpublished { publisher }]);
}

#[test]
fn leave_without_a_subscriber_changes_nothing() {
    let mut home = Home::new(2);
    let (room, _, _) = home.join("a").unwrap();
    home.leave(room);
    home.leave(room);
    home.join("a").unwrap();
    assert_eq!(home.publish(room).len(), 1);
}

#[test]
fn rooms_that_are_dropped_give_their_budget_back() {
    let budget = RoomBudget::new(1);
    let mut rooms = Rooms::new(CORE, 1, budget.clone(), || 1);
    rooms.apply(Request::Join {
        name: RoomName::new("a").unwrap(),
        subscriber: connection(1),
    });
    assert_eq!(budget.rooms(), 1);
    drop(rooms);
    assert_eq!(budget.rooms(), 0);
}

#[test]
fn look_tells_the_largest_rooms_and_those_with_news_since_the_look_before() {
    let mut home = Home::new(10);
    let (large, _, _) = home.join("large").unwrap();
    home.join("large").unwrap();
    let (busy, _, _) = home.join("busy").unwrap();
    home.join("quiet").unwrap();
    for _ in 0..3 {
        home.publish(busy);
    }
    home.publish(large);
    home.sweep(2_000);
    let mut look = |now_ms| {
        home.sweep(now_ms);
        let (reply, answer) = flume::bounded(1);
        assert!(home.apply(Request::Look { top: 2, reply }).is_empty());
        answer.recv().unwrap()
    };
    let view = look(2_000);
    assert_eq!((view.of, view.looked_at, view.window_ms), (3, 3, 2_000));
    let names = |rooms: &[hub::Seen]| -> Vec<_> {
        rooms.iter().map(|room| room.name.to_string()).collect()
    };
    assert_eq!(view.largest[0].name.as_str(), "large");
    assert_eq!((view.largest[0].subscribers, view.largest.len()), (2, 2));
    assert_eq!(names(&view.busiest), ["busy", "large"]);
    assert_eq!(
        (view.busiest[0].messages, view.busiest[0].messages_new),
        (3, 3)
    );
    let again = look(2_500);
    assert_eq!((again.window_ms, again.busiest.len()), (500, 0));
}
