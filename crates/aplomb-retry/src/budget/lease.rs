//! The share of one call in a budget.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aplomb_core::{Kind, Outcome, RequestView};
use tokio::time::Instant;

use super::token_bucket::{Payment, TokenBucket};
use super::{Budget, TokenSource};

/// The share of one call in a budget.
///
/// Dropping it returns what was paid for a retry that has not been sent.
pub(crate) struct BudgetLease {
    budget: Budget,
    /// `None` if the tokens are kept elsewhere.
    bucket: Option<Arc<TokenBucket>>,
    /// The payment for the next retry.
    next: Option<Payment>,
    /// The payment for the retry that is running.
    running: Option<Payment>,
}

impl Budget {
    /// The share of a call that begins at `now`.
    pub(crate) fn lease(&self, request: &RequestView<'_>, now: Instant) -> BudgetLease {
        let bucket = match &self.0.tokens {
            TokenSource::Buckets(buckets) => Some(buckets.bucket_for(request, &self.0.rates, now)),
            TokenSource::Custom { .. } => None,
        };
        BudgetLease { budget: self.clone(), bucket, next: None, running: None }
    }
}

impl BudgetLease {
    /// Pays for a retry after `outcome`. Returns whether the budget allows it.
    pub(crate) fn pay(&mut self, outcome: Outcome, now: Instant) -> bool {
        let budget = &self.budget.0;
        let paid = match (&budget.tokens, &self.bucket) {
            (TokenSource::Custom { withdraw, .. }, _) => withdraw().then_some(Payment::Floor),
            (TokenSource::Buckets(_), Some(bucket)) => {
                let throttled = outcome.kind() == Kind::Throttled;
                let cost = if throttled {
                    budget.rates.throttled
                } else {
                    budget.rates.others
                };
                bucket.pay(cost, &budget.rates, now)
            }
            (TokenSource::Buckets(_), None) => None,
        };
        self.next = paid;
        let counter = if paid.is_some() {
            &budget.granted
        } else {
            &budget.refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
        paid.is_some()
    }

    /// The retry that was paid for is sent.
    pub(crate) fn sent(&mut self) {
        self.running = self.next.take();
    }

    /// The retry that is running is free: a gate made it wait for its turn, or rejected it.
    pub(crate) fn refund(&mut self) {
        let payment = self.running.take();
        self.give_back(payment);
    }

    /// The call succeeded.
    pub(crate) fn succeeded(&mut self) {
        let payment = self.running.take();
        match (&self.budget.0.tokens, &self.bucket, payment) {
            (TokenSource::Custom { deposit, .. }, ..) => deposit(),
            (_, Some(bucket), Some(Payment::Tokens(tokens))) => bucket.add(tokens.max(1)),
            (_, Some(bucket), _) => bucket.add(1),
            (_, None, _) => {}
        }
    }

    fn give_back(&self, payment: Option<Payment>) {
        if let (Some(bucket), Some(payment)) = (&self.bucket, payment) {
            bucket.refund(payment, &self.budget.0.rates);
        }
    }
}

impl Drop for BudgetLease {
    fn drop(&mut self) {
        self.give_back(self.next);
    }
}

/// Without the budget: its snapshot visits all keys.
impl fmt::Debug for BudgetLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetLease")
            .field("next", &self.next)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
