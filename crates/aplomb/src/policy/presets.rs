//! Presets.

use std::time::Duration;

use aplomb_core::Exponential;
use aplomb_retry::ByKind;

use super::{DEFAULT_TIMES, DefaultTimes, Policy};

impl Policy {
    /// For calls that a person waits for: the answer comes soon, or fails soon.
    ///
    /// An open circuit rejects at once. A call waits at most 5 s for quotas, and a server may ask for at most 5 s.
    /// 2 retries, after 0.25 s doubled up to 2 s. 60 s to the head of a response and to the first content, 30 s of
    /// silence after that, two minutes for an attempt, and two minutes for the call.
    pub fn interactive() -> Self {
        let backoff = Exponential::new(Duration::from_millis(250)).max(Duration::from_secs(2));
        let minute = Duration::from_secs(60);
        let default_times = DefaultTimes {
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
        Self { default_times, ..policy }
    }

    /// For work in the background that has to be completed, however long it takes.
    ///
    /// A call waits in the queue for up to a day, through outages too, with up to a million others; 20 retries; a
    /// server may ask for ten minutes. There is no deadline. An exhausted account, a refused credential and an
    /// invalid request still fail at once: waiting does not help.
    pub fn batch() -> Self {
        let policy = Self::new()
            .max_waiting(1_000_000)
            .max_retries(20)
            .max_retry_after(Duration::from_secs(600));
        Self {
            default_times: DefaultTimes { max_wait: Duration::from_secs(24 * 60 * 60), ..DEFAULT_TIMES },
            ..policy
        }
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
