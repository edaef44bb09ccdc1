//! Facts in the text of a message: a delay, or that a request exceeds the limit all by itself.

use std::time::{Duration, SystemTime};

use crate::time::{duration, rfc3339};

/// The part of a message that is read, in bytes.
const MAX_READ: usize = 8 * 1024;

/// Phrases before a delay.
const PHRASES: &[&str] = &[
    "try again in",    // OpenAI, Groq, Azure
    "try again after", // Moonshot
    "retry in",        // Gemini
    "retry after",     // Azure
    "retrying in",
    "come back in",
    "reset in",
    "reset after",  // Gemini's command line client
    "resets in",    // "resets in ~30s"
    "available in", // Replicate
    "wait",         // "You must wait for at least 2 minutes"
];

/// Phrases before a point in time.
const POINTS: &[&str] = &[
    "resets at", // LiteLLM
    "reset at",
    "try again at",
    "retry at",
];

/// Words between the phrase and the number.
const FILLERS: [&str; 6] = [
    "for ",
    "about ",
    "around ",
    "approximately ",
    "at least ",
    "another ",
];

/// A message in lower case.
pub(crate) struct Message(String);

impl Message {
    pub(crate) fn new(message: &str) -> Self {
        Self(prefix(message, MAX_READ).to_ascii_lowercase())
    }

    /// The delay in the message: `Please try again in 18.642s`, `Try again in 35 seconds`. A delay of zero is none.
    pub(crate) fn delay(&self) -> Option<Duration> {
        let delays = PHRASES
            .iter()
            .flat_map(|phrase| self.after(phrase))
            .filter_map(|(at, rest)| Some((at, duration::leading(without_fillers(rest))?.0)))
            .filter(|(_, delay)| !delay.is_zero());
        delays.min().map(|(_, delay)| delay)
    }

    /// The time from `sent` until the point in time in the message: `Limit resets at: 2026-11-30 15:00:00 UTC`. A point
    /// without a zone may be hours off and is ignored.
    pub(crate) fn reset(&self, sent: SystemTime) -> Option<Duration> {
        let points =
            POINTS.iter().flat_map(|phrase| self.after(phrase)).map(|(_, rest)| without_fillers(rest));
        let mut delays = points.filter_map(|text| rfc3339::leading(text)?.duration_since(sent).ok());
        delays.find(|delay| !delay.is_zero())
    }

    /// Returns whether the message says that the request exceeds the limit all by itself: by its numbers or, if it has
    /// none, in words.
    pub(crate) fn is_too_large(&self) -> bool {
        match (self.number("limit"), self.number("requested")) {
            (Some(limit), Some(requested)) => requested > limit,
            _ => self.0.contains("request too large"),
        }
    }

    /// Returns whether the message names a quota of zero: `Quota exceeded for metric: …, limit: 0`.
    pub(crate) fn names_zero_quota(&self) -> bool {
        let is_more = |rest: &str| {
            let mut rest = rest.chars();
            let first = rest.next();
            first.is_some_and(|c| c.is_ascii_digit())
                || (matches!(first, Some('.' | ',')) && rest.next().is_some_and(|c| c.is_ascii_digit()))
        };
        self.names_quota() && self.after("limit: 0").any(|(_, rest)| !is_more(rest))
    }

    /// Returns whether the message names a quota.
    pub(crate) fn names_quota(&self) -> bool {
        self.0.contains("quota exceeded for")
    }

    /// The message in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The first number after a name: `Limit 30000`, `Limit: 30,000`, `Requested ~12903`.
    fn number(&self, name: &str) -> Option<u64> {
        self.after(name).find_map(|(_, rest)| number(rest))
    }

    /// The positions of `phrase`, and the text after each.
    fn after<'a>(&'a self, phrase: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        let found = self.0.match_indices(phrase);
        found.map(|(at, phrase)| (at, &self.0[at + phrase.len()..]))
    }
}

/// The longest prefix of at most `max` bytes that ends between characters.
pub(super) fn prefix(text: &str, max: usize) -> &str {
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    &text[..(0..=text.len().min(max)).rev().find(is_boundary).unwrap_or(0)]
}

fn without_fillers(text: &str) -> &str {
    let mut text = text.trim_start_matches([' ', ':', '~']);
    while let Some(rest) = FILLERS.iter().find_map(|filler| text.strip_prefix(filler)) {
        text = rest.trim_start_matches([' ', '~']);
    }
    text
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim_start_matches([' ', ':', '~', '=']);
    let bytes = text.as_bytes();
    // A comma that groups thousands belongs to the number.
    let grouped = |at: usize| {
        let group = bytes.get(at + 1..at + 4).unwrap_or_default();
        group.len() == 3
            && group.iter().all(u8::is_ascii_digit)
            && !bytes.get(at + 4).is_some_and(u8::is_ascii_digit)
    };
    let mut number: Option<u64> = None;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                let digit = u64::from(byte - b'0');
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            }
            b',' if number.is_some() && grouped(at) => {}
            _ => break,
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delay(message: &str) -> Option<f64> {
        Message::new(message).delay().map(|delay| delay.as_secs_f64())
    }

    fn too_large(message: &str) -> bool {
        Message::new(message).is_too_large()
    }

    #[test]
    fn delays() {
        for (message, seconds) in [
            ("Requested 24754. Please try again in 18.642s. Visit https://x", 18.642),
            ("Please try again in 644ms.", 0.644),
            ("Please try again in 1m30.002s.", 90.002),
            ("Try again in 35 seconds", 35.0),
            ("Please retry after 60 seconds. Please go to https://aka.ms", 60.0),
            ("please try again after 1 seconds", 1.0),
            ("You must wait for at least 2 minutes", 120.0),
            ("will reset after 0s. Please retry in 900.2ms.", 0.9002),
        ] {
            assert_eq!(delay(message), Some(seconds), "{message}");
        }
        for message in [
            "",
            "Please try again later.",
            "try again in 2027",
            "try again in -3s",
            "try again in inf s",
            "Wait a bit and try again.",
            "try again in 0s",
            "try again in 99999999999999999999999999999999999s",
        ] {
            assert_eq!(delay(message), None, "{message}");
        }
    }

    #[test]
    fn requests_larger_than_the_limit() {
        assert!(too_large("Request too large for gpt-4o: Limit 30000, Requested 31538."));
        assert!(too_large(
            "Rate limit reached: Limit 7000, Used 0, Requested ~12903. Please try again in 50s"
        ));
        assert!(too_large("Limit: 30,000, Requested: 31,538"));
        assert!(!too_large("Rate limit reached: Limit 30000, Used 14567, Requested 24754."));
        assert!(!too_large("Request too large: Limit 30000, Used 14567, Requested 24754."));
        assert!(too_large("Request too large for this model"));
        assert!(!too_large("Limit 99999999999999999999999999999999999, Requested 5"));
        assert!(!too_large("This request would exceed your rate limit of 40,000 tokens"));
    }

    #[test]
    fn a_quota_of_zero() {
        let quota =
            |limit: &str| format!("* Quota exceeded for metric: x/free_tier_input_token_count, {limit}");
        for nothing in [
            "limit: 0, model: m",
            "limit: 0\nPlease retry in 25s.",
            "limit: 2\n* limit: 0",
        ] {
            assert!(Message::new(&quota(nothing)).names_zero_quota(), "{nothing}");
        }
        for some in ["limit: 20", "limit: 0.5", "limit: 00", "limit: 2\n", ""] {
            assert!(!Message::new(&quota(some)).names_zero_quota(), "{some}");
        }
        assert!(!Message::new("limit: 0").names_zero_quota());
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "(try again in|Limit|limit: 0|Quota exceeded for|Requested|[0-9., ~µßs])*") {
            let text = Message::new(&text);
            let _ = (text.delay(), text.is_too_large(), text.names_zero_quota());
        }
    }
}
