//! Which key a request belongs to.

use crate::RequestHead;

/// Says which key a request belongs to.
///
/// A closure `Fn(&Req) -> K` is one. Keys are kept for as long as they are not idle and are shown in
/// refusals, by their `Debug`: they must not hold a secret. [`Account`](crate::Account) is a key that
/// keeps of a credential only what tells it from others.
pub trait KeyOf<Req, K> {
    /// The key of `request`.
    fn key_of(&self, request: &Req) -> K;
}

impl<Req, K, F: Fn(&Req) -> K> KeyOf<Req, K> for F {
    fn key_of(&self, request: &Req) -> K {
        self(request)
    }
}

/// The key of one call, which goes before what a layer would find by itself: put it into the request's
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
