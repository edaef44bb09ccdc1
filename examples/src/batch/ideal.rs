//! How fast the best possible client could be: one that knows every fault in advance.

use std::time::Duration;

/// The limit of a provider: a bucket that is full at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) per_minute: u32,
    pub(crate) burst: u32,
}

/// The least time in which this many workers could get all prompts answered, each after attempts that take this long.
///
/// Whenever a request may be sent, one is sent: for the prompt with the most left to do. A failed attempt is repeated at
/// once.
pub(crate) fn least(prompts: &[Vec<Duration>], workers: usize, allowed: Allowed) -> Duration {
    let interval = Duration::from_secs(60) / allowed.per_minute.max(1);
    let slack = interval * (allowed.burst.max(1) - 1);
    let mut all: Vec<Prompt> = prompts
        .iter()
        .filter(|attempts| !attempts.is_empty())
        .map(|attempts| Prompt::new(attempts))
        .collect();
    let (mut full_at, mut end) = (Duration::ZERO, Duration::ZERO);
    while all.iter().any(|prompt| !prompt.is_answered()) {
        let worker_at = free_worker_at(&all, workers);
        let bucket_at = full_at.saturating_sub(slack);
        let may_send_at = |prompt: &Prompt| prompt.may_send_at(worker_at);
        let Some(now) = all.iter().filter_map(may_send_at).min().map(|first| first.max(bucket_at)) else {
            break;
        };
        let ready = all.iter_mut().filter(|prompt| may_send_at(prompt).is_some_and(|at| at <= now));
        if let Some(next) = ready.max_by_key(|prompt| prompt.left()) {
            end = end.max(next.send(now));
        }
        full_at = full_at.max(now) + interval;
    }
    end
}

/// A prompt, and how many of its attempts were sent.
struct Prompt<'a> {
    attempts: &'a [Duration],
    sent: usize,
    free_at: Duration,
}

impl<'a> Prompt<'a> {
    fn new(attempts: &'a [Duration]) -> Self {
        Self { attempts, sent: 0, free_at: Duration::ZERO }
    }

    fn is_answered(&self) -> bool {
        self.sent == self.attempts.len()
    }

    /// The earliest time of its next attempt, if a worker is free from `worker_at` on.
    fn may_send_at(&self, worker_at: Option<Duration>) -> Option<Duration> {
        match self.sent {
            _ if self.is_answered() => None,
            0 => worker_at,
            _ => Some(self.free_at),
        }
    }

    fn left(&self) -> Duration {
        self.attempts[self.sent..].iter().sum()
    }

    /// Sends the next attempt; returns when it ends.
    fn send(&mut self, now: Duration) -> Duration {
        self.free_at = now + self.attempts[self.sent];
        self.sent += 1;
        self.free_at
    }
}

/// When a worker is free for another prompt; `None` while that depends on prompts not yet answered.
fn free_worker_at(all: &[Prompt<'_>], workers: usize) -> Option<Duration> {
    let begun = all.iter().filter(|prompt| prompt.sent > 0);
    let mut ends: Vec<Option<Duration>> =
        begun.map(|prompt| prompt.is_answered().then_some(prompt.free_at)).collect();
    if ends.len() < workers {
        return Some(Duration::ZERO);
    }
    // The n-th prompt to begin takes the place of the (n − workers)-th to end. Unanswered ones come last.
    ends.sort_by_key(|end| end.unwrap_or(Duration::MAX));
    ends[ends.len() - workers]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn attempts(seconds: &[u32]) -> Vec<Duration> {
        seconds.iter().map(|n| SECOND * *n).collect()
    }

    fn time(prompts: &[Vec<Duration>], workers: usize, per_minute: u32, burst: u32) -> u64 {
        least(prompts, workers, Allowed { per_minute, burst }).as_secs()
    }

    #[test]
    fn a_limit_spaces_prompts_out() {
        // One a second: the first at once, the last two at 3 s and 4 s.
        assert_eq!(time(&vec![attempts(&[1]); 5], 64, 60, 1), 5);
        assert_eq!(time(&vec![attempts(&[1]); 5], 64, 60, 3), 3);
        assert_eq!(time(&[], 64, 60, 1), 0);
    }

    #[test]
    fn workers_are_a_limit_too() {
        assert_eq!(time(&vec![attempts(&[2]); 4], 2, 6_000, 100), 4);
        assert_eq!(time(&vec![attempts(&[2]); 4], 1, 6_000, 100), 8);
        // Two of 1 s after the other, beside one of 3 s.
        assert_eq!(time(&[attempts(&[3]), attempts(&[1]), attempts(&[1])], 2, 6_000, 100), 3);
    }

    #[test]
    fn the_prompt_with_the_most_to_do_goes_first_and_a_retry_costs_a_request() {
        // The last of three begins first: at 0 s, again at 2 s; the others at 1 s and 3 s.
        let prompts = [attempts(&[1]), attempts(&[1]), attempts(&[2, 1])];
        assert_eq!(time(&prompts, 64, 60, 1), 4);
    }
}
