//! Changing quotas while calls come and go.

use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::Quotas;
use crate::Quota;
use crate::bucket::Bucket;
use crate::meter::Meter;

impl Quotas {
    /// Puts these quotas in force instead of those that were configured.
    ///
    /// A quota that was there, of the same dimension and window or else of the same dimension, keeps its
    /// level in units: what has been drawn stays drawn, and what calls in flight have drawn is settled
    /// and given back as before. A new one is full. What was learned from the server stays, unless it is
    /// configured now; what the server has to say of the new ones it will say again.
    pub fn set_quotas(&mut self, quotas: impl IntoIterator<Item = Quota>, now: Instant) {
        let nanos = self.nanos(now);
        let setup = Arc::make_mut(&mut self.setup);
        let mut old: Vec<(Meter, Bucket)> = setup.meters.drain(..).zip(self.buckets.drain(..)).collect();
        let quotas: Vec<Quota> = quotas.into_iter().collect();
        // Exact matches first, so that a quota does not take the place of one that is still meant.
        let same = |meter: &Meter, quota: &Quota| {
            meter.quota().dimension() == quota.dimension() && meter.quota().window() == quota.window()
        };
        let mut kept: SmallVec<[Option<(Meter, Bucket)>; 4]> = quotas
            .iter()
            .map(|quota| old.iter().position(|(meter, _)| same(meter, quota)).map(|index| old.remove(index)))
            .collect();
        for (quota, kept) in quotas.iter().zip(&mut kept).filter(|(_, kept)| kept.is_none()) {
            let alike = old.iter().position(|(meter, _)| {
                meter.as_configured().is_some() && meter.quota().dimension() == quota.dimension()
            });
            *kept = alike.map(|index| old.remove(index));
        }
        for (quota, kept) in quotas.into_iter().zip(kept) {
            let (meter, bucket) = if let Some((mut meter, mut bucket)) = kept {
                meter.configure(quota, &mut bucket, nanos);
                (meter, bucket)
            } else {
                let meter = Meter::configured(setup.numbered, quota);
                setup.numbered = setup.numbered.wrapping_add(1);
                (meter, Bucket::full())
            };
            setup.meters.push(meter);
            self.buckets.push(bucket);
        }
        for (meter, bucket) in old.into_iter().filter(|(meter, _)| meter.as_configured().is_none()) {
            setup.meters.push(meter);
            self.buckets.push(bucket);
        }
        self.forget_beliefs();
        if let Some(peer) = &mut self.peer {
            // In the flow of before: what readings took flows back like everything else.
            peer.beliefs.iter_mut().for_each(|(_, belief)| belief.tightened_until = 0);
        }
        self.plan_lapse();
        self.look_for_a_limit();
    }
}
