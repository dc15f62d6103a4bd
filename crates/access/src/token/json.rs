//! JSON objects whose members are read one by one, each with the type that it must have.
//!
//! RFC 7519 section 4 and RFC 7515 section 4 let a parser refuse an object that has a name twice.
//! This one does, because another parser might have seen the other value.

use std::{collections::BTreeMap, fmt};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::{Number, value::RawValue};

use super::claims::Payload;

/// Base64 as in RFC 4648 section 4, whose padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The farthest second from 1970 that is accepted: up to it, every number of JSON is exact.
const SECONDS_MAX: i64 = 1 << 53;

/// A member of an object has another form than it must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault<'n> {
    pub(super) member: &'n str,
    /// The rest of a sentence.
    pub(super) said: &'static str,
}

/// Which whole second stands for one that has a fraction.
#[derive(Clone, Copy)]
pub(super) enum Round {
    Down,
    Up,
}

/// The members of an object, each as its JSON text. No name stands twice.
#[derive(Debug)]
pub(super) struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// Parses a text that is an object and nothing else. The error is the rest of a sentence.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let members: Members<'a> =
            serde_json::from_str(text).map_err(|_| "is not an object in JSON")?;
        members.0.ok_or("has the same name twice")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The JSON text of a member, exactly as it was written.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get())
    }

    pub(super) fn string<'n>(&self, name: &'n str) -> Result<Option<String>, Fault<'n>> {
        self.typed(name, "must be a string")
    }

    pub(super) fn boolean<'n>(&self, name: &'n str) -> Result<Option<bool>, Fault<'n>> {
        self.typed(name, "must be true or false")
    }

    pub(super) fn strings<'n>(&self, name: &'n str) -> Result<Option<Vec<String>>, Fault<'n>> {
        self.typed(name, "must be an array of strings")
    }

    /// Seconds since 1970 (`NumericDate` of RFC 7519 section 2), which may have a fraction.
    pub(super) fn seconds<'n>(
        &self,
        name: &'n str,
        round: Round,
    ) -> Result<Option<i64>, Fault<'n>> {
        let said = "must be a number of seconds since 1970";
        let Some(number) = self.typed::<Number>(name, said)? else {
            return Ok(None);
        };
        let whole = number.as_i64().or_else(|| whole(&number, round));
        match whole {
            Some(seconds) if (-SECONDS_MAX..=SECONDS_MAX).contains(&seconds) => Ok(Some(seconds)),
            _ => Err(Fault { member: name, said }),
        }
    }

    pub(super) fn object<'n>(&self, name: &'n str) -> Result<Option<Object<'a>>, Fault<'n>> {
        let object = self.raw(name).map(Object::parse).transpose();
        object.map_err(|said| Fault { member: name, said })
    }

    /// All members as objects, in the order of their names.
    pub(super) fn into_objects(
        self,
    ) -> impl Iterator<Item = (String, Result<Object<'a>, &'static str>)> {
        let parse = |(name, value): (String, &'a RawValue)| (name, Object::parse(value.get()));
        self.0.into_iter().map(parse)
    }

    /// What an application attached: base64 in `base64_name` if that has any text, else the JSON
    /// text in `name`.
    pub(super) fn payload<'n>(
        &self,
        name: &str,
        base64_name: &'n str,
    ) -> Result<Option<Payload>, Fault<'n>> {
        match self.string(base64_name)? {
            Some(encoded) if !encoded.is_empty() => match BASE64.decode(encoded) {
                Ok(bytes) => Ok(Some(Payload::Bytes(bytes.into()))),
                Err(_) => Err(Fault {
                    member: base64_name,
                    said: "must be base64",
                }),
            },
            _ => Ok(self.raw(name).map(|text| Payload::Json(text.into()))),
        }
    }

    fn typed<'n, T: DeserializeOwned>(
        &self,
        name: &'n str,
        said: &'static str,
    ) -> Result<Option<T>, Fault<'n>> {
        let value = self.raw(name).map(serde_json::from_str).transpose();
        value.map_err(|_| Fault { member: name, said })
    }
}

/// The whole second of a number that is not written as a whole one.
fn whole(number: &Number, round: Round) -> Option<i64> {
    let number = number.as_f64()?;
    let whole = match round {
        Round::Down => number.floor(),
        Round::Up => number.ceil(),
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the bound is a power of two, and what is within it is a whole number"
    )]
    (whole.abs() <= SECONDS_MAX as f64).then_some(whole as i64)
}

/// The members of an object, or `None` if a name stands twice.
struct Members<'a>(Option<Object<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = BTreeMap::new();
                let mut unique = true;
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    unique &= members.insert(name, value).is_none();
                }
                Ok(Members(unique.then_some(Object(members))))
            }
        }
        deserializer
            .deserialize_map(Collect)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_seconds(text: &str, round: Round, expected: Result<Option<i64>, ()>) {
        let object = Object::parse(text).unwrap();
        assert_eq!(object.seconds("t", round).map_err(drop), expected, "{text}");
    }

    #[test]
    fn object_with_a_name_twice_is_refused() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#] {
            assert_eq!(Object::parse(text).err(), Some("has the same name twice"));
        }
    }

    #[test]
    fn object_of_another_form_is_refused() {
        for text in [
            "",
            "1",
            "[]",
            "null",
            "{",
            "{}x",
            r#"{"a":}"#,
            "{a:1}",
            r#"{"a":1,}"#,
        ] {
            assert_eq!(
                Object::parse(text).err(),
                Some("is not an object in JSON"),
                "{text}"
            );
        }
    }

    #[test]
    fn raw_text_is_kept_as_it_was_written() {
        let object = Object::parse("{ \"a\" :  { \"x\" : 1.50,\n \"y\":\"\\u00e9\" } }").unwrap();
        assert_eq!(
            object.raw("a"),
            Some("{ \"x\" : 1.50,\n \"y\":\"\\u00e9\" }")
        );
    }

    #[test]
    fn seconds_are_whole_or_rounded() {
        check_seconds("{}", Round::Down, Ok(None));
        check_seconds(r#"{"t":0}"#, Round::Down, Ok(Some(0)));
        check_seconds(r#"{"t":-7}"#, Round::Down, Ok(Some(-7)));
        check_seconds(r#"{"t":100.5}"#, Round::Down, Ok(Some(100)));
        check_seconds(r#"{"t":100.5}"#, Round::Up, Ok(Some(101)));
        check_seconds(r#"{"t":1.7e9}"#, Round::Up, Ok(Some(1_700_000_000)));
        check_seconds(r#"{"t":9007199254740992}"#, Round::Up, Ok(Some(1 << 53)));
    }

    #[test]
    fn seconds_of_another_type_or_out_of_range_are_refused() {
        for value in [
            "\"100\"",
            "null",
            "true",
            "[100]",
            "{}",
            "1e300",
            "9007199254740993",
            "18446744073709551615",
            "-1e20",
            "9223372036854775807",
        ] {
            check_seconds(&format!("{{\"t\":{value}}}"), Round::Down, Err(()));
        }
    }

    #[test]
    fn payload_prefers_base64_and_keeps_json() {
        let payload = |text| {
            Object::parse(text)
                .unwrap()
                .payload("i", "b")
                .map_err(|f| f.member)
        };
        let bytes = |bytes: &[u8]| Ok(Some(Payload::Bytes(bytes.into())));
        assert_eq!(payload("{}"), Ok(None));
        assert_eq!(
            payload(r#"{"i":{"a" :1}}"#),
            Ok(Some(Payload::Json(r#"{"a" :1}"#.into())))
        );
        assert_eq!(
            payload(r#"{"i":1,"b":""}"#),
            Ok(Some(Payload::Json("1".into())))
        );
        assert_eq!(payload(r#"{"i":1,"b":"AQI="}"#), bytes(&[1, 2]));
        assert_eq!(payload(r#"{"b":"AQI"}"#), bytes(&[1, 2]));
        assert_eq!(payload(r#"{"b":"A-I="}"#), Err("b"));
        assert_eq!(payload(r#"{"b":1}"#), Err("b"));
    }
}
