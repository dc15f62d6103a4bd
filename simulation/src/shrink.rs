//! Cuts a script that fails down to the steps that it takes.

use crate::{run::run, script::Script};

/// The shortest script that was found to fail as this one does, and how it fails.
pub fn shrink(script: &Script, tell: impl Fn(usize)) -> (Script, String) {
    let mut best = script.clone();
    let mut failure = run(&best).failure.unwrap_or_default();
    let kind = kind_of(&failure);
    let mut chunk = best.steps.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < best.steps.len() {
            let mut shorter = best.clone();
            let end = (at + chunk).min(shorter.steps.len());
            shorter.steps.drain(at..end);
            match run(&shorter).failure {
                Some(found) if kind_of(&found) == kind => {
                    best = shorter;
                    failure = found;
                    tell(best.steps.len());
                }
                _ => at += chunk,
            }
        }
        chunk /= 2;
    }
    (best, failure)
}

/// What is wrong, without the numbers: another peer, room or time is the same fault.
fn kind_of(failure: &str) -> String {
    let letters = failure
        .chars()
        .filter(|letter| letter.is_alphabetic() || *letter == ' ');
    letters.take(60).collect()
}
