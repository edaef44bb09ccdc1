//! The layer: configuration, and the policy by which its services ask for admission.

use std::any::Any;
use std::fmt;
use std::future::Pending;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{
    Admission, AdmissionConfig, Configured, Entries, ErasedKey, KeyBy, LayerState, OnBodyEnd, OnHead,
    Rejected, RequestPolicy,
};
use aplomb_core::{
    BoxError, CallOptions, HttpClassifier, KeyLabel, Observe, RequestHead, RequestView, WithReadings,
};
use tower_layer::{Layer, Stack};

use crate::config::{Config, Keys, QuotasOf, Source};
use crate::limiter_gate::LimiterGate;
use crate::limits::RateLimits;
use crate::{Charge, Cost, Learned, PerRequest, Pool, Quota, RateLimitReason, RateLimiter};

/// Spaces calls out, in requests and tokens, so that the server does not have to refuse them.
///
/// See the [crate's documentation](crate) for what clones share, what dropping does and where it goes in a stack.
///
/// The layer is configuration. Its quotas, or the map of quotas by key, are made when the layer is first used: by
/// [`layer`](Layer::layer), or through a [limiter](Self::limiter). Clones share them. A setter changes nothing that runs:
/// on a layer that has been used, and on a clone, it makes a layer with quotas of its own, and limiters taken before
/// belong to the old ones. Limiters taken before the first use follow the layer.
#[derive(Clone)]
#[must_use]
pub struct RateLimitLayer<K = PerRequest, C = HttpClassifier, U = OnHead> {
    config: Configured<RateLimits>,
    cost: K,
    classifier: C,
    until: U,
}

/// A service behind a rate limit. Made by [`RateLimitLayer`].
///
/// A field whose layer has a cost is one line too if the cost is an `Arc`:
/// `RateLimit<reqwest::Client, Arc<dyn Cost<reqwest::Request> + Send + Sync>>`.
pub type RateLimit<S, K = PerRequest, C = HttpClassifier, U = OnHead> =
    Admission<S, RateLimitPolicy<K>, C, U>;

impl RateLimitLayer {
    /// Limits calls to `quotas`, all of which have to admit a call. Without any quota the server's
    /// limits are learned.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self::with_config(Configured::new(Config::new(Source::Quotas(quotas.into_iter().collect()))))
    }

    /// Limits calls to the quotas of a pool, which other layers draw on too. The queue is this layer's own. Pauses,
    /// learning and the seed are set on the pool; the setters of the layer do not change them.
    pub fn with_pool(pool: &Pool) -> Self {
        Self::with_config(Configured::new(Config::new(Source::Pool(pool.clone()))))
    }

    /// Limits calls that arrive: at a server, or at a gateway for each of its tenants.
    ///
    /// In front of your own handlers a limit works differently than in front of somebody's API:
    ///
    /// - **Calls do not wait**: one that exceeds a quota is rejected at once with [`RateLimited`](crate::RateLimited), which tells when to come
    ///   back. Set [`max_wait`](RateLimitLayer::max_wait) to let calls wait.
    /// - **Responses say nothing about the quotas**: nothing is learned from them, and a handler's own 429 pauses nobody.
    /// - **A call is charged once**: a retry, seen by its [`CallOptions::attempts`], costs no further request. Tokens are
    ///   charged as they were used, if the call's usage is known; a call that fails gets its tokens back.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_core::RequestView;
    /// use aplomb_rate_limit::{Quota, RateLimitLayer};
    ///
    /// let layer = RateLimitLayer::inbound([Quota::requests_per_second(10).burst(20)])
    ///     .by_key(|request: &RequestView<'_>| request.headers().and_then(|all| all.get("x-tenant").cloned()));
    /// # drop(layer);
    /// ```
    pub fn inbound(quotas: impl IntoIterator<Item = Quota>) -> Self {
        Self::new(quotas).set(Config::make_inbound).max_wait(Duration::ZERO)
    }

    /// Limits calls by a limiter that others use too. A setter of its settings gives the layer a limiter of its own.
    pub fn with_limiter(limiter: RateLimiter) -> Self {
        Self::with_config(Configured::of(limiter.0))
    }

    fn with_config(config: Configured<RateLimits>) -> Self {
        Self { config, cost: PerRequest, classifier: HttpClassifier::new(), until: OnHead }
    }
}

impl<K, C, U> RateLimitLayer<K, C, U> {
    /// Sets what a call costs: a [`Cost`], or a closure from the request to a [`Charge`](crate::Charge).
    ///
    /// Default: the [`Charge`](crate::Charge) in the request's extensions, or else one request. With a quota of
    /// tokens, a call for which neither is set is rejected.
    pub fn cost<L>(self, cost: L) -> RateLimitLayer<L, C, U> {
        let Self { config, classifier, until, .. } = self;
        RateLimitLayer { config, cost, classifier, until }
    }

    /// Sets the classifier of responses: a throttled response pauses all callers. Default:
    /// [`HttpClassifier`].
    pub fn classifier<D>(self, classifier: D) -> RateLimitLayer<K, D, U> {
        let Self { config, cost, until, .. } = self;
        RateLimitLayer { config, cost, classifier, until }
    }

    /// Sets a closure that reads the server's limits from the heads of responses:
    /// `Fn(&Response) -> Vec<Reading>`. Default:
    /// the classifier reads them, and [`HttpClassifier`] reads none. Set the classifier first.
    pub fn readings<R>(self, reader: R) -> RateLimitLayer<K, WithReadings<C, R>, U> {
        let Self { config, cost, classifier, until } = self;
        let classifier = WithReadings::new(classifier, reader);
        RateLimitLayer { config, cost, classifier, until }
    }

    /// Ends a call when its response's body has ended. Default: when the head has arrived.
    pub fn until_body_end(self) -> RateLimitLayer<K, C, OnBodyEnd> {
        let Self { config, cost, classifier, .. } = self;
        RateLimitLayer { config, cost, classifier, until: OnBodyEnd }
    }

    fn set(self, change: impl FnOnce(&mut Config)) -> Self {
        Self { config: self.config.with(change), ..self }
    }

    /// Gives each key quotas, a pause and a queue of its own: an account, a tenant, a model, a host. A
    /// [`CallKey`](aplomb_core::CallKey) of the same type in a request's extensions takes precedence.
    ///
    /// Keys are shown as a hash in errors and events: they may be secret. A key is made when it is first used. One whose
    /// state equals that of an unused one is evicted bit by bit; see [`max_keys`](Self::max_keys).
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_core::RequestView;
    /// use aplomb_rate_limit::{Quota, RateLimitLayer};
    ///
    /// let layer = RateLimitLayer::new([Quota::requests_per_minute(600)])
    ///     .by_key(|request: &RequestView<'_>| request.host().unwrap_or_default().to_owned());
    /// # drop(layer);
    /// ```
    pub fn by_key<F, Key>(self, key_of: F) -> Self
    where
        F: Fn(&RequestView<'_>) -> Key + Send + Sync + 'static,
        Key: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.keyed(KeyBy::secret(key_of), None)
    }

    /// The same, for keys that may be shown in errors and events.
    pub fn by_public_key<F, Key>(self, key_of: F) -> Self
    where
        F: Fn(&RequestView<'_>) -> Key + Send + Sync + 'static,
        Key: fmt::Display + Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.keyed(KeyBy::public(key_of), None)
    }

    /// The same by account: the server and the credential, of which a hash is kept and shown.
    pub fn by_account(self) -> Self {
        self.keyed(KeyBy::account(), None)
    }

    /// As [`by_key`](Self::by_key), with quotas that depend on the key instead of those of the layer. `quotas_of` is
    /// called when a key is made, outside of any lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_core::{CallOptions, RequestView};
    /// use aplomb_rate_limit::{Charge, Quota, RateLimitLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb_rate_limit::RateLimited> {
    /// fn tenant(request: &RequestView<'_>) -> u64 {
    ///     let tenant = request.headers().and_then(|headers| headers.get("x-tenant")?.to_str().ok()?.parse().ok());
    ///     tenant.unwrap_or(0)
    /// }
    ///
    /// let layer = RateLimitLayer::new([]).by_key_with(tenant, |tenant: &u64| {
    ///     let paying = (1..1_000).contains(tenant);
    ///     [Quota::requests_per_minute(if paying { 6_000 } else { 60 })]
    /// });
    /// // Without a service:
    /// let permit = layer.limiter().acquire_for(&7_u64, Charge::request(), &CallOptions::new()).await?;
    /// # drop(permit); Ok(()) }
    /// ```
    pub fn by_key_with<F, Key, Q>(
        self,
        key_of: F,
        quotas_of: impl Fn(&Key) -> Q + Send + Sync + 'static,
    ) -> Self
    where
        F: Fn(&RequestView<'_>) -> Key + Send + Sync + 'static,
        Key: Hash + Eq + Clone + Send + Sync + 'static,
        Q: IntoIterator<Item = Quota>,
    {
        self.keyed(KeyBy::secret(key_of), Some(erased(quotas_of)))
    }

    /// As [`by_key_with`](Self::by_key_with), for keys that may be shown in errors and events.
    pub fn by_public_key_with<F, Key, Q>(
        self,
        key_of: F,
        quotas_of: impl Fn(&Key) -> Q + Send + Sync + 'static,
    ) -> Self
    where
        F: Fn(&RequestView<'_>) -> Key + Send + Sync + 'static,
        Key: fmt::Display + Hash + Eq + Clone + Send + Sync + 'static,
        Q: IntoIterator<Item = Quota>,
    {
        self.keyed(KeyBy::public(key_of), Some(erased(quotas_of)))
    }

    /// Gives each tenant quotas of its own, in front of this layer's: those of the tenant are charged once for a call, those
    /// of this layer for each attempt. The server, its pauses and what is learned of it concern all tenants, since they
    /// share an account; a tenant whose quota is used up delays nobody else. With [`by_key`](Self::by_key) each key would
    /// learn the server anew.
    ///
    /// The layer that is returned consists of two: an [`inbound`](RateLimitLayer::inbound) one by key, whose calls wait as
    /// long as those of this layer, around this layer. The key is shown as a hash in errors and events. Call this last, and
    /// take handles before; for a handle on the tenants' quotas, put the two layers together yourself.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb_core::RequestView;
    /// use aplomb_rate_limit::{Quota, RateLimitLayer};
    ///
    /// fn tenant(request: &RequestView<'_>) -> String {
    ///     let header = request.headers().and_then(|headers| headers.get("x-tenant")?.to_str().ok());
    ///     header.unwrap_or_default().to_owned()
    /// }
    ///
    /// let account = RateLimitLayer::new([Quota::requests_per_minute(6_000)]);
    /// let layer = account.quotas_per(tenant, |tenant: &String| {
    ///     [Quota::requests_per_minute(if tenant == "acme" { 600 } else { 60 })]
    /// });
    /// # drop(layer);
    /// ```
    pub fn quotas_per<F, Key, Q>(
        self,
        tenant_of: F,
        quotas_of: impl Fn(&Key) -> Q + Send + Sync + 'static,
    ) -> Stack<Self, Self>
    where
        F: Fn(&RequestView<'_>) -> Key + Send + Sync + 'static,
        Key: Hash + Eq + Clone + Send + Sync + 'static,
        Q: IntoIterator<Item = Quota>,
        K: Clone,
        C: Clone,
        U: Clone,
    {
        let tenants = self.clone().set(Config::make_of_tenants);
        Stack::new(self, tenants.keyed(KeyBy::secret(tenant_of), Some(erased(quotas_of))))
    }

    fn keyed(self, by: KeyBy, quotas_of: Option<Arc<QuotasOf>>) -> Self {
        self.set(|config| config.keys = Some(Keys { by, quotas_of }))
    }

    /// Sets how many keys there may be. If one more is needed, the one whose state is worth the least is evicted, and
    /// last one in debt, in a pause or with a limit that the server reported; if all are in use, the call is rejected.
    /// Default: 100,000.
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|config| config.max_keys = keys)
    }

    /// Sets how long a call may wait. A call that would wait longer is rejected immediately if that can be
    /// predicted, and at the timeout otherwise; zero rejects every call that would have to wait.
    /// Default: as long as a call's own deadline allows.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.set(|config| config.limits = config.limits.max_wait(wait))
    }

    /// Sets how many calls may wait. Default: 65,536.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.set(|config| config.limits = config.limits.max_waiting(calls))
    }

    /// Sets how much a level of priority is worth: a call goes before those of the next level that arrived less than
    /// this long before it. Default: 30 s.
    pub fn ageing(self, ageing: Duration) -> Self {
        self.set(|config| config.limits = config.limits.ageing(ageing))
    }

    /// Sets the longest time that calls wait because the server names it. Default: 120 s. If a server asks for more, calls are
    /// rejected instead of waiting.
    pub fn max_pause(self, longest: Duration) -> Self {
        self.set(|config| config.max_pause = Some(longest))
    }

    /// Sets whether limits that nobody configured are learned: from what the server reports, and from what it refuses.
    /// Default: true.
    pub fn learning(self, learning: bool) -> Self {
        self.set(|config| config.learning = learning)
    }

    /// Starts with what was learned in an earlier run.
    pub fn remember(self, learned: &Learned) -> Self {
        self.set(|config| config.learned = Some(learned.clone()))
    }

    /// Seeds the random part of the time between probes while the server lets nobody through, so that it is repeatable: for
    /// tests and simulations. Default: random.
    pub fn seed(self, seed: u64) -> Self {
        self.set(|config| config.seed = Some(seed))
    }

    /// Sets the observer of pauses, learned limits and rejections. Default: [`LogEvents`](aplomb_core::LogEvents).
    pub fn observer(self, observer: impl Observe + 'static) -> Self {
        self.set(|config| config.observer = Arc::new(observer))
    }

    /// The limiter: to read its state, to change what is running, and to use it without a service.
    #[must_use]
    pub fn limiter(&self) -> RateLimiter {
        RateLimiter(self.config.handle().clone())
    }
}

impl<S, K: Clone, C: Clone, U: Clone> Layer<S> for RateLimitLayer<K, C, U> {
    type Service = RateLimit<S, K, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let policy = RateLimitPolicy { limits: self.config.state().clone(), cost: self.cost.clone() };
        let config = AdmissionConfig::new(policy, self.classifier.clone(), self.until.clone());
        Admission::new(inner, Arc::new(config))
    }
}

/// The quotas of a key whose type has been erased. There are only keys of this type.
fn erased<Key: Any, Q: IntoIterator<Item = Quota>>(
    quotas_of: impl Fn(&Key) -> Q + Send + Sync + 'static,
) -> Arc<QuotasOf> {
    Arc::new(move |key: &dyn ErasedKey| {
        let key = key.as_any().downcast_ref();
        key.map_or_else(Vec::new, |key| quotas_of(key).into_iter().collect())
    })
}

impl<K, C, U> fmt::Debug for RateLimitLayer<K, C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How the services of a layer ask for admission.
pub struct RateLimitPolicy<K> {
    limits: RateLimits,
    cost: K,
}

impl<K> fmt::Debug for RateLimitPolicy<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitPolicy").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<Req: RequestHead, K: Cost<Req>> RequestPolicy<Req> for RateLimitPolicy<K> {
    type Gate = LimiterGate;
    type Preparing = Pending<Result<Req, BoxError>>;

    #[inline]
    fn entries(&self) -> &Entries<LimiterGate> {
        self.limits.entries()
    }

    fn view<'r>(&self, request: &'r Req) -> RequestView<'r> {
        RequestView::head(request)
    }

    #[inline]
    fn cost(&self, request: &Req, options: &CallOptions) -> Charge {
        self.limits.cost(self.cost.charge(request), options)
    }

    fn rejection(
        &self,
        rejected: &Rejected<RateLimitReason>,
        key: Option<KeyLabel>,
        options: &CallOptions,
    ) -> BoxError {
        Box::new(self.limits.rejection(rejected, key, options))
    }

    #[inline]
    fn preparation(&self) -> Option<impl FnOnce(Req) -> Self::Preparing> {
        None::<fn(Req) -> Self::Preparing>
    }
}
