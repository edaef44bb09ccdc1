//! What one call draws from a budget.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aplomb_core::{Kind, Outcome, RequestHead};
use tokio::time::Instant;

use super::purse::{Paid, Purse};
use super::{Budget, Means};

/// The account of one call.
///
/// What was paid for a retry that has not been sent is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Budget,
    /// `None` where another bucket is asked.
    purse: Option<Arc<Purse>>,
    /// What was paid for the retry to come.
    paid: u32,
    /// What was paid for the retry that runs.
    spent: u32,
}

impl Account {
    /// An account for a call that begins at `now`.
    pub(crate) fn open(budget: &Budget, request: &dyn RequestHead, now: Instant) -> Self {
        let purse = match &budget.0.means {
            Means::Purses(purses) => Some(purses.open(request, &budget.0.rates, now)),
            Means::Custom { .. } => None,
        };
        Self { budget: budget.clone(), purse, paid: 0, spent: 0 }
    }

    /// Pays for a retry after an attempt that came to `outcome`, or refuses it.
    pub(crate) fn pay(&mut self, outcome: Outcome, now: Instant) -> bool {
        let budget = &self.budget.0;
        let paid = match (&budget.means, &self.purse) {
            (Means::Custom { withdraw, .. }, _) => withdraw().then_some(Paid::Floor),
            (Means::Purses(_), Some(purse)) => {
                let throttled = outcome.kind() == Kind::Throttled;
                let cost = if throttled {
                    budget.rates.throttled
                } else {
                    budget.rates.others
                };
                purse.pay(cost, &budget.rates, now)
            }
            (Means::Purses(_), None) => None,
        };
        if let Some(Paid::Tokens(tokens)) = paid {
            self.paid = tokens;
        }
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
        self.spent = std::mem::take(&mut self.paid);
    }

    /// The retry that runs turned out to be free: a gate held it until it could go.
    pub(crate) fn refund(&mut self) {
        self.put(self.spent);
        self.spent = 0;
    }

    /// The call succeeded.
    pub(crate) fn succeeded(&mut self) {
        match &self.budget.0.means {
            Means::Custom { deposit, .. } => deposit(),
            Means::Purses(_) => self.put(self.spent.max(1)),
        }
        self.spent = 0;
    }

    fn put(&self, tokens: u32) {
        if let Some(purse) = &self.purse {
            purse.put(tokens);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.paid > 0 {
            self.put(self.paid);
        }
    }
}
