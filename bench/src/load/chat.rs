//! Chat-like text for messages that will be compressed.

const NAMES: [&str; 8] = [
    "amelie", "bogdan", "chen", "dimitra", "eskil", "farida", "goran", "hana",
];
const WORDS: [&str; 64] = [
    "about",
    "again",
    "almost",
    "and",
    "answer",
    "because",
    "before",
    "bridge",
    "broken",
    "build",
    "call",
    "coffee",
    "could",
    "deploy",
    "does",
    "evening",
    "every",
    "figure",
    "finally",
    "first",
    "from",
    "garden",
    "graph",
    "have",
    "hello",
    "idea",
    "it",
    "keeps",
    "later",
    "letter",
    "little",
    "looks",
    "maybe",
    "meeting",
    "minute",
    "morning",
    "never",
    "not",
    "number",
    "on",
    "other",
    "please",
    "question",
    "really",
    "right",
    "river",
    "should",
    "since",
    "something",
    "still",
    "table",
    "thanks",
    "the",
    "there",
    "think",
    "time",
    "today",
    "we",
    "week",
    "when",
    "which",
    "window",
    "with",
    "yes",
];

/// JSON lines of chat messages, the same in each call, cut to `bytes`.
#[must_use]
pub fn text(bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    // A linear congruential generator: the text must vary, and be the same in each run.
    let mut state = 1_u64;
    let mut pick = |count: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % count
    };
    let mut number = 0;
    while text.len() < bytes {
        number += 1;
        let words: Vec<&str> = (0..6 + pick(10))
            .map(|_| WORDS[pick(WORDS.len())])
            .collect();
        let (user, at) = (
            NAMES[pick(NAMES.len())],
            1_767_225_600_000 + pick(86_400_000),
        );
        text.push_str(&format!(
            "{{\"id\":{number},\"room\":\"lobby\",\"user\":\"{user}\",\"at\":{at},\"text\":\"{}\"}}\n",
            words.join(" ")
        ));
    }
    text.truncate(bytes);
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn text_has_its_length_and_compresses_as_text_does() {
        assert_eq!(text(0), b"");
        let text = text(1008);
        assert_eq!(text.len(), 1008);
        let ratio = 1008.0 / crate::load::deflate::compressed(&text).len() as f64;
        assert!((1.5..4.0).contains(&ratio), "{ratio}");
    }
}
