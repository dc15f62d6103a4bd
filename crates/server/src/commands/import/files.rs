//! Secrets, keys and certificates, for which settings here name files.

use access::token::SECRET_BYTES_MIN;
use toml::Value;

use super::rows::{Asked, Made, Settings};
use super::source::at;
use super::values::text;

pub fn file(
    asked: &Asked<'_>,
    pem: &str,
    name: &str,
    made: &mut Settings,
) -> Result<String, String> {
    match pem.contains("-----BEGIN") {
        true => keep(asked, pem, name, made),
        false => Ok(pem.to_owned()),
    }
}

pub fn keep(
    asked: &Asked<'_>,
    text: &str,
    name: &str,
    made: &mut Settings,
) -> Result<String, String> {
    let Some(secrets) = asked.secrets else {
        return Err(format!(
            "settings name a file for it: with --secrets DIR it is written into DIR/{name}"
        ));
    };
    let path = secrets.join(name);
    let named = path
        .to_str()
        .ok_or("the path of --secrets is no text")?
        .to_owned();
    made.files.push((path, text.to_owned()));
    Ok(named)
}

pub fn secret(asked: &Asked<'_>, key: &str, name: &str) -> Made {
    let secret = text(asked.value)?;
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "it has {} bytes, and at least {SECRET_BYTES_MIN} are needed: make a new one with `openssl rand -hex 32`, \
             for your back end, too",
            secret.len()
        ));
    }
    let mut made = Settings::default();
    let path = keep(asked, secret, name, &mut made)?;
    made.set.push((key.to_owned(), path.into()));
    Ok(made)
}

pub fn public(asked: &Asked<'_>, key: &str, section: &str, name: &str) -> Made {
    let mut made = Settings::default();
    let mut paths = Vec::new();
    for kind in ["rsa", "ecdsa"] {
        let option = at(asked.among, &format!("{section}.{kind}_public_key"));
        let pem = option.map_or(Ok(""), text)?;
        if !pem.is_empty() {
            paths.push(file(asked, pem, &format!("{name}-{kind}.pem"), &mut made)?);
        }
    }
    let paths = paths.into_iter().map(Value::from).collect();
    made.set.push((key.to_owned(), Value::Array(paths)));
    Ok(made)
}
