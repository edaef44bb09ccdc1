//! What becomes of the difference between what was reserved and what was used.

use aplomb_core::Usage;

use crate::Charge;
use crate::charge::Counted;

/// How a quota's charge is settled when its call has ended: as the provider charges it.
///
/// A call is charged its estimate before it is sent. What it really used is known at the end of its
/// answer, and providers differ in what they do then: OpenAI, Azure and Groq charge the most that an
/// answer may hold when the request arrives and give nothing back, Anthropic counts the output as it is
/// produced. To give back what the provider keeps would lead straight into a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settle {
    /// The estimate stays charged, whatever was used. The default for requests.
    Keep,
    /// The charge becomes what was used: a surplus is given back, a debt is added. A call that did not
    /// end well gives nothing back.
    Correct,
    /// What was used beyond the estimate is added as a debt, and nothing is given back: right with
    /// every provider, if not the fastest with all. The default for everything but requests.
    DebtOnly,
}

/// Who says what was used.
pub(crate) trait Used {
    /// What was used of a dimension, where that is known.
    fn of(&self, counted: Counted) -> Option<Known>;
}

/// How much of what was used is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    All(u64),
    /// So much, and more that nobody has told: enough to owe it, and not to give anything back.
    AtLeast(u64),
}

impl Known {
    pub(crate) const fn at_least(self) -> u64 {
        match self {
            Self::All(used) | Self::AtLeast(used) => used,
        }
    }
}

impl Used for Usage {
    fn of(&self, counted: Counted) -> Option<Known> {
        let all = match counted {
            Counted::Tokens => self.total(),
            Counted::Input => self.input(),
            Counted::Output => self.output(),
            Counted::Requests | Counted::Other(_) => None,
        };
        let part = || self.input().or(self.output()).filter(|_| counted == Counted::Tokens);
        all.map(Known::All).or_else(|| part().map(Known::AtLeast))
    }
}

/// What the caller itself says: every dimension is known.
impl Used for Charge {
    fn of(&self, counted: Counted) -> Option<Known> {
        Some(Known::All(self.counted(counted)))
    }
}
