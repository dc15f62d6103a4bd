//! The settings as a file: every key with its explanation, its default and the value in force.

use clap::{Arg, Command, CommandFactory};
use toml::Value;

use super::environment::variable;
use super::file::Kind;
use super::report::{Override, flag};
use super::{Settings, reload};

const WIDTH: usize = 98;

const HEAD: &str = "\
Settings of Hubbub, as the flags, environment and file at the time of printing set them. Save this \
file, change it, check it with 'hubbub config check FILE' and start with 'hubbub --config FILE'.

SIZE is a number of bytes or has a unit: 65536, \"64KiB\", \"1MiB\". DURATION has a unit: \"250ms\", \
\"10s\", \"5m\". A key whose line is commented out is not set. Settings that change at run time are \
read again from this file when the process gets SIGHUP; a file with a mistake changes nothing.";

/// A file that sets every key; `overrides` are the values that differ from their defaults.
pub(super) fn file(overrides: &[Override]) -> String {
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
    file
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
