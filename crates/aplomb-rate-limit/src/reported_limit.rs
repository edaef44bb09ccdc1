//! The limit that a reading reports, once everything that contradicts itself has been dropped.

use std::time::Duration;

use aplomb_core::Reading;

/// The part of a reading that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReportedLimit {
    pub(crate) limit: Option<u64>,
    pub(crate) remaining: Option<u64>,
    pub(crate) window: Window,
}

/// How the window of a limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// The server named it, or the reader that knows the server did.
    Named(Duration),
    /// It follows from how long it takes until everything that was used is back.
    Inferred(Duration),
    /// It is probably this, and not shorter.
    Guessed(Duration),
}

impl Window {
    pub(crate) const fn length(self) -> Duration {
        match self {
            Self::Named(window) | Self::Inferred(window) | Self::Guessed(window) => window,
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
        let inferred =
            || limit.zip(remaining).zip(reading.reset()).and_then(|((l, r), reset)| infer(l, r, reset));
        let window = named.or_else(inferred).unwrap_or_else(|| Window::Guessed(guess(reading.reset())));
        Some(Self { limit, remaining, window })
    }
}

/// The window in which `limit` flows back, if the used part of it is back after `reset`: one of the
/// usual ones, if exactly one fits as precisely as the reset was written.
fn infer(limit: u64, remaining: u64, reset: Duration) -> Option<Window> {
    let precision = match reset.subsec_millis() {
        0 => Duration::from_secs(1),
        tenths if tenths % 100 == 0 => Duration::from_millis(100),
        _ => Duration::from_millis(1),
    };
    let used = limit - remaining;
    #[expect(clippy::cast_precision_loss, reason = "the times compared are far apart")]
    let of_all = limit as f64 / used as f64;
    let shortest = reset.saturating_sub(precision).as_secs_f64() * of_all;
    // The remainder is rounded down, so up to one unit less has been used.
    let longest = reset.saturating_add(precision).as_secs_f64() * of_all * 1.05;
    if used == 0 || longest > 2.0 * shortest {
        return None;
    }
    let mut fits = USUAL.into_iter().filter(|window| (shortest..=longest).contains(&window.as_secs_f64()));
    fits.next().filter(|_| fits.next().is_none()).map(Window::Inferred)
}

/// The shortest usual window that is not shorter than a reset, and at least a minute: guessing a second would be
/// careless.
fn guess(reset: Option<Duration>) -> Duration {
    let reset = reset.unwrap_or_default();
    USUAL.into_iter().skip(1).find(|window| *window >= reset).unwrap_or(USUAL[3])
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

    fn window(limit: u64, remaining: u64, reset_ms: u64) -> Window {
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
                Window::Inferred(MINUTE),
                "{limit}/{remaining}/{reset}"
            );
        }
        assert_eq!(window(14_400, 14_370, 179_560), Window::Inferred(24 * 60 * MINUTE));
        assert_eq!(window(10, 4, 6_000), Window::Guessed(MINUTE));
    }

    #[test]
    fn a_window_that_cannot_be_inferred_is_guessed_and_is_at_least_a_minute() {
        assert_eq!(window(100, 99, 60_000), Window::Guessed(MINUTE));
        assert_eq!(window(100, 40, 1_000), Window::Guessed(MINUTE));
        assert_eq!(window(100, 100, 0), Window::Guessed(MINUTE));
        assert_eq!(window(100, 98, 600_000), Window::Guessed(60 * MINUTE));
        let named = Reading::of(Dimension::TOKENS).with_limit(5).with_window(Duration::from_secs(10));
        assert_eq!(ReportedLimit::of(&named).unwrap().window, Window::Named(Duration::from_secs(10)));
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
                prop_assert!(!reported.window.length().is_zero());
            }
        }
    }
}
