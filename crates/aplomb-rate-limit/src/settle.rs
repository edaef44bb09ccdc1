//! How the difference between an estimated charge and the actual use is settled.

use aplomb_core::Usage;

use crate::Charge;
use crate::charge::Counted;

/// How a quota settles a charge when its call has ended: the way the provider charges it.
///
/// A call is charged its estimate before it is sent. Its actual use is known at the end of its answer, and
/// providers treat the difference differently: OpenAI, Azure and Groq charge the largest possible answer when
/// the request arrives and give nothing back, Anthropic counts the output as it is produced. Giving back what the
/// provider keeps would lead straight to a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settle {
    /// The estimate stays charged, whatever was used. The default for requests.
    Keep,
    /// The charge becomes the actual use: a surplus is given back, a debt is added. A call that did not
    /// end well gives nothing back.
    Correct,
    /// Use beyond the estimate is added as a debt, and nothing is given back: safe with every provider, though
    /// not the fastest with all. The default for everything but requests.
    DebtOnly,
}

/// The actual use of a call.
pub(crate) trait ActualUse {
    /// The use of one dimension, if it is known.
    fn of(&self, counted: Counted) -> Option<Used>;
}

/// How much was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    Exactly(u64),
    /// So much, and an unknown rest: enough for a debt, but not for giving anything back.
    AtLeast(u64),
}

impl Used {
    pub(crate) const fn at_least(self) -> u64 {
        match self {
            Self::Exactly(used) | Self::AtLeast(used) => used,
        }
    }
}

impl ActualUse for Usage {
    fn of(&self, counted: Counted) -> Option<Used> {
        let all = match counted {
            Counted::Tokens => self.total(),
            Counted::Input => self.input(),
            Counted::Output => self.output(),
            Counted::Requests | Counted::Other(_) => None,
        };
        let part = || self.input().or(self.output()).filter(|_| counted == Counted::Tokens);
        all.map(Used::Exactly).or_else(|| part().map(Used::AtLeast))
    }
}

/// The caller's own figure: every dimension is known.
impl ActualUse for Charge {
    fn of(&self, counted: Counted) -> Option<Used> {
        Some(Used::Exactly(self.counted(counted)))
    }
}
