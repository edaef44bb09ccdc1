//! What contradicts itself.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aplomb_core::Dimension;
use aplomb_rate_limit::Quota;

use super::Policy;

/// A [`Policy`] that contradicts itself, or by which no call could ever end well.
///
/// Only what was set is held against it: a default that is longer than a deadline is cut off by it, and so is
/// `Duration::MAX`, which stands for no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// A time of zero, within which nothing can happen.
    #[non_exhaustive]
    NoTime {
        /// Which setting.
        setting: &'static str,
    },
    /// A time that is longer than another one within which it lies.
    #[non_exhaustive]
    LongerThan {
        /// The setting that is too long.
        setting: &'static str,
        /// How long it is.
        time: Duration,
        /// The setting that ends earlier.
        outer: &'static str,
        /// How long that is.
        within: Duration,
    },
    /// Two quotas of the same dimension over the same window, of which one lies within the other: that has no
    /// effect.
    #[non_exhaustive]
    TwiceLimited {
        /// What both count.
        dimension: Dimension,
        /// The window of both.
        window: Duration,
    },
    /// No byte of an answer may be read.
    NoRoomForAnswers,
}

impl Policy {
    /// Checks that the settings do not contradict each other.
    ///
    /// # Errors
    ///
    /// The first contradiction that is found.
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
                return Err(InvalidPolicy::NoTime { setting });
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
            Some(0) => Err(InvalidPolicy::NoRoomForAnswers),
            _ => Ok(()),
        }
    }

    fn no_quota_twice(&self) -> Result<(), InvalidPolicy> {
        let of = |quota: &Quota| (quota.dimension(), quota.window());
        // A peak beside an average is no contradiction.
        let is_within = |one: &Quota, other: &Quota| {
            one.amount() <= other.amount() && one.max_burst() <= other.max_burst()
        };
        let twice = (1..).zip(&self.quotas).find(|(next, quota)| {
            let mut others = self.quotas.iter().skip(*next).filter(|other| of(other) == of(quota));
            others.any(|other| is_within(quota, other) || is_within(other, quota))
        });
        match twice.map(|(_, quota)| of(quota)) {
            Some((dimension, window)) => Err(InvalidPolicy::TwiceLimited { dimension, window }),
            None => Ok(()),
        }
    }
}

/// A setting by its name, and what it is set to.
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
            Self::NoTime { setting } => write!(f, "the {setting} is zero: nothing can happen within it"),
            Self::LongerThan { setting, time, outer, within } => write!(
                f,
                "the {setting} of {time:?} is longer than the {outer} of {within:?}, within which it lies"
            ),
            Self::TwiceLimited { dimension, window } => {
                write!(f, "there are two quotas of {dimension} per {window:?}, of which one has no effect")
            }
            Self::NoRoomForAnswers => f.write_str("whole answers of 0 bytes leave no room for an answer"),
        }
    }
}

impl Error for InvalidPolicy {}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn what_contradicts_itself_is_found_and_named() {
        let policy = Policy::new;
        for (policy, message) in [
            (policy().deadline(Duration::ZERO), "the deadline is zero: nothing can happen within it"),
            (
                policy().idle_timeout(Duration::ZERO),
                "the idle timeout is zero: nothing can happen within it",
            ),
            (
                policy().attempt_timeout(2 * S).deadline(S),
                "the attempt timeout of 2s is longer than the deadline of 1s, within which it lies",
            ),
            (
                policy().content_timeout(3 * S).attempt_timeout(2 * S),
                "the content timeout of 3s is longer than the attempt timeout of 2s, within which it lies",
            ),
            (
                policy().max_wait(3 * S).deadline(2 * S),
                "the longest wait of 3s is longer than the deadline of 2s, within which it lies",
            ),
            (
                policy().requests_per_minute(5).quota(Quota::requests_per_minute(6).burst(2)),
                "there are two quotas of requests per 60s, of which one has no effect",
            ),
            (policy().whole_answers(0), "whole answers of 0 bytes leave no room for an answer"),
        ] {
            assert_eq!(policy.validate().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn what_was_not_set_is_no_contradiction() {
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
