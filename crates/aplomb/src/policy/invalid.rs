//! Checking a policy.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_core::Dimension;
use aplomb_rate_limit::Quota;

use super::Policy;

/// A [`Policy`] with contradictory settings, or with which no call can succeed.
///
/// Only explicit settings are compared: a default that is longer than a deadline is cut off by it, and so is
/// `Duration::MAX`, which means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// A time of zero, in which nothing can happen.
    #[non_exhaustive]
    ZeroTime {
        /// The setting.
        setting: &'static str,
    },
    /// A time that is longer than another time that includes it.
    #[non_exhaustive]
    LongerThan {
        /// The setting that is too long.
        setting: &'static str,
        /// Its value.
        time: Duration,
        /// The setting that includes it.
        outer: &'static str,
        /// The value of that.
        within: Duration,
    },
    /// Two quotas of the same dimension over the same window, one of which never has an effect.
    #[non_exhaustive]
    RedundantQuota {
        /// The dimension of both quotas.
        dimension: Dimension,
        /// The window of both quotas.
        window: Duration,
    },
    /// Whole answers of zero bytes.
    ZeroWholeAnswers,
}

impl Policy {
    /// Checks the settings for contradictions.
    ///
    /// # Errors
    ///
    /// The first contradiction found.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        let deadline = ("deadline", self.deadline);
        let attempt = ("attempt timeout", self.attempt_timeout);
        let content = ("content timeout", self.content_timeout);
        let parts = [
            ("head timeout", self.head_timeout),
            content,
            ("idle timeout", self.idle_timeout),
        ];
        for (setting, time) in [deadline, attempt].iter().chain(&parts) {
            if *time == Some(Duration::ZERO) {
                return Err(InvalidPolicy::ZeroTime { setting });
            }
        }
        for part in parts {
            lies_within(part, attempt)?;
            lies_within(part, deadline)?;
        }
        lies_within(attempt, deadline)?;
        lies_within(("longest wait", self.max_wait), deadline)?;
        self.no_quota_twice()?;
        match self.whole_answers {
            Some(0) => Err(InvalidPolicy::ZeroWholeAnswers),
            _ => Ok(()),
        }
    }

    fn no_quota_twice(&self) -> Result<(), InvalidPolicy> {
        let of = |quota: &Quota| (quota.dimension(), quota.window());
        // A peak next to an average is not a contradiction.
        let is_within = |one: &Quota, other: &Quota| {
            one.amount() <= other.amount() && one.max_burst() <= other.max_burst()
        };
        let twice = (1..).zip(&self.quotas).find(|(next, quota)| {
            let mut others = self.quotas.iter().skip(*next).filter(|other| of(other) == of(quota));
            others.any(|other| is_within(quota, other) || is_within(other, quota))
        });
        match twice.map(|(_, quota)| of(quota)) {
            Some((dimension, window)) => Err(InvalidPolicy::RedundantQuota { dimension, window }),
            None => Ok(()),
        }
    }
}

/// The name of a setting, and its value.
type Set = (&'static str, Option<Duration>);

fn lies_within((setting, time): Set, (outer, within): Set) -> Result<(), InvalidPolicy> {
    match (time, within) {
        (Some(time), Some(within)) if time > within && time != Duration::MAX => {
            Err(InvalidPolicy::LongerThan { setting, time, outer, within })
        }
        _ => Ok(()),
    }
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroTime { setting } => write!(f, "the {setting} is zero"),
            Self::LongerThan { setting, time, outer, within } => {
                write!(f, "the {setting} of {time:?} is longer than the {outer} of {within:?}")
            }
            Self::RedundantQuota { dimension, window } => {
                write!(f, "one of two quotas of {dimension} per {window:?} has no effect")
            }
            Self::ZeroWholeAnswers => f.write_str("whole answers are limited to 0 bytes"),
        }
    }
}

impl Error for InvalidPolicy {}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn contradictions_are_found_and_named() {
        let policy = Policy::new;
        for (policy, message) in [
            (policy().deadline(Duration::ZERO), "the deadline is zero"),
            (policy().idle_timeout(Duration::ZERO), "the idle timeout is zero"),
            (
                policy().attempt_timeout(2 * S).deadline(S),
                "the attempt timeout of 2s is longer than the deadline of 1s",
            ),
            (
                policy().content_timeout(3 * S).attempt_timeout(2 * S),
                "the content timeout of 3s is longer than the attempt timeout of 2s",
            ),
            (
                policy().max_wait(3 * S).deadline(2 * S),
                "the longest wait of 3s is longer than the deadline of 2s",
            ),
            (
                policy().requests_per_minute(5).quota(Quota::requests_per_minute(6).burst(2)),
                "one of two quotas of requests per 60s has no effect",
            ),
            (policy().whole_answers(0), "whole answers are limited to 0 bytes"),
        ] {
            assert_eq!(policy.validate().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn defaults_are_no_contradiction() {
        let short = Policy::new().deadline(S).quotas([
            Quota::requests_per_minute(5),
            Quota::requests_per_day(500),
            Quota::tokens_per_minute(5),
        ]);
        assert_eq!(short.validate(), Ok(()));
        assert_eq!(short.clone().max_wait(Duration::ZERO).validate(), Ok(()));
        assert_eq!(short.attempt_timeout(Duration::MAX).validate(), Ok(()));
    }
}
