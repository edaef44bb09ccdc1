//! Places: how many calls the server takes at a time.

use aplomb_core::ConcurrencyCause;

/// A limit of the calls in flight that was found. There is none at first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    limit: u32,
    /// One more was tried since the last refusal.
    raised: bool,
    /// The calls sent since, and how many were refused although no more was tried.
    since: u32,
    unexplained: u32,
    found_by: FoundBy,
    /// Calls that have ended since the limit last changed.
    ended: u32,
    /// One more is tried after so many times the limit.
    held: u32,
    /// The calls sent under this limit, and how many of them were refused.
    sent: u32,
    refused: u32,
}

/// The evidence for the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoundBy {
    /// Calls are refused until another ends.
    Releases,
    /// Calls hang when there are more.
    Overload,
}

/// The meaning of a refusal for the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nothing.
    Elsewhere,
    /// The limit is reached: it is one less.
    AtLimit,
    /// The limit helps nothing: as many are refused as before.
    Useless,
}

/// If more than this share of at least so many calls is refused under a limit, it helps nothing.
const USELESS: f64 = 0.2;
const LEAST_SENT: u32 = 16;

/// A limit refuses a call when one more is tried, or each one while it is lower still. So many refusals after some that were
/// accepted have another cause.
const UNEXPLAINED: u32 = 4;
const SOME: u32 = 4;

/// One more is tried after this many times the limit at first, and at most.
const HELD: u32 = 2;
const LONGEST_HELD: u32 = 16;

/// A limit above this is none.
const UNLIMITED: u32 = 512;

impl Places {
    /// A call was accepted as soon as another had ended, with so many in flight.
    pub(super) fn by_release(in_flight: u32) -> Self {
        Self::new(in_flight, FoundBy::Releases, HELD)
    }

    /// Calls hang with so many in flight.
    pub(super) fn by_overload(limit: u32) -> Self {
        Self::new(limit, FoundBy::Overload, 0)
    }

    fn new(limit: u32, found_by: FoundBy, held: u32) -> Self {
        Self {
            limit: limit.max(1),
            raised: false,
            since: 0,
            unexplained: 0,
            found_by,
            ended: 0,
            held,
            sent: 0,
            refused: 0,
        }
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) const fn found_by(&self) -> FoundBy {
        self.found_by
    }

    /// Returns whether another may go, with so many in flight.
    pub(super) const fn has_room(&self, in_flight: u32) -> bool {
        in_flight < self.limit
    }

    pub(super) const fn sent(&mut self) {
        self.sent += 1;
        self.since = self.since.saturating_add(1);
        if self.sent > 64 {
            self.sent /= 2;
            self.refused /= 2;
        }
    }

    /// A call has ended well.
    pub(super) fn ended(&mut self) -> Option<ConcurrencyCause> {
        self.ended = self.ended.saturating_add(1);
        if self.found_by == FoundBy::Overload || self.ended < self.limit.saturating_mul(self.held) {
            return None;
        }
        self.limit += 1;
        self.raised = true;
        self.ended = 0;
        Some(ConcurrencyCause::Answered)
    }

    /// A call was refused with so many others in flight, while some get through.
    pub(super) fn refused(&mut self, in_flight: u32) -> Refused {
        self.refused += 1;
        if self.sent >= LEAST_SENT && f64::from(self.refused) > USELESS * f64::from(self.sent) {
            return Refused::Useless;
        }
        if !self.raised && self.since >= SOME {
            self.unexplained += 1;
        }
        (self.raised, self.since) = (false, 0);
        if self.found_by == FoundBy::Releases && self.unexplained >= UNEXPLAINED {
            return Refused::Useless;
        }
        if in_flight + 1 < self.limit {
            return Refused::Elsewhere;
        }
        self.limit = self.limit.saturating_sub(1).max(1);
        self.ended = 0;
        self.held = (self.held * 2).clamp(1, LONGEST_HELD);
        Refused::AtLimit
    }

    /// How many were refused under this limit.
    pub(super) const fn refusals(&self) -> u32 {
        self.refused
    }

    /// Nobody gets through any more, with so many in flight. Returns whether it may still be the limit: not if it came
    /// with fewer calls.
    pub(super) fn shut(&mut self, in_flight: u32) -> bool {
        if self.found_by == FoundBy::Overload {
            return true;
        }
        if in_flight + 2 < self.limit {
            return false;
        }
        self.limit = in_flight.max(1);
        self.ended = 0;
        true
    }

    /// Calls hang under a limit that was found by overload: half as many, once for each answer.
    pub(super) fn overloaded(&mut self) -> bool {
        let lowered = self.ended > 0;
        if lowered {
            self.limit = (self.limit / 2).max(1);
            self.ended = 0;
        }
        lowered
    }

    /// Answers take `slower` times as long as the best, under a limit that was found by overload. Returns whether there is
    /// still a limit.
    pub(super) fn answers(&mut self, slower: f64) -> bool {
        if slower <= SLOWER {
            let more = if self.held > 0 {
                (self.limit / 8).max(1)
            } else {
                self.limit
            };
            self.limit += more;
        } else {
            self.held = 1;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "less than the limit"
            )]
            let fewer = (f64::from(self.limit) * (SLOWER / slower).max(0.5)) as u32;
            self.limit = fewer.max(1);
        }
        self.limit <= UNLIMITED
    }
}

/// Answers that take this many times as long as the best are slow.
const SLOWER: f64 = 1.15;

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls with a number of places in use that is just below the limit; those are refused that `is_refused` says.
    fn filled(places: &mut Places, calls: u32, is_refused: impl Fn(u32, u32) -> bool) -> bool {
        (0..calls).any(|call| {
            let in_flight = places.limit() - 1;
            places.sent();
            if is_refused(call, in_flight) {
                return places.refused(in_flight) == Refused::Useless;
            }
            places.ended();
            false
        })
    }

    #[test]
    fn a_limit_is_kept_and_tried_upwards() {
        let mut places = Places::by_release(20);
        assert!(!filled(&mut places, 2_000, |_, in_flight| in_flight >= 16));
        assert!((15..=17).contains(&places.limit()), "{places:?}");
    }

    #[test]
    fn promise_37_chance_does_not_take_the_places_away_one_by_one() {
        let mut places = Places::by_release(60);
        assert!(filled(&mut places, 2_000, |call, _| call % 10 == 9));
        assert!(places.limit() > 50, "{places:?}");
    }
}
