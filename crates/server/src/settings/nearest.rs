//! Finds the setting that a misspelt name probably means.

use strsim::damerau_levenshtein;

/// The known name that is nearest to this one, if one is near enough.
///
/// A name is near if it differs only in case and hyphens, has a few typos (one in five letters), or
/// has the same words in another order; or, if only one candidate remains, one word too many or too
/// few.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let typos_max = (name.len() / 5).max(1);
    let by_letters = known
        .iter()
        .map(|known| (damerau_levenshtein(&name, known), *known))
        .filter(|(typos, _)| *typos <= typos_max)
        .min();
    if let Some((_, known)) = by_letters {
        return Some(known);
    }
    let words: Vec<&str> = name.split('_').collect();
    if words.len() < 2 {
        return None;
    }
    let by_words = |extra: usize| {
        let mut found = known
            .iter()
            .filter(|known| differ(&words, known) == Some(extra));
        found.next().filter(|_| found.next().is_none()).copied()
    };
    by_words(0).or_else(|| by_words(1))
}

/// The number of words that one name has beyond the other, if it has all words of the other.
fn differ(words: &[&str], known: &str) -> Option<usize> {
    let others: Vec<&str> = known.split('_').collect();
    let (less, more) = if words.len() < others.len() {
        (words, others.as_slice())
    } else {
        (others.as_slice(), words)
    };
    let contained = less.len() >= 2 && less.iter().all(|word| more.contains(word));
    contained.then(|| more.len() - less.len())
}
