//! Which key a request belongs to.

/// Says which key a request belongs to.
///
/// A closure `Fn(&Req) -> K` is one. Keys are kept for as long as they are not idle and are shown in
/// refusals, by their `Debug`: they must not hold a secret. [`Account`](aplomb_core::Account) is a key that
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
