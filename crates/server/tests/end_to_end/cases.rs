//! Small cases of the Centrifuge protocol: what is sent, what is answered, and what the reference answers.
//!
//! The reference is the library on which the protocol's own server, Centrifugo, is built. `docs/protocol.md`
//! shows the same table.

/// One case, which has a connection of its own. The rooms keep what earlier cases have published.
pub struct Case {
    pub name: &'static str,
    /// How the connection begins.
    pub opening: Opening,
    /// Frames, each sent when the one before it is answered.
    pub sent: &'static [&'static str],
    /// Messages, and at last perhaps the close frame.
    pub answer: &'static [&'static str],
    pub reference: Reference,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// With a connect command without a token, and its answer; neither is a part of the case.
    Connected,
    /// With nothing.
    Silent,
    /// With nothing, and with this query.
    Query(&'static str),
    /// With nothing, and with this subprotocol, which the 101 must name.
    Subprotocol(&'static str),
}

/// What the reference answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The same.
    Same,
    /// Something else: its answer, and why ours is another.
    Other(&'static str, &'static str),
}

use Opening::{Connected, Query, Silent, Subprotocol};
use Reference::{Other, Same};

const ANY: Case = Case {
    name: "",
    opening: Connected,
    sent: &[],
    answer: &[],
    reference: Same,
};

const BAD_REQUEST: &str = "close 3501 bad request";

const KEYS: Reference = Other(
    "not asked",
    "its version had no keys; tests with the JavaScript SDK show that this is what it expects",
);

/// All cases, in the order in which they are sent.
pub const CASES: &[Case] = &[
    Case {
        name: "JSON asked for by subprotocol",
        opening: Subprotocol("centrifuge-json"),
        sent: &[r#"{"id":1,"connect":{}}"#],
        answer: &[
            r#"{"id":1,"connect":{"client":"<client>","version":"<version>","ping":25,"pong":true}}"#,
        ],
        ..ANY
    },
    Case {
        name: "ping as a command",
        sent: &[r#"{"id":2,"ping":{}}"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "send",
        sent: &[r#"{"send":{"data":{}}}"#],
        answer: &["close 3508 not available"],
        ..ANY
    },
    Case {
        name: "rpc",
        sent: &[r#"{"id":2,"rpc":{"method":"x","data":{}}}"#],
        answer: &[r#"{"id":2,"error":{"code":108,"message":"not available"}}"#],
        ..ANY
    },
    Case {
        name: "pong without a ping",
        sent: &["{}"],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "second connect",
        sent: &[r#"{"id":1,"connect":{}}"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "subscribe before connect",
        opening: Silent,
        sent: &[r#"{"id":1,"subscribe":{"channel":"a"}}"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "empty frame",
        sent: &[""],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "empty line in a frame",
        sent: &[
            "{\"id\":2,\"presence_stats\":{\"channel\":\"a\"}}\n\n{\"id\":3,\"presence_stats\":{\"channel\":\"a\"}}",
        ],
        answer: &[
            r#"{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}"#,
            BAD_REQUEST,
        ],
        ..ANY
    },
    Case {
        name: "no JSON",
        sent: &[r#"{"id":"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "unknown method",
        sent: &[r#"{"id":2,"foo":{}}"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "unknown field",
        sent: &[r#"{"id":2,"presence_stats":{"channel":"a","zzz":1}}"#],
        answer: &[r#"{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}"#],
        ..ANY
    },
    Case {
        name: "unknown namespace",
        sent: &[r#"{"id":2,"subscribe":{"channel":"nope:1"}}"#],
        answer: &[r#"{"id":2,"error":{"code":102,"message":"unknown channel"}}"#],
        ..ANY
    },
    Case {
        name: "empty channel",
        sent: &[r#"{"id":2,"subscribe":{"channel":""}}"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "channel of 300 bytes",
        sent: &[r#"{"id":2,"subscribe":{"channel":"<300 letters>"}}"#],
        answer: &[r#"{"id":2,"error":{"code":107,"message":"bad request"}}"#],
        ..ANY
    },
    Case {
        name: "subscribe twice",
        sent: &[
            r#"{"id":2,"subscribe":{"channel":"chat:x","flag":1}}"#,
            r#"{"id":3,"subscribe":{"channel":"chat:x"}}"#,
        ],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","positioned":true}}"#,
            r#"{"id":3,"error":{"code":105,"message":"already subscribed"}}"#,
        ],
        ..ANY
    },
    Case {
        name: "map subscription",
        sent: &[r#"{"id":2,"subscribe":{"channel":"chat:x","type":1,"phase":2}}"#],
        answer: &[r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#],
        reference: Other(
            "error 107",
            "Centrifugo answers 103 to a type that is not the namespace's",
        ),
        ..ANY
    },
    Case {
        name: "shared poll",
        sent: &[r#"{"id":2,"subscribe":{"channel":"chat:x","type":4}}"#],
        answer: &[r#"{"id":2,"error":{"code":108,"message":"not available"}}"#],
        ..ANY
    },
    Case {
        name: "unknown delta",
        sent: &[r#"{"id":2,"subscribe":{"channel":"chat:x","delta":"zip"}}"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "known delta",
        sent: &[r#"{"id":2,"subscribe":{"channel":"chat:x","delta":"fossil"}}"#],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","positioned":true}}"#,
        ],
        ..ANY
    },
    Case {
        name: "filter by tags",
        sent: &[
            r#"{"id":2,"subscribe":{"channel":"chat:x","tf":{"key":"a","cmp":"eq","val":"b"}}}"#,
        ],
        answer: &[r#"{"id":2,"error":{"code":107,"message":"bad request"}}"#],
        ..ANY
    },
    Case {
        name: "publish two",
        sent: &[
            r#"{"id":2,"subscribe":{"channel":"chat:o"}}"#,
            "{\"id\":3,\"publish\":{\"channel\":\"chat:o\",\"data\":{\"a\": 1, \"b\":[1,\r2]}}}\n{\"id\":4,\"publish\":{\"channel\":\"chat:o\",\"data\":\"s\"}}",
        ],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","positioned":true}}"#,
            r#"{"id":3,"publish":{}}"#,
            r#"{"id":4,"publish":{}}"#,
            "{\"push\":{\"channel\":\"chat:o\",\"pub\":{\"data\":{\"a\": 1, \"b\":[1,\r2]},\"info\":{\"user\":\"\",\"client\":\"<client>\"},\"offset\":1,\"epoch\":\"<epoch>\"}}}",
            r#"{"push":{"channel":"chat:o","pub":{"data":"s","info":{"user":"","client":"<client>"},"offset":2}}}"#,
        ],
        reference: Other(
            "each push before the reply to its publish",
            "the protocol leaves that open; here what is for one connection leaves before what is for all",
        ),
        ..ANY
    },
    Case {
        name: "history in all ways",
        sent: &[
            r#"{"id":2,"history":{"channel":"chat:o"}}"#,
            r#"{"id":3,"history":{"channel":"chat:o","limit":-1}}"#,
            r#"{"id":4,"history":{"channel":"chat:o","limit":1,"reverse":true}}"#,
            r#"{"id":5,"history":{"channel":"chat:o","limit":1,"reverse":true,"since":{"offset":2}}}"#,
            r#"{"id":6,"history":{"channel":"chat:o","limit":5,"since":{"offset":1}}}"#,
            r#"{"id":7,"history":{"channel":"chat:o","limit":5,"since":{"offset":1,"epoch":"zz"}}}"#,
            r#"{"id":8,"history":{"channel":"chat:o","limit":5,"reverse":true,"since":{"offset":0}}}"#,
            r#"{"id":9,"history":{"channel":"chat:o","since":{"offset":0}}}"#,
        ],
        answer: &[
            r#"{"id":2,"history":{"publications":[],"epoch":"<epoch>","offset":2}}"#,
            "{\"id\":3,\"history\":{\"publications\":[{\"data\":{\"a\": 1, \"b\":[1,\r2]},\"info\":{\"user\":\"\",\"client\":\"<client>\"},\"offset\":1},{\"data\":\"s\",\"info\":{\"user\":\"\",\"client\":\"<client>\"},\"offset\":2}],\"epoch\":\"<epoch>\",\"offset\":2}}",
            r#"{"id":4,"history":{"publications":[{"data":"s","info":{"user":"","client":"<client>"},"offset":2}],"epoch":"<epoch>","offset":2}}"#,
            "{\"id\":5,\"history\":{\"publications\":[{\"data\":{\"a\": 1, \"b\":[1,\r2]},\"info\":{\"user\":\"\",\"client\":\"<client>\"},\"offset\":1}],\"epoch\":\"<epoch>\",\"offset\":2}}",
            r#"{"id":6,"history":{"publications":[{"data":"s","info":{"user":"","client":"<client>"},"offset":2}],"epoch":"<epoch>","offset":2}}"#,
            r#"{"id":7,"error":{"code":112,"message":"unrecoverable position"}}"#,
            r#"{"id":8,"error":{"code":107,"message":"bad request"}}"#,
            r#"{"id":9,"history":{"publications":[],"epoch":"<epoch>","offset":2}}"#,
        ],
        ..ANY
    },
    Case {
        name: "recover one of two",
        sent: &[r#"{"id":2,"subscribe":{"channel":"chat:o","recover":true,"offset":1}}"#],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","publications":[{"data":"s","info":{"user":"","client":"<client>"},"offset":2}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true}}"#,
        ],
        ..ANY
    },
    Case {
        name: "recover at the top",
        sent: &[r#"{"id":2,"subscribe":{"channel":"chat:o","recover":true,"offset":2}}"#],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","recovered":true,"offset":2,"positioned":true,"was_recovering":true}}"#,
        ],
        ..ANY
    },
    Case {
        name: "recover beyond the top",
        sent: &[r#"{"id":2,"subscribe":{"channel":"chat:o","recover":true,"offset":9}}"#],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","offset":2,"positioned":true,"was_recovering":true}}"#,
        ],
        ..ANY
    },
    Case {
        name: "recover in another epoch",
        sent: &[
            r#"{"id":2,"subscribe":{"channel":"chat:o","recover":true,"offset":1,"epoch":"zz"}}"#,
        ],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","offset":2,"positioned":true,"was_recovering":true}}"#,
        ],
        ..ANY
    },
    Case {
        name: "recover in another epoch or get an error",
        sent: &[
            r#"{"id":2,"subscribe":{"channel":"chat:o","recover":true,"offset":1,"epoch":"zz","flag":3}}"#,
        ],
        answer: &[r#"{"id":2,"error":{"code":112,"message":"unrecoverable position"}}"#],
        ..ANY
    },
    Case {
        name: "recover the latest",
        sent: &[
            r#"{"id":2,"publish":{"channel":"cache:v","data":1}}"#,
            r#"{"id":3,"publish":{"channel":"cache:v","data":2}}"#,
            r#"{"id":4,"subscribe":{"channel":"cache:v","recover":true}}"#,
        ],
        answer: &[
            r#"{"id":2,"publish":{}}"#,
            r#"{"id":3,"publish":{}}"#,
            r#"{"id":4,"subscribe":{"recoverable":true,"epoch":"<epoch>","publications":[{"data":2,"info":{"user":"","client":"<client>"},"offset":2}],"recovered":true,"positioned":true,"was_recovering":true}}"#,
        ],
        ..ANY
    },
    Case {
        name: "begin with the latest",
        sent: &[r#"{"id":2,"subscribe":{"channel":"cache:v"}}"#],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","publications":[{"data":2,"info":{"user":"","client":"<client>"},"offset":2}],"recovered":true,"positioned":true}}"#,
        ],
        reference: Other(
            "without the publication",
            "Centrifugo has an option for it, `auto_cache_recover`",
        ),
        ..ANY
    },
    Case {
        name: "keys: all at once, then changes and removals",
        sent: &[
            r#"{"id":2,"publish":{"channel":"map:t","type":1,"key":"usd","data":{"price": 1}}}"#,
            r#"{"id":3,"publish":{"channel":"map:t","type":1,"key":"eur","data":2}}"#,
            r#"{"id":4,"subscribe":{"channel":"map:t","type":1,"phase":2,"flag":1}}"#,
            r#"{"id":5,"publish":{"channel":"map:t","type":1,"key":"eur","data":3}}"#,
            r#"{"id":6,"publish":{"channel":"map:t","type":1,"key":"usd","removed":true}}"#,
        ],
        answer: &[
            r#"{"id":2,"publish":{}}"#,
            r#"{"id":3,"publish":{}}"#,
            r#"{"id":4,"subscribe":{"type":1,"state":[{"data":2,"info":{"user":"","client":"<client>"},"key":"eur"},{"data":{"price": 1},"info":{"user":"","client":"<client>"},"key":"usd"}]}}"#,
            r#"{"id":5,"publish":{}}"#,
            r#"{"id":6,"publish":{}}"#,
            r#"{"push":{"channel":"map:t","pub":{"data":3,"info":{"user":"","client":"<client>"},"key":"eur"}}}"#,
            r#"{"push":{"channel":"map:t","pub":{"info":{"user":"","client":"<client>"},"key":"usd","removed":true}}}"#,
        ],
        reference: KEYS,
        ..ANY
    },
    Case {
        name: "keys: not as a stream, and no keys in a stream",
        sent: &[
            r#"{"id":2,"subscribe":{"channel":"map:t"}}"#,
            r#"{"id":3,"publish":{"channel":"map:t","data":1}}"#,
            r#"{"id":4,"publish":{"channel":"plain:v","type":1,"key":"a","data":1}}"#,
        ],
        answer: &[
            r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#,
            r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#,
            r#"{"id":4,"error":{"code":103,"message":"permission denied"}}"#,
        ],
        reference: KEYS,
        ..ANY
    },
    Case {
        name: "keys: none, one of 256 bytes, and no data",
        sent: &[
            r#"{"id":2,"publish":{"channel":"map:t","type":1,"data":1}}"#,
            r#"{"id":3,"publish":{"channel":"map:t","type":1,"key":"<256 letters>","data":1}}"#,
            r#"{"id":4,"publish":{"channel":"map:t","type":1,"key":"eur"}}"#,
        ],
        answer: &[
            r#"{"id":2,"error":{"code":107,"message":"bad request"}}"#,
            r#"{"id":3,"error":{"code":107,"message":"bad request"}}"#,
            r#"{"id":4,"error":{"code":107,"message":"bad request"}}"#,
        ],
        reference: KEYS,
        ..ANY
    },
    Case {
        name: "keys: from a position",
        sent: &[
            r#"{"id":2,"subscribe":{"channel":"map:t","type":1,"phase":1,"offset":1,"epoch":"e","recover":true}}"#,
        ],
        answer: &[r#"{"id":2,"error":{"code":112,"message":"unrecoverable position"}}"#],
        reference: KEYS,
        ..ANY
    },
    Case {
        name: "room without a history",
        sent: &[
            r#"{"id":2,"subscribe":{"channel":"plain:v"}}"#,
            r#"{"id":3,"publish":{"channel":"plain:v","data":2}}"#,
            r#"{"id":4,"history":{"channel":"plain:v","limit":5}}"#,
        ],
        answer: &[
            r#"{"id":2,"subscribe":{}}"#,
            r#"{"id":3,"publish":{}}"#,
            r#"{"id":4,"error":{"code":108,"message":"not available"}}"#,
            r#"{"push":{"channel":"plain:v","pub":{"data":2,"info":{"user":"","client":"<client>"}}}}"#,
        ],
        reference: Other(
            "an empty history",
            "Centrifugo answers 108 where a namespace keeps no history",
        ),
        ..ANY
    },
    Case {
        name: "unsubscribe from nothing",
        sent: &[r#"{"id":2,"unsubscribe":{"channel":"zzz"}}"#],
        answer: &[r#"{"id":2,"unsubscribe":{}}"#],
        ..ANY
    },
    Case {
        name: "bad token",
        opening: Silent,
        sent: &[r#"{"id":1,"connect":{"token":"a.b.c"}}"#],
        answer: &["close 3500 invalid token"],
        ..ANY
    },
    Case {
        name: "expired token",
        opening: Silent,
        sent: &[
            r#"{"id":1,"connect":{"token":"<expired token>"}}"#,
            r#"{"presence_stats":{"channel":"a"}}"#,
        ],
        answer: &[
            r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#,
            "close 3000 connection closed",
        ],
        reference: Other(
            "error 109, then nothing, and after five seconds no close frame",
            "SDKs have closed by then, and whoever has not learns that the server has",
        ),
    },
    Case {
        name: "refresh",
        opening: Silent,
        sent: &[
            r#"{"id":1,"connect":{"token":"<token>"}}"#,
            r#"{"id":2,"refresh":{"token":"<token>"}}"#,
        ],
        answer: &[
            r#"{"id":1,"connect":{"client":"<client>","version":"<version>","expires":true,"ttl":<ttl>,"ping":25,"pong":true}}"#,
            r#"{"id":2,"refresh":{"expires":true,"ttl":<ttl>}}"#,
        ],
        ..ANY
    },
    Case {
        name: "refresh without a token",
        sent: &[r#"{"id":2,"refresh":{"token":""}}"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "sub_refresh without a subscription",
        sent: &[r#"{"id":2,"sub_refresh":{"channel":"chat:x","token":"x"}}"#],
        answer: &[r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#],
        ..ANY
    },
    Case {
        name: "join to oneself",
        sent: &[r#"{"id":2,"subscribe":{"channel":"chat:j","join_leave":true}}"#],
        answer: &[
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"<epoch>","positioned":true}}"#,
            r#"{"push":{"channel":"chat:j","join":{"info":{"user":"","client":"<client>"}}}}"#,
        ],
        ..ANY
    },
    Case {
        name: "pings in frames of their own",
        opening: Query("?cf_ws_frame_ping_pong=true"),
        sent: &[r#"{"id":1,"connect":{}}"#],
        answer: &[r#"{"id":1,"connect":{"client":"<client>","version":"<version>"}}"#],
        ..ANY
    },
    Case {
        name: "publish without data",
        sent: &[r#"{"id":2,"publish":{"channel":"chat:o"}}"#],
        answer: &[r#"{"id":2,"error":{"code":107,"message":"bad request"}}"#],
        reference: Other("`{\"id\":2,\"publish\":{}}`", "Centrifugo answers 107"),
        ..ANY
    },
    Case {
        name: "one id twice",
        sent: &[
            "{\"id\":2,\"presence_stats\":{\"channel\":\"a\"}}\n{\"id\":2,\"presence_stats\":{\"channel\":\"a\"}}",
        ],
        answer: &[
            r#"{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}"#,
            r#"{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}"#,
        ],
        ..ANY
    },
    Case {
        name: "subscribe without an id",
        sent: &[r#"{"subscribe":{"channel":"a"}}"#],
        answer: &[BAD_REQUEST],
        ..ANY
    },
    Case {
        name: "Protobuf",
        opening: Subprotocol("centrifuge-protobuf"),
        sent: &["04 08 01 22 00"],
        answer: &[r#"1: 1, 5: {1: "<client>", 2: "<version>", 7: 25, 8: 1}"#],
        ..ANY
    },
];
