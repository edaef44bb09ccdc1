//! Quotas after a call was throttled.

use aplomb_core::Outcome;
use tokio::time::Instant;

use super::{Quotas, Reservation};
use crate::charge::Counted;

impl Quotas {
    /// The server refuses calls, this one among them, because they come too soon: a quota is empty.
    #[doc(hidden)]
    pub fn on_refused(&mut self, reservation: &Reservation, outcome: &Outcome, now: Instant) {
        if outcome.is_shared_throttle() {
            self.empty_refusing(reservation, outcome, now);
        }
    }

    /// The server refused a call because it came too soon.
    pub(super) fn on_throttled(&mut self, reservation: &Reservation, outcome: &Outcome, now: Instant) {
        self.contradict(reservation, outcome, now);
        if outcome.is_shared_throttle() {
            self.note_window(reservation, outcome, now);
        }
    }

    /// Empties the quota that the server refused a call for: it had nothing left for the call, and will have when
    /// the call comes back.
    fn empty_refusing(&mut self, reservation: &Reservation, outcome: &Outcome, now: Instant) {
        let nanos = self.set.nanos(now);
        let Some(index) = self.refusing(reservation, outcome, nanos) else {
            return;
        };
        let (quota, bucket) = self.set.at(index);
        let hint = outcome.retry_after().unwrap_or_default();
        let flows = u64::try_from(hint.as_nanos()).unwrap_or(u64::MAX) / quota.flow().interval();
        let left = bucket.available(quota.flow(), nanos).saturating_add_unsigned(flows);
        let excess = u64::try_from(left).unwrap_or(0);
        bucket.owe(quota.flow(), excess, nanos);
    }

    /// The quota that the server refused a call for, of those whose costs are estimates.
    ///
    /// It is one that the server named. Otherwise, unless the head showed a shortage, which has been taken in
    /// already, it is the quota that was closest to empty of those that the head did not show to have enough.
    /// Requests are counted as the server counts them, so their quota is left alone: the pause holds the calls back, and
    /// a server that counts in fixed windows has all of the next one when it ends.
    fn refusing(&self, reservation: &Reservation, outcome: &Outcome, nanos: u64) -> Option<usize> {
        let named = outcome.dimension();
        if outcome.is_of_concurrency() || (named.is_none() && reservation.shortage_shown) {
            return None;
        }
        let counted = |index: usize| self.set.quotas()[index].counted();
        let shares = reservation.shares.iter().enumerate().filter(|(_, share)| share.cost > 0);
        let shares = shares.filter_map(|(index, share)| Some((self.set.find(index, share.id)?, share)));
        let refusing = shares.filter(|(index, share)| match named {
            Some(named) => counted(*index).is_part_of(named),
            None => !share.enough_shown,
        });
        let closest = refusing.min_by_key(|(index, share)| {
            let had = self.set.available(*index, nanos).saturating_add_unsigned(share.cost);
            let burst = self.set.quotas()[*index].flow().burst();
            (i128::from(had) * 1_000 / i128::from(burst), counted(*index) == Counted::Requests)
        });
        closest.map(|(index, _)| index).filter(|index| counted(*index) != Counted::Requests)
    }
}
