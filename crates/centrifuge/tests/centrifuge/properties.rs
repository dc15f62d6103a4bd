//! Messages of random content: an independent reader understands what is written, in both encodings
//! the same, and what an independent writer writes is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use centrifuge::{
    ClientInfo, Command, Commands, ConnectRequest, ConnectResult, Encoding, Expiry, Failure,
    HistoryRequest, HistoryResult, Meta, Method, PresenceRequest, PresenceStatsRequest,
    Publication, PublishRequest, Push, RefreshRequest, Reply, RpcRequest, SendRequest,
    StreamPosition, SubRefreshRequest, SubscribeRequest, SubscribeResult, Subscribed, Unread,
    UnsubscribeRequest, is_json,
};
use proptest::prelude::*;
use prost::Message;

use crate::schema;

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

/// What a message is made of.
#[derive(Clone, Debug)]
struct Parts {
    id: u32,
    texts: [String; 4],
    /// Texts of JSON values without newlines, or empty.
    payloads: [String; 3],
    number: u64,
    small: u32,
    signed: i64,
    flags: [bool; 4],
    tags: BTreeMap<String, String>,
    count: usize,
}

fn payload() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|it| it.to_string()),
        any::<String>().prop_map(|it| serde_json::to_string(&it).unwrap()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::vec(inner, 0..3).prop_map(|it| format!("[ {}\r]", it.join(", ")))
    })
}

fn parts() -> impl Strategy<Value = Parts> {
    let maybe = prop_oneof![Just(String::new()), payload()];
    let text = prop_oneof![Just(String::new()), any::<String>(), "[a-z]{200}"];
    (
        (
            any::<u32>(),
            any::<u64>(),
            any::<u32>(),
            any::<i64>(),
            0..3_usize,
        ),
        prop::array::uniform4(text),
        prop::array::uniform3(maybe),
        any::<[bool; 4]>(),
        prop::collection::btree_map(any::<String>(), any::<String>(), 0..3),
    )
        .prop_map(|(numbers, texts, payloads, flags, tags)| Parts {
            id: numbers.0,
            number: numbers.1,
            small: numbers.2,
            signed: numbers.3,
            count: numbers.4,
            texts,
            payloads,
            flags,
            tags,
        })
}

impl Parts {
    fn text(&self, index: usize) -> String {
        self.texts[index].clone()
    }

    fn cow(&self, index: usize) -> Cow<'_, str> {
        Cow::Borrowed(&self.texts[index])
    }

    fn bytes(&self, index: usize) -> Vec<u8> {
        self.payloads[index].clone().into_bytes()
    }

    fn data(&self, index: usize) -> Option<&[u8]> {
        Some(self.payloads[index].as_bytes()).filter(|it| !it.is_empty())
    }

    fn expiry(&self) -> Expiry {
        match self.flags[0] {
            true => Expiry::After(self.small),
            false => Expiry::Never,
        }
    }

    fn ttl(&self) -> (bool, u32) {
        (self.flags[0], if self.flags[0] { self.small } else { 0 })
    }

    fn info(&self) -> ClientInfo<'_> {
        ClientInfo {
            user: self.cow(0),
            client: self.cow(1),
            conn_info: self.data(0),
            chan_info: self.data(1),
        }
    }

    fn expected_info(&self) -> schema::ClientInfo {
        schema::ClientInfo {
            user: self.text(0),
            client: self.text(1),
            conn_info: self.bytes(0),
            chan_info: self.bytes(1),
        }
    }

    fn meta(&self) -> Vec<u8> {
        let tags: Vec<_> = self.tags.iter().map(|(a, b)| (&**a, &**b)).collect();
        Publication::meta(self.flags[1].then(|| self.info()).as_ref(), &tags)
    }

    fn publication<'a>(&'a self, meta: &'a [u8]) -> Publication<'a> {
        Publication {
            meta,
            data: self.payloads[2].as_bytes(),
            offset: self.number,
            epoch: &self.texts[2],
            key: &self.texts[1],
            removed: self.flags[0],
        }
    }

    fn expected_publication(&self) -> schema::Publication {
        schema::Publication {
            data: self.bytes(2),
            info: self.flags[1].then(|| self.expected_info()),
            offset: self.number,
            tags: self.tags.clone(),
            key: self.text(1),
            removed: self.flags[0],
            epoch: self.text(2),
        }
    }

    fn subscription<'a>(&'a self, publications: &'a [Publication<'a>]) -> SubscribeResult<'a> {
        SubscribeResult {
            expiry: self.expiry(),
            recoverable: self.flags[1],
            epoch: &self.texts[2],
            publications,
            recovered: self.flags[2],
            offset: self.number,
            positioned: self.flags[3],
            data: self.payloads[0].as_bytes(),
            was_recovering: self.flags[2],
            kind: self.small,
            state: publications,
        }
    }

    fn expected_subscription(&self) -> schema::SubscribeResult {
        schema::SubscribeResult {
            expires: self.ttl().0,
            ttl: self.ttl().1,
            recoverable: self.flags[1],
            epoch: self.text(2),
            publications: vec![self.expected_publication(); self.count],
            recovered: self.flags[2],
            offset: self.number,
            positioned: self.flags[3],
            data: self.bytes(0),
            was_recovering: self.flags[2],
            r#type: self.small,
            state: vec![self.expected_publication(); self.count],
        }
    }
}

/// Reads the one message of a frame with the libraries.
fn read(encoding: Encoding, frame: &[u8]) -> schema::Reply {
    match encoding {
        Encoding::Json => {
            assert!(!frame.contains(&b'\n'));
            serde_json::from_slice(frame).unwrap()
        }
        Encoding::Protobuf => schema::Reply::decode_length_delimited(frame).unwrap(),
    }
}

fn check_reply(id: u32, reply: &Reply<'_>, expected: schema::Reply) {
    for encoding in ENCODINGS {
        let mut frame = Vec::new();
        encoding.append_reply(id, reply, &mut frame);
        let expected = schema::Reply {
            id,
            ..expected.clone()
        };
        assert_eq!(read(encoding, &frame), expected, "{encoding:?}");
    }
}

fn check_push(channel: &str, push: &Push<'_>, expected: schema::Push) {
    for encoding in ENCODINGS {
        let mut frame = Vec::new();
        encoding.append_push(channel, push, &mut frame);
        let push = schema::Push {
            channel: channel.to_owned(),
            ..expected.clone()
        };
        let expected = schema::Reply {
            push: Some(push),
            ..schema::Reply::default()
        };
        assert_eq!(read(encoding, &frame), expected, "{encoding:?}");
    }
}

/// Writes a command with the libraries and reads it.
fn check_command(written: &schema::Command, expected: &Method<'_>) {
    let json = serde_json::to_vec(written).unwrap();
    let protobuf = written.encode_length_delimited_to_vec();
    for (encoding, frame) in [(Encoding::Json, json), (Encoding::Protobuf, protobuf)] {
        let mut commands = Commands::new(encoding, &frame);
        let expected = Command {
            id: written.id,
            method: expected.clone(),
        };
        assert_eq!(commands.next(), Some(Ok(expected)), "{encoding:?}");
        assert_eq!(commands.next(), None);
    }
}

macro_rules! only {
    ($type:ident { $($field:ident: $value:expr),* $(,)? }) => {
        schema::$type { $($field: $value,)* ..schema::$type::default() }
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn reply_with_publications_is_read(parts in parts()) {
        let meta = parts.meta();
        let publications = vec![parts.publication(&meta); parts.count];
        let subscription = parts.subscription(&publications);
        let expected = only!(Reply { subscribe: Some(parts.expected_subscription()) });
        check_reply(parts.id, &Reply::Subscribe(subscription.clone()), expected);
        let history = HistoryResult {
            publications: &publications,
            epoch: &parts.texts[1],
            offset: parts.number,
        };
        let expected = schema::HistoryResult {
            publications: vec![parts.expected_publication(); parts.count],
            epoch: parts.text(1),
            offset: parts.number,
        };
        check_reply(parts.id, &Reply::History(history), only!(Reply { history: Some(expected) }));
        let subs = [(&*parts.texts[3], subscription)];
        let connect = ConnectResult {
            client: &parts.texts[0],
            version: &parts.texts[1],
            expiry: parts.expiry(),
            data: parts.payloads[1].as_bytes(),
            subs: &subs[..parts.count.min(1)],
            ping: parts.small,
            pong: parts.flags[1],
            session: &parts.texts[2],
            node: &parts.texts[3],
            time: parts.number >> 1,
        };
        let expected = schema::ConnectResult {
            client: parts.text(0),
            version: parts.text(1),
            expires: parts.ttl().0,
            ttl: parts.ttl().1,
            data: parts.bytes(1),
            subs: [(parts.text(3), parts.expected_subscription())]
                .into_iter()
                .take(parts.count.min(1))
                .collect(),
            ping: parts.small,
            pong: parts.flags[1],
            session: parts.text(2),
            node: parts.text(3),
            time: (parts.number >> 1) as i64,
        };
        check_reply(parts.id, &Reply::Connect(connect), only!(Reply { connect: Some(expected) }));
    }

    #[test]
    fn reply_of_every_other_kind_is_read(parts in parts()) {
        let id = parts.id;
        let failure = Failure {
            code: parts.small,
            message: &parts.texts[0],
            temporary: parts.flags[0],
        };
        let expected = schema::Error {
            code: parts.small,
            message: parts.text(0),
            temporary: parts.flags[0],
        };
        check_reply(id, &Reply::Error(failure), only!(Reply { error: Some(expected) }));
        let empty = Some(schema::Empty::default());
        check_reply(id, &Reply::Unsubscribe, only!(Reply { unsubscribe: empty.clone() }));
        check_reply(id, &Reply::Publish, only!(Reply { publish: empty }));
        let info = parts.info().to_protobuf();
        let expected = schema::PresenceResult {
            presence: [(parts.text(1), parts.expected_info())].into(),
        };
        let presence = [(&*parts.texts[1], &*info)];
        check_reply(id, &Reply::Presence(&presence), only!(Reply { presence: Some(expected) }));
        let (clients, users) = (parts.small, parts.id);
        let expected = schema::PresenceStatsResult { num_clients: clients, num_users: users };
        let expected = only!(Reply { presence_stats: Some(expected) });
        check_reply(id, &Reply::PresenceStats { clients, users }, expected);
        let expected = Some(schema::DataOnly { data: parts.bytes(0) });
        let data = parts.payloads[0].as_bytes();
        check_reply(id, &Reply::Rpc { data }, only!(Reply { rpc: expected }));
        let (expires, ttl) = parts.ttl();
        let expected = Some(schema::RefreshResult { expires, ttl });
        check_reply(id, &Reply::Refresh(parts.expiry()), only!(Reply { refresh: expected }));
        let expected = Some(schema::Ttl { expires, ttl });
        check_reply(id, &Reply::SubRefresh(parts.expiry()), only!(Reply { sub_refresh: expected }));
    }

    #[test]
    fn push_of_every_kind_is_read(parts in parts()) {
        let channel = &*parts.texts[3];
        let meta = parts.meta();
        let expected = only!(Push { r#pub: Some(parts.expected_publication()) });
        check_push(channel, &Push::Publication(parts.publication(&meta)), expected);
        let info = &*parts.info().to_protobuf();
        let expected = Some(schema::Presence { info: Some(parts.expected_info()) });
        check_push(channel, &Push::Join { info }, only!(Push { join: expected.clone() }));
        check_push(channel, &Push::Leave { info }, only!(Push { leave: expected }));
        let (code, reason) = (parts.small, &*parts.texts[0]);
        let expected = Some(schema::Unsubscribe { code, reason: reason.to_owned() });
        let unsubscribe = Push::Unsubscribe { code, reason };
        check_push(channel, &unsubscribe, only!(Push { unsubscribe: expected }));
        let expected = Some(schema::Disconnect { code, reason: reason.to_owned() });
        let disconnect = Push::Disconnect { code, reason };
        check_push(channel, &disconnect, only!(Push { disconnect: expected }));
        let data = parts.payloads[0].as_bytes();
        let expected = Some(schema::DataOnly { data: parts.bytes(0) });
        check_push(channel, &Push::Message { data }, only!(Push { message: expected }));
        let subscribed = Subscribed {
            recoverable: parts.flags[1],
            epoch: &parts.texts[2],
            offset: parts.number,
            positioned: parts.flags[2],
            data,
        };
        let expected = Some(schema::Subscribe {
            recoverable: parts.flags[1],
            epoch: parts.text(2),
            offset: parts.number,
            positioned: parts.flags[2],
            data: parts.bytes(0),
        });
        check_push(channel, &Push::Subscribe(subscribed), only!(Push { subscribe: expected }));
        let (expires, ttl) = parts.ttl();
        let expected = Some(schema::Ttl { expires, ttl });
        check_push(channel, &Push::Refresh(parts.expiry()), only!(Push { refresh: expected }));
    }

    #[test]
    fn meta_is_read_again(parts in parts()) {
        let meta = parts.meta();
        let tags = parts.tags.iter().map(|(a, b)| (Cow::from(a), Cow::from(b))).collect();
        let info = parts.flags[1].then(|| parts.info());
        prop_assert_eq!(Meta::read(&meta), Ok(Meta { info, tags }));
    }

    #[test]
    fn command_that_subscribes_is_read(parts in parts()) {
        let written = schema::SubscribeRequest {
            channel: parts.text(0),
            token: parts.text(1),
            recover: parts.flags[0],
            epoch: parts.text(2),
            offset: parts.number,
            data: parts.bytes(0),
            positioned: parts.flags[1],
            recoverable: parts.flags[2],
            join_leave: parts.flags[3],
            delta: parts.text(3),
            tf: parts.flags[0].then(|| only!(FilterNode { nodes: vec![Default::default()] })),
            flag: parts.signed,
            r#type: parts.small as i32,
            phase: parts.id as i32,
        };
        let request = SubscribeRequest {
            channel: parts.cow(0),
            token: parts.cow(1),
            recover: parts.flags[0],
            epoch: parts.cow(2),
            offset: parts.number,
            data: parts.data(0),
            positioned: parts.flags[1],
            recoverable: parts.flags[2],
            join_leave: parts.flags[3],
            delta: parts.cow(3),
            filter: parts.flags[0].then_some(Unread),
            flag: parts.signed,
            kind: parts.small as i32,
            phase: parts.id as i32,
        };
        let command = only!(Command { id: parts.id, subscribe: Some(written.clone()) });
        check_command(&command, &Method::Subscribe(request.clone()));
        let connect = schema::ConnectRequest {
            token: parts.text(0),
            data: parts.bytes(1),
            subs: [(parts.text(3), written)].into_iter().take(parts.count).collect(),
            name: parts.text(1),
            version: parts.text(2),
            headers: parts.tags.clone(),
            flag: parts.signed,
        };
        let expected = ConnectRequest {
            token: parts.cow(0),
            data: parts.data(1),
            subs: [(parts.cow(3), request)].into_iter().take(parts.count).collect(),
            name: parts.cow(1),
            version: parts.cow(2),
            headers: parts.tags.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
            flag: parts.signed,
        };
        let command = only!(Command { id: parts.id, connect: Some(connect) });
        check_command(&command, &Method::Connect(expected));
    }

    #[test]
    fn command_of_every_other_kind_is_read(parts in parts()) {
        let id = parts.id;
        let named = Some(schema::ChannelRequest { channel: parts.text(0) });
        let channel = parts.cow(0);
        check_command(
            &only!(Command { id: id, unsubscribe: named.clone() }),
            &Method::Unsubscribe(UnsubscribeRequest { channel: channel.clone() }),
        );
        check_command(
            &only!(Command { id: id, presence: named.clone() }),
            &Method::Presence(PresenceRequest { channel: channel.clone() }),
        );
        check_command(
            &only!(Command { id: id, presence_stats: named }),
            &Method::PresenceStats(PresenceStatsRequest { channel: channel.clone() }),
        );
        let kind = parts.small as i32;
        let publish = Some(schema::PublishRequest {
            channel: parts.text(0),
            data: parts.bytes(0),
            r#type: kind,
            key: parts.text(1),
            removed: parts.flags[0],
        });
        let expected = PublishRequest {
            channel: channel.clone(),
            data: parts.data(0),
            kind,
            key: parts.cow(1),
            removed: parts.flags[0],
        };
        check_command(&only!(Command { id: id, publish: publish }), &Method::Publish(expected));
        let since = schema::StreamPosition { offset: parts.number, epoch: parts.text(2) };
        let history = Some(schema::HistoryRequest {
            channel: parts.text(0),
            limit: kind,
            since: parts.flags[0].then_some(since),
            reverse: parts.flags[1],
        });
        let since = StreamPosition { offset: parts.number, epoch: parts.cow(2) };
        let expected = HistoryRequest {
            channel: channel.clone(),
            limit: kind,
            since: parts.flags[0].then_some(since),
            reverse: parts.flags[1],
        };
        check_command(&only!(Command { id: id, history: history }), &Method::History(expected));
        let rpc = Some(schema::RpcRequest { data: parts.bytes(0), method: parts.text(1) });
        let expected = RpcRequest { data: parts.data(0), method: parts.cow(1) };
        check_command(&only!(Command { id: id, rpc: rpc }), &Method::Rpc(expected));
        let send = Some(schema::DataOnly { data: parts.bytes(0) });
        let expected = SendRequest { data: parts.data(0) };
        check_command(&only!(Command { id: id, send: send }), &Method::Send(expected));
        let refresh = Some(schema::RefreshRequest { token: parts.text(1) });
        let expected = RefreshRequest { token: parts.cow(1) };
        check_command(&only!(Command { id: id, refresh: refresh }), &Method::Refresh(expected));
        let refresh = Some(schema::SubRefreshRequest {
            channel: parts.text(0),
            token: parts.text(1),
            r#type: kind,
        });
        let expected = SubRefreshRequest { channel, token: parts.cow(1), kind };
        check_command(
            &only!(Command { id: id, sub_refresh: refresh }),
            &Method::SubRefresh(expected),
        );
    }

    #[test]
    fn is_json_agrees_with_a_parser(payload in payload(), noise in any::<String>(), cut in any::<prop::sample::Index>()) {
        prop_assert!(is_json(payload.as_bytes()));
        for text in [&payload[..payload.floor_char_boundary(cut.index(payload.len()))], &noise] {
            let parsed = serde_json::from_str::<Box<serde_json::value::RawValue>>(text);
            prop_assert_eq!(is_json(text.as_bytes()), parsed.is_ok());
        }
    }
}
