//! The tokens of prompts and answers.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::draw::{self, Lot};

/// The tokens of a request and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) input: u64,
    /// The request's `max_tokens`.
    pub(crate) bound: Option<u64>,
    /// The longest possible answer.
    pub(crate) longest: u64,
    /// The length of the answer.
    pub(crate) words: usize,
    /// True if the bound cuts it off.
    pub(crate) cut: bool,
}

/// A quarter of the characters, rounded up.
pub(crate) fn tokens_of(chars: usize) -> u64 {
    u64::try_from(chars.div_ceil(4)).unwrap_or(u64::MAX)
}

/// The words of an answer before `max_tokens`, at least one.
#[derive(Clone)]
pub(crate) enum Words {
    Exactly(usize),
    Between(RangeInclusive<usize>),
    By(Arc<dyn Fn(&str) -> usize + Send + Sync>),
}

impl Words {
    /// The words of this prompt's answer, and the most there may be.
    pub(crate) fn draw(&self, seed: u64, key: u64, prompt: &str) -> (usize, usize) {
        let (words, most) = match self {
            Self::Exactly(words) => (*words, *words),
            Self::Between(range) => {
                let (from, to) = (*range.start(), *range.end().max(range.start()));
                (between(from, to, draw::bits(seed, key, 0, Lot::Words)), to)
            }
            Self::By(of) => {
                let words = of(prompt);
                (words, words)
            }
        };
        (words.max(1), most.max(1))
    }
}

/// A number from `from` to `to`, all equally likely: the upper half of the product of 64 random bits and their number
/// (Lemire 2019).
fn between(from: usize, to: usize, bits: u64) -> usize {
    let choices = u128::try_from(to - from).unwrap_or(0) + 1;
    let choice = (u128::from(bits) * choices) >> 64;
    from + usize::try_from(choice).unwrap_or(0)
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(words) => write!(f, "{words}"),
            Self::Between(range) => write!(f, "{range:?}"),
            Self::By(_) => f.write_str("by prompt"),
        }
    }
}

/// The true tokens of a prompt over a quarter of its characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Factor {
    low: f64,
    high: f64,
}

impl Default for Factor {
    fn default() -> Self {
        Self { low: 1.0, high: 1.0 }
    }
}

impl Factor {
    pub(crate) fn between(low: f64, high: f64) -> Self {
        let sound = |factor: f64| {
            if factor.is_nan() {
                1.0
            } else {
                factor.clamp(0.01, 100.0)
            }
        };
        let low = sound(low);
        Self { low, high: sound(high).max(low) }
    }

    /// Half and double are equally likely.
    fn draw(self, seed: u64, key: u64) -> f64 {
        self.low * (self.high / self.low).powf(draw::unit(seed, key, 0, Lot::Input))
    }

    pub(crate) fn tokens(self, seed: u64, key: u64, chars: usize) -> u64 {
        if self == Self::default() {
            return tokens_of(chars);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a body has far fewer than 2^52 characters"
        )]
        let tokens = (chars as f64 / 4.0 * self.draw(seed, key)).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates"
        )]
        let tokens = tokens as u64;
        tokens
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_stay_in_their_bounds(from: usize, to: usize, seed: u64, key: u64) {
            let (words, most) = Words::Between(from..=to).draw(seed, key, "");
            prop_assert!(words >= from.max(1) && words <= most && most == to.max(from).max(1));
            prop_assert_eq!(Words::Between(from..=to).draw(seed, key, ""), (words, most));
        }

        #[test]
        fn factors_stay_in_their_bounds(low: f64, high: f64, seed: u64, key: u64) {
            let factor = Factor::between(low, high);
            let drawn = factor.draw(seed, key);
            prop_assert!(drawn >= factor.low * (1.0 - 1e-9) && drawn <= factor.high * (1.0 + 1e-9), "{drawn}");
            prop_assert!(factor.low >= 0.01 && factor.high <= 100.0);
        }
    }

    #[test]
    fn words_are_spread_over_the_whole_range() {
        let drawn = |n: u64| Words::Between(10..=19).draw(3, draw::key(&n.to_string()), "").0;
        let mut seen = [0_u32; 10];
        for n in 0..10_000 {
            seen[drawn(n) - 10] += 1;
        }
        assert!(seen.iter().all(|n| (880..1_120).contains(n)), "{seen:?}");
        assert_eq!(between(0, usize::MAX, u64::MAX), usize::MAX);
    }

    #[test]
    fn a_prompt_is_as_often_larger_as_smaller_than_it_looks() {
        let factor = Factor::between(0.5, 2.0);
        let larger = (0..10_000).filter(|n: &u32| factor.draw(7, draw::key(&n.to_string())) > 1.0).count();
        assert!((4_800..5_200).contains(&larger), "{larger}");
        assert_eq!(Factor::between(2.0, 2.0).tokens(0, 0, 100), 50);
        assert_eq!(Factor::between(0.5, 0.5).tokens(0, 0, 102), 13);
    }
}
