//! Gates of its own for each key.

use std::any::Any;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, RwLock};
use std::task::Context;

use aplomb_admission::{Closing, Full, KeyNotice, Permit, Queues, Stopped, Wait};
use aplomb_circuit_breaker::TracingObserver as CircuitLog;
use aplomb_concurrency::TracingObserver as LimitLog;
use aplomb_core::{Account, CallKey, LogEvents, Observe};
use aplomb_rate_limit::{Charge, Quota};
use tower_layer::Layer;

use super::door;
use super::gates::{EndpointGates, GateEvent};
use super::state::{self, EndpointState};
use super::{Endpoint, GatesHandle};
use crate::route::RequestView;
use crate::{InvalidPolicy, Policy};

/// The queues of all keys, whatever the keys are.
pub(super) trait Keys: fmt::Debug + Send + Sync {
    fn ask(
        &self,
        request: &RequestView<'_>,
        cost: Charge,
        wait: Wait,
        cx: &Context<'_>,
        permit: &mut Option<Permit<EndpointGates>>,
    ) -> Option<Stopped<EndpointGates>>;

    /// The key of a request, as its `Debug` shows it.
    fn name(&self, request: &RequestView<'_>) -> Arc<str>;

    fn adopt(&self, policy: &Policy);

    fn close(&self, closing: Closing);
}

/// So many keys there may be, unless it is set.
const MAX_KEYS: usize = 100_000;

type KeyOf<K> = Arc<dyn Fn(&RequestView<'_>) -> K + Send + Sync>;
type QuotasOf<K> = Arc<dyn Fn(&K) -> Vec<Quota> + Send + Sync>;

/// An [`EndpointLayer`](crate::EndpointLayer) with a queue, quotas, a circuit and a concurrency limit of its own for each key: an
/// account, a tenant, a model. Made by [`EndpointLayer::by_key`](crate::EndpointLayer::by_key).
///
/// What one key meets, a 429, an exhausted account, an outage, does not touch the others. A key is kept while
/// it is used, and a few words of it while there is something to be remembered; there are never more than
/// [`max_keys`](Self::max_keys), see [`Queues`]. Retries, timeouts, the budget and the reading of
/// answers are the same for all.
///
/// A [`CallKey`] of the same type in a request's extensions goes before what `key_of` says. Setters begin anew:
/// set everything first, then take handles. Refusals are inside a
/// [`KeyRefused`](aplomb_admission::KeyRefused) that names the key.
///
/// Clones share the keys.
///
/// # Examples
///
/// ```
/// use aplomb::{EndpointLayer, Policy, provider::OpenAi, rate_limit::Quota, route::RequestView};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::InvalidPolicy> {
/// let tenant = |request: &RequestView<'_>| {
///     let header = request.headers().and_then(|headers| headers.get("x-tenant"));
///     header.and_then(|tenant| tenant.to_str().ok()).unwrap_or("anybody").to_owned()
/// };
/// let layer = EndpointLayer::with_policy(OpenAi, Policy::interactive())?
///     .by_key(tenant)
///     .quotas(|tenant: &String| match tenant.as_str() {
///         "anybody" => vec![Quota::requests_per_minute(10)],
///         _ => vec![Quota::requests_per_minute(500), Quota::tokens_per_minute(200_000)],
///     });
/// let keys = layer.handle();
/// assert_eq!(keys.keys(), 0);
/// # Ok(()) }
/// ```
#[must_use]
pub struct KeyedEndpointLayer<K> {
    state: Arc<EndpointState>,
    key_of: KeyOf<K>,
    quotas_of: Option<QuotasOf<K>>,
    max_keys: usize,
    queues: Queues<K, EndpointGates>,
}

impl<K> KeyedEndpointLayer<K>
where
    K: Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static,
{
    pub(super) fn new(before: &EndpointState, key_of: KeyOf<K>) -> Self {
        Self::restarted(before, key_of, None, MAX_KEYS)
    }

    fn restarted(
        before: &EndpointState,
        key_of: KeyOf<K>,
        quotas_of: Option<QuotasOf<K>>,
        max_keys: usize,
    ) -> Self {
        let (settle, policy) = (before.settings().settle(), before.policy());
        let limits = policy.queue_limits();
        let policy = Arc::new(RwLock::new(policy));
        let made = {
            let (policy, quotas_of) = (Arc::clone(&policy), quotas_of.clone());
            move |key: &K| {
                // Not under the lock: what says the quotas is the caller's.
                let policy = state::read(&policy);
                EndpointGates::new(&policy_of(key, &policy, quotas_of.as_ref()), settle)
            }
        };
        let queues = Queues::new(max_keys, limits, made, KeyLog);
        let keys = Keyed {
            queues: queues.clone(),
            key_of: Arc::clone(&key_of),
            quotas_of: quotas_of.clone(),
        };
        let queues_of_all = door::Queues::Keyed(Arc::new(keys));
        let state = EndpointState::new(before.settings().clone(), policy, queues_of_all);
        Self { state, key_of, quotas_of, max_keys, queues }
    }

    /// Sets the quotas of each key, in place of the policy's. Asked whenever a key comes into use, and when
    /// another policy is put in force; outside of locks.
    pub fn quotas(self, of: impl Fn(&K) -> Vec<Quota> + Send + Sync + 'static) -> Self {
        Self::restarted(&self.state, self.key_of, Some(Arc::new(of)), self.max_keys)
    }

    /// Sets how many keys there may be: 100,000 unless set. A call with one too many is refused, where none
    /// that is idle can be forgotten.
    pub fn max_keys(self, keys: usize) -> Self {
        Self::restarted(&self.state, self.key_of, self.quotas_of, keys)
    }

    /// A handle, to look at the keys and to switch them.
    #[must_use]
    pub fn handle(&self) -> KeyedEndpointHandle<K> {
        KeyedEndpointHandle { state: Arc::clone(&self.state), queues: self.queues.clone() }
    }
}

impl<S, K> Layer<S> for KeyedEndpointLayer<K> {
    type Service = Endpoint<S>;

    fn layer(&self, client: S) -> Endpoint<S> {
        Endpoint::new(client, Arc::clone(&self.state))
    }
}

impl<K> From<KeyedEndpointLayer<K>> for Arc<EndpointState> {
    fn from(layer: KeyedEndpointLayer<K>) -> Self {
        layer.state
    }
}

impl<K> Clone for KeyedEndpointLayer<K> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            key_of: Arc::clone(&self.key_of),
            quotas_of: self.quotas_of.clone(),
            max_keys: self.max_keys,
            queues: self.queues.clone(),
        }
    }
}

impl<K> fmt::Debug for KeyedEndpointLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedEndpointLayer")
            .field("state", &self.state)
            .field("max_keys", &self.max_keys)
            .finish_non_exhaustive()
    }
}

/// The policy of one key.
fn policy_of<K: 'static>(key: &K, policy: &Policy, quotas_of: Option<&QuotasOf<K>>) -> Policy {
    let mut policy = policy.clone();
    if (key as &dyn Any).is::<Account>() {
        policy.trip = policy.trip.one_credential();
    }
    match quotas_of {
        Some(of) => policy.quotas(of(key)),
        None => policy,
    }
}

/// The queues of keys, and which one a request belongs to.
struct Keyed<K> {
    queues: Queues<K, EndpointGates>,
    key_of: KeyOf<K>,
    quotas_of: Option<QuotasOf<K>>,
}

impl<K: Clone + Send + Sync + 'static> Keyed<K> {
    fn key(&self, request: &RequestView<'_>) -> K {
        let of_the_call = request.extensions().and_then(|found| found.get::<CallKey<K>>());
        of_the_call.map_or_else(|| (self.key_of)(request), |key| key.0.clone())
    }
}

impl<K> Keys for Keyed<K>
where
    K: Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static,
{
    fn ask(
        &self,
        request: &RequestView<'_>,
        cost: Charge,
        wait: Wait,
        cx: &Context<'_>,
        permit: &mut Option<Permit<EndpointGates>>,
    ) -> Option<Stopped<EndpointGates>> {
        self.queues.ask(&self.key(request), cost, wait, cx, permit)
    }

    fn name(&self, request: &RequestView<'_>) -> Arc<str> {
        format!("{:?}", self.key(request)).into()
    }

    fn adopt(&self, policy: &Policy) {
        self.queues.set_limits(|_| policy.queue_limits());
        self.queues.renew();
        self.queues.for_each_in_use(|key, queue| {
            let policy = policy_of(key, policy, self.quotas_of.as_ref());
            queue.with(|gates, now| gates.adopt(&policy, now));
        });
    }

    fn close(&self, closing: Closing) {
        self.queues.close(closing);
    }
}

impl<K> fmt::Debug for Keyed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("queues", &self.queues).finish_non_exhaustive()
    }
}

/// Logs what the gates of keys have to tell.
#[derive(Clone, Copy, Debug)]
struct KeyLog;

impl<K: fmt::Debug> Observe<KeyNotice<'_, K, GateEvent>> for KeyLog {
    fn on_event(&self, notice: &KeyNotice<'_, K, GateEvent>) {
        match notice.notice() {
            GateEvent::Circuit(transition) => CircuitLog.on_event(&notice.part(transition)),
            GateEvent::RateLimit(event) => LogEvents.on_event(event),
            GateEvent::Concurrency(change) => LimitLog.on_event(&notice.part(change)),
        }
    }
}

/// A handle on a [`KeyedEndpointLayer`]'s keys.
///
/// Clones are handles on the same keys.
pub struct KeyedEndpointHandle<K> {
    state: Arc<EndpointState>,
    queues: Queues<K, EndpointGates>,
}

impl<K> KeyedEndpointHandle<K>
where
    K: Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static,
{
    /// A handle on the gates of one key, which counts as used for as long as the handle is held.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is new and there is no room for it.
    pub fn of(&self, key: &K) -> Result<GatesHandle, Full> {
        self.queues.queue(key).map(GatesHandle::new)
    }

    /// How many keys there are, in use or remembered.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.queues.len()
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.state.policy()
    }

    /// Puts another policy in force, as [`EndpointHandle::set_policy`](crate::EndpointHandle::set_policy) does, for all keys.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if it contradicts itself; then nothing changes.
    pub fn set_policy(&self, policy: Policy) -> Result<(), InvalidPolicy> {
        self.state.set_policy(policy)
    }

    /// Refuses new calls of every key from now on; those who wait are served or refused, as `closing` says.
    pub fn close(&self, closing: Closing) {
        self.state.close(closing);
    }

    /// Waits until no call is under way, as [`EndpointHandle::drained`](crate::EndpointHandle::drained) does.
    pub async fn drained(&self) {
        self.state.drained().await;
    }
}

impl<K> Clone for KeyedEndpointHandle<K> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), queues: self.queues.clone() }
    }
}

impl<K> fmt::Debug for KeyedEndpointHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedEndpointHandle")
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}
