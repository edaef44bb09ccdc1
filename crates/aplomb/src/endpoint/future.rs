//! The future of a call.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower_service::Service;

use super::service::Stack;
use super::shared::Running;
use super::spent::Spent;
use super::{DeadlinePassed, EndpointBody};
use crate::{EndpointError, HttpClient, Report};

pin_project! {
    /// The future of an [`Endpoint`](crate::Endpoint)'s call.
    ///
    /// A call without a deadline has no timer of its own. Dropping it drops the attempt that is under way, or
    /// leaves the queue.
    pub struct EndpointFuture<S, A>
    where
        S: HttpClient<A>,
        A: Body,
        A: Clone,
        A: 'static,
    {
        #[pin]
        call: Option<<Stack<S> as Service<http::Request<A>>>::Future>,
        // Set when there is something to wait for.
        #[pin]
        alarm: Option<Sleep>,
        waits: bool,
        report: Report,
        // What follows until the call has ended, its body included.
        running: Option<Running>,
    }
}

impl<S, A> EndpointFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    #[inline]
    pub(super) const fn new(
        call: <Stack<S> as Service<http::Request<A>>>::Future,
        report: Report,
        running: Running,
    ) -> Self {
        Self { call: Some(call), alarm: None, waits: false, report, running: Some(running) }
    }
}

impl<S, A> Future for EndpointFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    type Output = Result<http::Response<EndpointBody<S::Body>>, EndpointError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(mut call) = this.call.as_mut().as_pin_mut() else {
            panic!("polled after it was ready");
        };
        let mut polled = call.as_mut().poll(cx);
        if polled.is_pending() {
            // What its caller wants is known only since it was polled, see `CallOptions::scope`.
            if !mem::replace(this.waits, true) {
                this.alarm.set(call.deadline().map(sleep_until));
            }
            let Some(alarm) = this.alarm.as_pin_mut() else {
                return Poll::Pending;
            };
            ready!(alarm.poll(cx));
            // The attempt is gone, also where this future is kept.
            this.call.set(None);
            polled = Poll::Ready(Err(DeadlinePassed::now(this.report).into()));
        }
        this.report.ended();
        let running = this.running.take();
        // In place: each move of a response counts.
        if let Poll::Ready(Ok(response)) = &mut polled {
            response.extensions_mut().insert(this.report.clone());
            response.body_mut().follow(running);
        }
        polled.map_err(|cause| EndpointError::new(Spent::unwrap(cause), this.report.clone()))
    }
}

impl<S, A> fmt::Debug for EndpointFuture<S, A>
where
    S: HttpClient<A>,
    A: Body + Clone + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointFuture").field("report", &self.report).finish_non_exhaustive()
    }
}
