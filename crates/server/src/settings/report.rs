//! What loading the settings has to say: refusals, warnings, and where a value comes from.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use super::environment;

/// The code that a process ends with when its settings are refused, as after a wrong flag.
const EXIT_REFUSED: u8 = 2;

/// Where a setting's value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it has its default.
    Default,
    /// In the file of `--config`.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// In the environment.
    Environment,
    /// On the command line.
    Flag,
}

impl Place {
    /// The place as a person would look for it.
    pub(super) fn of(&self, key: &str) -> String {
        match self {
            Self::Default => "the default".to_owned(),
            Self::File { path, line } => format!("{} line {line}", path.display()),
            Self::Environment => environment::variable(key),
            Self::Flag => flag(key),
        }
    }
}

/// The name of a setting's flag.
pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// A setting that does not have its default, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The setting.
    pub key: String,
    /// What was written; a list with commas.
    pub value: String,
    /// Where.
    pub place: Place,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, place } = self;
        write!(f, "{key} = {value} ({})", place.of(key))
    }
}

/// What is permitted but should be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A variable that begins like a setting's but belongs to none.
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// `allow_origin` has `*`.
    AnyOrigin,
    /// `message_fragments_max` is 0.
    FragmentsUnbounded,
    /// `allow_origin` has `null`.
    NullOrigin,
    /// `allow_origin` has `file://`.
    FileOrigin,
    /// A bound on the connections of an address is 0.
    AddressUnbounded {
        /// Its key.
        key: &'static str,
    },
    /// `trusted_proxies` has a network that everybody is in.
    AnyProxy,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVariable { name } => write!(
                f,
                "the environment variable {name} is no setting and is ignored; Kubernetes makes \
                 such names for a service called hubbub"
            ),
            Self::AnyOrigin => f.write_str(
                "allow_origin has `*`: every page on the web may connect in its visitor's name",
            ),
            Self::FragmentsUnbounded => f.write_str(
                "message_fragments_max is 0: a peer may send a message in any number of fragments",
            Self::NullOrigin => f.write_str(
                "allow_origin has `null`: any page in a sandbox may connect in its visitor's name, \
                 and any page can put itself into one; some browsers send it for local files too",
            ),
            Self::FileOrigin => f.write_str(
                "allow_origin has `file://`: any file that a visitor opens may connect in the \
                 visitor's name, downloaded ones too",
            ),
            ),
            Self::AddressUnbounded { key } => {
                write!(
                    f,
                    "{key} is 0: one address may take all connections there are"
                )
            }
            Self::AnyProxy => f.write_str(
                "trusted_proxies has a network that everybody is in: any peer may pass for another",
            ),
        }
    }
}

/// One thing that is wrong: where, and why with a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) subject: String,
    pub(super) reason: String,
}

/// All that is wrong with the settings, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    faults: Vec<Fault>,
}

impl Refusal {
    /// Refuses if there is anything to refuse.
    pub(super) fn of(faults: Vec<Fault>) -> Result<(), Stop> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Stop::Refused(Self { faults }))
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => writeln!(f, "error: a setting is refused\n")?,
            count => writeln!(f, "error: {count} settings are refused\n")?,
        }
        for Fault { subject, reason } in &self.faults {
            let reason = reason.trim_end().replace('\n', "\n    ");
            writeln!(f, "  {subject}\n    {reason}\n")?;
        }
        f.write_str("For what can be set, try 'hubbub --help'.\n")
    }
}

impl std::error::Error for Refusal {}

/// Why there are no settings to go on with.
#[derive(Debug)]
pub enum Stop {
    /// The command line asks for help or the version, or is wrong.
    CommandLine(clap::Error),
    /// A value from the file or the environment is wrong, or values disagree.
    Refused(Refusal),
}

impl Stop {
    /// All that is wrong, in one line for the log.
    pub fn line(&self) -> String {
        let text = match self {
            Self::CommandLine(error) => error.to_string(),
            Self::Refused(Refusal { faults }) => {
                let faults = faults.iter();
                let faults = faults.map(|Fault { subject, reason }| format!("{subject}: {reason}"));
                faults.collect::<Vec<_>>().join("; ")
            }
        };
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Prints what there is to say and tells the code to exit with: 0 after help, else 2.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::CommandLine(error) => {
                // Nothing is left to tell it to if the terminal is gone.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_REFUSED))
            }
            Self::Refused(refusal) => {
                let _ = std::io::Write::write_all(
                    &mut std::io::stderr(),
                    refusal.to_string().as_bytes(),
                );
                ExitCode::from(EXIT_REFUSED)
            }
        }
    }
}
