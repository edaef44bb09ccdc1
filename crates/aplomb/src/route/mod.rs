//! Which requests something is meant for: by host, path, header, method and model.
//!
//! A [`Route`] is a list of conditions that must all hold; it begins with one of the functions here. A [`Table`] holds
//! routes in order, each with something of yours: the first that holds counts.
//!
//! # Examples
//!
//! ```
//! use aplomb::route::{self, Table};
//! use http_body_util::Full;
//!
//! # fn main() -> Result<(), route::InvalidRoute> {
//! let table = Table::new([
//!     (route::host("api.openai.com").path("/v1/embeddings"), "embeddings"),
//!     (route::host("api.openai.com").model("gpt-4o*"), "dear"),
//!     (route::host("*.openai.azure.com"), "azure"),
//!     (route::any(), "the rest"),
//! ])?;
//!
//! let ask = |uri: &str, body: &'static str| {
//!     http::Request::post(uri).body(Full::<bytes::Bytes>::from(body)).unwrap()
//! };
//! let embed = ask("https://api.openai.com/v1/embeddings", r#"{"model": "text-embedding-3-small"}"#);
//! assert_eq!(table.find(&embed), Some(&"embeddings"));
//! let chat = ask("https://api.openai.com/v1/chat/completions", r#"{"model": "gpt-4o-mini"}"#);
//! assert_eq!(table.find(&chat), Some(&"dear"));
//! let azure = ask("https://mine.openai.azure.com/openai/v1/responses", "{}");
//! assert_eq!(table.find(&azure), Some(&"azure"));
//! # Ok(())
//! # }
//! ```

mod begin;
mod condition;
mod glob;
mod hosts;
mod invalid;
mod routes;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};

pub use self::begin::{any, has_header, header, host, method, model, path, when};
use self::condition::Condition;
use self::glob::Glob;
use self::hosts::HostPattern;
pub use self::invalid::{InvalidRoute, Part};
pub(crate) use self::routes::{CompiledRoutes, Unmatched};
pub use self::routes::{NoRoute, RouteEndpoint, Routes};
pub use self::table::Table;
pub use self::view::RequestView;

/// Conditions on a request, all of which must hold.
///
/// One that is set twice must hold twice: two hosts never match. A pattern that makes no sense is told of when the route
/// is [checked](Self::check), as it is when it gets into a [`Table`]; until then the route matches nothing. Clones share
/// the closures. `Debug` shows the patterns, but not the values of headers.
///
/// # Examples
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// let dear = route::host("*.openai.azure.com")
///     .path("/openai")
///     .method(http::Method::POST)
///     .has_header("api-key")
///     .header("x-tenant", "a")
///     .model("gpt-4o*")
///     .when(|request| !request.path().is_some_and(|path| path.ends_with("/embeddings")));
/// assert!(dear.check().is_ok());
///
/// let request = http::Request::post("https://mine.openai.azure.com/openai/deployments/gpt-4o/chat/completions")
///     .header("api-key", "…")
///     .header("x-tenant", "a")
///     .body(())
///     .unwrap();
/// assert!(dear.matches(&RequestView::head(&request)));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Route {
    /// In the order of what they cost to look at.
    conditions: Vec<Condition>,
    invalid: Option<InvalidRoute>,
}

impl Route {
    const ANY: Self = Self { conditions: Vec::new(), invalid: None };

    /// Demands this host, in whatever case.
    ///
    /// `api.openai.com` is that host alone. `*.openai.azure.com` is every host below that domain, however deep, and not
    /// the domain itself. `localhost:8000` demands the port too: that of the address, else the usual one of its scheme; a
    /// request whose port is not known does not match then. The host is that of the request's address, or else that
    /// of its `Host` header.
    ///
    /// Not valid are what is no host name (a URL, a name with user and password, a name that is not ASCII) and a wildcard
    /// anywhere but as the first label. Numeric addresses are compared as they are written, IPv6 in brackets.
    pub fn host(self, pattern: &str) -> Self {
        match HostPattern::parse(pattern) {
            Ok(host) => self.and(Condition::Host(host)),
            Err(why) => self.or_invalid(Part::Host, pattern, why),
        }
    }

    /// Demands this path or one below it: `/v1/files` is the path of `/v1/files` and `/v1/files/file-1`, not of
    /// `/v1/filesystem`. Case matters, and nothing is decoded; a slash at the end makes no difference.
    ///
    /// Not valid is what does not begin with a slash, or has a `?` or `#`.
    pub fn path(self, prefix: &str) -> Self {
        if !prefix.starts_with('/') {
            return self.or_invalid(Part::Path, prefix, "it must begin with a slash");
        }
        if prefix.contains(['?', '#']) {
            return self.or_invalid(
                Part::Path,
                prefix,
                "only the path is compared, without query or fragment",
            );
        }
        self.and(Condition::Path(prefix.trim_end_matches('/').into()))
    }

    /// Demands this method.
    pub fn method(self, method: Method) -> Self {
        self.and(Condition::Method(method))
    }

    /// Demands that a header has this value, or that one of its values is this.
    ///
    /// Not valid is what is no name or no value of a header.
    pub fn header(self, name: &str, value: &str) -> Self {
        let Ok(header) = HeaderName::try_from(name) else {
            return self.or_invalid(Part::Header, name, "it is no name of a header");
        };
        let Ok(mut value) = HeaderValue::try_from(value) else {
            // The value may be a secret, even so.
            return self.or_invalid(Part::Header, name, "its value can not stand in a header");
        };
        // It may be a credential, whatever the header is called.
        value.set_sensitive(true);
        self.and(Condition::Header(header, value))
    }

    /// Demands that a header is there, whatever its value.
    ///
    /// Not valid is what is no name of a header.
    pub fn has_header(self, name: &str) -> Self {
        match HeaderName::try_from(name) {
            Ok(header) => self.and(Condition::HasHeader(header)),
            Err(_) => self.or_invalid(Part::Header, name, "it is no name of a header"),
        }
    }

    /// Demands this model. A `*` stands for anything, also for nothing: `gpt-4o*`, `*-mini`, `*`. Case matters.
    ///
    /// The model is what [`provider::model`](crate::provider::model()) finds in the path or in the JSON body; a request
    /// without one does not match, not even `*`. A body that is a stream, or is longer than
    /// [`RequestView::LONGEST_BODY`], has none. The body is looked at only where all other conditions of a route hold.
    ///
    /// Not valid is an empty pattern.
    pub fn model(self, pattern: &str) -> Self {
        if pattern.is_empty() {
            return self.or_invalid(Part::Model, pattern, "it is empty");
        }
        self.and(Condition::Model(Glob::new(pattern)))
    }

    /// Demands that a closure says yes. It is asked only where the conditions on the head hold.
    pub fn when(self, holds: impl Fn(&RequestView<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.and(Condition::When(Arc::new(holds)))
    }

    /// Whether all conditions hold.
    #[must_use]
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.invalid.is_none() && self.conditions.iter().all(|condition| condition.holds(request))
    }

    /// Whether all patterns make sense.
    ///
    /// # Errors
    ///
    /// Tells of the first that does not.
    ///
    /// ```
    /// use aplomb::route::{self, Part};
    ///
    /// let invalid = route::host("api.*.com").check().unwrap_err();
    /// assert_eq!((invalid.part(), invalid.pattern()), (Part::Host, "api.*.com"));
    /// ```
    pub fn check(&self) -> Result<(), InvalidRoute> {
        self.invalid.clone().map_or(Ok(()), Err)
    }

    /// The host that a request must have for this route, where it is a single one.
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

    fn or_invalid(mut self, part: Part, pattern: &str, why: &'static str) -> Self {
        self.invalid.get_or_insert_with(|| InvalidRoute::new(part, pattern, why));
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
