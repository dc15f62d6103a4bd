//! What subcommands print: for people in a terminal, plain when it is piped.
//!
//! *Invariant:* nothing that a client has chosen reaches a terminal with its control characters.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write as _};

use anyhow::Context as _;

use crate::logging;

/// How standard output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether a person reads it.
    pub terminal: bool,
    /// Whether headings are bold.
    bold: bool,
}

impl Look {
    /// What suits standard output. `NO_COLOR` (no-color.org) is obeyed.
    pub fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Self {
            terminal,
            bold: terminal && !no_color,
        }
    }

    /// Rows below a heading, as columns that line up. Piped, they are lines of texts with tabs between them, and
    /// there is no heading.
    pub fn table(self, head: &[&str], rows: &[Vec<String>]) -> String {
        if !self.terminal {
            let line = |row: &Vec<String>| {
                let cells: Vec<_> = row.iter().map(|cell| visible(cell)).collect();
                cells.join("\t") + "\n"
            };
            return rows.iter().map(line).collect();
        }
        let head = head.iter().map(ToString::to_string).collect();
        let all: Vec<_> = std::iter::once(head).chain(rows.iter().cloned()).collect();
        let text = columns(&all, "");
        match text.split_once('\n') {
            Some((head, rows)) => format!("{}\n{rows}", self.heading(head)),
            None => text,
        }
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        match self.bold {
            true => format!("\x1b[1m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Rows as columns that line up, with this before each line. A cell that is longer than most moves no other column.
pub fn columns(rows: &[Vec<String>], before: &str) -> String {
    let shown: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| visible(cell)).collect())
        .collect();
    let count = shown.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<_> = (0..count).map(|at| width(&shown, at)).collect();
    let mut text = String::new();
    for row in &shown {
        let cells = row.iter().zip(&widths);
        let padded: String = cells
            .map(|(cell, width)| pad(cell, *width) + "  ")
            .collect();
        let _ = writeln!(text, "{before}{}", padded.trim_end());
    }
    text
}

/// The width of the widest cell of a column that is not too wide.
fn width(rows: &[Vec<String>], at: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(at));
    let widths = cells.map(|cell| cell.chars().count());
    let widths = widths.filter(|width| *width <= COLUMN_WIDTH_MAX);
    widths.max().unwrap_or_default()
}

/// The widest column.
const COLUMN_WIDTH_MAX: usize = 64;

/// A text, with spaces up to this number of characters.
pub fn pad(text: &str, width: usize) -> String {
    let spaces = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(spaces))
}

/// A text with its control characters escaped, and those that turn the direction of others.
pub fn visible(text: &str) -> String {
    let is_harmful = |it: char| {
        it.is_control()
            || matches!(it, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_harmful(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// Writes to standard output.
///
/// # Errors
/// When nobody takes it.
pub fn say(text: &str) -> anyhow::Result<()> {
    logging::write_all(&mut io::stdout(), text.as_bytes())
        .context("cannot write to standard output")
}

/// Writes a line to standard error, if possible.
pub fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        let row = |row: &&[&str]| row.iter().map(ToString::to_string).collect();
        rows.iter().map(row).collect()
    }

    #[test]
    fn columns_line_up_and_no_long_cell_moves_them() {
        let long = "x".repeat(COLUMN_WIDTH_MAX + 1);
        let rows = rows(&[&["ä", "1"], &["room", "22"], &[&long, "3"]]);
        assert_eq!(
            columns(&rows, "  "),
            format!("  ä     1\n  room  22\n  {long}  3\n")
        );
    }

    #[test]
    fn table_has_a_heading_in_a_terminal_and_tabs_when_piped() {
        let [piped, plain, bold] = [(false, false), (true, false), (true, true)]
            .map(|(terminal, bold)| Look { terminal, bold });
        let rows = rows(&[&["ä", "1"], &["a\tb", "22"]]);
        let head = ["Room", "Subscribers"];
        assert_eq!(piped.table(&head, &rows), "ä\t1\na\\tb\t22\n");
        assert_eq!(
            plain.table(&head, &rows),
            "Room  Subscribers\nä     1\na\\tb  22\n"
        );
        let bold = bold.table(&head, &[]);
        assert_eq!(bold, "\x1b[1mRoom  Subscribers\x1b[0m\n");
        assert_eq!(piped.table(&head, &[]), "");
    }

    #[test]
    fn what_clients_choose_cannot_steer_a_terminal() {
        let rows = rows(&[&["a\x1b[2J\tb\n\u{202e}c"]]);
        assert_eq!(columns(&rows, ""), "a\\u{1b}[2J\\tb\\n\\u{202e}c\n");
    }
}
