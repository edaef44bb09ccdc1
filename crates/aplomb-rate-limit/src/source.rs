//! Where the quotas are that a limiter draws on.

use aplomb_admission::Gate;
use tokio::time::Instant;

use crate::{Charge, Drawn, Limit, Member, Quotas};

/// The gate of a [`Limiter`](crate::Limiter): [`Quotas`] of its own, or a [`Member`] of a pool.
///
/// Nothing else is one.
pub trait Source: Gate<Cost = Charge, Token = Drawn, Reason = Limit> + sealed::HasQuotas {}

impl Source for Quotas {}
impl Source for Member {}

pub(crate) mod sealed {
    use super::{Instant, Member, Quotas};

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

    impl HasQuotas for Member {
        fn quotas<T>(&mut self, now: Instant, act: impl FnOnce(&mut Quotas, Instant) -> T) -> T {
            self.with(now, act)
        }
    }
}
