//! Rate limits that our own load reaches.

use std::time::Duration;

use aplomb::rate_limit::Quota;

use super::{MINUTE, SECOND};
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::{Headers, Hint, Latency, Limit, Refusal, Shape, World};

#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn all() -> Vec<Scenario> {
    let half_a_second = Latency::Uniform(SECOND / 5, SECOND * 4 / 5);
    let limited = |limit: Limit| World { latency: half_a_second, limits: vec![limit], ..World::default() };
    let twenty = || Limit::bucket(20, SECOND, 20);
    let per_second = |amount: u32, burst| Quota::requests_per_second(amount.into()).burst(burst);
    let tokens = |given_back| {
        let limit = Limit::bucket(60_000, MINUTE, 60_000).tokens(given_back).headers(Headers::OpenAi);
        let job = Job { input: 50, max_output: 400, ..Job::default() };
        (World { limits: vec![limit], ..World::default() }, job)
    };
    let (kept, job) = tokens(false);
    let (given_back, _) = tokens(true);
    let changing = Limit { changes: vec![(5 * SECOND, 5), (25 * SECOND, 40)], ..twenty() };
    let shared = Limit { others: vec![(4 * SECOND..20 * SECOND, 12.0)], ..twenty() };
    let begun = Limit { shape: Shape::Window { elapsed: 30 * SECOND }, ..Limit::window(100, MINUTE) };
    vec![
        Scenario::new("bucket", "20 a second, with hints", limited(twenty())).told(per_second(20, 20)),
        Scenario::new(
            "bucket-headers",
            "20 a second, told in OpenAI's headers",
            limited(twenty().headers(Headers::OpenAi)),
        )
        .told(per_second(20, 20)),
        Scenario::new(
            "bucket-bare",
            "20 a second, without a hint",
            limited(twenty().refusal(Refusal::too_many(Hint::None))),
        )
        .told(per_second(20, 20)),
        Scenario::new(
            "bucket-counts",
            "20 a second, refused calls count, without a hint",
            limited(twenty().refused_count().refusal(Refusal::too_many(Hint::None))),
        )
        .told(per_second(20, 20)),
        Scenario::new(
            "120-a-minute",
            "120 a minute, told in headers, of which 120 may come at once",
            limited(Limit::bucket(120, MINUTE, 120).headers(Headers::OpenAi)),
        )
        .job(Job { prompts: 200, ..Job::default() })
        .told(Quota::requests_per_minute(120)),
        Scenario::new(
            "window-5s",
            "100 in each 5 s, all at once, without headers",
            limited(Limit::window(100, 5 * SECOND)),
        )
        .told(Quota::new(aplomb::rate_limit::Dimension::REQUESTS, 100, 5 * SECOND).burst(100)),
        Scenario::new(
            "window-minute",
            "100 in each minute, without headers; half of the first is over",
            limited(begun),
        )
        .told(Quota::requests_per_minute(100).burst(100)),
        Scenario::new(
            "window-1s",
            "20 in each second, without a hint",
            limited(Limit::window(20, SECOND).refusal(Refusal::too_many(Hint::None))),
        )
        .told(per_second(20, 20)),
        Scenario::new("tokens-kept", "60,000 tokens a minute, reserved for good", kept)
            .job(job)
            .told(Quota::tokens_per_minute(60_000)),
        Scenario::new(
            "tokens-given-back",
            "60,000 tokens a minute, what is not needed is given back",
            given_back,
        )
        .job(Job { prompts: 900, ..job })
        .told(Quota::tokens_per_minute(60_000)),
        Scenario::new("changing", "20 a second, 5 from the 5th second, 40 from the 25th", limited(changing)),
        Scenario::new("others", "20 a second, 12 of which others take for 16 s", limited(shared)),
        Scenario::new(
            "fast",
            "10,000 a second, never met, 50 ms an answer",
            World {
                latency: Latency::Fixed(SECOND / 20),
                limits: vec![Limit::bucket(10_000, SECOND, 10_000)],
                ..World::default()
            },
        )
        .job(Job { prompts: 5_000, ..Job::default() })
        .told(Quota::requests_per_second(10_000)),
        Scenario::new(
            "tenants",
            "50 tenants with quotas of their own on one account of 20 a second",
            limited(twenty()),
        )
        .job(Job { prompts: 400, tenants: Some(50), ..Job::default() })
        .each_tenant(Quota::requests_per_minute(600)),
        Scenario::new(
            "slow-limit",
            "one every 6 s, told in a hint",
            World {
                latency: Latency::Fixed(SECOND),
                limits: vec![Limit::bucket(10, MINUTE, 1)],
                ..World::default()
            },
        )
        .job(Job { prompts: 30, callers: 16, ..Job::default() })
        .attempt_timeout(Duration::from_secs(30))
        .told(Quota::requests_per_minute(10).burst(1)),
    ]
}
