//! Lets requests in: by their Host, their Origin, their key, and how often that is used.

use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header};
use percent_encoding::percent_decode_str;

use super::{Hosts, Rules, keys::Key, refused::Refused};
use crate::{
    origin::{self, Scheme},
    protocols::is_of_this_machine,
};

/// Refuses a request that a page may have sent from somewhere else. Returns its origin, if it has one that is
/// listed.
pub(super) fn check_sender<'r>(
    rules: &Rules,
    fields: &'r HeaderMap,
    uri: &Uri,
) -> Result<Option<&'r [u8]>, Refused> {
    let mut hosts = fields.get_all(header::HOST).iter();
    let host = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), ..) => Some(authority.as_str()),
        (None, Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let is_permitted = match (&rules.hosts, host) {
        (Hosts::Any, _) => true,
        (_, None) => false,
        (Hosts::ThisMachine, Some(host)) => is_of_this_machine(host),
        (Hosts::Listed(listed), Some(host)) => listed.iter().any(|it| it.is(host)),
    };
    if !is_permitted {
        return Err(Refused::Host);
    }
    let mut origins = fields.get_all(header::ORIGIN).iter();
    let (origin, another) = (origins.next(), origins.next());
    let origin = origin.map(|it| it.as_bytes());
    // No page is the API's own, so that no Host is compared.
    let is_listed = origin::allowed(origin, "", Scheme::Http, &rules.origins);
    match is_listed && another.is_none() {
        true => Ok(origin),
        false => Err(Refused::Origin),
    }
}

/// The key that a request shows. The first place in which it shows one counts.
pub(super) fn key_of<'k>(
    rules: &'k Rules,
    fields: &HeaderMap,
    uri: &Uri,
) -> Result<&'k Arc<Key>, Refused> {
    let field = |name| fields.get(name).map(|it| it.to_str().unwrap_or_default());
    let shown = field("x-api-key")
        .map(str::to_owned)
        .or_else(|| field(header::AUTHORIZATION.as_str()).and_then(of_authorization))
        .or_else(|| of_query(uri.query()?))
        .filter(|shown| !shown.is_empty())
        .ok_or(Refused::NoKey)?;
    rules.keys.find(&shown).ok_or(Refused::UnknownKey)
}

fn of_authorization(field: &str) -> Option<String> {
    let (scheme, key) = field.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("apikey")
        .then(|| key.trim().to_owned())
}

/// No key has a space, so that a `+` is one.
fn of_query(query: &str) -> Option<String> {
    let mut parameters = query.split('&');
    let key = parameters.find_map(|it| it.strip_prefix("api_key="))?;
    Some(percent_decode_str(key).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::Keys,
        settings::{Secret, Settings},
    };

    const KEY: &str = "0123456789+abcdef";

    fn rules(flags: &[&str]) -> Rules {
        use clap::Parser as _;
        let settings = Settings::parse_from([&["hubbub"], flags].concat());
        Rules::new(&settings, Keys::only(&Secret::new(KEY).unwrap()))
    }

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn key_is_taken_from_each_of_its_places() {
        let rules = rules(&[]);
        let check = |field: &[(&'static str, &str)], uri: &str, expected: Option<Refused>| {
            let found = key_of(&rules, &fields(field), &uri.parse().unwrap());
            assert_eq!(found.err(), expected, "{field:?} {uri}");
        };
        check(&[("x-api-key", KEY)], "/", None);
        check(&[("authorization", "apikey 0123456789+abcdef")], "/", None);
        check(
            &[("authorization", "ApiKey  0123456789+abcdef ")],
            "/",
            None,
        );
        check(&[], "/?a=b&api_key=0123456789+abcdef", None);
        check(&[], "/?api_key=0123456789%2Babcdef", None);
        check(&[], "/", Some(Refused::NoKey));
        check(&[("x-api-key", "")], "/", Some(Refused::NoKey));
        check(
            &[("authorization", "Bearer 0123456789+abcdef")],
            "/",
            Some(Refused::NoKey),
        );
        check(
            &[("x-api-key", "0123456789 abcdef")],
            "/",
            Some(Refused::UnknownKey),
        );
        check(
            &[("x-api-key", "other")],
            "/?api_key=0123456789+abcdef",
            Some(Refused::UnknownKey),
        );
        check(&[], "/?xapi_key=0123456789+abcdef", Some(Refused::NoKey));
    }

    #[test]
    fn sender_is_permitted_by_host_and_origin() {
        let check = |flags: &[&str], sent: &[(&'static str, &str)], expected: Option<Refused>| {
            let rules = rules(flags);
            let (sent, uri) = (fields(sent), "/api/info".parse().unwrap());
            let found = check_sender(&rules, &sent, &uri);
            assert_eq!(found.err(), expected, "{flags:?} {sent:?}");
        };
        check(&[], &[], None);
        check(&[], &[("host", "anything")], None);
        check(&["--dev"], &[("host", "localhost:8001")], None);
        check(&["--dev"], &[("host", "127.0.0.1:8001")], None);
        check(
            &["--dev"],
            &[("host", "rebound.example:8001")],
            Some(Refused::Host),
        );
        check(&["--dev"], &[], Some(Refused::Host));
        let listed = &["--api-hosts", "hub.internal,::1"];
        check(listed, &[("host", "HUB.internal:1")], None);
        check(listed, &[("host", "[0:0::1]")], None);
        check(
            listed,
            &[("host", "hub.internal.example")],
            Some(Refused::Host),
        );
        check(listed, &[("host", "localhost")], Some(Refused::Host));
        let origin = ("origin", "https://admin.example");
        check(&[], &[origin], Some(Refused::Origin));
        check(
            &[],
            &[("host", "a.example"), ("origin", "http://a.example")],
            Some(Refused::Origin),
        );
        check(&["--api-origins", "https://admin.example"], &[origin], None);
        let others = &["--api-origins", "https://other.example"];
        check(others, &[origin], Some(Refused::Origin));
    }
}
