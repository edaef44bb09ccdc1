//! Patterns in which a `*` matches anything.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(Box<str>);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Each piece between two stars is matched as early as possible: if there is a match at all, this finds one.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return *self.0 == *text;
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(text) = text.strip_prefix(start).and_then(|text| text.strip_suffix(end)) else {
            return false;
        };
        let mut pieces = middle.split('*');
        pieces
            .try_fold(text, |text, piece| text.find(piece).map(|at| &text[at + piece.len()..]))
            .is_some()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By definition: a star matches nothing, or one character and then the same star.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) if naive(rest, text) => true,
            (Some(('*', _)), Some((_, more))) => naive(pattern, more),
            (Some((expected, rest)), Some((char, more))) => expected == char && naive(rest, more),
            _ => false,
        }
    }

    #[test]
    fn stars_match_anything() {
        for (pattern, yes, no) in [
            ("gpt-4o", &["gpt-4o"][..], &["gpt-4o-mini", "agpt-4o", "", "GPT-4o"][..]),
            ("gpt-4o*", &["gpt-4o", "gpt-4o-mini"], &["gpt-4", "a-gpt-4o"]),
            ("*-mini", &["gpt-4o-mini", "-mini"], &["gpt-4o-mini-2", "mini"]),
            ("meta-*/llama*70b*", &["meta-x/llama-3-70b", "meta-/llama70b-it"], &["meta-x/llama-3-8b"]),
            ("aa*aa", &["aaaa", "aaxaa"], &["aaa"]),
            ("*", &["", "x"], &[]),
            ("**", &["", "x"], &[]),
        ] {
            let glob = Glob::new(pattern);
            assert!(yes.iter().all(|text| glob.matches(text)), "{pattern}");
            assert!(!no.iter().any(|text| glob.matches(text)), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn as_by_definition(pattern in "[ab*é]{0,8}", text in "[abé]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(&pattern).matches(&text), naive(&chars(&pattern), &chars(&text)));
        }
    }
}
