//! The settings as a file: every key with its explanation, its default and the value in force.

use clap::{Arg, Command, CommandFactory};
use toml::Value;

use super::environment::variable;
use super::file::Kind;
use super::namespaces::{quoted_name, table};
use super::report::{Override, flag};
use super::{
    ApiKey, ApiKeys, Declared, DeclaredHooks, HOOK_OPTIONS, HookOption, KEY_OPTIONS,
    NamespaceOption, OPTIONS, Settings, TableOption, hooks, reload,
};

const WIDTH: usize = 98;

const HEAD: &str = "\
Settings of Hubbub, as the flags, environment and file at the time of printing set them. Save this \
file, change it, check it with 'hubbub config check FILE' and start with 'hubbub --config FILE'.

SIZE is a number of bytes or has a unit: 65536, \"64KiB\", \"1MiB\". DURATION has a unit: \"250ms\", \
\"10s\", \"5m\". A key whose line is commented out is not set. Settings that change at run time are \
read again from this file when the process gets SIGHUP; a file with a mistake changes nothing.";

const TABLES: &str = "Rules of rooms";

const TABLES_HEAD: &str = "\
The table [rooms] has the rules of the rooms without a namespace, and [namespaces.NAME] those of the \
rooms of a namespace: of all whose names begin with NAME: (chat:index is a room of the namespace chat). \
A name of a namespace has 2 to 64 letters, digits, -, _ and . (with a dot it needs quotes), and there \
are at most 256. All tables have the same options, and one that is left out has its default.

Without any of these tables, every client may subscribe and publish in every room. With one of them, \
nobody may do what no table permits; the namespace of a room must have a table; a room whose name \
begins with $ takes a subscription token; and # has the meaning that user_limited and personal give it.

These tables stand at the end, because all keys below a table's name belong to it. They have no flags \
and no variables. They change at run time.";

const KEYS: &str = "Keys of the API";

const KEYS_HEAD: &str = "\
A table [api_keys.NAME] has a key by which back ends may call the API (api_listen), and says what for. NAME \
is for people and for the log; it has 2 to 64 letters, digits, -, _ and . (with a dot it needs quotes). These \
tables change at run time.";

const HOOKS: &str = "Hooks";

const HOOKS_HEAD: &str = "\
A hook asks a back end over HTTP, and its answer decides: [hooks.connect] who a client is that comes without a token, \
[hooks.refresh] whether a connection goes on whose time is over, [hooks.subscribe], [hooks.publish] and \
[hooks.sub_refresh] the same for the rooms of namespaces that say subscribe_hook, publish_hook and \
sub_refresh_hook, and [hooks.rpc] what a method returns. docs/hooks.md says what a back end gets and answers. All of \
these tables have the same options; one that is left out has the value of the table [hooks], or else its default. \
They have no flags and no variables. They change at run time.";

const EXAMPLE: &str = "\
[namespaces.chat]
subscribe = [\"client\", \"anonymous\"]
publish = \"subscriber\"
history_size = 1000
recovery = \"allowed\"";

/// A file that sets every key; `overrides` are the values that differ from their defaults, and the settings have the
/// tables.
pub(super) fn file(overrides: &[Override], settings: &Settings) -> String {
    let mut file = String::new();
    comment(&mut file, HEAD);
    let command = Settings::command();
    for heading in headings(&command) {
        file.push_str(&format!("\n\n# {}\n", "=".repeat(WIDTH - 2)));
        comment(&mut file, heading);
        for arg in arguments(&command).filter(|arg| arg.get_help_heading() == Some(heading)) {
            let set = overrides
                .iter()
                .find(|set| arg.get_id() == set.key.as_str());
            entry(&mut file, arg, set);
        }
    }
    key_tables(&mut file, &settings.api_keys);
    file.push_str(&format!("\n\n# {}\n", "=".repeat(WIDTH - 2)));
    comment(&mut file, &format!("{TABLES}\n\n{TABLES_HEAD}"));
    tables(&mut file, overrides, &settings.namespaces);
    file.push_str(&format!("\n\n# {}\n", "=".repeat(WIDTH - 2)));
    comment(&mut file, &format!("{HOOKS}\n\n{HOOKS_HEAD}"));
    tables_of_hooks(&mut file, overrides, &settings.hooks);
    file
}

/// The tables of keys. Keys themselves are not shown.
fn key_tables(file: &mut String, keys: &ApiKeys) {
    file.push_str(&format!("\n\n# {}\n", "=".repeat(WIDTH - 2)));
    comment(file, &format!("{KEYS}\n\n{KEYS_HEAD}"));
    if !keys.is_any() {
        file.push_str("\n# [api_keys.NAME]\n");
        for option in KEY_OPTIONS {
            file.push('\n');
            comment(file, &key_option_explanation(option));
            let shown = (option.show)(&ApiKey::default());
            let value = shown.map_or_else(|| "VALUE".to_owned(), |value| value.to_string());
            file.push_str(&format!("# {} = {value}\n", option.key));
        }
    }
    for (at, (name, key)) in keys.iter().enumerate() {
        file.push_str(&format!("\n[api_keys.{}]\n", quoted_name(name)));
        for option in KEY_OPTIONS {
            if at == 0 {
                file.push('\n');
                comment(file, &key_option_explanation(option));
            }
            key_option(file, option, key);
        }
    }
}

fn key_option(file: &mut String, option: &TableOption<ApiKey>, key: &ApiKey) {
    match (option.show)(key) {
        Some(value) => file.push_str(&format!("{} = {value}\n", option.key)),
        None => {
            if option.key == "key" && key.key.is_some() {
                comment(file, "The key is set and not shown: write it here again.");
            }
            file.push_str(&format!("# {} = VALUE\n", option.key));
        }
    }
}

fn key_option_explanation(option: &TableOption<ApiKey>) -> String {
    let default = (option.show)(&ApiKey::default());
    let default = default.map_or_else(|| "not set".to_owned(), |value| value.to_string());
    let (meaning, range) = (option.meaning, option.range);
    format!("{meaning}\n\nRange: {range}. Default: {default}. Changes at run time.")
}

/// The tables of hooks. The first explains the options; without hooks it is a comment.
fn tables_of_hooks(file: &mut String, overrides: &[Override], declared: &DeclaredHooks) {
    let mut tables = declared.tables().peekable();
    if tables.peek().is_none() {
        file.push_str("\n# [hooks.connect]\n");
        for option in HOOK_OPTIONS {
            file.push('\n');
            comment(file, &hook_option_explanation(option));
            let value = option.default().unwrap_or_else(|| "TEXT".to_owned());
            file.push_str(&format!("# {} = {value}\n", option.key));
        }
    }
    for (at, (kind, hook)) in tables.enumerate() {
        let table = hooks::table(kind);
        file.push_str(&format!("\n[{table}]\n"));
        for option in HOOK_OPTIONS {
            if at == 0 {
                file.push('\n');
                comment(file, &hook_option_explanation(option));
            }
            let key = format!("{table}.{}", option.key);
            if let Some(set) = overrides.iter().find(|set| set.key == key) {
                comment(file, &format!("This value is from {}.", set.place.of(&key)));
            }
            match (option.show)(hook) {
                Some(value) => file.push_str(&format!("{} = {value}\n", option.key)),
                None => file.push_str(&format!("# {} = TEXT\n", option.key)),
            }
        }
    }
}

fn hook_option_explanation(option: &HookOption) -> String {
    let default = option.default();
    let default = default.as_deref().unwrap_or("not set");
    let HookOption { meaning, range, .. } = option;
    format!("{meaning} Range: {range}. Default: {default}.")
}

/// The tables of rules. The first explains the options; without rules it is a comment.
fn tables(file: &mut String, overrides: &[Override], declared: &Declared) {
    if !declared.is_any() {
        file.push_str("\n# [rooms]\n");
        for option in OPTIONS {
            file.push('\n');
            comment(file, &option_explanation(option));
            let value = option.default().unwrap_or_else(|| "SIZE".to_owned());
            file.push_str(&format!("# {} = {value}\n", option.key));
        }
        file.push('\n');
        comment(file, EXAMPLE);
        return;
    }
    for (at, (label, rules)) in declared.tables().enumerate() {
        let table = table(label);
        file.push_str(&format!("\n[{table}]\n"));
        for option in OPTIONS {
            if at == 0 {
                file.push('\n');
                comment(file, &option_explanation(option));
            }
            let key = format!("{table}.{}", option.key);
            if let Some(set) = overrides.iter().find(|set| set.key == key) {
                comment(file, &format!("This value is from {}.", set.place.of(&key)));
            }
            match (option.show)(rules) {
                Some(value) => file.push_str(&format!("{} = {value}\n", option.key)),
                None => file.push_str(&format!("# {} = SIZE\n", option.key)),
            }
        }
    }
}

fn option_explanation(option: &NamespaceOption) -> String {
    let words = (option.words)();
    let words: String = words
        .iter()
        .map(|(word, meaning)| format!("{word}: {}\n", meaning.trim_end_matches('.')))
        .collect();
    let words = match words.is_empty() {
        true => String::new(),
        false => format!("\n{words}\n"),
    };
    let default = option.default();
    let default = default.as_deref().unwrap_or("not set");
    let NamespaceOption {
        meaning,
        range,
        on_reload,
        ..
    } = option;
    format!("{meaning}\n{words}Range: {range}. Default: {default}. On reload: {on_reload}.")
}

/// The arguments that a file can set.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let all = command.get_arguments();
    all.filter(|arg| arg.get_id() != "config")
}

/// The headings in the order of `--help`.
fn headings(command: &Command) -> Vec<&str> {
    let mut headings = Vec::new();
    for heading in arguments(command).filter_map(Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings
}

fn entry(file: &mut String, arg: &Arg, set: Option<&Override>) {
    let key = arg.get_id().as_str();
    let default = default(arg);
    file.push('\n');
    comment(file, &explanation(arg, default.as_deref()));
    if let Some(set) = set {
        comment(file, &format!("This value is from {}.", set.place.of(key)));
    }
    match set.map(|set| set.value.clone()).or(default) {
        Some(text) => file.push_str(&format!("{key} = {}\n", value(arg, &text))),
        None => {
            let name = arg.get_value_names().and_then(|names| names.first());
            let name = name.map_or("VALUE", |name| name.as_str());
            file.push_str(&format!("# {key} = {name}\n"));
        }
    }
}

/// The default as its flag would have it; a list that is not set is empty.
fn default(arg: &Arg) -> Option<String> {
    let values = arg.get_default_values().iter();
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    (!values.is_empty() || Kind::of(arg) == Kind::List).then(|| values.join(","))
}

fn explanation(arg: &Arg, default: Option<&str>) -> String {
    let key = arg.get_id().as_str();
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let choices = choices(arg);
    let default = match default {
        None => "not set",
        Some("") => "an empty list",
        Some(default) => default,
    };
    let change = match reload::is_at_run_time(key) {
        true => "Changes at run time.",
        false => "Changes need a restart.",
    };
    let (flag, variable) = (flag(key), variable(key));
    format!("{help}\n\n{choices}Default: {default}. {change} Also {flag} or {variable}.")
}

fn choices(arg: &Arg) -> String {
    let choices: Vec<_> = arg
        .get_possible_values()
        .iter()
        .map(|choice| match choice.get_help() {
            Some(help) => format!("{}: {help}\n", choice.get_name()),
            None => format!("{}\n", choice.get_name()),
        })
        .collect();
    match choices.is_empty() {
        true => String::new(),
        false => format!("{}\n", choices.concat()),
    }
}

/// A value as TOML, from its form as a flag.
fn value(arg: &Arg, text: &str) -> Value {
    match Kind::of(arg) {
        Kind::List => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Value::Array(items.map(Value::from).collect())
        }
        Kind::Count => text.parse().map_or_else(|_| text.into(), Value::Integer),
        Kind::Text | Kind::Unit => text.into(),
    }
}

/// Appends comment lines, broken between words.
fn comment(file: &mut String, text: &str) {
    for paragraph in text.lines() {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                file.push_str(&line);
                file.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        file.push_str(&line);
        file.push('\n');
    }
}
