//! The table of instructions, and what is worse at head than it may be.

use crate::report::Counts;
use std::fmt::Write as _;

/// How many times as many instructions head may take as the base.
const RATIO_MAX: f64 = 1.05;

/// What one unit costs on both sides, in instructions.
pub struct Row {
    pub unit: &'static str,
    pub base: f64,
    pub head: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.head / self.base
    }

    fn is_worse(&self) -> bool {
        self.ratio() > RATIO_MAX
    }
}

/// One line of Markdown for each row, so that the message of a commit can hold the table.
pub fn table(commit: &str, rows: &[Row]) -> String {
    let mut table = format!(
        "| Instructions per | {:.10} | head | ratio |\n|---|---:|---:|---:|\n",
        commit
    );
    for row in rows {
        let mark = if row.is_worse() { " WORSE" } else { "" };
        let Row { unit, base, head } = row;
        writeln!(
            table,
            "| {unit} | {base:.1} | {head:.1} | {:.3}{mark} |",
            row.ratio()
        )
        .expect("a String takes all that is written to it");
    }
    table
}

/// Counts each row as a test, which fails if head is worse.
pub fn judge(rows: &[Row]) -> Counts {
    let failures: Vec<_> = rows
        .iter()
        .filter(|row| row.is_worse())
        .map(|row| {
            let percent = 100.0 * (row.ratio() - 1.0);
            format!(
                "{}: {percent:.1} % more instructions than at the base",
                row.unit
            )
        })
        .collect();
    Counts {
        passed: rows.len() - failures.len(),
        failed: failures.len(),
        failures,
        note: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_fails_above_five_per_cent_and_never_for_being_better() {
        let row = |unit, base, head| Row { unit, base, head };
        let rows = [
            row("same", 800.0, 800.0),
            row("at the bound", 1_000.0, 1_050.0),
            row("above it", 1_000.0, 1_051.0),
            row("better", 1_000.0, 400.0),
        ];
        let counts = judge(&rows);
        assert_eq!((counts.passed, counts.failed), (3, 1));
        let expected = "above it: 5.1 % more instructions than at the base";
        assert_eq!(counts.failures, [expected]);
        let table = table("0123456789abcdef", &rows);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "| Instructions per | 0123456789 | head | ratio |");
        assert_eq!(lines[2], "| same | 800.0 | 800.0 | 1.000 |");
        assert_eq!(lines[4], "| above it | 1000.0 | 1051.0 | 1.051 WORSE |");
        assert_eq!(lines.len(), 6);
    }
}
