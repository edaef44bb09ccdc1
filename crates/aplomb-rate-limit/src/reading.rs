//! What a reading means, once what contradicts itself has been left out.

use std::time::Duration;

use aplomb_core::Reading;

/// What a reading says that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) limit: Option<u64>,
    pub(crate) remaining: Option<u64>,
    pub(crate) window: Window,
}

/// How the window of a limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// The server, or the reader who knows it, said so.
    Told(Duration),
    /// It follows from how long what has been used takes to come back.
    Follows(Duration),
    /// At least so long, most likely.
    Guessed(Duration),
}

impl Window {
    pub(crate) const fn length(self) -> Duration {
        match self {
            Self::Told(window) | Self::Follows(window) | Self::Guessed(window) => window,
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// The windows that providers have.
const USUAL: [Duration; 4] = [
    Duration::from_secs(1),
    MINUTE,
    Duration::from_secs(60 * 60),
    Duration::from_secs(24 * 60 * 60),
];

impl Told {
    /// What `reading` says, or `None` where none of it makes sense.
    ///
    /// No limit is 0, and nothing has more left than there is. That nothing is left is believed only
    /// where it is also said of what: some servers write 0 for what they do not know.
    pub(crate) fn of(reading: &Reading) -> Option<Self> {
        let (limit, remaining) = (reading.limit(), reading.remaining());
        if limit == Some(0) || (limit.is_none() && remaining.is_none_or(|left| left == 0)) {
            return None;
        }
        if limit.zip(remaining).is_some_and(|(limit, left)| left > limit) {
            return None;
        }
        let told = reading.window().filter(|window| !window.is_zero()).map(Window::Told);
        let follows =
            || limit.zip(remaining).zip(reading.reset()).and_then(|((l, r), reset)| follows(l, r, reset));
        let window = told.or_else(follows).unwrap_or_else(|| Window::Guessed(guess(reading.reset())));
        Some(Self { limit, remaining, window })
    }
}

/// The window in which `limit` flows, where what was used of it comes back within `reset`: one of the
/// usual ones, if exactly one fits, as precisely as the reset was written.
fn follows(limit: u64, remaining: u64, reset: Duration) -> Option<Window> {
    let precision = match reset.subsec_millis() {
        0 => Duration::from_secs(1),
        tenths if tenths % 100 == 0 => Duration::from_millis(100),
        _ => Duration::from_millis(1),
    };
    let used = limit - remaining;
    #[expect(clippy::cast_precision_loss, reason = "the times compared are far apart")]
    let of_all = limit as f64 / used as f64;
    let shortest = reset.saturating_sub(precision).as_secs_f64() * of_all;
    // What is left is rounded down, so up to one unit less has been used.
    let longest = reset.saturating_add(precision).as_secs_f64() * of_all * 1.05;
    if used == 0 || longest > 2.0 * shortest {
        return None;
    }
    let mut fits = USUAL.into_iter().filter(|window| (shortest..=longest).contains(&window.as_secs_f64()));
    fits.next().filter(|_| fits.next().is_none()).map(Window::Follows)
}

/// The shortest usual window in which a reset may lie so far ahead. Nobody who limits by the second has
/// to be asked so carefully: a minute is the shortest that is guessed.
fn guess(reset: Option<Duration>) -> Duration {
    let reset = reset.unwrap_or_default();
    USUAL.into_iter().skip(1).find(|window| *window >= reset).unwrap_or(USUAL[3])
}

/// Says when something has been said several times in a row: what would loosen a limit is believed
/// only then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Agreeing {
    times: u8,
    least: u64,
}

/// How many readings in a row have to agree.
const ENOUGH: u8 = 3;

impl Agreeing {
    /// A reading gives so much more than is believed. Returns what all of them give, when they are
    /// enough.
    pub(crate) fn more(&mut self, by: u64) -> Option<u64> {
        self.least = if self.times == 0 { by } else { self.least.min(by) };
        self.times += 1;
        (self.times >= ENOUGH).then(|| {
            let least = self.least;
            *self = Self::default();
            least
        })
    }

    /// A reading does not.
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
        Told::of(&reading(limit, remaining, Duration::from_millis(reset_ms))).unwrap().window
    }

    #[test]
    fn the_window_follows_from_an_exact_reset() {
        // As seen: 5000/4999/12ms, 160000/159976/9ms, 500/499/120ms, 30000/29996/8ms, 14400/14370/2m59.56s.
        for (limit, remaining, reset) in [
            (5_000, 4_999, 12),
            (160_000, 159_976, 9),
            (500, 499, 120),
            (30_000, 29_996, 8),
        ] {
            assert_eq!(
                window(limit, remaining, reset),
                Window::Follows(MINUTE),
                "{limit}/{remaining}/{reset}"
            );
        }
        assert_eq!(window(14_400, 14_370, 179_560), Window::Follows(24 * 60 * MINUTE));
        assert_eq!(window(10, 4, 6_000), Window::Guessed(MINUTE));
    }

    #[test]
    fn what_does_not_follow_is_guessed_and_never_below_a_minute() {
        assert_eq!(window(100, 99, 60_000), Window::Guessed(MINUTE));
        assert_eq!(window(100, 40, 1_000), Window::Guessed(MINUTE));
        assert_eq!(window(100, 100, 0), Window::Guessed(MINUTE));
        assert_eq!(window(100, 98, 600_000), Window::Guessed(60 * MINUTE));
        let told = Reading::of(Dimension::TOKENS).with_limit(5).with_window(Duration::from_secs(10));
        assert_eq!(Told::of(&told).unwrap().window, Window::Told(Duration::from_secs(10)));
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
            assert_eq!(Told::of(&nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn what_loosens_is_believed_when_three_in_a_row_say_so() {
        let mut agreeing = Agreeing::default();
        assert_eq!((agreeing.more(5), agreeing.more(3)), (None, None));
        agreeing.no_more();
        assert_eq!((agreeing.more(5), agreeing.more(3), agreeing.more(4)), (None, None, Some(3)));
        assert_eq!(agreeing.more(9), None);
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
            if let Some(told) = Told::of(&reading) {
                prop_assert!(!told.window.length().is_zero());
            }
        }
    }
}
