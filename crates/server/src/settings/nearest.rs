//! Finds the setting that a misspelt name was meant for.

use strsim::damerau_levenshtein;

/// The known name that is near enough to be meant, if any.
///
/// Near is: the same but for case and hyphens; a typo or so (one in five letters); the same words
/// in another order; or, if that leaves one candidate, a word too many or too few.
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

/// How many words one name has more than the other, if it has all words of the other.
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
