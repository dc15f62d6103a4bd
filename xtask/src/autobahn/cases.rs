//! The suite's cases by name, so that a case that did not run is noticed.

use anyhow::{Context, Result, bail};

const TABLE: &str = include_str!("../../../tests/autobahn/cases.txt");

/// The fast selection; also what `cargo xtask test` runs on each driver.
pub const FAST: &str = "fast";
/// All 517 cases.
pub const ALL: &str = "all";
/// The cases of each compression group that `fast` selects. Each sends a thousand messages; these
/// have the smallest ones, whole from 16 B to 4 KiB and in fragments of 8 KiB messages.
const FAST_COMPRESSION_NUMBERS: [&str; 6] = ["1", "2", "3", "4", "5", "11"];

/// One part of a selection: its name, or a glob.
#[derive(Clone, Copy)]
enum Part<'a> {
    All,
    Plain,
    Fast,
    Glob(&'a str),
}

impl<'a> Part<'a> {
    fn new(text: &'a str) -> Self {
        match text {
            ALL => Self::All,
            "plain" => Self::Plain,
            FAST => Self::Fast,
            glob => Self::Glob(glob),
        }
    }

    fn has(self, case: &str) -> bool {
        match self {
            Self::All => true,
            Self::Plain => !is_compression(case),
            Self::Fast => !is_compression(case) || is_fast(case),
            Self::Glob(glob) => matches(glob, case),
        }
    }
}

/// The names of all cases that one of the comma-separated parts selects, in the suite's order.
pub fn chosen(parts: &str) -> Result<Vec<String>> {
    let all = all()?;
    let names: Vec<_> = parts.split(',').map(str::trim).collect();
    for name in &names {
        if !all.iter().any(|case| Part::new(name).has(case)) {
            bail!("no Autobahn case matches `{name}`");
        }
    }
    let has = |case: &String| names.iter().any(|name| Part::new(name).has(case));
    Ok(all.into_iter().filter(has).collect())
}

/// Whether a case tests permessage-deflate: groups 12 and 13 do.
pub fn is_compression(case: &str) -> bool {
    case.starts_with("12.") || case.starts_with("13.")
}

/// Whether `fast` selects this compression case.
fn is_fast(case: &str) -> bool {
    let number = case.rsplit('.').next();
    number.is_some_and(|number| FAST_COMPRESSION_NUMBERS.contains(&number))
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

/// `*` stands for any sequence of characters, everything else for itself.
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
    fn chosen_by_name_are_as_many_as_they_should_be() {
        let check = |parts, expected| assert_eq!(chosen(parts).unwrap().len(), expected, "{parts}");
        check("plain", 301);
        // There are twelve compression groups, with six selected cases each.
        check("fast", 301 + 12 * 6);
        check("all", 517);
        check("plain, 12.1.12, 1.1.1", 302);
    }

    #[test]
    fn chosen_fast_takes_the_same_of_each_compression_group() {
        let fast = chosen(FAST).unwrap();
        let of_group: Vec<_> = fast.iter().filter(|case| matches("13.7.*", case)).collect();
        let expected = ["13.7.1", "13.7.2", "13.7.3", "13.7.4", "13.7.5", "13.7.11"];
        assert_eq!(of_group, expected);
    }

    #[test]
    fn chosen_glob_stays_within_its_group() {
        let check = |globs, expected| assert_eq!(chosen(globs).unwrap().len(), expected, "{globs}");
        check("1.*", 16);
        check("2.*,10.*", 12);
        check("6.22.20", 1);
        check("12.1.1*", 10);
        check("*", 517);
    }

    #[test]
    fn chosen_nothing_is_an_error() {
        for globs in ["8.*", "1.*,14.*", "", "1.1", "fas"] {
            assert!(chosen(globs).is_err(), "{globs}");
        }
    }
}
