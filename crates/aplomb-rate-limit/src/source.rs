//! Where the quotas are that a limiter draws on.

use aplomb_admission::Gate;
use tokio::time::Instant;

use crate::{Charge, PoolMember, Quotas, RateLimitReason, Reservation};

/// The gate of a [`RateLimiter`](crate::RateLimiter): [`Quotas`] of its own, or a [`PoolMember`] of a pool.
///
/// Nothing else is one.
pub trait Source:
    Gate<Cost = Charge, Token = Reservation, Reason = RateLimitReason, Event = aplomb_core::Event>
    + sealed::HasQuotas
{
}

impl Source for Quotas {}
impl Source for PoolMember {}

pub(crate) mod sealed {
    use super::{Instant, PoolMember, Quotas};

    #[expect(unnameable_types, reason = "nobody else implements it")]
    pub trait HasQuotas {
        /// Looks at the quotas, or changes them.
        fn quotas<T>(&mut self, now: Instant, act: impl FnOnce(&mut Quotas, Instant) -> T) -> T;
    }

    impl HasQuotas for Quotas {
        fn quotas<T>(&mut self, now: Instant, act: impl FnOnce(&mut Self, Instant) -> T) -> T {
            act(self, now)
        }
    }

    impl HasQuotas for PoolMember {
        fn quotas<T>(&mut self, now: Instant, act: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
            self.with(now, act)
        }
    }
}
