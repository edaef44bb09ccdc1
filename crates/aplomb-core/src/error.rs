//! Boxed errors, and finding errors in them.

use std::any::Any;
use std::error::Error;
use std::io;

/// The boxed error of tower stacks.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Errors nested deeper than this are not examined: a chain that links to itself must not hang its reader.
const DEEPEST: usize = 32;

/// Finds an error of type `T` in `error` or its causes, at any depth.
///
/// Looks through `source()`, and into `io::Error`, whose `source()` skips the error it wraps.
///
/// # Examples
///
/// ```
/// use std::io;
/// use aplomb_core::{LayerName, Rejection, find};
///
/// let rejection = Rejection::by(LayerName::RateLimit);
/// let nested = io::Error::other(io::Error::other(rejection));
/// assert_eq!(find::<Rejection>(&nested).unwrap().layer(), LayerName::RateLimit);
/// ```
pub fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(<dyn Error>::downcast_ref)
}

/// [`find`] for generic code, where the error may be a [`BoxError`] (which is not an `Error` itself).
///
/// Of other types, only `T` itself, `io::Error` and the errors of enabled clients are examined.
pub fn find_in<T: Error + 'static, E: 'static>(error: &E) -> Option<&T> {
    match known(error) {
        Some(error) => find(error),
        None => (error as &dyn Any).downcast_ref::<T>(),
    }
}

/// The text of the innermost error, without the URL that reqwest adds: it may contain a key.
pub(crate) fn innermost_text<E: 'static>(error: &E) -> Option<String> {
    let mut text = chain(error).last()?.to_string();
    if let Some(url) = text.find(" for url (") {
        text.truncate(url);
    }
    Some(text)
}

/// `error` and its causes, outermost first; empty if its type is not known to be an error.
pub(crate) fn chain<E: 'static>(error: &E) -> impl Iterator<Item = &(dyn Error + 'static)> {
    known(error).into_iter().flat_map(causes)
}

/// `error` and its causes, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let inner = |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    };
    std::iter::successors(Some(error), inner).take(DEEPEST)
}

/// `error` as an error, if its type is known to be one.
fn known<E: 'static>(error: &E) -> Option<&(dyn Error + 'static)> {
    let error: &dyn Any = error;
    if let Some(boxed) = error.downcast_ref::<BoxError>() {
        return Some(&**boxed);
    }
    #[cfg(feature = "hyper-util-0-1")]
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
        return Some(error);
    }
    #[cfg(feature = "reqwest-0-13")]
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return Some(error);
    }
    error.downcast_ref::<io::Error>().map(|error| error as _)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LayerName, Rejection};

    #[test]
    fn finds_through_boxes_and_io_errors() {
        let boxed: BoxError = Box::new(io::Error::other(Rejection::by(LayerName::Other("x"))));
        assert!(find_in::<Rejection, _>(&boxed).is_some());
        assert!(find_in::<Rejection, _>(&Rejection::by(LayerName::Other("x"))).is_some());
        assert!(find_in::<Rejection, _>(&io::Error::other(Rejection::by(LayerName::Other("x")))).is_some());
        assert!(find_in::<Rejection, _>(&io::Error::other("no")).is_none());
    }

    #[test]
    fn the_innermost_text_has_no_url() {
        let sent: BoxError = io::Error::other("builder error for url (https://a/?key=secret)").into();
        assert_eq!(innermost_text(&io::Error::other(sent)).unwrap(), "builder error");
    }

    #[test]
    fn a_very_deep_chain_ends() {
        let mut error: BoxError = Box::new(Rejection::by(LayerName::Other("x")));
        for _ in 0..1_000 {
            error = Box::new(io::Error::other(error));
        }
        assert!(find_in::<Rejection, _>(&error).is_none());
    }
}
