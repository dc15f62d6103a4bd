//! The outcome of a step: counted tests, a problem if there is one, and how both are printed.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// Most failures of one step in the summary.
const FAILURES_SHOWN: usize = 10;

/// Most lines of one failure in the summary.
const FAILURE_LINES_SHOWN: usize = 6;

/// Counted tests of one step. A step that counts no tests leaves both numbers at zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    /// The details of failed tests, which the summary repeats at the end of the run.
    pub failures: Vec<String>,
    /// What else the summary says of the step.
    pub note: Option<String>,
}

impl Counts {
    pub fn of(passed: usize, failed: usize) -> Self {
        Self {
            passed,
            failed,
            failures: Vec::new(),
            note: None,
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Compares the counts with the exit status of the program that printed them.
    pub fn judged(self, program: &str, success: bool) -> Result<Self> {
        // A crashed test program prints no result, and a program that does not build prints none
        // either.
        if !success && self.failed == 0 {
            bail!("{program} failed without a failed test: something does not build, or crashed");
        }
        if self.passed + self.failed == 0 {
            bail!("{program} ran no test at all");
        }
        Ok(self)
    }
}

/// How one step ended.
pub struct Outcome {
    pub step: &'static str,
    pub counts: Counts,
    /// What went wrong apart from counted failures: a failed build, a crash, a missing tool.
    pub problem: Option<String>,
    pub took: Duration,
    /// Processor time of the step and of all the processes that it has waited for.
    pub worked: Duration,
}

impl Outcome {
    pub fn new(step: &'static str, result: Result<Counts>, took: Duration) -> Self {
        let (counts, problem) = match result {
            Ok(counts) => (counts, None),
            // A failed step counts as a failure even if no test could be counted.
            Err(error) => (Counts::of(0, 1), Some(format!("{error:#}"))),
        };
        Self {
            step,
            counts,
            problem,
            took,
            worked: Duration::ZERO,
        }
    }

    /// The same, which took so much processor time.
    pub fn worked(self, worked: Duration) -> Self {
        Self { worked, ..self }
    }

    pub fn succeeded(&self) -> bool {
        self.counts.failed == 0
    }

    /// Prints the last line of a step's output.
    pub fn shown(self) -> Self {
        if let Some(problem) = &self.problem {
            println!("{problem}");
        }
        let verdict = if self.succeeded() { "ok" } else { "FAILED" };
        let seconds = self.took.as_secs_f64();
        println!("---- {} {verdict}, {seconds:.1} s", self.step);
        self
    }

    /// The outcome for another process, which reads it with [`from_json`](Self::from_json).
    pub fn to_json(&self) -> String {
        let Counts {
            passed,
            failed,
            failures,
            note,
        } = &self.counts;
        json!({
            "passed": passed,
            "failed": failed,
            "failures": failures,
            "note": note,
            "problem": self.problem,
            "worked_seconds": self.worked.as_secs_f64(),
        })
        .to_string()
    }

    /// Reads what [`to_json`](Self::to_json) wrote for this step.
    pub fn from_json(step: &'static str, json: &str, took: Duration) -> Result<Self> {
        let value: Value = serde_json::from_str(json)?;
        let number = |key: &str| {
            let number = value[key].as_u64().and_then(|it| usize::try_from(it).ok());
            number.with_context(|| format!("the outcome has no number `{key}`"))
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let failures = value["failures"].as_array().into_iter().flatten();
        let counts = Counts {
            passed: number("passed")?,
            failed: number("failed")?,
            failures: failures.filter_map(text).collect(),
            note: text(&value["note"]),
        };
        let worked = value["worked_seconds"].as_f64();
        let worked = worked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Self {
            step,
            counts,
            problem: text(&value["problem"]),
            took,
            worked: worked.context("the outcome has no processor time")?,
        })
    }
}

/// The table of all steps, the problems in words, and a last line with the sums.
pub fn summary(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:<18} {:<7} {:>7} {:>7} {:>9} {:>9}\n",
        "step", "result", "passed", "failed", "time", "processor"
    );
    let mut total = Counts::default();
    for outcome in outcomes {
        text.push_str(&row(outcome));
        total.add(&outcome.counts);
    }
    for Outcome {
        step,
        counts,
        problem,
        ..
    } in outcomes
    {
        let failures = counts.failures.iter().take(FAILURES_SHOWN);
        for what in counts.note.iter().chain(failures).chain(problem) {
            text.push_str(&format!("\n{step}: {what}\n"));
        }
    }
    text.push_str(&format!(
        "\n{} passed, {} failed",
        total.passed, total.failed
    ));
    text
}

fn row(outcome: &Outcome) -> String {
    let Outcome {
        step,
        counts,
        took,
        worked,
        ..
    } = outcome;
    let result = if outcome.succeeded() { "ok" } else { "FAILED" };
    let (passed, failed) = match (counts.passed, counts.failed) {
        // This step counts no tests.
        (0, 0) => ("-".to_owned(), "-".to_owned()),
        (passed, failed) => (passed.to_string(), failed.to_string()),
    };
    let (took, worked) = (took.as_secs_f64(), worked.as_secs_f64());
    format!("{step:<18} {result:<7} {passed:>7} {failed:>7} {took:>8.1}s {worked:>8.1}s\n")
}

/// Adds up the output of libtest: one `test result:` line for each test program, after the output
/// of each failed test.
pub fn libtest_counts(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines() {
        // `test result: ok. 12 passed; 0 failed; 1 ignored; …`
        let Some(rest) = line.strip_prefix("test result: ") else {
            continue;
        };
        counts.passed += number_before(rest, " passed");
        counts.failed += number_before(rest, " failed");
    }
    // Each block is `---- actor::ends stdout ----`, an empty line, and the output of the test.
    let mut blocks = output.split("\n---- ").skip(1);
    counts.failures = blocks.by_ref().filter_map(libtest_failure).collect();
    counts
}

/// The name of a failed test, and its first panic up to the backtrace.
fn libtest_failure(block: &str) -> Option<String> {
    let (name, printed) = block.split_once(" stdout ----\n")?;
    let panic = printed
        .lines()
        .skip_while(|line| !line.contains("panicked at"));
    let panic = panic.take_while(|line| !line.is_empty() && *line != "stack backtrace:");
    let lines: Vec<_> = std::iter::once(name)
        .chain(panic.take(FAILURE_LINES_SHOWN))
        .collect();
    Some(lines.join("\n  "))
}

/// The lines that begin with one of the prefixes, after any indentation.
fn lines_with(output: &str, prefixes: &[&str]) -> Vec<String> {
    let lines = output.lines().map(str::trim_start);
    lines
        .filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

fn number_before(text: &str, label: &str) -> usize {
    let Some(end) = text.find(label) else {
        return 0;
    };
    let digits = text[..end].rsplit(' ').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// Reads the closing summary of `node --test` in its TAP form (`# pass 3`).
pub fn node_counts(output: &str) -> Counts {
    // TAP turns what tests print into comments too, so only the last line of each kind counts.
    let last = |label: &str| {
        let numbers = output
            .lines()
            .rev()
            .filter_map(|line| line.strip_prefix(label)?.parse().ok());
        numbers.take(1).next().unwrap_or(0)
    };
    Counts {
        passed: last("# pass "),
        failed: last("# fail ") + last("# cancelled "),
        failures: lines_with(output, &["not ok "]),
        note: None,
    }
}

/// Reads the closing line of pytest: `1 failed, 41 passed, 2 skipped, 1 error in 3.21s`.
pub fn pytest_counts(output: &str) -> Counts {
    let mut lines = output.lines().rev();
    let closing = lines.find(|line| {
        let outcomes = [" passed", " failed", " error"];
        line.contains(" in ") && outcomes.iter().any(|outcome| line.contains(outcome))
    });
    let closing = closing.unwrap_or_default();
    Counts {
        passed: number_before(closing, " passed"),
        failed: number_before(closing, " failed") + number_before(closing, " error"),
        failures: lines_with(output, &["FAILED ", "ERROR "]),
        note: None,
    }
}

/// Reads `--- PASS: TestName (0.1s)` of `go test -v`, where tests within tests are indented.
pub fn go_counts(output: &str) -> Counts {
    let of = |prefix: &str| {
        output
            .lines()
            .filter(|line| line.starts_with(prefix))
            .count()
    };
    Counts {
        failures: lines_with(output, &["--- FAIL: "]),
        ..Counts::of(of("--- PASS: "), of("--- FAIL: "))
    }
}

/// Reads the closing line of Maven: `Tests run: 5, Failures: 1, Errors: 1, Skipped: 0`.
pub fn maven_counts(output: &str) -> Counts {
    let mut lines = output.lines().rev();
    let closing = lines.find(|line| line.contains("Tests run: ") && !line.contains("Time elapsed"));
    let number = |label: &str| -> usize {
        let (_, after) = closing
            .unwrap_or_default()
            .split_once(label)
            .unwrap_or_default();
        let digits = after.split(',').next().unwrap_or_default();
        digits.trim().parse().unwrap_or(0)
    };
    let failed = number("Failures: ") + number("Errors: ");
    let passed = number("Tests run: ").saturating_sub(failed + number("Skipped: "));
    Counts {
        failures: lines_with(output, &["[ERROR]   "]),
        ..Counts::of(passed, failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn libtest_counts_several_programs_are_added() {
        let output = "running 2 tests\ntest a ... ok\n\
            test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s\n\
            test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s\n";
        assert_eq!(libtest_counts(output), Counts::of(15, 2));
    }

    #[test]
    fn node_counts_summary_is_read_and_printed_lines_are_not() {
        let tap =
            "# pass 9\nok 1 - joins\n# tests 5\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 0\n";
        assert_eq!(node_counts(tap), Counts::of(3, 2));
        assert_eq!(node_counts(""), Counts::default());
    }

    #[test]
    fn pytest_counts_closing_line_is_read() {
        let numbers = |output| {
            let Counts { passed, failed, .. } = pytest_counts(output);
            (passed, failed)
        };
        let quiet = "..F\n1 failed, 41 passed, 2 skipped in 3.21s\n";
        assert_eq!(numbers(quiet), (41, 1));
        let long = "2 passed, 2 errors in 63.10s (0:01:03)\n";
        assert_eq!(numbers(long), (2, 2));
        assert_eq!(numbers("no tests ran in 0.01s\n"), (0, 0));
        assert_eq!(pytest_counts(""), Counts::default());
    }

    #[test]
    fn go_counts_tests_of_the_first_level_are_counted() {
        let output = "=== RUN   TestA\n    --- PASS: TestA/json (0.10s)\n--- PASS: TestA (0.20s)\n--- FAIL: TestB (0.00s)\nFAIL\n";
        let counts = go_counts(output);
        assert_eq!((counts.passed, counts.failed), (1, 1));
        assert_eq!(counts.failures, ["--- FAIL: TestB (0.00s)"]);
        assert_eq!(go_counts("no test files"), Counts::default());
    }

    #[test]
    fn maven_counts_closing_line_is_read() {
        let output = "[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 1 s - in A\n\
            [INFO] Results:\n[ERROR] Tests run: 7, Failures: 2, Errors: 1, Skipped: 1\n";
        assert_eq!(maven_counts(output), Counts::of(3, 3));
        assert_eq!(maven_counts(""), Counts::default());
    }

    #[test]
    fn judged_no_tests_or_crash_is_an_error() {
        let passed = || Counts::of(2, 0);
        let failed = || Counts::of(2, 1);
        assert_eq!(passed().judged("x", true).unwrap(), passed());
        assert_eq!(failed().judged("x", false).unwrap(), failed());
        assert!(passed().judged("x", false).is_err());
        assert!(Counts::default().judged("x", true).is_err());
    }

    #[test]
    fn failed_tests_are_told_with_what_they_said() {
        let output = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\n\
            thread 'a::b' panicked at x.rs:3:5:\nassertion failed\n  left: 0\nstack backtrace:\n   0: f\n\
            \n---- c stdout ----\nError: \"no panic\"\n\nfailures:\n    a::b\n    c\n\n\
            test result: FAILED. 0 passed; 2 failed; 0 ignored\n";
        let told = "a::b\n  thread 'a::b' panicked at x.rs:3:5:\n  assertion failed\n    left: 0";
        let counts = libtest_counts(output);
        assert_eq!(counts.failures, [told, "c"]);
        let text = summary(&[Outcome::new("test", Ok(counts), Duration::ZERO)]);
        assert!(text.contains(&format!("\ntest: {told}\n")), "{text}");
        let tap = "    not ok 2 - late\nok 3 - in time\n# fail 1\n";
        assert_eq!(node_counts(tap).failures, ["not ok 2 - late"]);
        let pytest = "FAILED a.py::b - assert 1\nERROR c.py::d\n1 failed, 1 error in 3.21s\n";
        let told = ["FAILED a.py::b - assert 1", "ERROR c.py::d"];
        assert_eq!(pytest_counts(pytest).failures, told);
    }

    #[test]
    fn outcome_comes_through_json_unchanged() {
        let counts = Counts {
            failures: vec!["a\n  \"b\"".to_owned()],
            note: Some("7 steps".to_owned()),
            ..Counts::of(3, 1)
        };
        for result in [
            Ok(counts),
            Ok(Counts::default()),
            Err(anyhow!("no network")),
        ] {
            let written = Outcome::new("browser", result, Duration::ZERO);
            let written = written.worked(Duration::from_millis(1_500));
            let read = Outcome::from_json("browser", &written.to_json(), Duration::ZERO).unwrap();
            assert_eq!(
                (read.counts, read.problem, read.worked),
                (written.counts, written.problem, written.worked)
            );
        }
        assert!(Outcome::from_json("browser", "", Duration::ZERO).is_err());
        assert!(Outcome::from_json("browser", r#"{"passed":1}"#, Duration::ZERO).is_err());
    }

    #[test]
    fn summary_last_line_is_plain_sum() {
        let outcomes = [
            Outcome::new("test", Ok(Counts::of(7, 0)), Duration::ZERO),
            Outcome::new("browser", Ok(Counts::of(3, 2)), Duration::ZERO),
        ];
        assert_eq!(
            summary(&outcomes).lines().last(),
            Some("10 passed, 2 failed")
        );
    }

    #[test]
    fn summary_step_without_tests_that_failed_counts_one() {
        let outcomes = [Outcome::new(
            "clippy",
            Err(anyhow!("warnings")),
            Duration::ZERO,
        )];
        let text = summary(&outcomes);
        assert!(!outcomes[0].succeeded());
        assert!(text.contains("clippy: warnings"), "{text}");
        assert_eq!(text.lines().last(), Some("0 passed, 1 failed"));
    }
}
