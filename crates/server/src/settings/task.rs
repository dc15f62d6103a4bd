//! The task that a command line asks for: to serve, to print or check settings, or what another subcommand does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{
    Arg, Args as _, Command, CommandFactory, FromArgMatches as _, Subcommand as _, value_parser,
};

use super::report::Stop;
use super::{Loaded, Settings, Sources, help, negative, print};
use crate::commands::{Word, import::Import};

/// The task of one run of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Serve.
    Serve,
    /// Print the settings that these arguments would result in.
    Print(Vec<OsString>),
    /// Check whether the server could start with this file.
    Check(PathBuf),
    /// Print the settings that another server's configuration comes to.
    Import(Import),
    /// Do what another subcommand says.
    Do(Word),
}

impl Task {
    /// Reads the task from a command line, which begins with the program's name.
    ///
    /// # Errors
    /// When help is asked for, or there is no such task.
    pub fn of(args: &[OsString]) -> Result<Self, Stop> {
        let Some(word) = args.get(1) else {
            return Ok(Self::Serve);
        };
        if word == CONFIG {
            return Self::of_config(args);
        }
        if !word.to_str().is_some_and(Word::has_subcommand) {
            return Ok(Self::Serve);
        }
        let command = Word::augment_subcommands(Command::new("hubbub"));
        let matches = command.try_get_matches_from(args);
        let word = matches.and_then(|matches| Word::from_arg_matches(&matches));
        word.map(Self::Do).map_err(Stop::CommandLine)
    }

    fn of_config(args: &[OsString]) -> Result<Self, Stop> {
        let command = Command::new("hubbub").subcommand(config());
        let matches = command.try_get_matches_from(negative::join(args));
        let matches = matches.map_err(Stop::CommandLine)?;
        let task = matches.subcommand_matches(CONFIG);
        let task = task.and_then(|task| task.subcommand());
        Ok(match task {
            Some((CHECK, check)) => {
                let file = check.get_one::<PathBuf>("FILE").cloned();
                Self::Check(file.unwrap_or_default())
            }
            Some((IMPORT, import)) => {
                Self::Import(Import::from_arg_matches(import).map_err(Stop::CommandLine)?)
            }
            // `config print` accepts the same arguments as `hubbub` itself.
            _ => {
                let flags = args.iter().skip(3);
                Self::Print(args.iter().take(1).chain(flags).cloned().collect())
            }
        })
    }
}

const CONFIG: &str = "config";
const CHECK: &str = "check";
const IMPORT: &str = "import";

/// The command `hubbub config`.
pub(super) fn config() -> Command {
    let file = Arg::new("FILE").required(true);
    let check = Command::new(CHECK)
        .about("Report everything that is wrong with a file of settings, and with the files that it names")
        .long_about(
            "Report everything that is wrong with a file of settings, and with the files that it names\n\n\
             FILE is checked as a start with --config FILE would, with the certificates, keys and pages that it \
             names. It exits with 0 if all is good, with 2 if a setting is refused, and with 1 if only such a file \
             is.",
        )
        .arg(file.value_parser(value_parser!(PathBuf)).help("The file, as for --config"));
    let print = Command::new("print")
        .about("Print all settings that a start would use, as a file that explains each")
        .args(Settings::command().mut_args(help::describe).get_arguments());
    let import = Import::augment_args(Command::new(IMPORT));
    Command::new(CONFIG)
        .about("Print all settings as a documented file, check such a file, or import one of Centrifugo")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([print, check, import])
}

impl Settings {
    /// The settings that a start would use, as a file that sets all of them and explains each.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn print(sources: &Sources<'_>) -> Result<String, Stop> {
        let loaded = Self::load(sources)?;
        Ok(print::file(&loaded.overrides, &loaded.settings))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn task(words: &[&str]) -> Result<Task, Stop> {
        let args: Vec<_> = std::iter::once(&"hubbub").chain(words).collect();
        Task::of(&args.into_iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn command_line_without_a_command_serves() {
        for words in [&[][..], &["--dev"], &["--listen", "token"], &["tokn"]] {
            assert_eq!(task(words).unwrap(), Task::Serve, "{words:?}");
        }
    }

    #[test]
    fn command_is_what_the_first_word_names() {
        let file = PathBuf::from("a.toml");
        assert_eq!(
            task(&["config", "check", "a.toml"]).unwrap(),
            Task::Check(file)
        );
        let print = task(&["config", "print", "--dev"]).unwrap();
        assert_eq!(print, Task::Print(vec!["hubbub".into(), "--dev".into()]));
        let import = task(&["config", "import", "a.json"]).unwrap();
        assert!(matches!(import, Task::Import(_)));
        for words in [
            &["token", "make", "--user", "a"][..],
            &["token", "explain"],
            &["publish", "a", "-5"],
            &["presence", "a"],
            &["rooms"],
            &["health", "--live"],
            &["completions", "zsh"],
            &["man", "token", "make"],
        ] {
            assert!(matches!(task(words), Ok(Task::Do(_))), "{words:?}");
        }
        for words in [&["config"][..], &["token"], &["publish"], &["health", "x"]] {
            assert!(
                matches!(task(words), Err(Stop::CommandLine(_))),
                "{words:?}"
            );
        }
    }
}
