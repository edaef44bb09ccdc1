//! What one call draws from a budget.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aplomb_core::{Kind, Outcome, RequestHead};
use tokio::time::Instant;

use super::purse::{Paid, Purse};
use super::{Budget, Means};

/// The account of one call.
///
/// What was paid for a retry that has not been sent is given back when this is dropped.
pub(crate) struct Account {
    budget: Budget,
    /// `None` where another bucket is asked.
    purse: Option<Arc<Purse>>,
    /// What was paid for the retry to come.
    paid: Option<Paid>,
    /// What was paid for the retry that runs.
    spent: Option<Paid>,
}

impl Account {
    /// An account for a call that begins at `now`.
    pub(crate) fn open(budget: &Budget, request: &dyn RequestHead, now: Instant) -> Self {
        let purse = match &budget.0.means {
            Means::Purses(purses) => Some(purses.open(request, &budget.0.rates, now)),
            Means::Custom { .. } => None,
        };
        Self { budget: budget.clone(), purse, paid: None, spent: None }
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
        self.paid = paid;
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
        self.spent = self.paid.take();
    }

    /// The retry that runs turned out to be free: a gate holds it until it can go, or has refused it.
    pub(crate) fn refund(&mut self) {
        let spent = self.spent.take();
        self.take_back(spent);
    }

    /// The call succeeded.
    pub(crate) fn succeeded(&mut self) {
        let spent = self.spent.take();
        match (&self.budget.0.means, &self.purse, spent) {
            (Means::Custom { deposit, .. }, ..) => deposit(),
            (_, Some(purse), Some(Paid::Tokens(tokens))) => purse.put(tokens.max(1)),
            (_, Some(purse), _) => purse.put(1),
            (_, None, _) => {}
        }
    }

    fn take_back(&self, paid: Option<Paid>) {
        if let (Some(purse), Some(paid)) = (&self.purse, paid) {
            purse.take_back(paid, &self.budget.0.rates);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.take_back(self.paid);
    }
}

/// Not the budget: that would go through all its keys.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("paid", &self.paid)
            .field("spent", &self.spent)
            .finish_non_exhaustive()
    }
}
