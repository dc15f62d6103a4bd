//! `hubbub completions` and `hubbub man`: scripts for shells and manual pages, from the definition of `--help`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man as Page;

use super::{Done, output};
use crate::settings;

/// Print the script with which a shell completes commands, flags and values
///
/// bash: `hubbub completions bash > /usr/share/bash-completion/completions/hubbub`; zsh: into a file `_hubbub` in a
/// directory of `$fpath`; fish: `hubbub completions fish > ~/.config/fish/completions/hubbub.fish`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Known,
}

/// A shell for which there is a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(&self) -> Done {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        let mut command = settings::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        generate(shell, &mut command, name, &mut script);
        output::say(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Print the manual page of hubbub, or of a command of it
///
/// To read one: `hubbub man token make | man -l -`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Man {
    /// Write the pages of all commands into this directory instead, as hubbub.1, hubbub-token.1 and so on
    #[arg(long, value_name = "PATH", conflicts_with = "words")]
    dir: Option<PathBuf>,

    /// The command, such as `token make`; hubbub itself if it is left out
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

impl Man {
    pub(super) fn run(&self) -> Done {
        let mut root = settings::command();
        root.build();
        match &self.dir {
            Some(dir) => write_pages(&root, dir)?,
            None => output::say(&page(find(&root, &self.words)?)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn find<'c>(root: &'c Command, words: &[String]) -> anyhow::Result<&'c Command> {
    words.iter().try_fold(root, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let known = command.get_subcommands().map(Command::get_name);
            let known: Vec<_> = known.filter(|name| *name != "help").collect();
            let has = match known.is_empty() {
                true => "it has none".to_owned(),
                false => format!("there are: {}", known.join(", ")),
            };
            anyhow!("{} has no command {word:?}: {has}", command.get_name())
        })
    })
}

/// A command's page in the language of man(7), named with all words that lead to it.
fn page(command: &Command) -> anyhow::Result<String> {
    let name = page_name(command);
    let mut text = Vec::new();
    Page::new(command.clone())
        .title(name)
        .manual("Hubbub")
        .source(concat!("hubbub ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)
        .context("the page cannot be made")?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn page_name(command: &Command) -> String {
    let words = command.get_display_name().unwrap_or(command.get_name());
    words.replace(' ', "-")
}

fn write_pages(command: &Command, dir: &Path) -> anyhow::Result<()> {
    let file = dir.join(format!("{}.1", page_name(command)));
    fs::write(&file, page(command)?).with_context(|| {
        let file = file.display();
        format!("{file} cannot be written: name a directory that exists with --dir")
    })?;
    let mut below = command.get_subcommands();
    below.try_for_each(|command| match command.get_name() {
        "help" => Ok(()),
        _ => write_pages(command, dir),
    })
}
