//! A fault that is planted to see whether the simulation finds it: its file, and how it gets into
//! the text of a source.
//!
//! ```text
//!  # why it is a fault
//!  crates/hub/src/rooms.rs
//!  ----
//!  the text to find
//!  ====
//!  what replaces it, in which PLANTED stands for a condition
//! ```

use anyhow::{Context, Result, bail};

/// Names the planted fault to the program that holds all of them.
pub const VARIABLE: &str = "PLANTED_FAULT";

/// The word of a replacement that stands for "this fault is the planted one".
const CONDITION: &str = "PLANTED";

#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: String,
    /// The source that it changes, from the root of the workspace.
    pub file: String,
    find: String,
    replacement: String,
}

impl Fault {
    /// Reads a fault's file.
    pub fn read(name: &str, text: &str) -> Result<Self> {
        let parts = text.split_once("\n----\n");
        let parts = parts.and_then(|(head, rest)| Some((head, rest.split_once("\n====\n")?)));
        let (head, (find, replacement)) =
            parts.with_context(|| "lacks `----` or `====` on a line of its own")?;
        let (why, names): (Vec<_>, Vec<_>) = head.lines().partition(|line| line.starts_with('#'));
        let [file] = names[..] else {
            bail!("must name one file above `----`");
        };
        if why.is_empty() {
            bail!("does not say why it is a fault");
        }
        if find.trim().is_empty() {
            bail!("has no text to find");
        }
        if !replacement.contains(CONDITION) {
            bail!("its replacement lacks {CONDITION}, so that it would always be there");
        }
        Ok(Self {
            name: name.to_owned(),
            file: file.to_owned(),
            find: find.to_owned(),
            replacement: replacement.trim_end_matches('\n').to_owned(),
        })
    }

    /// The source with the fault in it, which does nothing unless [`VARIABLE`] names it.
    pub fn planted_in(&self, source: &str) -> Result<String> {
        let Self { name, file, .. } = self;
        match source.matches(&self.find).count() {
            1 => {}
            0 => bail!("{file} no longer has the text that {name} replaces: it has changed"),
            times => {
                bail!("{file} has the text that {name} replaces {times} times: it has changed")
            }
        }
        let replacement = self.replacement.replace(CONDITION, &self.condition());
        Ok(source.replace(&self.find, &replacement))
    }

    /// An expression that looks at the environment once.
    fn condition(&self) -> String {
        let name = &self.name;
        format!(
            "({{ static IS_PLANTED: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| \
             std::env::var({VARIABLE:?}).as_deref() == Ok({name:?})); *IS_PLANTED }})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST_WAKE: &str = "# Nobody is woken.\ncrates/hub/src/a.rs\n----\n    a.wake();\n    b();\n\
        ====\n    if !PLANTED {\n        a.wake();\n    }\n    b();\n";

    fn fault() -> Fault {
        Fault::read("lost-wake", LOST_WAKE).unwrap()
    }

    #[test]
    fn fault_is_read_with_the_indentation_of_its_texts() {
        let expected = Fault {
            name: "lost-wake".to_owned(),
            file: "crates/hub/src/a.rs".to_owned(),
            find: "    a.wake();\n    b();".to_owned(),
            replacement: "    if !PLANTED {\n        a.wake();\n    }\n    b();".to_owned(),
        };
        assert_eq!(fault(), expected);
    }

    #[test]
    fn fault_of_another_form_is_an_error_that_says_what_is_wrong() {
        for (text, problem) in [
            (LOST_WAKE.replace("----", "---"), "lacks `----`"),
            (LOST_WAKE.replace("====", "==="), "or `====`"),
            (LOST_WAKE.replace("crates/hub/src/a.rs\n", ""), "one file"),
            (LOST_WAKE.replace("a.rs\n", "a.rs\nb.rs\n"), "one file"),
            (LOST_WAKE.replace("# Nobody is woken.\n", ""), "why"),
            (
                LOST_WAKE.replace("    a.wake();\n    b();\n====", "\n===="),
                "no text to find",
            ),
            (LOST_WAKE.replace("!PLANTED", "false"), "lacks PLANTED"),
        ] {
            let error = Fault::read("lost-wake", &text).unwrap_err().to_string();
            assert!(error.contains(problem), "{problem}: {error}");
        }
    }

    #[test]
    fn planted_text_is_replaced_and_asks_for_its_name() {
        let planted = fault()
            .planted_in("fn f() {\n    a.wake();\n    b();\n}\n")
            .unwrap();
        let condition = "if !({ static IS_PLANTED: std::sync::LazyLock<bool> =";
        assert!(
            planted.starts_with(&format!("fn f() {{\n    {condition}")),
            "{planted}"
        );
        assert!(planted.contains("var(\"PLANTED_FAULT\").as_deref() == Ok(\"lost-wake\")"));
        assert!(
            planted.ends_with("        a.wake();\n    }\n    b();\n}\n"),
            "{planted}"
        );
    }

    #[test]
    fn planted_text_that_is_not_there_once_is_an_error_that_names_the_file() {
        let once = "    a.wake();\n    b();\n";
        for source in [String::new(), "a.wake();".to_owned(), once.repeat(2)] {
            let error = fault().planted_in(&source).unwrap_err().to_string();
            assert!(error.contains("crates/hub/src/a.rs"), "{error}");
            assert!(
                error.contains("lost-wake") && error.contains("has changed"),
                "{error}"
            );
        }
    }
}
