//! Calls, made over and over.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;

use tokio::runtime::Runtime;
use tower::Service;

use crate::{Ask, Case, Request};

/// Something that can be called over and over.
pub trait Calls: Send {
    /// Makes so many calls, one after the other. Comes to how many of them were answered with success.
    fn run(&mut self, calls: u64) -> Pin<Box<dyn Future<Output = u64> + '_>>;

    /// A clone for another thread, which shares its state; none where the service is not `Clone`.
    fn share(&self) -> Option<Box<dyn Calls>>;
}

/// Calls of `service` with requests of the kind `A`.
pub fn over<A: Ask, S, B>(service: S) -> Box<dyn Calls>
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + 'static,
{
    Box::new(Over { service, template: A::template(), clone: Some(S::clone) })
}

/// The same for a service that is not `Clone`.
pub fn alone<A: Ask, S, B>(service: S) -> Box<dyn Calls>
where
    S: Service<Request, Response = http::Response<B>> + Send + 'static,
{
    Box::new(Over { service, template: A::template(), clone: None })
}

struct Over<S> {
    service: S,
    template: Request,
    clone: Option<fn(&S) -> S>,
}

impl<S, B> Calls for Over<S>
where
    S: Service<Request, Response = http::Response<B>> + Send + 'static,
{
    fn run(&mut self, calls: u64) -> Pin<Box<dyn Future<Output = u64> + '_>> {
        Box::pin(async move {
            let mut answered = 0;
            for _ in 0..calls {
                let request = self.template.clone();
                if poll_fn(|cx| self.service.poll_ready(cx)).await.is_ok() {
                    let answer = black_box(self.service.call(request).await);
                    answered += u64::from(answer.is_ok_and(|response| response.status().is_success()));
                }
            }
            answered
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

/// Calls with a runtime to make them in.
pub struct Running {
    runtime: Runtime,
    calls: Box<dyn Calls>,
    answered: bool,
}

impl Running {
    /// Puts `case` together, in the runtime it is going to run in, and warms it up.
    pub fn start(case: &Case) -> Self {
        let mut running = Self::new(case.make, case.answered);
        running.runtime.block_on(running.calls.run(case.warm));
        running
    }

    fn new(make: impl FnOnce() -> Box<dyn Calls>, answered: bool) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        let calls = {
            let _inside = runtime.enter();
            make()
        };
        Self { runtime, calls, answered }
    }

    /// Makes so many calls, one after the other.
    ///
    /// # Panics
    ///
    /// Panics where a call does not come to what the case says: its cost would be that of another case.
    // Callgrind counts what happens in this function, by its name.
    #[inline(never)]
    pub fn batch(&mut self, calls: u64) {
        let answered = self.runtime.block_on(self.calls.run(calls));
        assert_eq!(answered, if self.answered { calls } else { 0 }, "calls answered with success");
    }

    /// The same calls for another thread, with a runtime of its own; none where the service is not
    /// `Clone`.
    pub fn share(&self) -> Option<Self> {
        let calls = self.calls.share()?;
        Some(Self::new(|| calls, self.answered))
    }
}
