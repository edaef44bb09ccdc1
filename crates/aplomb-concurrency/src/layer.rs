//! The layer: configuration, and the state that its services share.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{
    Admission, AdmissionConfig, Entries, ErasedKey, KeyBy, LayerState, OnBodyEnd, OnHead, QueueLimits,
};
use aplomb_core::{Account, HttpClassifier, LogEvents, Observe, RequestView};
use tower_layer::Layer;

use crate::policy::ConcurrencyPolicy;
use crate::{Limit, Limiter, Slots};

/// Limits how many calls are in flight, for all calls or for each key, and finds the limit by itself if asked to.
///
/// It is configuration: a setter changes nothing that runs. See the [crate's documentation](crate) for what clones share,
/// what dropping does and where it goes in a stack.
///
/// # Examples
///
/// A limit for each host, which none of the others affects:
///
/// ```
/// use aplomb_concurrency::{Adaptive, ConcurrencyLimitLayer};
/// use aplomb_core::RequestView;
///
/// let layer = ConcurrencyLimitLayer::new(Adaptive::new())
///     .by_public_key(|request: &RequestView| request.host().unwrap_or_default().to_owned());
/// let limiter = layer.limiter();
/// # use bytes::Bytes;
/// # use http_body_util::Full;
/// # use tower::{Service, ServiceBuilder, service_fn};
/// # let _ = ServiceBuilder::new().layer(layer).service(service_fn(|_: http::Request<String>| async {
/// #     Ok::<_, tower::BoxError>(http::Response::new(Full::<Bytes>::default()))
/// # })).call(http::Request::new(String::new()));
/// assert_eq!(limiter.keys(), Some(0));
/// ```
#[derive(Clone)]
#[must_use]
pub struct ConcurrencyLimitLayer<C = HttpClassifier, U = OnBodyEnd> {
    settings: Settings,
    /// Shared by clones, and by what they make.
    state: LayerState<Limiter>,
    classifier: C,
    completion: U,
}

/// A service behind a concurrency limit. Made by [`ConcurrencyLimitLayer`].
pub type ConcurrencyLimit<S, C = HttpClassifier, U = OnBodyEnd> = Admission<S, ConcurrencyPolicy, C, U>;

pub(crate) type Observer = Arc<dyn Observe + Send + Sync>;

/// The settings of a limiter.
#[derive(Clone)]
pub(crate) struct Settings {
    slots_of: Arc<SlotsOf>,
    key_by: Option<KeyBy>,
    max_keys: usize,
    queue: QueueLimits,
    abandoned: Option<Duration>,
    pub(crate) observer: Observer,
}

type SlotsOf = dyn Fn(Option<&dyn ErasedKey>) -> Slots + Send + Sync;

impl Settings {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            slots_of: Arc::new(move |_| Slots::new(limit)),
            key_by: None,
            max_keys: Entries::<Slots>::MAX_KEYS,
            queue: QueueLimits::new(),
            abandoned: None,
            observer: Arc::new(LogEvents),
        }
    }

    pub(crate) fn entries(&self) -> Entries<Slots> {
        let (slots_of, abandoned) = (Arc::clone(&self.slots_of), self.abandoned);
        let make = move |key: Option<&dyn ErasedKey>| {
            let mut slots = slots_of(key);
            if let Some(longest) = abandoned {
                slots.set_abandoned(longest);
            }
            slots
        };
        let observer = crate::snapshot::events_to(Arc::clone(&self.observer));
        match &self.key_by {
            None => Entries::one(make(None), self.queue, observer),
            Some(by) => {
                Entries::keyed(by.clone(), self.max_keys, self.queue, move |key| make(Some(key)), observer)
            }
        }
    }
}

impl ConcurrencyLimitLayer {
    /// Allows this many calls in flight: a number, or an [`Adaptive`](crate::Adaptive) limit.
    pub fn new(limit: impl Into<Limit>) -> Self {
        Self::with_settings(Settings::new(limit.into()), LayerState::new())
    }

    /// Limits calls by a limiter that others use too. A setter of its limits makes a limiter of the layer's own.
    pub fn with_limiter(limiter: Limiter) -> Self {
        Self::with_settings(limiter.settings().clone(), LayerState::of(limiter))
    }

    fn with_settings(settings: Settings, state: LayerState<Limiter>) -> Self {
        Self { settings, state, classifier: HttpClassifier::new(), completion: OnBodyEnd }
    }
}

impl<C, U> ConcurrencyLimitLayer<C, U> {
    /// Gives each key a limit of its own. The key is shown as a hash.
    ///
    /// A [`CallKey`](aplomb_core::CallKey) of the same type in the extensions of a request takes precedence.
    pub fn by_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.keyed(KeyBy::secret(key_of))
    }

    /// Gives each key a limit of its own. The key is shown in errors and events.
    pub fn by_public_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
    {
        self.keyed(KeyBy::public(key_of))
    }

    /// Gives each [`Account`], the server and the credential, a limit of its own.
    pub fn by_account(self) -> Self {
        self.by_public_key(|request: &RequestView<'_>| -> Account { request.account() })
    }

    /// Gives each key a limit of its own: a number, an [`Adaptive`](crate::Adaptive) limit, or [`Slots`]. The key is shown as a
    /// hash.
    ///
    /// `limit_of` is called when a key comes into use, outside of any lock.
    pub fn by_key_with<K, L>(
        mut self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        limit_of: impl Fn(&K) -> L + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        L: Into<Slots>,
    {
        let default = Arc::clone(&self.settings.slots_of);
        self.settings.slots_of = Arc::new(move |key| {
            let key = key.and_then(|key| key.as_any().downcast_ref());
            key.map_or_else(|| default(None), |key| limit_of(key).into())
        });
        self.keyed(KeyBy::secret(key_of))
    }

    fn keyed(mut self, by: KeyBy) -> Self {
        self.settings.key_by = Some(by);
        self.anew()
    }

    /// Sets how many keys there may be. Default: 100,000. If there are more, the one that is worth the least is forgotten;
    /// if all are in use, calls with another one are rejected.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.settings.max_keys = keys;
        self.anew()
    }

    /// Sets the classifier of responses and errors. Default: the rules of HTTP.
    pub fn classifier<D>(self, classifier: D) -> ConcurrencyLimitLayer<D, U> {
        let Self { settings, state, completion, .. } = self;
        ConcurrencyLimitLayer { settings, state, classifier, completion }
    }

    /// Lets a call last only to the head of its response, instead of to the end of its body: for responses without one.
    pub fn until_head(self) -> ConcurrencyLimitLayer<C, OnHead> {
        let Self { settings, state, classifier, .. } = self;
        ConcurrencyLimitLayer { settings, state, classifier, completion: OnHead }
    }

    /// Sets how long a call that was abandoned before its response counts as in flight, at most. Default: 30 s for an
    /// adaptive limit, 0 for a fixed one.
    pub fn abandoned(mut self, longest: Duration) -> Self {
        self.settings.abandoned = Some(longest);
        self.anew()
    }

    /// Sets how long a call may wait. One that would wait longer is rejected immediately if that can be predicted, and at the
    /// timeout otherwise; with zero no call waits. Default: as long as its own deadline allows.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.settings.queue = self.settings.queue.max_wait(wait);
        self.anew()
    }

    /// Sets how many calls may wait. Default: 65,536.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.settings.queue = self.settings.queue.max_waiting(calls);
        self.anew()
    }

    /// Sets all limits of the queue.
    pub fn queue_limits(mut self, limits: QueueLimits) -> Self {
        self.settings.queue = limits;
        self.anew()
    }

    /// Sets the observer of changes and rejections. Default: they are logged.
    pub fn observer(mut self, observer: impl Observe + Send + Sync + 'static) -> Self {
        self.settings.observer = Arc::new(observer);
        self.anew()
    }

    /// The limiter: a handle to read, change, close and share it.
    #[must_use]
    pub fn limiter(&self) -> Limiter {
        self.state.get_or_make(|| Limiter::with_settings(self.settings.clone())).clone()
    }

    /// Settings that clones made before do not have.
    fn anew(mut self) -> Self {
        self.state = LayerState::new();
        self
    }
}

impl<S, C: Clone, U: Clone> Layer<S> for ConcurrencyLimitLayer<C, U> {
    type Service = ConcurrencyLimit<S, C, U>;

    fn layer(&self, inner: S) -> Self::Service {
        let policy = ConcurrencyPolicy::new(&self.limiter());
        let config = AdmissionConfig::new(policy, self.classifier.clone(), self.completion.clone());
        Admission::new(inner, Arc::new(config))
    }
}

impl<C, U> fmt::Debug for ConcurrencyLimitLayer<C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimitLayer")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
