//! Values of Centrifugo as values of settings here.

use std::time::Duration;

use serde_json::Value;

use super::rows::{Asked, Made, Settings};

/// The longest duration that settings have here.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A switch; words count, too, as they do in Centrifugo.
pub fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if ["true", "1"].contains(&text.as_str()) => Ok(true),
        Value::String(text) if ["false", "0", ""].contains(&text.as_str()) => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

/// A number, not below zero.
pub fn number(value: &Value) -> Result<u64, String> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| "it is no whole number from 0 on".to_owned())
}

/// A text.
pub fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "it is no text".to_owned())
}

/// Texts, or one text with commas.
pub fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(text
            .split([',', ' '])
            .filter(|it| !it.is_empty())
            .map(Into::into)
            .collect()),
        Value::Array(items) => items.iter().map(|it| text(it).map(Into::into)).collect(),
        _ => Err("it is no list of texts".to_owned()),
    }
}

/// A duration as Go writes it: `1h30m`, `1.5s`; a bare number is nanoseconds.
pub fn duration(value: &Value) -> Result<Duration, String> {
    let bad = || "it is no duration such as 25s or 1h30m".to_owned();
    match value {
        Value::Number(number) => number.as_u64().map(Duration::from_nanos).ok_or_else(bad),
        Value::String(text) => go_duration(text).ok_or_else(bad),
        _ => Err(bad()),
    }
}

fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, behind) = rest.split_at(digits);
        let end = behind.find(|it: char| it.is_ascii_digit() || it == '.');
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let unit_s = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit_s).ok()?;
        sum = sum.checked_add(part)?;
        rest = behind;
    }
    (!text.is_empty()).then_some(sum)
}

/// A setting that is the same duration, up to the longest that there is here.
pub fn same_duration(key: &str, asked: &Asked<'_>) -> Made {
    let time = duration(asked.value)?;
    if time.is_zero() {
        return Err("it is 0".to_owned());
    }
    Ok(match time > DURATION_MAX {
        true => Settings::one(key, "1day").noting("1day, which is the most here"),
        // Settings have milliseconds at the finest.
        false => {
            let millis = u64::try_from(time.as_millis().max(1)).unwrap_or(u64::MAX);
            let time = Duration::from_millis(millis);
            Settings::one(key, humantime::format_duration(time).to_string())
        }
    })
}

/// A setting that is the same number within a range; what is beyond it is brought to its end.
pub fn same_number(key: &str, asked: &Asked<'_>, min: u64, max: u64) -> Made {
    let number = number(asked.value)?;
    let within = number.clamp(min, max);
    let value = i64::try_from(within).unwrap_or(i64::MAX);
    let made = Settings::one(key, value);
    Ok(match within == number {
        true => made,
        false => made.noting(format!("{within}: {min} to {max} are possible")),
    })
}

/// A setting that is the same number of bytes, at least `min`.
pub fn same_size(key: &str, asked: &Asked<'_>, min: u64, max: u64) -> Made {
    let number = number(asked.value)?;
    let within = number.clamp(min, max);
    let made = Settings::one(key, within.to_string());
    Ok(match within == number {
        true => made,
        false => made.noting(format!("{within}: {min} to {max} bytes are possible")),
    })
}

/// A setting that is the same text.
pub fn same_text(key: &str, asked: &Asked<'_>) -> Made {
    Ok(Settings::one(key, text(asked.value)?))
}

/// A setting that is on.
pub fn switch_on(key: &str, asked: &Asked<'_>) -> Made {
    match flag(asked.value)? {
        true => Ok(Settings::one(key, "on")),
        false => Ok(Settings::default()),
    }
}

pub fn fixed(asked: &Asked<'_>, is: &str) -> Made {
    match text(asked.value)? == is {
        true => Ok(Settings::default()),
        false => Err(format!("it is {is} here, and cannot be chosen")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("25s", 25_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("720h", 2_592_000_000),
            ("300ms", 300),
            ("1500us", 1),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(
                duration(&json!(text)).unwrap().as_millis(),
                millis,
                "{text}"
            );
        }
        assert_eq!(duration(&json!(2_000_000)).unwrap().as_millis(), 2);
        for text in [
            "",
            "s",
            "1",
            "1d",
            "-1s",
            "1 s",
            "1e3s",
            "..s",
            "99999999999999999999h",
        ] {
            assert!(duration(&json!(text)).is_err(), "{text}");
        }
        assert!(duration(&json!(-1)).is_err() && duration(&json!(true)).is_err());
    }

    #[test]
    fn lists_may_be_texts() {
        assert_eq!(texts(&json!("a, b c")).unwrap(), ["a", "b", "c"]);
        assert_eq!(texts(&json!(["a"])).unwrap(), ["a"]);
        assert!(texts(&json!([1])).is_err());
    }
}
