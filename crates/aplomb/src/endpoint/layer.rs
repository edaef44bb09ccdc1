//! The layer.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use aplomb_admission::{ErasedKey, KeyBy};
use aplomb_core::{Classification, Observe, RequestView, WallClock};
use aplomb_provider::{Head, Provider};
use aplomb_rate_limit::Quota;
use tower_layer::Layer;

use super::handle::EndpointHandle;
use super::hook::RequestHook;
use super::service::Endpoint;
use super::settings::Settings;
use super::state::EndpointState;
use super::tenants::Tenants;
use crate::{InvalidPolicy, Policy};

/// Makes calls to one AI endpoint dependable: all layers, composed in the order that works.
///
/// ```text
/// deadline ▸ retry ▸ queue ▸ (circuit, quotas, concurrency) ▸ request hook ▸ timeouts, inspect ▸ client
/// ```
///
/// It wraps any [`HttpClient`](crate::HttpClient). Each attempt waits in one queue; when it is at the head, the circuit, the
/// quotas and the optional concurrency limit decide together. Its response is read and judged once, next to the client, in
/// the dialect of the provider, and all layers use the result.
///
/// A stream is passed on when its first content has arrived, so an error before that is a failed attempt. The rest is
/// read as it passes: its usage settles the quotas, and a response that breaks off or goes silent ends with an error.
///
/// The settings are a [`Policy`]. **Clones share** the state: the queue and its gates, and the policy. Each setter makes an
/// endpoint with a state of its own, so take handles after them. **Dropping** a call removes it from the queue, returns what
/// it has not used, and drops its attempt. **Errors** are [`EndpointError`](crate::EndpointError)s. The body of a response may
/// end with [`BrokenAnswer`](super::BrokenAnswer), [`TimedOut`](super::TimedOut) or
/// [`DeadlinePassed`](super::DeadlinePassed), in addition to the client's errors. [`Report::of`](crate::Report::of) finds the
/// report of a call in its response.
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
    /// An endpoint of `provider` with the default [`Policy`]: the limits that the server reports are learned and kept.
    pub fn new(provider: impl Provider + 'static) -> Self {
        Self::start(Settings::new(Arc::new(provider)), Policy::new())
    }

    /// An endpoint of `provider` with this policy.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if the policy is contradictory.
    pub fn with_policy(provider: impl Provider + 'static, policy: Policy) -> Result<Self, InvalidPolicy> {
        policy.validate()?;
        Ok(Self::start(Settings::new(Arc::new(provider)), policy))
    }

    fn start(settings: Settings, policy: Policy) -> Self {
        Self { state: EndpointState::new(settings, policy) }
    }

    /// Gives each key a queue, quotas, a circuit and a concurrency limit of its own. The key is shown as a hash.
    ///
    /// A 429, an exhausted account or an outage of one key does not affect the others. Retries, timeouts, the
    /// budget and the reading of responses are the same for all. A [`CallKey`](crate::core::CallKey) of the same type in the
    /// extensions of a request takes precedence.
    ///
    /// Limits of many providers belong to the account and the model:
    /// `|request| (request.account(), request.model().map(str::to_owned))`. The model is looked up in the body for each
    /// attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb::{EndpointLayer, Policy, RequestView, provider::OpenAi, rate_limit::Quota};
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
        self.by(KeyBy::secret(key_of))
    }

    /// Gives each key a queue, quotas, a circuit and a concurrency limit of its own, as [`by_key`](Self::by_key). The key is
    /// shown in errors and events.
    pub fn by_public_key<K>(self, key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
    {
        self.by(KeyBy::public(key_of))
    }

    /// Gives each [`Account`](aplomb_core::Account), the server and the credential, a queue, quotas, a circuit and a concurrency limit of its own.
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
        self.by(KeyBy::account())
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
        self.by_key(key_of).quotas_of(quotas_of)
    }

    /// As [`by_key_with`](Self::by_key_with), for keys that may be shown in errors and events.
    pub fn by_public_key_with<K, I>(
        self,
        key_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        quotas_of: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + fmt::Display + Send + Sync + 'static,
        I: IntoIterator<Item = Quota>,
    {
        self.by_public_key(key_of).quotas_of(quotas_of)
    }

    /// Gives each tenant quotas of its own, in front of one endpoint that all tenants share.
    ///
    /// Tenants share the account with the provider: its limits, a pause that it asks for, an outage and the learned limits
    /// concern them all, so one 429 teaches everybody and an outage is probed once. A tenant's quotas are charged once for a
    /// call, not again for its retries, with the tokens that it used; a call that is never sent costs nothing. A call waits
    /// for its tenant's quotas first, no longer than for everything else ([`Policy::max_wait`]), and delays no other
    /// tenant meanwhile. A call that would wait too long fails with [`RateLimited`](aplomb_rate_limit::RateLimited).
    ///
    /// With [`by_key`](Self::by_key) everything is kept apart, the circuit and what is learned too: for keys that are
    /// accounts or servers of their own. Both can be combined.
    ///
    /// `tenant_of` is called for each call and `quotas_of` when a tenant is first seen, outside of locks. Tenants appear as a
    /// hash in errors and events. At most [`max_keys`](Self::max_keys) are kept. [`EndpointHandle::tenants`] shows their
    /// quotas.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb::core::RequestView;
    /// use aplomb::rate_limit::Quota;
    /// use aplomb::{EndpointLayer, provider::OpenAi};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let tenant = |request: &RequestView<'_>| {
    ///     let header = request.headers().and_then(|headers| headers.get("x-tenant"));
    ///     header.and_then(|tenant| tenant.to_str().ok()).unwrap_or("anybody").to_owned()
    /// };
    /// let layer = EndpointLayer::new(OpenAi).quotas_per(tenant, |tenant: &String| {
    ///     [Quota::requests_per_minute(if tenant == "acme" { 600 } else { 60 }), Quota::tokens_per_minute(50_000)]
    /// });
    /// assert!(layer.handle().tenants().is_some());
    /// # }
    /// ```
    pub fn quotas_per<K, I>(
        self,
        tenant_of: impl Fn(&RequestView<'_>) -> K + Send + Sync + 'static,
        quotas_of: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        I: IntoIterator<Item = Quota>,
    {
        self.with(|settings| settings.tenants = Some(Tenants::new(tenant_of, quotas_of)))
    }

    fn by(self, by: KeyBy) -> Self {
        self.with(|settings| {
            settings.key_by = Some(by);
            settings.quotas_of = None;
        })
    }

    fn quotas_of<K: 'static, I: IntoIterator<Item = Quota>>(
        self,
        quotas_of: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self {
        let quotas_of = move |key: &dyn ErasedKey| {
            let key = key.as_any().downcast_ref::<K>()?;
            Some(quotas_of(key).into_iter().collect())
        };
        self.with(|settings| settings.quotas_of = Some(Arc::new(quotas_of)))
    }

    /// Sets how many keys there may be. Default: 100,000. If there are more, the one that is worth the least is forgotten: a
    /// refused credential or a single failure first, an open circuit, a debt or a learned limit last. If all are in use,
    /// calls with another key are rejected.
    pub fn max_keys(self, keys: usize) -> Self {
        self.with(|settings| settings.max_keys = keys)
    }

    /// Sets the observer of all that happens in the endpoint: attempts, retries, pauses, learned limits, transitions of the
    /// circuit, rejections. It replaces the default, [`LogEvents`](aplomb_core::LogEvents); pass a tuple to have both.
    pub fn observer(self, observer: impl Observe + 'static) -> Self {
        self.with(|settings| settings.observer = Some(Arc::new(observer)))
    }

    /// Sets a hook that changes the head of each attempt just before it is sent, after all waiting.
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
    /// returns the one that applies to this attempt, for retries, quotas and the circuit. Default: the provider's.
    ///
    /// It is called for each error response (with the first 64 KiB of the body), for each 2xx response in JSON or as a
    /// stream that is read to its end before the caller gets it ([`whole_answers`](Policy::whole_answers), and JSON with
    /// a small announced size), and for an error at the beginning of a stream. A 2xx response that it judges to be a
    /// failure becomes a [`BrokenAnswer`](super::BrokenAnswer), which is retried if its outcome is retryable.
    ///
    /// # Examples
    ///
    /// Retries a response that the model did not complete, and never retries a 409:
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

    /// Sets the clock for dates in headers, for responses without a `Date`.
    pub fn wall_clock(self, clock: WallClock) -> Self {
        self.with(|settings| settings.clock = clock)
    }

    /// An endpoint with a state of its own and changed settings.
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.state.settings().clone();
        change(&mut settings);
        Self::start(settings, self.state.policy())
    }

    /// A handle to inspect and to control the endpoint.
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
