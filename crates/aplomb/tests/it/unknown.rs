//! Limits that are not configured: the endpoint knows only the provider.

use aplomb::{EndpointLayer, Policy};
use aplomb_mock::{Hints, Stats};

use crate::load::{Asked, Run, Ways, answer_words, run};

const MINUTES: u64 = 5;

/// Of the server, the prompts and the endpoint.
const SEED: u64 = 1;

fn endpoint(ways: &Ways, seed: u64) -> EndpointLayer {
    EndpointLayer::with_policy(ways.provider.clone(), Policy::new().seed(seed)).unwrap()
}

fn requests(stats: &Stats) -> u64 {
    stats.accepted
}

fn tokens(stats: &Stats) -> u64 {
    stats.charged_tokens
}

/// If the server reports its limits, next to nothing is refused. Otherwise the first calls show how many it takes at once, and
/// the rate is tried upwards now and then.
fn within(run: &Run, most: f64, used: f64) {
    assert!(run.refused() <= most, "{}", run.refused());
    assert!(used >= 0.9, "{used}");
}

async fn requests_are_found(hints: Hints) {
    let small = Asked { prompt: 16..=64, answer: 4..=16, room: 1 };
    for ways in [Ways::openai(), Ways::anthropic()] {
        for (limit, burst) in [(60, 10), (300, 300), (600, 20)] {
            let mock = ways.server(SEED).hints(hints).answer_words_by(answer_words);
            let mock = mock.requests_per_minute(limit).request_burst(burst).build();
            let layer = endpoint(&ways, SEED);
            let run = run(&ways, &layer, mock, 64, &small, SEED, MINUTES).await;
            let used = run.used_then(requests, limit);
            let name = ways.provider.name();
            run.tell(&format!("{name} {hints:?} {limit} requests at most {burst}"), used);
            let most = match hints {
                Hints::All => 0.02,
                // In five minutes the first seconds are a larger share of one call a second.
                _ if limit == 60 => 0.12,
                _ => 0.05,
            };
            within(&run, most, used);
        }
    }
}

async fn tokens_are_found(all_ways: &[Ways], hints: Hints, seed: u64) -> Vec<(Run, f64)> {
    const LIMIT: u64 = 100_000;
    let mut runs = Vec::new();
    for ways in all_ways {
        let mock = ways.server(seed).hints(hints).answer_words_by(answer_words);
        let mock = mock.tokens_per_minute(LIMIT).build();
        let layer = endpoint(ways, seed);
        let run = run(ways, &layer, mock, 64, &Asked::MIXED, seed, MINUTES).await;
        let used = run.used_then(tokens, LIMIT);
        run.tell(&format!("{} {hints:?} tokens", ways.provider.name()), used);
        runs.push((run, used));
    }
    runs
}

#[tokio::test(start_paused = true)]
async fn promise_24_an_unknown_limit_of_requests_that_the_server_tells_is_held() {
    requests_are_found(Hints::All).await;
}

#[tokio::test(start_paused = true)]
async fn promise_24_an_unknown_limit_of_requests_is_held_with_retry_after_alone() {
    requests_are_found(Hints::RetryAfter).await;
}

#[tokio::test(start_paused = true)]
async fn promise_24_an_unknown_limit_of_requests_that_nobody_tells_is_held() {
    requests_are_found(Hints::None).await;
}

#[tokio::test(start_paused = true)]
async fn promise_24_an_unknown_limit_of_tokens_that_the_server_tells_is_held() {
    // Bedrock reports nothing.
    let ways = [Ways::openai(), Ways::azure(), Ways::anthropic()];
    for (run, used) in tokens_are_found(&ways, Hints::All, SEED).await {
        within(&run, 0.04, used);
    }
}

#[tokio::test(start_paused = true)]
async fn promise_24_an_unknown_limit_of_tokens_is_held_with_retry_after_alone() {
    let ways = [Ways::openai(), Ways::azure(), Ways::bedrock(), Ways::anthropic()];
    for (run, used) in tokens_are_found(&ways, Hints::RetryAfter, SEED).await {
        within(&run, 0.18, used);
    }
}

/// The rate that is found is one of requests, whose costs differ by a factor of 250: a large one that is
/// refused without a hint is refused again after a pause that is too short for it.
#[tokio::test(start_paused = true)]
async fn an_unknown_limit_of_tokens_that_nobody_tells_is_used_and_refuses_one_in_five_at_most() {
    let ways = [Ways::openai(), Ways::azure(), Ways::anthropic()];
    for seed in [SEED, 2] {
        for (run, used) in tokens_are_found(&ways, Hints::None, seed).await {
            assert!(run.refused() <= 0.2, "{}", run.refused());
            assert!(used >= 0.8, "{used}");
        }
    }
}
