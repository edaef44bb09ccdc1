//! Calls, made over and over.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;

use tokio::runtime::Runtime;
use tower::Service;

use crate::{Ask, Request};

/// Something that can be called over and over.
pub trait Calls: Send {
    /// Makes so many calls, one after the other.
    fn run(&mut self, calls: u64) -> Pin<Box<dyn Future<Output = ()> + '_>>;

    /// A clone for another thread, which shares its state; none where the service is not `Clone`.
    fn share(&self) -> Option<Box<dyn Calls>>;
}

/// Calls of `service` with requests of the kind `A`.
pub fn over<A: Ask, S>(service: S) -> Box<dyn Calls>
where
    S: Service<Request> + Clone + Send + 'static,
{
    Box::new(Over { service, template: A::template(), clone: Some(S::clone) })
}

/// The same for a service that is not `Clone`.
pub fn alone<A: Ask, S>(service: S) -> Box<dyn Calls>
where
    S: Service<Request> + Send + 'static,
{
    Box::new(Over { service, template: A::template(), clone: None })
}

struct Over<S> {
    service: S,
    template: Request,
    clone: Option<fn(&S) -> S>,
}

impl<S: Service<Request> + Send + 'static> Calls for Over<S> {
    fn run(&mut self, calls: u64) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            for _ in 0..calls {
                let request = self.template.clone();
                // A service that fails is measured failing.
                if poll_fn(|cx| self.service.poll_ready(cx)).await.is_ok() {
                    drop(black_box(self.service.call(request).await));
                }
            }
        })
    }

    fn share(&self) -> Option<Box<dyn Calls>> {
        let clone = self.clone?;
        Some(Box::new(Self {
            service: clone(&self.service),
            template: self.template.clone(),
            clone: self.clone,
        }))
    }
}

/// What every case runs in.
///
/// # Panics
///
/// Panics where the operating system gives nothing to wait with.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}
