//! The model and the home beside it; `deliveries.rs` compares what arrives.

mod asking;
mod deliveries;
mod particulars;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use hub::{
    AnswerLimits, ConnectionId, CoreId, Delivery, Details, Epoch, HistoryLimits, HomeBounds, Keyed,
    LossReason, Member, Newest, Position, PublishRefusal, Record, Recover, Request, RoomBudget,
    RoomName, RoomRules, Rooms, RuleBook, Since, TableLimits, Target, Terms, Ticket,
};

use crate::{
    occupancy::Said,
    ops::{CORES, Op, Particular, Wish},
    truth::{
        End, Fate, HISTORY, HISTORY_TTL_MS, Latest, RECOVERED_MAX, Room, Subscriber, has_table,
    },
    world::asking::Expected,
};

const IDLE_MS: u64 = 50;
const POSITION_TTL_MS: u64 = 120;
/// What a publication counts for while it waits, but for its key.
const PUBLICATION_BYTES: usize = size_of::<u64>() + size_of::<Request>();
const WAITING_BYTES_MAX: usize = 5 * PUBLICATION_BYTES;

/// A table has at most so many keys.
const KEYS_MAX: usize = 3;

/// All rooms remember: a history, or a table.
struct AllRemember {
    history: Arc<RoomRules>,
    table: Arc<RoomRules>,
}

impl RuleBook for AllRemember {
    fn rules(&self, name: &RoomName) -> Arc<RoomRules> {
        let number = name.as_str().bytes().last().unwrap() - b'0';
        match has_table(number) {
            true => self.table.clone(),
            false => self.history.clone(),
        }
    }
}

/// The key of a publication in a room with a table, and whether it removes the key.
fn key_of(payload: u64) -> (u64, bool) {
    (payload % 6, payload.is_multiple_of(5))
}

pub struct World {
    home: Rooms,
    mailboxes: Vec<VecDeque<Delivery>>,
    subscribers: Vec<Subscriber>,
    rooms: Vec<Room>,
    by_name: BTreeMap<u8, usize>,
    /// Tops and latest versions of reaped rooms, and when they were reaped.
    kept: HashMap<u8, (Position, Latest, u64)>,
    epochs: u64,
    /// By ticket, which is the payload as well: the answer, once it is known; and whether it came.
    answers: Vec<(Option<Fate>, bool)>,
    /// What must be said of which rooms are occupied.
    said: Said,
    /// By ticket: what messages have that have more than a payload.
    particulars: HashMap<u64, Particular>,
    /// What questions must be answered, in this order.
    asked: VecDeque<Expected>,
    now_ms: u64,
}

impl World {
    pub fn new() -> Self {
        let mut epoch = 0;
        let epochs = move || {
            epoch += 1;
            Epoch(epoch)
        };
        let budget = RoomBudget::new(100);
        let bounds = HomeBounds {
            waiting_bytes: WAITING_BYTES_MAX,
            past_bytes: usize::MAX,
            positions: 100,
            answer: AnswerLimits {
                messages: RECOVERED_MAX,
                bytes: usize::MAX,
            },
        };
        let either = RoomRules {
            keeps_position: true,
            has_presence: true,
            tells_occupancy: true,
            ..RoomRules::default()
        };
        let history = RoomRules {
            history: Some(HistoryLimits {
                messages: HISTORY,
                bytes: usize::MAX,
                ttl_ms: HISTORY_TTL_MS,
            }),
            ..either.clone()
        };
        let table = RoomRules {
            table: Some(TableLimits {
                keys: KEYS_MAX,
                bytes: usize::MAX,
                ttl_ms: u64::MAX,
            }),
            ..either
        };
        let rules = Arc::new(AllRemember {
            history: history.into(),
            table: table.into(),
        });
        let said = Said::default();
        let home = Rooms::new(CoreId(0), CORES.into(), budget, bounds, rules, epochs);
        Self {
            home: home.watched_by(Some(said.heard.clone())),
            said,
            mailboxes: vec![VecDeque::new(); CORES.into()],
            subscribers: Vec::new(),
            rooms: Vec::new(),
            by_name: BTreeMap::new(),
            kept: HashMap::new(),
            epochs: 0,
            answers: Vec::new(),
            particulars: HashMap::new(),
            asked: VecDeque::new(),
            now_ms: 0,
        }
    }

    pub fn run(&mut self, op: Op) {
        match op {
            Op::Join { core, name } => self.join(core, name, None),
            Op::ComeBack { who, wish } => self.come_back(who, wish),
            Op::Ask { name, asked } => self.ask(name, asked),
            Op::List => self.list(),
            Op::Leave { who } => {
                if let Some(who) = self.pick(who, false) {
                    self.leave(who);
                }
            }
            Op::Empty { name } => self.empty(name),
            Op::Publish { who } => self.publish(who),
            Op::PublishByName { core, name } => self.publish_by_name(core, name),
            Op::PublishParticular {
                core,
                name,
                particular,
            } => self.publish_particular(core, name, particular),
            Op::Hold { who } => self.set_held(who, true),
            Op::Resume { who } => self.set_held(who, false),
            Op::Lose { name } => self.lose(name),
            Op::EndTurn => self.end_turn(),
            Op::Deliver { core } => {
                if let Some(delivery) = self.mailboxes[usize::from(core)].pop_front() {
                    self.deliver(CoreId(core), delivery);
                }
            }
            Op::Sweep { ms } => self.sweep(ms),
        }
        assert_eq!(self.home.waiting_bytes(), self.waiting_bytes());
        self.said.is_silent();
    }

    fn waiting_bytes(&self) -> usize {
        let of_room = |room: &Room| {
            let mut bytes = 0;
            for (_, ticket) in room.backlog.iter().flatten() {
                bytes += self.publication_bytes(room.name, *ticket);
            }
            bytes
        };
        self.rooms.iter().map(of_room).sum()
    }

    fn find_or_make(&mut self, name: u8) -> usize {
        if let Some(room) = self.by_name.get(&name) {
            return *room;
        }
        let kept = self.kept.remove(&name);
        let kept = kept.map(|(top, version, _)| (top, version));
        let (top, version) = kept.unwrap_or_else(|| {
            self.epochs += 1;
            let top = Position {
                epoch: Epoch(self.epochs),
                offset: 0,
            };
            (top, None)
        });
        self.rooms.push(Room {
            name,
            top,
            base: top.offset,
            log: Vec::new(),
            forgotten: 0,
            version,
            told: top.offset,
            table: BTreeMap::new(),
            holders: Vec::new(),
            backlog: None,
            end: End::Open,
        });
        self.by_name.insert(name, self.rooms.len() - 1);
        self.rooms.len() - 1
    }

    fn come_back(&mut self, who: usize, wish: Wish) {
        let Some(who) = self.pick(who, true) else {
            return;
        };
        let Subscriber {
            id,
            joined,
            ref seen,
            position,
            ..
        } = self.subscribers[who];
        let Position { epoch, offset } = seen.last().map_or(position, |(position, _)| *position);
        let since = Since {
            epoch: Some(epoch),
            offset,
        };
        let recover = match wish {
            Wish::Latest if has_table(self.rooms[joined].name) => Recover::State,
            Wish::Latest => Recover::Latest(since),
            Wish::Missed => Recover::Missed(since),
            Wish::Newest {
                messages,
                age_ms,
                says_where,
            } => Recover::Newest(says_where.then_some(since), Newest { messages, age_ms }),
        };
        self.join(id.core.0, self.rooms[joined].name, Some(recover));
    }

    fn join(&mut self, core: u16, name: u8, recover: Option<Recover>) {
        let joined = self.find_or_make(name);
        let recovered = recover.map(|recover| self.rooms[joined].missed(recover, self.now_ms));
        let token = self.subscribers.len() as u64;
        let core = CoreId(core);
        let id = ConnectionId { core, token };
        self.subscribers.push(Subscriber {
            id,
            joined,
            position: self.rooms[joined].top,
            recovered,
            room: None,
            left: false,
            owed: VecDeque::new(),
            seen: Vec::new(),
            is_told_of_loss: false,
        });
        self.home.apply(Request::Join {
            name: name_of(name),
            subscriber: id,
            ticket: Ticket(!token),
            terms: Some(Box::new(Terms {
                recover,
                member: Some(Arc::new(Member {
                    user: user_of(id).into(),
                    info: Bytes::new(),
                })),
            })),
        });
        self.said.joined(name);
    }

    /// One of those who know that they joined, and perhaps left again.
    fn pick(&self, who: usize, even_if_left: bool) -> Option<usize> {
        let of = self.subscribers.iter().enumerate();
        let of = of.filter(|(_, s)| s.room.is_some() && (even_if_left || !s.left));
        let all: Vec<usize> = of.map(|(at, _)| at).collect();
        (!all.is_empty()).then(|| all[who % all.len()])
    }

    fn has_subscribers(&self, room: usize, on: Option<CoreId>) -> bool {
        let mut all = self.subscribers.iter();
        all.any(|s| s.joined == room && !s.left && on.is_none_or(|core| s.id.core == core))
    }

    fn empty(&mut self, name: u8) {
        for who in 0..self.subscribers.len() {
            let Subscriber {
                joined, room, left, ..
            } = self.subscribers[who];
            if self.rooms[joined].name == name && room.is_some() && !left {
                self.leave(who);
            }
        }
    }

    fn leave(&mut self, who: usize) {
        let subscriber = &mut self.subscribers[who];
        subscriber.left = true;
        subscriber.owed.clear();
        let (room, id) = (subscriber.room.unwrap(), subscriber.id);
        let core = id.core;
        let joined = subscriber.joined;
        if !self.has_subscribers(joined, Some(core)) {
            self.let_go(joined, core);
        }
        self.home.apply(Request::Leave {
            room,
            subscriber: id,
        });
        if self.rooms[joined].end == End::Open && !self.has_subscribers(joined, None) {
            self.said.emptied(self.rooms[joined].name, self.now_ms);
        }
    }

    fn let_go(&mut self, room: usize, core: CoreId) {
        let room = &mut self.rooms[room];
        room.holders.retain(|holder| *holder != core);
        let is_over = room.backlog.as_ref().is_some_and(VecDeque::is_empty);
        if room.holders.is_empty() && is_over {
            room.backlog = None;
        }
    }

    fn set_held(&mut self, who: usize, holds: bool) {
        let Some(who) = self.pick(who, true) else {
            return;
        };
        let Subscriber {
            id, joined, room, ..
        } = self.subscribers[who];
        let (room, core) = (room.unwrap(), id.core);
        self.home.apply(match holds {
            true => Request::Hold { room, core },
            false => Request::Resume { room, core },
        });
        if !holds {
            return self.let_go(joined, core);
        }
        let is_subscribed = self.has_subscribers(joined, Some(core));
        let room = &mut self.rooms[joined];
        if is_subscribed && room.end == End::Open {
            room.holders.push(core);
            room.backlog.get_or_insert_default();
        }
    }

    fn publish(&mut self, who: usize) {
        let Some(who) = self.pick(who, true) else {
            return;
        };
        let Subscriber {
            id, joined, room, ..
        } = self.subscribers[who];
        self.publish_to(Target::Room(room.unwrap()), joined, id);
    }

    fn publish_by_name(&mut self, core: u16, name: u8) {
        let room = self.find_or_make(name);
        let nobody = ConnectionId {
            core: CoreId(core),
            token: u64::MAX,
        };
        self.publish_to(Target::Name(name_of(name)), room, nobody);
    }

    fn publish_to(&mut self, to: Target, room: usize, publisher: ConnectionId) {
        let payload = self.answers.len() as u64;
        let ticket = Ticket(payload);
        self.answers.push((None, false));
        self.home.apply(Request::Publish {
            to,
            publisher,
            ticket,
            stamp: payload * 3,
            record: Record {
                tag: 1,
                payload: Bytes::copy_from_slice(&payload.to_ne_bytes()),
                details: has_table(self.rooms[room].name).then(|| details(payload)),
            },
        });
        self.follow_publication(room, (publisher, ticket));
    }

    /// The model's home orders the publication, keeps it waiting, or refuses it.
    fn follow_publication(&mut self, room: usize, (publisher, ticket): (ConnectionId, Ticket)) {
        let bytes = self.publication_bytes(self.rooms[room].name, ticket);
        let is_full = self.waiting_bytes() + bytes > WAITING_BYTES_MAX;
        let refused = match &mut self.rooms[room] {
            Room { end, .. } if *end != End::Open => Some(PublishRefusal::RoomGone),
            Room { backlog: None, .. } => return self.order(room, ticket),
            _ if is_full => Some(PublishRefusal::Busy),
            Room { backlog, .. } => {
                let waiting = backlog.as_mut().unwrap();
                waiting.push_back((publisher, ticket));
                None
            }
        };
        self.answers[ticket.0 as usize].0 = refused.map(Fate::Refused);
    }

    /// The model's home gives the publication the room's next offset.
    fn order(&mut self, room: usize, ticket: Ticket) {
        let particular = self.particulars.get(&ticket.0).copied();
        let Room {
            name, top, table, ..
        } = &mut self.rooms[room];
        if has_table(*name) && !matches!(particular, Some(Particular::Erasing(_))) {
            let (key, is_removed) = key_of(ticket.0);
            let is_there = table.contains_key(&key);
            let fate = match is_removed {
                true if !is_there => Some(Fate::At(*top)),
                false if !is_there && table.len() == KEYS_MAX => {
                    Some(Fate::Refused(PublishRefusal::TableFull))
                }
                _ => None,
            };
            if fate.is_some() {
                self.answers[ticket.0 as usize].0 = fate;
                return;
            }
            table.remove(&key);
            if !is_removed {
                table.insert(key, (top.offset + 1, ticket.0));
            }
        }
        let top = self.say(room, ticket.0, particular);
        self.answers[ticket.0 as usize].0 = Some(Fate::At(top));
    }

    /// The room says this to all its subscribers; returns its place.
    fn say(&mut self, room: usize, payload: u64, particular: Option<Particular>) -> Position {
        let now_ms = self.now_ms;
        self.rooms[room].say(payload, particular, now_ms);
        let place = (self.rooms[room].top, payload);
        for subscriber in &mut self.subscribers {
            if subscriber.joined == room && !subscriber.left {
                subscriber.owed.push_back(place);
            }
        }
        place.0
    }

    fn end_turn(&mut self) {
        for room in 0..self.rooms.len() {
            if self.rooms[room].holders.is_empty()
                && let Some(backlog) = self.rooms[room].backlog.take()
            {
                for (_, ticket) in backlog {
                    self.order(room, ticket);
                }
            }
        }
        assert!(!self.home.order_released(), "few enough for one turn");
        for core in 0..CORES {
            let batch = self.home.take_outgoing(CoreId(core));
            self.mailboxes[usize::from(core)].extend(batch);
        }
        for room in &mut self.rooms {
            room.told = room.top.offset;
        }
    }

    fn lose(&mut self, name: u8) {
        self.kept.remove(&name);
        if let Some(room) = self.by_name.remove(&name) {
            let room = &mut self.rooms[room];
            room.end = End::Lost;
            room.holders.clear();
            for (_, ticket) in room.backlog.take().unwrap_or_default() {
                let gone = Fate::Refused(PublishRefusal::RoomGone);
                self.answers[ticket.0 as usize].0 = Some(gone);
            }
        }
        self.home.apply(Request::Lose {
            name: name_of(name),
            reason: LossReason::Cut,
        });
        self.said.lost(name);
    }

    /// Which rooms are reaped is the home's to say, but none that is in use.
    fn sweep(&mut self, ms: u64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        self.home.apply(Request::Sweep {
            now_ms,
            wall_ms: now_ms,
            idle_ms: IDLE_MS,
            position_ttl_ms: POSITION_TTL_MS,
        });
        self.said.swept(now_ms);
        let is_kept = |since: u64| now_ms - since < POSITION_TTL_MS;
        self.kept.retain(|_, (_, _, since)| is_kept(*since));
        for (name, room) in self.by_name.clone() {
            if !self.home.contains(name_of(name).as_str()) {
                assert!(!self.has_subscribers(room, None), "reaped in use: {name}");
                assert!(self.rooms[room].backlog.is_none(), "reaped in use: {name}");
                assert!(self.rooms[room].table.is_empty(), "reaped in use: {name}");
                self.rooms[room].end = End::Reaped;
                self.by_name.remove(&name);
                let Room { top, version, .. } = self.rooms[room];
                self.kept.insert(name, (top, version, now_ms));
            }
        }
    }

    /// Lets go of all rooms and empties all mailboxes; nothing may be owed any more.
    pub fn settle(&mut self) {
        for who in 0..self.subscribers.len() {
            let Subscriber { id, room, .. } = self.subscribers[who];
            self.let_go(self.subscribers[who].joined, id.core);
            if let Some(room) = room {
                let core = id.core;
                self.home.apply(Request::Resume { room, core });
            }
        }
        self.end_turn();
        for core in 0..CORES {
            while let Some(delivery) = self.mailboxes[usize::from(core)].pop_front() {
                self.deliver(CoreId(core), delivery);
            }
        }
        for subscriber in &self.subscribers {
            assert!(subscriber.owed.is_empty(), "owed {:?}", subscriber.owed);
            let is_lost = self.rooms[subscriber.joined].end == End::Lost;
            let had_left = subscriber.left && !subscriber.is_told_of_loss;
            assert!(subscriber.is_told_of_loss == is_lost || had_left);
        }
        assert!(self.answers.iter().all(|(_, has_come)| *has_come));
        assert!(self.asked.is_empty());
        self.positions_are_unique();
        self.home.vacate_all();
        self.said.ended();
    }

    /// No two messages of all lives of a room have the same position.
    fn positions_are_unique(&self) {
        let mut by_place = HashMap::new();
        for subscriber in &self.subscribers {
            let name = self.rooms[subscriber.joined].name;
            for (position, payload) in &subscriber.seen {
                let there = *by_place.entry((name, *position)).or_insert(*payload);
                assert_eq!(there, *payload);
            }
        }
    }
}

fn details(payload: u64) -> Arc<Details> {
    let (key, is_removed) = key_of(payload);
    let key = key.to_string().into();
    Arc::new(Details {
        keyed: Some(Keyed { key, is_removed }),
        ..Details::default()
    })
}

fn user_of(id: ConnectionId) -> &'static str {
    ["ann", "bob", ""][id.token as usize % 3]
}

fn name_of(name: u8) -> RoomName {
    RoomName::new(&format!("room {name}")).unwrap()
}
