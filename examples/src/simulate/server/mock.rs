//! The same server, as far as `aplomb-mock` can imitate it.

use std::time::Duration;

use aplomb_mock::{Builder, Hints, Latency as MockLatency, Mock, Outage as MockOutage, Plan};

use super::world::{Down, Headers, Hint, Latency, Refusal, Shape, Unit, What, Work, World};

impl World {
    /// A mock that behaves alike; `None` if it cannot.
    ///
    /// It can have one bucket of requests, reported in headers; any number of requests in flight or a maximum, with a 503
    /// above it; failures at random that come as late as answers; and outages of 503s.
    pub fn on_mock(&self, seed: u64) -> Option<Builder> {
        let cannot = self.work != Work::Everything
            || self.poisoned.is_some()
            || self.funds.is_some()
            || self.stream.is_some()
            || self.limits.len() > 1;
        if cannot {
            return None;
        }
        let mut mock = Mock::builder().latency(match self.latency {
            Latency::Fixed(latency) => MockLatency::constant(latency),
            Latency::Uniform(least, most) => MockLatency::uniform(least..most),
            Latency::HeavyTailed(_) => return None,
        });
        if let Some(limit) = self.limits.first() {
            let Shape::Bucket { burst } = limit.shape else {
                return None;
            };
            let is_plain =
                limit.changes.is_empty() && limit.others.is_empty() && limit.unit == Unit::Requests;
            if !is_plain
                || limit.refusal != Refusal::too_many(Hint::Exact)
                || limit.headers != Headers::OpenAi
            {
                return None;
            }
            let minute =
                Duration::from_secs(60).as_nanos() * u128::from(limit.amount) / limit.per.as_nanos().max(1);
            mock = mock
                .requests_per_minute(u64::try_from(minute).ok()?)
                .request_burst(burst)
                .hints(Hints::All)
                .refused_calls_count(limit.refused_count);
        }
        if let Some((places, refusal)) = self.places {
            if refusal != Refusal::overloaded() {
                return None;
            }
            mock = mock.max_in_flight(u64::try_from(places).unwrap_or(u64::MAX));
        }
        let mut plan = Plan::seeded(seed);
        for fault in &self.faults {
            let what = match (fault.what, &fault.when) {
                (What::FailsLate(500), None) => aplomb_mock::Fault::InternalError,
                (What::FailsLate(503), None) => aplomb_mock::Fault::Unavailable,
                _ => return None,
            };
            plan = plan.rate(what, fault.share);
        }
        for outage in &self.outages {
            if outage.how != Down::Unavailable {
                return None;
            }
            mock = mock.outage(outage.when.clone(), MockOutage::Unavailable);
        }
        Some(mock.plan(plan))
    }
}
