//! The messages about loading settings: refusals, warnings, and the place of a value.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Settings, environment, url};
use crate::faults::Faults;
use crate::logging::{self, LogFormat};

/// The exit code of a process whose settings are refused; a wrong flag has the same.
const EXIT_REFUSED: u8 = 2;

/// Where a setting's value is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the setting has its default.
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
    /// In `RUST_LOG`, which many programs read.
    RustLog,
    /// On the command line.
    Flag,
}

impl Place {
    /// The place, as a person would look for it.
    pub(super) fn of(&self, key: &str) -> String {
        match self {
            Self::Default => "the default".to_owned(),
            Self::File { path, line } => format!("{} line {line}", path.display()),
            Self::Environment => environment::variable(key),
            Self::RustLog => environment::RUST_LOG.to_owned(),
            Self::Flag => flag(key),
        }
    }
}

/// The name of a setting's flag.
pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// A setting that differs from its default, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The setting.
    pub key: String,
    /// The value as it was written; a list has commas.
    pub value: String,
    /// Where it was written.
    pub place: Place,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, place } = self;
        let value = match url::is_url(key) {
            true => Cow::from(url::without_query(value)),
            false => Cow::from(value),
        };
        write!(f, "{key} = {value} ({})", place.of(key))
    }
}

/// A setting that is permitted but risky, or a variable that is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A variable that has the prefix of settings but belongs to none.
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// `allow_origin` has `*`.
    AnyOrigin,
    /// `allow_origin` has `null`.
    NullOrigin,
    /// `allow_origin` has `file://`.
    FileOrigin,
    /// `message_fragments_max` is 0.
    FragmentsUnbounded,
    /// A bound on the connections of an address is 0.
    AddressUnbounded {
        /// Its key.
        key: &'static str,
    },
    /// `trusted_proxies` has a network that contains every address.
    AnyProxy,
    /// `insecure` is on.
    Insecure,
    /// Keys are fetched over plain HTTP from another machine.
    PlainKeys {
        /// The setting with their URL.
        key: &'static str,
    },
    /// Events are sent over plain HTTP to another machine.
    PlainEvents,
    /// `api_origins` has an entry that any page can send.
    ApiOrigin {
        /// The entry.
        entry: &'static str,
    },
    /// A back end is asked over plain HTTP on another machine.
    PlainHook {
        /// The option with its URL.
        key: String,
    },
    /// A setting changes nothing because of another one.
    NoEffect {
        /// Its key.
        key: String,
        /// The other one, and a remedy.
        why: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVariable { name } => write!(
                f,
                "the environment variable {name} is not a setting and is ignored; Kubernetes creates \
                 such names for a service called hubbub"
            ),
            Self::AnyOrigin => f.write_str(
                "allow_origin has `*`: every page on the web may connect in its visitor's name",
            ),
            Self::NullOrigin => f.write_str(
                "allow_origin has `null`: any page in a sandboxed frame may connect in its visitor's \
                 name, and any page can open one; some browsers send `null` for local files, too",
            ),
            Self::FileOrigin => f.write_str(
                "allow_origin has `file://`: any file that a visitor opens may connect in the \
                 visitor's name, including downloaded files",
            ),
            Self::FragmentsUnbounded => f.write_str(
                "message_fragments_max is 0: a peer may send a message in any number of fragments",
            ),
            Self::AddressUnbounded { key } => {
                write!(
                    f,
                    "{key} is 0: one address may take all that there is"
                )
            }
            Self::AnyProxy => f.write_str(
                "trusted_proxies has a network that contains every address: any peer can pretend to \
                 be another",
            ),
            Self::Insecure => f.write_str(
                "insecure is on: whoever can reach this server may subscribe, publish and read everywhere, \
                 without a token; never let strangers reach it",
            ),
            Self::PlainKeys { key } => write!(
                f,
                "{key} is http:// to another machine (token_jwks_http): whoever is on the way can put their \
                 own keys in place of yours, and be anybody"
            ),
            Self::PlainEvents => f.write_str(
                "events_url is http:// to another machine: whoever is on the way can read who connects and \
                 subscribes; batches are signed, so that nobody can change them",
            ),
            Self::ApiOrigin { entry } => write!(
                f,
                "api_origins has `{entry}`: any page on the web may call the API if it has a key"
            ),
            Self::PlainHook { key } => write!(
                f,
                "{key} is http:// to another machine (http): whoever is on the way can answer in place of your \
                 back end, and let in anybody"
            ),
            Self::NoEffect { key, why } => write!(f, "{key} has no effect: {why}"),
        }
    }
}

/// One thing that is wrong: its place, and the reason with a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    about: About,
    pub(super) subject: String,
    pub(super) reason: String,
    /// The line of the file, from 1, if it is in one.
    pub(super) line: Option<usize>,
}

/// What a fault is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    /// Values of these settings.
    Settings(Vec<String>),
    /// An entry that was meant for this setting but has the wrong type or a misspelt name.
    Unread { meant: String },
    /// The file of settings itself.
    File,
}

impl Fault {
    pub(super) fn new(
        keys: &[&str],
        subject: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        let keys = keys.iter().map(ToString::to_string).collect();
        Self::about(About::Settings(keys), subject, reason)
    }

    /// A fault of an entry that was meant to set `meant` but does not.
    pub(super) fn unread(
        meant: &str,
        subject: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        let meant = meant.to_owned();
        Self::about(About::Unread { meant }, subject, reason)
    }

    /// A fault of the file at `path`, which cannot be read in full.
    pub(super) fn of_file(path: &Path, reason: impl Into<String>) -> Self {
        Self::about(About::File, format!("config {}", path.display()), reason)
    }

    fn about(about: About, subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            about,
            subject: subject.into(),
            reason: reason.into(),
            line: None,
        }
    }

    /// The same, in this line of the file.
    pub(super) fn at(self, line: Option<usize>) -> Self {
        Self { line, ..self }
    }

    /// Whether this fault between settings may be a consequence of one of `others`, and go away with
    /// it. An unread entry causes none if the setting has its value from elsewhere.
    pub(super) fn follows_from(&self, others: &[Self], is_set: impl Fn(&str) -> bool) -> bool {
        let About::Settings(keys) = &self.about else {
            return false;
        };
        others.iter().any(|other| match &other.about {
            About::Settings(wrong) => wrong.iter().any(|key| keys.contains(key)),
            About::Unread { meant } => keys.contains(meant) && !is_set(meant),
            About::File => false,
        })
    }
}

/// Everything that is wrong with the settings and the files that they name, for a person to read.
#[derive(Debug)]
pub struct Refusal {
    faults: Vec<Fault>,
    /// The settings that are not wrong; the files that they name are checked as well.
    sound: Box<Settings>,
    files: Faults,
}

impl Refusal {
    /// Refuses because of `faults`; `sound` has the settings that are not wrong.
    pub(super) fn of(faults: Vec<Fault>, sound: Settings) -> Stop {
        Stop::Refused(Self {
            faults,
            sound: Box::new(sound),
            files: Faults::default(),
        })
    }
}

impl Refusal {
    /// The settings that are not wrong, with defaults in place of the others.
    pub fn sound(&self) -> &Settings {
        &self.sound
    }

    /// What is wrong, each with the line of the file that it is about.
    pub fn reasons(&self) -> impl Iterator<Item = (Option<usize>, String)> {
        let faults = self.faults.iter();
        faults.map(|fault| (fault.line, fault.reason.clone()))
    }

    /// The first line of the message: how many faults of which kind there are.
    fn head(&self) -> String {
        let is_of_file = |fault: &&Fault| fault.about == About::File;
        let of_file = self.faults.iter().filter(is_of_file).count();
        let config = (of_file > 0).then(|| "the configuration file cannot be used".to_owned());
        let settings = match self.faults.len() - of_file {
            0 => None,
            1 => Some("a setting is refused".to_owned()),
            count => Some(format!("{count} settings are refused")),
        };
        let parts = [config, settings, self.files.head()];
        parts
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", and ")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}\n", self.head())?;
        for Fault {
            subject, reason, ..
        } in &self.faults
        {
            let reason = reason.trim_end().replace('\n', "\n    ");
            writeln!(f, "  {subject}\n    {reason}\n")?;
        }
        for line in self.files.lines() {
            writeln!(f, "  {line}\n")?;
        }
        f.write_str(
            "'hubbub --help' lists all settings; 'hubbub config print' also explains the options of rooms.\n",
        )
    }
}

impl std::error::Error for Refusal {}

/// Why loading the settings ended without settings.
#[derive(Debug)]
pub enum Stop {
    /// The command line asks for help or the version, or cannot be parsed.
    CommandLine(clap::Error),
    /// A value is wrong, wherever it is set, or values contradict each other.
    Refused(Refusal),
}

impl Stop {
    /// Adds the faults that `read` finds in the files that the sound settings name.
    #[must_use]
    pub fn beside_files(mut self, read: impl FnOnce(&Settings) -> Faults) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.files = read(&refusal.sound);
        }
        self
    }

    /// Everything that is wrong, in one line for the log.
    pub fn line(&self) -> String {
        let text = match self {
            Self::CommandLine(error) => error.to_string(),
            Self::Refused(Refusal { faults, files, .. }) => {
                let faults = faults.iter();
                let faults = faults.map(|it| format!("{}: {}", it.subject, it.reason));
                let all: Vec<_> = faults.chain(files.lines().iter().cloned()).collect();
                all.join("; ")
            }
        };
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The code to exit with: 0 after help, else 2.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::CommandLine(error) => u8::try_from(error.exit_code()).unwrap_or(EXIT_REFUSED),
            Self::Refused(_) => EXIT_REFUSED,
        }
    }

    /// Prints the message and returns the code to exit with.
    pub fn report(&self) -> ExitCode {
        // If the terminal is gone, there is nobody left to report this to.
        let _ = match self {
            Self::CommandLine(error) => error.print(),
            Self::Refused(refusal) => write!(io::stderr(), "{refusal}"),
        };
        ExitCode::from(self.code())
    }

    /// The same for a start: if the log is JSON, the refusal is a line of the log.
    pub fn report_in_log(&self) -> ExitCode {
        match self {
            Self::Refused(refusal) if refusal.sound.log_format == LogFormat::Json => {
                logging::fail(LogFormat::Json, &anyhow::Error::msg(self.line()));
                ExitCode::from(self.code())
            }
            _ => self.report(),
        }
    }
}
