//! Words of a message, with a delay among them.

use std::time::Duration;

use crate::time::duration;

const DELAY: &str = "{delay}";

/// Words in lower case, before and after a delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnPhrase {
    before: Box<str>,
    /// The text after the delay; `None` if there is no delay.
    after: Option<Box<str>>,
}

/// Words that were found, or a rule that is met, with the delay among the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) delay: Option<Duration>,
}

impl OwnPhrase {
    /// `None` if there are no words, or several delays.
    pub(super) fn parse(phrase: &str) -> Option<Self> {
        let phrase = phrase.to_lowercase();
        let (before, after) = match phrase.split_once(DELAY) {
            Some((before, after)) => (before, Some(after)),
            None => (phrase.as_str(), None),
        };
        let has_words = !before.trim().is_empty() || after.is_some_and(|after| !after.trim().is_empty());
        let is_single = after.is_none_or(|after| !after.contains(DELAY));
        (has_words && is_single).then(|| Self { before: before.into(), after: after.map(Into::into) })
    }

    /// Looks for the words in a message in lower case.
    pub(super) fn find(&self, message: &str) -> Option<Met> {
        let Some(after) = &self.after else {
            return message.contains(&*self.before).then_some(Met { delay: None });
        };
        // An empty text is found between all characters.
        message.match_indices(&*self.before).find_map(|(at, before)| {
            let rest = &message[at + before.len()..];
            let (delay, rest) = duration::leading(rest)?;
            rest.starts_with(&**after).then_some(Met { delay: Some(delay) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The delay in seconds, or zero if there is none.
    fn find(phrase: &str, message: &str) -> Option<u64> {
        let found = OwnPhrase::parse(phrase).unwrap().find(message)?;
        Some(found.delay.map_or(0, |delay| delay.as_secs()))
    }

    #[test]
    fn words_and_the_delay_among_them() {
        assert_eq!(find("Wakes up in {delay}", "it wakes up in 20s."), Some(20));
        assert_eq!(find("in {delay} or so", "in a while, in 2m or so"), Some(120));
        assert_eq!(find("in {delay} or so", "in 2m"), None);
        assert_eq!(find("{delay} left", "there are 5 seconds left"), Some(5));
        assert_eq!(find("asleep", "it is asleep"), Some(0));
        assert_eq!(find("asleep", "it is awake"), None);
        for no_phrase in ["", " ", "{delay}", " {delay} ", "in {delay} or {delay}"] {
            assert_eq!(OwnPhrase::parse(no_phrase), None, "{no_phrase}");
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(phrase in "[a ß]{0,3}(\\{delay\\})?[b ß]{0,3}", message in "[abß 0-9sm]*") {
            let _ = OwnPhrase::parse(&phrase).map(|phrase| phrase.find(&message));
        }
    }
}
