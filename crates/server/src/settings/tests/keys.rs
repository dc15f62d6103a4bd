//! Where keys of tokens may come from, and what is warned of.

use super::*;

#[test]
fn url_of_keys_is_encrypted_unless_nobody_can_be_on_the_way() {
    let of = |url: &str| format!("token_jwks_url = {url:?}\n");
    for (url, words) in [
        (
            "http://auth.example.com/keys?a=canary",
            &[
                "token_jwks_url (http://auth.example.com/keys?..., hubbub.toml line 1)",
                "https://",
                "token_jwks_http",
            ][..],
        ),
        (
            "ftp://auth.example.com/?a=canary",
            &[
                "token_jwks_url (hubbub.toml line 1)",
                "neither https:// nor http://",
            ],
        ),
        ("auth.example.com", &["neither https:// nor http://"]),
        ("/keys", &["not a whole URL"]),
        (
            "https://ann:canary@auth.example.com/",
            &["a user or a password"],
        ),
    ] {
        refused(&[], &[], Some(&of(url)), words);
        let told = message(&load(&[], &[], Some(&of(url))).unwrap_err());
        assert!(!told.contains("canary"), "{told}");
    }
    for url in [
        "http://localhost:1/",
        "http://[::1]/",
        "https://auth.example.com/?a=canary",
    ] {
        assert_eq!(
            load(&[], &[], Some(&of(url))).unwrap().warnings,
            [],
            "{url}"
        );
    }
    let text = of("http://auth.example.com/") + "token_jwks_http = \"on\"";
    let key = "token_jwks_url";
    assert_eq!(
        load(&[], &[], Some(&text)).unwrap().warnings,
        [Warning::PlainKeys { key }]
    );
    let words =
        ["token_jwks_pause (1h, hubbub.toml line 1) exceeds token_jwks_refresh (10m, the default)"];
    refused(&[], &[], Some("token_jwks_pause = \"1h\""), &words);
    refused(
        &[],
        &[],
        Some("token_jwks_pause = \"1ms\""),
        &["100ms to 1day"],
    );
}

#[test]
fn server_that_asks_nobody_for_a_token_is_warned_of() {
    assert_eq!(
        load(&["--insecure"], &[], None).unwrap().warnings,
        [Warning::Insecure]
    );
    assert_eq!(load(&["--insecure=off"], &[], None).unwrap().warnings, []);
}

#[test]
fn rules_of_subscription_tokens_without_keys_of_their_own_are_warned_of() {
    let rules = "subscription_token_issuer = \"a\"\nsubscription_token_audience = \"b\"\n";
    let warned = |text: &str| {
        let loaded = load(&[], &[], Some(text)).unwrap();
        let keys = loaded.warnings.into_iter().map(|warning| match warning {
            Warning::NoEffect { key, .. } => key,
            other => panic!("{other:?}"),
        });
        keys.collect::<Vec<_>>()
    };
    assert_eq!(
        warned(rules),
        ["subscription_token_issuer", "subscription_token_audience"]
    );
    for own in ["secret", "jwks"] {
        let text = format!("{rules}subscription_token_{own} = \"file\"\n");
        assert_eq!(warned(&text), [""; 0], "{own}");
    }
}

#[test]
fn query_of_a_url_is_not_shown_however_it_is_written() {
    for slip in [
        "token_jwks_url = https://auth.example.com/keys?a=canary",
        "token_jwk_url = \"https://auth.example.com/keys?a=canary\"",
        "token_jwks_urls = \"https://auth.example.com/keys?a=canary\"",
        "token_issuer = [\"https://auth.example.com/keys?a=canary\"]",
    ] {
        let told = message(&load(&[], &[], Some(slip)).unwrap_err());
        assert!(told.contains("https://auth.example.com/keys?..."), "{told}");
        assert!(!told.contains("canary"), "{told}");
    }
    // Whatever else has a question mark is shown as it is.
    let told = message(&load(&[], &[], Some("log_levl = \"what?\"")).unwrap_err());
    assert!(told.contains("\"what?\""), "{told}");
}
