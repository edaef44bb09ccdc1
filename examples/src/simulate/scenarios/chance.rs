//! Random faults, independent of the load.

use super::SECOND;
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::{Fault, Hint, Latency, Refusal, What, World};

pub(super) fn all() -> Vec<Scenario> {
    let about_a_second = Latency::Uniform(SECOND / 2, SECOND * 3 / 2);
    let randomly = |faults: Vec<Fault>| World { latency: about_a_second, faults, ..World::default() };
    let always = |share, what| vec![Fault { share, when: None, what }];
    let refused = |hint| What::Refused(Refusal::too_many(hint));
    let streams = vec![
        Fault { share: 0.05, when: None, what: What::StreamError },
        Fault { share: 0.05, when: None, what: What::StreamRefused },
        Fault { share: 0.05, when: None, what: What::StreamBreaks },
    ];
    let streaming = World { stream: Some((20, SECOND / 40)), ..randomly(streams) };
    let brown_out = Fault { share: 0.3, when: Some(2 * SECOND..14 * SECOND), what: What::Fails(500) };
    vec![
        Scenario::new(
            "429-5%-hint",
            "5 % get a 429, \"retry after 1 s\": shared capacity",
            randomly(always(0.05, refused(Hint::Seconds(1)))),
        ),
        Scenario::new("429-10%", "10 % get a 429 without a hint", randomly(always(0.1, refused(Hint::None)))),
        Scenario::new(
            "429-25%",
            "25 % get a 429 without a hint",
            randomly(always(0.25, refused(Hint::None))),
        ),
        Scenario::new("503-20%", "20 % get a 503", randomly(always(0.2, What::Fails(503)))),
        Scenario::new("503-60%", "60 % get a 503", randomly(always(0.6, What::Fails(503)))),
        Scenario::new(
            "500-20%-late",
            "20 % fail, as late as others are answered",
            randomly(always(0.2, What::FailsLate(500))),
        ),
        Scenario::new("reset-10%", "10 % are reset", randomly(always(0.1, What::Reset))),
        Scenario::new("hang-3%", "3 % are never answered", randomly(always(0.03, What::Hangs)))
            .attempt_timeout(10 * SECOND),
        Scenario::new("streams", "10 % of the streams begin with an error, 5 % break", streaming)
            .job(Job { stream: true, ..Job::default() }),
        Scenario::new(
            "brown-out",
            "30 % of 500s for 12 s",
            World { latency: about_a_second, faults: vec![brown_out], ..World::default() },
        )
        .job(Job { prompts: 900, ..Job::default() }),
        Scenario::new(
            "healthy-2s",
            "no trouble at all, 2 s an answer",
            World { latency: Latency::Fixed(2 * SECOND), ..World::default() },
        ),
        Scenario::new(
            "healthy-30s",
            "no trouble at all, 30 s an answer",
            World { latency: Latency::Fixed(30 * SECOND), ..World::default() },
        ),
        Scenario::new(
            "healthy-200ms",
            "no trouble at all, 0.2 s an answer",
            World { latency: Latency::Fixed(SECOND / 5), ..World::default() },
        )
        .job(Job { prompts: 3_000, ..Job::default() }),
        Scenario::new(
            "heavy-tail",
            "no trouble, answers with a heavy tail around 2 s",
            World { latency: Latency::HeavyTailed(2 * SECOND), ..World::default() },
        )
        .attempt_timeout(600 * SECOND),
        Scenario::new(
            "503-5%-8s",
            "5 % get a 503, 8 s an answer",
            World {
                latency: Latency::Fixed(8 * SECOND),
                faults: always(0.05, What::Fails(503)),
                ..World::default()
            },
        ),
        Scenario::new(
            "429-1%-fast",
            "5,000 calls of 50 ms, 1 % get a 429, \"retry after 1 s\"",
            World {
                latency: Latency::Fixed(SECOND / 20),
                faults: always(0.01, refused(Hint::Seconds(1))),
                ..World::default()
            },
        )
        .job(Job { prompts: 5_000, ..Job::default() }),
    ]
}
