//! The same script is the same run, whatever ran before it in the process: nothing depends on addresses, the
//! order of a map, or the machine's own time.

use simulation::{run::run, script::Script};

#[test]
fn script_that_is_run_twice_does_the_same() {
    for seed in 0..60 {
        let script = Script::of(seed);
        let first = run(&script);
        let second = run(&script);
        assert_eq!(first, second, "seed {seed}");
        assert!(first.steps > 0, "seed {seed}");
    }
}

#[test]
fn other_seeds_are_other_runs() {
    let traces: Vec<_> = (0..20).map(|seed| run(&Script::of(seed)).trace).collect();
    let mut different = traces.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), traces.len());
}
