//! The limit that a reading reports, once everything that contradicts itself has been dropped.

use std::time::Duration;

use aplomb_core::Reading;

/// The part of a reading that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReportedLimit {
    pub(crate) limit: Option<u64>,
    pub(crate) remaining: Option<u64>,
    pub(crate) reset: Option<Duration>,
    /// `None` if it is not known: then nothing is known of the rate either.
    pub(crate) window: Option<Window>,
}

/// How the window of a limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// The server named it, or the reader that knows the server did.
    Named(Duration),
    /// It follows from how long it takes until everything that was used is back.
    Inferred(Duration),
}

impl Window {
    pub(crate) const fn length(self) -> Duration {
        match self {
            Self::Named(window) | Self::Inferred(window) => window,
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// The windows that providers use.
const USUAL: [Duration; 4] = [
    Duration::from_secs(1),
    MINUTE,
    Duration::from_secs(60 * 60),
    Duration::from_secs(24 * 60 * 60),
];

impl ReportedLimit {
    /// The limit that `reading` reports, or `None` if none of it makes sense.
    ///
    /// No limit is 0, and no more can remain than the limit. That nothing remains is believed only
    /// together with a limit: some servers write 0 where they do not know.
    pub(crate) fn of(reading: &Reading) -> Option<Self> {
        let (limit, remaining) = (reading.limit(), reading.remaining());
        if limit == Some(0) || (limit.is_none() && remaining.is_none_or(|left| left == 0)) {
            return None;
        }
        if limit.zip(remaining).is_some_and(|(limit, left)| left > limit) {
            return None;
        }
        let named = reading.window().filter(|window| !window.is_zero()).map(Window::Named);
        let inferred = || {
            limit
                .zip(remaining)
                .zip(reading.reset())
                .and_then(|((l, r), reset)| infer(l, l - r, reset))
        };
        let (reset, window) = (reading.reset(), named.or_else(inferred));
        Some(Self { limit, remaining, reset, window })
    }

    /// The window that follows from the reset of a server that has no more than `full` at once.
    pub(crate) fn window_of(&self, full: u64) -> Option<Window> {
        let (limit, remaining, reset) = (self.limit?, self.remaining?, self.reset?);
        infer(limit, full.checked_sub(remaining)?, reset)
    }

    /// Returns whether everything used of `full` flows back steadily, the limit in `window`, as of a bucket; `None` if the
    /// reset does not tell that from the end of a fixed window.
    pub(crate) fn flows_back(&self, full: u64, window: Duration) -> Option<bool> {
        let (limit, remaining, reset) = (self.limit?, self.remaining?, self.reset?);
        let (all, reset_in) = (window.as_secs_f64(), reset.as_secs_f64());
        let (used, precision) =
            (share(full.saturating_sub(remaining), limit), precision(reset).as_secs_f64());
        let latest = all * used * 1.05 + precision;
        // The remainder is rounded down, by a unit and at Anthropic by hundredths of the limit.
        let earliest = all * (used - share(1, limit).max(0.01)) * 0.95 - precision;
        let (is_within, is_telling) =
            ((earliest..=latest).contains(&reset_in), latest - earliest < all / 4.0);
        (is_telling || !is_within).then_some(is_within)
    }
}

#[expect(clippy::cast_precision_loss, reason = "the times compared are far apart")]
fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// The unit in which a reset was written.
pub(crate) fn precision(reset: Duration) -> Duration {
    match reset.subsec_millis() {
        0 => Duration::from_secs(1),
        tenths if tenths % 100 == 0 => Duration::from_millis(100),
        _ => Duration::from_millis(1),
    }
}

/// The window in which `limit` flows back, if the used part of it is back after `reset`: one of the
/// usual ones, if exactly one fits as precisely as the reset was written. Whole seconds fit too often by chance.
fn infer(limit: u64, used: u64, reset: Duration) -> Option<Window> {
    let precision = precision(reset);
    let of_all = share(limit, used);
    let shortest = reset.saturating_sub(precision).as_secs_f64() * of_all;
    // The remainder is rounded down, so up to one unit less has been used.
    let longest = reset.saturating_add(precision).as_secs_f64() * of_all * 1.05;
    if used == 0 || longest > 2.0 * shortest || precision >= Duration::from_secs(1) {
        return None;
    }
    let mut fits = USUAL.into_iter().filter(|window| (shortest..=longest).contains(&window.as_secs_f64()));
    fits.next().filter(|_| fits.next().is_none()).map(Window::Inferred)
}

/// Counts consecutive readings that agree: readings that would loosen a limit are believed only when there are
/// several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Agreement {
    times: u8,
    least: u64,
}

/// How many consecutive readings have to agree.
const ENOUGH: u8 = 3;

impl Agreement {
    /// A reading reports so much more than is assumed. Returns the least of them all when they are enough.
    pub(crate) fn more(&mut self, by: u64) -> Option<u64> {
        self.least = if self.times == 0 { by } else { self.least.min(by) };
        self.times += 1;
        (self.times >= ENOUGH).then(|| {
            let least = self.least;
            *self = Self::default();
            least
        })
    }

    /// A reading reports no more.
    pub(crate) fn no_more(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb_core::Dimension;
    use proptest::prelude::*;

    fn reading(limit: u64, remaining: u64, reset: Duration) -> Reading {
        Reading::of(Dimension::TOKENS)
            .with_limit(limit)
            .with_remaining(remaining)
            .with_reset(reset)
    }

    fn window(limit: u64, remaining: u64, reset_ms: u64) -> Option<Window> {
        ReportedLimit::of(&reading(limit, remaining, Duration::from_millis(reset_ms)))
            .unwrap()
            .window
    }

    #[test]
    fn the_window_is_inferred_from_an_exact_reset() {
        // As seen: 5000/4999/12ms, 160000/159976/9ms, 500/499/120ms, 30000/29996/8ms, 14400/14370/2m59.56s.
        for (limit, remaining, reset) in [
            (5_000, 4_999, 12),
            (160_000, 159_976, 9),
            (500, 499, 120),
            (30_000, 29_996, 8),
        ] {
            assert_eq!(
                window(limit, remaining, reset),
                Some(Window::Inferred(MINUTE)),
                "{limit}/{remaining}/{reset}"
            );
        }
        assert_eq!(window(14_400, 14_370, 179_560), Some(Window::Inferred(24 * 60 * MINUTE)));
        let named = Reading::of(Dimension::TOKENS).with_limit(5).with_window(Duration::from_secs(10));
        assert_eq!(ReportedLimit::of(&named).unwrap().window, Some(Window::Named(Duration::from_secs(10))));
    }

    #[test]
    fn a_window_that_does_not_follow_is_unknown() {
        for (limit, remaining, reset) in [
            (10, 4, 6_000),
            (100, 99, 60_000),
            (100, 40, 1_000),
            (100, 100, 0),
            (100, 98, 600_000),
            // As of Envoy, and of 60 in each 5 s: that it would fit a minute is chance.
            (10, 0, 1_000),
            (60, 55, 5_000),
        ] {
            assert_eq!(window(limit, remaining, reset), None, "{limit}/{remaining}/{reset}");
        }
    }

    #[test]
    fn a_reset_shows_a_bucket_or_a_fixed_window() {
        let flows = |limit, remaining, reset_ms| {
            let reported =
                ReportedLimit::of(&reading(limit, remaining, Duration::from_millis(reset_ms))).unwrap();
            reported.flows_back(limit, MINUTE)
        };
        assert_eq!(flows(600, 400, 20_050), Some(true));
        assert_eq!(flows(600, 400, 20_000), Some(true));
        assert_eq!(flows(600, 590, 52_000), Some(false));
        assert_eq!(flows(600, 590, 1_000), Some(true));
        assert_eq!(flows(4, 2, 29_000), None, "a quarter of a minute for each");
    }

    #[test]
    fn nonsense_says_nothing() {
        let requests = Reading::of(Dimension::REQUESTS);
        for nonsense in [
            requests,
            requests.with_limit(0),
            requests.with_limit(0).with_remaining(0),
            requests.with_remaining(0),
            requests.with_limit(5).with_remaining(6),
            requests.with_reset(MINUTE),
        ] {
            assert_eq!(ReportedLimit::of(&nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn looser_limits_are_believed_when_three_in_a_row_agree() {
        let mut agreement = Agreement::default();
        assert_eq!((agreement.more(5), agreement.more(3)), (None, None));
        agreement.no_more();
        assert_eq!((agreement.more(5), agreement.more(3), agreement.more(4)), (None, None, Some(3)));
        assert_eq!(agreement.more(9), None);
    }

    proptest! {
        #[test]
        fn no_numbers_do_harm(limit: Option<u64>, remaining: Option<u64>, reset: Option<(u64, u32)>, window: Option<u64>) {
            let mut reading = Reading::of(Dimension::TOKENS);
            if let Some(limit) = limit { reading = reading.with_limit(limit); }
            if let Some(remaining) = remaining { reading = reading.with_remaining(remaining); }
            if let Some((secs, nanos)) = reset {
                reading = reading.with_reset(Duration::from_secs(secs).saturating_add(Duration::from_nanos(nanos.into())));
            }
            if let Some(window) = window { reading = reading.with_window(Duration::from_secs(window)); }
            if let Some(reported) = ReportedLimit::of(&reading) {
                prop_assert!(reported.window.is_none_or(|window| !window.length().is_zero()));
                let _ = reported.flows_back(limit.unwrap_or(0), MINUTE);
            }
        }
    }
}
