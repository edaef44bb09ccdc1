//! Repeated calls of a service.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http_body::Body;
use tokio::runtime::Runtime;
use tokio::task::{unconstrained, yield_now};
use tower::Service;

use crate::{Ask, Case, Request};

/// A call in flight.
pub type Begun = Pin<Box<dyn Future<Output = ()>>>;

/// Something that can be called repeatedly.
pub trait Calls: Send {
    /// Makes `calls` calls, one after the other, and reads the bodies of the answers if `read` is set. Returns the number
    /// of successful answers.
    fn run(&mut self, calls: u64, read: bool) -> Pin<Box<dyn Future<Output = u64> + '_>>;

    /// Begins a call with a request that shares nothing with others.
    fn begin(&mut self) -> Begun;

    /// A clone for another thread, with the same state; `None` if the service is not `Clone`.
    fn share(&self) -> Option<Box<dyn Calls>>;
}

/// Calls `service` with requests of the kind `A`.
pub fn over<A: Ask, S, B>(service: S) -> Box<dyn Calls>
where
    S: Service<Request, Response = http::Response<B>, Future: 'static> + Clone + Send + 'static,
    B: Body,
{
    Box::new(Over { service, template: A::template(), fresh: A::template, clone: Some(S::clone) })
}

/// As [`over`], for a service that is not `Clone`.
pub fn alone<A: Ask, S, B>(service: S) -> Box<dyn Calls>
where
    S: Service<Request, Response = http::Response<B>, Future: 'static> + Send + 'static,
    B: Body,
{
    Box::new(Over { service, template: A::template(), fresh: A::template, clone: None })
}

struct Over<S> {
    service: S,
    template: Request,
    fresh: fn() -> Request,
    clone: Option<fn(&S) -> S>,
}

impl<S, B> Calls for Over<S>
where
    S: Service<Request, Response = http::Response<B>, Future: 'static> + Send + 'static,
    B: Body,
{
    fn run(&mut self, calls: u64, read: bool) -> Pin<Box<dyn Future<Output = u64> + '_>> {
        Box::pin(async move {
            let mut answered = 0;
            for _ in 0..calls {
                let request = self.template.clone();
                if poll_fn(|cx| self.service.poll_ready(cx)).await.is_ok() {
                    let answer = black_box(self.service.call(request).await);
                    let good = answer.as_ref().is_ok_and(|response| response.status().is_success());
                    let whole = match answer {
                        Ok(response) if read => drain(response.into_body()).await,
                        _ => true,
                    };
                    answered += u64::from(good && whole);
                }
            }
            answered
        })
    }

    fn begin(&mut self) -> Begun {
        let request = (self.fresh)();
        let ready = self.service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(()))), "readiness");
        let call = self.service.call(request);
        Box::pin(async { drop(call.await) })
    }

    fn share(&self) -> Option<Box<dyn Calls>> {
        let clone = self.clone?;
        Some(Box::new(Self {
            service: clone(&self.service),
            template: self.template.clone(),
            fresh: self.fresh,
            clone: self.clone,
        }))
    }
}

/// Reads a body. Returns whether it ended without an error.
async fn drain(body: impl Body) -> bool {
    let mut body = pin!(body);
    while !body.is_end_stream() {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => drop(black_box(frame)),
            Some(Err(_)) => return false,
            None => break,
        }
    }
    true
}

/// Calls and the runtime they run in.
pub struct Running {
    runtime: Runtime,
    calls: Box<dyn Calls>,
    answered: bool,
    read: bool,
}

impl Running {
    /// Builds `case` in its runtime and warms it up.
    pub fn start(case: &Case) -> Self {
        let mut running = Self::new(case.make, case.answered, case.read);
        running.runtime.block_on(running.calls.run(case.warm, case.read));
        running
    }

    fn new(make: impl FnOnce() -> Box<dyn Calls>, answered: bool, read: bool) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        let calls = {
            let _inside = runtime.enter();
            make()
        };
        Self { runtime, calls, answered, read }
    }

    /// Makes `calls` calls, one after the other.
    ///
    /// # Panics
    ///
    /// Panics if the calls do not end as the case says: the cost would be that of another case.
    // Callgrind counts what this function does, by its name.
    #[inline(never)]
    pub fn batch(&mut self, calls: u64) {
        let answered = self.runtime.block_on(self.calls.run(calls, self.read));
        assert_eq!(answered, if self.answered { calls } else { 0 }, "calls answered with success");
    }

    /// Begins `calls` calls to a peer that does not answer, and polls them until nothing moves.
    ///
    /// # Panics
    ///
    /// Panics if a call is answered, or the service is not ready.
    pub fn begin(&mut self, calls: usize) -> Vec<Begun> {
        let mut begun = Vec::with_capacity(calls);
        self.runtime.block_on(unconstrained(async {
            begun.extend((0..calls).map(|_| self.calls.begin()));
            // A task in between (a buffer) takes a few calls each time it runs, and then they go on.
            for _ in 0..32 {
                poll_fn(|cx| {
                    let answered = begun.iter_mut().any(|call| call.as_mut().poll(cx).is_ready());
                    assert!(!answered, "the peer does not answer");
                    Poll::Ready(())
                })
                .await;
                yield_now().await;
            }
        }));
        begun
    }

    /// The same calls for another thread, with a runtime of its own; `None` if the service is not `Clone`.
    pub fn share(&self) -> Option<Self> {
        let calls = self.calls.share()?;
        Some(Self::new(|| calls, self.answered, self.read))
    }
}
