//! Claims: what each says, at its boundary, and with another type than it must have.

use std::collections::BTreeMap;

use access::token::{
    ConnectionClaims, LIFETIME_S_MAX, Overrides, Payload, Rules, RulesError, ServerSubscription,
    SubscriptionClaims, TokenError, Verifier,
};

use crate::signer::{NOW, SECRET, Signer};

fn connection(claims: &str) -> Result<ConnectionClaims, TokenError> {
    connection_at(claims, NOW, Rules::default())
}

fn connection_at(claims: &str, now_s: i64, rules: Rules) -> Result<ConnectionClaims, TokenError> {
    let signer = Signer::secret(SECRET);
    let token = signer.token(claims);
    signer.verifier_with(rules).verify_connection(&token, now_s)
}

fn subscription(claims: &str) -> Result<SubscriptionClaims, TokenError> {
    let signer = Signer::secret(SECRET);
    signer
        .verifier()
        .verify_subscription(&signer.token(claims), NOW)
}

/// The name of the claim for which a token is refused.
fn bad_claim<T>(result: Result<T, TokenError>) -> Option<String> {
    match result {
        Err(TokenError::BadClaim { claim, .. }) => Some(claim),
        _ => None,
    }
}

fn json(text: &str) -> Option<Payload> {
    Some(Payload::Json(text.into()))
}

#[test]
fn connection_token_without_claims_is_anonymous_and_lasts() {
    let expected = ConnectionClaims {
        user: String::new(),
        expires_at: None,
        issued_at: None,
        token_id: None,
        info: None,
        meta: None,
        subscriptions: BTreeMap::new(),
        unlimited: false,
    };
    assert_eq!(connection("{}"), Ok(expected));
}

#[test]
fn connection_token_with_all_claims_says_all() {
    let claims = r#"{
        "sub": "42", "exp": 1800000060, "nbf": 1799999990, "iat": 1799999991.5, "jti": "t-1",
        "aud": ["a", "b"], "iss": "c", "info": {"name":  "Ann\u0061", "n": 1.50},
        "channels": ["ignored"], "meta": [ 1, 2 ], "unlimited": true, "unknown": {"channel": 1},
        "subs": {
            "news": {},
            "chat:1": {
                "info": "seen", "b64data": "AP8=", "data": 1,
                "override": {
                    "presence": {"value": true}, "join_leave": {"value": false},
                    "force_push_join_leave": {}, "force_positioning": {"value": true},
                    "later": 7
                }
            }
        }
    }"#;
    let chat = ServerSubscription {
        info: json(r#""seen""#),
        data: Some(Payload::Bytes([0, 0xff].into())),
        overrides: Overrides {
            presence: Some(true),
            join_leave: Some(false),
            force_push_join_leave: None,
            force_positioning: Some(true),
            force_recovery: None,
        },
    };
    let expected = ConnectionClaims {
        user: "42".to_owned(),
        expires_at: Some(NOW + 60),
        issued_at: Some(1_799_999_991),
        token_id: Some("t-1".to_owned()),
        info: json(r#"{"name":  "Ann\u0061", "n": 1.50}"#),
        meta: Some("[ 1, 2 ]".into()),
        subscriptions: BTreeMap::from([
            ("chat:1".to_owned(), chat),
            ("news".to_owned(), ServerSubscription::default()),
        ]),
        unlimited: true,
    };
    assert_eq!(connection(claims), Ok(expected));
}

#[test]
fn channels_count_where_subs_have_none() {
    for subs in ["", r#","subs":{}"#] {
        let claims = connection(&format!(r#"{{"channels":["b","a","b"]{subs}}}"#)).unwrap();
        assert_eq!(claims.subscriptions.keys().collect::<Vec<_>>(), ["a", "b"]);
    }
}

#[test]
fn subscription_token_with_all_claims_says_all() {
    let claims = r#"{
        "sub": "42", "channel": "$chat", "client": "c-1", "exp": 1800000060, "iat": 1, "jti": "t",
        "info": 1, "b64info": "AQ==", "data": {"last": null},
        "override": {"force_recovery": {"value": true}}, "publish": true
    }"#;
    let expected = SubscriptionClaims {
        user: "42".to_owned(),
        channel: "$chat".to_owned(),
        client: Some("c-1".to_owned()),
        expires_at: Some(NOW + 60),
        issued_at: Some(1),
        token_id: Some("t".to_owned()),
        info: Some(Payload::Bytes([1].into())),
        data: json(r#"{"last": null}"#),
        overrides: Overrides {
            force_recovery: Some(true),
            ..Overrides::default()
        },
        publish: true,
    };
    assert_eq!(subscription(claims), Ok(expected));
    let least = subscription(r#"{"channel":"a","client":""}"#).unwrap();
    assert_eq!(
        (least.user.as_str(), least.client, least.publish),
        ("", None, false)
    );
}

#[test]
fn token_of_one_kind_is_none_of_the_other() {
    for channel in [r#""news""#, r#""""#, "null", "1"] {
        let result = connection(&format!(r#"{{"sub":"42","channel":{channel}}}"#));
        assert_eq!(bad_claim(result).as_deref(), Some("channel"), "{channel}");
    }
    for claims in [
        r#"{"sub":"42"}"#,
        r#"{"channel":""}"#,
        r#"{"channels":["news"]}"#,
    ] {
        assert_eq!(
            bad_claim(subscription(claims)).as_deref(),
            Some("channel"),
            "{claims}"
        );
    }
}

#[test]
fn claim_of_another_type_is_refused() {
    let not_seconds = [
        r#""1900000000""#,
        "null",
        "true",
        "[1900000000]",
        "{}",
        "1e300",
    ];
    let not_string = ["1", "null", "true", r#"["42"]"#, "{}"];
    let not_boolean = ["1", "null", r#""true""#, "[]"];
    let not_object = ["1", "null", "[]", r#""{}""#];
    let table: [(&str, &[&str]); 14] = [
        ("exp", &not_seconds),
        ("nbf", &not_seconds),
        ("iat", &not_seconds),
        ("expire_at", &not_seconds),
        ("sub", &not_string),
        ("iss", &not_string),
        ("jti", &not_string),
        ("b64info", &not_string),
        ("aud", &["1", "null", "{}", r#"["a",1]"#, r#"[["a"]]"#]),
        (
            "channels",
            &["1", "null", r#""news""#, "{}", "[1]", "[null]"],
        ),
        ("unlimited", &not_boolean),
        ("subs", &not_object),
        (
            "subs",
            &[
                r#"{"a":null}"#,
                r#"{"a":[]}"#,
                r#"{"a":1}"#,
                r#"{"a":{},"a":{}}"#,
            ],
        ),
        ("b64info", &[r#""!""#, r#""A""#, r#""AA-_""#]),
    ];
    for (claim, values) in table {
        for value in values {
            let result = connection(&format!(r#"{{"{claim}":{value}}}"#));
            assert_eq!(
                bad_claim(result).as_deref(),
                Some(claim),
                "{claim}: {value}"
            );
        }
    }
    let of_subscription: [(&str, &[&str]); 6] = [
        ("channel", &not_string),
        ("client", &not_string),
        ("b64data", &not_string),
        ("override", &not_object),
        ("publish", &not_boolean),
        ("sub", &not_string),
    ];
    for (claim, values) in of_subscription {
        for value in values {
            let channel = if claim == "channel" {
                ""
            } else {
                r#""channel":"a","#
            };
            let result = subscription(&format!(r#"{{{channel}"{claim}":{value}}}"#));
            assert_eq!(
                bad_claim(result).as_deref(),
                Some(claim),
                "{claim}: {value}"
            );
        }
    }
}

#[test]
fn override_of_another_form_is_refused() {
    for (value, claim) in [
        (r#"{"presence":true}"#, "presence"),
        (r#"{"presence":null}"#, "presence"),
        (r#"{"force_recovery":{"value":1}}"#, "force_recovery"),
        (r#"{"join_leave":{"value":null}}"#, "join_leave"),
        (r#"{"presence":{},"presence":{}}"#, "override"),
    ] {
        let of_subscription = subscription(&format!(r#"{{"channel":"a","override":{value}}}"#));
        assert_eq!(
            bad_claim(of_subscription).as_deref(),
            Some(claim),
            "{value}"
        );
        let of_connection = connection(&format!(r#"{{"subs":{{"a":{{"override":{value}}}}}}}"#));
        assert_eq!(bad_claim(of_connection).as_deref(), Some(claim), "{value}");
    }
}

#[test]
fn payload_that_is_no_object_or_has_a_name_twice_is_refused() {
    for payload in [
        "",
        "null",
        "[]",
        "1",
        r#""{}""#,
        "{",
        "{}{}",
        r#"{"sub":"a","sub":"b"}"#,
        r#"{"exp":1,"\u0065xp":1900000000}"#,
        r#"{"x":1,"x":1}"#,
        "\u{feff}{}",
    ] {
        assert!(
            matches!(connection(payload), Err(TokenError::Malformed(_))),
            "{payload}"
        );
        assert!(
            matches!(subscription(payload), Err(TokenError::Malformed(_))),
            "{payload}"
        );
    }
}

/// What comes of a token at some seconds before and after the time in its claim.
fn check_times(claims: &str, leeway_s: u32, expected: &[(i64, Result<(), TokenError>)]) {
    for (offset, expected) in expected {
        let rules = Rules {
            leeway_s,
            ..Rules::default()
        };
        let result = connection_at(claims, NOW + offset, rules).map(drop);
        assert_eq!(
            result, *expected,
            "{claims}, {leeway_s} s of leeway, at {offset} s"
        );
    }
}

#[test]
fn exp_is_the_first_second_without_the_token() {
    let expired = || Err(TokenError::Expired);
    for exp in ["1800000000", "1800000000.0", "1800000000.9", "1.8e9"] {
        let claims = format!(r#"{{"exp":{exp}}}"#);
        check_times(&claims, 0, &[(-1, Ok(())), (0, expired()), (1, expired())]);
        check_times(
            &claims,
            30,
            &[(0, Ok(())), (29, Ok(())), (30, expired()), (31, expired())],
        );
    }
    for exp in ["0", "-1", "-9007199254740992"] {
        check_times(&format!(r#"{{"exp":{exp}}}"#), 30, &[(0, expired())]);
    }
}

#[test]
fn nbf_is_the_first_second_with_the_token() {
    let early = || Err(TokenError::NotYetValid);
    check_times(r#"{"nbf":1800000000}"#, 0, &[(-1, early()), (0, Ok(()))]);
    check_times(r#"{"nbf":1799999999.1}"#, 0, &[(-1, early()), (0, Ok(()))]);
    check_times(
        r#"{"nbf":1800000000}"#,
        30,
        &[(-31, early()), (-30, Ok(())), (0, Ok(()))],
    );
}

#[test]
fn expire_at_ends_the_grant_and_not_the_token() {
    let ended = || Err(TokenError::GrantExpired);
    check_times(
        r#"{"expire_at":1800000000}"#,
        0,
        &[(-1, Ok(())), (0, ended())],
    );
    check_times(
        r#"{"expire_at":1800000000}"#,
        30,
        &[(29, Ok(())), (30, ended())],
    );
    // Only 0 itself means never.
    check_times(r#"{"expire_at":0.5}"#, 0, &[(0, ended())]);
    let both = r#"{"exp":1800000000,"expire_at":0}"#;
    check_times(both, 0, &[(-1, Ok(())), (0, Err(TokenError::Expired))]);
    for negative in ["-1", "-0.5"] {
        let result = connection(&format!(r#"{{"expire_at":{negative}}}"#));
        assert_eq!(bad_claim(result).as_deref(), Some("expire_at"));
    }
}

#[test]
fn connection_expires_at_expire_at_or_at_exp_within_a_year() {
    let expires_at = |claims: &str| connection(claims).unwrap().expires_at;
    assert_eq!(expires_at(r#"{"exp":1800000010}"#), Some(NOW + 10));
    assert_eq!(
        expires_at(r#"{"exp":1800000010,"expire_at":1800000500}"#),
        Some(NOW + 500)
    );
    assert_eq!(expires_at(r#"{"exp":1800000010,"expire_at":0}"#), None);
    assert_eq!(expires_at(r#"{"expire_at":1800000001}"#), Some(NOW + 1));
    let year = Some(NOW + LIFETIME_S_MAX);
    assert_eq!(expires_at(r#"{"exp":1831536000}"#), year);
    assert_eq!(expires_at(r#"{"exp":1831536001}"#), year);
    assert_eq!(
        expires_at(r#"{"exp":1800000010000}"#),
        year,
        "milliseconds by mistake"
    );
    let leeway = Rules {
        leeway_s: 30,
        ..Rules::default()
    };
    let late = connection_at(r#"{"exp":1800000000}"#, NOW + 29, leeway).unwrap();
    assert_eq!(late.expires_at, Some(NOW + 30));
}

#[test]
fn issuer_and_audience_are_compared_to_the_byte() {
    let check = |claims: &str, expected: Result<(), TokenError>| {
        let rules = Rules {
            issuer: Some("https://id.example".to_owned()),
            audience: Some("hubbub".to_owned()),
            ..Rules::default()
        };
        assert_eq!(
            connection_at(claims, NOW, rules).map(drop),
            expected,
            "{claims}"
        );
    };
    let issuer = || Err(TokenError::WrongIssuer);
    let audience = || Err(TokenError::WrongAudience);
    check(r#"{"iss":"https://id.example","aud":"hubbub"}"#, Ok(()));
    check(
        r#"{"iss":"https://id.example","aud":["other","hubbub"]}"#,
        Ok(()),
    );
    check(r#"{"aud":"hubbub"}"#, issuer());
    check(r#"{"iss":"https://id.example/","aud":"hubbub"}"#, issuer());
    check(r#"{"iss":"https://ID.example","aud":"hubbub"}"#, issuer());
    check(r#"{"iss":"","aud":"hubbub"}"#, issuer());
    check(r#"{"iss":"https://id.example"}"#, audience());
    check(
        r#"{"iss":"https://id.example","aud":"hubbub "}"#,
        audience(),
    );
    check(
        r#"{"iss":"https://id.example","aud":["hub","bub"]}"#,
        audience(),
    );
    check(r#"{"iss":"https://id.example","aud":[]}"#, audience());
    // A token of someone else is refused for good, and not as an old one that a new one may replace.
    check(
        r#"{"iss":"https://other.example","aud":"hubbub","exp":1}"#,
        issuer(),
    );
    check(
        r#"{"iss":"https://id.example","aud":"other","exp":1}"#,
        audience(),
    );
}

#[test]
fn user_may_come_from_another_claim() {
    let rules = || Rules {
        user_id_claim: Some("user_id".to_owned()),
        ..Rules::default()
    };
    let user = |claims: &str| connection_at(claims, NOW, rules()).map(|claims| claims.user);
    assert_eq!(user(r#"{"sub":"x","user_id":"42"}"#), Ok("42".to_owned()));
    assert_eq!(user(r#"{"sub":"x"}"#), Ok(String::new()));
    assert_eq!(
        bad_claim(user(r#"{"user_id":42}"#)).as_deref(),
        Some("user_id")
    );
}

#[test]
fn rules_that_cannot_hold_are_refused() {
    let check = |rules| Verifier::new(access::token::Keys::default(), rules).map(drop);
    let rules = Rules::default;
    assert_eq!(
        check(Rules {
            leeway_s: 30,
            ..rules()
        }),
        Ok(())
    );
    assert_eq!(
        check(Rules {
            leeway_s: 31,
            ..rules()
        }),
        Err(RulesError::Leeway(31))
    );
    for claim in ["exp", "channel", "info", ""] {
        let user_id_claim = Some(claim.to_owned());
        let expected = Err(RulesError::UserIdClaim(claim.to_owned()));
        assert_eq!(
            check(Rules {
                user_id_claim,
                ..rules()
            }),
            expected
        );
    }
}

#[test]
fn token_that_is_too_long_is_refused_unread() {
    let claims = format!(r#"{{"sub":"{}"}}"#, "a".repeat(200));
    let signer = Signer::secret(SECRET);
    let token = signer.token(&claims);
    let verify = |token_bytes_max| {
        let rules = Rules {
            token_bytes_max,
            ..Rules::default()
        };
        let result = signer.verifier_with(rules).verify_connection(&token, NOW);
        result.map(drop)
    };
    assert_eq!(verify(token.len()), Ok(()));
    assert_eq!(verify(token.len() - 1), Err(TokenError::TooLong));
    let long = "a".repeat(4097);
    let of_default = signer.verifier().verify_connection(&long, NOW);
    assert_eq!(of_default, Err(TokenError::TooLong));
}
