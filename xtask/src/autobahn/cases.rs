//! Knows the suite's cases by name, so that one that did not run is missed.

use anyhow::{Context, Result, bail};

const TABLE: &str = include_str!("../../../tests/autobahn/cases.txt");

/// The names of all cases that one of the comma-separated globs matches, in the suite's order.
pub fn matching(globs: &str) -> Result<Vec<String>> {
    let all = all()?;
    let globs: Vec<_> = globs.split(',').map(str::trim).collect();
    for glob in &globs {
        if !all.iter().any(|case| matches(glob, case)) {
            bail!("no Autobahn case matches `{glob}`");
        }
    }
    let chosen = |case: &String| globs.iter().any(|glob| matches(glob, case));
    Ok(all.into_iter().filter(chosen).collect())
}

fn all() -> Result<Vec<String>> {
    let mut cases = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let (prefix, count) = line
            .split_once(' ')
            .context("cases.txt: expected `PREFIX COUNT`")?;
        let count: usize = count
            .parse()
            .with_context(|| format!("cases.txt: `{line}`"))?;
        cases.extend((1..=count).map(|number| format!("{prefix}.{number}")));
    }
    Ok(cases)
}

/// `*` stands for any run of characters; everything else for itself.
fn matches(glob: &str, case: &str) -> bool {
    let Some((before, after)) = glob.split_once('*') else {
        return glob == case;
    };
    let Some(rest) = case.strip_prefix(before) else {
        return false;
    };
    (0..=rest.len()).any(|skipped| matches(after, &rest[skipped..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cases_are_517() {
        let cases = all().unwrap();
        assert_eq!(cases.len(), 517);
        assert_eq!(cases.first().unwrap(), "1.1.1");
        assert_eq!(cases.last().unwrap(), "13.7.18");
    }

    #[test]
    fn matching_glob_stays_within_its_group() {
        let check =
            |globs, expected| assert_eq!(matching(globs).unwrap().len(), expected, "{globs}");
        check("1.*", 16);
        check("2.*,10.*", 12);
        check("6.22.20", 1);
        check("12.1.1*", 10);
        check("*", 517);
    }

    #[test]
    fn matching_nothing_is_an_error() {
        for globs in ["8.*", "1.*,14.*", "", "1.1"] {
            assert!(matching(globs).is_err(), "{globs}");
        }
    }
}
