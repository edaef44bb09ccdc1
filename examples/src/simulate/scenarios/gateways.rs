//! Gateways, with the behaviour that was observed.

use aplomb::rate_limit::{Dimension, Quota};

use super::{MINUTE, SECOND};
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::{Headers, Hint, Latency, Limit, Refusal, Shape, Words, World};

pub(super) fn all() -> Vec<Scenario> {
    let fast = Latency::Uniform(SECOND / 20, SECOND / 5);
    let behind = |limit: Limit| World { latency: fast, limits: vec![limit], ..World::default() };
    let prompts = |prompts, callers| Job { prompts, callers, ..Job::default() };
    let envoy = |amount| {
        let refusal = Refusal { status: 429, hint: Hint::None, words: Words::Line };
        behind(Limit::window(amount, SECOND).headers(Headers::Bare).refusal(refusal))
    };
    let haproxy = Limit {
        shape: Shape::Sliding,
        ..Limit::window(100, 10 * SECOND)
            .refused_count()
            .refusal(Refusal::too_many(Hint::Seconds(2)))
    };
    let page = Refusal { status: 429, hint: Hint::None, words: Words::Html };
    let nginx = |amount| behind(Limit::bucket(amount, SECOND, 10).refusal(page));
    let busy = Refusal { status: 429, hint: Hint::Seconds(60), words: Words::LiteLlmParallel };
    let unhinted = Refusal { hint: Hint::None, words: Words::LiteLlmRequests, ..busy };
    let known = |scenario: Scenario, places| Scenario { told_places: Some(places), ..scenario };
    let per_second = |amount: u32, burst| Quota::requests_per_second(amount.into()).burst(burst);
    vec![
        Scenario::new("envoy-10", "Envoy, 10 a second, a header without a window", envoy(10))
            .job(prompts(200, 32))
            .told(per_second(10, 10)),
        Scenario::new("envoy-100", "Envoy, 100 a second, a header without a window", envoy(100))
            .told(per_second(100, 100)),
        Scenario::new(
            "haproxy",
            "HAProxy, 100 in 10 s, refused calls count, told to retry after 2 s",
            behind(haproxy),
        )
        .told(Quota::new(Dimension::REQUESTS, 100, 10 * SECOND).burst(100)),
        Scenario::new("nginx-10", "nginx, 10 a second, a page without a hint", nginx(10))
            .job(prompts(200, 32))
            .told(per_second(10, 10)),
        Scenario::new("nginx-50", "nginx, 50 a second, a page without a hint", nginx(50))
            .job(prompts(600, 64))
            .told(per_second(50, 10)),
        known(
            Scenario::new(
                "nginx-2-places",
                "nginx, two connections, a page without a hint",
                World {
                    latency: fast,
                    places: Some((2, Refusal { status: 503, ..page })),
                    ..World::default()
                },
            )
            .job(prompts(100, 32)),
            2,
        ),
        known(
            Scenario::new(
                "litellm-8-places",
                "LiteLLM, 8 at once, told to retry after a minute",
                World { latency: Latency::Fixed(SECOND), places: Some((8, busy)), ..World::default() },
            )
            .job(prompts(100, 32)),
            8,
        ),
        Scenario::new(
            "litellm-key",
            "LiteLLM, 100 a minute for a key, without any hint",
            behind(Limit::window(100, MINUTE).refusal(unhinted)),
        )
        .job(prompts(200, 32))
        .told(Quota::requests_per_minute(100).burst(100)),
        Scenario::new(
            "litellm-minute",
            "LiteLLM, 100 a minute, told when it is over",
            behind(Limit::window(100, MINUTE).refusal(Refusal { hint: Hint::Exact, ..unhinted })),
        )
        .job(prompts(200, 32))
        .told(Quota::requests_per_minute(100).burst(100)),
        known(
            Scenario::new(
                "four-places-nginx",
                "a model of four places behind nginx, 503 above",
                World {
                    latency: Latency::HeavyTailed(SECOND / 2),
                    places: Some((4, Refusal { status: 503, ..page })),
                    ..World::default()
                },
            )
            .job(prompts(100, 32)),
            4,
        ),
    ]
}
