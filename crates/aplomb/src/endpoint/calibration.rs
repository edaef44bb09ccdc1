//! How far estimates of prompts are off, learned from what answers say of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aplomb_core::Usage;

/// How many tokens prompts have had, of how many they were taken for.
///
/// Four characters to a token is right for English and off by two for much else, code or Thai, and mostly in the
/// same direction for all that one endpoint is asked.
#[derive(Debug)]
pub(super) struct Calibration(Mutex<Sums>);

#[derive(Clone, Copy, Debug)]
struct Sums {
    estimated: f64,
    told: f64,
}

/// What a request's prompt was taken for, before it was calibrated: with the request until its answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guessed(pub(super) u64);

/// As though so many tokens had been estimated well: one short prompt, of which the roles and marks around it are
/// the larger part, says little.
const PRIOR: f64 = 1_000.0;

/// How much of what is known each answer makes forgotten: it is the mean of some 256 answers, and of all of them as
/// long as they are fewer.
const FORGOTTEN: f64 = 1.0 / 256.0;

/// No estimate is changed by more than this: what a peer reports may be nonsense.
const MOST: f64 = 4.0;

impl Calibration {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Sums { estimated: PRIOR, told: PRIOR }))
    }

    /// What a prompt comes to that was taken for so much.
    pub(super) fn calibrated(&self, Guessed(input): Guessed) -> u64 {
        let Sums { estimated, told } = *self.lock();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a prompt has far fewer than 2^52 tokens"
        )]
        let input = input as f64 * (told / estimated).clamp(1.0 / MOST, MOST);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates, and none is negative"
        )]
        let input = input.round() as u64;
        input
    }

    /// An answer has told what its prompt came to.
    pub(super) fn told(&self, Guessed(guessed): Guessed, usage: Usage) {
        let Some(input) = usage.input().filter(|input| *input > 0 && guessed > 0) else {
            return;
        };
        // One answer counts as far as it can be true.
        #[expect(clippy::cast_precision_loss, reason = "a mean is not that exact")]
        let (guessed, input) = (guessed as f64, input as f64);
        let mut sums = self.lock();
        sums.estimated += guessed - sums.estimated * FORGOTTEN;
        sums.told += input.clamp(guessed / MOST, guessed * MOST) - sums.told * FORGOTTEN;
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: impl IntoIterator<Item = (u64, u64)>) -> Calibration {
        let calibration = Calibration::new();
        for (guessed, input) in answers {
            calibration.told(Guessed(guessed), Usage::unknown().with_input(input));
        }
        calibration
    }

    #[test]
    fn a_few_answers_tell_that_all_estimates_are_off() {
        assert_eq!(after([]).calibrated(Guessed(1_000)), 1_000);
        let double = after((0..20).map(|_| (1_000, 2_000))).calibrated(Guessed(1_000));
        assert!((1_900..=2_000).contains(&double), "{double}");
        let half = after((0..20).map(|_| (1_000, 500))).calibrated(Guessed(1_000));
        assert!((500..=550).contains(&half), "{half}");
    }

    #[test]
    fn what_is_off_as_often_one_way_as_the_other_changes_little() {
        let answers = (0..500).map(|n| (1_000, if n % 3 == 0 { 2_000 } else { 500 }));
        let calibrated = after(answers).calibrated(Guessed(1_000));
        assert!((980..=1_020).contains(&calibrated), "{calibrated}");
    }

    #[test]
    fn it_follows_when_other_things_are_asked() {
        let answers = (0..1_000).map(|n| (100, if n < 500 { 200 } else { 100 }));
        let calibrated = after(answers).calibrated(Guessed(100));
        assert!((100..=115).contains(&calibrated), "{calibrated}");
    }

    #[test]
    fn nonsense_changes_little_and_the_least_said_nothing() {
        assert_eq!(after([(10, u64::MAX)]).calibrated(Guessed(1_000)), 1_030);
        assert_eq!(after([(0, 500), (500, 0)]).calibrated(Guessed(1_000)), 1_000);
        let absurd = after((0..1_000).map(|_| (u64::MAX, 1)));
        assert_eq!(absurd.calibrated(Guessed(1_000)), 250);
        assert!(after([(u64::MAX, u64::MAX)]).calibrated(Guessed(u64::MAX)) > 0);
    }
}
