//! Servers with wrong reports about themselves.

use aplomb::rate_limit::{Dimension, Quota};

use super::{MINUTE, SECOND};
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::{Headers, Hint, Latency, Limit, Refusal, World};

pub(super) fn all() -> Vec<Scenario> {
    let half_a_second = Latency::Uniform(SECOND / 5, SECOND * 4 / 5);
    let limited = |limit: Limit| World { latency: half_a_second, limits: vec![limit], ..World::default() };
    let told = || Quota::requests_per_second(20).burst(20);
    vec![
        Scenario::new(
            "hint-too-long",
            "20 a second, told to retry after 20 s",
            limited(Limit::bucket(20, SECOND, 20).refusal(Refusal::too_many(Hint::Seconds(20)))),
        )
        .told(told()),
        Scenario::new(
            "hint-too-short",
            "a window of 10 s, told to retry after 1 s",
            limited(Limit::window(100, 10 * SECOND).refusal(Refusal::too_many(Hint::Seconds(1)))),
        )
        .told(Quota::new(Dimension::REQUESTS, 100, 10 * SECOND).burst(100)),
        Scenario::new(
            "reset-lies",
            "20 a second, with a reset that is always a minute",
            limited(Limit::bucket(20, SECOND, 20).headers(Headers::OpenAiWrongReset)),
        )
        .told(told()),
        Scenario::new(
            "window-no-unit",
            "60 in each 5 s, a header without a window",
            limited(Limit::window(60, 5 * SECOND).headers(Headers::Bare)),
        )
        .told(Quota::new(Dimension::REQUESTS, 60, 5 * SECOND).burst(60)),
        Scenario::new(
            "hint-a-minute",
            "5 % at random are told to retry after a minute",
            World {
                latency: half_a_second,
                faults: vec![crate::simulate::server::Fault {
                    share: 0.05,
                    when: None,
                    what: crate::simulate::server::What::Refused(Refusal::too_many(Hint::Seconds(60))),
                }],
                ..World::default()
            },
        )
        .job(Job { prompts: 600, ..Job::default() })
        .attempt_timeout(MINUTE),
    ]
}
