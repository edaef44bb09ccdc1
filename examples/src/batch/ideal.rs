//! How fast the best possible client could be: one that knows every fault beforehand.

use std::time::Duration;

/// One attempt at a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// From sending it to knowing what it came to.
    pub(crate) takes: Duration,
    /// How long the provider then asks to wait.
    pub(crate) then_wait: Duration,
}

/// What the provider allows: a bucket that is full at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) per_minute: u32,
    pub(crate) burst: u32,
}

/// Whose request goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// That of the prompt with the longest way to go.
    Free,
    /// That of the prompt named first.
    Kept,
}

/// The time in which so many workers could get all prompts answered, each after the steps it needs.
///
/// Whenever a request may be sent, one is sent, and again at once if it fails.
pub(crate) fn least(prompts: &[Vec<Step>], workers: usize, allowed: Allowed, order: Order) -> Duration {
    let interval = Duration::from_secs(60) / allowed.per_minute.max(1);
    let slack = interval * (allowed.burst.max(1) - 1);
    let mut all: Vec<Way> =
        prompts.iter().filter(|steps| !steps.is_empty()).map(|steps| Way::of(steps)).collect();
    let (mut full_at, mut end) = (Duration::ZERO, Duration::ZERO);
    while all.iter().any(|way| !way.is_over()) {
        let room_at = room(&all, workers);
        let bucket_at = full_at.saturating_sub(slack);
        let can_go = |way: &Way| way.can_go(room_at);
        let Some(now) = all.iter().filter_map(can_go).min().map(|first| first.max(bucket_at)) else {
            break;
        };
        let mut ready = all.iter_mut().filter(|way| can_go(way).is_some_and(|at| at <= now));
        let next = match order {
            Order::Free => ready.max_by_key(|way| way.left()),
            Order::Kept => ready.next(),
        };
        if let Some(next) = next {
            end = end.max(next.go(now));
        }
        full_at = full_at.max(now) + interval;
    }
    end
}

/// A prompt on its way.
struct Way<'a> {
    steps: &'a [Step],
    taken: usize,
    ready_at: Duration,
}

impl<'a> Way<'a> {
    fn of(steps: &'a [Step]) -> Self {
        Self { steps, taken: 0, ready_at: Duration::ZERO }
    }

    fn is_over(&self) -> bool {
        self.taken == self.steps.len()
    }

    /// From when on its next step can be taken, where a worker is free from `room_at` on.
    fn can_go(&self, room_at: Option<Duration>) -> Option<Duration> {
        match self.taken {
            _ if self.is_over() => None,
            0 => room_at,
            _ => Some(self.ready_at),
        }
    }

    fn left(&self) -> Duration {
        self.steps[self.taken..].iter().map(|step| step.takes + step.then_wait).sum()
    }

    /// Takes a step; returns when it is known what it came to.
    fn go(&mut self, now: Duration) -> Duration {
        let step = self.steps[self.taken];
        self.taken += 1;
        self.ready_at = now + step.takes + step.then_wait;
        now + step.takes
    }
}

/// When a worker is free for another prompt; `None` while all are kept by prompts of which the end is not known.
fn room(all: &[Way<'_>], workers: usize) -> Option<Duration> {
    let begun = all.iter().filter(|way| way.taken > 0);
    let mut ends: Vec<Option<Duration>> = begun.map(|way| way.is_over().then_some(way.ready_at)).collect();
    if ends.len() < workers {
        return Some(Duration::ZERO);
    }
    // The n-th prompt to come takes the place of the (n − workers)-th to go; those that never end come last.
    ends.sort_by_key(|end| end.unwrap_or(Duration::MAX));
    ends[ends.len() - workers]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn steps(seconds: &[u32]) -> Vec<Step> {
        seconds.iter().map(|n| Step { takes: SECOND * *n, then_wait: Duration::ZERO }).collect()
    }

    fn time(prompts: &[Vec<Step>], workers: usize, per_minute: u32, burst: u32) -> u64 {
        least(prompts, workers, Allowed { per_minute, burst }, Order::Free).as_secs()
    }

    #[test]
    fn a_limit_spaces_prompts_out() {
        // One a second: the first at once, the last two at 3 s and 4 s.
        assert_eq!(time(&vec![steps(&[1]); 5], 64, 60, 1), 5);
        assert_eq!(time(&vec![steps(&[1]); 5], 64, 60, 3), 3);
        assert_eq!(time(&[], 64, 60, 1), 0);
    }

    #[test]
    fn workers_are_a_limit_too() {
        assert_eq!(time(&vec![steps(&[2]); 4], 2, 6_000, 100), 4);
        assert_eq!(time(&vec![steps(&[2]); 4], 1, 6_000, 100), 8);
        // Two of 1 s after the other, beside one of 3 s.
        assert_eq!(time(&[steps(&[3]), steps(&[1]), steps(&[1])], 2, 6_000, 100), 3);
    }

    #[test]
    fn the_longest_way_goes_first_and_a_retry_costs_a_request() {
        // The last of three, but begun first: at 0 s, again at 2 s; the others at 1 s and 3 s.
        let prompts = [steps(&[1]), steps(&[1]), steps(&[2, 1])];
        assert_eq!(time(&prompts, 64, 60, 1), 4);
        // In order: at 0 s and 1 s the others, at 2 s this one, and again at 4 s.
        let allowed = Allowed { per_minute: 60, burst: 1 };
        assert_eq!(least(&prompts, 64, allowed, Order::Kept), SECOND * 5);
    }

    #[test]
    fn what_the_provider_asks_for_is_waited() {
        let asked = vec![
            Step { takes: SECOND, then_wait: SECOND * 4 },
            Step { takes: SECOND, then_wait: Duration::ZERO },
        ];
        assert_eq!(time(&[asked], 1, 60, 1), 6);
    }
}
