//! A limit is what goes away when calls are sent more slowly.

use super::memory::CallNumber;

/// Whether refusals go away at a lower rate, as a limit's do and those by chance do not.
///
/// A sequential test of two shares (Wald, 1945): either nearly as many calls are refused as before, or few are. Each call
/// adds the logarithm of how much likelier it is if it was a limit, until one of both is clear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// The share that was refused at the higher rate.
    before: f64,
    /// The calls sent at the lower rate, and how many of them were refused.
    sent: u32,
    refused: u32,
    /// The last call that counts.
    last: CallNumber,
    /// How often the rate was lowered since, and as many were refused.
    vain: u32,
}

/// The result of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Open,
    Limit,
    /// This share is refused whatever the rate.
    Chance(f64),
}

/// The share that is taken for chance, and the one that is taken for a limit, as multiples of what was refused before. The
/// former is less than 1 since a rate is lowered when more are refused than usual.
const CHANCE: f64 = 0.6;
const LIMIT: f64 = 0.15;

/// The smallest and the largest share before that are told from one another.
const LEAST: f64 = 0.06;
const MOST: f64 = 0.9;

/// The evidence that is enough: about one limit in 20 is taken for chance, which costs some refusals until the next
/// trial; and one share by chance in 400 for a limit, which costs time.
const ENOUGH_OF_CHANCE: f64 = -3.0;
const ENOUGH_OF_LIMIT: f64 = 6.0;

/// Fewer calls show no share; and a larger share than this is hardly chance, unless so many show it.
const FEW: u32 = 8;
const UNLIKELY: f64 = 0.35;
const MANY: u32 = 32;

impl Trial {
    /// Begins, at a lower rate than the one at which this share was refused.
    pub(super) const fn after(before: f64) -> Self {
        Self { before, sent: 0, refused: 0, last: 0, vain: 0 }
    }

    /// The same if the lower rate is known well.
    pub(super) const fn once(before: f64) -> Self {
        Self { vain: 1, ..Self::after(before) }
    }

    /// A call goes at the lower rate.
    pub(super) fn sent(&mut self, number: CallNumber) -> Verdict {
        self.sent += 1;
        self.last = number;
        if self.evidence() >= ENOUGH_OF_LIMIT {
            Verdict::Limit
        } else {
            Verdict::Open
        }
    }

    /// A call was refused. It counts if it went at the lower rate.
    pub(super) fn refused(&mut self, number: CallNumber) -> Verdict {
        if number > self.last {
            return Verdict::Open;
        }
        self.refused += 1;
        let share = self.share();
        let may_be = self.sent >= FEW && (share <= UNLIKELY || self.sent >= MANY);
        if may_be && self.evidence() <= ENOUGH_OF_CHANCE {
            Verdict::Chance(self.share())
        } else {
            Verdict::Open
        }
    }

    /// The rate is lowered once more: this share was refused since it was lowered the last time.
    pub(super) fn lowered(&mut self, share: f64) {
        if self.evidence() < 0.0 {
            self.vain += u32::from(self.sent >= FEW);
            self.before = self.before.min(share);
            (self.sent, self.refused) = (0, 0);
        }
    }

    /// The rate was lowered before, and as many were refused.
    pub(super) const fn is_repeated(&self) -> bool {
        self.vain > 0
    }

    fn share(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.sent.max(1))
    }

    /// Above zero for a limit, below for chance.
    fn evidence(&self) -> f64 {
        let before = self.before.clamp(LEAST, MOST);
        let (chance, limit) = (CHANCE * before, LIMIT * before);
        let accepted = f64::from(self.sent.saturating_sub(self.refused));
        accepted * ((1.0 - limit) / (1.0 - chance)).ln() + f64::from(self.refused) * (limit / chance).ln()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// The result of a trial if this share is refused, after `before` was.
    fn of(before: f64, share: f64, seed: u64) -> Verdict {
        let (mut trial, mut random) = (Trial::after(before), StdRng::seed_from_u64(seed));
        for number in 0..10_000 {
            match trial.sent(number) {
                Verdict::Open => {}
                verdict => return verdict,
            }
            if random.random_bool(share) {
                match trial.refused(number) {
                    Verdict::Open => {}
                    verdict => return verdict,
                }
            }
        }
        Verdict::Open
    }

    fn share_of(count: impl Fn(u64) -> bool) -> f64 {
        f64::from(u32::try_from((0..2_000).filter(|seed| count(*seed)).count()).unwrap_or(u32::MAX)) / 2_000.0
    }

    #[test]
    fn promise_37_chance_is_hardly_ever_a_limit() {
        for share in [0.05, 0.1, 0.25] {
            let wrong = share_of(|seed| of(share, share, seed) == Verdict::Limit);
            assert!(wrong < 0.005, "{share}: {wrong}");
            let right = share_of(|seed| matches!(of(share, share, seed), Verdict::Chance(_)));
            assert!(right > 0.98, "{share}: {right}");
        }
    }

    #[test]
    fn a_limit_is_hardly_ever_chance() {
        for before in [0.2, 0.4, 0.8] {
            assert_eq!(of(before, 0.0, 1), Verdict::Limit);
            // A rate that is a little too high.
            let wrong = share_of(|seed| of(before, before / 20.0, seed) != Verdict::Limit);
            assert!(wrong < 0.05, "{before}: {wrong}");
        }
    }

    #[test]
    fn calls_that_went_before_do_not_count() {
        let mut trial = Trial::after(0.5);
        (100..120).for_each(|number| assert_eq!(trial.sent(number), Verdict::Open));
        assert_eq!(trial.refused(500), Verdict::Open);
        assert_eq!(trial.refused, 0);
    }
}
