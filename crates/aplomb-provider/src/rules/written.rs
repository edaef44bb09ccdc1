//! Values in a configuration file, read such that every error can name the rule.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Problem;
use super::config::RuleConfig;

/// A value of the type that the setting has, or of another.
///
/// The other is no error yet: the deserializer that reads it does not know the name of the rule.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Written<T> {
    Right(T),
    Wrong(IgnoredAny),
}

impl<T: Default> Default for Written<T> {
    fn default() -> Self {
        Self::Right(T::default())
    }
}

impl<T> Written<T> {
    pub(super) fn value(self, setting: &'static str, expected: &'static str) -> Result<T, Problem> {
        match self {
            Self::Right(value) => Ok(value),
            Self::Wrong(IgnoredAny) => Err(Problem::Type { setting, expected }),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// The names of settings that there are not.
pub(super) struct Others(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Others {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Others;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Others, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Others(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// Reads the rules. A rule that cannot be read at all is named by its position.
pub(super) fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RuleConfig>, D::Error> {
    struct Rules;
    impl<'de> Visitor<'de> for Rules {
        type Value = Vec<RuleConfig>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of rules")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<RuleConfig>, A::Error> {
            let mut rules = Vec::new();
            loop {
                let number = (rules.len() + 1).to_string();
                let fail = |error| de::Error::custom(format_args!("rule {number:?}: {error}"));
                match list.next_element().map_err(fail)? {
                    Some(rule) => rules.push(rule),
                    None => return Ok(rules),
                }
            }
        }
    }
    deserializer.deserialize_seq(Rules)
}
