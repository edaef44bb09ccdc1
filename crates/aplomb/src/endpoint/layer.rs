//! The layer: a provider, a policy, and the state its services share.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use aplomb_admission::Queue;
use aplomb_circuit_breaker::StateWatch;
use aplomb_core::{Account, Observe, WallClock};
use aplomb_provider::{Head, Judgement, Provider};
use tower_layer::Layer;

use super::config::Config;
use super::door::{self, Queues};
use super::gates::EndpointGates;
use super::shared::{Live, Shared};
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
    base: Base,
    queue: Queue<EndpointGates>,
    watch: StateWatch,
}

/// What makes services of clients, whatever queues are behind them.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(super) config: Config,
    pub(super) shared: Arc<Shared>,
}

impl Base {
    pub(super) fn layer<S>(&self, client: S) -> Endpoint<S> {
        Endpoint::new(client, self.config.clone(), Arc::clone(&self.shared))
    }
}

impl From<EndpointLayer> for Base {
    fn from(layer: EndpointLayer) -> Self {
        layer.base
    }
}

impl EndpointLayer {
    /// An endpoint that speaks the dialect of `provider`, under the default [`Policy`]: what the server says
    /// of its limits is learned and kept to.
    pub fn new(provider: impl Provider + 'static) -> Self {
        Self::under(provider, Policy::new())
    }

    /// An endpoint that speaks the dialect of `provider`, under `policy`.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if the policy contradicts itself.
    pub fn with_policy(provider: impl Provider + 'static, policy: Policy) -> Result<Self, InvalidPolicy> {
        policy.validate()?;
        Ok(Self::under(provider, policy))
    }

    fn under(provider: impl Provider + 'static, policy: Policy) -> Self {
        let config = Config::new(Arc::new(provider));
        let watch = StateWatch::new();
        let queue = door::queue(&policy, config.settle(), watch.clone());
        let shared = Shared::new(Live::new(policy), Queues::One(queue.clone()));
        Self { base: Base { config, shared }, queue, watch }
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
        KeyedEndpointLayer::new(self.base, Arc::new(key_of))
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
    pub fn observer(mut self, observer: impl Observe + Send + Sync + 'static) -> Self {
        self.base.config.observer = Some(Arc::new(observer));
        self
    }

    /// Sets what is done to the head of each attempt just before it is sent, after all waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb::{BoxError, EndpointLayer, Outgoing, provider::VertexAi};
    ///
    /// async fn fresh_token() -> Result<String, BoxError> {
    ///     Ok("ya29.…".to_owned()) // from a cache, or from the token endpoint
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let layer = EndpointLayer::new(VertexAi).request_hook(|mut outgoing: Outgoing| async move {
    ///     let token = format!("Bearer {}", fresh_token().await?);
    ///     let mut value = http::HeaderValue::try_from(token)?;
    ///     value.set_sensitive(true);
    ///     outgoing.headers_mut().insert("authorization", value);
    ///     Ok(outgoing)
    /// });
    /// # drop(layer);
    /// # }
    /// ```
    pub fn request_hook(mut self, hook: impl RequestHook + 'static) -> Self {
        self.base.config.hook = Some(Arc::new(hook));
        self
    }

    /// Changes the provider's judgement of responses: `judge` gets the head, the body and the judgement, and
    /// returns the judgement that holds for this attempt, for retries, quotas and the circuit. Default: the
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
    /// use aplomb::provider::{Head, Judgement, OpenAi, Reason};
    /// use aplomb::{EndpointLayer, Outcome};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let layer = EndpointLayer::new(OpenAi).judge_with(|head: &Head<'_>, body, judgement| {
    ///     let is_cut = |body| String::from_utf8_lossy(body).contains(r#""finish_reason":"length""#);
    ///     match head.status().as_u16() {
    ///         409 => Judgement::new(Outcome::permanent(), Reason::Conflict),
    ///         200 if is_cut(body) => Judgement::new(Outcome::transient(), Reason::Truncated),
    ///         _ => judgement,
    ///     }
    /// });
    /// # drop(layer);
    /// # }
    /// ```
    pub fn judge_with(
        mut self,
        judge: impl Fn(&Head<'_>, &[u8], Judgement) -> Judgement + Send + Sync + 'static,
    ) -> Self {
        self.base.config.judge = Some(Arc::new(judge));
        self
    }

    /// Sets the clock that dates in headers are compared with where a response has no `Date`.
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.base.config.clock = clock;
        self
    }

    /// A handle, to look at the endpoint and to switch it.
    #[must_use]
    pub fn handle(&self) -> EndpointHandle {
        let gates = GatesHandle::new(self.queue.clone());
        EndpointHandle::new(gates, Arc::clone(&self.base.shared), self.watch.clone())
    }
}

impl<S> Layer<S> for EndpointLayer {
    type Service = Endpoint<S>;

    fn layer(&self, client: S) -> Endpoint<S> {
        self.base.layer(client)
    }
}

impl fmt::Debug for EndpointLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointLayer")
            .field("provider", &self.base.config.provider)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
