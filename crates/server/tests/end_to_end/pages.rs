//! `hubbub completions` and `hubbub man`: scripts that shells accept, pages that man reads, and all that `--help` has.

use std::{fs, process::Command};

use clap::Command as Definition;

use crate::terminal::{check_refused, done, hubbub, piped};

/// Runs a program if this machine has it; what it says on standard error.
fn said_by(program: &str, words: &[&str], input: &str) -> Option<(bool, String)> {
    Command::new(program).arg("--version").output().ok()?;
    let mut command = Command::new(program);
    command.args(words);
    let ended = piped(command, input);
    Some((ended.status.success(), ended.stderr))
}

#[test]
fn completions_are_accepted_by_their_shells() {
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = done(hubbub(&["completions", shell]));
        for word in ["token", "explain", "--drain-timeout", "--secret-file"] {
            let word = match shell {
                "fish" => word.trim_start_matches('-'),
                _ => word,
            };
            assert!(
                script.contains(word),
                "{word} is not in the script of {shell}"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("script");
        fs::write(&file, script).unwrap();
        let Some((good, said)) = said_by(shell, &[check, file.to_str().unwrap()], "") else {
            assert_ne!(shell, "bash", "there is no bash");
            continue;
        };
        assert!(good && said.is_empty(), "{shell}: {said}");
    }
}

#[test]
fn completions_of_bash_complete() {
    let script = done(hubbub(&["completions", "bash"]));
    let complete = |words: &str| {
        let line = format!(
            "{script}\nCOMP_WORDS=({words} \"\"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _hubbub hubbub \"\" hubbub; echo \"${{COMPREPLY[*]}}\"\n"
        );
        let mut command = Command::new("bash");
        command.args(["--norc", "-s"]);
        done(piped(command, &line))
    };
    let first = complete("hubbub");
    assert!(
        first.contains("token") && first.contains("health"),
        "{first}"
    );
    assert!(complete("hubbub token").contains("make explain"));
    assert!(complete("hubbub completions").contains("bash zsh fish"));
}

/// Every command has a page, which names every flag of it.
#[test]
fn pages_have_all_that_help_has_and_man_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    assert_eq!(done(hubbub(&["man", "--dir", path])), "");
    let mut root = server::settings::command();
    root.build();
    let mut pages = 0;
    check_pages(&root, path, "", &mut pages);
    assert_eq!(pages, fs::read_dir(path).unwrap().count());
    let page = done(hubbub(&["man"]));
    assert_eq!(
        page,
        fs::read_to_string(format!("{path}/hubbub.1")).unwrap()
    );
    let page = done(hubbub(&["man", "token", "make"]));
    assert_eq!(
        page,
        fs::read_to_string(format!("{path}/hubbub-token-make.1")).unwrap()
    );
    if let Some((good, said)) = said_by("mandoc", &["-T", "lint", "-W", "error"], &page) {
        assert!(good, "{said}");
    }
}

fn check_pages(command: &Definition, dir: &str, before: &str, pages: &mut usize) {
    let name = format!("{before}{}", command.get_name());
    let page = fs::read_to_string(format!("{dir}/{name}.1")).unwrap();
    *pages += 1;
    let plain = page.replace("\\-", "-");
    for arg in command.get_arguments() {
        if let Some(long) = arg.get_long() {
            assert!(
                plain.contains(&format!("--{long}")),
                "--{long} is not in {name}"
            );
        }
    }
    // Not every machine has the formatter of man pages.
    if let Some((good, said)) = said_by("groff", &["-man", "-Tutf8", "-ww", "-z"], &page) {
        assert!(good && said.is_empty(), "{name}: {said}");
    }
    let below = command.get_subcommands();
    for command in below.filter(|command| command.get_name() != "help") {
        check_pages(command, dir, &format!("{name}-"), pages);
    }
}

#[test]
fn page_or_script_that_is_not_there_is_refused() {
    check_refused(&[
        (&["completions"], 2, &["SHELL"]),
        (&["completions", "tcsh"], 2, &["bash, zsh, fish"]),
        (&["man", "tokens"], 1, &["no command \"tokens\"", "token, "]),
        (&["man", "token", "make", "x"], 1, &["it has none"]),
        (
            &["man", "--dir", "/nowhere"],
            1,
            &["/nowhere/hubbub.1", "--dir"],
        ),
    ]);
}

#[test]
fn help_names_all_commands_and_explains_each() {
    let help = done(hubbub(&["--help"]));
    let root = server::settings::command();
    for command in root.get_subcommands() {
        let name = command.get_name();
        assert!(
            help.contains(&format!("\n  {name} ")),
            "{name} is not in --help"
        );
        let own = done(hubbub(&[name, "--help"]));
        let about = command.get_about().expect("it is explained").to_string();
        let first = about.split(' ').take(3).collect::<Vec<_>>().join(" ");
        assert!(own.starts_with(&first), "{name}: {own}");
        assert!(
            own.contains(&format!("Usage: hubbub {name}")),
            "{name}: {own}"
        );
    }
    assert!(done(hubbub(&["-h"])).starts_with("Hubbub: a real-time server for rooms"));
}
