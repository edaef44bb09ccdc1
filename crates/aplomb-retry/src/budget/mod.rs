//! Budgets: they limit the retries sent to a server that fails.

mod buckets;
mod lease;
mod token_bucket;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aplomb_core::RequestView;

use self::buckets::{Buckets, KeyedBuckets, SingleBucket};
pub(crate) use self::lease::BudgetLease;
use self::token_bucket::Rates;

/// Limits the retries sent to a server that fails: a bucket of tokens that retries draw from and successes
/// fill.
///
/// A retry after a throttle costs 5 tokens, any other 14; the bucket holds 500. A success after a retry
/// returns the cost of that retry, any other success 1. So a server with a hiccup sees every retry, and one
/// that is down sees a few dozen, then one for every fourteen responses. These are the numbers of the retry
/// quota in the AWS SDKs (botocore's standard mode). In addition, one retry per second is always allowed, so
/// that a client with little traffic can retry at all.
///
/// Retries that put no load on the server are free: those that wait in the queue of a rate limit
/// ([`Throttled::Requeue`](crate::Throttled::Requeue)), and those that another layer makes wait for their turn
/// or rejects, for example an open circuit. That is known only when the retry arrives there: its cost is
/// reserved during its backoff.
///
/// **Clones** share everything: give clones of one budget to all layers that talk to the same server. A setter
/// starts a new, full budget, so set everything first. **Dropping** a call that waits for its retry returns
/// the cost of that retry, except to a [`custom`](Budget::custom) budget.
///
/// By default a [`RetryLayer`](crate::RetryLayer) has no budget: in a batch every prompt counts, and a circuit
/// breaker protects the server.
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

/// The number of keys whose state is kept, by default.
const MAX_KEYS: usize = 100_000;

struct Inner {
    rates: Rates,
    max_keys: usize,
    tokens: TokenSource,
    granted: AtomicU64,
    refused: AtomicU64,
}

enum TokenSource {
    Buckets(Box<dyn Buckets>),
    /// Kept elsewhere.
    Custom {
        withdraw: Box<dyn Fn() -> bool + Send + Sync>,
        deposit: Box<dyn Fn() + Send + Sync>,
    },
}

/// The state of a [`Budget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetSnapshot {
    /// The tokens left; with keys, those of the emptiest key. For a custom budget, its capacity.
    pub remaining: u32,
    /// The number of keys whose state is kept; 0 without keys.
    pub keys: usize,
    /// The number of retries that were paid for.
    pub granted: u64,
    /// The number of retries that were refused.
    pub refused: u64,
}

impl Budget {
    /// 500 tokens, and at least one retry per second.
    pub fn new() -> Self {
        let rates = Rates { capacity: 500, throttled: 5, others: 14, floor: Some(Duration::from_secs(1)) };
        Self::with(rates, MAX_KEYS, TokenSource::Buckets(Box::new(SingleBucket::default())))
    }

    /// A budget that is kept elsewhere: `withdraw` returns whether a retry is allowed, `deposit` is called for
    /// every success. Costs and capacity of this budget do not apply.
    ///
    /// # Examples
    ///
    /// Sharing the budget of tower's retry layer:
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
        let tokens = TokenSource::Custom { withdraw: Box::new(withdraw), deposit: Box::new(deposit) };
        Self::with(rates, MAX_KEYS, tokens)
    }

    /// Sets the capacity, which is also the number of tokens at the start. Default: 500. With 0, only
    /// [`min_per_second`](Self::min_per_second) allows retries.
    pub fn capacity(self, tokens: u32) -> Self {
        self.rated(|rates| rates.capacity = tokens)
    }

    /// Sets the cost of a retry after a throttle. Default: 5. At most the capacity is charged.
    pub fn throttled_cost(self, tokens: u32) -> Self {
        self.rated(|rates| rates.throttled = tokens)
    }

    /// Sets the cost of any other retry. Default: 14. At most the capacity is charged.
    pub fn cost(self, tokens: u32) -> Self {
        self.rated(|rates| rates.others = tokens)
    }

    /// Sets how many retries per second are allowed even without tokens. Default: 1. Zero and NaN allow none.
    /// Unused ones are saved up for one second.
    pub fn min_per_second(self, retries: f64) -> Self {
        self.rated(|rates| {
            rates.floor = Duration::try_from_secs_f64(retries.recip()).ok().filter(|_| retries > 0.0);
        })
    }

    /// Gives each key a bucket of its own: a server, an account, a tenant. `key_of` sees the head of the
    /// request. Keys are never shown.
    ///
    /// The bucket of a key is kept while one of its calls runs and until it is full again.
    pub fn by_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Clone + Hash + Eq + Send + Sync + 'static,
    {
        let max_keys = self.0.max_keys;
        let buckets = Box::new(KeyedBuckets::new(max_keys, Arc::new(key_of)));
        Self::with(self.0.rates, max_keys, TokenSource::Buckets(buckets))
    }

    /// Sets the number of keys whose state is kept at most. Default: 100,000. Further keys share one bucket.
    pub fn max_keys(self, max_keys: usize) -> Self {
        let rates = self.0.rates;
        self.renewed(rates, max_keys)
    }

    /// The state at this moment.
    pub fn snapshot(&self) -> BudgetSnapshot {
        let (remaining, keys) = match &self.0.tokens {
            TokenSource::Buckets(buckets) => buckets.summary(&self.0.rates),
            TokenSource::Custom { .. } => (self.0.rates.capacity, 0),
        };
        let (granted, refused) = (&self.0.granted, &self.0.refused);
        BudgetSnapshot {
            remaining,
            keys,
            granted: granted.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
        }
    }

    fn rated(self, change: impl FnOnce(&mut Rates)) -> Self {
        let mut rates = self.0.rates;
        change(&mut rates);
        let max_keys = self.0.max_keys;
        self.renewed(rates, max_keys)
    }

    /// Starts a new budget. Clones made before keep the old one.
    fn renewed(self, rates: Rates, max_keys: usize) -> Self {
        match &self.0.tokens {
            TokenSource::Buckets(buckets) => {
                let buckets = buckets.refilled(max_keys);
                Self::with(rates, max_keys, TokenSource::Buckets(buckets))
            }
            TokenSource::Custom { .. } => self,
        }
    }

    fn with(rates: Rates, max_keys: usize, tokens: TokenSource) -> Self {
        let (granted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { rates, max_keys, tokens, granted, refused }))
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
