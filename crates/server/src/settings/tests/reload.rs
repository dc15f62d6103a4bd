//! Which settings a reload changes, and which it only reports.

use super::*;

#[test]
fn reload_changes_what_can_change_and_tells_of_the_rest() {
    for (key, value) in SAMPLES {
        // Certificates can change if there were some before.
        let before = accepted_before(key);
        let mut settings = before.clone();
        let new = accepted_with(key, value);
        let (changed, waiting) = settings.reload(new.clone());
        if AT_START.iter().any(|setting| setting.key == *key) {
            assert_eq!((changed, waiting), (vec![], vec![*key]));
            assert_eq!(settings, before);
        } else {
            assert_eq!((changed, waiting), (vec![*key], vec![]));
            assert_eq!(settings, new);
        }
    }
}

#[test]
fn reload_neither_begins_nor_ends_with_tls() {
    let public = accepted(&["--tls-cert=c", "--tls-key=k"], &[], None);
    let internal = ["--internal-tls-cert=c", "--internal-tls-key=k"];
    let clients = ["--internal-tls-client-ca=a"];
    let internal = accepted(&[&internal[..], &clients].concat(), &[], None);
    for (with, keys) in [
        (public, ["tls_cert", "tls_key"]),
        (internal, ["internal_tls_cert", "internal_tls_key"]),
    ] {
        for (before, after) in [(&with, &Settings::default()), (&Settings::default(), &with)] {
            let mut settings = before.clone();
            let (changed, waiting) = settings.reload(after.clone());
            assert_eq!((changed, waiting), (vec![], keys.to_vec()));
            assert_eq!(settings, *before);
        }
    }
}

#[test]
fn reload_of_the_same_changes_nothing() {
    let mut settings = Settings::default();
    assert_eq!(settings.reload(Settings::default()), (vec![], vec![]));
}

#[test]
fn reload_is_told_of_in_help_and_in_the_printed_file() {
    let help = help::command().render_long_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let none = Sources {
        args: vec!["hubbub".into()],
        variables: Vec::new(),
        read: &|_| Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let printed = Settings::print(&none).unwrap();
    let lists = [
        (AT_START, "restart", "Changes need a restart."),
        (AT_RUN_TIME, "reload", "Changes at run time."),
    ];
    for (settings, mark, sentence) in lists {
        // The rules of rooms, the keys of the API and the hooks have no flag and no key, but tables.
        let is_flag = |setting: &&Reload| {
            !["config", "namespaces", "api_keys", "hooks"].contains(&setting.key)
        };
        for Reload { key, .. } in settings.iter().filter(is_flag) {
            assert!(help.contains(&format!("[key: {key}] [{mark}]")), "{key}");
            let variable = environment::variable(key);
            let mut entries = printed.split("\n\n");
            let entry = entries.find(|entry| entry.contains(&variable)).unwrap();
            let words: Vec<_> = entry
                .split(['#', '\n', ' '])
                .filter(|w| !w.is_empty())
                .collect();
            assert!(words.join(" ").contains(sentence), "{key} in {entry}");
        }
    }
}

#[test]
fn refusal_for_the_log_is_one_line_with_key_place_and_remedy() {
    let text = "rooms_max = 0\nping_interval = 5\n";
    let line = load(&[], &[], Some(text)).unwrap_err().line();
    assert!(!line.contains('\n'), "{line}");
    for word in [
        "hubbub.toml line 1",
        "rooms_max",
        "1 to",
        "line 2",
        "needs a unit",
    ] {
        assert!(line.contains(word), "{word} is not in {line}");
    }
    let broken = load(&[], &[], Some("rooms_max =")).unwrap_err().line();
    assert!(
        broken.contains("hubbub.toml") && !broken.contains('\n'),
        "{broken}"
    );
}
