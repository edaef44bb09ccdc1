//! Keys of calls: an account, or one of the caller's own.

mod account;

pub use self::account::Account;
use crate::RequestHead;

/// The key of one call, which takes precedence over the one that a layer would find: put it into the request's
/// extensions.
///
/// # Examples
///
/// ```
/// use aplomb_core::CallKey;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(CallKey("tenant-7"));
/// assert_eq!(CallKey::of(&request), Some("tenant-7"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey<K>(pub K);

impl<K: Clone + Send + Sync + 'static> CallKey<K> {
    /// The key in the extensions of `request`, if one of this type is there.
    pub fn of<Req: RequestHead + ?Sized>(request: &Req) -> Option<K> {
        request.extensions()?.get::<Self>().map(|key| key.0.clone())
    }
}
