//! Errors: one boxed type at the borders, and a way to find ours through any nesting.

use std::any::Any;
use std::error::Error;
use std::io;

/// The boxed error of tower stacks.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Errors nested deeper than this are not looked into: a chain that links to itself must not
/// hang its reader.
const DEEPEST: usize = 32;

/// Finds an error of type `T` in `error` or in what caused it, through any nesting.
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
    let mut next = Some(error);
    for _ in 0..DEEPEST {
        let error = next?;
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// [`find`] for generic code, where the error may be a [`BoxError`] (which is not an `Error` itself).
///
/// Of other types only `T` itself and `io::Error` are looked into: nothing says that they are errors.
pub fn find_in<T: Error + 'static, E: 'static>(error: &E) -> Option<&T> {
    let error: &dyn Any = error;
    if let Some(boxed) = error.downcast_ref::<BoxError>() {
        find(&**boxed)
    } else if let Some(io) = error.downcast_ref::<io::Error>() {
        find(io)
    } else {
        error.downcast_ref::<T>()
    }
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
    fn a_very_deep_chain_ends() {
        let mut error: BoxError = Box::new(Rejection::by(LayerName::Other("x")));
        for _ in 0..1_000 {
            error = Box::new(io::Error::other(error));
        }
        assert!(find_in::<Rejection, _>(&error).is_none());
    }
}
