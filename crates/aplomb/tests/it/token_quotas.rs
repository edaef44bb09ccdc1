//! Quotas of tokens under requests of mixed size, as each provider counts.
//!
//! *Used* is what the server has counted in eleven minutes, of all that its limit lets it count: eleven minutes' flow and
//! the minute's worth that may come at once at first. Where input and output are limited apart, it is the limit that is
//! used more: the other cannot be used up.

use std::ops::RangeInclusive;

use aplomb::{EndpointLayer, Policy};
use aplomb_mock::Hints;

use crate::load::{Asked, Run, Ways, answer_words, run};

/// A minute.
const LIMIT: u64 = 100_000;

const MINUTES: u64 = 11;

/// Prompts whose tokens are this many times their estimate.
type Factor = RangeInclusive<f64>;

struct Case {
    ways: Ways,
    hints: Hints,
    factor: Factor,
    asked: Asked,
    limit: u64,
    seed: u64,
}

impl Case {
    fn new(ways: Ways, seed: u64) -> Self {
        Self {
            ways,
            hints: Hints::All,
            factor: 1.0..=1.0,
            asked: Asked::MIXED,
            limit: LIMIT,
            seed,
        }
    }

    /// Runs it; also returns the share of the quota that was used.
    async fn run(self) -> (Run, f64) {
        let Self { ways, hints, factor, asked, limit, seed } = self;
        // About as much as goes with so much input.
        let output_limit = limit / 12;
        let mock = ways.server(seed).hints(hints).answer_words_by(answer_words).input_factor(factor.clone());
        let policy = Policy::new().include_usage();
        let (mock, policy) = if ways.has_two_limits() {
            (
                mock.input_tokens_per_minute(limit).output_tokens_per_minute(output_limit),
                policy.input_tokens_per_minute(limit).output_tokens_per_minute(output_limit),
            )
        } else {
            (mock.tokens_per_minute(limit), policy.tokens_per_minute(limit))
        };
        let layer = EndpointLayer::with_policy(ways.provider.clone(), policy).unwrap();
        let run = run(&ways, &layer, mock.build(), 64, &asked, seed, MINUTES).await;
        let used = if ways.has_two_limits() {
            let input = run.used(|stats| stats.charged_input_tokens, limit, limit);
            input.max(run.used(|stats| stats.charged_output_tokens, output_limit, output_limit))
        } else {
            run.used(|stats| stats.charged_tokens, limit, limit)
        };
        let of = format!("{} {hints:?} x{factor:?} seed {seed}", ways.provider.name());
        run.tell(&of, used);
        (run, used)
    }
}

/// Estimates are true: what an answer may hold it holds.
async fn nothing_is_refused(ways: Ways) {
    let (run, used) = Case::new(ways, 1).run().await;
    assert_eq!((run.count_429(), run.failed), (0, 0));
    assert!(used >= 0.95, "{used}");
}

/// Prompts have this many times the tokens of their estimate, and answers a quarter of their maximum. If they are off
/// either way, the server sends `retry-after` alone: only the answers show how far off the estimates were.
///
/// All refusals come in the first minute: with some 40 requests a minute that is 2 % of eleven minutes, so if all prompts
/// are twice as large, the limit is twice as high.
async fn little_is_refused(ways: Ways, factor: Factor) {
    let limit = if *factor.start() > 1.0 { 2 * LIMIT } else { LIMIT };
    let is_mixed = factor.start() < factor.end();
    let hints = if is_mixed { Hints::RetryAfter } else { Hints::All };
    let asked = Asked { room: 4, ..Asked::MIXED };
    let (run, used) = Case { hints, factor, asked, limit, ..Case::new(ways, 1) }.run().await;
    assert!(used >= 0.95, "{used}");
    assert!(run.refused() <= 0.02, "{}", run.refused());
}

/// The tests of one way of counting.
macro_rules! counted_as {
    ($($way:ident),+) => {$(
        mod $way {
            use super::*;

            #[tokio::test(start_paused = true)]
            async fn promise_21_true_estimates_use_the_quota_without_a_429() {
                nothing_is_refused(Ways::$way()).await;
            }

            #[tokio::test(start_paused = true)]
            async fn promise_21_estimates_of_twice_as_much_use_the_quota() {
                little_is_refused(Ways::$way(), 0.5..=0.5).await;
            }

            #[tokio::test(start_paused = true)]
            async fn promise_21_estimates_of_half_as_much_use_the_quota_with_few_429s() {
                little_is_refused(Ways::$way(), 2.0..=2.0).await;
            }

            #[tokio::test(start_paused = true)]
            async fn promise_21_estimates_off_either_way_use_the_quota_with_few_429s() {
                little_is_refused(Ways::$way(), 0.5..=2.0).await;
            }
        }
    )+};
}

counted_as!(openai, azure, bedrock, anthropic);
