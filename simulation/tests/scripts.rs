//! Scripts that failed once, each cut down to the steps that it takes, run without a fault.

use std::fs;

use simulation::{run::run, script::Script};

#[test]
fn scripts_that_are_kept_do_not_fail_again() {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
    for entry in fs::read_dir(kept).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "script")
        {
            continue;
        }
        let script = Script::of_lines(&fs::read_to_string(&path).unwrap()).unwrap();
        let outcome = run(&script);
        assert_eq!(outcome.failure, None, "{}", path.display());
    }
}
