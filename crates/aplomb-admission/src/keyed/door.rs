//! Leads each request to the queue of its key.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::task::Context;

use super::{KeyOf, KeyRefused, Queues};
use crate::{Door, Gate, Permit, Rejected, Rests, Stopped, Unprepared, Wait};
use aplomb_core::{BoxError, CallKey, CallOptions, RequestHead};

/// What a layer asks of the gate of any key, and how it words a refusal.
pub trait Terms<Req> {
    /// The gate of each key.
    type Gate: Rests;

    /// What `request` asks for.
    fn ask(&self, request: &Req, options: &CallOptions) -> <Self::Gate as Gate>::Cost;

    /// The error of a call that was turned away.
    fn refuse(&self, turned: Rejected<<Self::Gate as Gate>::Reason>, options: &CallOptions) -> BoxError;

    /// The same where the error names the key, which is told as its `Debug` shows it. Unless written, only
    /// the [`KeyRefused`] around the error does.
    fn refuse_key(
        &self,
        key: &Arc<str>,
        turned: Rejected<<Self::Gate as Gate>::Reason>,
        options: &CallOptions,
    ) -> BoxError {
        let _ = key;
        self.refuse(turned, options)
    }
}

/// A [`Door`] with a queue behind it for each key.
///
/// The key is that of a [`CallKey`] in the request's extensions, or what `key_of` says. Refusals are
/// those of the [`Terms`], inside a [`KeyRefused`].
#[derive(Clone)]
pub struct KeyedDoor<K, F, T, G: Rests> {
    queues: Queues<K, G>,
    key_of: F,
    terms: T,
}

impl<K, F, T, G: Rests> KeyedDoor<K, F, T, G> {
    /// Leads requests to `queues`, by the key that `key_of` finds, on these `terms`.
    pub const fn new(queues: Queues<K, G>, key_of: F, terms: T) -> Self {
        Self { queues, key_of, terms }
    }
}

impl<Req, K, F, T> Door<Req> for KeyedDoor<K, F, T, T::Gate>
where
    Req: RequestHead,
    K: Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static,
    F: KeyOf<Req, K>,
    T: Terms<Req>,
{
    type Gate = T::Gate;
    type Preparing = Unprepared<Req>;

    fn ask(
        &self,
        request: &Req,
        options: &CallOptions,
        cx: &Context<'_>,
        permit: &mut Option<Permit<T::Gate>>,
    ) -> Option<Stopped<T::Gate>> {
        let ask = self.terms.ask(request, options);
        self.queues.ask(&key(&self.key_of, request), ask, Wait::from(options), cx, permit)
    }

    fn refuse(&self, turned: Rejected<<T::Gate as Gate>::Reason>, options: &CallOptions) -> BoxError {
        self.terms.refuse(turned, options)
    }

    fn refuse_request(
        &self,
        request: &Req,
        turned: Rejected<<T::Gate as Gate>::Reason>,
        options: &CallOptions,
    ) -> BoxError {
        let key: Arc<str> = format!("{:?}", key(&self.key_of, request)).into();
        let error = self.terms.refuse_key(&key, turned, options);
        Box::new(KeyRefused::new(key, error))
    }
}

fn key<Req: RequestHead, K: Clone + Send + Sync + 'static>(key_of: &impl KeyOf<Req, K>, request: &Req) -> K {
    CallKey::of(request).unwrap_or_else(|| key_of.key_of(request))
}

impl<K, F, T, G: Rests> fmt::Debug for KeyedDoor<K, F, T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedDoor").field("queues", &self.queues).finish_non_exhaustive()
    }
}
