//! The command and those texts of `--help` that are not comments of fields.

use clap::{Arg, Command, CommandFactory, Subcommand as _};

use super::environment::variable;
use super::{Settings, reload, task};
use crate::commands::Word;

pub(super) const ABOUT: &str = "Hubbub: a real-time server for rooms";

pub(super) const LONG_ABOUT: &str = "\
Hubbub: a real-time server for rooms.

Clients connect to ws://HOST:PORT/rooms/NAME and receive what anyone in that room sends, or only listen to \
http://HOST:PORT/rooms/NAME/sse. SDKs of the Centrifuge protocol connect to /connection/websocket. A page to try \
it is served at /.

Without any setting the server is open to everybody on this machine: see --dev. For others, write a file with the \
key that tokens are signed with (token_secret) and with the rules of rooms, and name it by --config.

Every setting is a flag, an environment variable (env) and a key of the file that --config names \
(key). The flag takes precedence over the variable, the variable over the file, and the file over the \
default; a list replaces the whole list below it. An empty variable counts as not set.

SIZE is a number of bytes or has a unit: 65536, 64KiB, 1MiB; kB, MB and GB are powers of ten. DURATION has a unit, and is 1ms to 1day: \
250ms, 10s, 5m. To give a list, separate its items by commas or repeat the flag. A value that is out of \
range, misspelt or contradicts another one is refused at start with exit code 2.

SIGHUP makes the server read the file again, with certificates and pages. Settings marked [reload] then \
change at once, those marked [restart] do not. A file that a start would refuse changes nothing. SIGTERM \
shuts the server down: see drain_delay and drain_timeout. SIGINT (Ctrl-C) does so faster: see \
interrupt_drain_timeout.";

pub(super) const AFTER: &str =
    "'hubbub --help' explains each setting, and the other ways to set it.";

pub(super) const EXAMPLES: &str = "\
Examples:
  Print a file with every setting, its explanation and its default, and check a file together with
  the certificates, keys and pages that it names:
      hubbub config print > hubbub.toml
      hubbub config check hubbub.toml

  Serve on this machine only, with the built-in page at http://127.0.0.1:8000/:
      hubbub

  Serve rooms with rules: the file's tables [rooms] and [namespaces.NAME] have them, with options
  such as batch_interval and oneshot, which `config print` explains at its end:
      hubbub --config hubbub.toml

  Make a token to try it with, and publish a message in a room of a server that runs:
      hubbub token make --config hubbub.toml --user ada
      hubbub publish --config hubbub.toml chat:index '{\"text\": \"hello\"}'

  Serve on every interface, for the pages of one other site, with messages of up to 1 MiB:
      hubbub --listen 0.0.0.0:8000 --allow-origin https://app.example.com --message-bytes-max 1MiB";

/// The command, in which the help of each argument names its default, its variable and its key.
pub fn command() -> Command {
    let words = Word::augment_subcommands(Command::new("words"));
    Settings::command()
        .mut_args(describe)
        .subcommand(task::config())
        .subcommands(words.get_subcommands().cloned())
        .args_conflicts_with_subcommands(true)
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
