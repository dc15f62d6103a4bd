//! Every dependency of the workspace has a comment that says why it is needed.

use super::Finding;

const PLACE: &str = "Cargo.toml";
const SECTION: &str = "[workspace.dependencies]";

/// Finds entries without a comment on one of their lines or on the line above. Our own crates need
/// none.
pub fn reasons(manifest: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<_> = manifest.lines().collect();
    let Some(start) = lines.iter().position(|line| line.trim() == SECTION) else {
        return vec![Finding::of(PLACE, format!("has no {SECTION}"))];
    };
    let mut index = start + 1;
    while index < lines.len() && !lines[index].starts_with('[') {
        let length = entry_length(&lines[index..]);
        let entry = &lines[index..index + length];
        let explained =
            entry.iter().any(|line| has_comment(line)) || lines[index - 1].starts_with("# ");
        let own = entry.iter().any(|line| line.contains("path = "));
        if entry[0].contains('=') && !explained && !own {
            let name = entry[0].split(['=', '.']).next().unwrap_or_default().trim();
            findings.push(Finding::at(
                PLACE,
                index,
                format!("{name} has no reason: say in a comment why it is here"),
            ));
        }
        index += length;
    }
    findings
}

/// The number of lines of an entry, which ends where its brackets are closed.
fn entry_length(lines: &[&str]) -> usize {
    let mut depth = 0_i32;
    for (index, line) in lines.iter().enumerate() {
        let code = &line[..comment_start(line).unwrap_or(line.len())];
        for character in code.chars() {
            match character {
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                _ => {}
            }
        }
        if depth <= 0 {
            return index + 1;
        }
    }
    lines.len()
}

fn has_comment(line: &str) -> bool {
    comment_start(line).is_some_and(|start| !line[start + 1..].trim().is_empty())
}

/// The place where a comment starts, outside of strings.
fn comment_start(line: &str) -> Option<usize> {
    let mut quoted = false;
    for (index, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entries: &str, expected: &[&str]) {
        let manifest = format!(
            "[workspace]\nx = 1\n\n[workspace.dependencies]\n{entries}\n[profile.dev]\nlto = 1\n"
        );
        let found: Vec<_> = reasons(&manifest)
            .iter()
            .map(|finding| finding.message.clone())
            .collect();
        let names: Vec<_> = found
            .iter()
            .map(|message| message.split(' ').next().unwrap())
            .collect();
        assert_eq!(names, expected, "{entries}");
    }

    #[test]
    fn reasons_entry_without_comment_is_found() {
        check(
            "anyhow = \"1\" # errors of the binary\nbytes = \"1\"",
            &["bytes"],
        );
        check(
            "bytes = \"1\" #\nflume = { version = \"0.12\", features = [\"async\"] }",
            &["bytes", "flume"],
        );
        check("bytes.version = \"1\"", &["bytes"]);
        check(
            "rustix = { version = \"1\", features = [\n  \"net\",\n] }\nbytes = \"1\" # why",
            &["rustix"],
        );
        check(
            "odd = { git = \"https://example.org/#no-comment\" }",
            &["odd"],
        );
    }

    #[test]
    fn reasons_comment_beside_above_or_inside_is_enough() {
        check("anyhow = \"1\" # errors of the binary", &[]);
        check("# errors of the binary\nanyhow = \"1\"\n", &[]);
        check(
            "rustix = { version = \"1\", features = [ # system calls\n  \"net\",\n] }",
            &[],
        );
        check("codec = { path = \"crates/codec\" }", &[]);
    }

    #[test]
    fn reasons_manifest_without_section_is_found() {
        assert_eq!(reasons("[workspace]\n").len(), 1);
    }
}
