//! The best possible client: it knows everything in advance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::prompt::Asked;
use super::scenario::Scenario;
use super::server::What;
use super::server::World;
use super::server::model::{Arrival, Ending, Fate, Model, Opens};

/// The best possible client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ideal {
    /// The time it takes.
    pub took: Duration,
    /// The number of requests it sends.
    pub requests: u64,
    /// The number of prompts that are answered: all that can be.
    pub answered: u64,
}

/// A number that no prompt has.
const NONE: u64 = u64::MAX;

/// The time that an error in a stream names.
const STREAM_HINT: Duration = Duration::from_millis(1_200);

/// Computes the run of the best possible client: it sends a request at the first instant at which the server accepts it,
/// and none in vain. Random faults of a prompt's attempts happen to it too, and it waits as long as a refusal names.
/// It sends the prompts in their order, with as many callers as there are.
pub fn ideal(scenario: &Scenario, seed: u64) -> Ideal {
    let job = scenario.job;
    let mut model = Model::new(&scenario.world, seed);
    let mut ideal = Ideal { took: Duration::ZERO, requests: 0, answered: 0 };
    let mut next = 0;
    let arrival = |number| {
        let asked = Asked::of(&job.prompt(number));
        Arrival { prompt: number, may_need: asked.may_need(), will_need: asked.will_need() }
    };
    // By time: prompts to send again, in their order, and then callers without a prompt.
    let mut ready: BinaryHeap<_> = (0..job.callers).map(|_| Reverse((Duration::ZERO, NONE))).collect();
    let mut ends: BinaryHeap<Reverse<(Duration, u64, bool)>> = BinaryHeap::new();
    while let Some(Reverse((now, mut number))) = ready.pop() {
        if number == NONE {
            next += 1;
            number = next;
        }
        if number > job.prompts {
            continue;
        }
        while let Some(Reverse((end, of, well))) =
            ends.peek().copied().filter(|Reverse((end, ..))| *end <= now)
        {
            ends.pop();
            model.leave(&arrival(of), well, end);
        }
        let first_end = ends.peek().map(|Reverse((end, ..))| *end);
        let asked = arrival(number);
        let later = match model.opens(&asked, now) {
            Opens::Now => None,
            Opens::Never => {
                ready.push(Reverse((now, NONE)));
                continue;
            }
            Opens::At(at) => Some(first_end.map_or(at, |end| end.min(at))),
            Opens::WhenOneEnds => first_end,
        };
        if let Some(later) = later {
            ready.push(Reverse((later, number)));
            continue;
        }
        ideal.requests += 1;
        let failed = now + scenario.world.fails_in;
        ready.push(Reverse(match model.arrive(&asked, now) {
            Fate::Taken(takes, ending) => {
                let (reading, again) = ends_in(&scenario.world, job.stream, ending);
                let end = now + takes + reading;
                ends.push(Reverse((end, number, again.is_none())));
                if let Some(wait) = again {
                    (end + wait, number)
                } else {
                    ideal.answered += 1;
                    ideal.took = ideal.took.max(end);
                    (end, NONE)
                }
            }
            Fate::Answered(_, hint) => (failed + hint.unwrap_or_default(), number),
            Fate::Reset(_) => (failed, number),
            Fate::Hangs => (now + scenario.attempt_timeout, number),
        }));
    }
    ideal
}

/// The time from the head of an answer to its end, and from then until the request is sent again, if it is.
fn ends_in(world: &World, stream: bool, ending: Ending) -> (Duration, Option<Duration>) {
    let gaps = |words: usize| {
        let gap = world.stream.filter(|_| stream).map_or(Duration::ZERO, |(_, gap)| gap);
        gap * u32::try_from(words).unwrap_or(u32::MAX)
    };
    let words = world.stream.map_or(0, |(words, _)| words);
    match ending {
        Ending::Well => (gaps(words), None),
        Ending::Stream(_) if world.stream.is_none() || !stream => (Duration::ZERO, None),
        Ending::Stream(What::StreamBreaks) => (gaps(words / 2 + 1), Some(Duration::ZERO)),
        Ending::Stream(What::StreamRefused) => (Duration::ZERO, Some(STREAM_HINT)),
        Ending::Stream(_) | Ending::Fails(_) | Ending::Broken(_) => (Duration::ZERO, Some(Duration::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Down, Fault, Hint, Latency, Limit, Outage, Refusal, Work};
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn of(world: World) -> Ideal {
        ideal(&Scenario::new("test", "", world), 1)
    }

    #[test]
    fn without_limits_it_takes_as_many_rounds_as_there_are_prompts_for_a_caller() {
        assert_eq!(of(World::default()), Ideal { took: 5 * S, requests: 300, answered: 300 });
    }

    #[test]
    fn a_bucket_is_used_to_the_last() {
        let world = World { limits: vec![Limit::bucket(20, S, 20)], ..World::default() };
        // 280 that are not in the burst flow at 20 a second, and the last of them takes a second.
        assert_eq!(of(world), Ideal { took: 15 * S, requests: 300, answered: 300 });
    }

    #[test]
    fn a_window_is_used_as_soon_as_it_opens() {
        let world = World {
            limits: vec![Limit::window(100, 5 * S)],
            latency: Latency::Fixed(S / 2),
            ..World::default()
        };
        assert_eq!(of(world).took, 10 * S + S);
    }

    #[test]
    fn so_many_places_are_all_taken() {
        let world = World { places: Some((16, Refusal::overloaded())), ..World::default() };
        assert_eq!(of(world).took, 19 * S);
        assert_eq!(of(World { work: Work::Collapse(16), ..World::default() }).took, 19 * S);
    }

    #[test]
    fn an_outage_is_waited_for_and_costs_no_request() {
        let outage = Outage { when: S / 2..10 * S, how: Down::Refuses };
        let ideal = of(World { outages: vec![outage], ..World::default() });
        assert_eq!(ideal, Ideal { took: 15 * S, requests: 300, answered: 300 });
    }

    #[test]
    fn what_happens_at_random_happens_to_it_too() {
        let refused = What::Refused(Refusal::too_many(Hint::Seconds(1)));
        let fault = Fault { share: 0.1, when: None, what: refused };
        let ideal = of(World { faults: vec![fault], ..World::default() });
        assert!((315..355).contains(&ideal.requests), "{ideal:?}");
        assert!((5 * S..=8 * S).contains(&ideal.took), "{ideal:?}");
        assert_eq!(ideal.answered, 300);
    }

    #[test]
    fn what_can_never_be_answered_is_not_asked() {
        let poisoned = Some((100, Refusal::too_many(Hint::None)));
        assert_eq!(of(World { poisoned, ..World::default() }).answered, 297);
        assert_eq!(of(World { funds: Some(50), ..World::default() }).requests, 50);
    }

    #[test]
    fn tokens_that_come_back_are_used_again() {
        let mut scenario = Scenario::new("test", "", World::default());
        scenario.job = super::super::scenario::Job { input: 50, max_output: 200, ..scenario.job };
        let took = |given_back| {
            let limit = Limit::bucket(6_000, 60 * S, 6_000).tokens(given_back);
            let world = World { limits: vec![limit], ..World::default() };
            ideal(&Scenario { world, ..scenario.clone() }, 1).took
        };
        // 250 tokens each, 100 once settled: 69,000 at 100 a second; or 24,000.
        assert!((680 * S..720 * S).contains(&took(false)), "{:?}", took(false));
        assert!((230 * S..260 * S).contains(&took(true)), "{:?}", took(true));
    }
}
