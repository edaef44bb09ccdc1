//! Servers of limited capacity.

use super::SECOND;
use crate::simulate::scenario::{Job, Scenario};
use crate::simulate::server::{Hint, Latency, Refusal, Work, World};

pub(super) fn all() -> Vec<Scenario> {
    let about_a_second = Latency::Uniform(SECOND * 4 / 5, SECOND * 6 / 5);
    let places = |refusal| World { latency: about_a_second, places: Some((16, refusal)), ..World::default() };
    let known = |scenario: Scenario, places| Scenario { told_places: Some(places), ..scenario };
    vec![
        known(
            Scenario::new(
                "collapse",
                "16 at once, slower with more, abandoned work goes on",
                World { latency: Latency::Fixed(SECOND), work: Work::Collapse(16), ..World::default() },
            )
            .attempt_timeout(5 * SECOND),
            16,
        ),
        known(
            Scenario::new("16-places-503", "at most 16 at once, 503 above", places(Refusal::overloaded())),
            16,
        ),
        known(
            Scenario::new(
                "16-places-429",
                "at most 16 at once, 429 without a hint above",
                places(Refusal::too_many(Hint::None)),
            ),
            16,
        ),
        known(
            Scenario::new(
                "8-places-5s",
                "at most 8 at once, 503 above, 5 s an answer",
                World {
                    latency: Latency::Fixed(5 * SECOND),
                    places: Some((8, Refusal::overloaded())),
                    ..World::default()
                },
            )
            .job(Job { prompts: 150, ..Job::default() }),
            8,
        ),
        known(
            Scenario::new(
                "queue",
                "works on 8 at a time, and others wait as long as it takes",
                World { latency: about_a_second, work: Work::Queue(8), ..World::default() },
            ),
            64,
        ),
    ]
}
