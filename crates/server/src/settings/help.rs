//! The command and its texts: what `--help` says beside the fields' own comments.

use clap::{Arg, Command, CommandFactory};

use super::environment::variable;
use super::{Settings, reload, task};

pub(super) const ABOUT: &str = "Hubbub: a WebSocket server for rooms and echo";

pub(super) const LONG_ABOUT: &str = "\
Hubbub: a WebSocket server for rooms and echo.

Clients connect to ws://HOST:PORT/rooms/NAME and receive what anyone in that room sends, or to /echo \
and receive what they send. A page to try both is served at /.

Every setting is a flag, an environment variable (env) and a key of the file that --config names \
(key). The flag goes before the variable, the variable before the file, the file before the \
default; a list replaces a list. An empty variable counts as not set.

SIZE is a number of bytes or has a unit: 65536, 64KiB, 1MiB. DURATION has a unit, and is 1ms to 1day: \
250ms, 10s, 5m. A list is separated by commas or its flag is repeated. What is out of range, \
misspelt or contradictory is refused at start with exit code 2.

SIGHUP reads the file again, and certificates and pages: what is marked [reload] changes at once, what \
is marked [restart] does not. A file that would be refused at start changes nothing. SIGTERM shuts down: \
see drain_delay and drain_timeout. SIGINT (Ctrl-C) does so sooner: see interrupt_drain_timeout.";

pub(super) const AFTER: &str = "'hubbub --help' tells more of each, and how to set it otherwise.";

pub(super) const EXAMPLES: &str = "\
Examples:
  A file with every setting, its explanation and its default; whether a file is good, and with it
  the certificates, keys and pages that it names:
      hubbub config print > hubbub.toml
      hubbub config check hubbub.toml

  On this machine only, with the built-in page at http://127.0.0.1:8000/:
      hubbub

  On every interface, for the pages of one other site, with messages of up to 1 MiB:
      hubbub --listen 0.0.0.0:8000 --allow-origin https://app.example.com --message-bytes-max 1MiB";

/// The command, in which each argument tells its default, its variable and its key.
pub(super) fn command() -> Command {
    Settings::command()
        .mut_args(describe)
        .subcommand(task::config())
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
}

pub(super) fn describe(arg: Arg) -> Arg {
    let key = arg.get_id().as_str().to_owned();
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    let default = match defaults.is_empty() {
        true => String::new(),
        false => format!(" [default: {}]", defaults.join(",")),
    };
    let env = variable(&key);
    let change = match reload::is_at_run_time(&key) {
        true => "[reload]",
        false => "[restart]",
    };
    let sources = match key.as_str() {
        "config" => format!("[env: {env}]"),
        _ => format!("[env: {env}] [key: {key}]"),
    };
    let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let long = arg
        .get_long_help()
        .map_or_else(|| short.clone(), ToString::to_string);
    arg.help(format!("{short}{default}"))
        .long_help(format!("{long}\n\n{sources}\n{change}{default}"))
        .hide_default_value(true)
}
