//! One prompt, and its id.

use std::num::NonZeroU64;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A line of the input. Other fields are ignored.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Prompt {
    pub(crate) id: Id,
    #[serde(rename = "prompt")]
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) max_tokens: Option<NonZeroU64>,
}

/// The id of a prompt: a string or a number. It is kept as JSON, so that it is written as it was read, with any number of
/// digits. `1` and `"1"` are different ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(Box<str>);

impl Id {
    /// An id that is a number.
    pub(crate) fn number(number: usize) -> Self {
        Self(number.to_string().into())
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        match json.get().as_bytes().first() {
            // The same string can be written in several ways.
            Some(b'"') => {
                let text: String = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
                serde_json::to_string(&text).map(|json| Self(json.into())).map_err(D::Error::custom)
            }
            Some(b'-' | b'0'..=b'9') => Ok(Self(json.get().into())),
            _ => Err(D::Error::custom("the id must be a string or a number")),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_out_as_it_went_in() {
        for id in [
            r#""a \"b\" \\""#,
            "7",
            "-1.50",
            "12345678901234567890123456789012345",
            r#""""#,
        ] {
            let read: Id = serde_json::from_str(id).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), id);
        }
        for no_id in ["null", "true", "[1]", "{}"] {
            assert!(serde_json::from_str::<Id>(no_id).is_err(), "{no_id}");
        }
    }

    #[test]
    fn the_same_string_is_the_same_id_however_it_is_written() {
        let id = |json| serde_json::from_str::<Id>(json).unwrap();
        assert_eq!(id(r#""a""#), id(r#""\u0061""#));
        assert_ne!(id("1"), id(r#""1""#));
    }

    #[test]
    fn a_limit_of_tokens_is_a_whole_number_above_zero() {
        let prompt = |max: &str| {
            serde_json::from_str::<Prompt>(&format!(r#"{{"id":1,"prompt":"p","max_tokens":{max},"x":[]}}"#))
        };
        assert!(prompt("null").unwrap().max_tokens.is_none());
        assert_eq!(prompt("5").unwrap().max_tokens, NonZeroU64::new(5));
        for invalid in ["0", "-1", "1.5", "\"5\"", "12345678901234567890123456789012345"] {
            assert!(prompt(invalid).is_err(), "{invalid}");
        }
    }
}
