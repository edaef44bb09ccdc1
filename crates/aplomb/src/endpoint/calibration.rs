//! The error of prompt estimates, learned from the usage that responses report.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aplomb_core::Usage;

/// The ratio of actual to estimated prompt tokens.
///
/// Four characters per token is right for English and off by a factor of two for much else, such as code or Thai,
/// and mostly in the same direction for all prompts of one endpoint.
#[derive(Debug)]
pub(super) struct Calibration(Mutex<Sums>);

#[derive(Clone, Copy, Debug)]
struct Sums {
    estimated: f64,
    actual: f64,
}

/// The estimated tokens of a prompt, before calibration. It stays in the record of the call until the response reports
/// the actual number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PromptEstimate(pub(super) u64);

/// The sums start as if this many tokens had been estimated correctly: a single short prompt, most of which is
/// roles and markers, says little.
const PRIOR: f64 = 1_000.0;

/// How much each response fades the earlier ones: the ratio is a mean of about 256 responses, or of all if there
/// were fewer.
const FADE: f64 = 1.0 / 256.0;

/// No estimate is changed by more than this factor: reported numbers may be wrong.
const MAX_FACTOR: f64 = 4.0;

impl Calibration {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Sums { estimated: PRIOR, actual: PRIOR }))
    }

    /// The expected tokens of a prompt with this estimate.
    pub(super) fn calibrated(&self, PromptEstimate(input): PromptEstimate) -> u64 {
        let Sums { estimated, actual } = *self.lock();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a prompt has far fewer than 2^52 tokens"
        )]
        let input = input as f64 * (actual / estimated).clamp(1.0 / MAX_FACTOR, MAX_FACTOR);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and no value is negative"
        )]
        let input = input.round() as u64;
        input
    }

    /// Learns from a response to a prompt with this estimate.
    pub(super) fn learn(&self, PromptEstimate(estimate): PromptEstimate, usage: Usage) {
        let Some(input) = usage.input().filter(|input| *input > 0 && estimate > 0) else {
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "a mean is not that exact")]
        let (estimate, input) = (estimate as f64, input as f64);
        let mut sums = self.lock();
        sums.estimated += estimate - sums.estimated * FADE;
        // A single response counts no more than can be true.
        sums.actual += input.clamp(estimate / MAX_FACTOR, estimate * MAX_FACTOR) - sums.actual * FADE;
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
        for (estimate, input) in answers {
            calibration.learn(PromptEstimate(estimate), Usage::unknown().with_input(input));
        }
        calibration
    }

    #[test]
    fn a_few_responses_show_that_all_estimates_are_off() {
        assert_eq!(after([]).calibrated(PromptEstimate(1_000)), 1_000);
        let double = after((0..20).map(|_| (1_000, 2_000))).calibrated(PromptEstimate(1_000));
        assert!((1_900..=2_000).contains(&double), "{double}");
        let half = after((0..20).map(|_| (1_000, 500))).calibrated(PromptEstimate(1_000));
        assert!((500..=550).contains(&half), "{half}");
    }

    #[test]
    fn errors_in_both_directions_change_little() {
        let answers = (0..500).map(|n| (1_000, if n % 3 == 0 { 2_000 } else { 500 }));
        let calibrated = after(answers).calibrated(PromptEstimate(1_000));
        assert!((980..=1_020).contains(&calibrated), "{calibrated}");
    }

    #[test]
    fn it_follows_when_the_prompts_change() {
        let answers = (0..1_000).map(|n| (100, if n < 500 { 200 } else { 100 }));
        let calibrated = after(answers).calibrated(PromptEstimate(100));
        assert!((100..=115).contains(&calibrated), "{calibrated}");
    }

    #[test]
    fn nonsense_changes_little() {
        assert_eq!(after([(10, u64::MAX)]).calibrated(PromptEstimate(1_000)), 1_030);
        assert_eq!(after([(0, 500), (500, 0)]).calibrated(PromptEstimate(1_000)), 1_000);
        let absurd = after((0..1_000).map(|_| (u64::MAX, 1)));
        assert_eq!(absurd.calibrated(PromptEstimate(1_000)), 250);
        assert!(after([(u64::MAX, u64::MAX)]).calibrated(PromptEstimate(u64::MAX)) > 0);
    }
}
