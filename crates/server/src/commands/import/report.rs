//! What was imported, and what was not and why: a table for people.

use std::fmt::Write as _;

use crate::commands::output;

/// What became of each option that the file has.
#[derive(Debug, Default)]
pub struct Report {
    imported: Vec<Line>,
    /// What needs no setting.
    unneeded: Vec<Line>,
    left_out: Vec<Line>,
}

/// An option, what it became, and what is to be known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    option: String,
    here: String,
    remark: String,
}

impl Report {
    /// An option became a setting.
    pub fn imported(&mut self, option: &str, here: &str, remark: &str) {
        note(&mut self.imported, option, here, remark);
    }

    /// An option needs no setting.
    pub fn unneeded(&mut self, option: &str, why: &str) {
        note(&mut self.unneeded, option, "", why);
    }

    /// An option has no place here, or its value has none.
    pub fn left_out(&mut self, option: &str, why: &str) {
        note(&mut self.left_out, option, "", why);
    }

    /// A setting that came of this option is not accepted.
    pub fn taken_back(&mut self, here: &str, why: &str) {
        let taken: Vec<_> = self
            .imported
            .extract_if(.., |line| line.here == here)
            .collect();
        for line in &taken {
            note(&mut self.left_out, &line.option, "", why);
        }
        if taken.is_empty() {
            note(&mut self.left_out, here, "", why);
        }
    }

    /// The options that were left out, with the reasons.
    pub fn lines_left_out(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.left_out.iter();
        lines.map(|line| (line.option.as_str(), line.remark.as_str()))
    }

    /// All of it, for standard error.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let all = [
            ("Imported", &self.imported),
            ("Needs no setting", &self.unneeded),
            ("Not imported", &self.left_out),
        ];
        for (title, lines) in all {
            if lines.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{title}:");
            let rows: Vec<_> = lines.iter().map(Line::row).collect();
            text.push_str(&output::columns(&rows, "  "));
            text.push('\n');
        }
        text
    }
}

impl Line {
    fn row(&self) -> Vec<String> {
        let said = match (self.here.is_empty(), self.remark.is_empty()) {
            (true, _) => self.remark.clone(),
            (false, true) => self.here.clone(),
            (false, false) => format!("{} ({})", self.here, self.remark),
        };
        vec![self.option.clone(), said]
    }
}

fn note(lines: &mut Vec<Line>, option: &str, here: &str, remark: &str) {
    let line = Line {
        option: option.to_owned(),
        here: here.to_owned(),
        remark: remark.to_owned(),
    };
    if !lines.contains(&line) {
        lines.push(line);
    }
}
