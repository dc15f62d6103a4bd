//! The task that a command line asks for: to serve, or to print or check settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory, value_parser};

use super::report::Stop;
use super::{Loaded, Settings, Sources, help, negative, print};

/// The task of one run of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Serve.
    Serve,
    /// Print the settings that these arguments would result in.
    Print(Vec<OsString>),
    /// Check whether the server could start with this file.
    Check(PathBuf),
}

impl Task {
    /// Reads the task from a command line, which begins with the program's name.
    ///
    /// # Errors
    /// When help is asked for, or there is no such task.
    pub fn of(args: &[OsString]) -> Result<Self, Stop> {
        if args.get(1).is_none_or(|word| word != "config") {
            return Ok(Self::Serve);
        }
        let command = Command::new("hubbub").subcommand(config());
        let matches = command.try_get_matches_from(negative::join(args));
        let matches = matches.map_err(Stop::CommandLine)?;
        let task = matches.subcommand_matches("config");
        let check = task.and_then(|task| task.subcommand_matches("check"));
        Ok(match check.and_then(|check| check.get_one("FILE")) {
            Some(file) => Self::Check(PathBuf::clone(file)),
            // `config print` accepts the same arguments as `hubbub` itself.
            None => {
                let flags = args.iter().skip(3);
                Self::Print(args.iter().take(1).chain(flags).cloned().collect())
            }
        })
    }
}

/// The command `hubbub config`.
pub(super) fn config() -> Command {
    let file = Arg::new("FILE").required(true);
    let check = Command::new("check")
        .about(
            "Check FILE as a start with --config would, and the files that it names (certificates, \
             keys and static_dir), and report everything that is wrong; exit with 0 if all is \
             good, with 2 if a setting is refused, with 1 if only such a file is",
        )
        .arg(file.value_parser(value_parser!(PathBuf)));
    let print = Command::new("print")
        .about("Print all settings that a start would use, as a file that explains each")
        .args(Settings::command().mut_args(help::describe).get_arguments());
    Command::new("config")
        .about("Print all settings as a documented file, or check such a file")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([print, check])
}

impl Settings {
    /// The settings that a start would use, as a file that sets all of them and explains each.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn print(sources: &Sources<'_>) -> Result<String, Stop> {
        let loaded = Self::load(sources)?;
        Ok(print::file(&loaded.overrides, &loaded.settings.namespaces))
    }

    /// The settings that a start with `file` and these variables would use.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn check(file: &Path, sources: Sources<'_>) -> Result<Loaded, Stop> {
        let mut config = OsString::from("--config=");
        config.push(file);
        let args = vec!["hubbub".into(), config];
        Self::load(&Sources { args, ..sources })
    }
}
