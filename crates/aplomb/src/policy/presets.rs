//! Policies by what a call is for.

use std::time::Duration;

use aplomb_core::Exponential;
use aplomb_retry::ByKind;

use super::{Policy, USUAL, Usual};

impl Policy {
    /// For somebody who waits for the answer: it comes soon, or fails soon.
    ///
    /// An open circuit refuses at once. A call waits 5 s at most for the quotas, and a server may ask for 5 s
    /// at most. Up to 2 retries, after 0.25 s doubled up to 2 s. 60 s to the head of a response and to the
    /// first content, 30 s without content after that, two minutes for an attempt, and as long for the call.
    pub fn interactive() -> Self {
        let backoff = Exponential::new(Duration::from_millis(250)).max(Duration::from_secs(2));
        let minute = Duration::from_secs(60);
        let usual = Usual {
            max_wait: Duration::from_secs(5),
            head: minute,
            content: minute,
            idle: minute / 2,
            attempt: 2 * minute,
            deadline: Some(2 * minute),
            patience: minute,
        };
        let policy = Self::new()
            .fail_fast()
            .max_retry_after(Duration::from_secs(5))
            .max_retries(2)
            .backoff(ByKind::default().throttled(backoff).others(backoff));
        Self { usual, ..policy }
    }

    /// For work that nobody waits for, and of which every part counts: it is done, however long that takes.
    ///
    /// A call waits in the queue for a day, through outages too, with up to a million others; up to 20 retries; a server may ask for
    /// ten minutes. There is no deadline. An account that is exhausted, a credential that is refused, a request
    /// that makes no sense still fail at once: waiting does not help them.
    pub fn batch() -> Self {
        let policy = Self::new()
            .max_waiting(1_000_000)
            .max_retries(20)
            .max_retry_after(Duration::from_secs(600));
        Self { usual: Usual { max_wait: Duration::from_secs(24 * 60 * 60), ..USUAL }, ..policy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid() {
        for policy in [Policy::new(), Policy::interactive(), Policy::batch()] {
            assert_eq!(policy.validate(), Ok(()));
        }
    }
}
