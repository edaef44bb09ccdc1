//! The API key, which is shown nowhere.

use std::fmt;

use http::HeaderValue;

use super::args::ApiName;

/// Shorter keys are placeholders, such as `x` or `EMPTY` for a local server. Hidden wherever the letters
/// occur, they would make messages unreadable: `e[the API key]haust`.
const SECRET_LEN: usize = 8;

/// Shorter ones are not hidden at all: they may be words, or parts of every word.
const SHORTEST_HIDDEN: usize = 4;

/// An API key.
#[derive(Clone)]
pub(crate) struct Key(String);

impl Key {
    /// A key without the blanks around it; `None` if it is empty or cannot be sent in a header.
    pub(crate) fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        let usable = !key.is_empty() && HeaderValue::from_str(key).is_ok();
        usable.then(|| Self(key.to_owned()))
    }

    /// The value of the header that carries the key.
    pub(crate) fn header(&self, api: ApiName) -> HeaderValue {
        let value = match api {
            ApiName::OpenAi => HeaderValue::try_from(format!("Bearer {}", self.0)),
            ApiName::Anthropic => HeaderValue::from_str(&self.0),
        };
        let mut value = value.unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// Replaces the key in a text: some servers repeat the key that they refuse.
    ///
    /// A key of fewer than 8 characters is replaced only where it stands by itself, and one of fewer than 4 never.
    pub(crate) fn hide_in(&self, text: &str) -> String {
        let mut hidden = String::new();
        let mut done = 0;
        for (at, found) in text.match_indices(&self.0) {
            let end = at + found.len();
            if self.0.len() >= SECRET_LEN || self.stands_alone(&text[..at], &text[end..]) {
                hidden.push_str(&text[done..at]);
                hidden.push_str("[the API key]");
                done = end;
            }
        }
        hidden.push_str(&text[done..]);
        hidden
    }

    fn stands_alone(&self, before: &str, after: &str) -> bool {
        let in_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        self.0.len() >= SHORTEST_HIDDEN
            && !in_word(before.chars().next_back())
            && !in_word(after.chars().next())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(key: &str, text: &str) -> String {
        Key::new(key).unwrap().hide_in(text)
    }

    #[test]
    fn a_key_is_hidden_wherever_it_occurs() {
        assert_eq!(hidden("sk-secret", "bad key sk-secret, (sk-secretsk-secret)"), {
            "bad key [the API key], ([the API key][the API key])"
        });
        assert_eq!(hidden("EMPTY", "the key `EMPTY` is NOTEMPTY"), "the key `[the API key]` is NOTEMPTY");
    }

    #[test]
    fn a_key_of_one_character_does_not_garble_messages() {
        for key in ["e", "x", "a", "sk"] {
            assert_eq!(hidden(key, "a server can exhaust sk tasks"), "a server can exhaust sk tasks");
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_none() {
        assert!(Key::new(" ").is_none() && Key::new("a\nb").is_none());
        assert_eq!(Key::new(" sk-1\n").unwrap().header(ApiName::OpenAi), "Bearer sk-1");
    }
}
