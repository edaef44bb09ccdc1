//! The layer: a provider, a policy, and the state its services share.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

use aplomb_admission::Queue;
use aplomb_circuit_breaker::StateWatch;
use aplomb_core::{Account, Classification, Observe, WallClock};
use aplomb_provider::{Head, Provider};
use tower_layer::Layer;

use super::door::{self, Queues};
use super::gates::EndpointGates;
use super::state::{EndpointState, Settings};
use super::{Endpoint, EndpointHandle, GatesHandle, KeyedEndpointLayer, RequestHook};
use crate::route::RequestView;
use crate::{InvalidPolicy, Policy};

/// Makes calls to one AI endpoint dependable: all layers, composed in the order that works.
///
/// ```text
/// deadline ▸ retry ▸ queue ▸ (circuit, quotas, concurrency) ▸ request hook ▸ timeouts, inspect ▸ client
/// ```
///
/// It wraps any HTTP client that is a `Service<http::Request<B>>` with a body of bytes. The circuit,
/// the quotas and, where there is one, the concurrency limit decide together, when a call is at the
/// head of the one queue before them. Every attempt passes the queue; what it came to is read once,
/// next to the client, in the dialect of the provider, and all layers act on that.
///
/// A stream is handed on when its first content has arrived: an error that it begins with is a failed
/// attempt. What follows is looked at as it flows: the tokens that were used settle the quotas, and an
/// answer that breaks off, or goes silent, ends with an error.
///
/// How calls are treated is a [`Policy`]. **What clones share**: the queue and its gates, and the policy;
/// `Layer::layer` makes no new ones. **What dropping does**: a call that is dropped leaves the queue, gives
/// back what it had not used, and drops its attempt. **Errors**: [`EndpointError`](crate::EndpointError),
/// which says what happened until then. The body of an answer may end with
/// [`BrokenAnswer`](super::BrokenAnswer), [`TimedOut`](super::TimedOut) and
/// [`DeadlinePassed`](super::DeadlinePassed) beside the client's errors. Every response has a
/// [`Report`](crate::Report) in its extensions.
///
/// # Examples
///
/// ```
/// use aplomb::{EndpointLayer, Policy, provider::OpenAi};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), aplomb::InvalidPolicy> {
/// let policy = Policy::batch().requests_per_minute(500).tokens_per_minute(200_000);
/// let layer = EndpointLayer::with_policy(OpenAi, policy)?;
/// # drop(layer);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct EndpointLayer {
    state: Arc<EndpointState>,
    queue: Queue<EndpointGates>,
    watch: StateWatch,
}

impl From<EndpointLayer> for Arc<EndpointState> {
    fn from(layer: EndpointLayer) -> Self {
        layer.state
    }
}

impl EndpointLayer {
    /// An endpoint that speaks the dialect of `provider`, under the default [`Policy`]: what the server says
    /// of its limits is learned and kept to.
    pub fn new(provider: impl Provider + 'static) -> Self {
        Self::start(Settings::new(Arc::new(provider)), Policy::new())
    }

    /// An endpoint that speaks the dialect of `provider`, under `policy`.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if the policy contradicts itself.
    pub fn with_policy(provider: impl Provider + 'static, policy: Policy) -> Result<Self, InvalidPolicy> {
        policy.validate()?;
        Ok(Self::start(Settings::new(Arc::new(provider)), policy))
    }

    fn start(settings: Settings, policy: Policy) -> Self {
        let watch = StateWatch::new();
        let queue = door::queue(&policy, settings.settle(), watch.clone());
        let policy = Arc::new(RwLock::new(policy));
        let state = EndpointState::new(settings, policy, Queues::One(queue.clone()));
        Self { state, queue, watch }
    }

    /// Gives each key a queue, quotas, a circuit and a concurrency limit of its own: `key_of` says which key a
    /// request has.
    ///
    /// Limits of many providers belong to the account and the model:
    /// `|request| (request.account(), request.model().map(str::to_owned))`. A model has to be looked for in the
    /// body, for every attempt.
    ///
    /// What has been set before holds for every key. What was learned and counted before is left behind.
    pub fn by_key<K>(
        self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
    ) -> KeyedEndpointLayer<K>
    where
        K: Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static,
    {
        KeyedEndpointLayer::new(&self.state, Arc::new(key_of))
    }

    /// The same for each [`Account`] that requests are sent on: the server and the credential, of which a hash
    /// is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb::{EndpointLayer, provider::Anthropic};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let layer = EndpointLayer::new(Anthropic).by_account();
    /// # drop(layer);
    /// # }
    /// ```
    pub fn by_account(self) -> KeyedEndpointLayer<Account> {
        self.by_key(|request: &RequestView<'_>| request.account())
    }

    /// Sets the observer of attempts, retries and calls given up. It replaces the default,
    /// [`LogEvents`](aplomb_core::LogEvents).
    pub fn observer(self, observer: impl Observe + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.observer = Some(Arc::new(observer)))
    }

    /// Sets what is done to the head of each attempt just before it is sent, after all waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb::{BoxError, EndpointLayer, OutgoingRequest, provider::VertexAi};
    ///
    /// async fn fresh_token() -> Result<String, BoxError> {
    ///     Ok("ya29.…".to_owned()) // from a cache, or from the token endpoint
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let layer = EndpointLayer::new(VertexAi).request_hook(|mut outgoing: OutgoingRequest| async move {
    ///     let token = format!("Bearer {}", fresh_token().await?);
    ///     let mut value = http::HeaderValue::try_from(token)?;
    ///     value.set_sensitive(true);
    ///     outgoing.headers_mut().insert("authorization", value);
    ///     Ok(outgoing)
    /// });
    /// # drop(layer);
    /// # }
    /// ```
    pub fn request_hook(self, hook: impl RequestHook + 'static) -> Self {
        self.with(|settings| settings.hook = Some(Arc::new(hook)))
    }

    /// Changes how responses are judged: `judge` gets the head, the body and the provider's classification, and
    /// returns the one that holds for this attempt, for retries, quotas and the circuit. Default: the
    /// provider's stands.
    ///
    /// It is asked about each error response (of the body, the first 64 KiB), about each 2xx answer in JSON or as
    /// a stream that was read to its end before the caller has it ([`whole_answers`](Policy::whole_answers), and
    /// JSON with a small announced size), and about an error that a stream begins with. A 2xx answer that it judges
    /// to be a failure becomes a [`BrokenAnswer`](super::BrokenAnswer), which is retried where its outcome is
    /// retryable.
    ///
    /// # Examples
    ///
    /// Retries an answer in which the model says that it was cut off, and never retries a 409:
    ///
    /// ```
    /// use aplomb::provider::{Head, OpenAi};
    /// use aplomb::{Classification, EndpointLayer, Outcome, Reason};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let layer = EndpointLayer::new(OpenAi).judge_with(|head: &Head<'_>, body, judged| {
    ///     let is_cut = |body| String::from_utf8_lossy(body).contains(r#""finish_reason":"length""#);
    ///     match head.status().as_u16() {
    ///         409 => Classification::new(Outcome::permanent()).with_reason(Reason::Conflict),
    ///         200 if is_cut(body) => Classification::from(Reason::Truncated),
    ///         _ => judged,
    ///     }
    /// });
    /// # drop(layer);
    /// # }
    /// ```
    pub fn judge_with(
        self,
        judge: impl Fn(&Head<'_>, &[u8], Classification) -> Classification + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.judge = Some(Arc::new(judge)))
    }

    /// Sets the clock that dates in headers are compared with where a response has no `Date`.
    pub fn wall_clock(self, clock: WallClock) -> Self {
        self.with(|settings| settings.clock = clock)
    }

    /// An endpoint of its own with changed settings.
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.state.settings().clone();
        change(&mut settings);
        Self::start(settings, self.state.policy())
    }

    /// A handle, to look at the endpoint and to switch it.
    #[must_use]
    pub fn handle(&self) -> EndpointHandle {
        let gates = GatesHandle::new(self.queue.clone());
        EndpointHandle::new(gates, Arc::clone(&self.state), self.watch.clone())
    }
}

impl<S> Layer<S> for EndpointLayer {
    type Service = Endpoint<S>;

    fn layer(&self, client: S) -> Endpoint<S> {
        Endpoint::new(client, Arc::clone(&self.state))
    }
}

impl fmt::Debug for EndpointLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointLayer")
            .field("provider", &self.state.settings().provider)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
