//! The body of the fuzz target: any bytes as a token, as its claims, or as its header. What is read from
//! them is what an ordinary parser of JSON reads, and obeys the rules.

use access::token::{
    Algorithm, ConnectionClaims, LEEWAY_S_MAX, LIFETIME_S_MAX, Overrides, Payload, Rules,
    ServerSubscription, SubscriptionClaims,
    unverified::{Unverified, read_connection, read_subscription},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD as BASE64, URL_SAFE_NO_PAD as BASE64URL},
};
use serde_json::Value;

const NOW: i64 = 1_800_000_000;

/// The first byte says what the rest is (its remainder by 3), and which rules hold (its quotient).
pub fn fuzz_token(bytes: &[u8]) {
    let [first, rest @ ..] = bytes else { return };
    let rules = rules(first / 3);
    match first % 3 {
        0 => check(&String::from_utf8_lossy(rest), &rules),
        1 => check(&token(br#"{"alg":"HS256"}"#, rest), &rules),
        _ => check(&token(rest, b"{}"), &rules),
    }
}

/// Each bit is a rule.
fn rules(bits: u8) -> Rules {
    let has = |bit: u8| bits & bit != 0;
    Rules {
        token_bytes_max: usize::MAX,
        leeway_s: if has(1) { LEEWAY_S_MAX } else { 0 },
        issuer: has(2).then(|| "us".to_owned()),
        audience: has(4).then(|| "here".to_owned()),
        user_id_claim: has(8).then(|| "uid".to_owned()),
    }
}

fn token(header: &[u8], claims: &[u8]) -> String {
    let (header, claims) = (BASE64URL.encode(header), BASE64URL.encode(claims));
    format!("{header}.{claims}.AA")
}

fn check(token: &str, rules: &Rules) {
    let connection = read_connection(token, rules, NOW);
    let subscription = read_subscription(token, rules, NOW);
    assert!(
        connection.is_err() || subscription.is_err(),
        "a token of both kinds"
    );
    if let Ok(read) = &connection
        && let Some(expected) = check_parts(token, read)
    {
        check_common(rules, &expected, &read.claims.user, read.claims.expires_at);
        check_connection(&read.claims, &expected);
    }
    if let Ok(read) = &subscription
        && let Some(expected) = check_parts(token, read)
    {
        check_common(rules, &expected, &read.claims.user, read.claims.expires_at);
        check_subscription(&read.claims, &expected);
    }
}

/// A token that is read has three parts, in the one encoding that they have, and a header that says
/// which key and algorithm it wants. Returns its claims, unless they are too deep for the ordinary
/// parser.
fn check_parts<C>(token: &str, read: &Unverified<C>) -> Option<Value> {
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("{} parts", parts.len());
    };
    assert_eq!(BASE64URL.encode(&read.signature), signature);
    let decoded = |part| {
        let bytes = BASE64URL.decode(part).expect("it was read");
        assert_eq!(BASE64URL.encode(&bytes), part);
        serde_json::from_slice::<Value>(&bytes).ok()
    };
    if let Some(header) = decoded(header) {
        let algorithm = header["alg"].as_str().and_then(Algorithm::from_name);
        assert_eq!(algorithm, Some(read.algorithm));
        assert_eq!(text(&header, "kid"), read.kid);
        assert!(header.get("crit").is_none());
    }
    decoded(payload)
}

fn check_common(rules: &Rules, expected: &Value, user: &str, expires_at: Option<i64>) {
    let user_id_claim = rules.user_id_claim.as_deref().unwrap_or("sub");
    assert_eq!(user, text(expected, user_id_claim).unwrap_or_default());
    if let Some(issuer) = &rules.issuer {
        assert_eq!(expected["iss"], **issuer);
    }
    if let Some(audience) = &rules.audience {
        let aud = &expected["aud"];
        let among = |list: &Vec<Value>| list.iter().any(|it| it == audience);
        assert!(aud == audience || aud.as_array().is_some_and(among));
    }
    let leeway = i64::from(rules.leeway_s);
    let number = |name| expected.get(name).and_then(Value::as_f64);
    let second = |number: f64| number.floor() as i64 + leeway;
    let exp = number("exp").map(second);
    assert!(exp.is_none_or(|exp| exp > NOW));
    assert!(number("nbf").is_none_or(|nbf| nbf.ceil() as i64 - leeway <= NOW));
    let end = match number("expire_at") {
        Some(0.0) => None,
        Some(expire_at) => Some(second(expire_at)),
        None => exp,
    };
    assert!(expires_at.is_none_or(|end| end > NOW));
    assert_eq!(expires_at, end.map(|end| end.min(NOW + LIFETIME_S_MAX)));
}

fn check_connection(claims: &ConnectionClaims, expected: &Value) {
    assert!(expected.get("channel").is_none());
    assert_eq!(claims.token_id, text(expected, "jti"));
    assert_eq!(claims.unlimited, flag(expected, "unlimited"));
    check_payload(claims.info.as_ref(), expected, "info");
    let meta = claims.meta.as_deref().map(parsed);
    assert_eq!(meta.as_ref(), expected.get("meta"));
    let subscriptions = &claims.subscriptions;
    match expected.get("subs").and_then(Value::as_object) {
        Some(subs) if !subs.is_empty() => {
            assert_eq!(subscriptions.len(), subs.len());
            for (channel, sub) in subscriptions {
                check_payload(sub.info.as_ref(), &subs[channel], "info");
                check_payload(sub.data.as_ref(), &subs[channel], "data");
                check_overrides(&sub.overrides, &subs[channel]);
            }
        }
        _ => {
            let listed = expected.get("channels").and_then(Value::as_array);
            let listed: Vec<_> = listed.into_iter().flatten().collect();
            let is_listed = |channel: &String| listed.iter().any(|it| *it == channel);
            assert!(subscriptions.keys().all(is_listed));
            let has = |it: &&Value| subscriptions.contains_key(it.as_str().expect("it was read"));
            assert!(listed.iter().all(has));
            let plain = ServerSubscription::default();
            assert!(subscriptions.values().all(|it| *it == plain));
        }
    }
}

fn check_subscription(claims: &SubscriptionClaims, expected: &Value) {
    assert!(!claims.channel.is_empty());
    assert_eq!(expected["channel"], *claims.channel);
    let client = text(expected, "client").filter(|client| !client.is_empty());
    assert_eq!(claims.client, client);
    assert_eq!(claims.token_id, text(expected, "jti"));
    assert_eq!(claims.publish, flag(expected, "publish"));
    check_payload(claims.info.as_ref(), expected, "info");
    check_payload(claims.data.as_ref(), expected, "data");
    check_overrides(&claims.overrides, expected);
}

/// A payload is the text of its claim, unless the one in base64 has any.
fn check_payload(payload: Option<&Payload>, expected: &Value, name: &str) {
    let encoded = text(expected, &format!("b64{name}")).unwrap_or_default();
    match payload {
        Some(Payload::Bytes(bytes)) => {
            assert_eq!(BASE64.encode(bytes), encoded.trim_end_matches('='));
        }
        Some(Payload::Json(json)) => {
            assert_eq!(encoded, "");
            assert_eq!(Some(&parsed(json)), expected.get(name));
        }
        None => assert!(encoded.is_empty() && expected.get(name).is_none()),
    }
}

fn check_overrides(overrides: &Overrides, expected: &Value) {
    for (name, value) in [
        ("presence", overrides.presence),
        ("join_leave", overrides.join_leave),
        ("force_push_join_leave", overrides.force_push_join_leave),
        ("force_positioning", overrides.force_positioning),
        ("force_recovery", overrides.force_recovery),
    ] {
        let expected = &expected["override"][name]["value"];
        assert_eq!(expected.as_bool(), value, "{name}");
    }
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("it is part of a text that was parsed")
}

fn text(of: &Value, name: &str) -> Option<String> {
    of.get(name)?.as_str().map(str::to_owned)
}

fn flag(of: &Value, name: &str) -> bool {
    of.get(name) == Some(&Value::Bool(true))
}
