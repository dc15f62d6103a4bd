//! URLs in settings, of which the log never shows the query, since that may have a key in it.

use std::{fmt, net::IpAddr};

use hyper::Uri;

/// A URL that the server asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// The whole of it.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it is https://.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Whether its server is on this machine.
    pub fn is_local(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || address
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// Shows it without its query.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_query(&self.0.to_string()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads the URL of keys.
pub fn url(text: &str) -> Result<Url, String> {
    parse(text, "write https://auth.example.com/.well-known/jwks.json")
}

/// Reads the URL of a back end.
pub fn endpoint(text: &str) -> Result<Url, String> {
    parse(text, "write https://app.example.com/hubbub/events")
}

fn parse(text: &str, example: &str) -> Result<Url, String> {
    let uri: Uri = text
        .trim()
        .parse()
        .map_err(|_| format!("not a URL: {example}"))?;
    let Some(authority) = uri.authority() else {
        return Err(format!("not a whole URL: {example}"));
    };
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err(format!("neither https:// nor http://: {example}"));
    }
    if authority.as_str().contains('@') {
        return Err("it has a user or a password, which are not sent: leave them out".to_owned());
    }
    Ok(Url(uri))
}

/// Whether the setting of this key is a URL.
pub(super) fn is_url(key: &str) -> bool {
    key.ends_with("_url") || key.ends_with(".url")
}

/// A URL, good or bad, as the log may show it.
pub(super) fn without_query(text: &str) -> String {
    match text.split_once('?') {
        Some((before, _)) => format!("{before}?..."),
        None => text.to_owned(),
    }
}

/// A text as an error may show it: of the same length, with dots in place of what stands behind the `?` of a URL,
/// whatever setting that is for, and whether or not it has its quotes.
pub(super) fn masked(text: &str) -> String {
    let mut rest = text;
    let mut shown = String::with_capacity(text.len());
    while let Some(at) = rest.find("://") {
        let end = |text: &str| text.find(|it: char| it.is_whitespace() || "\"'".contains(it));
        let (before, url) = rest.split_at(at);
        let (url, behind) = url.split_at(end(url).unwrap_or(url.len()));
        let (url, query) = url.split_at(url.find('?').map_or(url.len(), |at| at + 1));
        shown.push_str(before);
        shown.push_str(url);
        shown.extend(std::iter::repeat_n('.', query.len()));
        rest = behind;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_whole_and_has_no_password() {
        for text in [
            "https://a.example/keys?tenant=1",
            "http://127.0.0.1:1/",
            "HTTP://[::1]",
            "https://a",
        ] {
            assert!(url(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "a",
            "/keys",
            "a.example/keys",
            "ftp://a/",
            "https://",
            "https://u:p@a/",
            "https://ä/",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn queries_are_masked_wherever_a_url_stands() {
        for (text, shown) in [
            ("", ""),
            ("a = \"what?\"", "a = \"what?\""),
            ("a = \"b://c?de\" # f?", "a = \"b://c?..\" # f?"),
            (
                "a = b://c?dé\n'x://y', ['://?z']",
                "a = b://c?...\n'x://y', ['://?.']",
            ),
        ] {
            assert_eq!(masked(text), shown);
            assert_eq!(masked(text).len(), text.len());
        }
    }

    #[test]
    fn url_is_local_only_by_its_whole_host() {
        let is_local = |text: &str| url(text).unwrap().is_local();
        for text in [
            "http://localhost/",
            "http://LOCALHOST:80/",
            "http://127.3.2.1:8/",
            "http://[::1]:9/k",
        ] {
            assert!(is_local(text), "{text}");
        }
        for text in [
            "http://localhost.example/",
            "http://10.0.0.1/",
            "http://127.0.0.1.example/",
            "http://a/localhost",
        ] {
            assert!(!is_local(text), "{text}");
        }
    }

    #[test]
    fn query_is_not_shown() {
        let url = url("https://a.example/keys?key=secret").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "https://a.example/keys?... https://a.example/keys?..."
        );
        assert!(url.uri().to_string().contains("secret"));
    }
}
