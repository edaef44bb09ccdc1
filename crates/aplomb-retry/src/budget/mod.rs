//! How many retries a server is given while it fails.

mod account;
mod purse;
mod purses;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aplomb_core::RequestHead;

pub(crate) use self::account::Account;
use self::purse::Rates;
use self::purses::{Keys, One, Purses};

/// Keeps retries from multiplying the load of a server that fails: a bucket of tokens that retries
/// draw from and successes fill.
///
/// A retry after a throttle costs 5 tokens, any other 14; the bucket holds 500. A success that took a
/// retry gives back what that retry cost, any other success 1. So a server that is healthy but for a
/// hiccup sees every retry, and one that is down sees a few dozen, and then one for every fourteen
/// answers. These are the numbers of the retry quota in AWS's SDKs (botocore's standard mode).
/// Beside the tokens there is a floor: one retry a second is always allowed, so that a client with
/// little traffic can retry at all after a bad time.
///
/// A retry that costs nothing to the server is free: one that waits in the line of a rate limit
/// ([`Throttled::Requeue`](crate::Throttled::Requeue)), and one that a gate holds back until it can go,
/// as an open circuit does, or refuses. Whether a gate will is known only when the retry gets there: what
/// it would cost is held while its backoff runs.
///
/// **What clones share**: everything. Give clones of one budget to all layers that talk to one
/// server. A setter starts a new, full budget, so set everything first. **What dropping does**: a call
/// that is dropped while it waits for its retry gives back what the retry would have cost; to a
/// [`custom`](Budget::custom) budget nothing can be given back.
///
/// A [`RetryLayer`](crate::RetryLayer) has none unless it is given one: for a batch every prompt
/// counts, and what protects the server is a circuit breaker further in.
///
/// # Examples
///
/// ```
/// use aplomb_retry::{Budget, RetryLayer};
///
/// let budget = Budget::new().capacity(200).min_per_second(0.5);
/// let layer = RetryLayer::new().budget(budget.clone());
/// assert_eq!(budget.snapshot().remaining, 200);
/// # drop(layer);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Budget(Arc<Inner>);

struct Inner {
    rates: Rates,
    means: Means,
    granted: AtomicU64,
    refused: AtomicU64,
}

/// Where the tokens come from.
enum Means {
    /// From our own purses.
    Purses(Box<dyn Purses>),
    /// From somebody else's bucket.
    Custom {
        withdraw: Box<dyn Fn() -> bool + Send + Sync>,
        deposit: Box<dyn Fn() + Send + Sync>,
    },
}

/// What a budget has done, and has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetSnapshot {
    /// The tokens left; of a budget with keys, those of the emptiest key. The capacity where another
    /// bucket is asked, which does not say.
    pub remaining: u32,
    /// How many keys are in use, or not yet forgotten: 0 without keys.
    pub keys: usize,
    /// How many retries were paid for.
    pub granted: u64,
    /// How many retries were refused.
    pub refused: u64,
}

impl Budget {
    /// 500 tokens, and one retry a second beside them.
    pub fn new() -> Self {
        let rates = Rates { capacity: 500, throttled: 5, others: 14, floor: Some(Duration::from_secs(1)) };
        Self::with(rates, Means::Purses(Box::new(One::default())))
    }

    /// A budget kept elsewhere: `withdraw` says whether a retry may be made, `deposit` is told of every
    /// success. The rates of this budget do not apply to it.
    ///
    /// # Examples
    ///
    /// The budget of tower's own retry layer, shared with it:
    ///
    /// ```
    /// use std::sync::Arc;
    /// use aplomb_retry::{Budget, RetryLayer};
    /// use tower::retry::budget::{Budget as _, TpsBudget};
    ///
    /// let tower = Arc::new(TpsBudget::default());
    /// let layer = RetryLayer::new().budget(Budget::custom(
    ///     { let tower = Arc::clone(&tower); move || tower.withdraw() },
    ///     move || tower.deposit(),
    /// ));
    /// # drop(layer);
    /// ```
    pub fn custom(
        withdraw: impl Fn() -> bool + Send + Sync + 'static,
        deposit: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let rates = Self::new().0.rates;
        Self::with(rates, Means::Custom { withdraw: Box::new(withdraw), deposit: Box::new(deposit) })
    }

    /// Sets how many tokens there are at most, and at first: 500 unless set. None leaves only the
    /// floor.
    pub fn capacity(self, tokens: u32) -> Self {
        self.rated(|rates| rates.capacity = tokens)
    }

    /// Sets what a retry after a throttle costs: 5 unless set. A cost above the capacity counts as
    /// the capacity.
    pub fn throttled_cost(self, tokens: u32) -> Self {
        self.rated(|rates| rates.throttled = tokens)
    }

    /// Sets what any other retry costs: 14 unless set. A cost above the capacity counts as the
    /// capacity.
    pub fn cost(self, tokens: u32) -> Self {
        self.rated(|rates| rates.others = tokens)
    }

    /// Sets how many retries are allowed each second whatever the tokens: 1 unless set. Zero, or what
    /// is not a number, is no floor. What is not used is kept for one second.
    pub fn min_per_second(self, retries: f64) -> Self {
        self.rated(|rates| {
            rates.floor = Duration::try_from_secs_f64(retries.recip()).ok().filter(|_| retries > 0.0);
        })
    }

    /// Gives every key tokens of its own: a server, an account, a tenant. `key` sees the head of the
    /// request.
    ///
    /// A key is in use while one of its calls runs, and until its budget is full again; then it is
    /// forgotten. Where more than `max_keys` are in use at once, the further ones share one budget.
    pub fn key<K>(self, max_keys: usize, key: impl Fn(&dyn RequestHead) -> K + Send + Sync + 'static) -> Self
    where
        K: Clone + Hash + Eq + Send + Sync + 'static,
    {
        Self::with(self.0.rates, Means::Purses(Box::new(Keys::new(max_keys, key))))
    }

    /// What it has done, and has left.
    pub fn snapshot(&self) -> BudgetSnapshot {
        let (remaining, keys) = match &self.0.means {
            Means::Purses(purses) => purses.summary(&self.0.rates),
            Means::Custom { .. } => (self.0.rates.capacity, 0),
        };
        let (granted, refused) = (&self.0.granted, &self.0.refused);
        BudgetSnapshot {
            remaining,
            keys,
            granted: granted.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
        }
    }

    /// The rates concern a budget that begins: whoever shares the one before keeps it as it was.
    fn rated(self, change: impl FnOnce(&mut Rates)) -> Self {
        let mut rates = self.0.rates;
        change(&mut rates);
        match &self.0.means {
            Means::Purses(purses) => Self::with(rates, Means::Purses(purses.anew())),
            Means::Custom { .. } => self,
        }
    }

    fn with(rates: Rates, means: Means) -> Self {
        Self(Arc::new(Inner { rates, means, granted: AtomicU64::new(0), refused: AtomicU64::new(0) }))
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.snapshot()).finish()
    }
}
