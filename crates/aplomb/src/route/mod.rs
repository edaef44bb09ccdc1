//! Matching requests by host, path, header, method and model.
//!
//! A [`Route`] is a list of conditions that must all hold. [`Routes`] lead requests to endpoints. A [`Table`] leads them to any values: the first route that matches counts.
//!
//! # Examples
//!
//! ```
//! use aplomb::route::{self, Route, Table};
//! use http_body_util::Full;
//!
//! # fn main() -> Result<(), route::InvalidRoute> {
//! let table = Table::new([
//!     (Route::new().host("api.openai.com").path("/v1/embeddings"), "embeddings"),
//!     (Route::new().host("api.openai.com").model("gpt-4o*"), "expensive"),
//!     (Route::new().host("*.openai.azure.com"), "azure"),
//!     (Route::new(), "the rest"),
//! ])?;
//!
//! let ask = |uri: &str, body: &'static str| {
//!     http::Request::post(uri).body(Full::<bytes::Bytes>::from(body)).unwrap()
//! };
//! let embed = ask("https://api.openai.com/v1/embeddings", r#"{"model": "text-embedding-3-small"}"#);
//! assert_eq!(table.find(&embed), Some(&"embeddings"));
//! let chat = ask("https://api.openai.com/v1/chat/completions", r#"{"model": "gpt-4o-mini"}"#);
//! assert_eq!(table.find(&chat), Some(&"expensive"));
//! let azure = ask("https://mine.openai.azure.com/openai/v1/responses", "{}");
//! assert_eq!(table.find(&azure), Some(&"azure"));
//! # Ok(())
//! # }
//! ```

mod condition;
mod glob;
mod hosts;
mod invalid;
mod routes;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use aplomb_core::{InMemory, RequestHead, RequestView};
use http::{HeaderName, HeaderValue, Method};

use self::condition::Condition;
use self::glob::Glob;
use self::hosts::HostPattern;
pub use self::invalid::InvalidRoute;
pub(crate) use self::routes::{CompiledRoutes, Unmatched};
pub use self::routes::{NoRoute, Routes};
pub use self::table::Table;

/// A view of a request, with its model if its body is in memory.
///
/// # Examples
///
/// ```
/// use aplomb::route;
///
/// let request = http::Request::post("/v1/chat/completions").header("host", "localhost:8000");
/// let request = request.body(r#"{"model": "llama-3"}"#.to_owned()).unwrap();
/// assert_eq!(route::view(&request).model(), Some("llama-3"));
///
/// let request = http::Request::post("/model/amazon.nova-lite-v1%3A0/converse").body(String::new()).unwrap();
/// assert_eq!(route::view(&request).model(), Some("amazon.nova-lite-v1:0"));
/// ```
#[must_use]
pub fn view<R: RequestHead + InMemory>(request: &R) -> RequestView<'_> {
    RequestView::of(request).finding_model_by(aplomb_provider::model)
}

/// Conditions on a request, all of which must hold.
///
/// A condition that is set twice must hold twice: two different hosts never match. An invalid pattern is reported when
/// the route is [checked](Self::check) or put into a [`Table`]; such a route matches nothing. Clones share the
/// closures. `Debug` shows the patterns, but not the values of headers.
///
/// # Examples
///
/// ```
/// use aplomb::RequestView;
/// use aplomb::route::{self, Route};
///
/// let expensive = Route::new().host("*.openai.azure.com")
///     .path("/openai")
///     .method(http::Method::POST)
///     .has_header("api-key")
///     .header("x-tenant", "a")
///     .model("gpt-4o*")
///     .when(|request| !request.path().is_some_and(|path| path.ends_with("/embeddings")));
/// assert!(expensive.check().is_ok());
///
/// let request = http::Request::post("https://mine.openai.azure.com/openai/deployments/gpt-4o/chat/completions")
///     .header("api-key", "…")
///     .header("x-tenant", "a")
///     .body(())
///     .unwrap();
/// assert!(expensive.matches(&RequestView::head(&request)));
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Route {
    /// Ordered by the cost of checking them.
    conditions: Vec<Condition>,
    invalid: Option<InvalidRoute>,
}

impl Route {
    /// A route that matches every request.
    ///
    /// # Examples
    ///
    /// ```
    /// use aplomb::RequestView;
    /// use aplomb::route::Route;
    ///
    /// let request = http::Request::get("https://API.openai.com/v1/files/file-1").header("x-tier", "batch");
    /// let request = request.body(()).unwrap();
    /// let view = RequestView::head(&request);
    /// assert!(Route::new().matches(&view));
    /// assert!(Route::new().host("api.openai.com").path("/v1/files").header("x-tier", "batch").matches(&view));
    /// assert!(!Route::new().method(http::Method::POST).matches(&view));
    /// assert!(!Route::new().has_header("x-trial").matches(&view));
    /// assert!(!Route::new().model("*").matches(&view));
    /// assert!(Route::new().when(|request| request.headers().is_some()).matches(&view));
    /// ```
    pub const fn new() -> Self {
        Self { conditions: Vec::new(), invalid: None }
    }

    /// Requires this host, in any case.
    ///
    /// `api.openai.com` is only that host. `*.openai.azure.com` is every host below that domain at any depth, but not the
    /// domain itself. `localhost:8000` also requires the port: that of the URI, or the default of its scheme; a request
    /// with an unknown port does not match. The host is that of the request's URI or else of its `Host` header.
    ///
    /// A pattern is invalid if it is not a host name (a URL, a name with user and password, a name that is not ASCII), or
    /// has a wildcard that is not the first label. Numeric addresses are compared as they are written, IPv6 in brackets.
    pub fn host(self, pattern: &str) -> Self {
        match HostPattern::parse(pattern) {
            Ok(host) => self.and(Condition::Host(host)),
            Err(problem) => self.or_invalid("host", pattern, problem),
        }
    }

    /// Requires this path or one below it: `/v1/files` matches `/v1/files` and `/v1/files/file-1`, but not
    /// `/v1/filesystem`. Case matters, and nothing is decoded; a trailing slash makes no difference.
    ///
    /// A path is invalid if it does not begin with a slash, or contains a `?` or `#`.
    pub fn path(self, prefix: &str) -> Self {
        if !prefix.starts_with('/') {
            return self.or_invalid("path", prefix, "does not begin with a slash");
        }
        if prefix.contains(['?', '#']) {
            return self.or_invalid("path", prefix, "has a query or a fragment");
        }
        self.and(Condition::Path(prefix.trim_end_matches('/').into()))
    }

    /// Requires this method.
    pub fn method(self, method: Method) -> Self {
        self.and(Condition::Method(method))
    }

    /// Requires that a header has this value, possibly among others.
    ///
    /// An invalid header name or value makes the route invalid.
    pub fn header(self, name: &str, value: &str) -> Self {
        let Ok(header) = HeaderName::try_from(name) else {
            return self.or_invalid("header", name, "is not a header name");
        };
        let Ok(mut value) = HeaderValue::try_from(value) else {
            // Even an invalid value may be a secret.
            return self.or_invalid("header", name, "has an invalid value");
        };
        // It may be a credential, whatever the name of the header.
        value.set_sensitive(true);
        self.and(Condition::Header(header, value))
    }

    /// Requires that a header exists, with any value.
    ///
    /// An invalid header name makes the route invalid.
    pub fn has_header(self, name: &str) -> Self {
        match HeaderName::try_from(name) {
            Ok(header) => self.and(Condition::HasHeader(header)),
            Err(_) => self.or_invalid("header", name, "is not a header name"),
        }
    }

    /// Requires this model. A `*` matches anything, also nothing: `gpt-4o*`, `*-mini`, `*`. Case matters.
    ///
    /// The model is what [`provider::model`](crate::provider::model()) finds in the path or in the JSON body; a request
    /// without one does not match, not even with `*`. A body that is a stream or longer than
    /// [`RequestView::LONGEST_BODY`] has none. The body is examined only if all other conditions of a route hold.
    ///
    /// An empty pattern is invalid.
    pub fn model(self, pattern: &str) -> Self {
        if pattern.is_empty() {
            return self.or_invalid("model", pattern, "is empty");
        }
        self.and(Condition::Model(Glob::new(pattern)))
    }

    /// Requires that a closure returns `true`. It is called only if the conditions on the head hold.
    pub fn when(self, holds: impl Fn(&RequestView<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.and(Condition::When(Arc::new(holds)))
    }

    /// Returns whether all conditions hold.
    #[must_use]
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.invalid.is_none() && self.conditions.iter().all(|condition| condition.holds(request))
    }

    /// Checks the patterns.
    ///
    /// # Errors
    ///
    /// Returns the first invalid pattern.
    ///
    /// ```
    /// use aplomb::route::{self, Route};
    ///
    /// let invalid = Route::new().host("api.*.com").check().unwrap_err();
    /// assert_eq!((invalid.part(), invalid.pattern()), ("host", "api.*.com"));
    /// ```
    pub fn check(&self) -> Result<(), InvalidRoute> {
        self.invalid.clone().map_or(Ok(()), Err)
    }

    /// The host that this route requires, if it is a single one.
    fn exact_host(&self) -> Option<&str> {
        self.conditions.iter().find_map(|condition| match condition {
            Condition::Host(host) => host.exact(),
            _ => None,
        })
    }

    fn and(mut self, condition: Condition) -> Self {
        let at = self.conditions.partition_point(|other| other.cost() <= condition.cost());
        self.conditions.insert(at, condition);
        self
    }

    fn or_invalid(mut self, part: &'static str, pattern: &str, problem: &'static str) -> Self {
        self.invalid.get_or_insert_with(|| InvalidRoute::new(part, pattern, problem));
        self
    }
}

/// `host(api.openai.com) path(/v1)`, or `any`.
impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(invalid) = &self.invalid {
            return write!(f, "invalid({invalid})");
        }
        if self.conditions.is_empty() {
            return f.write_str("any");
        }
        for (n, condition) in self.conditions.iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            write!(f, "{space}{condition:?}")?;
        }
        Ok(())
    }
}
