//! What a step leaves behind: counted tests, a problem if there is one, and how that is printed.

use anyhow::{Result, bail};
use std::time::Duration;

/// Counted tests of one step. A step without countable tests leaves both at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Holds the counts against how the program ended that printed them.
    pub fn judged(self, program: &str, success: bool) -> Result<Self> {
        // A test program that crashed prints no result, one that does not build even less.
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
    /// What went wrong besides counted failures (does not build, a crash, a missing tool).
    pub problem: Option<String>,
    pub took: Duration,
}

impl Outcome {
    pub fn new(step: &'static str, result: Result<Counts>, took: Duration) -> Self {
        let (counts, problem) = match result {
            Ok(counts) => (counts, None),
            // A failed step never counts as no failure, even when no test could be counted.
            Err(error) => (
                Counts {
                    passed: 0,
                    failed: 1,
                },
                Some(format!("{error:#}")),
            ),
        };
        Self {
            step,
            counts,
            problem,
            took,
        }
    }

    pub fn succeeded(&self) -> bool {
        self.counts.failed == 0
    }
}

/// The table of all steps, what went wrong in words, and the plain last line.
pub fn summary(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:<18} {:<7} {:>7} {:>7} {:>9}\n",
        "step", "result", "passed", "failed", "time"
    );
    let mut total = Counts::default();
    for outcome in outcomes {
        text.push_str(&row(outcome));
        total.add(outcome.counts);
    }
    for outcome in outcomes {
        if let Some(problem) = &outcome.problem {
            text.push_str(&format!("\n{}: {problem}\n", outcome.step));
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
        step, counts, took, ..
    } = outcome;
    let result = if outcome.succeeded() { "ok" } else { "FAILED" };
    let (passed, failed) = match counts {
        // The step counts no tests.
        Counts {
            passed: 0,
            failed: 0,
        } => ("-".to_owned(), "-".to_owned()),
        Counts { passed, failed } => (passed.to_string(), failed.to_string()),
    };
    let seconds = took.as_secs_f64();
    format!("{step:<18} {result:<7} {passed:>7} {failed:>7} {seconds:>8.1}s\n")
}

/// Adds up what libtest printed: one `test result:` line for each test program.
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
    counts
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
    // What tests print becomes a comment too, hence the last line of each kind.
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
        assert_eq!(
            libtest_counts(output),
            Counts {
                passed: 15,
                failed: 2
            }
        );
    }

    #[test]
    fn node_counts_summary_is_read_and_printed_lines_are_not() {
        let tap =
            "# pass 9\nok 1 - joins\n# tests 5\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 0\n";
        assert_eq!(
            node_counts(tap),
            Counts {
                passed: 3,
                failed: 2
            }
        );
        assert_eq!(node_counts(""), Counts::default());
    }

    #[test]
    fn pytest_counts_closing_line_is_read() {
        let counts = |passed, failed| Counts { passed, failed };
        let quiet = "..F\n1 failed, 41 passed, 2 skipped in 3.21s\n";
        assert_eq!(pytest_counts(quiet), counts(41, 1));
        let long = "2 passed, 2 errors in 63.10s (0:01:03)\n";
        assert_eq!(pytest_counts(long), counts(2, 2));
        assert_eq!(pytest_counts("no tests ran in 0.01s\n"), counts(0, 0));
        assert_eq!(pytest_counts(""), Counts::default());
    }

    #[test]
    fn judged_no_tests_or_crash_is_an_error() {
        let passed = Counts {
            passed: 2,
            failed: 0,
        };
        let failed = Counts {
            passed: 2,
            failed: 1,
        };
        assert_eq!(passed.judged("x", true).unwrap(), passed);
        assert_eq!(failed.judged("x", false).unwrap(), failed);
        assert!(passed.judged("x", false).is_err());
        assert!(Counts::default().judged("x", true).is_err());
    }

    #[test]
    fn summary_last_line_is_plain_sum() {
        let outcomes = [
            Outcome::new(
                "test",
                Ok(Counts {
                    passed: 7,
                    failed: 0,
                }),
                Duration::ZERO,
            ),
            Outcome::new(
                "browser",
                Ok(Counts {
                    passed: 3,
                    failed: 2,
                }),
                Duration::ZERO,
            ),
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
