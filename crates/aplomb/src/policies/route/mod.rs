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

mod condition;
mod glob;
mod host;
mod invalid;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};

use self::condition::Condition;
use self::glob::Glob;
use self::host::HostPattern;
pub use self::invalid::{InvalidRoute, Part};
pub use self::table::Table;
pub use self::view::RequestView;

/// Headers whose value is nobody's business.
const SECRET: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// Conditions on a request, all of which must hold.
///
/// One that is set twice must hold twice: two hosts never match. A pattern that makes no sense is told of when the route
/// is [checked](Self::check), as it is when it gets into a [`Table`]; until then the route matches nothing. Clones share
/// the closures. `Debug` shows the patterns, except for values of headers in which credentials stand.
#[derive(Clone)]
#[must_use]
pub struct Route {
    /// In the order of what they cost to look at.
    conditions: Vec<Condition>,
    invalid: Option<InvalidRoute>,
}

/// A route that matches every request.
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// assert!(route::any().matches(&RequestView::head(&http::Request::new(()))));
/// ```
pub const fn any() -> Route {
    Route { conditions: Vec::new(), invalid: None }
}

/// A route for a host: see [`Route::host`].
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// let request = http::Request::get("https://API.openai.com/v1/models").body(()).unwrap();
/// assert!(route::host("api.openai.com").matches(&RequestView::head(&request)));
/// ```
pub fn host(pattern: &str) -> Route {
    any().host(pattern)
}

/// A route for a path and what is below it: see [`Route::path`].
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// let request = http::Request::get("/v1/files/file-1").body(()).unwrap();
/// assert!(route::path("/v1/files").matches(&RequestView::head(&request)));
/// ```
pub fn path(prefix: &str) -> Route {
    any().path(prefix)
}

/// A route for a method: see [`Route::method`].
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// assert!(route::method(http::Method::GET).matches(&RequestView::head(&http::Request::new(()))));
/// ```
pub fn method(method: Method) -> Route {
    any().method(method)
}

/// A route for a header with a value: see [`Route::header`].
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// let request = http::Request::get("/").header("x-tenant", "a").body(()).unwrap();
/// assert!(route::header("x-tenant", "a").matches(&RequestView::head(&request)));
/// ```
pub fn header(name: &str, value: &str) -> Route {
    any().header(name, value)
}

/// A route for a header with any value: see [`Route::has_header`].
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// let request = http::Request::get("/").header("x-tenant", "a").body(()).unwrap();
/// assert!(route::has_header("X-Tenant").matches(&RequestView::head(&request)));
/// ```
pub fn has_header(name: &str) -> Route {
    any().has_header(name)
}

/// A route for a model: see [`Route::model`].
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// let request = http::Request::post("/v1/messages").body(r#"{"model": "claude-opus-4-1"}"#.to_owned()).unwrap();
/// assert!(route::model("claude-*").matches(&RequestView::of(&request)));
/// ```
pub fn model(pattern: &str) -> Route {
    any().model(pattern)
}

/// A route for whatever a closure says: see [`Route::when`].
///
/// ```
/// use aplomb::route::{self, RequestView};
///
/// let route = route::when(|request| request.path().is_some_and(|path| path.ends_with("/embeddings")));
/// let request = http::Request::get("/gateway/v1/embeddings").body(()).unwrap();
/// assert!(route.matches(&RequestView::head(&request)));
/// ```
pub fn when(holds: impl Fn(&RequestView<'_>) -> bool + Send + Sync + 'static) -> Route {
    any().when(holds)
}

impl Route {
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
        value.set_sensitive(SECRET.contains(&header.as_str()));
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
