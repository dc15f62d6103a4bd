//! Reads a configuration as one document, whatever it is written in.

use anyhow::{anyhow, bail};
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value};

/// Options of Centrifugo before its version 6 that this version has elsewhere.
const OLD: [&str; 9] = [
    "token_hmac_secret_key",
    "token_jwks_public_endpoint",
    "api_key",
    "allowed_origins",
    "namespaces",
    "admin_password",
    "proxy_connect_endpoint",
    "allow_subscribe_for_client",
    "redis_address",
];

/// The document of a file of this name.
///
/// # Errors
/// When it is none, or of an older Centrifugo.
pub fn parse(name: &str, text: &str) -> anyhow::Result<Map<String, Value>> {
    let document = match name.rsplit('.').next() {
        Some("yaml" | "yml") => yaml(text),
        Some("toml") => toml::from_str(text).map_err(|error| anyhow!("{error}")),
        _ => serde_json::from_str(text).map_err(|error| anyhow!("{error}")),
    };
    let document = document.map_err(|error| {
        anyhow!(
            "{name} cannot be read: {error}; its name must end in .json, .yaml, .yml or .toml, as its contents are"
        )
    })?;
    let Value::Object(document) = document else {
        bail!("{name} is no configuration of Centrifugo: there is no object in it");
    };
    if let Some(old) = OLD.iter().find(|old| document.contains_key(**old)) {
        bail!(
            "{name} has {old} at its top, as configurations of Centrifugo before version 6 have: bring it to \
             version 6 first (its documentation has a converter), and import what comes out"
        );
    }
    Ok(document)
}

fn yaml(text: &str) -> anyhow::Result<Value> {
    let documents = Yaml::load_from_str(text).map_err(|error| anyhow!("{error}"))?;
    match documents.as_slice() {
        [document] => value(document),
        documents => bail!("it has {} documents, and must have one", documents.len()),
    }
}

fn value(of: &Yaml<'_>) -> anyhow::Result<Value> {
    Ok(match of {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => (*flag).into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.into_inner().into(),
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        Yaml::Mapping(pairs) => {
            let pair = |(name, of): (&Yaml<'_>, &Yaml<'_>)| {
                let name = name.as_str().map(str::to_owned);
                let name = name.ok_or_else(|| anyhow!("a name in it is no text"))?;
                Ok::<_, anyhow::Error>((name, value(of)?))
            };
            Value::Object(pairs.iter().map(pair).collect::<Result<_, _>>()?)
        }
        _ => bail!("it has tags or anchors that mean nothing in a configuration"),
    })
}

/// The value at a path, such as `client.token.issuer`.
pub fn at<'d>(document: &'d Map<String, Value>, path: &str) -> Option<&'d Value> {
    let mut words = path.split('.');
    let first = document.get(words.next()?)?;
    words.try_fold(first, |value, word| value.get(word))
}

/// All values that are no objects, with their paths; an array is one of them.
pub fn leaves(document: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (name, value) in document {
        match value {
            Value::Object(below) if !below.is_empty() => {
                let below = leaves(below).into_iter();
                found.extend(below.map(|(path, value)| (format!("{name}.{path}"), value)));
            }
            Value::Object(_) => {}
            value => found.push((name.clone(), value)),
        }
    }
    found
}

/// Whether an option is set at all: in Centrifugo, what is empty, zero or false is as if it were left out.
pub fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(is_set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_is_the_same_in_all_three_languages() {
        let json =
            r#"{"client":{"allowed_origins":["a"],"insecure":true},"http_server":{"port":81}}"#;
        let yaml =
            "client:\n  allowed_origins:\n    - a\n  insecure: true\nhttp_server:\n  port: 81\n";
        let toml =
            "[client]\nallowed_origins = [\"a\"]\ninsecure = true\n[http_server]\nport = 81\n";
        let document = parse("a.json", json).unwrap();
        assert_eq!(parse("a.yaml", yaml).unwrap(), document);
        assert_eq!(parse("a.yml", yaml).unwrap(), document);
        assert_eq!(parse("a.toml", toml).unwrap(), document);
        assert_eq!(at(&document, "http_server.port"), Some(&81.into()));
        assert_eq!(at(&document, "http_server.port.x"), None);
        let paths: Vec<_> = leaves(&document)
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(
            paths,
            [
                "client.allowed_origins",
                "client.insecure",
                "http_server.port"
            ]
        );
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_the_remedy() {
        for (name, text, words) in [
            ("a.json", "{", "must end in .json"),
            ("a.json", "[]", "no object"),
            ("a.yaml", "a: [", "cannot be read"),
            ("a.yaml", "a: 1\n---\na: 2\n", "2 documents"),
            ("a.yaml", "1: 2\n", "no text"),
            ("a.toml", "a = ", "cannot be read"),
            ("a.json", r#"{"api_key":"x"}"#, "before version 6"),
            ("a.json", r#"{"namespaces":[]}"#, "before version 6"),
        ] {
            let error = parse(name, text).unwrap_err().to_string();
            assert!(error.contains(words), "{words:?} is not in {error}");
        }
    }
}
