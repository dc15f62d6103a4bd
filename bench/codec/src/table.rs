//! The counts as a table in Markdown, for the terminal and for the README.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use bench_codec::{CUT_MESSAGE_BYTES, REQUEST_BROWSER, REQUEST_SHORT, TIMES};
use serde_json::Value;

/// The result of one benchmark.
pub struct Count {
    function: String,
    id: String,
    /// The parameter of the benchmark, if it has one.
    size: Option<usize>,
    /// Instructions of all its repetitions together.
    pub instructions: u64,
    before: Option<u64>,
}

impl Count {
    /// Reads a line of the runner's summary.
    pub fn parse(line: &str) -> Result<Self> {
        let summary: Value = serde_json::from_str(line).context("the runner printed no JSON")?;
        let text = |key: &str| summary[key].as_str().unwrap_or_default();
        let values = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"];
        Ok(Self {
            function: text("function_name").to_owned(),
            id: text("id").to_owned(),
            size: last_number(text("description")),
            instructions: values["new"].as_u64().context("a benchmark has no count")?,
            before: values["old"].as_u64(),
        })
    }

    /// The benchmark's expression, as its source has it.
    pub fn name(&self) -> String {
        format!("{}::{}", self.function, self.id)
    }

    /// The benchmark's name without its parameter.
    fn kind(&self) -> String {
        let name = self.name();
        name.trim_end_matches(|character: char| character.is_ascii_digit())
            .trim_end_matches('_')
            .to_owned()
    }

    fn per_message(&self) -> f64 {
        self.instructions as f64 / TIMES as f64
    }

    fn payload_bytes(&self) -> Option<usize> {
        match self.kind().as_str() {
            "decode::text_pieces" | "decode::greek_pieces" => Some(CUT_MESSAGE_BYTES),
            "handshake::short" => Some(REQUEST_SHORT.len()),
            "handshake::browser" => Some(REQUEST_BROWSER.len()),
            _ => self.size,
        }
    }

    fn what(&self) -> String {
        let size = self.size.unwrap_or_default();
        match self.kind().as_str() {
            "decode::binary" => "decode binary".to_owned(),
            "decode::text" => "decode text, ASCII".to_owned(),
            "decode::greek" => "decode text, two-byte characters".to_owned(),
            "decode::deep" => format!("decode text, ASCII, {TIMES} messages in one receive"),
            "decode::text_pieces" => format!("decode text, ASCII, in receives of {size} B"),
            "decode::greek_pieces" => {
                format!("decode text, two-byte characters, in receives of {size} B")
            }
            "decode::ping" => "decode a ping, encode its pong".to_owned(),
            "encode::message" => "encode a message".to_owned(),
            "encode_header::header" => "encode a header alone".to_owned(),
            "handshake::short" => "handshake, shortest request".to_owned(),
            "handshake::browser" => "handshake, request of a browser".to_owned(),
            other => other.to_owned(),
        }
    }
}

/// A row for each benchmark, followed by the cost of each further byte.
pub fn render(counts: &[Count]) -> String {
    let mut text =
        String::from("| Work | bytes | instructions | per byte |\n|---|---:|---:|---:|\n");
    for count in counts {
        let bytes = count.payload_bytes().unwrap_or_default();
        let header_alone = count.function == "encode_header";
        let per_byte = match bytes {
            0 => String::new(),
            _ if header_alone => String::new(),
            bytes => format!("{:.2}", count.per_message() / bytes as f64),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {}{} | {per_byte} |",
            count.what(),
            grouped(bytes as u64),
            grouped(count.per_message().round() as u64),
            change(count)
        );
    }
    text.push_str(&further_bytes(counts));
    text
}

/// The change since the previous run, if there is one.
fn change(count: &Count) -> String {
    match count.before {
        Some(before) if before != count.instructions && before > 0 => {
            let ratio = count.instructions as f64 / before as f64;
            format!(" ({:+.1} %)", (ratio - 1.0) * 100.0)
        }
        _ => String::new(),
    }
}

/// Unmasking and UTF-8 have no benchmark of their own: the cost of unmasking is the slope of binary
/// messages, and that of UTF-8 is by how much the slope of text is steeper. Counts have no noise,
/// so such a difference is exact.
fn further_bytes(counts: &[Count]) -> String {
    let slope = |kind: &str| slope(counts, kind);
    let unmask = slope("decode::binary");
    let above = |kind: &str| Some(slope(kind)? - unmask?);
    let lines = [
        ("unmasking", unmask),
        ("UTF-8, ASCII", above("decode::text")),
        ("UTF-8, two-byte characters", above("decode::greek")),
        ("encoding", slope("encode::message")),
    ];
    let mut text = String::new();
    for (what, slope) in lines {
        if let Some(slope) = slope {
            let _ = writeln!(text, "| a further byte: {what} | | | {slope:.3} |");
        }
    }
    text
}

/// Instructions for each byte between the two largest sizes of a kind.
fn slope(counts: &[Count], kind: &str) -> Option<f64> {
    let mut sizes: Vec<_> = counts.iter().filter(|count| count.kind() == kind).collect();
    sizes.sort_by_key(|count| count.size);
    let (largest, smaller) = (sizes.pop()?, sizes.pop()?);
    let bytes = largest.size? - smaller.size?;
    Some((largest.per_message() - smaller.per_message()) / bytes as f64)
}

/// The number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Of `(Arriving :: text(20))` it is 20.
fn last_number(description: &str) -> Option<usize> {
    let end = description.trim_end_matches(|character: char| !character.is_ascii_digit());
    let start = end.trim_end_matches(|character: char| character.is_ascii_digit());
    end[start.len()..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, size: usize, values: &str) -> String {
        format!(
            r#"{{"function_name":"decode","id":"{id}","description":"(Arriving :: x({size}))",
            "profiles":[{{"data":{{"total":{{"metrics":{{"Ir":{{"values":{values}}}}}}}}}}}]}}"#
        )
    }

    fn count(id: &str, size: usize, values: &str) -> Count {
        Count::parse(&line(id, size, values)).unwrap()
    }

    #[test]
    fn parse_without_a_count_is_an_error() {
        assert!(Count::parse(&line("text_0", 20, r#"{"old":1}"#)).is_err());
        assert!(Count::parse("running 3 benchmarks").is_err());
    }

    #[test]
    fn render_counts_are_per_message_and_per_byte() {
        let table = render(&[count("text_0", 20, r#"{"new":64000}"#)]);
        assert!(
            table.contains("| decode text, ASCII | 20 | 2,000 | 100.00 |\n"),
            "{table}"
        );
    }

    #[test]
    fn render_change_since_the_last_run_is_shown() {
        let changed = render(&[count("text_0", 20, r#"{"new":64000,"old":128000}"#)]);
        assert!(changed.contains("2,000 (-50.0 %)"), "{changed}");
        let same = render(&[count("text_0", 20, r#"{"new":64000,"old":64000}"#)]);
        assert!(!same.contains('%'), "{same}");
    }

    #[test]
    fn render_further_bytes_are_differences() {
        let table = render(&[
            count("binary_0", 100, r#"{"new":32000}"#),
            count("binary_1", 200, r#"{"new":64000}"#),
            count("text_0", 100, r#"{"new":32000}"#),
            count("text_1", 200, r#"{"new":80000}"#),
        ]);
        assert!(table.contains("unmasking | | | 10.000 |"), "{table}");
        assert!(table.contains("UTF-8, ASCII | | | 5.000 |"), "{table}");
        assert!(!table.contains("encoding"), "{table}");
    }

    #[test]
    fn grouped_has_commas_between_thousands() {
        for (number, text) in [
            (7, "7"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
