//! The output of `config print` and of `config check`.

use clap::CommandFactory;

use super::*;

fn print(flags: &[&str], variables: &[(&str, &str)], text: Option<&str>) -> String {
    let mut args: Vec<OsString> = vec!["hubbub".into(), "config".into(), "print".into()];
    args.extend(flags.iter().map(OsString::from));
    if text.is_some() {
        args.extend(["--config".into(), FILE.into()]);
    }
    let Ok(Task::Print(args)) = Task::of(&args) else {
        panic!("another task");
    };
    let variables = variables.iter();
    let sources = Sources {
        args,
        variables: variables
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        read: &|_| Ok(text.unwrap_or_default().to_owned()),
    };
    Settings::print(&sources).unwrap_or_else(|stop| panic!("{}", message(&stop)))
}

#[test]
fn print_loads_back_to_the_defaults() {
    let printed = print(&[], &[], None);
    let loaded = load(&[], &[], Some(&printed)).unwrap();
    assert_eq!(loaded.settings.without_config(), Settings::default());
    // A setting without a default is still there, as a comment.
    for key in [
        "cores",
        "max_connections",
        "static_dir",
        "max_connection_age",
    ] {
        assert!(printed.contains(&format!("\n# {key} = ")), "{key}");
    }
}

#[test]
fn print_of_other_values_loads_back_to_them() {
    let flags: Vec<_> = SAMPLES
        .iter()
        .map(|(key, value)| format!("{}={value}", report::flag(key)))
        .collect();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let printed = print(&flags, &[], None);
    let loaded = accepted(&[], &[], Some(&printed));
    assert_eq!(loaded.without_config(), accepted(&flags, &[], None));
}

#[test]
fn print_explains_every_key_under_its_heading() {
    let printed = print(&[], &[], None);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let comments: Vec<_> = printed
        .lines()
        .map(|line| line.trim_start_matches('#'))
        .collect();
    let comments = words(&comments.join(" "));
    for arg in arguments().iter().filter(|arg| arg.get_id() != "config") {
        let key = arg.get_id().as_str();
        let entry = [format!("\n{key} = "), format!("\n# {key} = ")];
        let at = entry.iter().find_map(|entry| printed.find(entry));
        let at = at.unwrap_or_else(|| panic!("no {key}"));
        let heading = printed.find(&format!("\n# {}\n", arg.get_help_heading().unwrap()));
        assert!(heading.is_some_and(|heading| heading < at), "{key}");
        let command = Settings::command();
        let own = command
            .get_arguments()
            .find(|own| own.get_id() == key)
            .unwrap();
        let help = own.get_long_help().or(own.get_help()).unwrap().to_string();
        assert!(comments.contains(&words(&help)), "{key} is not explained");
        assert!(comments.contains(&environment::variable(key)), "{key}");
        for value in own.get_default_values() {
            let default = format!("Default: {}.", value.to_string_lossy());
            assert!(printed.contains(&default), "{key}");
        }
    }
    assert!(printed.lines().all(|line| line.len() <= 100));
}

#[test]
fn print_tells_where_a_value_is_from() {
    let file = Some("rooms_max = 5\nallow_origin = [\"a.example\", \"b.example\"]\n");
    let printed = print(&["--cores=3"], &[("HUBBUB_PING_INTERVAL", "7s")], file);
    for lines in [
        "# This value is from hubbub.toml line 1.\nrooms_max = 5\n",
        "# This value is from --cores.\ncores = 3\n",
        "# This value is from HUBBUB_PING_INTERVAL.\nping_interval = \"7s\"\n",
        "line 2.\nallow_origin = [\"a.example\", \"b.example\"]\n",
    ] {
        assert!(printed.contains(lines), "{lines} is not in:\n{printed}");
    }
    assert_eq!(printed.matches("This value is from").count(), 4);
}

#[test]
fn print_escapes_what_a_file_needs_escaped() {
    let dir = "C:\\a \"b\" #c";
    let printed = print(&[&format!("--static-dir={dir}")], &[], None);
    let loaded = accepted(&[], &[], Some(&printed));
    assert_eq!(loaded.static_dir.as_deref(), Some(Path::new(dir)));
}

fn check(text: &str) -> Result<Loaded, Stop> {
    let args: Vec<OsString> = ["hubbub", "config", "check", FILE].map(Into::into).into();
    let Ok(Task::Check(file)) = Task::of(&args) else {
        panic!("another task");
    };
    let sources = Sources {
        args,
        variables: Vec::new(),
        read: &|path| {
            assert_eq!(path, Path::new(FILE));
            Ok(text.to_owned())
        },
    };
    Settings::check(&file, sources)
}

#[test]
fn check_says_what_a_start_would_say() {
    let good = check("rooms_max = 5").unwrap();
    assert_eq!((good.settings.rooms_max, good.warnings), (5, Vec::new()));
    let risky = check("allow_origin = [\"*\"]").unwrap();
    assert_eq!(risky.warnings, [Warning::AnyOrigin]);
    let text = "rooms_max = 0";
    let at_start = load(&[], &[], Some(text)).map(|_| ()).unwrap_err();
    assert_eq!(message(&check(text).unwrap_err()), message(&at_start));
}

#[test]
fn task_is_to_serve_unless_the_first_word_is_config() {
    let task = |words: &[&str]| {
        let args: Vec<OsString> = words.iter().map(OsString::from).collect();
        Task::of(&args)
    };
    assert_eq!(task(&["hubbub"]).unwrap(), Task::Serve);
    assert_eq!(task(&["hubbub", "--config", "print"]).unwrap(), Task::Serve);
    for words in [
        &["hubbub", "config"][..],
        &["hubbub", "config", "prnt"],
        &["hubbub", "config", "check"],
        &["hubbub", "config", "check", "a", "b"],
        &["hubbub", "config", "print", "--prot"],
        &["hubbub", "config", "print", "--rooms-max=0"],
    ] {
        assert!(task(words).is_err(), "{words:?}");
    }
    // A task must not be overlooked behind flags.
    let stop = load(&["--cores=1", "config", "print"], &[], None).unwrap_err();
    assert!(message(&stop).contains("config"), "{}", message(&stop));
}
