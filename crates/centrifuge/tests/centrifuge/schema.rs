//! The protocol's schema once more, for libraries that know nothing of the crate: prost writes and
//! reads it in Protobuf, serde in JSON.

use std::collections::BTreeMap;

use prost::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A payload in JSON is the text of a value.
mod raw {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &[u8], writer: S) -> Result<S::Ok, S::Error> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        RawValue::from_string(text).unwrap().serialize(writer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<u8>, D::Error> {
        let text = Box::<RawValue>::deserialize(reader)?;
        Ok(text.get().as_bytes().to_vec())
    }
}

/// Declares messages; the attribute `raw` stands before payloads.
macro_rules! schema {
    ($($name:ident { $($(#[$($kind:tt)*])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$($kind)*])* pub $field: $type,)*
        }
    )*};
}

schema! {
    Command {
        #[prost(uint32, tag = "1")] id: u32,
        #[prost(message, optional, tag = "4")] connect: Option<ConnectRequest>,
        #[prost(message, optional, tag = "5")] subscribe: Option<SubscribeRequest>,
        #[prost(message, optional, tag = "6")] unsubscribe: Option<ChannelRequest>,
        #[prost(message, optional, tag = "7")] publish: Option<PublishRequest>,
        #[prost(message, optional, tag = "8")] presence: Option<ChannelRequest>,
        #[prost(message, optional, tag = "9")] presence_stats: Option<ChannelRequest>,
        #[prost(message, optional, tag = "10")] history: Option<HistoryRequest>,
        #[prost(message, optional, tag = "12")] send: Option<DataOnly>,
        #[prost(message, optional, tag = "13")] rpc: Option<RpcRequest>,
        #[prost(message, optional, tag = "14")] refresh: Option<RefreshRequest>,
        #[prost(message, optional, tag = "15")] sub_refresh: Option<SubRefreshRequest>,
    }
    ConnectRequest {
        #[prost(string, tag = "1")] token: String,
        #[prost(bytes = "vec", tag = "2")] #[serde(with = "raw", skip_serializing_if = "Vec::is_empty")] data: Vec<u8>,
        #[prost(btree_map = "string, message", tag = "3")] subs: BTreeMap<String, SubscribeRequest>,
        #[prost(string, tag = "4")] name: String,
        #[prost(string, tag = "5")] version: String,
        #[prost(btree_map = "string, string", tag = "6")] headers: BTreeMap<String, String>,
        #[prost(int64, tag = "7")] flag: i64,
    }
    SubscribeRequest {
        #[prost(string, tag = "1")] channel: String,
        #[prost(string, tag = "2")] token: String,
        #[prost(bool, tag = "3")] recover: bool,
        #[prost(string, tag = "6")] epoch: String,
        #[prost(uint64, tag = "7")] offset: u64,
        #[prost(bytes = "vec", tag = "8")] #[serde(with = "raw", skip_serializing_if = "Vec::is_empty")] data: Vec<u8>,
        #[prost(bool, tag = "9")] positioned: bool,
        #[prost(bool, tag = "10")] recoverable: bool,
        #[prost(bool, tag = "11")] join_leave: bool,
        #[prost(string, tag = "12")] delta: String,
        #[prost(message, optional, tag = "13")] tf: Option<FilterNode>,
        #[prost(int64, tag = "14")] flag: i64,
        #[prost(int32, tag = "15")] r#type: i32,
        #[prost(int32, tag = "16")] phase: i32,
    }
    FilterNode {
        #[prost(string, tag = "2")] key: String,
        #[prost(message, repeated, tag = "6")] nodes: Vec<FilterNode>,
    }
    ChannelRequest {
        #[prost(string, tag = "1")] channel: String,
    }
    PublishRequest {
        #[prost(string, tag = "1")] channel: String,
        #[prost(bytes = "vec", tag = "2")] #[serde(with = "raw", skip_serializing_if = "Vec::is_empty")] data: Vec<u8>,
        #[prost(int32, tag = "3")] r#type: i32,
        #[prost(string, tag = "4")] key: String,
        #[prost(bool, tag = "5")] removed: bool,
    }
    StreamPosition {
        #[prost(uint64, tag = "1")] offset: u64,
        #[prost(string, tag = "2")] epoch: String,
    }
    HistoryRequest {
        #[prost(string, tag = "1")] channel: String,
        #[prost(int32, tag = "7")] limit: i32,
        #[prost(message, optional, tag = "8")] since: Option<StreamPosition>,
        #[prost(bool, tag = "9")] reverse: bool,
    }
    DataOnly {
        #[prost(bytes = "vec", tag = "1")] #[serde(with = "raw", skip_serializing_if = "Vec::is_empty")] data: Vec<u8>,
    }
    RpcRequest {
        #[prost(bytes = "vec", tag = "1")] #[serde(with = "raw", skip_serializing_if = "Vec::is_empty")] data: Vec<u8>,
        #[prost(string, tag = "2")] method: String,
    }
    RefreshRequest {
        #[prost(string, tag = "1")] token: String,
    }
    SubRefreshRequest {
        #[prost(string, tag = "1")] channel: String,
        #[prost(string, tag = "2")] token: String,
        #[prost(int32, tag = "3")] r#type: i32,
    }
    Reply {
        #[prost(uint32, tag = "1")] id: u32,
        #[prost(message, optional, tag = "2")] error: Option<Error>,
        #[prost(message, optional, tag = "4")] push: Option<Push>,
        #[prost(message, optional, tag = "5")] connect: Option<ConnectResult>,
        #[prost(message, optional, tag = "6")] subscribe: Option<SubscribeResult>,
        #[prost(message, optional, tag = "7")] unsubscribe: Option<Empty>,
        #[prost(message, optional, tag = "8")] publish: Option<Empty>,
        #[prost(message, optional, tag = "9")] presence: Option<PresenceResult>,
        #[prost(message, optional, tag = "10")] presence_stats: Option<PresenceStatsResult>,
        #[prost(message, optional, tag = "11")] history: Option<HistoryResult>,
        #[prost(message, optional, tag = "13")] rpc: Option<DataOnly>,
        #[prost(message, optional, tag = "14")] refresh: Option<RefreshResult>,
        #[prost(message, optional, tag = "15")] sub_refresh: Option<Ttl>,
    }
    Empty {}
    Error {
        #[prost(uint32, tag = "1")] code: u32,
        #[prost(string, tag = "2")] message: String,
        #[prost(bool, tag = "3")] temporary: bool,
    }
    ClientInfo {
        #[prost(string, tag = "1")] user: String,
        #[prost(string, tag = "2")] client: String,
        #[prost(bytes = "vec", tag = "3")] #[serde(with = "raw")] conn_info: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")] #[serde(with = "raw")] chan_info: Vec<u8>,
    }
    Publication {
        #[prost(bytes = "vec", tag = "4")] #[serde(with = "raw")] data: Vec<u8>,
        #[prost(message, optional, tag = "5")] info: Option<ClientInfo>,
        #[prost(uint64, tag = "6")] offset: u64,
        #[prost(btree_map = "string, string", tag = "7")] tags: BTreeMap<String, String>,
        #[prost(string, tag = "11")] key: String,
        #[prost(bool, tag = "12")] removed: bool,
        #[prost(string, tag = "14")] epoch: String,
    }
    ConnectResult {
        #[prost(string, tag = "1")] client: String,
        #[prost(string, tag = "2")] version: String,
        #[prost(bool, tag = "3")] expires: bool,
        #[prost(uint32, tag = "4")] ttl: u32,
        #[prost(bytes = "vec", tag = "5")] #[serde(with = "raw")] data: Vec<u8>,
        #[prost(btree_map = "string, message", tag = "6")] subs: BTreeMap<String, SubscribeResult>,
        #[prost(uint32, tag = "7")] ping: u32,
        #[prost(bool, tag = "8")] pong: bool,
        #[prost(string, tag = "9")] session: String,
        #[prost(string, tag = "10")] node: String,
        #[prost(int64, tag = "11")] time: i64,
    }
    SubscribeResult {
        #[prost(bool, tag = "1")] expires: bool,
        #[prost(uint32, tag = "2")] ttl: u32,
        #[prost(bool, tag = "3")] recoverable: bool,
        #[prost(string, tag = "6")] epoch: String,
        #[prost(message, repeated, tag = "7")] publications: Vec<Publication>,
        #[prost(bool, tag = "8")] recovered: bool,
        #[prost(uint64, tag = "9")] offset: u64,
        #[prost(bool, tag = "10")] positioned: bool,
        #[prost(bytes = "vec", tag = "11")] #[serde(with = "raw")] data: Vec<u8>,
        #[prost(bool, tag = "12")] was_recovering: bool,
        #[prost(uint32, tag = "15")] r#type: u32,
        #[prost(message, repeated, tag = "18")] state: Vec<Publication>,
    }
    PresenceResult {
        #[prost(btree_map = "string, message", tag = "1")] presence: BTreeMap<String, ClientInfo>,
    }
    PresenceStatsResult {
        #[prost(uint32, tag = "1")] num_clients: u32,
        #[prost(uint32, tag = "2")] num_users: u32,
    }
    HistoryResult {
        #[prost(message, repeated, tag = "1")] publications: Vec<Publication>,
        #[prost(string, tag = "2")] epoch: String,
        #[prost(uint64, tag = "3")] offset: u64,
    }
    RefreshResult {
        #[prost(bool, tag = "3")] expires: bool,
        #[prost(uint32, tag = "4")] ttl: u32,
    }
    Ttl {
        #[prost(bool, tag = "1")] expires: bool,
        #[prost(uint32, tag = "2")] ttl: u32,
    }
    Push {
        #[prost(string, tag = "2")] channel: String,
        #[prost(message, optional, tag = "4")] r#pub: Option<Publication>,
        #[prost(message, optional, tag = "5")] join: Option<Presence>,
        #[prost(message, optional, tag = "6")] leave: Option<Presence>,
        #[prost(message, optional, tag = "7")] unsubscribe: Option<Unsubscribe>,
        #[prost(message, optional, tag = "8")] message: Option<DataOnly>,
        #[prost(message, optional, tag = "9")] subscribe: Option<Subscribe>,
        #[prost(message, optional, tag = "11")] disconnect: Option<Disconnect>,
        #[prost(message, optional, tag = "12")] refresh: Option<Ttl>,
    }
    Presence {
        #[prost(message, optional, tag = "1")] info: Option<ClientInfo>,
    }
    Unsubscribe {
        #[prost(uint32, tag = "2")] code: u32,
        #[prost(string, tag = "3")] reason: String,
    }
    Disconnect {
        #[prost(uint32, tag = "1")] code: u32,
        #[prost(string, tag = "2")] reason: String,
    }
    Subscribe {
        #[prost(bool, tag = "1")] recoverable: bool,
        #[prost(string, tag = "4")] epoch: String,
        #[prost(uint64, tag = "5")] offset: u64,
        #[prost(bool, tag = "6")] positioned: bool,
        #[prost(bytes = "vec", tag = "7")] #[serde(with = "raw")] data: Vec<u8>,
    }
}
