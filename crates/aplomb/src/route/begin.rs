//! Functions that start a route.

use http::Method;

use super::{RequestView, Route};

/// A route that matches every request.
///
/// ```
/// use aplomb::{RequestView, route};
///
/// assert!(route::any().matches(&RequestView::head(&http::Request::new(()))));
/// ```
pub const fn any() -> Route {
    Route::ANY
}

/// A route for a host: see [`Route::host`].
///
/// ```
/// use aplomb::{RequestView, route};
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
/// use aplomb::{RequestView, route};
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
/// use aplomb::{RequestView, route};
///
/// assert!(route::method(http::Method::GET).matches(&RequestView::head(&http::Request::new(()))));
/// ```
pub fn method(method: Method) -> Route {
    any().method(method)
}

/// A route for a header with a value: see [`Route::header`].
///
/// ```
/// use aplomb::{RequestView, route};
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
/// use aplomb::{RequestView, route};
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
/// use aplomb::{RequestView, route};
///
/// let request = http::Request::post("/v1/messages").body(r#"{"model": "claude-opus-4-1"}"#.to_owned()).unwrap();
/// assert!(route::model("claude-*").matches(&RequestView::of(&request)));
/// ```
pub fn model(pattern: &str) -> Route {
    any().model(pattern)
}

/// A route for requests that a closure accepts: see [`Route::when`].
///
/// ```
/// use aplomb::{RequestView, route};
///
/// let route = route::when(|request| request.path().is_some_and(|path| path.ends_with("/embeddings")));
/// let request = http::Request::get("/gateway/v1/embeddings").body(()).unwrap();
/// assert!(route.matches(&RequestView::head(&request)));
/// ```
pub fn when(holds: impl Fn(&RequestView<'_>) -> bool + Send + Sync + 'static) -> Route {
    any().when(holds)
}
