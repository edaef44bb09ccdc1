//! Servers and prompts that mislead a client.

use super::{MINUTE, SECOND};
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::Down;
use crate::simulate::server::{
    Fault, Headers, Hint, Latency, Limit, Outage, Refusal, What, Words, Work, World,
};

#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn all() -> Vec<Scenario> {
    let about_a_second = Latency::Uniform(SECOND / 2, SECOND * 3 / 2);
    let poison = |every, refusal| World {
        latency: about_a_second,
        poisoned: Some((every, refusal)),
        ..World::default()
    };
    let too_large = Refusal { status: 429, hint: Hint::None, words: Words::TooLarge };
    let always = |share, what| vec![Fault { share, when: None, what }];
    vec![
        Scenario::new(
            "poison-hint",
            "one prompt in 100 is always told to retry after 2 s",
            poison(100, Refusal::too_many(Hint::Seconds(2))),
        ),
        Scenario::new(
            "poison-bare",
            "one prompt in 100 is always refused, without a hint",
            poison(100, Refusal::too_many(Hint::None)),
        ),
        Scenario::new(
            "poison-large",
            "one prompt in 100 is larger than a limit that nobody named",
            poison(100, too_large),
        ),
        Scenario::new(
            "poison-503",
            "one prompt in 100 always gets a 503",
            poison(100, Refusal::overloaded()),
        ),
        Scenario::new(
            "exhausted",
            "the account is empty after 150 answers",
            World { funds: Some(150), latency: about_a_second, ..World::default() },
        ),
        Scenario::new(
            "slow-refusals",
            "20 a second; a refusal takes 3 s",
            World {
                latency: Latency::Fixed(SECOND),
                fails_in: 3 * SECOND,
                limits: vec![Limit::bucket(20, SECOND, 20)],
                ..World::default()
            },
        ),
        Scenario::new(
            "half-dead",
            "half of the backends refuse connections for a minute",
            World {
                latency: about_a_second,
                faults: vec![Fault { share: 0.5, when: Some(2 * SECOND..MINUTE), what: What::Reset }],
                ..World::default()
            },
        )
        .job(Job { prompts: 900, ..Job::default() }),
        Scenario::new(
            "503-limit",
            "20 a second, said with a 503",
            World {
                latency: about_a_second,
                limits: vec![Limit::bucket(20, SECOND, 20).refusal(Refusal::overloaded())],
                ..World::default()
            },
        ),
        Scenario::new(
            "limit-and-chance",
            "20 a second with hints, and 10 % of 429s at random",
            World {
                latency: about_a_second,
                limits: vec![Limit::bucket(20, SECOND, 20)],
                faults: always(0.1, What::Refused(Refusal::too_many(Hint::None))),
                ..World::default()
            },
        ),
        Scenario::new(
            "limit-and-places",
            "20 a second and 8 at once, 429 without a hint for both",
            World {
                latency: about_a_second,
                limits: vec![Limit::bucket(20, SECOND, 20).refusal(Refusal::too_many(Hint::None))],
                places: Some((8, Refusal::too_many(Hint::None))),
                ..World::default()
            },
        ),
        Scenario::new(
            "limit-and-outage",
            "20 a second, told in headers, and an outage of 10 s",
            World {
                latency: about_a_second,
                limits: vec![Limit::bucket(20, SECOND, 20).headers(Headers::OpenAi)],
                outages: vec![Outage { when: 5 * SECOND..15 * SECOND, how: Down::Unavailable }],
                ..World::default()
            },
        ),
        Scenario::new(
            "queue-and-timeout",
            "8 at a time, others wait; an attempt may take 10 s",
            World { latency: about_a_second, work: Work::Queue(8), ..World::default() },
        )
        .attempt_timeout(10 * SECOND),
        Scenario::new(
            "collapse-8s",
            "8 at once of 4 s each, slower with more",
            World { latency: Latency::Fixed(4 * SECOND), work: Work::Collapse(8), ..World::default() },
        )
        .job(Job { prompts: 120, ..Job::default() })
        .attempt_timeout(20 * SECOND),
    ]
}
