//! Refusals beside calls that are accepted: they may be chance, or a limit that fills quickly.

use std::time::Duration;

use tokio::time::Instant;

use super::memory::CallNumber;
use super::pace::Ends;
use super::tally::Tally;

/// Finds refusals that may be a limit, while nothing holds calls back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspicions {
    /// Since the first refusal, when nothing was left of the limit.
    seen: Option<Seen>,
    /// The share that is refused by chance, and until when that stands.
    chance: Option<(f64, Instant)>,
    /// How many trials in a row have found chance.
    vain: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    accepted: Tally,
    refused: u32,
}

/// A limit may be the cause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    /// The calls that were accepted.
    pub(super) accepted: Tally,
    /// The share that was refused.
    pub(super) share: f64,
}

/// A rate is measured by so many calls.
const ACCEPTED: f64 = 8.0;

/// So many refusals in this time or longer are suspicious if they are this share of the calls.
const REFUSED: u32 = 8;
const SHORTEST: f64 = 1.0;
const SHARE: f64 = 0.05;

/// Older calls are not compared with those of now.
const LONGEST: f64 = 30.0;

/// After a trial that found chance there is none for so long; twice as long after each further one, up to 64 times.
const STANDS: Duration = Duration::from_secs(30);
const MOST_DOUBLINGS: u32 = 6;

impl Suspicions {
    /// A call was refused while others are accepted, and nothing holds calls back.
    pub(super) fn refused(&mut self, ends: Ends) -> Option<Suspicion> {
        let Ends { known, next } = ends;
        let Some(seen) = &mut self.seen else {
            self.seen = Some(Seen { accepted: Tally::new(next), refused: 0 });
            return None;
        };
        seen.refused += 1;
        let seconds = seen.accepted.seconds(next.at);
        if seconds > LONGEST {
            self.seen = None;
            return None;
        }
        let share = seen.accepted.refused(known);
        let few = seen.refused < REFUSED || seen.accepted.accepted(known) < ACCEPTED;
        if few || seconds < SHORTEST || share < SHARE {
            return None;
        }
        let accepted = seen.accepted;
        self.seen = None;
        let known = self.chance.filter(|(_, until)| next.at < *until);
        if known.is_some_and(|(chance, _)| share <= 2.0 * chance + SHARE) {
            return None;
        }
        Some(Suspicion { accepted, share })
    }

    /// A call came to nothing.
    pub(super) const fn bad(&mut self, number: CallNumber, tokens: u64) {
        if let Some(seen) = &mut self.seen {
            seen.accepted.bad(number, tokens);
        }
    }

    /// This share is refused by chance, however slowly calls are sent.
    pub(super) fn found_chance(&mut self, share: f64, now: Instant) {
        self.seen = None;
        self.chance = Some((share, now + STANDS * (1 << self.vain.min(MOST_DOUBLINGS))));
        self.vain = self.vain.saturating_add(1);
    }

    /// It was a limit, or something else holds calls back.
    pub(super) const fn found_limit(&mut self) {
        self.seen = None;
        self.vain = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::super::memory::Point;
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// One call in four is refused, ten a second.
    fn refused(suspicions: &mut Suspicions, seconds: Range<u32>, start: Instant) -> Option<Suspicion> {
        (seconds.start * 10..seconds.end * 10).find_map(|call| {
            let at = start + call * S / 10;
            let point = |number| Point { number: u64::from(number), tokens: 0, at };
            if call % 4 > 0 {
                return None;
            }
            suspicions.bad(call.into(), 0);
            suspicions.refused(Ends { known: point(call + 1), next: point(call + 1) })
        })
    }

    #[test]
    fn many_refusals_beside_calls_that_are_accepted_are_suspicious() {
        let suspicion = refused(&mut Suspicions::default(), 0..5, Instant::now()).unwrap();
        assert!((0.2..0.3).contains(&suspicion.share), "{suspicion:?}");
    }

    #[test]
    fn what_was_found_to_be_chance_is_not_tried_again_soon() {
        let (mut suspicions, start) = (Suspicions::default(), Instant::now());
        suspicions.found_chance(0.25, start);
        assert!(refused(&mut suspicions, 0..29, start).is_none());
        assert!(refused(&mut suspicions, 31..70, start).is_some());
        suspicions.found_chance(0.25, start + 70 * S);
        assert!(refused(&mut suspicions, 70..129, start).is_none(), "twice as long");
        suspicions.found_chance(0.02, start + 130 * S);
        assert!(refused(&mut suspicions, 130..135, start).is_some(), "more than that is something else");
    }
}
