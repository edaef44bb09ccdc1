//! The layer: a provider, a policy, and the state its services share.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use aplomb_admission::{ErasedKey, KeyBy};
use aplomb_core::{Account, Classification, Observe, RequestView, WallClock};
use aplomb_provider::{Head, Provider};
use aplomb_rate_limit::Quota;
use tower_layer::Layer;

use super::state::{EndpointState, Settings};
use super::{Endpoint, EndpointHandle, RequestHook};
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
        Self { state: EndpointState::new(settings, policy) }
    }

    /// Gives each key a queue, quotas, a circuit and a concurrency limit of its own. The key is shown as a hash.
    ///
    /// What happens to one key, a 429, an exhausted account, an outage, does not touch the others. Retries, timeouts, the
    /// budget and the reading of responses are the same for all. A [`CallKey`](crate::core::CallKey) of the same type in the
    /// extensions of a request takes precedence.
    ///
    /// Limits of many providers belong to the account and the model:
    /// `|request| (request.account(), request.model().map(str::to_owned))`. A model has to be looked for in the body, for
    /// every attempt.
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
    /// let quotas = |tenant: &String| match tenant.as_str() {
    ///     "anybody" => vec![Quota::requests_per_minute(10)],
    ///     _ => vec![Quota::requests_per_minute(500), Quota::tokens_per_minute(200_000)],
    /// };
    /// let layer = EndpointLayer::with_policy(OpenAi, Policy::interactive())?.by_key_with(tenant, quotas);
    /// assert_eq!(layer.handle().keys(), Some(0));
    /// # Ok(()) }
    /// ```
    pub fn by_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.with(|settings| settings.key_by = Some(KeyBy::secret(key_of)))
    }

    /// Gives each key a queue, quotas, a circuit and a concurrency limit of its own, as [`by_key`](Self::by_key). The key is
    /// shown in errors and events.
    pub fn by_public_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
    {
        self.with(|settings| settings.key_by = Some(KeyBy::public(key_of)))
    }

    /// Gives each [`Account`], the server and the credential, a queue, quotas, a circuit and a concurrency limit of its own.
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
    pub fn by_account(self) -> Self {
        self.by_public_key(|request: &RequestView<'_>| -> Account { request.account() })
    }

    /// Gives each key a queue, a circuit and a concurrency limit of its own, as [`by_key`](Self::by_key), and the quotas that
    /// `quotas_of` returns in place of the policy's. The key is shown as a hash.
    ///
    /// `quotas_of` is called when a key comes into use, and when another policy is put in force; outside of locks.
    pub fn by_key_with<K, I>(
        self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        quotas_of: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        I: IntoIterator<Item = Quota>,
    {
        let quotas_of = move |key: &dyn ErasedKey| {
            let key = key.as_any().downcast_ref::<K>()?;
            Some(quotas_of(key).into_iter().collect())
        };
        self.with(|settings| {
            settings.quotas_of = Some(Arc::new(quotas_of));
            settings.key_by = Some(KeyBy::secret(key_of));
        })
    }

    /// Sets how many keys there may be. Default: 100,000. If there are more, the one that is worth the least is forgotten: a
    /// refused credential or a single failure first, an open circuit, a debt or a learned limit last. If all are in use,
    /// calls with another key are rejected.
    pub fn max_keys(self, keys: usize) -> Self {
        self.with(|settings| settings.max_keys = keys)
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
        EndpointHandle::new(Arc::clone(&self.state))
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
            .finish_non_exhaustive()
    }
}
