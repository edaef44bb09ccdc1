//! Outages.

use std::time::Duration;

use super::SECOND;
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::{Down, Latency, Outage, World};

pub(super) fn all() -> Vec<Scenario> {
    let down = |how, from: Duration, length: Duration| World {
        latency: Latency::Uniform(SECOND / 2, SECOND * 3 / 2),
        outages: vec![Outage { when: from..from + length, how }],
        ..World::default()
    };
    let ten = |name, about, how| {
        Scenario::new(name, about, down(how, 3 * SECOND / 2, 10 * SECOND)).attempt_timeout(5 * SECOND)
    };
    let flapping = (0..20)
        .map(|n| Outage { when: (5 + 10 * n) * SECOND..(10 + 10 * n) * SECOND, how: Down::Unavailable });
    vec![
        ten("outage-10s-refuses", "an outage of 10 s: no connections", Down::Refuses),
        ten("outage-10s-503", "an outage of 10 s: 503", Down::Unavailable),
        ten("outage-10s-resets", "an outage of 10 s: resets", Down::Resets),
        ten("outage-10s-hangs", "an outage of 10 s: no answers", Down::Hangs),
        Scenario::new(
            "outage-25s",
            "an outage of 25 s: 503",
            down(Down::Unavailable, 3 * SECOND / 2, 25 * SECOND),
        ),
        Scenario::new(
            "outage-10min",
            "an outage of ten minutes: no connections",
            down(Down::Refuses, 3 * SECOND / 2, 600 * SECOND),
        ),
        Scenario::new(
            "outage-long-answers",
            "an outage of 10 s: 503; answers of 20 s",
            World {
                latency: Latency::Fixed(20 * SECOND),
                ..down(Down::Unavailable, 10 * SECOND, 10 * SECOND)
            },
        ),
        Scenario::new(
            "loading",
            "503 for the first 20 s, while a model is loaded",
            down(Down::Unavailable, Duration::ZERO, 20 * SECOND),
        ),
        Scenario::new(
            "flapping",
            "up for 5 s, down for 5 s, and so on",
            World { latency: Latency::Fixed(SECOND), outages: flapping.collect(), ..World::default() },
        )
        .job(Job { prompts: 600, ..Job::default() }),
    ]
}
