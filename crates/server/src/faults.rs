//! Collects everything that is wrong with the files that the settings name, to report it at once.

use std::fmt;

/// The faults, each with the setting that names the file and a remedy.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Returns the value, or records the error and returns nothing.
    pub fn note<T>(&mut self, attempt: anyhow::Result<T>) -> Option<T> {
        attempt
            .map_err(|error| self.0.push(format!("{error:#}")))
            .ok()
    }

    /// The same for a result that may contain several faults.
    pub fn note_all<T>(&mut self, attempt: Result<T, Self>) -> Option<T> {
        attempt
            .map_err(|mut faults| self.0.append(&mut faults.0))
            .ok()
    }

    /// Returns `value` if no attempt failed.
    ///
    /// # Errors
    /// With all faults, if one did.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Self> {
        value.filter(|_| self.0.is_empty()).ok_or(self)
    }

    /// The number of faults, in words, if there are any.
    pub fn head(&self) -> Option<String> {
        match self.0.len() {
            0 => None,
            1 => Some("a file cannot be used".to_owned()),
            count => Some(format!("{count} files or directories cannot be used")),
        }
    }

    /// The faults, each in one line.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl std::error::Error for Faults {}

/// Writes a list for people, or with `{:#}` one line for the log.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            faults if f.alternate() => f.write_str(&faults.join("; ")),
            [fault] => f.write_str(fault),
            faults => {
                writeln!(f, "{}:", self.head().unwrap_or_default())?;
                faults
                    .iter()
                    .try_for_each(|fault| writeln!(f, "\n  {fault}"))
            }
        }
    }
}
