//! Routes in order, of which the first that holds counts.

use std::collections::HashMap;
use std::fmt;

use aplomb_core::{InMemory, RequestHead};

use super::{InvalidRoute, RequestView, Route, hosts};

/// Routes in order, each with a value: the first route that matches a request counts.
///
/// Routes for a single host are indexed by it, so hundreds of them cost no more than one; all others are tried in order.
/// The body is examined only if all other conditions of a route with a model hold, and once for the whole table. Clones
/// are copies; the closures of the routes are shared.
///
/// # Examples
///
/// ```
/// use aplomb::route::{Route, Table};
///
/// # fn main() -> Result<(), aplomb::route::InvalidRoute> {
/// let table = Table::new([
///     (Route::new().header("x-tenant", "a"), 1),
///     (Route::new().host("api.anthropic.com"), 2),
/// ])?;
/// let request = http::Request::get("https://api.anthropic.com/v1/models");
/// assert_eq!(table.find(&request.body(String::new()).unwrap()), Some(&2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Table<T> {
    entries: Vec<(Route, T)>,
    /// The entries that require one host, by host and in order.
    by_host: HashMap<Box<str>, Vec<usize>>,
    /// The others, in order.
    others: Vec<usize>,
}

impl<T> Table<T> {
    /// Puts routes into a table, in order.
    ///
    /// # Errors
    ///
    /// Fails for the first route with an invalid pattern.
    pub fn new(routes: impl IntoIterator<Item = (Route, T)>) -> Result<Self, InvalidRoute> {
        let mut table = Self { entries: Vec::new(), by_host: HashMap::new(), others: Vec::new() };
        for (at, (route, value)) in routes.into_iter().enumerate() {
            route.check()?;
            match route.exact_host() {
                Some(host) => table.by_host.entry(host.into()).or_default().push(at),
                None => table.others.push(at),
            }
            table.entries.push((route, value));
        }
        Ok(table)
    }

    /// The value of the first route that matches this request. Its body is examined if it is in memory.
    #[must_use]
    pub fn find<R: RequestHead + InMemory>(&self, request: &R) -> Option<&T> {
        self.find_by(&super::view(request))
    }

    /// The value of the first route that matches this view of a request.
    ///
    /// ```
    /// use aplomb::RequestView;
    /// use aplomb::route::{Route, Table};
    ///
    /// let table = Table::new([(Route::new().path("/v1"), "v1")]).unwrap();
    /// assert_eq!(table.find_by(&RequestView::head(&http::Request::new(()))), None);
    /// ```
    #[must_use]
    pub fn find_by(&self, request: &RequestView<'_>) -> Option<&T> {
        // Both lists are in order, and so is their merger.
        let (mut here, mut others) = (self.at_host(request), self.others.as_slice());
        loop {
            let at = match (here.split_first(), others.split_first()) {
                (Some((at, rest)), other) if other.is_none_or(|(other, _)| at < other) => {
                    here = rest;
                    *at
                }
                (_, Some((at, rest))) => {
                    others = rest;
                    *at
                }
                _ => return None,
            };
            let (route, value) = self.entries.get(at)?;
            if route.matches(request) {
                return Some(value);
            }
        }
    }

    /// The routes and their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Route, &T)> {
        self.entries.iter().map(|(route, value)| (route, value))
    }

    fn at_host(&self, request: &RequestView<'_>) -> &[usize] {
        if self.by_host.is_empty() {
            return &[];
        }
        let host = request.host().map(hosts::normal).unwrap_or_default();
        let found = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.by_host.get(host.to_ascii_lowercase().as_str())
        } else {
            self.by_host.get(host)
        };
        found.map(Vec::as_slice).unwrap_or_default()
    }
}

impl<T: fmt::Debug> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
