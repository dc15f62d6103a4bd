//! Judges a report. The suite's own exit code means nothing: it is 0 even if no server answered.

use crate::report::Counts;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The suite's two verdicts about each case: on its behaviour, and on its closing handshake.
pub type Results = BTreeMap<String, (String, String)>;

/// The result of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Ok,
    Informational,
    NonStrict,
    Unimplemented,
    Failed,
    /// The case was to run, but it is not in the report.
    Missing,
    /// The case is in the report but was not to run, so the report is of another run.
    Unexpected,
}

impl Grade {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Ok, "OK"),
        (Self::Informational, "INFORMATIONAL"),
        (Self::NonStrict, "NON-STRICT"),
        (Self::Unimplemented, "UNIMPLEMENTED"),
        (Self::Failed, "FAILED"),
        (Self::Missing, "MISSING"),
        (Self::Unexpected, "UNEXPECTED"),
    ];

    /// Any unknown word (`WRONG CODE`, `UNCLEAN`, `FAILED BY CLIENT`, …) is a failure.
    fn of(word: &str) -> Self {
        let known = Self::ALL[..4].iter().find(|(_, name)| *name == word);
        known.map_or(Self::Failed, |(grade, _)| *grade)
    }

    fn passes(self) -> bool {
        matches!(self, Self::Ok | Self::Informational)
    }
}

/// The judged report of one run.
pub struct Verdict {
    grades: BTreeMap<CaseName, (Grade, String)>,
}

/// The name of a case, sorted by its numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct CaseName(Vec<u32>, String);

impl CaseName {
    fn new(name: &str) -> Self {
        let numbers = name
            .split('.')
            .map(|number| number.parse().unwrap_or(u32::MAX));
        Self(numbers.collect(), name.to_owned())
    }

    fn group(&self) -> u32 {
        self.0.first().copied().unwrap_or(u32::MAX)
    }
}

/// Reads the suite's `index.json`, which must report on one server.
pub fn read(index: &Path) -> Result<Results> {
    let text = std::fs::read_to_string(index)
        .with_context(|| format!("cannot read {}", index.display()))?;
    parse(&text).with_context(|| index.display().to_string())
}

fn parse(text: &str) -> Result<Results> {
    let index: Value = serde_json::from_str(text)?;
    let agents = index.as_object().context("the report is not an object")?;
    if agents.len() > 1 {
        bail!("the report is about {} servers", agents.len());
    }
    let mut results = Results::new();
    // If no server answered, the report has no agent, and every case is missing.
    let cases = agents.values().filter_map(Value::as_object).flatten();
    for (name, case) in cases {
        let word = |key: &str| case[key].as_str().unwrap_or("(absent)").to_owned();
        results.insert(name.clone(), (word("behavior"), word("behaviorClose")));
    }
    Ok(results)
}

/// Compares the results with the cases that were to run.
pub fn judge(expected: &[String], results: &Results) -> Verdict {
    let mut grades = BTreeMap::new();
    for name in expected {
        let missing = (Grade::Missing, "not in the report".to_owned());
        grades.insert(CaseName::new(name), missing);
    }
    for (name, (behavior, close)) in results {
        let name = CaseName::new(name);
        let grade = if grades.contains_key(&name) {
            Grade::of(behavior).max(Grade::of(close))
        } else {
            Grade::Unexpected
        };
        grades.insert(name, (grade, format!("{behavior}, closing {close}")));
    }
    Verdict { grades }
}

impl Verdict {
    pub fn counts(&self) -> Counts {
        let failed = self.grades.iter().filter(|(_, (grade, _))| !grade.passes());
        let failures: Vec<_> = failed
            .map(|(name, (_, words))| format!("case {}: {words}", name.1))
            .collect();
        Counts {
            passed: self.grades.len() - failures.len(),
            failed: failures.len(),
            failures,
            note: None,
        }
    }

    fn count(&self, group: Option<u32>, grade: Grade) -> usize {
        let in_group = |name: &CaseName| group.is_none_or(|group| name.group() == group);
        let counted = self
            .grades
            .iter()
            .filter(|(name, (of, _))| *of == grade && in_group(name));
        counted.count()
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, label: &str, group: Option<u32>) -> fmt::Result {
        write!(f, "{label:<6}")?;
        for (grade, name) in Grade::ALL {
            write!(
                f,
                " {:>width$}",
                self.count(group, grade),
                width = name.len()
            )?;
        }
        writeln!(f)
    }
}

/// A table with a row for each group, followed by every case that did not pass.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group ")?;
        for (_, name) in Grade::ALL {
            write!(f, " {name}")?;
        }
        writeln!(f)?;
        let mut groups: Vec<_> = self.grades.keys().map(CaseName::group).collect();
        groups.dedup();
        for group in groups {
            self.row(f, &group.to_string(), Some(group))?;
        }
        self.row(f, "all", None)?;
        for (name, (grade, words)) in &self.grades {
            if !grade.passes() {
                writeln!(f, "  {}: {words}", name.1)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether one case, 1.1.1, passes with these two words.
    fn passes(behavior: &str, close: &str) -> bool {
        let index = format!(
            r#"{{"server": {{"1.1.1": {{"behavior": "{behavior}", "behaviorClose": "{close}"}}}}}}"#
        );
        judged(&["1.1.1"], &index).1 == 0
    }

    /// The numbers of passed and failed cases.
    fn judged(expected: &[&str], index: &str) -> (usize, usize) {
        let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        let counts = judge(&expected, &parse(index).unwrap()).counts();
        assert_eq!(counts.failures.len(), counts.failed);
        (counts.passed, counts.failed)
    }

    #[test]
    fn judge_only_ok_and_informational_in_both_pass() {
        assert!(passes("OK", "OK"));
        assert!(passes("OK", "INFORMATIONAL"));
        assert!(passes("INFORMATIONAL", "OK"));
        for word in [
            "NON-STRICT",
            "UNIMPLEMENTED",
            "FAILED",
            "WRONG CODE",
            "UNCLEAN",
            "FAILED BY CLIENT",
            "ok",
            "",
        ] {
            assert!(!passes(word, "OK"), "{word}");
            assert!(!passes("OK", word), "{word}");
        }
    }

    #[test]
    fn judge_absent_word_fails() {
        let index = r#"{"server": {"1.1.1": {"behavior": "OK"}}}"#;
        assert_eq!(judged(&["1.1.1"], index), (0, 1));
    }

    #[test]
    fn judge_case_that_did_not_run_is_a_failure_by_name() {
        let index = r#"{"server": {"1.1.1": {"behavior": "OK", "behaviorClose": "OK"}}}"#;
        let expected = ["1.1.1".to_owned(), "1.1.2".to_owned()];
        let verdict = judge(&expected, &parse(index).unwrap());
        let counts = verdict.counts();
        assert_eq!((counts.passed, counts.failed), (1, 1));
        assert_eq!(counts.failures, ["case 1.1.2: not in the report"]);
        assert!(
            verdict.to_string().contains("  1.1.2: not in the report"),
            "{verdict}"
        );
    }

    #[test]
    fn judge_empty_report_is_all_missing() {
        assert_eq!(judged(&["1.1.1", "1.1.2"], "{}"), (0, 2));
        assert_eq!(judged(&["1.1.1"], r#"{"server": {}}"#), (0, 1));
    }

    #[test]
    fn judge_case_that_was_not_asked_for_is_a_failure() {
        let index = r#"{"server": {"9.1.1": {"behavior": "OK", "behaviorClose": "OK"}}}"#;
        assert_eq!(judged(&["1.1.1"], index), (0, 2));
    }

    #[test]
    fn parse_two_servers_or_no_json_is_an_error() {
        assert!(parse(r#"{"a": {}, "b": {}}"#).is_err());
        assert!(parse("").is_err());
        assert!(parse("[]").is_err());
    }

    #[test]
    fn display_groups_sort_by_number() {
        let names = ["10.1.1", "2.1", "1.1.10", "1.1.9"].map(str::to_owned);
        let verdict = judge(&names, &Results::new());
        let text = verdict.to_string();
        let groups: Vec<_> = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        assert_eq!(
            groups,
            [
                "1", "2", "10", "all", "1.1.9:", "1.1.10:", "2.1:", "10.1.1:"
            ]
        );
    }
}
