//! All quotas of one key, its pause and what was learned of its server, as one gate.

mod drawn;
mod gate;
mod lapse;
mod limit;
mod live;
mod peer;
mod readings;
mod rest;
mod settling;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

pub use self::drawn::Drawn;
pub use self::limit::Limit;
use self::peer::Peer;
pub use self::rest::QuotasAtRest;
use crate::bucket::Bucket;
use crate::finder::Finder;
use crate::meter::Meter;
use crate::pause::Pacing;
use crate::{Learned, Quota, Settle};

/// Quotas that admit all or nothing, the pause a throttled response sets, and what the server lets
/// know of its own limits.
///
/// A pure state machine: it is used behind a [`Queue`](aplomb_admission::Queue), by itself or joined with
/// other gates.
///
/// At rest it is kept as a word for each quota, and what is known of the server, see [`QuotasAtRest`].
#[derive(Debug)]
pub struct Quotas {
    setup: Arc<Setup>,
    /// One for each meter of the setup.
    buckets: SmallVec<[Bucket; 2]>,
    in_flight: u32,
    unanswered: u32,
    peer: Option<Box<Peer>>,
}

/// What is set, and changes only when something is set or learned. Shared with what is kept at rest.
#[derive(Clone, Debug)]
struct Setup {
    epoch: Instant,
    meters: SmallVec<[Meter; 2]>,
    /// How many meters there have ever been.
    numbered: u32,
    pacing: Pacing,
    learning: bool,
    /// How what is not of requests is settled, unless a quota says.
    settle: Settle,
    seed: u64,
}

impl Quotas {
    /// Full buckets. With no quota at all the server's limits are learned, see
    /// [`set_learning`](Quotas::set_learning).
    ///
    /// The epoch is now. `seed` seeds the jitter of pauses that the server names no time for.
    pub fn new(quotas: impl IntoIterator<Item = Quota>, seed: u64) -> Self {
        let meters: SmallVec<[Meter; 2]> =
            (0..).zip(quotas).map(|(id, quota)| Meter::configured(id, quota)).collect();
        let numbered = u32::try_from(meters.len()).unwrap_or(u32::MAX);
        let setup = Setup {
            epoch: Instant::now(),
            meters,
            numbered,
            pacing: Pacing::new(),
            learning: true,
            settle: Settle::DebtOnly,
            seed,
        };
        Self::with_setup(Arc::new(setup))
    }

    fn with_setup(setup: Arc<Setup>) -> Self {
        let buckets = setup.meters.iter().map(|_| Bucket::full()).collect();
        let mut quotas = Self { setup, buckets, in_flight: 0, unanswered: 0, peer: None };
        quotas.look_for_a_limit();
        quotas
    }

    /// Looks for the limit where nobody has set one, unless told not to.
    fn look_for_a_limit(&mut self) {
        let epoch = self.setup.epoch;
        let nobody_set_one = self.setup.meters.iter().all(|meter| meter.as_configured().is_none());
        if self.setup.learning && nobody_set_one {
            self.peer_mut(epoch).finder.get_or_insert_with(|| Finder::new(epoch));
        } else if let Some(peer) = &mut self.peer {
            peer.finder = None;
        }
    }

    /// Sets the longest that a throttled response pauses everybody: 120 s unless set. Where a server
    /// asks for more, calls are refused instead of waiting.
    pub fn set_max_pause(&mut self, longest: Duration) {
        self.set_pacing(|pacing| pacing.set_longest(longest));
    }

    pub(crate) fn raise_max_pause(&mut self, longest: Duration) {
        if longest > self.setup.pacing.longest() {
            self.set_max_pause(longest);
        }
    }

    /// Sets how long after a pause it takes until calls go as before: 2 s unless set. Meanwhile those
    /// that may go double with each eighth; zero lets all go at once.
    pub fn set_ramp(&mut self, ramp: Duration) {
        self.set_pacing(|pacing| pacing.set_ramp(ramp));
    }

    /// Seeds the jitter of pauses for which the server names no time, so that they are repeatable.
    pub fn set_seed(&mut self, seed: u64) {
        Arc::make_mut(&mut self.setup).seed = seed;
        if let Some(peer) = &mut self.peer {
            peer.pause.set_seed(seed);
        }
    }

    fn set_pacing(&mut self, set: impl FnOnce(&mut Pacing)) {
        let setup = Arc::make_mut(&mut self.setup);
        set(&mut setup.pacing);
        let pacing = setup.pacing;
        if let Some(peer) = &mut self.peer {
            peer.pause.set_pacing(pacing);
        }
    }

    /// Sets whether quotas that nobody configured are learned, from what the server says of its limits
    /// or, where no quota is configured and the server says nothing, from its refusals: so unless set.
    pub fn set_learning(&mut self, learning: bool) {
        Arc::make_mut(&mut self.setup).learning = learning;
        self.look_for_a_limit();
    }

    /// Sets how everything but requests is settled where a quota does not say itself, one that is learned
    /// for instance: [`Settle::DebtOnly`] unless set.
    pub fn set_settle(&mut self, settle: Settle) {
        Arc::make_mut(&mut self.setup).settle = settle;
    }

    /// What was learned: for a later run that shall not start blind.
    pub fn learned(&self) -> Learned {
        let meters = self.setup.meters.iter().filter(|meter| meter.as_configured().is_none());
        let found = self.peer.as_ref().and_then(|peer| peer.finder.as_ref()?.found());
        Learned::new().quotas(meters.map(|meter| *meter.quota())).rate(found)
    }

    /// Starts with what was learned in an earlier run. What is configured goes before it; what the
    /// server says from now on as well.
    pub fn remember(&mut self, learned: &Learned, now: Instant) {
        if !self.setup.learning {
            return;
        }
        for quota in learned.known_quotas() {
            self.learn(*quota, now);
        }
        if let (Some(rate), Some(Peer { finder: Some(finder), .. })) =
            (learned.known_rate(), self.peer.as_deref_mut())
        {
            finder.start_from(rate, now);
        }
    }

    /// How much each quota has left at `now`, negative where there is a debt.
    pub fn available(&self, now: Instant) -> impl Iterator<Item = (Quota, i64)> {
        let now = self.nanos(now);
        self.metered().map(move |(meter, bucket)| (*meter.quota(), bucket.available(meter, now)))
    }

    /// How many calls have been admitted and have not ended.
    pub const fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// Until when everybody pauses, if anybody does.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.peer.as_ref().and_then(|peer| peer.pause.until(now))
    }

    /// The rate, in calls per second, at which a server that says nothing of its limits was found to
    /// refuse.
    pub fn found_rate(&self) -> Option<f64> {
        self.peer.as_ref().and_then(|peer| peer.finder.as_ref()?.found())
    }

    fn metered(&self) -> impl Iterator<Item = (&Meter, &Bucket)> {
        self.setup.meters.iter().zip(&self.buckets)
    }

    fn peer_mut(&mut self, now: Instant) -> &mut Peer {
        let seed = self.setup.seed ^ self.nanos(now);
        let pacing = self.setup.pacing;
        self.peer.get_or_insert_with(|| Box::new(Peer::new(pacing, seed)))
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.setup.epoch);
        // 584 years of them fit.
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into())
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.setup.epoch + Duration::from_nanos(nanos)
    }
}
