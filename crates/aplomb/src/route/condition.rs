//! One condition of a route.

use std::fmt;
use std::sync::Arc;

use aplomb_provider::model;
use http::{HeaderName, HeaderValue, Method};

use super::RequestView;
use super::glob::Glob;
use super::hosts::HostPattern;

type Holds = dyn Fn(&RequestView<'_>) -> bool + Send + Sync;

#[derive(Clone)]
pub(super) enum Condition {
    Host(HostPattern),
    Method(Method),
    /// Without a trailing slash.
    Path(Box<str>),
    HasHeader(HeaderName),
    Header(HeaderName, HeaderValue),
    When(Arc<Holds>),
    Model(Glob),
}

impl Condition {
    /// The cost of checking it, compared with the others: a closure may be expensive, and the body is.
    pub(super) const fn cost(&self) -> u8 {
        match self {
            Self::Host(_) => 0,
            Self::Method(_) => 1,
            Self::Path(_) => 2,
            Self::HasHeader(_) | Self::Header(..) => 3,
            Self::When(_) => 4,
            Self::Model(_) => 5,
        }
    }

    pub(super) fn holds(&self, request: &RequestView<'_>) -> bool {
        match self {
            Self::Host(pattern) => {
                request.host().is_some_and(|host| pattern.matches(host, || request.port()))
            }
            Self::Method(method) => request.method() == Some(method),
            Self::Path(prefix) => request.path().is_some_and(|path| is_below(path, prefix)),
            Self::HasHeader(name) => request.headers().is_some_and(|headers| headers.contains_key(name)),
            Self::Header(name, value) => request
                .headers()
                .is_some_and(|headers| headers.get_all(name).iter().any(|other| other == value)),
            Self::When(holds) => holds(request),
            Self::Model(pattern) => request.model_found_by(model).is_some_and(|model| pattern.matches(model)),
        }
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(pattern) => write!(f, "host({pattern})"),
            Self::Method(method) => write!(f, "method({method})"),
            Self::Path(prefix) if prefix.is_empty() => f.write_str("path(/)"),
            Self::Path(prefix) => write!(f, "path({prefix})"),
            Self::HasHeader(name) => write!(f, "has_header({name})"),
            Self::Header(name, value) => write!(f, "header({name}, {value:?})"),
            Self::When(_) => f.write_str("when(…)"),
            Self::Model(pattern) => write!(f, "model({pattern})"),
        }
    }
}
